#define _GNU_SOURCE
#include "base/threads.h"

#include <omp.h>
#include <sched.h>

static int allowed_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

void qk_threads_set(int n)
{
    omp_set_dynamic(0);
    omp_set_num_threads(n > 0 ? n : allowed_processors());
}

int qk_threads(void)
{
    return omp_get_max_threads();
}
