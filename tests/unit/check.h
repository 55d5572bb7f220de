/* What every unit test includes: cmocka in the order it wants, and the way to run a group.
 * A test program is tests/unit/test_MODULE.c; the makefile finds it by name. */
#ifndef QK_TESTS_CHECK_H
#define QK_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

/* The call must succeed; prints its sentence when it does not. */
#define assert_works(call)                                                                         \
    do {                                                                                           \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

/* |a - b| <= tolerance * max(|b|, floor) */
#define assert_close(a, b, tolerance)                                                              \
    do {                                                                                           \
        double a_ = (a), b_ = (b);                                                                 \
        if (!(fabs(a_ - b_) <= (tolerance)*fmax(fabs(b_), 1e-30)))                                 \
            fail_msg("%s = %.17g, expected %.17g within %g", #a, a_, b_, (double)(tolerance));     \
    } while (0)

/* A folder of the test's own and all in it. */
static inline int remove_tree(const char *folder)
{
    char *command = qk_format("rm -rf '%s'", folder);
    int failed = system(command);
    free(command);
    return failed;
}

#endif
