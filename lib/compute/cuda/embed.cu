/* Looking up embeddings, and the gradient that comes back to them.
 *
 * The gradient adds rows of dy that have the same token, always in the order of the rows.  Tokens
 * are counted, and the rows listed by token and, for one token, in order (places in the lists come
 * from atomic counters in any order; a row's rank among the rows of its token then puts it right).
 * Blocks take CHUNK rows of that list at a time, whatever their tokens: a run of one token
 * that lies within a chunk goes straight to dw; pieces of a run that crosses chunks go to
 * scratch, and a second kernel adds them in order. */
#include "compute/cuda/rows.cuh"

enum {
    THREADS = 256,
    CHUNK = 32,  /* rows of the list */
    AHEAD = 8,   /* of them read before the first is added */
    STRIP = 128, /* threads over the columns of a chunk */
    SCAN = 1024, /* tokens whose counts one block sums */
};

/* ---- forward ---- */

/* A warp per row. */
template <class T, int P>
static __global__ void __launch_bounds__(THREADS)
    look_up(T *__restrict__ y, const int32_t *__restrict__ tokens, const T *__restrict__ w,
            float scale, int64_t M, int64_t D, int64_t V, unsigned long long *strays)
{
    const int64_t m = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / QK_WARP;
    const int lane = threadIdx.x % QK_WARP;
    if (m >= M)
        return;
    const int32_t token = tokens[m];
    if (token < 0 || token >= V) {
        qk_stray(strays, m, token);
        return;
    }
#pragma unroll 4
    for (int64_t i = lane * P; i < D; i += QK_WARP * P) {
        float x[P];
        qk_read<P>(x, w + token * D + i);
#pragma unroll
        for (int k = 0; k < P; k++)
            x[k] *= scale;
        qk_write<P>(y + m * D + i, x);
    }
}

/* ---- backward: rows by token ---- */

/* What the lists consist of, all on the device. */
struct lists {
    int *count; /* [V] rows of a token, zero to begin with */
    int *start; /* [V] where they begin in the list */
    int *sums;  /* [V / SCAN] counts of SCAN tokens */
    int *place; /* [M] of a row among those of its token, in any order */
    int *loose; /* [M] rows by token, those of one in any order */
    int *rows;  /* [M] the list: those of one token in order */
    int *used;  /* [1] its length: less than M where tokens are strays */
};

static __global__ void __launch_bounds__(THREADS)
    count_tokens(struct lists l, const int32_t *__restrict__ tokens, int M, int64_t V,
                 unsigned long long *strays)
{
    const int m = blockIdx.x * THREADS + threadIdx.x;
    if (m >= M)
        return;
    const int32_t token = tokens[m];
    if (token >= 0 && token < V)
        l.place[m] = atomicAdd(l.count + token, 1);
    else
        qk_stray(strays, m, token);
}

static __global__ void __launch_bounds__(SCAN) sum_counts(struct lists l, int64_t V)
{
    __shared__ int room[QK_WARP];
    const int64_t v = (int64_t)blockIdx.x * SCAN + threadIdx.x;
    int sum = v < V ? l.count[v] : 0;
    for (int d = QK_WARP / 2; d; d /= 2)
        sum += __shfl_xor_sync(QK_ALL_LANES, sum, d);
    if (threadIdx.x % QK_WARP == 0)
        room[threadIdx.x / QK_WARP] = sum;
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    for (int w = 1; w < SCAN / (int)QK_WARP; w++)
        sum += room[w];
    l.sums[blockIdx.x] = sum;
}

/* The sum of x over this thread and those before it in the block. */
__device__ __forceinline__ int sum_so_far(int x, int *room)
{
    const int lane = threadIdx.x % QK_WARP, warp = threadIdx.x / QK_WARP;
    for (int d = 1; d < QK_WARP; d *= 2) {
        const int before = __shfl_up_sync(QK_ALL_LANES, x, d);
        x += lane >= d ? before : 0;
    }
    __syncthreads();
    if (lane == QK_WARP - 1)
        room[warp] = x;
    __syncthreads();
    for (int w = 0; w < warp; w++)
        x += room[w];
    return x;
}

static __global__ void __launch_bounds__(SCAN) start_lists(struct lists l, int64_t V)
{
    __shared__ int room[QK_WARP], before;
    int sum = 0;
    for (int b = threadIdx.x; b < (int)blockIdx.x; b += SCAN)
        sum += l.sums[b];
    sum = sum_so_far(sum, room);
    if (threadIdx.x == SCAN - 1)
        before = sum;
    const int64_t v = (int64_t)blockIdx.x * SCAN + threadIdx.x;
    const int count = v < V ? l.count[v] : 0;
    const int end = sum_so_far(count, room) + before; /* its barriers show `before` */
    if (v < V)
        l.start[v] = end - count;
    if (v == V - 1)
        *l.used = end;
}

