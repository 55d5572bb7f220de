#include "base/vectors.h"

static enum qk_vectors here(void)
{
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
        return QK_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return QK_AVX2;
#endif
    return QK_PLAIN;
}

static enum qk_vectors widest = QK_AVX512;

enum qk_vectors qk_vectors_limit(enum qk_vectors most)
{
    widest = most;
    return qk_vectors();
}

enum qk_vectors qk_vectors(void)
{
    const enum qk_vectors own = here();
    return own < widest ? own : widest;
}
