/* Spectra with known answers, the null values, overlap and rank correlation. */
#include "check.h"

#include "base/rng.h"
#include "study/measure/spectrum.h"

static struct qk_err err;

static double normal(const char *name, int64_t i)
{
    return qk_rng_normal(7, qk_rng_stream(name), (uint64_t)i);
}

/* Rows [n, d] of independent standard normals. */
static double *gaussian(const char *name, int64_t n, int d)
{
    double *x = qk_alloc((size_t)(n * d), sizeof *x);
    for (int64_t i = 0; i < n * d; i++)
        x[i] = normal(name, i);
    return x;
}

static void gram_of(double *gram, const double *x, int64_t n, int d)
{
    memset(gram, 0, (size_t)(d * d) * sizeof *gram);
    for (int64_t r = 0; r < n; r++)
        for (int i = 0; i < d; i++)
            for (int j = 0; j < d; j++)
                gram[i * d + j] += x[r * d + i] * x[r * d + j];
}

/* to [n, e] = x [n, d] a [d, e] */
static double *times(const double *x, const double *a, int64_t n, int d, int e)
{
    double *to = qk_zalloc((size_t)(n * e), sizeof *to);
    for (int64_t r = 0; r < n; r++)
        for (int k = 0; k < d; k++)
            for (int j = 0; j < e; j++)
                to[r * e + j] += x[r * d + k] * a[k * e + j];
    return to;
}

/* A random orthogonal [d, d]: Gram-Schmidt, twice, of Gaussian rows. */
static double *orthogonal(const char *name, int d)
{
    double *q = gaussian(name, d, d);
    for (int i = 0; i < d; i++)
        for (int pass = 0; pass < 2; pass++) {
            double norm = 0;
            for (int k = 0; k < i; k++) {
                double dot = 0;
                for (int j = 0; j < d; j++)
                    dot += q[i * d + j] * q[k * d + j];
                for (int j = 0; j < d; j++)
                    q[i * d + j] -= dot * q[k * d + j];
            }
            for (int j = 0; j < d; j++)
                norm += q[i * d + j] * q[i * d + j];
            for (int j = 0; j < d; j++)
                q[i * d + j] /= sqrt(norm);
        }
    return q;
}

/* gram = V diag(sigma^2) V^T with rows of `v` as directions (NULL: the axes). */
static void planted(double *gram, const double *sigma, const double *v, int d)
{
    memset(gram, 0, (size_t)(d * d) * sizeof *gram);
    for (int r = 0; r < d; r++)
        for (int i = 0; i < d; i++)
            for (int j = 0; j < d; j++) {
                double a = v ? v[r * d + i] : i == r, b = v ? v[r * d + j] : j == r;
                gram[i * d + j] += sigma[r] * sigma[r] * a * b;
            }
}

static void known_numbers(void **state)
{
    (void)state;
    struct qk_spectrum s;
    double gram[9];
    planted(gram, (double[]){1, 2, 4}, NULL, 3); /* sum 7, squares 21, fourths 273 */
    assert_works(qk_spectrum_of_gram(&s, NULL, gram, 3, &err));
    assert_close(s.sigma[0], 4, 1e-14);
    assert_close(s.sigma[2], 1, 1e-14);
    assert_close(s.pr, 49.0 / 21, 1e-14);
    assert_close(s.pr_energy, 441.0 / 273, 1e-14);
    assert_close(s.cond, 4, 1e-14);
    assert_close(s.stable_rank, 21.0 / 16, 1e-14);
    assert_close(s.axis_alignment, 1, 1e-14);
    double h = -(log(4.0 / 7) * 4 + log(2.0 / 7) * 2 + log(1.0 / 7)) / 7;
    assert_close(s.effective_rank, exp(h), 1e-14);
    assert_int_equal(s.rank90, 2); /* 20 of 21 */
}

static void rotated_is_not_aligned(void **state)
{
    (void)state;
    enum { D = 64 };
    struct qk_spectrum s;
    double sigma[D], gram[D * D], found[D * D], *v = orthogonal("v", D);
    for (int i = 0; i < D; i++)
        sigma[i] = 1 + i;
    planted(gram, sigma, v, D);
    assert_works(qk_spectrum_of_gram(&s, found, gram, D, &err));
    double same = 0; /* the strongest direction is the last planted one, up to its sign */
    for (int j = 0; j < D; j++)
        same += found[j * D] * v[(D - 1) * D + j];
    assert_close(fabs(same), 1, 1e-12);
    assert_close(s.axis_alignment, 3.0 / (D + 2), 0.15);
    for (int i = 0; i < D; i++)
        assert_close(s.sigma[i], D - i, 1e-12);
    free(v);
}

