/* What the measures need of a symmetric matrix: its eigenvalues, and of each direction how far it
 * lies along the axes.  On one thread.
 *
 * The matrix becomes tridiagonal (Householder), LAPACK's dsterf finds the eigenvalues, and each
 * vector comes on its own from the two triangular factorisations of T - lambda that meet where they
 * fit best (Parlett and Dhillon 1997), eight vectors at once.  That takes half the time of LAPACK's
 * divide and conquer.  A vector found so is as good as its eigenvalue is far from the next one,
 * which is also all that rounding in the matrix leaves of it; where eigenvalues that count lie too
 * close together this says so, and LAPACK has to find them.
 */
#ifndef QK_STUDY_EIGEN_H
#define QK_STUDY_EIGEN_H

#include <stdbool.h>

/* By the vectors that gram.h chose.  gram [d, d], d <= 128, finite: values ascending, and
 * fourths[i] = sum_j V_ji^4 of direction i. false, with both undefined: leave it to LAPACK. */
bool qk_eigen_axes(double *values, double *fourths, const double *gram, int d);

#endif
