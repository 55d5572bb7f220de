/* The vector loops' exp against libm's in double. */
#include "check.h"

#include "compute/cpu/vexp.h"

/* Error in units of the last place of the float nearest the true value. */
static double error_at(float (*f)(float), float x)
{
    double truth = exp((double)x);
    int exponent;
    frexp(truth, &exponent);
    return fabs((double)f(x) - truth) / ldexp(1, exponent - 24);
}

static void check_accuracy(float (*f)(float), int from, int to)
{
    double worst = 0;
    float where = 0;
    for (int i = from; i <= to; i += 7) {
        float x = (float)i * 1e-4f;
        double e = error_at(f, x);
        if (e > worst)
            worst = e, where = x;
    }
    if (worst > 1.5)
        fail_msg("%g units in the last place at %.9g", worst, (double)where);
    assert_true(f(0) == 1);
}

static void test_accuracy(void **state)
{
    (void)state;
    check_accuracy(qk_expf, -873000, 887000);
    check_accuracy(qk_expf_below, -869800, 0);
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
    for (float x = -86; x > -90; x -= 0.001f) {
        float y = qk_expf_below(x);
        assert_true(y > 1.17e-38f || (y == 0 && x < -86.98f));
    }
    assert_true(qk_expf_below(-INFINITY) == 0);
    assert_true(isnan(qk_expf_below(NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
