/* Causal grouped-query attention, forward: a block keeps a tile of queries and goes through the
 * keys up to its last one, with a running maximum (Milakov and Gimelshein 2018; Dao 2023). */
#include "compute/cuda/attention_tile.cuh"

template <class T> struct forward {
    struct qk_rows<T> o;
    struct qk_rows<const T> q, k, v;
    float *lse;
    struct qk_attention_sizes s;
};

/* A warp has 16 * MF queries; KEYS are in shared memory at a time, and as many are on their way. */
template <class T, int HD> struct forward_shape;
template <int HD> struct forward_shape<bf16, HD> {
    static constexpr int MF = 2, KEYS = HD == 128 ? 32 : 64; /* what registers hold */
};
template <int HD> struct forward_shape<float, HD> {
    static constexpr int MF = 1, KEYS = HD == 128 ? 16 : 32;
};

/* -inf where the key lies behind the query; first row and column given. */
template <int MF, int NF>
static __device__ __forceinline__ void mask(float (&s)[MF][NF][4], int query, int key)
{
    const int lane = threadIdx.x % QK_WARP;
    const int behind = query + lane / 4 - key - lane % 4 * 2; /* of this lane's first number */
#pragma unroll
    for (int m = 0; m < MF; m++)
#pragma unroll
        for (int n = 0; n < NF; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (behind + 16 * m + i / 2 * 8 < 8 * n + i % 2)
                    s[m][n][i] = -INFINITY;
}

/* Logits s become 2^(scale2 (s - max)); max and this lane's part of the sums follow.  What was
 * summed before, out, follows a larger maximum: among many keys there seldom is one. */
template <class T, int MF, int NF, int NO>
static __device__ __forceinline__ void soften(float (&s)[MF][NF][4], float (&max)[MF][2],
                                              float (&sum)[MF][2], float (&out)[MF][NO][4],
                                              float scale2)
{
    float before[MF][2]; /* what the numbers so far are multiplied by */
    bool moved = false;
#pragma unroll
    for (int r = 0; r < 2 * MF; r++) {
        const int m = r / 2, i = r % 2 * 2;
        float top = max[m][r % 2];
#pragma unroll
        for (int n = 0; n < NF; n++)
            top = fmaxf(top, fmaxf(s[m][n][i], s[m][n][i + 1]));
        top = qk_row_max(top);
        moved |= top > max[m][r % 2];
        before[m][r % 2] = qk_power<T>(scale2 * (max[m][r % 2] - top));
        max[m][r % 2] = top;
    }
    if (__any_sync(QK_ALL_LANES, moved)) {
#pragma unroll
        for (int r = 0; r < 2 * MF; r++) {
            const int m = r / 2, i = r % 2 * 2;
            sum[m][r % 2] *= before[m][r % 2];
#pragma unroll
            for (int n = 0; n < NO; n++) {
                out[m][n][i] *= before[m][r % 2];
                out[m][n][i + 1] *= before[m][r % 2];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 2 * MF; r++) {
        const int m = r / 2, i = r % 2 * 2;
        const float shift = scale2 * max[m][r % 2];
        float added = 0;
#pragma unroll
        for (int n = 0; n < NF; n++) {
            s[m][n][i] = qk_power<T>(fmaf(scale2, s[m][n][i], -shift));
            s[m][n][i + 1] = qk_power<T>(fmaf(scale2, s[m][n][i + 1], -shift));
            added += s[m][n][i] + s[m][n][i + 1];
        }
        sum[m][r % 2] += added;
    }
}

/* out /= sum; lse of the warp's rows. */
template <int MF, int NO>
static __device__ __forceinline__ void finish(float (&out)[MF][NO][4], const float (&max)[MF][2],
                                              const float (&sum)[MF][2], float *lse, int query,
                                              int end, float scale)
{
    const int lane = threadIdx.x % QK_WARP;
#pragma unroll
    for (int r = 0; r < 2 * MF; r++) {
        const int m = r / 2, row = query + 8 * r + lane / 4;
        const float total = qk_row_sum(sum[m][r % 2]), inverse = 1 / total;
        if (lane % 4 == 0 && row < end)
            lse[row] = fmaf(scale, max[m][r % 2], logf(total));
#pragma unroll
        for (int n = 0; n < NO; n++) {
            out[m][n][r % 2 * 2] *= inverse;
            out[m][n][r % 2 * 2 + 1] *= inverse;
        }
    }
}

template <class T, int HD>
static __global__ void __launch_bounds__(QK_TILE_THREADS) forward_kernel(const struct forward<T> a)
{
    constexpr int MF = forward_shape<T, HD>::MF, KEYS = forward_shape<T, HD>::KEYS;
    constexpr int ROWS = QK_TILE_WARPS * 16 * MF, LD = qk_tile<T, HD>::LD;
    T *queries = (T *)qk_shared(), *stages = queries + ROWS * LD;
    const struct qk_place at = qk_place_of<ROWS>(a.s);
    const struct qk_rows<const T> q = qk_head_rows(a.q, at.sequence, at.h, a.s.hd);
    const struct qk_rows<const T> k = qk_head_rows(a.k, at.sequence, at.g, a.s.hd);
    const struct qk_rows<const T> v = qk_head_rows(a.v, at.sequence, at.g, a.s.hd);
    const int warp_row = (int)threadIdx.x / QK_WARP * 16 * MF, mine = at.first + warp_row;
    const int end = at.first + ROWS < a.s.T ? at.first + ROWS : a.s.T;
    const float scale2 = QK_LOG2E * a.s.scale;

    float out[MF][HD / 8][4], max[MF][2], sum[MF][2];
    qk_clear(out);
#pragma unroll
    for (int r = 0; r < 2 * MF; r++)
        max[r / 2][r % 2] = -INFINITY, sum[r / 2][r % 2] = 0;
    qk_tile_load<ROWS, HD>(queries, q, at.first, a.s.T, a.s.hd);
    qk_through_keys<KEYS, HD>(stages, k, v, end, a.s, [&](const T *keys, int from) {
        if (from >= mine + 16 * MF) /* seen by no row of this warp */
            return;
        float s[MF][KEYS / 8][4];
        qk_rows_product<HD>(s, queries + warp_row * LD, keys);
        if (from + KEYS - 1 > mine)
            mask(s, mine, from);
        soften<T>(s, max, sum, out, scale2);
        qk_add_product<HD>(out, s, keys + KEYS * LD);
    });
    finish(out, max, sum, a.lse + (int64_t)at.head * a.s.T, mine, a.s.T, a.s.scale);
    qk_tile_store<HD>(qk_head_rows(a.o, at.sequence, at.h, a.s.hd), queries + warp_row * LD, out,
                      mine, a.s.T, a.s.hd);
}

template <class T, int HD> static void launch(struct qk_device *d, const struct forward<T> *a)
{
    constexpr int MF = forward_shape<T, HD>::MF, KEYS = forward_shape<T, HD>::KEYS;
    constexpr int ROWS = QK_TILE_WARPS * 16 * MF;
    qk_cuda_launch(d, forward_kernel<T, HD>, qk_grid_of(a->s, a->s.heads, ROWS),
                   dim3(QK_TILE_THREADS), (ROWS + 4 * KEYS) * qk_tile<T, HD>::ROW_BYTES, *a);
}

void qk_cuda_attention(struct qk_device *d, struct qk_buf o, struct qk_buf lse, struct qk_buf q,
                       struct qk_buf k, struct qk_buf v, struct qk_attention_shape s)
{
    if (!qk_cuda_begin(d, "attention"))
        return;
    qk_by_head_size(q, s.hd, [&](auto type, auto hd) {
        typedef decltype(type) T;
        const struct forward<T> a = {
            .o = qk_rows_of<T>(d, o, s.H *s.hd, s.hd),
            .q = qk_rows_of<const T>(d, q, s.H *s.hd, s.hd),
            .k = qk_rows_of<const T>(d, k, s.G *s.hd, s.hd),
            .v = qk_rows_of<const T>(d, v, s.v_stride, s.hd), .lse = qk_cuda_at<float>(d, lse),
            .s = qk_sizes_of(&s),
        };
        launch<T, decltype(hd)::value>(d, &a);
        qk_cuda_end(d, QK_CLASS_ATTENTION, qk_attention_flops(&s, 2),
                    qk_attention_bytes<T>(&s, 2, 2));
    });
}
