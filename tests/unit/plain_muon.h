/* Muon's orthogonalisation (compute/ops.h) written out in double precision. */
#ifndef QK_TESTS_PLAIN_MUON_H
#define QK_TESTS_PLAIN_MUON_H

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"
#include "compute/ops.h"

/* c[I, J] = a[I, K] b, b as [K, J] or transposed [J, K]. */
static inline void plain_multiply(double *c, const double *a, const double *b, bool transposed,
                                  int64_t I, int64_t J, int64_t K)
{
    for (int64_t i = 0; i < I; i++)
        for (int64_t j = 0; j < J; j++) {
            double sum = 0;
            for (int64_t k = 0; k < K; k++)
                sum += a[i * K + k] * (transposed ? b[j * K + k] : b[k * J + j]);
            c[i * J + j] = sum;
        }
}

/* u[rows, cols] in place: on the wide orientation, scaled by its norm, five times
 * X <- aX + (bA + cA^2)X with A = X X^T. */
static inline void plain_orthogonalize(double *u, int64_t rows, int64_t cols,
                                       enum qk_orthogonalizer how)
{
    static const double express[5][3] = {
        {8.156554524902461, -22.48329292557795, 15.878769915207462},
        {4.042929935166739, -2.808917465908714, 0.5000178451051316},
        {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
        {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
        {2.3465413258596377, -1.7097828382687081, 0.42323551169305323}};
    static const double schulz[3] = {3.4445, -4.7750, 2.0315};
    const bool tall = rows > cols;
    const int64_t R = tall ? cols : rows, C = tall ? rows : cols;
    double *x = qk_alloc((size_t)(R * C), sizeof *x), *y = qk_alloc((size_t)(R * C), sizeof *y);
    double *a = qk_alloc((size_t)(R * R), sizeof *a), *a2 = qk_alloc((size_t)(R * R), sizeof *a2);
    double norm = 0;
    for (int64_t i = 0; i < R * C; i++)
        norm += u[i] * u[i];
    norm = sqrt(norm) * (how == QK_POLAR_EXPRESS ? 1.01 : 1) + 1e-7;
    for (int64_t i = 0; i < R; i++)
        for (int64_t j = 0; j < C; j++)
            x[i * C + j] = (tall ? u[j * R + i] : u[i * C + j]) / norm;
    for (int step = 0; step < 5; step++) {
        const double *p = how == QK_POLAR_EXPRESS ? express[step] : schulz;
        plain_multiply(a, x, x, true, R, R, C);
        plain_multiply(a2, a, a, false, R, R, R);
        for (int64_t i = 0; i < R * R; i++)
            a2[i] = p[1] * a[i] + p[2] * a2[i];
        plain_multiply(y, a2, x, false, R, C, R);
        for (int64_t i = 0; i < R * C; i++)
            x[i] = p[0] * x[i] + y[i];
    }
    for (int64_t i = 0; i < R; i++)
        for (int64_t j = 0; j < C; j++)
            u[tall ? j * R + i : i * C + j] = x[i * C + j];
    free(x);
    free(y);
    free(a);
    free(a2);
}

#endif
