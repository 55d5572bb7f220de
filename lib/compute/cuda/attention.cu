#include "compute/cuda/device.cuh"

void qk_cuda_attention(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_attention_shape)
{
    if (qk_cuda_begin(d, "attention"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_attention_back(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_attention_shape)
{
    if (qk_cuda_begin(d, "attention_back"))
        qk_cuda_fail(d, "not written yet");
}

void qk_cuda_attention_stats(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_attention_shape)
{
    if (qk_cuda_begin(d, "attention_stats"))
        qk_cuda_fail(d, "not written yet");
}
