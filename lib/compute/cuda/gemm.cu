/* Matrix products by cuBLASLt.
 *
 * cuBLASLt counts columns first, where a row-major [r, c] with ld is a column-major [c, r] with the
 * same ld; so D^T = op(B)^T op(A)^T is asked for: its A is our B.  What it must be told of a
 * product is put together once per shape and kept, with the algorithm its heuristic ranks first.
 *
 * A sum over K may be cut into parts, whose order is fixed when they are added in a separate step.
 * Not allowed: adding in place, and in bf16, parts kept in bf16.
 */
#include "compute/cuda/gemm.cuh"

#include <stdlib.h>
#include <string.h>

#include "compute/cuda/lt.cuh"

enum {
    PLANS = 256,
    FOUND = 4,
    TILE = 32, /* of the plain kernel: a result's side, and numbers of K at once */
    DOWN = 8,  /* rows of threads */
};

/* All that an algorithm depends on. */
struct shape {
    int64_t M, N, K, count, lda, ldb, ldc, stride_a, stride_b, stride_c;
    int32_t ta, tb, in, out;
    uint32_t aligned[4]; /* bytes: A, B, C, D */
};

struct plan {
    struct shape shape;
    cublasLtMatmulDesc_t what;
    cublasLtMatrixLayout_t a, b, c; /* of our A, B, C and D */
    cublasLtMatmulAlgo_t how;
    bool found; /* false: cuBLASLt has nothing for it */
};

struct qk_lt {
    struct qk_lt_calls call;
    cublasLtHandle_t handle;
    struct plan plans[PLANS];
    int count, next; /* plans held, and the one that a new shape takes */
};

/* ---- what cuBLASLt does not do ---- */

/* Row-major: the number of op(X) at [i, j] of matrix z. */
template <class T>
__device__ __forceinline__ float entry(const void *X, bool transposed, int64_t ld, int64_t stride,
                                       int64_t z, int64_t i, int64_t j)
{
    return qk_wide(((const T *)X)[z * stride + (transposed ? j * ld + i : i * ld + j)]);
}

/* A block per tile of the result.  Threads side by side load numbers side by side. */
template <class In, class Out>
static __global__ void __launch_bounds__(TILE *DOWN) plain_kernel(struct qk_cuda_product p)
{
    __shared__ float a[TILE][TILE + 1], b[TILE][TILE + 1]; /* [row, k], [k, column] */
    const int64_t across = (p.N + TILE - 1) / TILE, down = (p.M + TILE - 1) / TILE;
    const int64_t z = blockIdx.x / (across * down), tile = blockIdx.x % (across * down);
    const int64_t i0 = tile / across * TILE, j0 = tile % across * TILE;
    const int x = threadIdx.x, y = threadIdx.y;
    float sum[TILE / DOWN] = {};
    for (int64_t k0 = 0; k0 < p.K; k0 += TILE) {
        for (int s = y; s < TILE; s += DOWN) {
            const int ar = p.ta ? x : s, ak = p.ta ? s : x, bk = p.tb ? x : s, bc = p.tb ? s : x;
            const bool in_a = i0 + ar < p.M && k0 + ak < p.K, in_b = j0 + bc < p.N && k0 + bk < p.K;
            a[ar][ak] = in_a ? entry<In>(p.A, p.ta, p.lda, p.stride_a, z, i0 + ar, k0 + ak) : 0.0f;
            b[bk][bc] = in_b ? entry<In>(p.B, p.tb, p.ldb, p.stride_b, z, k0 + bk, j0 + bc) : 0.0f;
        }
        __syncthreads();
        for (int k = 0; k < TILE; k++)
            for (int r = 0; r < TILE / DOWN; r++)
                sum[r] += a[y + r * DOWN][k] * b[k][x];
        __syncthreads();
    }
    for (int r = 0; r < TILE / DOWN; r++) {
        const int64_t i = i0 + y + r * DOWN, j = j0 + x, at = z * p.stride_c + i * p.ldc + j;
        if (i < p.M && j < p.N)
            ((Out *)p.D)[at] = qk_round<Out>(
                p.alpha * sum[r] + (p.beta != 0 ? p.beta * qk_wide(((const Out *)p.C)[at]) : 0.0f));
    }
}

static bool typed(const struct qk_cuda_product *p, enum qk_cuda_type in, enum qk_cuda_type out)
{
    return p->in == in && p->out == out;
}

