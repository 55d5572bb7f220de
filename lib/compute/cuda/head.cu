/* QK-Norm and RoPE: what happens to a query or key head between its projection and attention.
 *
 * A lane holds PAIRS pairs of numbers that turn together, so a rotation never leaves it; the 1 to
 * 16 neighbouring lanes of a head (a power of two) meet in the sum of squares alone.  Where heads
 * lie on packs of PAIRS they are read so, else number by number.  The angles are four times as wide
 * as a bf16 head: half of them are read, and they stay in the nearest cache for the heads of a row.
 */
#include "compute/cuda/rows.cuh"

enum {
    THREADS = 256,
    PAIRS = 4,    /* of a lane: hd <= 128 takes 16 lanes */
    EACH = 2,     /* heads of a lane, forward */
    MOST = 64,    /* backward, so that the gain's gradient takes */
    BLOCKS = 512, /* this many partial sums, or more of MOST heads each */
};

/* How heads lie: in packs with pairs (j, j + hd/2) or (2j, 2j + 1), or in any other way. */
enum layout { HALF, NEIGHBOURS, WALKED };

/* n / by for n < 2^31: (n * magic) >> shift (Granlund and Montgomery 1994). */
struct divisor {
    unsigned by, magic;
    int shift;
};

/* All heads [B * T * heads], by a number below 2^31. */
struct heads {
    struct qk_head_shape s;
    struct divisor per_row, per_sequence; /* heads, T */
    int lanes;                            /* of a head */
    unsigned count;
};

struct pairs {
    float p[PAIRS], q[PAIRS]; /* first and second of each */
};

__device__ __forceinline__ unsigned quotient(unsigned n, const struct divisor &d)
{
    return (unsigned)((uint64_t)n * d.magic >> d.shift);
}

/* ---- a lane's share of a head: pairs `pair` and on ---- */

template <enum layout L> __device__ __forceinline__ bool by_halves(const struct heads &a)
{
    return L == HALF || (L == WALKED && a.s.half);
}

template <enum layout L> __device__ __forceinline__ int first_of(const struct heads &a, int pair)
{
    return by_halves<L>(a) ? pair : 2 * pair;
}

template <enum layout L> __device__ __forceinline__ int second_of(const struct heads &a, int pair)
{
    return by_halves<L>(a) ? pair + (int)a.s.hd / 2 : 2 * pair + 1;
}

/* Zeros behind the last. */
template <enum layout L, class T>
__device__ __forceinline__ struct pairs read_pairs(const struct heads &a, const T *from, int pair)
{
    struct pairs z = {};
    if (L == HALF && pair < a.s.hd / 2) {
        qk_read<PAIRS>(z.p, from + pair);
        qk_read<PAIRS>(z.q, from + pair + a.s.hd / 2);
    } else if (L == NEIGHBOURS && pair < a.s.hd / 2) {
        float x[2 * PAIRS];
        qk_read<PAIRS>(x, from + 2 * pair);
        qk_read<PAIRS>(x + PAIRS, from + 2 * pair + PAIRS);
        for (int i = 0; i < PAIRS; i++) {
            z.p[i] = x[2 * i];
            z.q[i] = x[2 * i + 1];
        }
    }
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
        if (L == WALKED && pair + i < a.s.hd / 2) {
            z.p[i] = qk_wide(from[first_of<L>(a, pair + i)]);
            z.q[i] = qk_wide(from[second_of<L>(a, pair + i)]);
        }
    return z;
}

template <enum layout L, class T>
__device__ __forceinline__ void write_pairs(const struct heads &a, T *to, int pair,
                                            const struct pairs &z)
{
    if (L == HALF && pair < a.s.hd / 2) {
        qk_write<PAIRS>(to + pair, z.p);
        qk_write<PAIRS>(to + pair + a.s.hd / 2, z.q);
    } else if (L == NEIGHBOURS && pair < a.s.hd / 2) {
        float x[2 * PAIRS];
        for (int i = 0; i < PAIRS; i++) {
            x[2 * i] = z.p[i];
            x[2 * i + 1] = z.q[i];
        }
        qk_write<PAIRS>(to + 2 * pair, x);
        qk_write<PAIRS>(to + 2 * pair + PAIRS, x + PAIRS);
    }
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
        if (L == WALKED && pair + i < a.s.hd / 2) {
            to[first_of<L>(a, pair + i)] = qk_round<T>(z.p[i]);
            to[second_of<L>(a, pair + i)] = qk_round<T>(z.q[i]);
        }
}

