/* QK-Norm and RoPE: what happens to a query or key head between its projection and attention. */
#include "compute/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum {
    ROWS = 32,  /* of one task, and of one partial sum of the gain's gradient */
    MOST = 128, /* numbers in a head */
};

/* The loops run over one head, 32 to 128 numbers: with the usual sizes as constants they become
 * straight vector code. */
#define CALL_FOR(hd, f, ...)                                                                       \
    ((hd) == 32    ? f(__VA_ARGS__, 32)                                                            \
     : (hd) == 64  ? f(__VA_ARGS__, 64)                                                            \
     : (hd) == 128 ? f(__VA_ARGS__, 128)                                                           \
                   : f(__VA_ARGS__, hd))
#define INLINE static inline __attribute__((always_inline))

/* y = z turned, or turned back (direction -1); angles [2, hd] of one position. */
INLINE void rotate(float *restrict y, const float *restrict z, const float *restrict angles,
                   float direction, bool half, int64_t hd)
{
    const float *same = angles, *other = angles + hd;
    const int64_t pairs = hd / 2;
    if (half)
        for (int64_t j = 0; j < pairs; j++) {
            y[j] = z[j] * same[j] + z[j + pairs] * (direction * other[j]);
            y[j + pairs] = z[j + pairs] * same[j + pairs] + z[j] * (direction * other[j + pairs]);
        }
    else
        for (int64_t j = 0; j < hd; j += 2) {
            y[j] = z[j] * same[j] + z[j + 1] * (direction * other[j]);
            y[j + 1] = z[j + 1] * same[j + 1] + z[j] * (direction * other[j + 1]);
        }
}

/* The gain of every number: a vector, one number for all, or 1. */
static void spread_gain(float *to, const float *gain, const struct qk_head_shape *s)
{
    for (int64_t i = 0; i < s->hd; i++)
        to[i] = !gain ? 1.0f : s->gain_size == s->hd ? gain[i] : gain[0];
}

INLINE float root(const float *x, float eps, int64_t hd)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < hd; i++)
        sum += x[i] * x[i];
    return 1.0f / sqrtf(sum / (float)hd + eps);
}

/* ---- forward ---- */

struct forward {
    const struct qk_head_shape *s;
    float *y, *rstd;
    const float *x, *angles, *gain; /* gain [hd] */
};

INLINE void forward_row(const struct forward *f, int64_t m, int64_t hd)
{
    const struct qk_head_shape *s = f->s;
    const float *angles = f->angles + m % s->T * 2 * hd;
    float z[MOST];
    for (int64_t h = 0; h < s->heads; h++) {
        const float *x = f->x + m * s->x_stride + h * hd;
        float *y = f->y + (m * s->heads + h) * hd, *to = s->rotate ? z : y;
        const float r = s->normalise ? root(x, s->eps, hd) : 1.0f;
        if (s->normalise)
            f->rstd[m * s->heads + h] = r;
#pragma omp simd
        for (int64_t i = 0; i < hd; i++)
            to[i] = x[i] * r * f->gain[i];
        if (s->rotate)
            rotate(y, z, angles, 1, s->half, hd);
    }
}

void qk_cpu_head_prepare(struct qk_device *d, struct qk_buf y, struct qk_buf rstd, struct qk_buf x,
                         struct qk_buf gain, struct qk_buf angles, struct qk_head_shape s)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float g[MOST];
    const struct forward f = {.s = &s,
                              .y = qk_cpu_out(y),
                              .rstd = qk_cpu_out(rstd),
                              .x = qk_cpu_in(x),
                              .angles = qk_cpu_in(angles),
                              .gain = g};
    spread_gain(g, s.normalise ? qk_cpu_in(gain) : NULL, &s);
