/* Gram matrices against the order of sums that gram.h promises, bit for bit, and against long
 * double, by every kind of vector this processor has; and what comes of them against the singular
 * values of the rows themselves. */
#include "check.h"

#include "base/threads.h"
#include "study/measure/eigen.h"
#include "base/vectors.h"
#include "study/measure/gram.h"
#include "study/measure/lapack.h"
#include "study/measure/spectrum.h"

static float number(uint64_t i)
{
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    return (float)((double)(x >> 33) / (1u << 31) * 2 - 0.75);
}

struct sizes {
    int d;
    int64_t rows, down, across;
};

/* What the header defines, and the same sum in long double. */
static double defined(const float *x, const struct sizes *s, int a, int b, double from,
                      long double *truth)
{
    double total = from;
    *truth = (long double)from;
    for (int64_t first = 0; first < s->rows; first += QK_GRAM_ROWS) {
        double block = 0;
        for (int64_t r = first; r < s->rows && r < first + QK_GRAM_ROWS; r++) {
            const float *row = x + r * s->down;
            volatile double product = (double)row[a * s->across] * (double)row[b * s->across];
            block += product;
            *truth += (long double)product;
        }
        total += block;
    }
    return total;
}

static void compare(const struct sizes *s)
{
    const int d = s->d;
    const size_t square = (size_t)d * (size_t)d;
    const size_t count = (size_t)((s->rows - 1) * s->down + (d - 1) * s->across + 1);
    float *x = qk_alloc(count, sizeof *x);
    double *gram = qk_alloc(square, sizeof *gram), *sum = qk_alloc((size_t)d, sizeof *sum);
    double *scratch = qk_alloc(qk_gram_room(d), sizeof *scratch);
    for (size_t i = 0; i < count; i++)
        x[i] = number(i);
    for (size_t i = 0; i < square; i++)
        gram[i] = 0.5;
    for (int j = 0; j < d; j++)
        sum[j] = -3;
    qk_gram_add(gram, sum, x, s->down, s->across, s->rows, d, scratch);
    qk_gram_mirror(gram, d);
    for (int a = 0; a < d; a++) {
        double column = -3;
        for (int64_t r = 0; r < s->rows; r++)
            column += (double)x[r * s->down + a * s->across];
        assert_true(sum[a] == column);
        for (int b = a; b < d; b++) {
            long double truth;
            double expected = defined(x, s, a, b, 0.5, &truth);
            if (gram[a * d + b] != expected)
                fail_msg("d %d rows %lld (%d, %d): %.17g, not %.17g", d, (long long)s->rows, a, b,
                         gram[a * d + b], expected);
            assert_true(gram[b * d + a] == expected);
            assert_true(fabs((double)(expected - truth)) <= 1e-13 * (double)s->rows);
        }
    }
    free(x);
    free(gram);
    free(sum);
    free(scratch);
}

/* Any dimension, any number of rows, apart or not, and transposed. */
static void sizes_with(enum qk_vectors vectors)
{
    if (qk_vectors_limit(vectors) != vectors)
        return; /* this processor has no such vectors */
    static const int dims[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 64, 100, 127, 128, 130};
    static const int64_t rows[] = {
        1, 5, QK_GRAM_ROWS - 1, QK_GRAM_ROWS, QK_GRAM_ROWS + 1, 3 * QK_GRAM_ROWS + 17};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            int d = dims[i];
            compare(&(struct sizes){d, rows[k], d, 1});
            if (d % 3 == 0 || d > 100) {
                compare(&(struct sizes){d, rows[k], 3 * d + 5, 1});
                compare(&(struct sizes){d, rows[k], 1, rows[k] + 2});
            }
        }
}

static void sizes(void **state)
{
    (void)state;
    for (int v = QK_PLAIN; v <= QK_AVX512; v++)
        sizes_with((enum qk_vectors)v);
    assert_int_equal(qk_vectors_limit(QK_PLAIN), QK_PLAIN);
    qk_vectors_limit(QK_AVX512);
}

