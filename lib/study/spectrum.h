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
 */
#ifndef QK_STUDY_SPECTRUM_H
#define QK_STUDY_SPECTRUM_H

#include <stdint.h>

#include "base/err.h"

enum { QK_MOST_DIM = 128 }; /* head dimension */

struct qk_spectrum {
    int d;
    double sigma[QK_MOST_DIM];        /* descending */
    double v[QK_MOST_DIM * QK_MOST_DIM]; /* v[j*d + i]: component j of direction i */
    double pr, pr_energy, cond, effective_rank, stable_rank, axis_alignment;
    int rank90;
};

/* From a symmetric Gram matrix [d, d]. */
int qk_spectrum_of_gram(struct qk_spectrum *s, const double *gram, int d, struct qk_err *err);

/* Of the bilinear form Q K^T: s = sqrt(eig(G_Q G_K)).  Unlike the spectrum of K alone it does not
 * change when K -> K A, Q -> Q A^-T. */
int qk_spectrum_of_product(struct qk_spectrum *s, const double *gram_q, const double *gram_k,
                           int d, struct qk_err *err);

/* Expectation of pr and pr_energy for i.i.d. Gaussian rows [n, d], and for the product of two
 * such: see spectrum.c for how they are computed. Cached per (n, d). */
struct qk_null {
    double pr, pr_energy;
};
struct qk_null qk_null_rows(int64_t n, int d);
struct qk_null qk_null_product(int64_t n, int d);

/* tr(G_a G_b) / (|G_a| |G_b|) averaged over pairs of heads; NaN for one head. gram [heads, d, d]. */
double qk_head_overlap(const double *gram, int heads, int d);

/* Spearman's rank correlation of two vectors (ties share their mean rank); NaN if constant. */
double qk_spearman(const double *x, const double *y, int n);

#endif
