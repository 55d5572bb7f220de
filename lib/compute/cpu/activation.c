/* The gated feed-forward nonlinearity; squared ReLU is part of its products (matmul.c). */
#include "compute/cpu/cpu.h"
#include "compute/cpu/vexp.h"

void qk_cpu_swiglu(struct qk_device *d, struct qk_buf y_, struct qk_buf gate_, struct qk_buf up_,
                   int64_t n)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float *y = qk_cpu_out(y_);
    const float *gate = qk_cpu_in(gate_), *up = qk_cpu_in(up_);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++)
        y[i] = gate[i] / (1.0f + qk_expf(-gate[i])) * up[i];
    qk_cpu_end(d, QK_CLASS_ACTIVATION, start, 20.0 * (double)n, 3.0 * (double)n);
}

/* silu'(a) = s (1 + a (1 - s)), s = 1/(1 + exp(-a)). */
void qk_cpu_swiglu_back(struct qk_device *d, struct qk_buf dgate_, struct qk_buf dup_,
                        struct qk_buf dy_, struct qk_buf gate_, struct qk_buf up_, int64_t n)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float *dgate = qk_cpu_out(dgate_), *dup = qk_cpu_out(dup_);
    const float *dy = qk_cpu_in(dy_), *gate = qk_cpu_in(gate_), *up = qk_cpu_in(up_);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float a = gate[i], s = 1.0f / (1.0f + qk_expf(-a));
        dgate[i] = dy[i] * up[i] * s * (1.0f + a * (1.0f - s));
        dup[i] = dy[i] * a * s;
    }
    qk_cpu_end(d, QK_CLASS_ACTIVATION, start, 26.0 * (double)n, 5.0 * (double)n);
}
