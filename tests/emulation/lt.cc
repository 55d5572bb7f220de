/* cuBLASLt by BLAS: strict about what it is given, and every number is read and written by code
 * that AddressSanitizer looks at. */
#include "internal.h"

#include <cblas.h>
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <vector>

#include "compute/cuda/lt.cuh"

/* Some of the workspace is wanted, and spoilt, so that it has to be there. */
static const size_t WORKSPACE = 4096;

struct qk_emulation_lt {
    int alive;
};
struct qk_emulation_desc {
    int32_t compute, scale, pointer_mode, transa, transb;
    uint32_t epilogue;
};
struct qk_emulation_layout {
    uint32_t type;
    int32_t order, batch;
    uint64_t rows, cols;
    int64_t ld, stride;
};
struct qk_emulation_preference {
    uint64_t workspace;
    uint32_t reduction, aligned[4];
};

int qk_lt_load(struct qk_lt_calls *to, struct qk_err *)
{
#define QK_LT(member, name) to->member = name;
    QK_LT_CALLS
#undef QK_LT
    return 0;
}

static const struct {
    cublasStatus_t status;
    const char *name;
} STATUSES[] = {
    {CUBLAS_STATUS_SUCCESS, "CUBLAS_STATUS_SUCCESS"},
    {CUBLAS_STATUS_NOT_INITIALIZED, "CUBLAS_STATUS_NOT_INITIALIZED"},
    {CUBLAS_STATUS_ALLOC_FAILED, "CUBLAS_STATUS_ALLOC_FAILED"},
    {CUBLAS_STATUS_INVALID_VALUE, "CUBLAS_STATUS_INVALID_VALUE"},
    {CUBLAS_STATUS_EXECUTION_FAILED, "CUBLAS_STATUS_EXECUTION_FAILED"},
    {CUBLAS_STATUS_NOT_SUPPORTED, "CUBLAS_STATUS_NOT_SUPPORTED"},
};

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    for (const auto &s : STATUSES)
        if (s.status == status)
            return s.name;
    return "CUBLAS_STATUS_UNKNOWN";
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return cublasLtGetStatusName(status);
}

size_t cublasLtGetVersion(void)
{
    return 130000;
}

