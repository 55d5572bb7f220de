/* Entropy and largest logit of causal attention: partial sums by tile of queries, then these in
 * order.  -p ln p is summed term by term, which loses less than lse - sum p logit. */
#include "compute/cuda/attention_tile.cuh"

template <class T> struct stats {
    float *entropy, *most; /* [tiles, B, H], of tiles of queries */
    struct qk_rows<const T> q, k;
    const float *lse;
    struct qk_attention_sizes s;
};

template <class T, int HD> struct stats_shape;
template <int HD> struct stats_shape<bf16, HD> {
    static constexpr int MF = 2, KEYS = 64;
};
template <int HD> struct stats_shape<float, HD> {
    static constexpr int MF = 1, KEYS = 32;
};

/* Raises the entropies (to base 2) and the largest logits of this lane's rows, from logits s. */
template <class T, int MF, int NF>
static __device__ __forceinline__ void
raise(float (&entropy)[MF][2], float (&most)[MF][2], const float (&s)[MF][NF][4],
      const float (&shift)[MF][2], float scale2, bool masked, int behind)
{
#pragma unroll
    for (int m = 0; m < MF; m++)
#pragma unroll
        for (int n = 0; n < NF; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (masked && behind + 16 * m + i / 2 * 8 < 8 * n + i % 2)
                    continue;
                const float x = fmaf(scale2, s[m][n][i], -shift[m][i / 2]);
                entropy[m][i / 2] = fmaf(-qk_power<T>(x), x, entropy[m][i / 2]);
                most[m][i / 2] = fmaxf(most[m][i / 2], s[m][n][i]);
            }
}

template <class T, int HD>
static __global__ void __launch_bounds__(QK_TILE_THREADS) stats_kernel(const struct stats<T> a)
{
    constexpr int MF = stats_shape<T, HD>::MF, KEYS = stats_shape<T, HD>::KEYS;
    constexpr int ROWS = QK_TILE_WARPS * 16 * MF, LD = qk_tile<T, HD>::LD;
    T *queries = (T *)qk_shared(), *stages = queries + ROWS * LD;
    __shared__ float sums[QK_TILE_WARPS], tops[QK_TILE_WARPS];
    const struct qk_place at = qk_place_of<ROWS>(a.s);
    const struct qk_rows<const T> k = qk_head_rows(a.k, at.sequence, at.g, a.s.hd);
    const int warp = (int)threadIdx.x / QK_WARP, lane = (int)threadIdx.x % QK_WARP;
    const int warp_row = warp * 16 * MF, mine = at.first + warp_row;
    const int end = at.first + ROWS < a.s.T ? at.first + ROWS : a.s.T;

    float entropy[MF][2], most[MF][2], shift[MF][2];
#pragma unroll
    for (int r = 0; r < 2 * MF; r++) {
        const int row = mine + 8 * r + lane / 4;
        entropy[r / 2][r % 2] = 0;
        most[r / 2][r % 2] = -INFINITY;
        shift[r / 2][r % 2] = row < a.s.T ? QK_LOG2E * a.lse[(int64_t)at.head * a.s.T + row] : 0;
    }
    qk_tile_load<ROWS, HD>(queries, qk_head_rows(a.q, at.sequence, at.h, a.s.hd), at.first, a.s.T,
                           a.s.hd);
    qk_tile_load<KEYS, HD>(stages, k, 0, a.s.T, a.s.hd);
    qk_copy_commit();
    for (int from = 0; from < end; from += KEYS) {
        qk_copy_wait<0>();
        __syncthreads(); /* these keys have come; those before them are done with */
        if (from + KEYS < end)
            qk_tile_load<KEYS, HD>(stages + (from / KEYS + 1) % 2 * KEYS * LD, k, from + KEYS,
                                   a.s.T, a.s.hd);
        qk_copy_commit();
        if (from >= mine + 16 * MF) /* seen by no row of this warp */
            continue;
        float s[MF][KEYS / 8][4];
        qk_rows_product<HD>(s, queries + warp_row * LD, stages + from / KEYS % 2 * KEYS * LD);
        raise<T>(entropy, most, s, shift, QK_LOG2E * a.s.scale, from + KEYS - 1 > mine,
                 mine + lane / 4 - from - lane % 4 * 2);
    }

    float sum = 0, top = -INFINITY;
#pragma unroll
    for (int r = 0; r < 2 * MF; r++)
        if (mine + 8 * r + lane / 4 < a.s.T) {
            sum += entropy[r / 2][r % 2];
            top = fmaxf(top, most[r / 2][r % 2]);
        }
    sum = qk_warp_sum(sum);
    top = qk_warp_max(top);
    if (lane == 0) {
        sums[warp] = sum;
        tops[warp] = top;
    }
    __syncthreads();
    if (threadIdx.x)
        return;
    for (int w = 1; w < QK_TILE_WARPS; w++) {
        sum += sums[w];
        top = fmaxf(top, tops[w]);
    }
    const int64_t to = (int64_t)at.first / ROWS * a.s.heads + at.head;
    a.entropy[to] = QK_LN2 * sum;
    a.most[to] = a.s.scale * top;
}

