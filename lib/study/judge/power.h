/* How many seeds does an effect need?  From the spread between seeds that was seen.
 *
 * Paired t test, two-sided 5 %: exact power from the noncentral t distribution.  Equivalence (TOST
 * at 5 %, true difference 0): exact, by integration over the sample deviation.
 */
#ifndef QK_STUDY_POWER_H
#define QK_STUDY_POWER_H

#include "study/results/results.h"

/* P(T <= t) of the noncentral t distribution: df > 0, noncentrality delta.  Integrates Phi(t s -
 * delta) over s = chi_df / sqrt(df) by Simpson's rule; good to 1e-9. */
double qk_stats_nct_cdf(double t, double df, double delta);

/* Power of the two-sided paired t test at `alpha` with n pairs, mean difference `effect`, deviation
 * `sd` of the differences; NaN for n < 2 or sd <= 0. */
double qk_power_t(int n, double effect, double sd, double alpha);
/* Power of TOST at `alpha` with margins +-margin when the true difference is 0. */
double qk_power_tost(int n, double margin, double sd, double alpha);

/* The least n that reaches `power`, or 0 when QK_POWER_MOST do not. */
enum { QK_POWER_MOST = 1000 };
int qk_power_seeds_t(double effect, double sd, double alpha, double power);
int qk_power_seeds_tost(double margin, double sd, double alpha, double power);

/* For every pair of conditions: {pairs: {"A-B": {pr: {...}, val_loss: {...}}}, ...} without
 * provenance. `effect_pr` in PR and `effect_loss` in nats; fails with fewer than two seeds. */
cJSON *qk_power_json(const struct qk_combined *c, double effect_pr, double effect_loss,
                     struct qk_err *err);

#endif