/* Added up in two calls that end at a block's edge: the same bits as one; sums are optional. */
static void in_parts(void **state)
{
    (void)state;
    enum { D = 20, N = QK_GRAM_ROWS + 44 };
    static float x[N * D];
    static double whole[D * D], parts[D * D];
    double *scratch = qk_alloc(qk_gram_room(D), sizeof *scratch);
    for (size_t i = 0; i < N * D; i++)
        x[i] = number(i);
    qk_gram_add(whole, NULL, x, D, 1, N, D, scratch);
    qk_gram_add(parts, NULL, x, D, 1, QK_GRAM_ROWS, D, scratch);
    qk_gram_add(parts, NULL, x + QK_GRAM_ROWS * D, D, 1, 44, D, scratch);
    qk_gram_add(parts, NULL, x, D, 1, 0, D, scratch);
    assert_memory_equal(whole, parts, sizeof whole);
    free(scratch);
}

/* ---- against the singular value decomposition of the rows in double precision ---- */

enum { ROWS = 700, DIM = 64 };

static double uniform(uint64_t i)
{
    return (double)number(i) + 0.25 * (double)number(i + (UINT64_C(1) << 40)) / (1 << 24);
}

/* Columns become orthonormal (Gram-Schmidt, twice); x [n, d]. */
static void orthonormal(double *x, int n, int d)
{
    for (int j = 0; j < d; j++)
        for (int pass = 0; pass < 2; pass++) {
            for (int k = 0; k < j; k++) {
                double dot = 0;
                for (int r = 0; r < n; r++)
                    dot += x[r * d + j] * x[r * d + k];
                for (int r = 0; r < n; r++)
                    x[r * d + j] -= dot * x[r * d + k];
            }
            double norm = 0;
            for (int r = 0; r < n; r++)
                norm += x[r * d + j] * x[r * d + j];
            for (int r = 0; r < n; r++)
                x[r * d + j] /= sqrt(norm);
        }
}

/* Rows [ROWS, DIM] with singular values spaced evenly in the logarithm from 1 to 1 / cond, rounded
 * to float32. */
static void plant(float *x, double cond)
{
    static double u[ROWS * DIM], v[DIM * DIM];
    for (uint64_t i = 0; i < ROWS * DIM; i++)
        u[i] = uniform(i);
    for (uint64_t i = 0; i < DIM * DIM; i++)
        v[i] = uniform(i + 1000000);
    orthonormal(u, ROWS, DIM);
    orthonormal(v, DIM, DIM);
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < DIM; j++) {
            double sum = 0;
            for (int k = 0; k < DIM; k++)
                sum += u[r * DIM + k] * pow(cond, -k / (DIM - 1.0)) * v[j * DIM + k];
            x[r * DIM + j] = (float)sum;
        }
}

/* The peer: LAPACK on the rows widened to double, no Gram matrix in between. */
static void decompose(double *sigma, const float *x)
{
    static double a[ROWS * DIM], work[64 * ROWS];
    const int m = DIM, n = ROWS, one = 1, lwork = 64 * ROWS; /* column-major: the transpose */
    int info = -1;
    for (int i = 0; i < ROWS * DIM; i++)
        a[i] = (double)x[i];
    dgesvd_("N", "N", &m, &n, a, &m, sigma, NULL, &one, NULL, &one, work, &lwork, &info);
    assert_int_equal(info, 0);
}

static void planted_with(enum qk_vectors vectors, double cond)
{
    static float x[ROWS * DIM];
    static double gram[DIM * DIM];
    double sigma[DIM], sum = 0, squares = 0,
                       *scratch = qk_alloc(qk_gram_room(DIM), sizeof *scratch);
    struct qk_spectrum s;
    struct qk_err err;
    if (qk_vectors_limit(vectors) == vectors) {
        plant(x, cond);
        decompose(sigma, x);
        for (int i = 0; i < DIM; i++) {
            sum += sigma[i];
            squares += sigma[i] * sigma[i];
        }
        assert_close(sigma[0] / sigma[DIM - 1], cond, 1e-2);
        memset(gram, 0, sizeof gram);
        qk_gram_add(gram, NULL, x, DIM, 1, ROWS, DIM, scratch);
        qk_gram_mirror(gram, DIM);
        assert_works(qk_spectrum_of_gram(&s, NULL, gram, DIM, &err));
        assert_close(s.pr, sum * sum / squares, 1e-11);
        assert_close(s.sigma[0], sigma[0], 1e-13);
        assert_close(s.sigma[DIM - 1], sigma[DIM - 1], 1e-6);
    }
    qk_vectors_limit(QK_AVX512);
    free(scratch);
}

/* ---- the spectrum without directions and, with them, by LAPACK ---- */