/* A vector, one number for all, or 1. */
template <enum layout L>
__device__ __forceinline__ struct pairs read_gain(const struct heads &a, const float *gain,
                                                  int pair)
{
    if (gain && a.s.gain_size == a.s.hd)
        return read_pairs<L>(a, gain, pair);
    const float all = gain ? gain[0] : 1;
    struct pairs z;
    for (int i = 0; i < PAIRS; i++)
        z.p[i] = z.q[i] = all;
    return z;
}

/* The cosine in p, the sine in q: half of the table's position says all of it. */
template <enum layout L>
__device__ __forceinline__ struct pairs read_angles(const struct heads &a, const float *angles,
                                                    unsigned row, int pair)
{
    const unsigned t = row - quotient(row, a.per_sequence) * a.per_sequence.by;
    const float *same = angles + (int64_t)t * 2 * a.s.hd;
    struct pairs cosine = read_pairs<L>(a, same, pair);
    const struct pairs sine = read_pairs<L>(a, same + a.s.hd, pair);
    for (int i = 0; i < PAIRS; i++)
        cosine.q[i] = sine.q[i];
    return cosine;
}

/* Turned, or turned back (direction -1). */
__device__ __forceinline__ void rotate(struct pairs &z, const struct pairs &angle, float direction)
{
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        const float p = z.p[i], q = z.q[i], sine = direction * angle.q[i];
        z.p[i] = p * angle.p[i] - q * sine;
        z.q[i] = q * angle.p[i] + p * sine;
    }
}

/* Over the lanes of a head; all lanes of the warp take part. */
__device__ __forceinline__ float head_sum(float x, int lanes)
{
    for (int d = lanes / 2; d; d /= 2)
        x += __shfl_xor_sync(QK_ALL_LANES, x, d);
    return x;
}

/* Where a head begins in the strided rows. */
__device__ __forceinline__ int64_t place_of(const struct heads &a, unsigned head)
{
    const unsigned m = quotient(head, a.per_row);
    return m * a.s.x_stride + (head - m * a.per_row.by) * a.s.hd;
}

/* ---- forward ---- */

template <class T, enum layout L>
static __global__ void __launch_bounds__(THREADS, 4)
    head_forward(T *__restrict__ y, float *__restrict__ rstd, const T *__restrict__ x,
                 const float *__restrict__ gain, const float *__restrict__ angles, struct heads a)
{
    const int pair = (int)threadIdx.x % a.lanes * PAIRS, step = THREADS / a.lanes;
    const unsigned first = blockIdx.x * (step * EACH) + threadIdx.x / a.lanes;
    struct pairs z[EACH];
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const unsigned head = first + e * step;
        if (head < a.count)
            z[e] = read_pairs<L>(a, x + place_of(a, head), pair);
    }
    const struct pairs g = read_gain<L>(a, gain, pair);
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const unsigned head = first + e * step;
        float sum = 0;
        for (int i = 0; i < PAIRS; i++)
            sum += head < a.count ? z[e].p[i] * z[e].p[i] + z[e].q[i] * z[e].q[i] : 0;
        sum = head_sum(sum, a.lanes);
        if (head >= a.count)
            continue;
        if (a.s.normalise) {
            const float r = 1.0f / sqrtf(sum / (float)a.s.hd + a.s.eps);
            if (pair == 0)
                rstd[head] = r;
            for (int i = 0; i < PAIRS; i++) {
                z[e].p[i] = z[e].p[i] * r * g.p[i];
                z[e].q[i] = z[e].q[i] * r * g.q[i];
            }
        }
        if (a.s.rotate)
            rotate(z[e], read_angles<L>(a, angles, quotient(head, a.per_row), pair), 1);
        write_pairs<L>(a, y + head * a.s.hd, pair, z[e]);
    }
}

/* ---- backward ---- */

/* With dz, the gradient behind the rotation, n = x r and h = dz gain:
 * dgain += dz n,  dz becomes r (h - n mean(h n)). */