static void rank90_edges(void **state)
{
    (void)state;
    struct qk_spectrum s;
    static double gram[120 * 120];
    for (int d = 10; d <= 120;
         d += 10) { /* 9/10 of equal shares: not one more, however they round */
        double *v = orthogonal("r", d), sigma[120];
        for (int i = 0; i < d; i++)
            sigma[i] = sqrt(0.3);
        for (int turned = 0; turned < 2; turned++) {
            planted(gram, sigma, turned ? v : NULL, d);
            assert_works(qk_spectrum_of_gram(&s, NULL, gram, d, &err));
            assert_int_equal(s.rank90, 9 * d / 10);
            assert_close(s.pr, d, 1e-12);
        }
        free(v);
    }
    planted(gram, (double[]){sqrt(0.9), sqrt(0.1)}, NULL, 2);
    assert_works(qk_spectrum_of_gram(&s, NULL, gram, 2, &err));
    assert_int_equal(s.rank90, 1);
    planted(gram, (double[]){sqrt(0.899), sqrt(0.101)}, NULL, 2);
    assert_works(qk_spectrum_of_gram(&s, NULL, gram, 2, &err));
    assert_int_equal(s.rank90, 2);
    planted(gram, (double[]){3}, NULL, 1);
    assert_works(qk_spectrum_of_gram(&s, NULL, gram, 1, &err));
    assert_int_equal(s.rank90, 1);
    assert_close(s.cond, 1, 0);
}

static void lost_rank_has_no_condition(void **state)
{
    (void)state;
    enum { D = 32, R = 5, N = 300 };
    struct qk_spectrum s;
    double gram[D * D], *x = gaussian("x", N, R), *a = gaussian("a", R, D);
    double *rows = times(x, a, N, R, D);
    gram_of(gram, rows, N, D);
    assert_works(qk_spectrum_of_gram(&s, NULL, gram, D, &err));
    assert_true(isnan(s.cond));
    assert_true(s.sigma[R - 1] > 1 && s.sigma[R] == 0 && s.sigma[D - 1] == 0);
    assert_true(s.pr <= R && s.effective_rank <= R);
    assert_true(s.rank90 <= R);
    memset(gram, 0, sizeof gram);
    assert_works(qk_spectrum_of_gram(&s, NULL, gram, D, &err));
    assert_int_equal(s.rank90, 0);
    assert_true(isnan(s.pr) && isnan(s.pr_energy) && isnan(s.stable_rank) && isnan(s.cond));
    assert_true(isnan(s.effective_rank) && isnan(s.axis_alignment));
    free(x);
    free(a);
    free(rows);
}

/* A log-spaced spectrum over `decades`, given as rows: n >= d of them. */
static void conditioned(double decades, double sigma_tolerance, double pr_tolerance)
{
    enum { D = 128, N = 512 };
    struct qk_spectrum s;
    double *u = gaussian("u", N, D), *v = orthogonal("cv", D), sigma[D];
    static double gram[D * D];
    for (int j = 0; j < D; j++) { /* orthonormal columns: Gram-Schmidt twice over columns */
        for (int pass = 0; pass < 2; pass++) {
            double norm = 0;
            for (int k = 0; k < j; k++) {
                double dot = 0;
                for (int i = 0; i < N; i++)
                    dot += u[i * D + j] * u[i * D + k];
                for (int i = 0; i < N; i++)
                    u[i * D + j] -= dot * u[i * D + k];
            }
            for (int i = 0; i < N; i++)
                norm += u[i * D + j] * u[i * D + j];
            for (int i = 0; i < N; i++)
                u[i * D + j] /= sqrt(norm);
        }
        sigma[j] = pow(10, -decades * j / (D - 1));
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++)
            u[i * D + j] *= sigma[j];
    double *rows = times(u, v, N, D, D), sum = 0, squares = 0;
    gram_of(gram, rows, N, D);
    assert_works(qk_spectrum_of_gram(&s, NULL, gram, D, &err));
    for (int j = 0; j < D; j++) {
        sum += sigma[j];
        squares += sigma[j] * sigma[j];
    }
    assert_close(s.pr, sum * sum / squares, pr_tolerance);
    assert_close(s.sigma[D - 1], sigma[D - 1], sigma_tolerance);
    assert_close(s.cond, pow(10, decades), sigma_tolerance);
    free(u);
    free(v);
    free(rows);
}

static void accuracy_against_conditioning(void **state)
{
    (void)state;
    conditioned(1, 1e-13, 1e-14);
    conditioned(3, 1e-9, 1e-13);
    conditioned(5, 1e-6, 1e-11);
    conditioned(6, 1e-3, 1e-10);
}

