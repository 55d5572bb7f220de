#include "compute/cuda/device.cuh"

void qk_cuda_muon(struct qk_device *d, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_buf, struct qk_muon)
{
    if (qk_cuda_begin(d, "muon"))
        qk_cuda_fail(d, "not written yet");
}
