/* What the tests of operations share: inputs, running under several thread counts, and gradients
 * against finite differences of a reference forward pass in double. */
#ifndef QK_TESTS_OPS_CHECK_H
#define QK_TESTS_OPS_CHECK_H

#include "check.h"

#include <omp.h>

#include "base/rng.h"
#include "compute/device.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* n normal numbers times scale, the same for the same name. */
static inline float *normals(const char *name, int64_t n, double scale)
{
    float *x = qk_alloc((size_t)n, sizeof *x);
    const uint64_t stream = qk_rng_stream(name);
#pragma omp parallel for if (n > 65536)
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(scale * qk_rng_normal(7, stream, (uint64_t)i));
    return x;
}

static inline int32_t *tokens_below(const char *name, int64_t n, int64_t V)
{
    int32_t *t = qk_alloc((size_t)n, sizeof *t);
    for (int64_t i = 0; i < n; i++)
        t[i] = (int32_t)qk_rng_below(7, qk_rng_stream(name), (uint64_t)i, (uint64_t)V);
    return t;
}

static inline double *widened(const float *x, int64_t n)
{
    double *y = qk_alloc((size_t)n, sizeof *y);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i];
    return y;
}

/* ---- device memory ---- */

static inline struct qk_buf empty(struct qk_device *d, int64_t n)
{
    struct qk_buf b;
    d->ops->alloc(d, &b, QK_ROLE_ACTIVATION, n);
    return b;
}

static inline struct qk_buf held(struct qk_device *d, const float *x, int64_t n)
{
    struct qk_buf b = empty(d, n);
    d->ops->put(d, b, x, n);
    return b;
}

static inline struct qk_buf held_tokens(struct qk_device *d, const int32_t *t, int64_t n)
{
    struct qk_buf b;
    d->ops->alloc(d, &b, QK_ROLE_TOKENS, n);
    d->ops->put_tokens(d, b, t, n);
    return b;
}

static inline void release_all(struct qk_device *d, struct qk_buf *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        d->ops->release(d, b[i]);
}

/* ---- one case under several thread counts ---- */

/* Outputs of a run, one behind the other. */
struct outputs {
    float *at;
    int64_t n;
};

static inline void take(struct qk_device *d, struct outputs *out, struct qk_buf b, int64_t n)
{
    out->at = qk_realloc(out->at, (size_t)(out->n + n + 1), sizeof *out->at);
    d->ops->get(d, out->at + out->n, b, n);
    out->n += n;
}

typedef void run_function(struct qk_device *d, const void *one, struct outputs *out);

/* Run with 1, 2 and 5 threads; the bytes must agree.  Free .at. */
static inline struct outputs run_case(run_function *run, const void *one)
{
    static const int threads[] = {1, 2, 5};
    struct outputs first = {0};
    int before = omp_get_max_threads();
    for (size_t i = 0; i < COUNT(threads); i++) {
        struct qk_err err = {{0}};
        struct qk_device *d = qk_device_open("cpu", &err);
        struct outputs out = {0};
        omp_set_num_threads(threads[i]);
        run(d, one, &out);
        assert_works(d->ops->sync(d, &err));
        qk_device_close(d);
        if (!i) {
            first = out;
            continue;
        }
        assert_int_equal(out.n, first.n);
        if (memcmp(out.at, first.at, (size_t)out.n * sizeof *out.at) != 0)
            fail_msg("%d threads give other bytes than one", threads[i]);
        free(out.at);
    }
    omp_set_num_threads(before);
    return first;
}

/* ---- comparisons ---- */

static inline double norm_of(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

/* Every element within tolerance * (|expected| + rms of expected). */
static inline void check_near(const char *what, const float *got, const double *expected, int64_t n,
                              double tolerance)
{
    double rms = n ? norm_of(expected, n) / sqrt((double)n) : 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - expected[i]) <= tolerance * (fabs(expected[i]) + rms)))
            fail_msg("%s[%lld] = %.9g, expected %.9g (rms %.3g)", what, (long long)i,
                     (double)got[i], expected[i], rms);
}

/* A scalar function of one array; `context` holds everything else. */
typedef double scalar_function(void *context, const double *x);

/* gradient[n] of f at x along random directions against central differences in double. */
static inline void check_gradient(const char *what, scalar_function *f, void *context,
                                  const double *x, const float *gradient, int64_t n,
                                  double tolerance)
{
    double *at = qk_alloc((size_t)n, sizeof *at), *u = qk_alloc((size_t)n, sizeof *u);
    for (uint64_t k = 0; k < 3; k++) {
        double along = 0, size = 0, h = 1e-5, ends[2];
        for (int64_t i = 0; i < n; i++) {
            u[i] = qk_rng_normal(11 + k, qk_rng_stream(what), (uint64_t)i);
            along += u[i] * gradient[i];
            size += u[i] * u[i] * gradient[i] * gradient[i];
        }
        for (int side = 0; side < 2; side++) {
            for (int64_t i = 0; i < n; i++)
                at[i] = x[i] + (side ? -h : h) * u[i];
            ends[side] = f(context, at);
        }
        double expected = (ends[0] - ends[1]) / (2 * h);
        if (!(fabs(along - expected) <= tolerance * (sqrt(size) + 1e-4)))
            fail_msg("%s: gradient %.9g along direction %d, differences give %.9g (scale %.3g)",
                     what, along, (int)k, expected, sqrt(size));
    }
    free(at);
    free(u);
}

static inline double dot_of(const double *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

#endif
