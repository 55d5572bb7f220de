/* Head and cross-entropy in one.
 *
 * Rows go by chunks whose float32 logits fit QK_CUDA_LOGITS bytes.  A block reads a row once for
 * its largest logit and the sum of exponentials beside it, and once more for the gradient,
 *
 *   dlogits = grad_scale (softmax - onehot(target)),
 *
 * which is written over the logits as numbers of an activation.  bf16 then fill the first half of
 * each row: the row is read tile by tile, all of a tile before any of it is written, so that a
 * write meets only logits that have been read.  dx and dw are products with them.
 */
#include <float.h>

#include "compute/cuda/gemm.cuh"

static const int THREADS = 1024;

/* ---- the largest logit of a row, and the sum of exp(logit - max) ---- */

struct summary {
    float max, sum;
    int32_t at; /* where max is first met; INT32_MAX: nowhere */
};

/* Of two parts, the same whichever is first. */
__device__ __forceinline__ struct summary both(struct summary a, struct summary b)
{
    const bool first = a.max > b.max || (a.max == b.max && a.at < b.at);
    struct summary all = first ? a : b;
    const struct summary other = first ? b : a;
    all.sum += other.sum * expf(other.max - all.max);
    return all;
}

__device__ __forceinline__ struct summary warp_summary(struct summary a)
{
    for (int step = QK_WARP / 2; step; step /= 2) {
        struct summary b;
        b.max = __shfl_xor_sync(QK_ALL_LANES, a.max, step);
        b.sum = __shfl_xor_sync(QK_ALL_LANES, a.sum, step);
        b.at = __shfl_xor_sync(QK_ALL_LANES, a.at, step);
        a = both(a, b);
    }
    return a;
}

static __device__ const struct summary NOTHING = {-FLT_MAX, 0, INT32_MAX};

/* Of the block's parts, in every thread. */
__device__ __forceinline__ struct summary block_summary(struct summary a)
{
    __shared__ struct summary room[THREADS / QK_WARP];
    const int lane = threadIdx.x % QK_WARP, warp = threadIdx.x / QK_WARP;
    a = warp_summary(a);
    if (lane == 0)
        room[warp] = a;
    __syncthreads();
    return warp_summary(lane < (int)(blockDim.x / QK_WARP) ? room[lane] : NOTHING);
}

/* This thread's part of a row. */
template <int N> __device__ __forceinline__ struct summary part_of_row(const float *row, int64_t V)
{
    struct summary a = NOTHING;
    for (int64_t i = (int64_t)threadIdx.x * N; i < V; i += blockDim.x * N) {
        const qk_pack<float, N> x = *(const qk_pack<float, N> *)(row + i);
        const float before = a.max;
        for (int k = 0; k < N; k++)
            if (x.at[k] > a.max) {
                a.max = x.at[k];
                a.at = (int32_t)(i + k);
            }
        if (a.max > before)
            a.sum *= expf(before - a.max);
        for (int k = 0; k < N; k++)
            a.sum += expf(x.at[k] - a.max);
    }
    return a;
}

/* ---- rows ---- */

struct rows {
    float *logits; /* [rows, V] */
    float *nll;    /* [rows] */
    int32_t *best; /* [rows] or NULL */
    const int32_t *targets;
    unsigned long long *strays;
    int64_t first, V; /* row 0's number in the call */
    float grad_scale;
    bool back;
};

/* A block per row; V is a multiple of N, and N numbers lie aligned. */
template <class T, int N>
static __global__ void __launch_bounds__(THREADS) rows_kernel(struct rows r)
{
    float *row = r.logits + blockIdx.x * r.V;
    const struct summary all = block_summary(part_of_row<N>(row, r.V));
    const int32_t target = r.targets[blockIdx.x];
    const bool counts = target >= 0 && target < r.V;
    if (threadIdx.x == 0) {
        if (target >= r.V)
            qk_stray(r.strays, r.first + blockIdx.x, target);
        if (r.best)
            r.best[blockIdx.x] = all.at == INT32_MAX ? 0 : all.at; /* a row of NaN */
        r.nll[blockIdx.x] =
            counts ? (float)(log((double)all.sum) + ((double)all.max - (double)row[target])) : 0;
    }
    if (!r.back)
        return;
    const float factor = counts ? r.grad_scale / all.sum : 0;
    for (int64_t tile = 0; tile < r.V; tile += blockDim.x * N) {
        const int64_t i = tile + threadIdx.x * N;
        qk_pack<T, N> out = {};
        if (i < r.V) {
            const qk_pack<float, N> x = *(const qk_pack<float, N> *)(row + i);
            for (int k = 0; k < N; k++) {
                const float hit = counts && i + k == target ? r.grad_scale : 0;
                out.at[k] = qk_round<T>(factor * expf(x.at[k] - all.max) - hit);
            }
        }
        __syncthreads();
        if (i < r.V)
            *(qk_pack<T, N> *)((T *)row + i) = out;
    }
}