static void refuses_what_is_no_gram(void **state)
{
    (void)state;
    struct qk_spectrum s;
    assert_int_equal(qk_spectrum_of_gram(&s, NULL, (double[]){1, NAN, NAN, 1}, 2, &err), -1);
    assert_string_equal(err.text, "the Gram matrix holds a number that is not finite");
    assert_int_equal(qk_spectrum_of_gram(&s, NULL, (double[]){INFINITY}, 1, &err), -1);
    assert_int_equal(qk_spectrum_of_product(&s, (double[]){1}, (double[]){-INFINITY}, 1, &err), -1);
    assert_string_equal(err.text, "the Gram matrix of the keys holds a number that is not finite");
    assert_int_equal(qk_spectrum_of_gram(&s, NULL, (double[]){1}, 129, &err), -1);
}

/* ---- the bilinear form ---- */

static void product_of_diagonals(void **state)
{
    (void)state;
    struct qk_spectrum s;
    double q[9], k[9];
    planted(q, (double[]){1, 2, 3}, NULL, 3);
    planted(k, (double[]){5, 1, 2}, NULL, 3);
    assert_works(qk_spectrum_of_product(&s, q, k, 3, &err));
    assert_close(s.sigma[0], 6, 1e-14);
    assert_close(s.sigma[1], 5, 1e-14);
    assert_close(s.sigma[2], 2, 1e-14);
    assert_close(s.pr, 169.0 / 65, 1e-14);
    assert_close(s.axis_alignment, 1, 1e-14);
}

/* K -> K A and Q -> Q A^-T leave Q K^T alone: here A = diag(g) times a rotation. */
static void product_ignores_the_gauge(void **state)
{
    (void)state;
    enum { D = 16, N = 200 };
    double *q = gaussian("pq", N, D), *k = gaussian("pk", N, D), *r = orthogonal("pr", D);
    double a[D * D], inverse[D * D], gq[D * D], gk[D * D];
    struct qk_spectrum before, after, alone;
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) {
            double g = pow(10, 2.0 * i / D);
            a[i * D + j] = g * r[i * D + j];
            inverse[i * D + j] = r[i * D + j] / g; /* (A^-1)^T */
        }
    gram_of(gq, q, N, D);
    gram_of(gk, k, N, D);
    assert_works(qk_spectrum_of_product(&before, gq, gk, D, &err));
    assert_works(qk_spectrum_of_gram(&alone, NULL, gk, D, &err));
    double pr_of_keys = alone.pr;
    double *ka = times(k, a, N, D, D), *qa = times(q, inverse, N, D, D);
    gram_of(gq, qa, N, D);
    gram_of(gk, ka, N, D);
    assert_works(qk_spectrum_of_product(&after, gq, gk, D, &err));
    assert_works(qk_spectrum_of_gram(&alone, NULL, gk, D, &err));
    for (int i = 0; i < D; i++)
        assert_close(after.sigma[i], before.sigma[i], 1e-10);
    assert_close(after.pr, before.pr, 1e-12);
    assert_true(fabs(alone.pr - pr_of_keys) > 1); /* while the keys' own PR moves */
    free(q);
    free(k);
    free(r);
    free(ka);
    free(qa);
}

static void product_with_lost_rank(void **state)
{
    (void)state;
    struct qk_spectrum s;
    double q[9], k[9];
    planted(q, (double[]){1, 2, 3}, NULL, 3);
    planted(k, (double[]){0, 1, 0}, NULL, 3);
    assert_works(qk_spectrum_of_product(&s, q, k, 3, &err));
    assert_close(s.sigma[0], 2, 1e-14);
    assert_true(s.sigma[1] == 0 && isnan(s.cond));
    assert_close(s.pr, 1, 1e-14);
}

/* ---- Gaussian rows ---- */

static void null_values_of_the_literature(void **state)
{
    (void)state;
    const struct {
        int64_t n;
        int d;
        double pr, pr_energy; /* SCIENCE A2, simulated with whole rows */
    } table[] = {{1000, 64, 62.97, 60.15},
                 {8192, 64, 63.87, 63.49},
                 {1000, 128, 123.86, 113.43},
                 {8192, 128, 127.50, 126.03},
                 {16384, 128, 127.74, 126.98}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct qk_null null = qk_null_rows(table[i].n, table[i].d);
        assert_close(null.pr, table[i].pr, 1e-3);
        assert_close(null.pr_energy, table[i].pr_energy, 1.5e-3);
        struct qk_null again = qk_null_rows(table[i].n, table[i].d);
        assert_true(again.pr == null.pr && again.pr_energy == null.pr_energy);
    }
    /* one direction: always 1; a single row: rank 1 whatever d */
    assert_close(qk_null_rows(50, 1).pr, 1, 1e-15);
    assert_close(qk_null_rows(1, 8).pr, 1, 1e-12);
    assert_close(qk_null_product(1, 8).pr_energy, 1, 1e-12);
    assert_true(isnan(qk_null_rows(0, 8).pr));
}

