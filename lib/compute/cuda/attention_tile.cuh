/* What the kernels of attention are made of: tiles of rows in shared memory, and products of them
 * whose sums stay in registers (FlashAttention-2: Dao 2023).
 *
 * A block of QK_TILE_WARPS warps owns 16 * MF * QK_TILE_WARPS rows of one head (queries or keys);
 * each warp keeps its own 16 * MF of them and goes through the other side tile by tile.  hd is
 * filled up with zeros to HD = 32, 64 or 128.
 *
 * Sums are `fragments`: x[m][n][2 i + j] in lane l is row 16 m + 8 i + l / 4, column
 * 8 n + 2 (l % 4) + j of the warp's.  In bf16 this is what mma.sync gives and takes (qk_mma); in
 * float the same numbers lie in the same lanes and the products are plain multiply-adds, so both
 * types share every kernel, mask and barrier.
 */
#ifndef QK_COMPUTE_CUDA_ATTENTION_TILE_CUH
#define QK_COMPUTE_CUDA_ATTENTION_TILE_CUH

#include <math.h>
#include <string.h>
#include <type_traits>

#include "compute/cuda/device.cuh"

enum { QK_TILE_WARPS = 4, QK_TILE_THREADS = QK_TILE_WARPS * QK_WARP };
#define QK_LOG2E 1.44269504f
#define QK_LN2 0.69314718f

/* Causal attention as kernels see it. */
struct qk_attention_sizes {
    int T, H, G, hd, heads; /* heads: B * H */
    float scale;            /* 1/sqrt(hd) */
};

/* Rows of heads, or of one: hd numbers of row t at at + t * stride. */
template <class T> struct qk_rows {
    T *at;
    int64_t stride;
    bool packs; /* every row of every head can be moved 16 bytes at a time */
};

/* Head h of the sequence that begins at row `first`. */
template <class T>
__device__ __forceinline__ struct qk_rows<T> qk_head_rows(struct qk_rows<T> all, int64_t first,
                                                          int h, int hd) {
    all.at += first * all.stride + (int64_t)h * hd;
    return all;
}

/* Of a block that owns ROWS queries of one head. */
struct qk_place {
    int head, h, g, first; /* b * H + h; in the sequence; its key head; the first query */
    int64_t sequence;      /* its row 0 among all rows */
};

/* Blocks begin in about the order of their numbers, so the last queries, which see the most keys,
 * come first. */
template <int ROWS>
__device__ __forceinline__ struct qk_place qk_place_of(const struct qk_attention_sizes &s)
{
    const int head = (int)blockIdx.x % s.heads, tiles = (s.T + ROWS - 1) / ROWS;
    return {head, head % s.H, head % s.H / (s.H / s.G),
            (tiles - 1 - (int)blockIdx.x / s.heads) * ROWS, (int64_t)(head / s.H) * s.T};
}

/* Numbers moved at once, in a row of a tile, and between rows: 16 bytes more than the row, so that
 * eight rows at the same column lie in different banks. */
template <class T, int HD> struct qk_tile {
    static constexpr int PACK = 16 / (int)sizeof(T), PACKS = HD / PACK, LD = HD + PACK,
                         ROW_BYTES = LD * (int)sizeof(T);
};

/* ---- between global and shared memory ---- */

/* tile [ROWS, HD] = rows first .. first + ROWS; zeros where there is no row (from `end` on) and
 * beyond hd.  By the whole block; to be awaited by qk_copy_wait and a barrier. */