#pragma omp parallel for schedule(static)
    for (int64_t m = 0; m < s.B * s.T; m++)
        CALL_FOR(s.hd, forward_row, &f, m);
    const double n = (double)(s.B * s.T * s.heads * s.hd);
    qk_cpu_end(d, QK_CLASS_ROPE, start, 7 * n, 2 * n);
}

/* ---- backward ---- */

struct backward {
    const struct qk_head_shape *s;
    float *dx;
    double *partial; /* [blocks, hd]: the gain's gradient, or NULL */
    const float *dy, *x, *rstd, *angles, *gain;
};

/* With dz, the gradient behind the rotation, n = x r and h = dz gain:
 * dgain += dz n,  dx = r (h - n mean(h n)). */
INLINE void normalise_back(float *dx, float *dgain, const float *dz, const float *x,
                           const float *gain, float r, int64_t hd)
{
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < hd; i++) {
        dgain[i] += dz[i] * x[i] * r;
        dot += dz[i] * gain[i] * x[i];
    }
    const float back = dot * r * r * r / (float)hd;
#pragma omp simd
    for (int64_t i = 0; i < hd; i++)
        dx[i] = r * (dz[i] * gain[i]) - back * x[i];
}

INLINE void backward_row(const struct backward *b, double *dgain, int64_t m, int64_t hd)
{
    const struct qk_head_shape *s = b->s;
    const float *angles = b->angles + m % s->T * 2 * hd;
    float z[MOST], mine[MOST] = {0}; /* a row's share of the gain's gradient */
    for (int64_t h = 0; h < s->heads; h++) {
        const float *dy = b->dy + (m * s->heads + h) * hd, *dz = s->rotate ? z : dy;
        float *dx = b->dx + m * s->x_stride + h * hd;
        if (s->rotate)
            rotate(z, dy, angles, -1, s->half, hd);
        if (s->normalise)
            normalise_back(dx, mine, dz, b->x + m * s->x_stride + h * hd, b->gain,
                           b->rstd[m * s->heads + h], hd);
        else
            memcpy(dx, dz, (size_t)hd * sizeof *dx);
    }
    for (int64_t i = 0; i < hd; i++)
        dgain[i] += (double)mine[i];
}

INLINE void backward_rows(const struct backward *b, int64_t block, int64_t hd)
{
    double dgain[MOST] = {0};
    const int64_t end = qk_min64((block + 1) * ROWS, b->s->B * b->s->T);
    for (int64_t m = block * ROWS; m < end; m++)
        backward_row(b, dgain, m, hd);
    if (b->partial)
        memcpy(b->partial + block * hd, dgain, (size_t)hd * sizeof *dgain);
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

void qk_cpu_head_prepare_back(struct qk_device *d, struct qk_buf dx, struct qk_buf dgain,
                              struct qk_buf dy, struct qk_buf x, struct qk_buf gain,
                              struct qk_buf rstd, struct qk_buf angles, struct qk_head_shape s)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    const int64_t M = s.B * s.T, blocks = qk_blocks(M, ROWS);
    const bool wanted = s.normalise && !qk_is_none(dgain);
    float g[MOST];
    struct backward b = {.s = &s,
                         .dx = qk_cpu_out(dx),
                         .dy = qk_cpu_in(dy),
                         .x = qk_cpu_in(x),
                         .rstd = qk_cpu_in(rstd),
                         .angles = qk_cpu_in(angles),
                         .gain = g};
    spread_gain(g, s.normalise ? qk_cpu_in(gain) : NULL, &s);
    if (wanted &&
        !(b.partial = (double *)(void *)qk_cpu_scratch(d, QK_CPU_PARTIAL, 2 * blocks * s.hd)))
        return;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < blocks; k++)
        CALL_FOR(s.hd, backward_rows, &b, k);
    if (wanted)
        add_partials(qk_cpu_out(dgain), b.partial, blocks, &s);
    const double n = (double)(M * s.heads * s.hd);
    qk_cpu_end(d, QK_CLASS_ROPE, start, 15 * n, 3 * n);
}
