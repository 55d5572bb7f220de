/* What the emulation's own tests share: a little card, and doing what must end the program. */
#ifndef QK_TESTS_EMULATION_DIES_H
#define QK_TESTS_EMULATION_DIES_H

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "compute/cuda/ptx.cuh"
#include "emulation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
extern "C" {
#include <cmocka.h>
}
#include "unit/check.h"

#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

/* For what a function without captures has to know. */
static const char *current_order __attribute__((unused));

/* ---- a card ---- */

static void *taken[64];
static int taken_count;

/* n of T on the card, given back after the test. */
template <class T> static T *on_card(int64_t n)
{
    void *at = NULL;
    assert_int_equal(cudaMalloc(&at, (size_t)n * sizeof(T)), cudaSuccess);
    taken[taken_count++] = at;
    return (T *)at;
}

template <class T> static void put_there(T *to, const T *from, int64_t n)
{
    assert_int_equal(cudaMemcpy(to, from, (size_t)n * sizeof(T), cudaMemcpyHostToDevice),
                     cudaSuccess);
}

template <class T> static void take_back(T *to, const T *from, int64_t n)
{
    assert_int_equal(cudaMemcpy(to, from, (size_t)n * sizeof(T), cudaMemcpyDeviceToHost),
                     cudaSuccess);
}

static inline int clear_card(void **)
{
    while (taken_count)
        cudaFree(taken[--taken_count]);
    qk_emulation_order(NULL);
    return 0;
}

template <class... Formal, class... Actual>
static cudaError_t try_launch(void (*kernel)(Formal...), dim3 grid, dim3 block, size_t shared,
                              Actual... args)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    return cudaLaunchKernelEx(&config, kernel, static_cast<Formal>(args)...);
}

template <class... Formal, class... Actual>
static void launch(void (*kernel)(Formal...), dim3 grid, dim3 block, size_t shared, Actual... args)
{
    assert_int_equal(try_launch(kernel, grid, block, shared, args...), cudaSuccess);
}

/* ---- the end of a program ---- */

/* In a child of its own `what` must end the program other than by success, saying `sentence`. */
static void dies(const char *sentence, void (*what)(void), const char *file, int line)
{
    int ends[2];
    if (pipe(ends) != 0)
        fail_msg("no pipe");
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        what();
        _exit(0);
    }
    close(ends[1]);
    static char said[1 << 16];
    size_t n = 0;
    for (ssize_t got;
         n < sizeof said - 1 && (got = read(ends[0], said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got;
    said[n] = 0;
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (status == 0)
        fail_msg("%s:%d: nothing was noticed", file, line);
    if (!strstr(said, sentence))
        fail_msg("%s:%d: \"%s\" was expected, but it said: %s", file, line, sentence, said);
}
#define assert_dies(sentence, ...) dies(sentence, __VA_ARGS__, __FILE__, __LINE__)

#endif