template <int ROWS, int HD, class T>
__device__ __forceinline__ void qk_tile_load(T *tile, struct qk_rows<const T> from, int first,
                                             int end, int hd)
{
    constexpr int LD = qk_tile<T, HD>::LD, PACK = qk_tile<T, HD>::PACK,
                  PACKS = qk_tile<T, HD>::PACKS;
    if (from.packs) {
        constexpr int STEP = QK_TILE_THREADS / PACKS;
        int r = (int)threadIdx.x / PACKS;
        const int c = (int)threadIdx.x % PACKS * PACK;
        int64_t at = (first + r) * from.stride + c;
#pragma unroll 2
        for (; r < ROWS; r += STEP, at += STEP * from.stride) {
            const bool wanted = first + r < end && c < hd;
            qk_copy_16(tile + r * LD + c, from.at + (wanted ? at : 0), wanted);
        }
    } else {
        for (int i = (int)threadIdx.x; i < ROWS * HD; i += QK_TILE_THREADS) {
            const int r = i / HD, c = i % HD;
            const bool wanted = first + r < end && c < hd;
            tile[r * LD + c] = wanted ? from.at[(first + r) * from.stride + c] : qk_round<T>(0);
        }
    }
}

/* tile(keys, from) for tiles of KEYS keys, and behind them their values, from key 0 to `end`: one
 * in shared memory while the next comes.  Queries loaded before are there with the first. */
template <int KEYS, int HD, class T, class F>
__device__ __forceinline__ void qk_through_keys(T *stages, struct qk_rows<const T> k,
                                                struct qk_rows<const T> v, int end,
                                                const struct qk_attention_sizes &s, F tile)
{
    constexpr int BEHIND = KEYS * qk_tile<T, HD>::LD;
    qk_tile_load<KEYS, HD>(stages, k, 0, s.T, s.hd);
    qk_tile_load<KEYS, HD>(stages + BEHIND, v, 0, s.T, s.hd);
    qk_copy_commit();
    for (int from = 0; from < end; from += KEYS) {
        qk_copy_wait<0>();
        __syncthreads(); /* these keys have come; those before them are done with */
        if (from + KEYS < end) {
            T *next = stages + (from / KEYS + 1) % 2 * 2 * BEHIND;
            qk_tile_load<KEYS, HD>(next, k, from + KEYS, s.T, s.hd);
            qk_tile_load<KEYS, HD>(next + BEHIND, v, from + KEYS, s.T, s.hd);
        }
        qk_copy_commit();
        tile(stages + from / KEYS % 2 * 2 * BEHIND, from);
    }
}

/* A warp's fragments, as T, to rows first .. of `to` that lie before `end`, through the warp's part
 * of a tile that nobody else reads any more. */
