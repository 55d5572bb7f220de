#include "compute/cuda/device.cuh"

void qk_cuda_embed(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, float, int64_t, int64_t, int64_t)
{
    if (qk_cuda_begin(d, "embed"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_embed_back(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, float, int64_t, int64_t, int64_t)
{
    if (qk_cuda_begin(d, "embed_back"))
        qk_cuda_fail(d, "not written yet");
}