void qk_cuda_gemm_plain(struct qk_device *d, const struct qk_cuda_product *p)
{
    const dim3 block(TILE, DOWN);
    const int64_t tiles = qk_cuda_blocks(p->M, TILE) * qk_cuda_blocks(p->N, TILE) * p->count;
    const dim3 grid((unsigned)tiles);
    if (tiles > INT32_MAX)
        qk_cuda_fail(d, "%lld products [%lld, %lld] are too many", (long long)p->count,
                     (long long)p->M, (long long)p->N);
    else if (typed(p, QK_CUDA_F32, QK_CUDA_F32))
        qk_cuda_launch(d, plain_kernel<float, float>, grid, block, 0, *p);
    else if (typed(p, QK_CUDA_BF16, QK_CUDA_F32))
        qk_cuda_launch(d, plain_kernel<bf16, float>, grid, block, 0, *p);
    else if (typed(p, QK_CUDA_BF16, QK_CUDA_BF16))
        qk_cuda_launch(d, plain_kernel<bf16, bf16>, grid, block, 0, *p);
    else
        qk_cuda_fail(d, "no product has numbers of these types");
}

/* ---- plans ---- */

static uint32_t alignment(const void *p)
{
    uint32_t bytes = 256;
    while ((uintptr_t)p % bytes)
        bytes /= 2;
    return bytes;
}

static struct shape shape_of(const struct qk_cuda_product *p)
{
    struct shape s = {};
    s.M = p->M, s.N = p->N, s.K = p->K, s.count = p->count;
    s.lda = p->lda, s.ldb = p->ldb, s.ldc = p->ldc;
    if (p->count > 1)
        s.stride_a = p->stride_a, s.stride_b = p->stride_b, s.stride_c = p->stride_c;
    s.ta = p->ta, s.tb = p->tb, s.in = p->in, s.out = p->out;
    s.aligned[0] = alignment(p->A), s.aligned[1] = alignment(p->B);
    s.aligned[2] = alignment(p->C), s.aligned[3] = alignment(p->D);
    return s;
}

static void forget(const struct qk_lt_calls *call, struct plan *plan)
{
    if (plan->what)
        call->desc_destroy(plan->what);
    const cublasLtMatrixLayout_t layouts[] = {plan->a, plan->b, plan->c};
    for (int i = 0; i < 3; i++)
        if (layouts[i])
            call->layout_destroy(layouts[i]);
    memset(plan, 0, sizeof *plan);
}

static bool good(struct qk_device *d, cublasStatus_t status)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return true;
    qk_cuda_fail(d, "cuBLASLt: %s", qk_cuda_of(d)->lt->call.status_string(status));
    return false;
}