static __global__ void __launch_bounds__(THREADS)
    list_rows(struct lists l, const int32_t *__restrict__ tokens, int M, int64_t V)
{
    const int m = blockIdx.x * THREADS + threadIdx.x;
    if (m >= M || tokens[m] < 0 || tokens[m] >= V)
        return;
    l.loose[l.start[tokens[m]] + l.place[m]] = m;
}

static __global__ void __launch_bounds__(THREADS)
    order_rows(struct lists l, const int32_t *__restrict__ tokens, int M, int64_t V)
{
    const int m = blockIdx.x * THREADS + threadIdx.x;
    if (m >= M || tokens[m] < 0 || tokens[m] >= V)
        return;
    const int start = l.start[tokens[m]], count = l.count[tokens[m]];
    const int *__restrict__ same = l.loose + start;
    int rank = 0;
#pragma unroll 8
    for (int i = 0; i < count; i++)
        rank += same[i] < m;
    l.rows[start + rank] = m;
}

/* ---- backward: sums over the list ---- */

/* Pieces of runs that cross chunks: [chunks, 2, D], of the run that came into a chunk and of the
 * one that begins in it and leaves it. */
enum { CAME_IN, GOES_ON };

__device__ __forceinline__ float *piece_of(float *pieces, int64_t chunk, int which, int64_t D)
{
    return pieces + (chunk * 2 + which) * D;
}

template <int P> __device__ __forceinline__ void add_scaled(float *dw, float (&sum)[P], float scale)
{
    float old[P];
    qk_read<P>(old, dw);
#pragma unroll
    for (int k = 0; k < P; k++)
        sum[k] = old[k] + scale * sum[k];
    qk_write<P>(dw, sum);
}

/* P columns per thread of chunk blockIdx.x. */
template <class T, int P>
static __global__ void __launch_bounds__(STRIP)
    add_chunk(float *__restrict__ dw, float *__restrict__ pieces, const T *__restrict__ dy,
              const int32_t *__restrict__ tokens, struct lists l, float scale, int64_t D)
{
    __shared__ int row[CHUNK], token[CHUNK + 2]; /* -1 before and behind the list */
    const int64_t first = (int64_t)blockIdx.x * CHUNK, used = *l.used;
    const int here = used - first < CHUNK ? (int)(used - first) : CHUNK;
    for (int i = threadIdx.x; i < CHUNK + 2; i += STRIP) {
        const int64_t at = first + i - 1;
        const int m = at >= 0 && at < used ? l.rows[at] : -1;
        token[i] = m < 0 ? -1 : tokens[m];
        if (i > 0 && i <= CHUNK)
            row[i - 1] = m;
    }
    __syncthreads();
    const int64_t column = ((int64_t)blockIdx.y * STRIP + threadIdx.x) * P;
    if (column >= D)
        return;
    float sum[P] = {};
    bool whole = token[0] != token[1]; /* the run began in this chunk */
    for (int i = 0; i < here; i += AHEAD) {
        qk_pack<T, P> x[AHEAD];
#pragma unroll
        for (int j = 0; j < AHEAD; j++)
            if (i + j < here)
                x[j] = qk_load<P>(dy + row[i + j] * D + column);
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            const int t = token[i + j + 1];
            if (i + j >= here)
                continue;
#pragma unroll
            for (int k = 0; k < P; k++)
                sum[k] += qk_wide(x[j].at[k]);
            const bool more = token[i + j + 2] == t;
            if (more && i + j + 1 < here)
                continue;
            if (whole && !more)
                add_scaled<P>(dw + t * D + column, sum, scale);
            else
                qk_write<P>(piece_of(pieces, blockIdx.x, whole ? GOES_ON : CAME_IN, D) + column,
                            sum);
            whole = true;
            for (int k = 0; k < P; k++)
                sum[k] = 0;
        }
    }
}

/* The run that begins in chunk blockIdx.x and leaves it, if there is one. */
template <int P>
static __global__ void __launch_bounds__(STRIP)
    add_pieces(float *__restrict__ dw, float *__restrict__ pieces,
               const int32_t *__restrict__ tokens, struct lists l, float scale, int64_t D)
{
    const int64_t chunk = blockIdx.x, next = (chunk + 1) * CHUNK;
    const int64_t column = ((int64_t)blockIdx.y * STRIP + threadIdx.x) * P;
    if (next >= *l.used || column >= D)
        return;
    const int32_t token = tokens[l.rows[next - 1]];
    const int64_t start = l.start[token], end = start + l.count[token];
    if (start < chunk * CHUNK || end <= next)
        return;
    float sum[P];
    qk_read<P>(sum, piece_of(pieces, chunk, GOES_ON, D) + column);
#pragma unroll 4
    for (int64_t c = chunk + 1; c * CHUNK < end; c++) {
        float x[P];
        qk_read<P>(x, piece_of(pieces, c, CAME_IN, D) + column);
#pragma unroll
        for (int k = 0; k < P; k++)
            sum[k] += x[k];
    }
    add_scaled<P>(dw + token * D + column, sum, scale);
}

/* ---- the operations ---- */

