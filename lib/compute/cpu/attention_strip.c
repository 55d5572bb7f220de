#include "compute/cpu/attention_strip.h"

#include <math.h>

#include "compute/cpu/cpu.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

#ifdef __clang__
#define INTERLEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define INTERLEAVE(a, b, ...) __builtin_shuffle(a, b, (NAME(lanes)){__VA_ARGS__})
#endif

#define LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_4 0, 4, 1, 5
#define HIGH_4 2, 6, 3, 7

/* Products are added without rounding in between where the processor can. */
#ifdef __clang__
#pragma STDC FP_CONTRACT ON
#else
#pragma GCC optimize("fp-contract=fast")
#endif

/* ---- what the program chooses from when it runs ---- */

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CHOOSES

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,fma,prefer-vector-width=512")
#define NAME(name) JOIN(avx512, name)
#define WIDTH 16
#define TALL 12
#define LOW LOW_16
#define HIGH HIGH_16
#include "compute/cpu/attention_kernel.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,prefer-vector-width=256")
#define NAME(name) JOIN(avx2, name)
#define WIDTH 8
#define TALL 6
#define LOW LOW_8
#define HIGH HIGH_8
#include "compute/cpu/attention_kernel.h"
#pragma GCC pop_options
#endif

/* ---- other processors and compilers: what the compiler was told to expect ---- */

#define NAME(name) JOIN(plain, name)
#if defined(__AVX__) && !defined(CHOOSES)
#define WIDTH 8
#define TALL 6
#define LOW LOW_8
#define HIGH HIGH_8
#else
#define WIDTH 4
#define TALL 6
#define LOW LOW_4
#define HIGH HIGH_4
#endif
#include "compute/cpu/attention_kernel.h"

const struct qk_attention_strip *qk_attention_strip(void)
{
#ifdef CHOOSES
    switch (qk_vectors()) {
    case QK_AVX512:
        return &avx512_strip;
    case QK_AVX2:
        return &avx2_strip;
    case QK_PLAIN:
        break;
    }
#endif
    return &plain_strip;
}
