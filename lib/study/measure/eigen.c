#include "study/measure/eigen.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/vectors.h"
#include "study/measure/gram.h"
#include "study/measure/lapack.h"
#include "study/measure/spectrum.h"

enum { LANES = 8, LD = QK_MOST_DIM, STRIP = 32 }; /* STRIP vectors at once fit into the cache */
_Static_assert(LD % STRIP == 0 && STRIP % LANES == 0, "vectors come in whole strips");

typedef double vector __attribute__((vector_size(8 * LANES), may_alias));

typedef int64_t bits __attribute__((vector_size(8 * LANES)));
#define PICK(which, a, b) ((vector)(((which) & (bits)(a)) | (~(which) & (bits)(b))))
#define SIZE(x) ((vector)((bits)(x)&INT64_MAX))

/* A matrix on its way to tridiagonal form.  Columns behind d hold zeros. */
struct tridiagonal {
    double a[LD][LD];
    double v[LD], w[LD]; /* of the last step: a -= v w^T + w v^T is still to be done */
    double diagonal[LD], off[LD], tau[LD];
    double tiny; /* what a pivot is at least */
    int d, padded;
} __attribute__((aligned(64)));

/* ---- by kind of vector ---- */

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")

#define NAME(name) JOIN(plain, name)
#include "study/measure/eigen_kernel.h"
#undef NAME

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define NAME(name) JOIN(avx2, name)
#include "study/measure/eigen_kernel.h"
#undef NAME
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,fma")
#define NAME(name) JOIN(avx512, name)
#include "study/measure/eigen_kernel.h"
#undef NAME
#pragma GCC pop_options

#endif

#pragma GCC pop_options

struct kernel {
    void (*reduce)(struct tridiagonal *t);
    void (*axes)(struct tridiagonal *t, const double *values, double *fourths, double *left);
};

static const struct kernel kernels[] = {
    {plain_reduce, plain_axes},
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    {avx2_reduce, avx2_axes},
    {avx512_reduce, avx512_axes},
#endif
};

/* ---- all of it ---- */

/* false when the numbers are so large or small that squares of them would not be numbers. */
static bool begin(struct tridiagonal *t, const double *gram, int d)
{
    double most = 0;
    t->d = d;
    t->padded = (d + LANES - 1) / LANES * LANES;
    for (int i = 0; i < d; i++) {
        memset(t->a[i], 0, sizeof t->a[i]);
        memcpy(t->a[i], gram + i * d, (size_t)d * sizeof *gram);
        for (int j = 0; j < d; j++)
            most = fmax(most, fabs(gram[i * d + j]));
    }
    memset(t->v, 0, sizeof t->v);
    memset(t->w, 0, sizeof t->w);
    t->tiny = most * 1e-150;
    return most > 1e-60 && most < 1e60;
}

/* How far all vectors together may be off, weighted as the measures weigh them: an angle is what is
 * left of (T - lambda) z over the distance to the next eigenvalue. */
static double doubt(const double *values, const double *left, int d)
{
    const double rounding = 8 * QK_NOISE * fmax(fabs(values[0]), fabs(values[d - 1]));
    double total = 0, sum = 0;
    for (int i = 0; i < d; i++) {
        const double below = i > 0 ? values[i] - values[i - 1] : INFINITY;
        const double above = i < d - 1 ? values[i + 1] - values[i] : INFINITY;
        const double weight = fmax(values[i], 0);
        total += weight;
        sum += weight > 0 ? weight * (left[i] + rounding) / fmin(below, above) : 0;
    }
    return sum / total;
}

bool qk_eigen_axes(double *values, double *fourths, const double *gram, int d)
{
    static const double MOST_DOUBT = 1e-9;
    static _Thread_local struct tridiagonal *t; /* kept by each thread, see spectrum.c */
    if (!t)
        t = qk_big_alloc(sizeof *t);
    _Alignas(64) double padded[LD], sums[LD], left[LD], off[LD];
    const struct kernel *with = &kernels[qk_vectors()];
    int info = 0;
    if (!begin(t, gram, d))
        return false;
    with->reduce(t);
    memcpy(padded, t->diagonal, sizeof padded);
    memcpy(off, t->off, sizeof off);
    dsterf_(&d, padded, off, &info);
    if (info != 0)
        return false;
    for (int i = d; i < LD; i++)
        padded[i] = padded[d - 1];
    with->axes(t, padded, sums, left);
    memcpy(values, padded, (size_t)d * sizeof *values);
    memcpy(fourths, sums, (size_t)d * sizeof *fourths);
    return doubt(values, left, d) < MOST_DOUBT;
}
