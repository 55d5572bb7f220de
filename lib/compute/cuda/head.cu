#include "compute/cuda/device.cuh"

void qk_cuda_head_prepare(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_head_shape)
{
    if (qk_cuda_begin(d, "head_prepare"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_head_prepare_back(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_head_shape)
{
    if (qk_cuda_begin(d, "head_prepare_back"))
        qk_cuda_fail(d, "not written yet");
}
