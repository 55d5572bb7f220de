/* Gram matrices X^T X of float32 rows, in double precision, on one thread.
 *
 * A product of two floats is exact in double, so a fused multiply-add rounds as the sum alone does:
 * the bits depend neither on the processor's vectors nor on how the work is cut into tiles.  Only
 * the order of the sums counts, and that is fixed: QK_GRAM_ROWS rows are summed one after the other
 * from zero, and their sum is added to what is there.
 */
#ifndef QK_STUDY_GRAM_H
#define QK_STUDY_GRAM_H

#include <stddef.h>
#include <stdint.h>

enum { QK_GRAM_ROWS = 256 };

/* Numbers of scratch that vectors of d components need. */
size_t qk_gram_room(int d);

/* gram [d, d] += X^T X, upper triangle (some numbers below it change too: mirror when all is
 * summed), and sum [d] += column sums unless NULL.  Component j of row r is x[r * down + j *
 * across], for `rows` rows.  `scratch` holds qk_gram_room(d) numbers. */
void qk_gram_add(double *gram, double *sum, const float *x, int64_t down, int64_t across,
                 int64_t rows, int d, double *scratch);

/* The lower triangle from the upper. */
void qk_gram_mirror(double *gram, int d);

#endif
