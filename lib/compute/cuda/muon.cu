/* Muon (Jordan 2024): momentum whose step is made orthogonal.
 *
 * As many of the `count` matrices as leave the scratch within a bound go through all steps
 * together, each product one strided batch.  Momentum and norm are float32.  X and the square
 * matrices are float32, or, where the parameters have a rounded copy, bf16 with float32 sums (as in
 * the published codes).  The Gram matrix is taken on the smaller side: X X^T with polynomial
 * from the left for wide matrices, X^T X with polynomial from the right for tall ones.
 *
 * Gram matrix and polynomial are symmetric.  Where there is work enough to fill a card they are
 * computed in four (or two) rows of blocks up to the diagonal, 10/16 (3/4) of the whole product,
 * and what lies above is copied.
 */
#include "compute/cuda/gemm.cuh"

#include <math.h>

#include "compute/orthogonalize.h"

enum { STEPS = QK_ORTHOGONALIZE_STEPS, THREADS = 256, PACK = 4 };
enum { SPAN = 8 * PACK * THREADS }; /* numbers one block goes through */
enum { SIDE = 64 };                 /* of the squares that are mirrored */
enum { TILE = 128 };                /* what one multiprocessor takes of a product */

/* A row of blocks has at least so many tiles: about one for each multiprocessor. */
static const int64_t LEAST_TILES = 128;

/* ---- number by number: N neighbours at a time, SPAN numbers of one matrix per block ---- */

/* Matrices of `size` numbers, dense in x, `stride` apart in w, b and g; `blocks` per matrix. */
struct layout {
    int64_t size, stride;
    unsigned blocks;
};

struct part {
    int64_t matrix, x, ahead; /* x: first number in x; ahead: in w, b and g */
    int count;
};

__device__ __forceinline__ part part_of_block(const layout &l)
{
    const int64_t matrix = blockIdx.x / l.blocks, from = (int64_t)(blockIdx.x % l.blocks) * SPAN;
    const int64_t left = l.size - from;
    return {matrix, matrix * l.size + from, matrix * l.stride + from,
            left < SPAN ? (int)left : SPAN};
}

/* u = lerp(g, b, mu) with the b of this step; fresh = 1 - mu. */
__device__ __forceinline__ float look_ahead(float b, float g, float fresh)
{
    return b - (b - g) * fresh;
}

/* b = lerp(b, g, 1 - mu); partial[block] = sum of u^2.  u itself is not stored: taking it from b
 * and g again costs the pass that scales it no more than reading it would. */
template <int N>
static __global__ void __launch_bounds__(THREADS)
    momentum(float *__restrict__ b_, double *__restrict__ partial, const float *__restrict__ g_,
             const float *__restrict__ scale, float fresh, layout l)
{
    typedef qk_pack<float, N> pack;
    __shared__ double room[THREADS / QK_WARP];
    const part p = part_of_block(l);
    pack *b = (pack *)(b_ + p.ahead);
    const pack *g = (const pack *)(g_ + p.ahead);
    const float factor = *scale;
    float sum = 0; /* of 32 squares at most */
#pragma unroll 2
    for (int i = (int)threadIdx.x; i < p.count / N; i += THREADS) {
        const pack gs = g[i];
        pack bs = b[i];
        for (int e = 0; e < N; e++) {
            const float gi = gs.at[e] * factor;
            bs.at[e] += fresh * (gi - bs.at[e]);
            const float u = look_ahead(bs.at[e], gi, fresh);
            sum += u * u;
        }
        b[i] = bs;
    }
    const double all = qk_block_sum((double)sum, room);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = all;
}

/* One block per matrix. */
static __global__ void __launch_bounds__(THREADS)
    invert_norms(float *inverse, const double *partial, unsigned blocks, double margin)
{
    __shared__ double room[THREADS / QK_WARP];
    double sum = 0;
    for (unsigned k = threadIdx.x; k < blocks; k += THREADS)
        sum += partial[(int64_t)blockIdx.x * blocks + k];
    sum = qk_block_sum(sum, room);
    if (threadIdx.x == 0)
        inverse[blockIdx.x] = (float)(1 / (sqrt(sum) * margin + 1e-7));
}

