/* Small-sample statistics for paired seeds: t interval, exact sign-flip test, Holm, and an
 * equivalence test.  All sums in double; nothing here knows about ranks or losses.
 *
 * The replicate is the seed: differences d[i] are taken within a seed (same initial weights, same
 * data order, same evaluation batch), so n is small and the exact test is affordable.
 */
#ifndef QK_STUDY_STATS_H
#define QK_STUDY_STATS_H

#include <stdint.h>

/* Mean; sample standard deviation (n-1; NaN below two values).  NaN when n is 0. */
double qk_stats_mean(const double *x, int64_t n);
double qk_stats_sd(const double *x, int64_t n);
/* Pearson's correlation; NaN below three pairs or when either side is constant. */
double qk_stats_pearson(const double *x, const double *y, int64_t n);
/* Least-squares slope of y on x; NaN below two points or when x is constant. */
double qk_stats_slope(const double *x, const double *y, int64_t n);

/* Regularised incomplete beta function I_x(a, b); a, b > 0, x in [0, 1]. */
double qk_stats_beta(double x, double a, double b);
/* P(T <= t) of Student's t, and its inverse; df > 0, 0 < p < 1 (else NaN). */
double qk_stats_t_cdf(double t, double df);
double qk_stats_t_quantile(double p, double df);

/* Exact two-sided sign-flip permutation test of mean 0: the share of the 2^n sign patterns whose
 * |sum| is at least the one observed.  Least possible value 2/2^n.  NaN for n of 0 or above
 * QK_STATS_MOST_FLIPS. */
enum { QK_STATS_MOST_FLIPS = 20 };
double qk_stats_sign_flip(const double *d, int n);

/* Holm's step-down adjustment of n p-values; NaN stays NaN and does not count as a test. */
void qk_stats_holm(const double *p, int n, double *adjusted);

/* What an equivalence test can say about |mean difference| against a margin:
 *   null          the 90 % t interval lies inside (-margin, margin): TOST at 5 %
 *   effect        the 90 % t interval lies wholly outside it, on one side
 *   inconclusive  it straddles a margin, or there are fewer than two pairs */
enum qk_equivalence { QK_EQ_NULL, QK_EQ_EFFECT, QK_EQ_INCONCLUSIVE };
const char *qk_stats_equivalence_name(enum qk_equivalence e);

/* Everything about n paired differences.  With n < 2 only mean is a number. */
struct qk_paired {
    int n;
    double mean, sd, se;
    double low95, high95; /* t interval */
    double low90, high90;
    double p_t;    /* two-sided, mean 0 */
    double p_flip; /* exact sign-flip */
    double p_tost; /* larger of the two one-sided p: < .05 means null */
    enum qk_equivalence equivalence;
};
void qk_stats_paired(struct qk_paired *s, const double *d, int n, double margin);

#endif