static double *matrix(int d, const char *kind)
{
    double *x = qk_alloc((size_t)(4 * d * d), sizeof *x);
    double *gram = qk_zalloc((size_t)(d * d), sizeof *gram);
    const int rows = strcmp(kind, "few rows") == 0 ? (d + 1) / 2 : 4 * d;
    for (int i = 0; i < rows * d; i++) {
        x[i] = uniform((uint64_t)i) - 0.25;
        if (strcmp(kind, "graded") == 0)
            x[i] *= pow(10, -5.0 * (i % d) / d);
        if (strcmp(kind, "mean") == 0)
            x[i] += 0.7;
        if (strcmp(kind, "diagonal") == 0)
            x[i] = i % d == i / d ? 1 + i / d : 0;
        if (strcmp(kind, "identity") == 0)
            x[i] = i % d == i / d;
        if (strcmp(kind, "twins") == 0 && (i / d) / (2 * d) != (i % d) % 2)
            x[i] = 0; /* two blocks that share no dimension */
        if (strcmp(kind, "twins") == 0 && (i / d) / (2 * d))
            x[i] = i % d % 2 ? x[i - 2 * d * d - 1] : 0; /* and are the same */
        if (strcmp(kind, "small") == 0)
            x[i] *= 1e-20;
        if (strcmp(kind, "tiny") == 0)
            x[i] *= 1e-120;
        if (strcmp(kind, "nothing") == 0)
            x[i] = 0;
    }
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < d; i++)
            for (int j = 0; j < d; j++)
                gram[i * d + j] += x[r * d + i] * x[r * d + j];
    free(x);
    return gram;
}

static void same_spectrum(const char *kind, const double *gram, int d)
{
    static double v[QK_MOST_DIM * QK_MOST_DIM];
    struct qk_err err;
    struct qk_spectrum fast, plain;
    assert_works(qk_spectrum_of_gram(&fast, NULL, gram, d, &err));
    assert_works(qk_spectrum_of_gram(&plain, v, gram, d, &err));
    for (int i = 0; i < d; i++)
        if (fabs(fast.sigma[i] * fast.sigma[i] - plain.sigma[i] * plain.sigma[i]) >
            1e-13 * plain.sigma[0] * plain.sigma[0])
            fail_msg("%s, d %d: sigma %d is %.17g, not %.17g", kind, d, i, fast.sigma[i],
                     plain.sigma[i]);
    if (plain.sigma[0] > 0 && !(fabs(fast.axis_alignment - plain.axis_alignment) < 1e-11))
        fail_msg("%s, d %d: alignment is %.17g, not %.17g", kind, d, fast.axis_alignment,
                 plain.axis_alignment);
    assert_int_equal(isnan(fast.axis_alignment), isnan(plain.axis_alignment));
}

static void without_directions(void **state)
{
    (void)state;
    static const char *const kinds[] = {"plain",    "graded", "mean",  "few rows", "diagonal",
                                        "identity", "twins",  "small", "tiny",     "nothing"};
    static const int dims[] = {1, 2, 3, 8, 9, 31, 34, 64, 128};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
            if (strcmp(kinds[k], "twins") == 0 && dims[i] % 2)
                continue;
            double *gram = matrix(dims[i], kinds[k]);
            for (int vectors = QK_PLAIN; vectors <= QK_AVX512; vectors++) {
                qk_vectors_limit((enum qk_vectors)vectors);
                same_spectrum(kinds[k], gram, dims[i]);
            }
            free(gram);
        }
    double values[64], fourths[64], *twins = matrix(64, "twins"), *plain = matrix(64, "plain");
    assert_true(qk_eigen_axes(values, fourths, plain, 64));  /* not all is left to LAPACK, */
    assert_false(qk_eigen_axes(values, fourths, twins, 64)); /* but what it alone can do */
    free(twins);
    free(plain);
}

static void against_svd(void **state)
{
    (void)state;
    static const double conds[] = {10, 1e3, 1e5};
    for (int v = QK_PLAIN; v <= QK_AVX512; v++)
        for (size_t i = 0; i < sizeof conds / sizeof *conds; i++)
            planted_with((enum qk_vectors)v, conds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(in_parts),
                                       cmocka_unit_test(against_svd),
                                       cmocka_unit_test(without_directions)};
    qk_threads_set(1); /* LAPACK's threads would only wait for each other */
    return cmocka_run_group_tests_name("gram", tests, NULL, NULL);
}
