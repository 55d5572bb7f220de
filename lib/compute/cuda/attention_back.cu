/* Causal grouped-query attention, backward (Dao 2023), with p = exp(logit - lse) made again:
 *   dv = p^T do,  ds = p (do v^T - delta),  dq = ds k / sqrt(hd),  dk = ds^T q / sqrt(hd),
 * where delta = rowsum(do o).  A block of one kernel owns keys and goes through the queries that
 * see them; a block of another owns queries and goes through the keys.  p and ds are made twice,
 * but every sum has one owner and one order. */
#include "compute/cuda/attention_tile.cuh"

template <class T> struct backward {
    struct qk_rows<T> dq, dk, dv;
    struct qk_rows<const T> d_o, o, q, k, v;
    const float *lse;
    float *delta; /* [B, H, T], as lse */
    struct qk_attention_sizes s;
};

/* A warp owns 16 * MF rows; OTHERS of the other side are in shared memory at a time, and as many
 * are on their way.
 *
 * A tile of the other side is read from shared memory once for each MF: with hd 128 and MF = 1 that
 * takes longer than the products (dq: 64 fragments, at 4 cycles each, for 96 products at 1.5 to 2;
 * with MF = 2, 40 for 96).  dq has registers for MF = 2, and takes it where a multiprocessor's
 * shared memory holds two such blocks, as from compute capability 9.0 on; dk and dv have not. */
template <class T, int HD> struct backward_shape;
template <int HD> struct backward_shape<bf16, HD> {
    static constexpr int MF = HD == 128 ? 1 : 2, MOST_MF = 2, OTHERS = 32;
};
template <int HD> struct backward_shape<float, HD> {
    static constexpr int MF = 1, MOST_MF = 1, OTHERS = HD == 128 ? 8 : 16;
};

/* Bytes of shared memory: both arrays of its rows, two stages of both of the other side. */
template <class T, int HD> static constexpr int tiles_bytes(int MF)
{
    return (2 * QK_TILE_WARPS * 16 * MF + 4 * backward_shape<T, HD>::OTHERS) *
           qk_tile<T, HD>::ROW_BYTES;
}

/* ---- delta ---- */

enum { DELTA_LANES = 8, DELTA_THREADS = 256 };

template <class T>
static __global__ void __launch_bounds__(DELTA_THREADS)
    delta_kernel(const struct backward<T> a, int64_t count)
{
    constexpr int PACK = 16 / (int)sizeof(T), STEP = DELTA_LANES * PACK, STEPS = 128 / STEP;
    typedef qk_pack<T, PACK> pack;
    const int64_t i = ((int64_t)blockIdx.x * DELTA_THREADS + threadIdx.x) / DELTA_LANES;
    const int lane = (int)threadIdx.x % DELTA_LANES;
    float sum = 0;
    if (i < count && a.o.packs && a.d_o.packs) {
        pack x[STEPS] = {}, y[STEPS] = {}; /* all on their way before the first is used */
#pragma unroll
        for (int k = 0; k < STEPS; k++)
            if (k * STEP + lane * PACK < a.s.hd) {
                x[k] = *(const pack *)(a.o.at + i * a.s.hd + k * STEP + lane * PACK);
                y[k] = *(const pack *)(a.d_o.at + i * a.s.hd + k * STEP + lane * PACK);
            }
#pragma unroll
        for (int k = 0; k < STEPS; k++)
#pragma unroll
            for (int e = 0; e < PACK; e++)
                sum = fmaf(qk_wide(x[k].at[e]), qk_wide(y[k].at[e]), sum);
    } else if (i < count) {
        for (int c = lane; c < a.s.hd; c += DELTA_LANES)
            sum = fmaf(qk_wide(a.o.at[i * a.s.hd + c]), qk_wide(a.d_o.at[i * a.s.hd + c]), sum);
    }
    for (int step = DELTA_LANES / 2; step; step /= 2)
        sum += __shfl_xor_sync(QK_ALL_LANES, sum, step);
    const int64_t row = i / a.s.H, b = row / a.s.T;
    if (i < count && lane == 0)
        a.delta[(b * a.s.H + i % a.s.H) * a.s.T + row % a.s.T] = sum;
}

/* ---- dq ---- */

/* dp becomes ds.  shift and delta are of this lane's rows, to base 2; `behind` queries lie between
 * its first query and its first key. */