static dim3 grid_of(int64_t threads)
{
    return dim3((unsigned)qk_cuda_blocks(threads, THREADS));
}

void qk_cuda_embed(struct qk_device *d, struct qk_buf y_, struct qk_buf tokens_, struct qk_buf w_,
                   float scale, int64_t M, int64_t D, int64_t V)
{
    if (!qk_cuda_begin(d, "embed"))
        return;
    const int32_t *tokens = qk_cuda_at<int32_t>(d, tokens_);
    unsigned long long *strays = qk_cuda_strays(d, QK_CUDA_EMBED, V);
    qk_cuda_by_type(y_, [&](auto t) {
        using T = decltype(t);
        constexpr int P = QK_16_BYTES<T>;
        T *y = qk_cuda_at<T>(d, y_);
        const T *w = qk_cuda_at<T>(d, w_);
        const bool fast = qk_cuda_packs<P>(y, D) && qk_cuda_packs<P>(w, D);
        qk_cuda_launch(d, fast ? look_up<T, P> : look_up<T, 1>, grid_of(M * QK_WARP), THREADS, 0, y,
                       tokens, w, scale, M, D, V, strays);
        const double n = (double)M * (double)D;
        qk_cuda_end(d, QK_CLASS_EMBED, n, 2 * n * sizeof(T));
    });
}

/* Room for the lists, and the lists; empty-handed when there is none. */
static struct lists list_by_token(struct qk_device *d, const int32_t *tokens, int64_t M, int64_t V)
{
    const int64_t blocks = qk_cuda_blocks(V, SCAN);
    struct lists l = {};
    l.count = (int *)qk_cuda_scratch(d, QK_CUDA_INDEX,
                                     (2 * V + blocks + 3 * M + 1) * (int64_t)sizeof(int));
    if (!l.count || !qk_cuda_works(d, cudaMemsetAsync(l.count, 0, (size_t)V * sizeof *l.count,
                                                      qk_cuda_of(d)->stream)))
        return l;
    l.start = l.count + V;
    l.sums = l.start + V;
    l.place = l.sums + blocks;
    l.loose = l.place + M;
    l.rows = l.loose + M;
    l.used = l.rows + M;
    qk_cuda_launch(d, count_tokens, grid_of(M), THREADS, 0, l, tokens, (int)M, V,
                   qk_cuda_strays(d, QK_CUDA_EMBED_BACK, V));
    qk_cuda_launch(d, sum_counts, dim3((unsigned)blocks), SCAN, 0, l, V);
    qk_cuda_launch(d, start_lists, dim3((unsigned)blocks), SCAN, 0, l, V);
    qk_cuda_launch(d, list_rows, grid_of(M), THREADS, 0, l, tokens, (int)M, V);
    qk_cuda_launch(d, order_rows, grid_of(M), THREADS, 0, l, tokens, (int)M, V);
    return l;
}

template <class T, int P>
static void add_by_token(struct qk_device *d, float *dw, const T *dy, const int32_t *tokens,
                         struct lists l, float scale, int64_t M, int64_t D)
{
    const int64_t chunks = qk_cuda_blocks(M, CHUNK);
    float *pieces =
        (float *)qk_cuda_scratch(d, QK_CUDA_PARTIAL, chunks * 2 * D * (int64_t)sizeof *pieces);
    const dim3 grid((unsigned)chunks, (unsigned)qk_cuda_blocks(D, (int64_t)STRIP * P));
    qk_cuda_launch(d, add_chunk<T, P>, grid, STRIP, 0, dw, pieces, dy, tokens, l, scale, D);
    qk_cuda_launch(d, add_pieces<P>, grid, STRIP, 0, dw, pieces, tokens, l, scale, D);
}

void qk_cuda_embed_back(struct qk_device *d, struct qk_buf dw_, struct qk_buf dy_,
                        struct qk_buf tokens_, float scale, int64_t M, int64_t D, int64_t V)
{
    if (!qk_cuda_begin(d, "embed_back"))
        return;
    if (M > INT32_MAX - THREADS) {
        qk_cuda_fail(d, "%lld rows are more than can be counted", (long long)M);
        return;
    }
    float *dw = qk_cuda_at<float>(d, dw_);
    const int32_t *tokens = qk_cuda_at<int32_t>(d, tokens_);
    const struct lists l = list_by_token(d, tokens, M, V);
    qk_cuda_by_type(dy_, [&](auto t) {
        using T = decltype(t);
        constexpr int P = QK_16_BYTES<T>;
        const T *dy = qk_cuda_at<T>(d, dy_);
        if (qk_cuda_packs<P>(dy, D) && qk_cuda_packs<4>(dw, D))
            add_by_token<T, P>(d, dw, dy, tokens, l, scale, M, D);
        else
            add_by_token<T, 1>(d, dw, dy, tokens, l, scale, M, D);
        const double n = (double)M * (double)D;
        qk_cuda_end(d, QK_CLASS_EMBED, 2 * n, n * sizeof(T) + 2 * n * sizeof(float));
    });
}
