#include "compute/cuda/device.cuh"

void qk_cuda_matmul(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, int64_t, int64_t, int64_t)
{
    if (qk_cuda_begin(d, "matmul"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_matmul_dx(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, bool, int64_t, int64_t, int64_t)
{
    if (qk_cuda_begin(d, "matmul_dx"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_matmul_dw(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, int64_t, int64_t, int64_t)
{
    if (qk_cuda_begin(d, "matmul_dw"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_relu2_matmul(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, int64_t, int64_t, int64_t)
{
    if (qk_cuda_begin(d, "relu2_matmul"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_relu2_matmul_dx(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, int64_t, int64_t, int64_t)
{
    if (qk_cuda_begin(d, "relu2_matmul_dx"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_relu2_matmul_dw(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, int64_t, int64_t, int64_t)
{
    if (qk_cuda_begin(d, "relu2_matmul_dw"))
        qk_cuda_fail(d, "not written yet");
}