static cudaDataType_t cuda_type(int32_t type)
{
    return type == QK_CUDA_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* A row-major [rows, cols]. */
static bool describe(struct qk_device *d, cublasLtMatrixLayout_t *layout, int32_t type,
                     int64_t rows, int64_t cols, int64_t ld, int64_t count, int64_t stride)
{
    const struct qk_lt_calls *call = &qk_cuda_of(d)->lt->call;
    const int32_t batch = (int32_t)count;
    return good(d,
                call->layout_create(layout, cuda_type(type), (uint64_t)cols, (uint64_t)rows, ld)) &&
           good(d, call->layout_set(*layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
                                    sizeof batch)) &&
           good(d, call->layout_set(*layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                    sizeof stride));
}

static bool describe_all(struct qk_device *d, struct plan *plan)
{
    const struct qk_lt_calls *call = &qk_cuda_of(d)->lt->call;
    const struct shape *s = &plan->shape;
    const cublasOperation_t first = s->tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = s->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    return good(d, call->desc_create(&plan->what, CUBLAS_COMPUTE_32F, CUDA_R_32F)) &&
           good(d, call->desc_set(plan->what, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first)) &&
           good(d,
                call->desc_set(plan->what, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second)) &&
           describe(d, &plan->a, s->in, s->ta ? s->K : s->M, s->ta ? s->M : s->K, s->lda, s->count,
                    s->stride_a) &&
           describe(d, &plan->b, s->in, s->tb ? s->N : s->K, s->tb ? s->K : s->N, s->ldb, s->count,
                    s->stride_b) &&
           describe(d, &plan->c, s->out, s->M, s->N, s->ldc, s->count, s->stride_c);
}

static bool prefer(struct qk_device *d, cublasLtMatmulPreference_t wish, const struct shape *s)
{
    const struct qk_lt_calls *call = &qk_cuda_of(d)->lt->call;
    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        /* ours, in their order of A and B */
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const uint64_t room = QK_CUDA_LT_ROOM;
    const uint32_t parts = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE |
                           (s->out == QK_CUDA_F32 ? CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE : 0);
    bool set = good(d, call->preference_set(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room,
                                            sizeof room)) &&
               good(d, call->preference_set(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                            &parts, sizeof parts));
    for (int i = 0; i < 4; i++)
        set = set &&
              good(d, call->preference_set(wish, aligned[i], &s->aligned[i], sizeof s->aligned[i]));
    return set;
}

/* The first algorithm offered that fits; none is no failure. */
static void choose(struct qk_device *d, struct plan *plan)
{
    const struct qk_lt *lt = qk_cuda_of(d)->lt;
    cublasLtMatmulPreference_t wish = NULL;
    if (!good(d, lt->call.preference_create(&wish)))
        return;
    cublasLtMatmulHeuristicResult_t offer[FOUND];
    int offers = 0;
    if (prefer(d, wish, &plan->shape) &&
        lt->call.heuristic(lt->handle, plan->what, plan->b, plan->a, plan->c, plan->c, wish, FOUND,
                           offer, &offers) != CUBLAS_STATUS_SUCCESS)
        offers = 0;
    for (int i = 0; i < offers && !plan->found; i++) {
        plan->found =
            offer[i].state == CUBLAS_STATUS_SUCCESS && offer[i].workspaceSize <= QK_CUDA_LT_ROOM;
        plan->how = offer[i].algo;
    }
    lt->call.preference_destroy(wish);
}

/* NULL with the failure kept.  A full table drops its oldest. */
static const struct plan *plan_for(struct qk_device *d, const struct qk_cuda_product *p)
{
    struct qk_lt *lt = qk_cuda_of(d)->lt;
    const struct shape shape = shape_of(p);
    for (int i = 0; i < lt->count; i++)
        if (!memcmp(&lt->plans[i].shape, &shape, sizeof shape))
            return &lt->plans[i];
    struct plan *plan = &lt->plans[lt->next];
    forget(&lt->call, plan);
    plan->shape = shape;
    if (shape.K > 0 && describe_all(d, plan))
        choose(d, plan);
    if (d->failure.text[0]) {
        forget(&lt->call, plan);
        return NULL;
    }
    lt->next = (lt->next + 1) % PLANS;
    lt->count = lt->count < PLANS ? lt->count + 1 : PLANS;
    return plan;
}

/* ---- products ---- */

void qk_cuda_gemm(struct qk_device *d, const struct qk_cuda_product *product)
{
    struct qk_cuda_product p = *product;
    if (d->failure.text[0] || p.M <= 0 || p.N <= 0 || p.count <= 0)
        return;
    if (p.beta == 0)
        p.C = p.D;
    const struct plan *plan = plan_for(d, &p);
    void *room = qk_cuda_scratch(d, QK_CUDA_WORKSPACE, QK_CUDA_LT_ROOM);
    if (!plan || !room)
        return;
    if (!plan->found) {
        qk_cuda_of(d)->plain_products++;
        qk_cuda_gemm_plain(d, &p);
        return;
    }
    const struct qk_lt *lt = qk_cuda_of(d)->lt;
    cublasStatus_t status = lt->call.matmul(
        lt->handle, plan->what, &p.alpha, p.B, plan->b, p.A, plan->a, &p.beta, p.C, plan->c, p.D,
        plan->c, &plan->how, room, QK_CUDA_LT_ROOM, qk_cuda_of(d)->stream);
    if (status != CUBLAS_STATUS_SUCCESS)
        qk_cuda_fail(d, "cuBLASLt: %s, [%lld, %lld] by [%lld, %lld]",
                     lt->call.status_string(status), (long long)p.M, (long long)p.K, (long long)p.K,
                     (long long)p.N);
}

int64_t qk_cuda_plain_products(const struct qk_device *d)
{
    return ((const struct qk_cuda *)d)->plain_products;
}

int qk_cuda_gemm_open(struct qk_device *d, struct qk_err *err)
{
    struct qk_lt *lt = (struct qk_lt *)calloc(1, sizeof *lt);
    if (!lt)
        return qk_fail(err, "device cuda: the host is out of memory");
    qk_cuda_of(d)->lt = lt;
    if (qk_lt_load(&lt->call, err))
        return -1;
    cublasStatus_t status = lt->call.create(&lt->handle);
    return status == CUBLAS_STATUS_SUCCESS
               ? 0
               : qk_fail(err, "device cuda: cuBLASLt: %s", lt->call.status_string(status));
}

void qk_cuda_gemm_close(struct qk_device *d)
{
    struct qk_lt *lt = qk_cuda_of(d)->lt;
    for (int i = 0; i < lt->count; i++)
        forget(&lt->call, &lt->plans[i]);
    if (lt->handle)
        lt->call.destroy(lt->handle);
    free(lt);
    qk_cuda_of(d)->lt = NULL;
}
