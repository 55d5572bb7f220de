/* The median. */
#include "check.h"

#include "base/median.h"

static void test_median(void **state)
{
    (void)state;
    double odd[] = {3, -1, 10}, even[] = {4, 1, 2, 30}, one[] = {7};
    assert_true(qk_median(odd, 3) == 3);
    assert_true(odd[0] == -1 && odd[2] == 10);
    assert_true(qk_median(even, 4) == 3);
    assert_true(qk_median(one, 1) == 7);
    assert_true(isnan(qk_median(one, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_median)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