/* x = u / norm, rounded to T */
template <class T, int N>
static __global__ void __launch_bounds__(THREADS)
    normalise(T *__restrict__ x_, const float *__restrict__ b_, const float *__restrict__ g_,
              const float *__restrict__ scale, const float *__restrict__ inverse, float fresh,
              layout l)
{
    typedef qk_pack<float, N> pack;
    const part p = part_of_block(l);
    qk_pack<T, N> *x = (qk_pack<T, N> *)(x_ + p.x);
    const pack *b = (const pack *)(b_ + p.ahead), *g = (const pack *)(g_ + p.ahead);
    const float factor = *scale, unit = inverse[p.matrix];
#pragma unroll 2
    for (int i = (int)threadIdx.x; i < p.count / N; i += THREADS) {
        const pack gs = g[i], bs = b[i];
        qk_pack<T, N> xs;
        for (int e = 0; e < N; e++)
            xs.at[e] = qk_round<T>(look_ahead(bs.at[e], gs.at[e] * factor, fresh) * unit);
        x[i] = xs;
    }
}

/* w = keep w - rate x; narrow is NULL or the rounded copy of w. */
template <class T, int N>
static __global__ void __launch_bounds__(THREADS)
    update(float *__restrict__ w_, bf16 *__restrict__ narrow_, const T *__restrict__ x_, float keep,
           float rate, layout l)
{
    typedef qk_pack<float, N> pack;
    const part p = part_of_block(l);
    const qk_pack<T, N> *x = (const qk_pack<T, N> *)(x_ + p.x);
    pack *w = (pack *)(w_ + p.ahead);
    qk_pack<bf16, N> *narrow = (qk_pack<bf16, N> *)(narrow_ ? narrow_ + p.ahead : NULL);
#pragma unroll 2
    for (int i = (int)threadIdx.x; i < p.count / N; i += THREADS) {
        const qk_pack<T, N> xs = x[i];
        pack ws = w[i];
        qk_pack<bf16, N> rounded;
        for (int e = 0; e < N; e++) {
            ws.at[e] = keep * ws.at[e] - rate * qk_wide(xs.at[e]);
            rounded.at[e] = qk_round<bf16>(ws.at[e]);
        }
        w[i] = ws;
        if (narrow)
            narrow[i] = rounded;
    }
}

/* ---- what lies above the blocks on the diagonal is copied from below ---- */

/* a [count, n, ld], ld a multiple of 16 bytes; blocks of `tile` rows, a multiple of SIDE, so that a
 * square lies whole on one side.  The padding behind n may be written. */
template <class T>
static __global__ void __launch_bounds__(THREADS) mirror(T *a, int n, int ld, int tile)
{
    enum { N = 16 / sizeof(T), ACROSS = SIDE / N, ROWS = THREADS / ACROSS };
    typedef qk_pack<T, N> pack;
    __shared__ T square[SIDE][SIDE + 4 / sizeof(T)];
    const int squares = (n + SIDE - 1) / SIDE;
    const int top = (int)(blockIdx.x % squares) * SIDE, left = (int)blockIdx.y * SIDE;
    if (top / tile <= left / tile)
        return;
    a += (int64_t)(blockIdx.x / squares) * n * ld;
    const int along = (int)threadIdx.x % ACROSS * N, first = (int)threadIdx.x / ACROSS;
    for (int r = first; r < SIDE && top + r < n; r += ROWS) {
        const pack p = *(const pack *)(a + (int64_t)(top + r) * ld + left + along);
        for (int e = 0; e < N; e++)
            square[r][along + e] = p.at[e];
    }
    __syncthreads();
    if (top + along >= n)
        return;
    for (int c = first; c < SIDE; c += ROWS) {
        pack p;
        for (int e = 0; e < N; e++)
            p.at[e] = square[along + e][c];
        *(pack *)(a + (int64_t)(left + c) * ld + top + along) = p;
    }
}

/* ---- the parts of a step ---- */

template <class T> struct batch {
    int64_t count, rows, cols, small; /* small = the shorter side */
    int64_t ld, square;               /* of the square matrices: rows of ld, small * ld numbers */
    int64_t tile;                     /* rows of blocks; small: the whole product */
    bool tall;
    layout lie;
    bool packs;
    T *x, *next;     /* [count, rows, cols] */
    T *gram, *poly;  /* [count, small, ld] */
    double *partial; /* [count, lie.blocks] */
    float *inverse;  /* [count] */
};

/* `whole` [small, small] in rows of blocks up to the diagonal; from one row of the result to the
 * next the first operand advances by row_a numbers. */
