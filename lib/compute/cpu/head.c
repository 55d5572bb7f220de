/* QK-Norm and RoPE: what happens to a query or key head between its projection and attention. */
#include "compute/cpu/cpu.h"

#include <math.h>

enum { ROWS = 32 }; /* of one task, and of one partial sum of the gain's gradient */

/* (a, b) <- (a cos - b sin, b cos + a sin) for each pair; `angles` holds (cos, sin) of the row's
 * position. */
static void rotate(float *y, const float *angles, int64_t hd, bool half, float direction)
{
    int64_t pairs = hd / 2, step = half ? 1 : 2, gap = half ? pairs : 1;
#pragma omp simd
    for (int64_t j = 0; j < pairs; j++) {
        float c = angles[2 * j], s = direction * angles[2 * j + 1];
        float a = y[j * step], b = y[j * step + gap];
        y[j * step] = a * c - b * s;
        y[j * step + gap] = b * c + a * s;
    }
}

static float mean_square(const float *x, int64_t hd)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < hd; i++)
        sum += x[i] * x[i];
    return sum / (float)hd;
}

/* y = x * r * gain */
static void scale_head(float *y, const float *x, float r, const float *gain, int64_t hd,
                       bool vector)
{
    if (gain && vector) {
#pragma omp simd
        for (int64_t i = 0; i < hd; i++)
            y[i] = x[i] * r * gain[i];
        return;
    }
    float g = gain ? gain[0] : 1.0f;
#pragma omp simd
    for (int64_t i = 0; i < hd; i++)
        y[i] = x[i] * r * g;
}

void qk_cpu_head_prepare(struct qk_device *d, struct qk_buf y_, struct qk_buf rstd_,
                         struct qk_buf x_, struct qk_buf gain_, struct qk_buf angles_,
                         struct qk_head_shape s)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float *y = qk_cpu_out(y_), *rstd = qk_cpu_out(rstd_);
    const float *x = qk_cpu_in(x_), *angles = qk_cpu_in(angles_);
    const float *gain = s.normalise ? qk_cpu_in(gain_) : NULL;
    bool vector = s.gain_size == s.hd;
#pragma omp parallel for schedule(static)
    for (int64_t m = 0; m < s.B * s.T; m++)
        for (int64_t h = 0; h < s.heads; h++) {
            const float *in = x + m * s.x_stride + h * s.hd;
            float *out = y + (m * s.heads + h) * s.hd;
            float r = s.normalise ? 1.0f / sqrtf(mean_square(in, s.hd) + s.eps) : 1.0f;
            if (s.normalise)
                rstd[m * s.heads + h] = r;
            scale_head(out, in, r, gain, s.hd, vector);
            if (s.rotate)
                rotate(out, angles + m % s.T * s.hd, s.hd, s.half, 1);
        }
    qk_cpu_end(d, QK_CLASS_ROPE, start, 7.0 * (double)(s.B * s.T * s.heads * s.hd));
}

/* dx holds dz, the gradient behind the rotation.  With n = x r and h = dz gain:
 * dgain += dz n,  dx = r (h - n mean(h n)). */
static void normalise_back(float *dx, double *dgain, const float *x, const float *gain, float r,
                           int64_t hd, bool vector)
{
    for (int64_t i = 0; dgain && i < hd; i++)
        dgain[i] += (double)(dx[i] * x[i] * r);
    float dot = 0;
    scale_head(dx, dx, 1, gain, hd, vector);
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < hd; i++)
        dot += dx[i] * x[i];
    float back = dot * r * r * r / (float)hd;
#pragma omp simd
    for (int64_t i = 0; i < hd; i++)
        dx[i] = r * dx[i] - back * x[i];
}

static void add_partials(float *dgain, const double *partial, int64_t blocks,
                         const struct qk_head_shape *s)
{
    double all = 0;
    for (int64_t i = 0; i < s->hd; i++) {
        double sum = 0;
        for (int64_t k = 0; k < blocks; k++)
            sum += partial[k * s->hd + i];
        if (s->gain_size == s->hd)
            dgain[i] += (float)sum;
        all += sum;
    }
    if (s->gain_size != s->hd)
        dgain[0] += (float)all;
}

void qk_cpu_head_prepare_back(struct qk_device *d, struct qk_buf dx_, struct qk_buf dgain_,
                              struct qk_buf dy_, struct qk_buf x_, struct qk_buf gain_,
                              struct qk_buf rstd_, struct qk_buf angles_, struct qk_head_shape s)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    int64_t M = s.B * s.T, blocks = qk_blocks(M, ROWS);
    float *dx = qk_cpu_out(dx_), *dgain = s.normalise ? qk_cpu_out(dgain_) : NULL;
    const float *dy = qk_cpu_in(dy_), *x = qk_cpu_in(x_), *rstd = qk_cpu_in(rstd_);
    const float *gain = qk_cpu_in(gain_), *angles = qk_cpu_in(angles_);
    bool vector = s.gain_size == s.hd;
    double *partial = (double *)(void *)qk_cpu_scratch(d, QK_CPU_PARTIAL, 2 * blocks * s.hd);
    if (!partial)
        return;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < blocks; k++) {
        double *mine = dgain ? partial + k * s.hd : NULL;
        for (int64_t i = 0; mine && i < s.hd; i++)
            mine[i] = 0;
        for (int64_t m = k * ROWS; m < qk_min64((k + 1) * ROWS, M); m++)
            for (int64_t h = 0; h < s.heads; h++) {
                float *to = dx + m * s.x_stride + h * s.hd;
                scale_head(to, dy + (m * s.heads + h) * s.hd, 1, NULL, s.hd, false);
                if (s.rotate)
                    rotate(to, angles + m % s.T * s.hd, s.hd, s.half, -1);
                if (s.normalise)
                    normalise_back(to, mine, x + m * s.x_stride + h * s.hd, gain,
                                   rstd[m * s.heads + h], s.hd, vector);
            }
    }
    if (dgain)
        add_partials(dgain, partial, blocks, &s);
    qk_cpu_end(d, QK_CLASS_ROPE, start, 15.0 * (double)(M * s.heads * s.hd));
}