/* A warp at least, and no more threads than have something to read. */
template <class T, int N>
static void launch_rows(struct qk_device *d, const struct rows *r, int64_t rows)
{
    const int64_t warps = qk_cuda_blocks(qk_cuda_blocks(r->V, N), QK_WARP);
    const int64_t threads = warps * QK_WARP < THREADS ? warps * QK_WARP : THREADS;
    qk_cuda_launch(d, rows_kernel<T, N>, (unsigned)rows, (unsigned)threads, 0, *r);
}

/* ---- the operation ---- */

static int64_t rows_at_once(struct qk_device *d, int64_t M, int64_t V)
{
    const int64_t most = qk_cuda_of(d)->most_logits;
    return qk_cuda_logit_rows(most ? most : qk_cuda_room(d, QK_CUDA_LOGITS), M, V);
}

template <class T> struct loss {
    int64_t D, V;
    const T *x, *w; /* x, dx: of these rows */
    T *dx;          /* NULL: not wanted */
    void *dw;
    enum qk_cuda_type dw_type;
};

template <class T>
static void chunk(struct qk_device *d, const struct loss<T> *a, const struct rows *r, int64_t rows)
{
    struct qk_cuda_product p = {};
    p.count = 1, p.alpha = 1;
    p.in = qk_cuda_type_of<T>::value;
    p.tb = true, p.out = QK_CUDA_F32;
    p.M = rows, p.N = a->V, p.K = a->D;
    p.A = a->x, p.B = a->w, p.D = r->logits;
    p.lda = p.ldb = a->D, p.ldc = a->V;
    qk_cuda_gemm(d, &p);
    if (a->V % 8 == 0)
        launch_rows<T, 8>(d, r, rows);
    else
        launch_rows<T, 1>(d, r, rows);
    p.A = r->logits, p.lda = a->V * (int64_t)(sizeof(float) / sizeof(T)); /* now dlogits */
    p.ldc = a->D;
    p.tb = false, p.out = p.in, p.N = a->D, p.K = a->V, p.D = a->dx;
    if (a->dx)
        qk_cuda_gemm(d, &p);
    p.ta = true, p.beta = 1, p.out = a->dw_type, p.M = a->V, p.K = rows, p.B = a->x;
    p.C = p.D = a->dw;
    if (a->dw)
        qk_cuda_gemm(d, &p);
}

void qk_cuda_loss(struct qk_device *d, struct qk_buf nll, struct qk_buf best, struct qk_buf dx,
                  struct qk_buf dw, struct qk_buf x, struct qk_buf w, struct qk_buf targets,
                  float grad_scale, int64_t M, int64_t D, int64_t V)
{
    if (!qk_cuda_begin(d, "loss"))
        return;
    qk_cuda_by_type(x, [&](auto zero) {
        typedef decltype(zero) T;
        const int64_t rows = rows_at_once(d, M, V);
        struct loss<T> a = {
            D, V, NULL, qk_cuda_at<T>(d, w), NULL, NULL, QK_CUDA_F32
        };
        a.dw_type = qk_cuda_is_bf16(dw) ? QK_CUDA_BF16 : QK_CUDA_F32;
        a.dw = qk_cuda_is_bf16(dw) ? (void *)qk_cuda_at<bf16>(d, dw) : qk_cuda_at<float>(d, dw);
        struct rows r = {};
        r.logits = (float *)qk_cuda_scratch(d, QK_CUDA_TILES, rows * V * (int64_t)sizeof(float));
        r.strays = qk_cuda_strays(d, QK_CUDA_LOSS, V);
        r.V = V, r.grad_scale = grad_scale, r.back = !qk_is_none(dx) || !qk_is_none(dw);
        for (r.first = 0; r.first < M && r.logits; r.first += rows) {
            a.x = qk_cuda_at<T>(d, qk_at(x, r.first * D));
            a.dx = qk_cuda_at<T>(d, qk_at(dx, r.first * D));
            r.nll = qk_cuda_at<float>(d, qk_at(nll, r.first));
            r.best = qk_cuda_at<int32_t>(d, qk_at(best, r.first));
            r.targets = qk_cuda_at<int32_t>(d, qk_at(targets, r.first));
            chunk(d, &a, &r, rows < M - r.first ? rows : M - r.first);
        }
        const double wide = sizeof(T), in = (double)M * (double)D, head = (double)V * (double)D;
        const double grad = a.dw_type == QK_CUDA_BF16 ? 2 : 4;
        qk_cuda_end(d, QK_CLASS_LOSS, (r.back ? 6 : 2) * in * (double)V,
                    r.back ? 2 * wide * in + (wide + 2 * grad) * head : wide * (in + head));
    });
}