__device__ __forceinline__ void normalise_back(struct pairs &dz, struct pairs &dgain,
                                               const struct pairs &x, const struct pairs &g,
                                               float r, const struct heads &a)
{
    float dot = 0;
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        dgain.p[i] += dz.p[i] * x.p[i] * r;
        dgain.q[i] += dz.q[i] * x.q[i] * r;
        dot += dz.p[i] * g.p[i] * x.p[i] + dz.q[i] * g.q[i] * x.q[i];
    }
    const float back = head_sum(dot, a.lanes) * r * r * r / (float)a.s.hd;
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        dz.p[i] = r * (dz.p[i] * g.p[i]) - back * x.p[i];
        dz.q[i] = r * (dz.q[i] * g.q[i]) - back * x.q[i];
    }
}

/* `each` heads per lane.  partial [blocks, hd]: the gain's gradient of a block's heads, or NULL. */
template <class T, enum layout L>
static __global__ void __launch_bounds__(THREADS)
    head_backward(T *__restrict__ dx, float *__restrict__ partial, const T *__restrict__ dy,
                  const T *__restrict__ x, const float *__restrict__ gain,
                  const float *__restrict__ rstd, const float *__restrict__ angles, struct heads a,
                  int each)
{
    __shared__ float room[THREADS * 2 * PAIRS]; /* [heads at once, hd] */
    const int pair = (int)threadIdx.x % a.lanes * PAIRS, step = THREADS / a.lanes;
    const struct pairs g = read_gain<L>(a, gain, pair);
    struct pairs dgain = {};
    for (int e = 0; e < each; e++) {
        const unsigned head = (blockIdx.x * each + e) * step + threadIdx.x / a.lanes;
        const bool in = head < a.count;
        struct pairs dz = {}, in_x = {};
        if (in)
            dz = read_pairs<L>(a, dy + head * a.s.hd, pair);
        if (in && a.s.normalise)
            in_x = read_pairs<L>(a, x + place_of(a, head), pair);
        if (in && a.s.rotate)
            rotate(dz, read_angles<L>(a, angles, quotient(head, a.per_row), pair), -1);
        if (a.s.normalise)
            normalise_back(dz, dgain, in_x, g, in ? rstd[head] : 0, a);
        if (in)
            write_pairs<L>(a, dx + place_of(a, head), pair, dz);
    }
    if (!partial)
        return;
    write_pairs<WALKED>(a, room + threadIdx.x / a.lanes * (int)a.s.hd, pair, dgain);
    __syncthreads();
    const int i = threadIdx.x, hd = (int)a.s.hd;
    float sum = 0;
    for (int k = 0; i < hd && k < step; k++)
        sum += room[k * hd + i];
    if (i < hd)
        partial[(int64_t)blockIdx.x * hd + i] = sum;
}

/* to += all n partial sums, for one gain for all numbers. */
static __global__ void __launch_bounds__(1024) add_all(float *to, const float *partial, int64_t n)
{
    __shared__ double room[QK_WARP];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += 1024)
        sum += (double)partial[i];
    sum = qk_block_sum(sum, room);
    if (threadIdx.x == 0)
        *to += (float)sum;
}

/* ---- the operations ---- */

static struct divisor divisor_of(int64_t by)
{
    struct divisor d = {.by = by < 1 ? 1 : (unsigned)by, .magic = 0, .shift = 31};
    while ((int64_t)1 << (d.shift - 31) < by)
        d.shift++;
    d.magic = (unsigned)(((uint64_t)1 << d.shift) / d.by + 1);
    return d;
}

static struct heads heads_of(struct qk_device *d, struct qk_head_shape s)
{
    const int64_t count = s.B * s.T * s.heads;
    struct heads a = {.s = s,
                      .per_row = divisor_of(s.heads),
                      .per_sequence = divisor_of(s.T),
                      .lanes = 1,
                      .count = (unsigned)count};
    while (a.lanes * PAIRS * 2 < s.hd)
        a.lanes *= 2;
    if (count > INT32_MAX)
        qk_cuda_fail(d, "%lld heads are more than can be counted", (long long)count);
    return a;
}

/* How the strided and the dense side, gain and angles can all be read. */
template <class T>
static enum layout layout_of(const struct qk_head_shape *s, const T *strided, const T *dense,
                             const float *gain, const float *angles)
{
    if (s->hd % (2 * PAIRS) != 0 || !qk_cuda_packs<PAIRS>(strided, s->x_stride) ||
        !qk_cuda_packs<PAIRS>(dense, 0) || !qk_cuda_packs<PAIRS>(gain, 0) ||
        !qk_cuda_packs<PAIRS>(angles, 0))
        return WALKED;
    return s->half ? HALF : NEIGHBOURS;
}