template <int HD, int MF, class T>
__device__ __forceinline__ void qk_tile_store(struct qk_rows<T> to, T *tile,
                                              const float (&x)[MF][HD / 8][4], int first, int end,
                                              int hd)
{
    constexpr int LD = qk_tile<T, HD>::LD, PACK = qk_tile<T, HD>::PACK,
                  PACKS = qk_tile<T, HD>::PACKS;
    const int lane = threadIdx.x % QK_WARP;
    T *mine = tile + lane / 4 * LD + lane % 4 * 2;
    __syncwarp();
#pragma unroll
    for (int m = 0; m < MF; m++)
#pragma unroll
        for (int n = 0; n < HD / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                mine[(16 * m + i / 2 * 8) * LD + 8 * n + i % 2] = qk_round<T>(x[m][n][i]);
    __syncwarp();
    const int count = end - first < 16 * MF ? end - first : 16 * MF;
    if (to.packs) {
        for (int i = lane; i < count * PACKS; i += QK_WARP) {
            const int r = i / PACKS, c = i % PACKS * PACK;
            if (c < hd)
                *(qk_pack<T, PACK> *)(to.at + (first + r) * to.stride + c) =
                    *(const qk_pack<T, PACK> *)(tile + r * LD + c);
        }
    } else {
        for (int i = lane; i < count * HD; i += QK_WARP)
            if (i % HD < hd)
                to.at[(first + i / HD) * to.stride + i % HD] = tile[i / HD * LD + i % HD];
    }
}

/* ---- products ---- */

template <int MF, int NF> __device__ __forceinline__ void qk_clear(float (&x)[MF][NF][4])
{
#pragma unroll
    for (int i = 0; i < MF * NF * 4; i++)
        x[i / (NF * 4)][i / 4 % NF][i % 4] = 0;
}

template <int MF, int NF> __device__ __forceinline__ void qk_scale(float (&x)[MF][NF][4], float by)
{
#pragma unroll
    for (int i = 0; i < MF * NF * 4; i++)
        x[i / (NF * 4)][i / 4 % NF][i % 4] *= by;
}

/* Two sums as the neighbours of a matrix operand, the first in the low half. */
__device__ __forceinline__ unsigned qk_bf16_pair(float low, float high)
{
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    unsigned bits;
    memcpy(&bits, &both, sizeof bits);
    return bits;
}

/* x = a b^T: 16 MF rows of a tile from `a` on, 8 NF rows of another from `b` on. */
template <int HD, int MF, int NF>
__device__ __forceinline__ void qk_rows_product(float (&x)[MF][NF][4], const bf16 *a, const bf16 *b)
{
    constexpr int LD = qk_tile<bf16, HD>::LD;
    const int lane = threadIdx.x % QK_WARP;
    const bf16 *row_a = a + lane % 16 * LD + lane / 16 * 8;
    const bf16 *row_b = b + (lane % 8 + lane / 16 * 8) * LD + lane / 8 % 2 * 8;
    qk_clear(x);
#pragma unroll
    for (int k = 0; k < HD; k += 16) {
        unsigned left[MF][4], right[4];
#pragma unroll
        for (int m = 0; m < MF; m++)
            qk_ldmatrix(left[m], row_a + 16 * m * LD + k);
#pragma unroll
        for (int n = 0; n < NF; n += 2) {
            qk_ldmatrix(right, row_b + 8 * n * LD + k);
#pragma unroll
            for (int m = 0; m < MF; m++) {
                qk_mma(x[m][n], left[m], right);
                qk_mma(x[m][n + 1], left[m], right + 2);
            }
        }
    }
}

template <int HD, int MF, int NF>
__device__ __forceinline__ void qk_rows_product(float (&x)[MF][NF][4], const float *a,
                                                const float *b)
{
    constexpr int LD = qk_tile<float, HD>::LD;
    typedef qk_pack<float, 4> four;
    const int lane = threadIdx.x % QK_WARP;
    const float *row_a = a + lane / 4 * LD, *row_b = b + lane % 4 * 2 * LD;
    qk_clear(x);
#pragma unroll 2
    for (int k = 0; k < HD; k += 4) {
        four left[2 * MF];
#pragma unroll
        for (int i = 0; i < 2 * MF; i++)
            left[i] = *(const four *)(row_a + 8 * i * LD + k);
#pragma unroll
        for (int n = 0; n < 2 * NF; n++) {
            const four right = *(const four *)(row_b + (n / 2 * 8 + n % 2) * LD + k);
#pragma unroll
            for (int i = 0; i < 2 * MF; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float *sum = &x[i / 2][n / 2][i % 2 * 2 + n % 2];
                    *sum = fmaf(left[i].at[e], right.at[e], *sum);
                }
        }
    }
}

/* x += p b: fragments p (rounded to b's type), 8 NF rows of a tile from `b` on. */
template <int HD, int MF, int NF>
__device__ __forceinline__ void qk_add_product(float (&x)[MF][HD / 8][4],
                                               const float (&p)[MF][NF][4], const bf16 *b)
{
    constexpr int LD = qk_tile<bf16, HD>::LD;
    const int lane = threadIdx.x % QK_WARP;
    const bf16 *row_b = b + lane % 16 * LD + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < NF; k += 2) {
        unsigned left[MF][4], right[4];
#pragma unroll
        for (int m = 0; m < MF; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float *two = p[m][k + i / 2] + i % 2 * 2;
                left[m][i] = qk_bf16_pair(two[0], two[1]);
            }
#pragma unroll
        for (int n = 0; n < HD / 8; n += 2) {
            qk_ldmatrix_transposed(right, row_b + 8 * k * LD + 8 * n);
#pragma unroll
            for (int m = 0; m < MF; m++) {
                qk_mma(x[m][n], left[m], right);
                qk_mma(x[m][n + 1], left[m], right + 2);
            }
        }
    }
}

