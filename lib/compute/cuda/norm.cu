/* RMSNorm (Zhang and Sennrich 2019).
 *
 * A team of whole warps holds a row in registers, in packs of 16 bytes: each array passes once.
 * Rows that are too long or do not lie on 16 bytes are walked number by number, a warp to a row. A
 * block is (threads of a team, teams). */
#include "compute/cuda/rows.cuh"

enum {
    THREADS = 256,      /* of a block, unless one row needs more, */
    THREADS_BACK = 128, /* and backward, where registers are scarce */
    LONGEST = 8192,     /* row that is held in registers */
    PACKS = 4,          /* of a thread, forward */
    PACKS_BACK = 2,     /* backward: two more arrays and the gain's gradient are held */
    TEAMS_BACK = 1024,  /* that share the rows of a backward pass, as far as */
    ROWS_BACK = 64,     /* rows of one team allow: the gain's gradient has a partial sum per team */
    PARTIAL_ROWS = 128, /* of one partial sum where rows are walked */
};

/* Sums over teams; `room` has a place per warp of the block.  One barrier: whoever sums again takes
 * other room, or waits. */
__device__ __forceinline__ float team_sum(float x, float *room)
{
    x = qk_warp_sum(x);
    const int warps = blockDim.x / QK_WARP;
    if (warps == 1)
        return x;
    float *mine = room + threadIdx.y * warps;
    if (threadIdx.x % QK_WARP == 0)
        mine[threadIdx.x / QK_WARP] = x;
    __syncthreads();
    x = 0;
    for (int w = 0; w < warps; w++)
        x += mine[w];
    return x;
}

__device__ __forceinline__ float root(float sum, float eps, int64_t N)
{
    return 1.0f / sqrtf(sum / (float)N + eps);
}

/* gain[i ...], ones for none; from the caches, so that registers are left for the rows. */
template <int P> __device__ __forceinline__ void read_gain(float (&g)[P], const float *gain, int i)
{
    if (gain)
        qk_read<P>(g, gain + i);
    else
        for (int j = 0; j < P; j++)
            g[j] = 1;
}

/* ---- forward ---- */

template <class T, int P>
static __global__ void __launch_bounds__(LONGEST / P / PACKS, 2)
    norm_held(T *__restrict__ y, float *__restrict__ rstd, const T *__restrict__ x,
              const float *__restrict__ gain, float eps, int64_t M, int64_t N)
{
    __shared__ float room[QK_WARP];
    const int64_t m = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    float row[PACKS][P], sum = 0;
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
        const int i = (k * blockDim.x + threadIdx.x) * P;
        if (m < M && i < N)
            qk_read<P>(row[k], x + m * N + i);
        else
            for (int j = 0; j < P; j++)
                row[k][j] = 0;
#pragma unroll
        for (int j = 0; j < P; j++)
            sum += row[k][j] * row[k][j];
    }
    const float r = root(team_sum(sum, room), eps, N);
    if (m >= M)
        return;
    if (threadIdx.x == 0)
        rstd[m] = r;
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
        const int i = (k * blockDim.x + threadIdx.x) * P;
        if (i >= N)
            continue;
        float g[P];
        read_gain(g, gain, i);
#pragma unroll
        for (int j = 0; j < P; j++)
            row[k][j] = row[k][j] * r * g[j];
        qk_write<P>(y + m * N + i, row[k]);
    }
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    norm_walked(T *__restrict__ y, float *__restrict__ rstd, const T *__restrict__ x,
                const float *__restrict__ gain, float eps, int64_t M, int64_t N)
{
    const int64_t m = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (m >= M)
        return;
    const T *row = x + m * N;
    float sum = 0;
    for (int64_t i = threadIdx.x; i < N; i += QK_WARP)
        sum += qk_wide(row[i]) * qk_wide(row[i]);
    const float r = root(qk_warp_sum(sum), eps, N);
    if (threadIdx.x == 0)
        rstd[m] = r;
    for (int64_t i = threadIdx.x; i < N; i += QK_WARP)
        y[m * N + i] = qk_round<T>(qk_wide(row[i]) * r * (gain ? gain[i] : 1.0f));
}

/* ---- backward: with n = x r and h = dy gain,  dx += r (h - n mean(h n)),  dgain += dy n ---- */

