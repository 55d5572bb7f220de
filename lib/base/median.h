/* The median of n numbers, the mean of the middle two where n is even, NaN of none.  They are left
 * in rising order. */
#ifndef QK_BASE_MEDIAN_H
#define QK_BASE_MEDIAN_H

#include <stddef.h>

double qk_median(double *of, size_t n);

#endif
