/* Choosing BLAS kernels.  The library's own answer is replaced here: it claims Prescott kernels,
 * as OpenBLAS does on a processor it does not know, unless OPENBLAS_CORETYPE says otherwise. */
#include "check.h"

#include <omp.h>
#include <unistd.h>

#include "compute/blas.h"

char *openblas_get_corename(void);

char *openblas_get_corename(void)
{
    static char poor[] = "Prescott";
    char *set = getenv("OPENBLAS_CORETYPE");
    return set && !getenv("STUBBORN") ? set : poor;
}

static int has_avx2(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

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
    assert_non_null(strstr(text, "Prescott kernels"));
    qk_blas_describe(less, sizeof less);
    assert_int_equal(strlen(less), 9);
    assert_memory_equal(text, less, 9);
}

/* Run this program as a child with `settings` in front; its one line of output. */
static void child(const char *settings, char *line, int size)
{
    char path[512];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(n > 0);
    path[n] = '\0';
    char *command = qk_format(
        "env -u OPENBLAS_CORETYPE OMP_NUM_THREADS=3 %s '%s' child one 'two 3'", settings, path);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, size, f));
    assert_null(fgets(path, sizeof path, f));
    assert_int_equal(pclose(f), 0);
    free(command);
}

static void test_restart(void **state)
{
    (void)state;
    if (!has_avx2()) {
        print_message("skipped: this processor has no AVX2, so there is nothing better to take\n");
        return;
    }
    char line[512];
    child("", line, sizeof line);
    int level = strstr(line, "SkylakeX") ? 3 : strstr(line, "Haswell") ? 2 : 0;
    assert_true(level >= 2);
    assert_non_null(strstr(line, "3 threads, one|two 3|, fine"));
    child("OPENBLAS_CORETYPE=Nehalem", line, sizeof line);
    assert_non_null(strstr(line, "3 threads, one|two 3|, OPENBLAS_CORETYPE gives Nehalem kernels"));
    child("STUBBORN=1", line, sizeof line);
    assert_non_null(strstr(line, "3 threads, one|two 3|, OpenBLAS keeps its Prescott kernels"));
}

/* Kernels, guard, threads, arguments, warning: what the parent looks at. */
static int be_child(char **argv)
{
    const char *warning = qk_blas_start(argv);
    char text[128];
    qk_blas_describe(text, sizeof text);
    printf("%s%s, %d threads, %s|%s|, %s\n", text, getenv("QK_BLAS_RESTARTED") ? " GUARDED" : "",
           omp_get_max_threads(), argv[2], argv[3], warning ? warning : "fine");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4)
        return be_child(argv);
    unsetenv("OPENBLAS_CORETYPE");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