template <class T>
static void symmetric(struct qk_device *d, const batch<T> &a, qk_cuda_product whole, int64_t row_a)
{
    for (int64_t from = 0; from < a.small; from += a.tile) {
        qk_cuda_product p = whole;
        p.M = a.small - from < a.tile ? a.small - from : a.tile;
        p.N = from + p.M;
        p.A = (const T *)whole.A + from * row_a;
        p.C = whole.C ? (const T *)whole.C + from * a.ld : NULL;
        p.D = (T *)whole.D + from * a.ld;
        qk_cuda_gemm(d, &p);
    }
    const int64_t squares = qk_cuda_blocks(a.small, SIDE);
    if (a.tile < a.small)
        qk_cuda_launch(d, mirror<T>, dim3((unsigned)(squares * a.count), (unsigned)squares),
                       THREADS, 0, (T *)whole.D, (int)a.small, (int)a.ld, (int)a.tile);
}

template <class T> static qk_cuda_product product(const batch<T> &a)
{
    qk_cuda_product p = {};
    p.count = a.count;
    p.alpha = 1;
    p.in = p.out = qk_cuda_type_of<T>::value;
    return p;
}

/* gram = X X^T or X^T X */
template <class T> static void take_gram(struct qk_device *d, const batch<T> &a)
{
    qk_cuda_product p = product(a);
    p.ta = a.tall;
    p.tb = !a.tall;
    p.K = a.tall ? a.rows : a.cols;
    p.A = p.B = a.x;
    p.lda = p.ldb = a.cols;
    p.stride_a = p.stride_b = a.lie.size;
    p.D = a.gram;
    p.ldc = a.ld;
    p.stride_c = a.square;
    symmetric(d, a, p, a.tall ? 1 : a.cols);
}

/* poly = c[1] A + c[2] A A^T, A = gram */
template <class T>
static void take_polynomial(struct qk_device *d, const batch<T> &a, const double *c)
{
    qk_cuda_product p = product(a);
    p.tb = true;
    p.K = a.small;
    p.alpha = (float)c[2];
    p.beta = (float)c[1];
    p.A = p.B = p.C = a.gram;
    p.D = a.poly;
    p.lda = p.ldb = p.ldc = a.ld;
    p.stride_a = p.stride_b = p.stride_c = a.square;
    symmetric(d, a, p, a.ld);
}

/* next = c[0] X + poly X or X poly.  As a part of poly c[0] would cost a pass over its diagonal. */
template <class T> static void apply(struct qk_device *d, const batch<T> &a, const double *c)
{
    qk_cuda_product p = product(a);
    p.tb = a.tall; /* poly is symmetric; both operands then have neighbours along the sum */
    p.M = a.rows;
    p.N = a.cols;
    p.K = a.small;
    p.beta = (float)c[0];
    p.A = a.tall ? a.x : a.poly;
    p.B = a.tall ? a.poly : a.x;
    p.C = a.x;
    p.D = a.next;
    p.lda = a.tall ? a.cols : a.ld;
    p.ldb = a.tall ? a.ld : a.cols;
    p.ldc = a.cols;
    p.stride_a = a.tall ? a.lie.size : a.square;
    p.stride_b = a.tall ? a.square : a.lie.size;
    p.stride_c = a.lie.size;
    qk_cuda_gemm(d, &p);
}

/* ---- a batch, from momentum to new weights ---- */

struct operands { /* at the batch's first matrix */
    float *w, *b;
    bf16 *narrow;
    const float *g, *scale;
};

template <class T, int N>
static void treat(struct qk_device *d, batch<T> a, const operands &at, const qk_muon &how)
{
    const double ratio = (double)a.rows / (double)a.cols;
    const float fresh = (float)(1 - how.momentum), keep = (float)(1 - how.lr * how.weight_decay);
    const float rate = (float)(how.lr * sqrt(ratio > 1 ? ratio : 1));
    const dim3 grid((unsigned)(a.count * a.lie.blocks)), matrices((unsigned)a.count);
    qk_cuda_launch(d, momentum<N>, grid, THREADS, 0, at.b, a.partial, at.g, at.scale, fresh, a.lie);
    qk_cuda_launch(d, invert_norms, matrices, THREADS, 0, a.inverse, a.partial, a.lie.blocks,
                   qk_orthogonalize_margin(how.orthogonalizer));
    qk_cuda_launch(d, normalise<T, N>, grid, THREADS, 0, a.x, at.b, at.g, at.scale, a.inverse,
                   fresh, a.lie);
    for (int i = 0; i < STEPS; i++) {
        const double *c = qk_orthogonalize_step(how.orthogonalizer, i);
        take_gram(d, a);
        take_polynomial(d, a, c);
        apply(d, a, c);
        T *swap = a.x;
        a.x = a.next;
        a.next = swap;
    }
    qk_cuda_launch(d, update<T, N>, grid, THREADS, 0, at.w, at.narrow, a.x, keep, rate, a.lie);
}

/* ---- the operation ---- */

