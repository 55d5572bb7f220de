#include "compute/cuda/device.cuh"

void qk_cuda_grad_norm(struct qk_device *d, struct qk_buf, struct qk_buf, int64_t, float)
{
    if (qk_cuda_begin(d, "grad_norm"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_adamw(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, int64_t, struct qk_adamw)
{
    if (qk_cuda_begin(d, "adamw"))
        qk_cuda_fail(d, "not written yet");
}
