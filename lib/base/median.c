#include "base/median.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a_, const void *b_)
{
    const double *a = a_, *b = b_;
    return (*a > *b) - (*a < *b);
}

double qk_median(double *of, size_t n)
{
    if (n == 0)
        return NAN;
    qsort(of, n, sizeof *of, ascending);
    return 0.5 * (of[n / 2] + of[(n - 1) / 2]);
}