/* partial [teams, N], or NULL: the gain's gradient of the rows of a team. */
template <class T, int P>
static __global__ void __launch_bounds__(LONGEST / P / PACKS_BACK)
    norm_back_held(T *__restrict__ dx, float *__restrict__ partial, const T *__restrict__ dy,
                   const T *__restrict__ x, const float *__restrict__ gain,
                   const float *__restrict__ rstd, int64_t M, int64_t N, int rows)
{
    __shared__ float room[2][QK_WARP];
    const int64_t team = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    float dgain[PACKS_BACK][P] = {};
    for (int turn = 0; turn < rows; turn++) {
        const int64_t m = team * rows + turn;
        const float r = m < M ? rstd[m] : 0;
        qk_pack<T, P> in[PACKS_BACK], out[PACKS_BACK], old[PACKS_BACK];
        float dot = 0;
#pragma unroll
        for (int k = 0; k < PACKS_BACK; k++) {
            const int i = (k * blockDim.x + threadIdx.x) * P;
            if (m >= M || i >= N)
                continue;
            in[k] = qk_load<P>(x + m * N + i);
            out[k] = qk_load<P>(dy + m * N + i);
            old[k] = qk_load<P>(dx + m * N + i);
            float g[P];
            read_gain(g, gain, i);
#pragma unroll
            for (int j = 0; j < P; j++) {
                const float a = qk_wide(in[k].at[j]), b = qk_wide(out[k].at[j]);
                dgain[k][j] += b * a * r;
                dot += b * g[j] * a;
            }
        }
        const float back = team_sum(dot, room[turn % 2]) * r * r * r / (float)N;
#pragma unroll
        for (int k = 0; k < PACKS_BACK; k++) {
            const int i = (k * blockDim.x + threadIdx.x) * P;
            if (m >= M || i >= N)
                continue;
            float sum[P], g[P];
            read_gain(g, gain, i);
#pragma unroll
            for (int j = 0; j < P; j++)
                sum[j] = qk_wide(old[k].at[j]) + r * qk_wide(out[k].at[j]) * g[j] -
                         back * qk_wide(in[k].at[j]);
            qk_write<P>(dx + m * N + i, sum);
        }
    }
    if (!partial || team * rows >= M)
        return;
#pragma unroll
    for (int k = 0; k < PACKS_BACK; k++) {
        const int i = (k * blockDim.x + threadIdx.x) * P;
        if (i < N)
            qk_write<P>(partial + team * N + i, dgain[k]);
    }
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    norm_back_walked(T *__restrict__ dx, const T *__restrict__ dy, const T *__restrict__ x,
                     const float *__restrict__ gain, const float *__restrict__ rstd, int64_t M,
                     int64_t N)
{
    const int64_t m = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (m >= M)
        return;
    float dot = 0;
    for (int64_t i = threadIdx.x; i < N; i += QK_WARP)
        dot += qk_wide(dy[m * N + i]) * (gain ? gain[i] : 1.0f) * qk_wide(x[m * N + i]);
    const float r = rstd[m], back = qk_warp_sum(dot) * r * r * r / (float)N;
    for (int64_t i = threadIdx.x; i < N; i += QK_WARP) {
        const float h = r * qk_wide(dy[m * N + i]) * (gain ? gain[i] : 1.0f);
        const int64_t at = m * N + i;
        dx[at] = qk_round<T>(qk_wide(dx[at]) + h - back * qk_wide(x[at]));
    }
}

/* A column per thread, rows PARTIAL_ROWS * blockIdx.y and on. */
template <class T>
static __global__ void __launch_bounds__(THREADS)
    gain_back_walked(float *__restrict__ partial, const T *__restrict__ dy, const T *__restrict__ x,
                     const float *__restrict__ rstd, int64_t M, int64_t N, int64_t blocks)
{
    const int64_t i = (int64_t)(blockIdx.x / blocks) * THREADS + threadIdx.x;
    const int64_t k = blockIdx.x % blocks;
    if (i >= N)
        return;
    float sum = 0;
    for (int64_t m = k * PARTIAL_ROWS; m < M && m < (k + 1) * PARTIAL_ROWS; m++)
        sum += qk_wide(dy[m * N + i]) * qk_wide(x[m * N + i]) * rstd[m];
    partial[k * N + i] = sum;
}

/* ---- the operations ---- */

/* Threads of a team that hold a row of N in `packs` packs of P each: the least power of two. */
static unsigned team_of(int64_t N, int P, int packs)
{
    unsigned threads = QK_WARP;
    while ((int64_t)threads * P * packs < N)
        threads *= 2;
    return threads;
}

static dim3 block_of(unsigned team, unsigned threads)
{
    return dim3(team, team < threads ? threads / team : 1);
}

static dim3 grid_of(int64_t teams, dim3 block)
{
    return dim3((unsigned)qk_cuda_blocks(teams, block.y));
}

void qk_cuda_rmsnorm(struct qk_device *d, struct qk_buf y_, struct qk_buf rstd_, struct qk_buf x_,
                     struct qk_buf gain_, float eps, int64_t M, int64_t N)
{
    if (!qk_cuda_begin(d, "rmsnorm"))
        return;
    qk_cuda_by_type(x_, [&](auto t) {
        using T = decltype(t);
        constexpr int P = QK_16_BYTES<T>;
        T *y = qk_cuda_at<T>(d, y_);
        const T *x = qk_cuda_at<T>(d, x_);
        float *rstd = qk_cuda_at<float>(d, rstd_);
        const float *gain = qk_cuda_at<float>(d, gain_);
        if (N <= LONGEST && qk_cuda_packs<P>(y, N) && qk_cuda_packs<P>(x, N) &&
            qk_cuda_packs<4>(gain, N)) {
            const dim3 block = block_of(team_of(N, P, PACKS), THREADS);
            qk_cuda_launch(d, norm_held<T, P>, grid_of(M, block), block, 0, y, rstd, x, gain, eps,
                           M, N);
        } else {
            const dim3 block = block_of(QK_WARP, THREADS);
            qk_cuda_launch(d, norm_walked<T>, grid_of(M, block), block, 0, y, rstd, x, gain, eps, M,
                           N);
        }
        const double n = (double)M * (double)N;
        qk_cuda_end(d, QK_CLASS_NORM, 4 * n, 2 * n * sizeof(T));
    });
}

struct back {
    float *dgain;
    const float *gain, *rstd;
    int64_t M, N;
};

/* Teams, and so partial sums, depend on the shape alone. */
template <class T>
static void back_held(struct qk_device *d, const struct back *b, T *dx, const T *dy, const T *x)
{
    constexpr int P = QK_16_BYTES<T>;
    const int64_t share = qk_cuda_blocks(b->M, TEAMS_BACK);
    const int rows = share < 1 ? 1 : share < ROWS_BACK ? (int)share : ROWS_BACK;
    const int64_t teams = qk_cuda_blocks(b->M, rows);
    float *partial = NULL;
    if (b->dgain)
        partial =
            (float *)qk_cuda_scratch(d, QK_CUDA_PARTIAL, teams * b->N * (int64_t)sizeof *partial);
    const dim3 block = block_of(team_of(b->N, P, PACKS_BACK), THREADS_BACK);
    qk_cuda_launch(d, norm_back_held<T, P>, grid_of(teams, block), block, 0, dx, partial, dy, x,
                   b->gain, b->rstd, b->M, b->N, rows);
    if (b->dgain)
        qk_cuda_add_partials(d, b->dgain, partial, teams, b->N);
}

template <class T>
static void back_walked(struct qk_device *d, const struct back *b, T *dx, const T *dy, const T *x)
{
    const dim3 block = block_of(QK_WARP, THREADS);
    qk_cuda_launch(d, norm_back_walked<T>, grid_of(b->M, block), block, 0, dx, dy, x, b->gain,
                   b->rstd, b->M, b->N);
    if (!b->dgain)
        return;
    const int64_t blocks = qk_cuda_blocks(b->M, PARTIAL_ROWS);
    float *partial =
        (float *)qk_cuda_scratch(d, QK_CUDA_PARTIAL, blocks * b->N * (int64_t)sizeof *partial);
    qk_cuda_launch(d, gain_back_walked<T>, dim3((unsigned)(blocks * qk_cuda_blocks(b->N, THREADS))),
                   THREADS, 0, partial, dy, x, b->rstd, b->M, b->N, blocks);
    qk_cuda_add_partials(d, b->dgain, partial, blocks, b->N);
}

void qk_cuda_rmsnorm_back(struct qk_device *d, struct qk_buf dx_, struct qk_buf dgain_,
                          struct qk_buf dy_, struct qk_buf x_, struct qk_buf gain_,
                          struct qk_buf rstd_, int64_t M, int64_t N)
{
    if (!qk_cuda_begin(d, "rmsnorm_back"))
        return;
    const struct back b = {.dgain = qk_cuda_at<float>(d, dgain_),
                           .gain = qk_cuda_at<float>(d, gain_),
                           .rstd = qk_cuda_at<float>(d, rstd_),
                           .M = M,
                           .N = N};
    qk_cuda_by_type(x_, [&](auto t) {
        using T = decltype(t);
        constexpr int P = QK_16_BYTES<T>;
        T *dx = qk_cuda_at<T>(d, dx_);
        const T *dy = qk_cuda_at<T>(d, dy_), *x = qk_cuda_at<T>(d, x_);
        if (N <= LONGEST && qk_cuda_packs<P>(dx, N) && qk_cuda_packs<P>(dy, N) &&
            qk_cuda_packs<P>(x, N) && qk_cuda_packs<4>(b.gain, N))
            back_held(d, &b, dx, dy, x);
        else
            back_walked(d, &b, dx, dy, x);
        const double n = (double)M * (double)N;
        qk_cuda_end(d, QK_CLASS_NORM, 9 * n, 4 * n * sizeof(T));
    });
}
