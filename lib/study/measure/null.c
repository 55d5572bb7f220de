/* Null values by simulation that never makes the rows.
 *
 * X with n >= d i.i.d. standard Gaussian rows has X = Q R with R upper triangular, its elements
 * independent: R_ii^2 is chi-square with n - i degrees of freedom (i from 0), the others are
 * standard normal (Bartlett 1933).  R has the singular values of X, and R_Q R_K^T those of
 * X_Q X_K^T, at d^2 random numbers a draw instead of n d.  With n < d the rows are drawn as they
 * are.  The generator is counter-based with a fixed key, so the values are constants.
 *
 * How many draws: the variance of a linear statistic of such a spectrum does not grow with d
 * (Jonsson 1982), so the relative error of the mean falls as 1 / (d sqrt(draws)); 2^20 / d^2 draws
 * keep its standard error below 5e-4 for every d.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "study/measure/lapack.h"
#include "study/measure/spectrum.h"

int qk_null_draws(int d)
{
    int draws = (1 << 20) / (d * d);
    return draws > 1 << 16 ? 1 << 16 : draws < 64 ? 64 : draws;
}

struct source {
    uint64_t stream, next;
};

static double normal(struct source *s)
{
    return qk_rng_normal(0, s->stream, s->next++);
}

/* The root of a chi-square variable, by Marsaglia and Tsang 2000 (gamma, shape >= 1). */
static double chi(struct source *s, int64_t freedom)
{
    if (freedom == 1)
        return fabs(normal(s));
    double a = (double)freedom / 2 - 1.0 / 3, c = 1 / sqrt(9 * a);
    for (;;) {
        double x = normal(s), v = pow(1 + c * x, 3);
        double u = 1 - qk_rng_uniform(0, s->stream, s->next++);
        if (v > 0 && log(u) < x * x / 2 + a - a * v + a * log(v))
            return sqrt(2 * a * v);
    }
}

/* A factor R [rows, d], column-major, rows = min(n, d), with the singular values of Gaussian
 * [n, d]. */
static void factor(double *r, int64_t n, int d, struct source *s)
{
    int rows = n < d ? (int)n : d;
    for (int j = 0; j < d; j++)
        for (int i = 0; i < rows; i++)
            r[j * rows + i] = n < d || i < j ? normal(s) : i == j ? chi(s, n - i) : 0;
}

/* to [rows, rows] = R_Q R_K^T, column-major. */
static void multiply(double *to, const double *q, const double *k, int rows, int d)
{
    memset(to, 0, (size_t)rows * (size_t)rows * sizeof *to);
    for (int c = 0; c < d; c++)
        for (int j = 0; j < rows; j++)
            for (int i = 0; i < rows; i++)
                to[j * rows + i] += q[c * rows + i] * k[c * rows + j];
}

static struct qk_null of_singular(const double *sigma, int count)
{
    double first = 0, second = 0, fourth = 0;
    for (int i = 0; i < count; i++) {
        double square = sigma[i] * sigma[i];
        first += sigma[i];
        second += square;
        fourth += square * square;
    }
    return (struct qk_null){first * first / second, second * second / fourth};
}

/* One draw.  `space` holds 3 d^2 + 8 d numbers. */
static struct qk_null draw(int64_t n, int d, int two, struct source s, double *space)
{
    int rows = n < d ? (int)n : d, columns = two ? rows : d, one = 1, lwork = 8 * d, info = 0;
    double *q = space, *k = q + d * d, *m = k + d * d, *work = m + d * d;
    double sigma[QK_MOST_DIM];
    factor(q, n, d, &s);
    if (two) {
        factor(k, n, d, &s);
        multiply(m, q, k, rows, d);
    }
    dgesvd_("N", "N", &rows, &columns, two ? m : q, &rows, sigma, NULL, &one, NULL, &one, work,
            &lwork, &info);
    return of_singular(sigma, rows);
}

static struct qk_null simulate(int64_t n, int d, int two)
{
    int draws = qk_null_draws(d);
    struct qk_null *each = qk_alloc((size_t)draws, sizeof *each), mean = {0, 0};
    uint64_t stream = qk_rng_stream(two ? "null of a product" : "null of rows");
#pragma omp parallel
    {
        double *space = qk_alloc(3 * (size_t)d * (size_t)d + 8 * (size_t)d, sizeof *space);
#pragma omp for schedule(static)
        for (int i = 0; i < draws; i++)
            each[i] = draw(n, d, two, (struct source){stream, (uint64_t)i << 32}, space);
        free(space);
    }
    for (int i = 0; i < draws; i++) { /* in order, so that threads cannot change the sum */
        mean.pr += each[i].pr / draws;
        mean.pr_energy += each[i].pr_energy / draws;
    }
    free(each);
    return mean;
}

/* The few values a process asks for, each computed once. */
enum { MOST_KEPT = 64 };
static struct kept {
    int64_t n;
    int d, two;
    struct qk_null value;
} kept[MOST_KEPT];
static int kept_count;

static struct qk_null look_up(int64_t n, int d, int two)
{
    struct qk_null value = {NAN, NAN};
    if (n < 1 || d < 1 || d > QK_MOST_DIM)
        return value;
#pragma omp critical(qk_null)
    {
        int i = 0;
        while (i < kept_count && (kept[i].n != n || kept[i].d != d || kept[i].two != two))
            i++;
        value = i < kept_count ? kept[i].value : simulate(n, d, two);
        if (i == kept_count && i < MOST_KEPT)
            kept[kept_count++] = (struct kept){n, d, two, value};
    }
    return value;
}

struct qk_null qk_null_rows(int64_t n, int d)
{
    return look_up(n, d, 0);
}

struct qk_null qk_null_product(int64_t n, int d)
{
    return look_up(n, d, 1);
}