template <class T, int MF, int NF>
static __device__ __forceinline__ void
gradient_of_rows(float (&dp)[MF][NF][4], const float (&s)[MF][NF][4], const float (&shift)[MF][2],
                 const float (&delta)[MF][2], float scale2, bool masked, int behind)
{
#pragma unroll
    for (int m = 0; m < MF; m++)
#pragma unroll
        for (int n = 0; n < NF; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float p = qk_power<T>(fmaf(scale2, s[m][n][i], -shift[m][i / 2]));
                const bool seen = !masked || behind + 16 * m + i / 2 * 8 >= 8 * n + i % 2;
                dp[m][n][i] = seen ? p * (dp[m][n][i] - delta[m][i / 2]) : 0;
            }
}

template <class T, int HD, int MF>
static __global__ void __launch_bounds__(QK_TILE_THREADS) dq_kernel(const struct backward<T> a)
{
    constexpr int KEYS = backward_shape<T, HD>::OTHERS;
    constexpr int ROWS = QK_TILE_WARPS * 16 * MF, LD = qk_tile<T, HD>::LD;
    T *queries = (T *)qk_shared(), *douts = queries + ROWS * LD, *stages = douts + ROWS * LD;
    const struct qk_place at = qk_place_of<ROWS>(a.s);
    const struct qk_rows<const T> k = qk_head_rows(a.k, at.sequence, at.g, a.s.hd);
    const struct qk_rows<const T> v = qk_head_rows(a.v, at.sequence, at.g, a.s.hd);
    const int warp_row = (int)threadIdx.x / QK_WARP * 16 * MF, mine = at.first + warp_row;
    const int lane = (int)threadIdx.x % QK_WARP;
    const int end = at.first + ROWS < a.s.T ? at.first + ROWS : a.s.T;

    float dq[MF][HD / 8][4], shift[MF][2], delta[MF][2];
    qk_clear(dq);
#pragma unroll
    for (int r = 0; r < 2 * MF; r++) {
        const int row = mine + 8 * r + lane / 4;
        const int64_t from = (int64_t)at.head * a.s.T + row;
        shift[r / 2][r % 2] = row < a.s.T ? QK_LOG2E * a.lse[from] : 0;
        delta[r / 2][r % 2] = row < a.s.T ? a.delta[from] : 0;
    }
    qk_tile_load<ROWS, HD>(queries, qk_head_rows(a.q, at.sequence, at.h, a.s.hd), at.first, a.s.T,
                           a.s.hd);
    qk_tile_load<ROWS, HD>(douts, qk_head_rows(a.d_o, at.sequence, at.h, a.s.hd), at.first, a.s.T,
                           a.s.hd);
    qk_through_keys<KEYS, HD>(stages, k, v, end, a.s, [&](const T *keys, int from) {
        if (from >= mine + 16 * MF) /* seen by no row of this warp */
            return;
        float s[MF][KEYS / 8][4], ds[MF][KEYS / 8][4];
        qk_rows_product<HD>(s, queries + warp_row * LD, keys);
        qk_rows_product<HD>(ds, douts + warp_row * LD, keys + KEYS * LD);
        gradient_of_rows<T>(ds, s, shift, delta, QK_LOG2E * a.s.scale, from + KEYS - 1 > mine,
                            mine + lane / 4 - from - lane % 4 * 2);
        qk_add_product<HD>(dq, ds, keys);
    });
    qk_scale(dq, a.s.scale);
    qk_tile_store<HD>(qk_head_rows(a.dq, at.sequence, at.h, a.s.hd), queries + warp_row * LD, dq,
                      mine, a.s.T, a.s.hd);
}

/* ---- dk and dv ---- */

/* Rows are keys, columns queries: s becomes p, dp becomes ds.  shift and delta are of this lane's
 * columns on, in shared memory; `behind` queries lie between its first query and its first key. */
template <class T, int MF, int NF>
static __device__ __forceinline__ void
gradient_of_columns(float (&s)[MF][NF][4], float (&dp)[MF][NF][4], const float *shift,
                    const float *delta, float scale2, bool masked, int behind)
{
#pragma unroll
    for (int n = 0; n < NF; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const float column_shift = shift[8 * n + j], column_delta = delta[8 * n + j];
#pragma unroll
            for (int r = 0; r < 2 * MF; r++) {
                const int m = r / 2, i = r % 2 * 2 + j;
                const float p = qk_power<T>(fmaf(scale2, s[m][n][i], -column_shift));
                const bool seen = !masked || behind + 8 * n + j >= 8 * r;
                s[m][n][i] = seen ? p : 0;
                dp[m][n][i] = seen ? p * (dp[m][n][i] - column_delta) : 0;
            }
        }
}