void qk_cuda_head_prepare(struct qk_device *d, struct qk_buf y_, struct qk_buf rstd_,
                          struct qk_buf x_, struct qk_buf gain_, struct qk_buf angles_,
                          struct qk_head_shape s)
{
    if (!qk_cuda_begin(d, "head_prepare"))
        return;
    const struct heads a = heads_of(d, s);
    const int64_t block = THREADS / a.lanes * EACH;
    float *rstd = s.normalise ? qk_cuda_at<float>(d, rstd_) : NULL;
    const float *gain = s.normalise ? qk_cuda_at<float>(d, gain_) : NULL;
    const float *angles = s.rotate ? qk_cuda_at<float>(d, angles_) : NULL;
    qk_cuda_by_type(x_, [&](auto t) {
        using T = decltype(t);
        T *y = qk_cuda_at<T>(d, y_);
        const T *x = qk_cuda_at<T>(d, x_);
        const enum layout how = layout_of(&s, x, y, gain, angles);
        const auto kernel = how == HALF         ? head_forward<T, HALF>
                            : how == NEIGHBOURS ? head_forward<T, NEIGHBOURS>
                                                : head_forward<T, WALKED>;
        qk_cuda_launch(d, kernel, dim3((unsigned)qk_cuda_blocks(a.count, block)), THREADS, 0, y,
                       rstd, x, gain, angles, a);
        const double n = (double)a.count * (double)s.hd;
        qk_cuda_end(d, QK_CLASS_ROPE, 7 * n, 2 * n * sizeof(T));
    });
}

void qk_cuda_head_prepare_back(struct qk_device *d, struct qk_buf dx_, struct qk_buf dgain_,
                               struct qk_buf dy_, struct qk_buf x_, struct qk_buf gain_,
                               struct qk_buf rstd_, struct qk_buf angles_, struct qk_head_shape s)
{
    if (!qk_cuda_begin(d, "head_prepare_back"))
        return;
    const struct heads a = heads_of(d, s);
    const int64_t step = THREADS / a.lanes, share = qk_cuda_blocks(a.count, step * BLOCKS);
    const int64_t each = share < 1 ? 1 : share < MOST ? share : (int64_t)MOST; /* by shape alone */
    const int64_t blocks = qk_cuda_blocks(a.count, step * each);
    const float *rstd = s.normalise ? qk_cuda_at<float>(d, rstd_) : NULL;
    const float *gain = s.normalise ? qk_cuda_at<float>(d, gain_) : NULL;
    const float *angles = s.rotate ? qk_cuda_at<float>(d, angles_) : NULL;
    float *dgain = s.normalise ? qk_cuda_at<float>(d, dgain_) : NULL, *partial = NULL;
    if (dgain)
        partial =
            (float *)qk_cuda_scratch(d, QK_CUDA_PARTIAL, blocks * s.hd * (int64_t)sizeof *partial);
    qk_cuda_by_type(x_, [&](auto t) {
        using T = decltype(t);
        T *dx = qk_cuda_at<T>(d, dx_);
        const T *dy = qk_cuda_at<T>(d, dy_), *x = qk_cuda_at<T>(d, x_);
        const enum layout how = layout_of(&s, dx, dy, gain, angles);
        const auto kernel = how == WALKED || layout_of(&s, x, dy, gain, angles) == WALKED
                                ? head_backward<T, WALKED>
                            : how == HALF ? head_backward<T, HALF>
                                          : head_backward<T, NEIGHBOURS>;
        qk_cuda_launch(d, kernel, dim3((unsigned)blocks), THREADS, 0, dx, partial, dy, x, gain,
                       rstd, angles, a, (int)each);
        if (dgain && s.gain_size == s.hd)
            qk_cuda_add_partials(d, dgain, partial, blocks, s.hd);
        else if (dgain)
            qk_cuda_launch(d, add_all, dim3(1), 1024, 0, dgain, partial, blocks * s.hd);
        const double n = (double)a.count * (double)s.hd;
        qk_cuda_end(d, QK_CLASS_ROPE, 15 * n, 3 * n * sizeof(T));
    });
}
