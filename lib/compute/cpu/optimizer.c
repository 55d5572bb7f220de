/* Gradient norm and AdamW. */
#include "compute/adamw.h"
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

static void one_adamw(float *w, float *m, float *v, const float *g, float scale, int64_t n,
                      struct qk_adamw_constants c)
{
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * scale;
        float mi = c.beta1 * m[i] + c.new1 * gi;
        float vi = c.beta2 * v[i] + c.new2 * gi * gi;
        m[i] = mi;
        v[i] = vi;
        w[i] = c.keep * w[i] - c.step * mi / (sqrtf(vi * c.unbias2) + c.eps);
    }
}

void qk_cpu_adamw(struct qk_device *d, struct qk_buf w, struct qk_buf m, struct qk_buf v,
                  struct qk_buf g, struct qk_buf scale, int64_t n, struct qk_adamw how)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    const struct qk_adamw_constants c = qk_adamw_constants(&how);
    for (int64_t k = 0; k <= how.more; k++)
        one_adamw(qk_cpu_out(w) + k * how.stride, qk_cpu_out(m) + k * how.stride,
                  qk_cpu_out(v) + k * how.stride_v, qk_cpu_in(g) + k * how.stride,
                  *qk_cpu_in(scale), n, c);
    const double all = (double)n * (double)(how.more + 1);
    qk_cpu_end(d, QK_CLASS_OPTIMIZER, start, 14.0 * all, 7.0 * all);
}