/* Rows of blocks: four or two when the first, which is the shortest, still has work for all. */
static int64_t choose_tile(int64_t count, int64_t small, int64_t least)
{
    for (int parts = 4; parts > 1; parts /= 2) {
        const int64_t tiles = qk_cuda_blocks(small, parts * TILE);
        if (tiles * TILE < small && tiles * tiles * count >= least)
            return tiles * TILE;
    }
    return small;
}

template <class T>
static batch<T> choose_sizes(struct qk_device *d, const operands &at, const qk_muon &how)
{
    const struct qk_cuda *c = qk_cuda_of(d);
    const int64_t room = c->muon_bytes ? c->muon_bytes : qk_cuda_room(d, QK_CUDA_MUON);
    batch<T> a = {};
    a.rows = how.rows;
    a.cols = how.cols;
    a.tall = how.rows > how.cols;
    a.small = a.tall ? how.cols : how.rows;
    a.ld = qk_cuda_muon_ld(a.rows, a.cols);
    a.square = qk_cuda_muon_square(a.rows, a.cols);
    a.lie = {how.rows * how.cols, how.stride, 0};
    a.lie.blocks = (unsigned)qk_cuda_blocks(a.lie.size, SPAN);
    a.count = qk_cuda_muon_count(room, how.count, a.rows, a.cols, sizeof(T));
    a.tile = choose_tile(a.count, a.small, c->muon_tiles ? c->muon_tiles : LEAST_TILES);
    a.packs = a.lie.size % PACK == 0 && qk_cuda_packs<PACK>(at.w, how.stride) &&
              qk_cuda_packs<PACK>(at.b, how.stride) && qk_cuda_packs<PACK>(at.g, how.stride) &&
              qk_cuda_packs<PACK>(at.narrow, how.stride);
    return a;
}

template <class T> static bool find_room(struct qk_device *d, batch<T> *a)
{
    const int64_t partials = a->count * a->lie.blocks;
    int64_t at[4];
    const int64_t bytes = qk_cuda_muon_places(at, a->count, a->rows, a->cols, sizeof(T));
    char *room = (char *)qk_cuda_scratch(d, QK_CUDA_TILES, bytes);
    a->partial = (double *)qk_cuda_scratch(
        d, QK_CUDA_PARTIAL, partials * (int64_t)sizeof(double) + a->count * (int64_t)sizeof(float));
    a->inverse = a->partial ? (float *)(a->partial + partials) : NULL;
    if (!room || !a->partial)
        return false;
    T **const places[] = {&a->x, &a->next, &a->gram, &a->poly};
    for (int i = 0; i < 4; i++)
        *places[i] = (T *)(room + at[i]);
    return true;
}

template <class T> static bool run(struct qk_device *d, const operands &all, const qk_muon &how)
{
    batch<T> a = choose_sizes<T>(d, all, how);
    if (!find_room(d, &a))
        return false;
    for (int64_t k = 0, most = a.count; k < how.count; k += most) {
        const int64_t from = k * how.stride;
        const operands at = {all.w + from, all.b + from, all.narrow ? all.narrow + from : NULL,
                             all.g + from, all.scale};
        a.count = how.count - k < most ? how.count - k : most;
        if (a.packs)
            treat<T, PACK>(d, a, at, how);
        else
            treat<T, 1>(d, a, at, how);
    }
    return true;
}

void qk_cuda_set_muon(struct qk_device *d, int64_t most_bytes, int64_t least_tiles)
{
    qk_cuda_of(d)->muon_bytes = most_bytes;
    qk_cuda_of(d)->muon_tiles = least_tiles;
}

void qk_cuda_muon(struct qk_device *d, struct qk_buf w, struct qk_buf b, struct qk_buf g,
                  struct qk_buf scale, struct qk_muon how)
{
    if (!qk_cuda_begin(d, "muon"))
        return;
    const operands all = {qk_cuda_at<float>(d, w), qk_cuda_at<float>(d, b), qk_cuda_narrow(w),
                          qk_cuda_at<float>(d, g), qk_cuda_at<float>(d, scale)};
    const double s = (double)(how.rows < how.cols ? how.rows : how.cols);
    const double size = (double)how.rows * (double)how.cols, count = (double)how.count;
    /* Two symmetric products, of which half is needed, and one whole. */
    if (all.narrow ? run<bf16>(d, all, how) : run<float>(d, all, how))
        qk_cuda_end(d, QK_CLASS_OPTIMIZER, (double)STEPS * count * (s * s * s + 3 * s * size),
                    (all.narrow ? 22 : 20) * count * size);
}
