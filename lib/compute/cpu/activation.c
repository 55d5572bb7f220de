/* The feed-forward nonlinearities. */
#include "compute/cpu/cpu.h"
#include "compute/cpu/vexp.h"

void qk_cpu_relu2(struct qk_device *d, struct qk_buf y_, struct qk_buf u_, int64_t n)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float *y = qk_cpu_out(y_);
    const float *u = qk_cpu_in(u_);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float r = u[i] < 0 ? 0 : u[i]; /* NaN stays NaN */
        y[i] = r * r;
    }
    qk_cpu_end(d, QK_CLASS_ACTIVATION, start, 2.0 * (double)n);
}

void qk_cpu_relu2_back(struct qk_device *d, struct qk_buf du_, struct qk_buf dy_, struct qk_buf u_,
                       int64_t n)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float *du = qk_cpu_out(du_);
    const float *dy = qk_cpu_in(dy_), *u = qk_cpu_in(u_);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float r = u[i] < 0 ? 0 : u[i];
        du[i] = 2.0f * r * dy[i];
    }
    qk_cpu_end(d, QK_CLASS_ACTIVATION, start, 3.0 * (double)n);
}

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
    qk_cpu_end(d, QK_CLASS_ACTIVATION, start, 20.0 * (double)n);
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
    qk_cpu_end(d, QK_CLASS_ACTIVATION, start, 26.0 * (double)n);
}
