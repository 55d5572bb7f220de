/* The vector loops' exp against libm's in double. */
#include "check.h"

#include "compute/cpu/vexp.h"

/* Error in units of the last place of the float nearest the true value. */
static double error_at(float x)
{
    double truth = exp((double)x);
    int exponent;
    frexp(truth, &exponent);
    return fabs((double)qk_expf(x) - truth) / ldexp(1, exponent - 24);
}

static void test_accuracy(void **state)
{
    (void)state;
    double worst = 0;
    float where = 0;
    for (int i = -873000; i <= 887000; i += 7) {
        float x = (float)i * 1e-4f;
        double e = error_at(x);
        if (e > worst)
            worst = e, where = x;
    }
    if (worst > 1.5)
        fail_msg("%g units in the last place at %.9g", worst, (double)where);
    assert_true(qk_expf(0) == 1);
}

static void test_ends(void **state)
{
    (void)state;
    assert_true(qk_expf(-87.31f) == 0);
    assert_true(qk_expf(-1e30f) == 0);
    assert_true(qk_expf(-INFINITY) == 0);
    assert_true(qk_expf(-87.29f) > 1.17e-38f); /* never a denormal */
    assert_true(isfinite(qk_expf(1e30f)) && qk_expf(1e30f) > 3e38f);
    assert_true(isfinite(qk_expf(INFINITY)));
    assert_true(isnan(qk_expf(NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
