/* Matrix products by cuBLASLt, in row-major terms. */
#ifndef QK_COMPUTE_CUDA_GEMM_CUH
#define QK_COMPUTE_CUDA_GEMM_CUH

#include "compute/cuda/device.cuh"

/* D = alpha op(A) op(B) + beta C, [M, N], row-major; op = transpose when asked.  `count` of them
 * lie stride_X numbers apart (1: strides are ignored).  A and B are of one type; C and D of one
 * type, C may be D, and is not read when beta is 0.  Sums are float32 (fp32 inputs: no TF32).
 * In and out: F32 and F32, BF16 and F32, BF16 and BF16; any alignment of whole numbers. */
struct qk_cuda_product {
    bool ta, tb;
    int64_t M, N, K, count;
    float alpha, beta;
    enum qk_cuda_type in, out;
    const void *A, *B, *C;
    void *D;
    int64_t lda, ldb, ldc; /* ldc of C and of D */
    int64_t stride_a, stride_b, stride_c;
};

/* Enqueued; a failure is kept in the device.  The algorithm for a shape is chosen once, without
 * reductions whose order may change. */
void qk_cuda_gemm(struct qk_device *d, const struct qk_cuda_product *p);

/* The same by a kernel of our own, slow and for everything: what qk_cuda_gemm falls back on where
 * cuBLASLt has no algorithm. */
void qk_cuda_gemm_plain(struct qk_device *d, const struct qk_cuda_product *p);

/* cuBLASLt is loaded when the device is opened: 0, or -1 with a sentence. */
int qk_cuda_gemm_open(struct qk_device *d, struct qk_err *err);
void qk_cuda_gemm_close(struct qk_device *d);

#endif
