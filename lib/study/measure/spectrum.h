/* The measures of a spectrum: how many directions a set of keys uses.
 *
 * For an n x d matrix X with singular values s_1 >= ... >= s_d (from the eigenvalues of the double
 * precision Gram matrix X^T X, s = sqrt(max(0, eigenvalue))):
 *   pr             = (sum s)^2 / sum s^2            participation ratio of s: this study's PR
 *   pr_energy      = (sum s^2)^2 / sum s^4          the literature's participation ratio
 *   rank90         = least r with sum_{i<=r} s_i^2 >= 0.9 sum s^2
 *   cond           = s_1 / s_d                      NaN when s_d <= 1e-12 s_1
 *   effective_rank = exp(-sum p ln p), p = s/sum s  Roy and Vetterli 2007
 *   stable_rank    = sum s^2 / s_1^2
 *   axis_alignment = sum_i (s_i^2 / sum s^2) sum_j V_ji^4   1: coordinate axes; 3/(d+2): none
 *
 * A singular value that the rounding of the Gram matrix hides (its square is less than
 * QK_NOISE * d * s_1^2) is reported as 0.  All of X = 0: rank90 is 0, every other measure NaN.
 */
#ifndef QK_STUDY_SPECTRUM_H
#define QK_STUDY_SPECTRUM_H

#include <stdint.h>

#include "base/err.h"

enum { QK_MOST_DIM = 128 }; /* head dimension */

#define QK_NOISE 2.2e-16 /* of a double */

struct qk_spectrum {
    int d;
    double sigma[QK_MOST_DIM]; /* descending */
    double pr, pr_energy, cond, effective_rank, stable_rank, axis_alignment;
    int rank90;
};

/* From a symmetric Gram matrix [d, d], d <= QK_MOST_DIM.  v [d, d] receives the directions,
 * v[j*d+i] being component j of direction i; NULL when they are not wanted. */
int qk_spectrum_of_gram(struct qk_spectrum *s, double *v, const double *gram, int d,
                        struct qk_err *err);

/* Of the bilinear form Q K^T: s = sqrt(eig(G_Q G_K)), computed as the singular values of
 * L_Q^T L_K with G = L L^T, so that small ones are not squared away.  Unlike the spectrum of K
 * alone it does not change when K -> K A, Q -> Q A^-T.  v are the right singular vectors of
 * L_Q^T L_K: directions in the orthonormal basis that Gram-Schmidt makes of the columns of K. */
int qk_spectrum_of_product(struct qk_spectrum *s, const double *gram_q, const double *gram_k, int d,
                           struct qk_err *err);

/* The Gram matrix of centred rows: to = gram - n mean mean^T. */
void qk_gram_centre(double *to, const double *gram, const double *mean, int64_t n, int d);

/* c_j = sum_i s_i^2 V_ji^2 / sum s^2: the share of dimension j, which is gram_jj / trace. */
void qk_gram_shares(double *c, const double *gram, int d);

/* What pr and pr_energy are on average for i.i.d. Gaussian rows [n, d], and for the bilinear form
 * of two such, independent: the reference every measured value stands beside (null.c says how).
 * Kept per (n, d); safe to call from any thread. */
struct qk_null {
    double pr, pr_energy;
};
struct qk_null qk_null_rows(int64_t n, int d);
struct qk_null qk_null_product(int64_t n, int d);
/* The number of random draws the average is over. */
int qk_null_draws(int d);

/* tr(G_a G_b) / (|G_a| |G_b|) averaged over pairs of heads; NaN for one head. gram [heads, d, d].
 */
double qk_head_overlap(const double *gram, int heads, int d);

/* Spearman's rank correlation of two vectors (ties share their mean rank); NaN if constant. */
double qk_spearman(const double *x, const double *y, int n);

#endif