/* The same by brute force, whole rows through the measuring code itself. */
static void null_against_rows(void **state)
{
    (void)state;
    const struct {
        int n, d, draws;
    } table[] = {{40, 8, 600}, {8, 8, 600}, {5, 8, 600}, {300, 32, 40}};
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        int n = table[t].n, d = table[t].d, draws = table[t].draws;
        double gq[32 * 32], gk[32 * 32], sums[4] = {0}, squares[4] = {0};
        for (int i = 0; i < draws; i++) {
            char name[32];
            struct qk_spectrum one, two;
            snprintf(name, sizeof name, "q%zu.%d", t, i);
            double *q = gaussian(name, n, d);
            *name = 'k';
            double *k = gaussian(name, n, d);
            gram_of(gq, q, n, d);
            gram_of(gk, k, n, d);
            assert_works(qk_spectrum_of_gram(&one, NULL, gk, d, &err));
            assert_works(qk_spectrum_of_product(&two, gq, gk, d, &err));
            double seen[4] = {one.pr, one.pr_energy, two.pr, two.pr_energy};
            for (int j = 0; j < 4; j++) {
                sums[j] += seen[j];
                squares[j] += seen[j] * seen[j];
            }
            free(q);
            free(k);
        }
        struct qk_null rows = qk_null_rows(n, d), product = qk_null_product(n, d);
        double null[4] = {rows.pr, rows.pr_energy, product.pr, product.pr_energy};
        for (int j = 0; j < 4; j++) {
            double mean = sums[j] / draws, spread = squares[j] / draws - mean * mean;
            assert_true(fabs(mean - null[j]) < 4 * sqrt(spread / draws) + 1e-3 * mean);
        }
    }
}

/* ---- small ones ---- */

static void centring_and_shares(void **state)
{
    (void)state;
    enum { D = 6, N = 50 };
    double *x = gaussian("c", N, D), gram[D * D], mean[D] = {0}, centred[D * D], direct[D * D];
    double shares[D];
    for (int r = 0; r < N; r++)
        for (int j = 0; j < D; j++)
            mean[j] += (x[r * D + j] += 3 * j) / N;
    gram_of(gram, x, N, D);
    for (int r = 0; r < N; r++)
        for (int j = 0; j < D; j++)
            x[r * D + j] -= mean[j];
    gram_of(direct, x, N, D);
    qk_gram_centre(centred, gram, mean, N, D);
    for (int i = 0; i < D * D; i++)
        assert_true(fabs(centred[i] - direct[i]) < 1e-9);
    qk_gram_shares(shares, (double[]){1, 9, 9, 3}, 2);
    assert_close(shares[0], 0.25, 1e-15);
    assert_close(shares[1], 0.75, 1e-15);
    free(x);
}

static void overlap(void **state)
{
    (void)state;
    const double heads[] = {1, 0, 0, 0, /* e1 */ 0, 0, 0, 5, /* e2 */ 1, 0, 0, 1 /* both */};
    assert_true(isnan(qk_head_overlap(heads, 1, 2)));
    assert_true(qk_head_overlap(heads, 2, 2) == 0);
    assert_close(qk_head_overlap(heads, 3, 2), 2 * sqrt(0.5) / 3, 1e-15);
    const double same[] = {2, 1, 1, 3, 4, 2, 2, 6};
    assert_close(qk_head_overlap(same, 2, 2), 1, 1e-15);
}

static void rank_correlation(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 4, 5}, up[] = {1, 8, 27, 64, 125}, down[] = {5, 4, 3, 2, 1};
    assert_close(qk_spearman(x, up, 5), 1, 1e-15);
    assert_close(qk_spearman(x, down, 5), -1, 1e-15);
    /* ties share their mean rank: ranks 1, 2.5, 2.5, 4 and 1, 2, 3.5, 3.5 */
    const double a[] = {1, 2, 2, 3}, b[] = {10, 20, 30, 30};
    assert_close(qk_spearman(a, b, 4), 3.75 / 4.5, 1e-15);
    const double flat[] = {7, 7, 7, 7, 7};
    assert_true(isnan(qk_spearman(x, flat, 5)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_numbers),
        cmocka_unit_test(rotated_is_not_aligned),
        cmocka_unit_test(rank90_edges),
        cmocka_unit_test(lost_rank_has_no_condition),
        cmocka_unit_test(accuracy_against_conditioning),
        cmocka_unit_test(refuses_what_is_no_gram),
        cmocka_unit_test(product_of_diagonals),
        cmocka_unit_test(product_ignores_the_gauge),
        cmocka_unit_test(product_with_lost_rank),
        cmocka_unit_test(null_values_of_the_literature),
        cmocka_unit_test(null_against_rows),
        cmocka_unit_test(centring_and_shares),
        cmocka_unit_test(overlap),
        cmocka_unit_test(rank_correlation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