enum { TOTAL_THREADS = 128 };

/* Where the entropy is no number, the largest logit is none: maxima pass over NaN. */
static __global__ void __launch_bounds__(TOTAL_THREADS)
    total_kernel(float *entropy, float *most, const float *entropies, const float *mosts, int heads,
                 int tiles)
{
    const int head = (int)(blockIdx.x * TOTAL_THREADS + threadIdx.x);
    if (head >= heads)
        return;
    double sum = 0;
    float top = -INFINITY;
    for (int64_t i = 0; i < tiles; i++) {
        sum += (double)entropies[i * heads + head];
        top = fmaxf(top, mosts[i * heads + head]);
    }
    entropy[head] = (float)sum;
    most[head] = isnan(sum) ? NAN : top;
}

template <class T, int HD>
static void launch(struct qk_device *d, float *entropy, float *most, struct stats<T> a)
{
    constexpr int MF = stats_shape<T, HD>::MF, KEYS = stats_shape<T, HD>::KEYS;
    constexpr int ROWS = QK_TILE_WARPS * 16 * MF;
    const int64_t tiles = qk_cuda_blocks(a.s.T, ROWS);
    a.entropy = (float *)qk_cuda_scratch(d, QK_CUDA_PARTIAL,
                                         2 * tiles * a.s.heads * (int64_t)sizeof(float));
    if (!a.entropy)
        return;
    a.most = a.entropy + tiles * a.s.heads;
    qk_cuda_launch(d, stats_kernel<T, HD>, qk_grid_of(a.s, a.s.heads, ROWS), dim3(QK_TILE_THREADS),
                   (ROWS + 2 * KEYS) * qk_tile<T, HD>::ROW_BYTES, a);
    qk_cuda_launch(d, total_kernel, dim3((unsigned)qk_cuda_blocks(a.s.heads, TOTAL_THREADS)),
                   dim3(TOTAL_THREADS), 0, entropy, most, a.entropy, a.most, a.s.heads, tiles);
}

void qk_cuda_attention_stats(struct qk_device *d, struct qk_buf entropy, struct qk_buf max_logit,
                             struct qk_buf q, struct qk_buf k, struct qk_buf lse,
                             struct qk_attention_shape s)
{
    if (!qk_cuda_begin(d, "attention_stats"))
        return;
    qk_by_head_size(q, s.hd, [&](auto type, auto hd) {
        typedef decltype(type) T;
        const struct stats<T> a = {
            .entropy = NULL, .most = NULL, .q = qk_rows_of<const T>(d, q, s.H *s.hd, s.hd),
            .k = qk_rows_of<const T>(d, k, s.G *s.hd, s.hd), .lse = qk_cuda_at<float>(d, lse),
            .s = qk_sizes_of(&s),
        };
        launch<T, decltype(hd)::value>(d, qk_cuda_at<float>(d, entropy),
                                       qk_cuda_at<float>(d, max_logit), a);
        qk_cuda_end(d, QK_CLASS_ATTENTION, qk_attention_flops(&s, 1),
                    qk_attention_bytes<T>(&s, 1, 1));
    });
}
