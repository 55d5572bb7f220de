/* Choosing BLAS kernels.  The program starts itself again through qk_blas_start where that is
 * needed, so the tests below run under what it chose. */
#include "check.h"

#include "compute/blas.h"

static const char *start_warning;

static void test_levels(void **state)
{
    (void)state;
    assert_int_equal(qk_blas_core_level("Prescott"), 0);
    assert_int_equal(qk_blas_core_level("Nehalem"), 0);
    assert_int_equal(qk_blas_core_level("Sandybridge"), 1);
    assert_int_equal(qk_blas_core_level("Haswell"), 2);
    assert_int_equal(qk_blas_core_level("HASWELL"), 2);
    assert_int_equal(qk_blas_core_level("Zen"), 2);
    assert_int_equal(qk_blas_core_level("SkylakeX"), 3);
    assert_int_equal(qk_blas_core_level("Cooperlake"), 3);
    assert_int_equal(qk_blas_core_level(""), 0);
    assert_int_equal(qk_blas_core_level("made up"), 0);
}

/* The core type chosen for a processor is as good as the processor. */
static void test_choice(void **state)
{
    (void)state;
    assert_string_equal(qk_blas_core_for(1, 1, 1), "SkylakeX");
    assert_int_equal(qk_blas_core_level(qk_blas_core_for(1, 1, 1)), 3);
    assert_int_equal(qk_blas_core_level(qk_blas_core_for(0, 1, 1)), 2);
    assert_int_equal(qk_blas_core_level(qk_blas_core_for(0, 0, 1)), 1);
    assert_int_equal(qk_blas_core_level(qk_blas_core_for(0, 0, 0)), 0);
}

static void test_describe(void **state)
{
    (void)state;
    char text[128], less[10];
    qk_blas_describe(text, sizeof text);
    assert_true(strstr(text, "kernels") != NULL);
    qk_blas_describe(less, sizeof less);
    assert_int_equal(strlen(less), 9);
    assert_memory_equal(text, less, 9);
}

/* After the start either the kernels suit the processor or there is a warning that says so. */
static void test_started(void **state)
{
    (void)state;
    assert_null(getenv("QK_BLAS_RESTARTED"));
#if defined(__x86_64__)
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    char text[128];
    qk_blas_describe(text, sizeof text);
    if (avx2 && !start_warning)
        assert_null(strstr(text, "Prescott"));
#endif
    if (start_warning)
        assert_non_null(strstr(start_warning, "kernels"));
}

int main(int argc, char **argv)
{
    (void)argc;
    start_warning = qk_blas_start(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_started),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