template <class T, int HD>
static __global__ void __launch_bounds__(QK_TILE_THREADS) dkdv_kernel(const struct backward<T> a)
{
    constexpr int MF = backward_shape<T, HD>::MF, QUERIES = backward_shape<T, HD>::OTHERS;
    constexpr int ROWS = QK_TILE_WARPS * 16 * MF, LD = qk_tile<T, HD>::LD, STAGE = 2 * QUERIES * LD;
    T *keys = (T *)qk_shared(), *values = keys + ROWS * LD, *stages = values + ROWS * LD;
    float *statistics = (float *)(stages + 2 * STAGE);    /* [2][lse, delta][QUERIES] */
    const int R = a.s.H / a.s.G, numbers = a.s.heads / R; /* B * G */
    const int n = (int)blockIdx.x % numbers, b = n / a.s.G, g = n % a.s.G;
    const int first = (int)blockIdx.x / numbers * ROWS; /* the longest come first by themselves */
    const int64_t sequence = (int64_t)b * a.s.T;
    const int warp_row = (int)threadIdx.x / QK_WARP * 16 * MF, mine = first + warp_row;
    const int lane = (int)threadIdx.x % QK_WARP;
    const int tiles = (a.s.T - first + QUERIES - 1) / QUERIES, steps = tiles * R;

    /* Step i: tile i % tiles of query head i / tiles of this key head. */
    const auto load = [&](int i) {
        T *to = stages + i % 2 * STAGE;
        const int h = g * R + i / tiles, from = first + i % tiles * QUERIES;
        qk_tile_load<QUERIES, HD>(to, qk_head_rows(a.q, sequence, h, a.s.hd), from, a.s.T, a.s.hd);
        qk_tile_load<QUERIES, HD>(to + QUERIES * LD, qk_head_rows(a.d_o, sequence, h, a.s.hd), from,
                                  a.s.T, a.s.hd);
        qk_copy_commit();
    };
    const auto statistic =
        [&](int i) { /* this thread's, of step i */
                     const int row = first + i % tiles * QUERIES + (int)threadIdx.x % QUERIES;
                     const int64_t at = ((int64_t)b * a.s.H + g * R + i / tiles) * a.s.T + row;
                     if (row >= a.s.T || threadIdx.x >= 2 * QUERIES)
                         return 0.0f;
                     return threadIdx.x < QUERIES ? QK_LOG2E * a.lse[at] : a.delta[at];
        };
    const auto keep = [&](int i, float x) {
        if (threadIdx.x < 2 * QUERIES)
            statistics[i % 2 * 2 * QUERIES + threadIdx.x] = x;
    };

    float dk[MF][HD / 8][4], dv[MF][HD / 8][4];
    qk_clear(dk);
    qk_clear(dv);
    qk_tile_load<ROWS, HD>(keys, qk_head_rows(a.k, sequence, g, a.s.hd), first, a.s.T, a.s.hd);
    qk_tile_load<ROWS, HD>(values, qk_head_rows(a.v, sequence, g, a.s.hd), first, a.s.T, a.s.hd);
    load(0);
    keep(0, statistic(0));
    for (int i = 0; i < steps; i++) {
        const T *queries = stages + i % 2 * STAGE, *douts = queries + QUERIES * LD;
        const float *shift = statistics + i % 2 * 2 * QUERIES + lane % 4 * 2;
        const int from = first + i % tiles * QUERIES;
        float next = 0;
        qk_copy_wait<0>();
        __syncthreads(); /* these queries have come; those before them are done with */
        if (i + 1 < steps) {
            load(i + 1);
            next = statistic(i + 1); /* on its way until it is kept */
        }
        if (from + QUERIES > mine) { /* some row of this warp is seen */
            float p[MF][QUERIES / 8][4], ds[MF][QUERIES / 8][4];
            qk_rows_product<HD>(p, keys + warp_row * LD, queries);
            qk_rows_product<HD>(ds, values + warp_row * LD, douts);
            gradient_of_columns<T>(p, ds, shift, shift + QUERIES, QK_LOG2E * a.s.scale,
                                   from < mine + 16 * MF - 1,
                                   from + lane % 4 * 2 - mine - lane / 4);
            qk_add_product<HD>(dv, p, douts);
            qk_add_product<HD>(dk, ds, queries);
        }
        if (i + 1 < steps)
            keep(i + 1, next);
    }
    qk_scale(dk, a.s.scale);
    qk_tile_store<HD>(qk_head_rows(a.dk, sequence, g, a.s.hd), keys + warp_row * LD, dk, mine,
                      a.s.T, a.s.hd);
    qk_tile_store<HD>(qk_head_rows(a.dv, sequence, g, a.s.hd), values + warp_row * LD, dv, mine,
                      a.s.T, a.s.hd);
}