/* ---- what a product is ---- */

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = new qk_emulation_lt{1};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    if (scale != CUDA_R_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *desc = new qk_emulation_desc{compute,     scale,       CUBLASLT_POINTER_MODE_HOST,
                                  CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    delete desc;
    return desc ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

static cublasStatus_t set(void *to, size_t size, const void *value, size_t bytes)
{
    if (!to || !value || bytes != size)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t what,
                                              const void *value, size_t bytes)
{
    if (!desc)
        return CUBLAS_STATUS_INVALID_VALUE;
    switch (what) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
        return set(&desc->compute, sizeof desc->compute, value, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
        return set(&desc->scale, sizeof desc->scale, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
        return set(&desc->pointer_mode, sizeof desc->pointer_mode, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set(&desc->transa, sizeof desc->transa, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set(&desc->transb, sizeof desc->transb, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return set(&desc->epilogue, sizeof desc->epilogue, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld)
{
    *layout = new qk_emulation_layout{(uint32_t)type, CUBLASLT_ORDER_COL, 1, rows, cols, ld, 0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    delete layout;
    return layout ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t what,
                                                const void *value, size_t bytes)
{
    if (!layout)
        return CUBLAS_STATUS_INVALID_VALUE;
    switch (what) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
        return set(&layout->type, sizeof layout->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        return set(&layout->order, sizeof layout->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
        return set(&layout->rows, sizeof layout->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
        return set(&layout->cols, sizeof layout->cols, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
        return set(&layout->ld, sizeof layout->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return set(&layout->batch, sizeof layout->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        return set(&layout->stride, sizeof layout->stride, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference =
        new qk_emulation_preference{0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    delete preference;
    return preference ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t what,
                                                    const void *value, size_t bytes)
{
    if (!preference)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return set(&preference->workspace, sizeof preference->workspace, value, bytes);
    if (what == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        return set(&preference->reduction, sizeof preference->reduction, value, bytes);
    const int which = what - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    if (which < 0 || which > 3)
        return CUBLAS_STATUS_INVALID_VALUE;
    return set(&preference->aligned[which], sizeof preference->aligned[which], value, bytes);
}

/* ---- whether it can be done ---- */

static bool layout_holds(const struct qk_emulation_layout *x)
{
    return x && (x->type == CUDA_R_32F || x->type == CUDA_R_16BF) &&
           x->order == CUBLASLT_ORDER_COL && x->rows && x->cols && x->ld >= (int64_t)x->rows &&
           x->batch > 0;
}

static bool same_shape(const struct qk_emulation_layout *x, const struct qk_emulation_layout *y)
{
    return x->type == y->type && x->rows == y->rows && x->cols == y->cols && x->batch == y->batch;
}

static cublasStatus_t judge(const struct qk_emulation_desc *desc,
                            const struct qk_emulation_layout *a,
                            const struct qk_emulation_layout *b,
                            const struct qk_emulation_layout *c,
                            const struct qk_emulation_layout *d)
{
    if (!desc || !layout_holds(a) || !layout_holds(b) || !layout_holds(c) || !layout_holds(d) ||
        !same_shape(c, d) || desc->transa < 0 || desc->transa > 1 || desc->transb < 0 ||
        desc->transb > 1 || a->batch != d->batch || b->batch != d->batch)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (d->batch > 1 && d->stride < d->ld * (int64_t)(d->cols - 1) + (int64_t)d->rows)
        return CUBLAS_STATUS_INVALID_VALUE; /* results over one another */
    const uint64_t m = desc->transa ? a->cols : a->rows, k = desc->transa ? a->rows : a->cols;
    const uint64_t n = desc->transb ? b->rows : b->cols;
    if (k != (desc->transb ? b->cols : b->rows) || d->rows != m || d->cols != n)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (a->type != b->type || (a->type == CUDA_R_32F && d->type != CUDA_R_32F) ||
        desc->pointer_mode != CUBLASLT_POINTER_MODE_HOST || desc->scale != CUDA_R_32F ||
        desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT ||
        (desc->compute != CUBLAS_COMPUTE_32F && desc->compute != CUBLAS_COMPUTE_32F_PEDANTIC))
        return CUBLAS_STATUS_NOT_SUPPORTED; /* on the card some would be; nobody asks here */
    return CUBLAS_STATUS_SUCCESS;
}

/* An algorithm here is what was promised: four alignments, a workspace, and a mark. */
static const uint64_t MARK = 0x716b5f6c74u;

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *found)
{
    *found = 0;
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    const cublasStatus_t status = judge(desc, a, b, c, d);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    if (!preference || wanted < 1)
        return CUBLAS_STATUS_INVALID_VALUE;
    /* Single bf16 are not loaded by every algorithm: here by none, so that the caller has to have
     * an answer. */
    if (a->type == CUDA_R_16BF && (preference->aligned[0] < 4 || preference->aligned[1] < 4))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(results, 0, sizeof *results);
    for (int i = 0; i < 4; i++)
        results->algo.data[i] = preference->aligned[i];
    results->workspaceSize = preference->workspace < WORKSPACE ? 0 : WORKSPACE;
    results->algo.data[4] = results->workspaceSize;
    results->algo.data[5] = MARK;
    results->state = CUBLAS_STATUS_SUCCESS;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- doing it ---- */

static float number(const void *at, uint32_t type, int64_t i)
{
    return type == CUDA_R_32F ? ((const float *)at)[i]
                              : __bfloat162float(((const __nv_bfloat16 *)at)[i]);
}

/* Matrix z, columns one after another without gaps. */
static std::vector<float> gathered(const void *at, const struct qk_emulation_layout *x, int64_t z)
{
    std::vector<float> all;
    all.reserve(x->rows * x->cols);
    for (uint64_t j = 0; j < x->cols; j++)
        for (uint64_t i = 0; i < x->rows; i++)
            all.push_back(number(at, x->type, z * x->stride + (int64_t)j * x->ld + (int64_t)i));
    return all;
}

static void scatter(void *at, const struct qk_emulation_layout *x, int64_t z,
                    const std::vector<float> &from)
{
    for (uint64_t j = 0; j < x->cols; j++)
        for (uint64_t i = 0; i < x->rows; i++) {
            const int64_t to = z * x->stride + (int64_t)j * x->ld + (int64_t)i;
            const float value = from[j * x->rows + i];
            if (x->type == CUDA_R_32F)
                ((float *)at)[to] = value;
            else
                ((__nv_bfloat16 *)at)[to] = __float2bfloat16_rn(value);
        }
}

/* Also that numbers lie where their type may. */
static bool aligned(const void *p, uint64_t promised, const struct qk_emulation_layout *x)
{
    return p && (uintptr_t)p % (x->type == CUDA_R_32F ? 4 : 2) == 0 &&
           (!promised || (uintptr_t)p % promised == 0);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *A, cublasLtMatrixLayout_t a, const void *B,
                              cublasLtMatrixLayout_t b, const void *beta, const void *C,
                              cublasLtMatrixLayout_t c, void *D, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t)
{
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    const cublasStatus_t status = judge(desc, a, b, c, d);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    static const uint64_t nothing[6] = {0, 0, 0, 0, 0, MARK};
    const uint64_t *promised = algo ? algo->data : nothing;
    if (!alpha || !beta || promised[5] != MARK || !aligned(A, promised[0], a) ||
        !aligned(B, promised[1], b) || !aligned(D, promised[3], d))
        return CUBLAS_STATUS_INVALID_VALUE;
    float by, keep;
    memcpy(&by, alpha, sizeof by);
    memcpy(&keep, beta, sizeof keep);
    if (keep != 0 && (!aligned(C, promised[2], c) || (C == D && c->ld != d->ld)))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (workspace_bytes < promised[4] || (promised[4] && (!workspace || (uintptr_t)workspace % 16)))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (promised[4])
        memset(workspace, 0xff, promised[4]);
    const int m = (int)d->rows, n = (int)d->cols, k = (int)(desc->transa ? a->rows : a->cols);
    for (int z = 0; z < d->batch; z++) {
        const std::vector<float> wide_a = gathered(A, a, z), wide_b = gathered(B, b, z);
        std::vector<float> sum =
            keep != 0 ? gathered(C, c, z) : std::vector<float>((size_t)m * (size_t)n);
        cblas_sgemm(CblasColMajor, desc->transa ? CblasTrans : CblasNoTrans,
                    desc->transb ? CblasTrans : CblasNoTrans, m, n, k, by, wide_a.data(),
                    (int)a->rows, wide_b.data(), (int)b->rows, keep, sum.data(), m);
        scatter(D, d, z, sum);
    }
    return CUBLAS_STATUS_SUCCESS;
}
