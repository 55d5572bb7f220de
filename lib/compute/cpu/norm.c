/* RMSNorm (Zhang and Sennrich 2019). */
#include "compute/cpu/cpu.h"

#include <math.h>

enum { ROWS = 64 }; /* of one task, and of one partial sum of the gain's gradient */

static float sum_of_squares(const float *x, int64_t N)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < N; i++)
        sum += x[i] * x[i];
    return sum;
}

void qk_cpu_rmsnorm(struct qk_device *d, struct qk_buf y_, struct qk_buf rstd_, struct qk_buf x_,
                    struct qk_buf gain_, float eps, int64_t M, int64_t N)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float *y = qk_cpu_out(y_), *rstd = qk_cpu_out(rstd_);
    const float *x = qk_cpu_in(x_), *gain = qk_cpu_in(gain_);
#pragma omp parallel for schedule(static)
    for (int64_t m = 0; m < M; m++) {
        const float *row = x + m * N;
        float r = 1.0f / sqrtf(sum_of_squares(row, N) / (float)N + eps);
        rstd[m] = r;
        if (gain) {
#pragma omp simd
            for (int64_t i = 0; i < N; i++)
                y[m * N + i] = row[i] * r * gain[i];
        } else {
#pragma omp simd
            for (int64_t i = 0; i < N; i++)
                y[m * N + i] = row[i] * r;
        }
    }
    qk_cpu_end(d, QK_CLASS_NORM, start, 4.0 * (double)M * (double)N, 2.0 * (double)M * (double)N);
}

/* With n = x * r and h = dy * gain:  dx += r * (h - n * mean(h n)),  dgain += dy * n. */
static void back_row(float *dx, float *partial, const float *dy, const float *x, const float *gain,
                     float r, int64_t N)
{
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < N; i++)
        dot += dy[i] * (gain ? gain[i] : 1.0f) * x[i];
    float back = dot * r * r * r / (float)N;
#pragma omp simd
    for (int64_t i = 0; i < N; i++)
        dx[i] += r * dy[i] * (gain ? gain[i] : 1.0f) - back * x[i];
    if (!partial)
        return;
#pragma omp simd
    for (int64_t i = 0; i < N; i++)
        partial[i] += dy[i] * x[i] * r;
}

void qk_cpu_rmsnorm_back(struct qk_device *d, struct qk_buf dx_, struct qk_buf dgain_,
                         struct qk_buf dy_, struct qk_buf x_, struct qk_buf gain_,
                         struct qk_buf rstd_, int64_t M, int64_t N)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    int64_t blocks = qk_blocks(M, ROWS);
    float *dx = qk_cpu_out(dx_), *dgain = qk_cpu_out(dgain_);
    const float *dy = qk_cpu_in(dy_), *x = qk_cpu_in(x_), *gain = qk_cpu_in(gain_);
    const float *rstd = qk_cpu_in(rstd_);
    float *partial = qk_cpu_scratch(d, QK_CPU_PARTIAL, blocks * N);
    if (!partial)
        return;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < blocks; k++) {
        float *mine = dgain ? partial + k * N : NULL;
        for (int64_t i = 0; mine && i < N; i++)
            mine[i] = 0;
        for (int64_t m = k * ROWS; m < qk_min64((k + 1) * ROWS, M); m++)
            back_row(dx + m * N, mine, dy + m * N, x + m * N, gain, rstd[m], N);
    }
    for (int64_t i = 0; dgain && i < N; i++) {
        double sum = 0;
        for (int64_t k = 0; k < blocks; k++)
            sum += partial[k * N + i];
        dgain[i] += (float)sum;
    }
    qk_cpu_end(d, QK_CLASS_NORM, start, 9.0 * (double)M * (double)N, 4.0 * (double)M * (double)N);
}
