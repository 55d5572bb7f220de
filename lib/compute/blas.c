#define _GNU_SOURCE /* strcasecmp, setenv */
#include "compute/blas.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <cblas.h>
#include <omp.h>

/* OpenBLAS's own; weak, so that the program also links with another BLAS. */
extern char *openblas_get_corename(void) __attribute__((weak));
extern char *openblas_get_config(void) __attribute__((weak));
extern void openblas_set_num_threads(int n) __attribute__((weak));

/* Weak names alone would not make the linker keep the library. */
static void (*const LINKED)(int, float, float *, int) __attribute__((used)) = cblas_sscal;

static const char SETTING[] = "OPENBLAS_CORETYPE";
static const char GUARD[] = "QK_BLAS_RESTARTED"; /* why, in the second start: "core" or "wait" */

struct core {
    const char *name;
    int level;
};
/* Core types of OpenBLAS 0.3 by the widest vectors of their single-precision kernels. */
static const struct core CORES[] = {
    {"SkylakeX", 3},   {"Cooperlake", 3},  {"SapphireRapids", 3}, {"Haswell", 2},
    {"Zen", 2},        {"Excavator", 2},   {"Sandybridge", 1},    {"Bulldozer", 1},
    {"Piledriver", 1}, {"Steamroller", 1},
};

int qk_blas_core_level(const char *core)
{
    for (size_t i = 0; i < sizeof CORES / sizeof *CORES; i++)
        if (strcasecmp(core, CORES[i].name) == 0)
            return CORES[i].level;
    return 0;
}

const char *qk_blas_core_for(int has_avx512, int has_avx2, int has_avx)
{
    return has_avx512 ? "SkylakeX" : has_avx2 ? "Haswell" : has_avx ? "Sandybridge" : "Prescott";
}

static const char *core_for_this_processor(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return qk_blas_core_for(avx512, avx2, __builtin_cpu_supports("avx") != 0);
#else
    return NULL; /* other processors are recognised by OpenBLAS itself */
#endif
}

/* Start the program again from the beginning; returns only when that failed. */
static void restart(char **argv)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n > 0) { /* under its own name where possible: "exe" in ps helps nobody */
        path[n] = '\0';
        execv(path, argv);
    }
    execv("/proc/self/exe", argv);
}

static const char *warning(const char *cause, const char *got, const char *fitting)
{
    static char text[256];
    snprintf(text, sizeof text,
             "%s %s kernels though this processor can run %s ones; matrix products will be slow",
             cause, got, fitting);
    return text;
}

/* libgomp's threads spin for milliseconds at every barrier; beside any other busy program that
 * costs more than the work itself.  Spin some 30 microseconds, then sleep. */
static int wants_short_waits(void)
{
    return !getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT") &&
           setenv("GOMP_SPINCOUNT", "10000", 1) == 0;
}

const char *qk_blas_start(char **argv)
{
    if (openblas_set_num_threads) {
        int threads = omp_get_max_threads(); /* the OpenMP build sets that as well */
        openblas_set_num_threads(1);
        omp_set_num_threads(threads);
    }
    const char *fitting = core_for_this_processor(), *got = NULL, *cause = NULL;
    const char *guard = getenv(GUARD);
    int again = !guard && wants_short_waits(), set_by_us = guard && strcmp(guard, "core") == 0;
    const char *reason = "wait";
    if (openblas_get_corename && fitting)
        got = openblas_get_corename();
    if (got && qk_blas_core_level(got) < qk_blas_core_level(fitting)) {
        cause = "the program could not be started again and keeps";
        if (set_by_us)
            cause = "OpenBLAS keeps its";
        else if (getenv(SETTING))
            cause = "OPENBLAS_CORETYPE gives";
        else if (!guard && setenv(SETTING, fitting, 1) == 0) {
            again = 1;
            reason = "core";
        }
    }
    if (again && setenv(GUARD, reason, 1) == 0)
        restart(argv); /* both libraries read the environment as they are loaded */
    unsetenv(GUARD);
    return cause ? warning(cause, got, fitting) : NULL;
}

void qk_blas_describe(char *text, int size)
{
    if (size <= 0)
        return;
    if (!openblas_get_corename || !openblas_get_config) {
        snprintf(text, (size_t)size, "a BLAS that does not tell its name or its kernels");
        return;
    }
    /* "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ...": the first two words */
    const char *config = openblas_get_config();
    int words = (int)strcspn(config, " ");
    if (config[words])
        words += 1 + (int)strcspn(config + words + 1, " ");
    snprintf(text, (size_t)size, "%.*s, %s kernels", words, config, openblas_get_corename());
}
