/* Gradient norm and AdamW. */
#include "compute/cpu/cpu.h"

#include <math.h>

enum { BLOCK = 1 << 16 }; /* numbers in one partial sum of the norm */

void qk_cpu_grad_norm(struct qk_device *d, struct qk_buf out_, struct qk_buf g_, int64_t n,
                      float clip)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    int64_t blocks = qk_blocks(n, BLOCK);
    double *partial = (double *)(void *)qk_cpu_scratch(d, QK_CPU_PARTIAL, 2 * blocks);
    if (!partial)
        return;
    const float *g = qk_cpu_in(g_);
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < blocks; k++) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = k * BLOCK; i < qk_min64((k + 1) * BLOCK, n); i++)
            sum += (double)g[i] * (double)g[i];
        partial[k] = sum;
    }
    double sum = 0;
    for (int64_t k = 0; k < blocks; k++)
        sum += partial[k];
    double norm = sqrt(sum), scale = clip > 0 ? clip / (norm + 1e-6) : 1;
    float *out = qk_cpu_out(out_);
    out[0] = (float)norm;
    out[1] = scale > 1 ? 1.0f : (float)scale; /* NaN stays NaN */
    qk_cpu_end(d, QK_CLASS_OPTIMIZER, start, 2.0 * (double)n, (double)n);
}

void qk_cpu_adamw(struct qk_device *d, struct qk_buf w_, struct qk_buf m_, struct qk_buf v_,
                  struct qk_buf g_, struct qk_buf scale_, int64_t n, struct qk_adamw how)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float *w = qk_cpu_out(w_), *m = qk_cpu_out(m_), *v = qk_cpu_out(v_);
    const float *g = qk_cpu_in(g_);
    const float scale = *qk_cpu_in(scale_);
    /* Constants in double first: 1 - 0.999f is off by 1e-5. */
    const float beta1 = (float)how.beta1, new1 = (float)(1 - how.beta1);
    const float beta2 = (float)how.beta2, new2 = (float)(1 - how.beta2);
    const float unbias2 = (float)(1 / how.bias2), eps = (float)how.eps;
    const float keep = (float)(1 - how.lr * how.weight_decay), step = (float)(how.lr / how.bias1);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * scale;
        float mi = beta1 * m[i] + new1 * gi;
        float vi = beta2 * v[i] + new2 * gi * gi;
        m[i] = mi;
        v[i] = vi;
        w[i] = keep * w[i] - step * mi / (sqrtf(vi * unbias2) + eps);
    }
    qk_cpu_end(d, QK_CLASS_OPTIMIZER, start, 14.0 * (double)n, 7.0 * (double)n);
}