/* In float a row's numbers of p are handed round among the four lanes that share the row. */
template <int HD, int MF, int NF>
__device__ __forceinline__ void qk_add_product(float (&x)[MF][HD / 8][4],
                                               const float (&p)[MF][NF][4], const float *b)
{
    constexpr int LD = qk_tile<float, HD>::LD;
    typedef qk_pack<float, 2> two;
    const int lane = threadIdx.x % QK_WARP;
    const float *row_b = b + lane % 4 * 2;
#pragma unroll
    for (int k = 0; k < 8 * NF; k++) {
        float left[2 * MF];
#pragma unroll
        for (int i = 0; i < 2 * MF; i++)
            left[i] = __shfl_sync(QK_ALL_LANES, p[i / 2][k / 8][i % 2 * 2 + k % 2],
                                  lane / 4 * 4 + k % 8 / 2);
#pragma unroll
        for (int n = 0; n < HD / 8; n++) {
            const two right = *(const two *)(row_b + k * LD + 8 * n);
#pragma unroll
            for (int i = 0; i < 4 * MF; i++) {
                float *sum = &x[i / 4][n][i % 4];
                *sum = fmaf(left[i / 2], right.at[i % 2], *sum);
            }
        }
    }
}

/* ---- softmax ---- */

/* 2^x, as precise as the type is computed with. */
template <class T> __device__ __forceinline__ float qk_power(float x);
template <> __device__ __forceinline__ float qk_power<bf16>(float x)
{
    return qk_exp2(x);
}
template <> __device__ __forceinline__ float qk_power<float>(float x)
{
    return exp2f(x);
}

/* Over the four lanes that share a row, the same in each. */
__device__ __forceinline__ float qk_row_sum(float x)
{
    x += __shfl_xor_sync(QK_ALL_LANES, x, 1);
    return x + __shfl_xor_sync(QK_ALL_LANES, x, 2);
}

__device__ __forceinline__ float qk_row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(QK_ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(QK_ALL_LANES, x, 2));
}

/* ---- on the host ---- */

template <class T>
static inline struct qk_rows<T> qk_rows_of(struct qk_device *d, struct qk_buf b, int64_t stride,
                                           int64_t hd) {
    constexpr int PACK = 16 / (int)sizeof(T);
    T *at = qk_cuda_at<typename std::remove_const<T>::type>(d, b);
    return {at, stride, hd % PACK == 0 && qk_cuda_packs<PACK>(at, stride)};
}

static inline struct qk_attention_sizes
qk_sizes_of(const struct qk_attention_shape *s)
{
    return {(int)s->T,  (int)s->H,          (int)s->G,
            (int)s->hd, (int)(s->B * s->H), (float)(1 / sqrt((double)s->hd))};
}

/* A block for every tile of `rows` rows of so many heads. */
static inline dim3 qk_grid_of(const struct qk_attention_sizes &s, int64_t heads, int rows)
{
    return dim3((unsigned)(qk_cuda_blocks(s.T, rows) * heads));
}

/* what(T(), HD) for the smallest HD that holds hd; HD as an integral constant's value. */
template <int N> struct qk_head_size {
    static const int value = N;
};
template <class F> static void qk_by_head_size(struct qk_buf q, int64_t hd, F what)
{
    qk_cuda_by_type(q, [&](auto type) {
        if (hd <= 32)
            what(type, qk_head_size<32>());
        else if (hd <= 64)
            what(type, qk_head_size<64>());
        else
            what(type, qk_head_size<128>());
    });
}

/* Floating-point operations of so many causal products, as the CPU counts them. */
static inline double qk_attention_flops(const struct qk_attention_shape *s, double products)
{
    return products * (double)(s->B * s->H * s->hd) * (double)s->T * (double)s->T;
}

/* Bytes of so many arrays like q and like k. */
template <class T>
static inline double qk_attention_bytes(const struct qk_attention_shape *s, double queries,
                                        double keys)
{
    return (double)(s->B * s->T * s->hd) * (queries * (double)s->H + keys * (double)s->G) *
           (double)sizeof(T);
}

#endif