/* ---- launches ---- */

template <class T, int HD, int MF>
static void launch_dq(struct qk_device *d, const struct backward<T> *a)
{
    qk_cuda_launch(d, dq_kernel<T, HD, MF>, qk_grid_of(a->s, a->s.heads, QK_TILE_WARPS * 16 * MF),
                   dim3(QK_TILE_THREADS), tiles_bytes<T, HD>(MF), *a);
}

/* Beside what a block asks for, 1 KiB of shared memory is the system's. */
static bool two_fit(struct qk_device *d, int bytes)
{
    return 2 * (bytes + 1024) <= qk_cuda_shared(d);
}

template <class T, int HD> static void launch(struct qk_device *d, const struct backward<T> *a)
{
    constexpr int MF = backward_shape<T, HD>::MF, MOST_MF = backward_shape<T, HD>::MOST_MF;
    constexpr int OTHERS = backward_shape<T, HD>::OTHERS;
    const int64_t count = (int64_t)a->s.heads * a->s.T;
    qk_cuda_launch(d, delta_kernel<T>,
                   dim3((unsigned)qk_cuda_blocks(count * DELTA_LANES, DELTA_THREADS)),
                   dim3(DELTA_THREADS), 0, *a, count);
    qk_cuda_launch(d, dkdv_kernel<T, HD>,
                   qk_grid_of(a->s, a->s.heads / (a->s.H / a->s.G), QK_TILE_WARPS * 16 * MF),
                   dim3(QK_TILE_THREADS), tiles_bytes<T, HD>(MF) + 4 * OTHERS * sizeof(float), *a);
    if (two_fit(d, tiles_bytes<T, HD>(MOST_MF)))
        launch_dq<T, HD, MOST_MF>(d, a);
    else
        launch_dq<T, HD, MF>(d, a);
}

void qk_cuda_attention_back(struct qk_device *d, struct qk_buf dq, struct qk_buf dk,
                            struct qk_buf dv, struct qk_buf d_o, struct qk_buf o, struct qk_buf lse,
                            struct qk_buf q, struct qk_buf k, struct qk_buf v,
                            struct qk_attention_shape s)
{
    if (!qk_cuda_begin(d, "attention_back"))
        return;
    qk_by_head_size(q, s.hd, [&](auto type, auto hd) {
        typedef decltype(type) T;
        const struct backward<T> a = {
            .dq = qk_rows_of<T>(d, dq, s.H *s.hd, s.hd),
            .dk = qk_rows_of<T>(d, dk, s.G *s.hd, s.hd),
            .dv = qk_rows_of<T>(d, dv, s.v_stride, s.hd),
            .d_o = qk_rows_of<const T>(d, d_o, s.H *s.hd, s.hd),
            .o = qk_rows_of<const T>(d, o, s.H *s.hd, s.hd),
            .q = qk_rows_of<const T>(d, q, s.H *s.hd, s.hd),
            .k = qk_rows_of<const T>(d, k, s.G *s.hd, s.hd),
            .v = qk_rows_of<const T>(d, v, s.v_stride, s.hd), .lse = qk_cuda_at<float>(d, lse),
            .delta =
                (float *)qk_cuda_scratch(d, QK_CUDA_ROWS, s.B *s.H *s.T *(int64_t)sizeof(float)),
            .s = qk_sizes_of(&s),
        };
        launch<T, decltype(hd)::value>(d, &a);
        qk_cuda_end(d, QK_CLASS_ATTENTION, qk_attention_flops(&s, 5),
                    qk_attention_bytes<T>(&s, 4, 4));
    });
}
