#include "compute/cuda/device.cuh"

void qk_cuda_swiglu(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, int64_t)
{
    if (qk_cuda_begin(d, "swiglu"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_swiglu_back(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, int64_t)
{
    if (qk_cuda_begin(d, "swiglu_back"))
        qk_cuda_fail(d, "not written yet");
}
