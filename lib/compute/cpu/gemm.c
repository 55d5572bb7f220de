/* Matrix products in this thread.
 *
 * The products of a step are small and thin: K = 32 .. 512, operands that lie in the cache.  There
 * a BLAS spends a quarter of its time packing both operands for far larger ones.  Here A is copied
 * a few rows at a time and only B is packed, in the second-level cache's size; AVX-512 and AVX2 are
 * chosen when the program runs, other processors go to BLAS.
 *
 * Every number of C is one sum in the order of k, in steps of DEPTH: how C is cut into tiles does
 * not change a bit.
 */
#include "compute/cpu/cpu.h"

#include <string.h>

#include <cblas.h>

struct product {
    bool ta, tb, add;
    int64_t M, N, K;
    float alpha;
    const float *A;
    int64_t lda;
    const float *B;
    int64_t ldb;
    float *C;
    int64_t ldc;
};

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

enum {
    DEPTH = 512,           /* k at once */
    COLS = 256,            /* columns of B packed at once: DEPTH * COLS floats, half a MB */
    A_STRIDE = DEPTH + 16, /* not a power of two: rows would meet in the same cache sets */
    A_GROUP = 16,
    A_TILE = DEPTH * A_GROUP, /* what one tile has of packed A */
    STRIP = 8,                /* tiles for which a transposed A is packed at once */
};

static _Thread_local float packed_a[STRIP * A_TILE] __attribute__((aligned(64)));
static _Thread_local float packed_b[DEPTH * COLS] __attribute__((aligned(64)));

#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,fma")
#define NAME(name) JOIN(avx512, name)
#define WIDTH 16
#define ROWS 14
#define avx512_LOW                                                                                 \
    {                                                                                              \
        0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23                                     \
    }
#define avx512_HIGH                                                                                \
    {                                                                                              \
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31                               \
    }
#include "compute/cpu/gemm_kernel.h"
#undef NAME
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define NAME(name) JOIN(avx2, name)
#define WIDTH 8
#define ROWS 6
#define avx2_LOW                                                                                   \
    {                                                                                              \
        0, 8, 1, 9, 2, 10, 3, 11                                                                   \
    }
#define avx2_HIGH                                                                                  \
    {                                                                                              \
        4, 12, 5, 13, 6, 14, 7, 15                                                                 \
    }
#include "compute/cpu/gemm_kernel.h"
#undef NAME
#pragma GCC pop_options

#pragma GCC pop_options

static enum qk_cpu_vectors vectors_here(void)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
        return QK_CPU_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return QK_CPU_AVX2;
    return QK_CPU_BLAS;
}

#else

static void avx512_product(const struct product *p)
{
    (void)p; /* never asked for */
}

static void avx2_product(const struct product *p)
{
    (void)p;
}

static enum qk_cpu_vectors vectors_here(void)
{
    return QK_CPU_BLAS;
}

#endif

static enum qk_cpu_vectors widest = QK_CPU_AVX512;

enum qk_cpu_vectors qk_cpu_gemm_limit(enum qk_cpu_vectors most)
{
    widest = most;
    return qk_cpu_gemm_vectors();
}

enum qk_cpu_vectors qk_cpu_gemm_vectors(void)
{
    enum qk_cpu_vectors here = vectors_here();
    return here < widest ? here : widest;
}

void qk_cpu_gemm(bool ta, bool tb, int64_t M, int64_t N, int64_t K, float alpha, const float *A,
                 int64_t lda, const float *B, int64_t ldb, bool add, float *C, int64_t ldc)
{
    const struct product p = {ta, tb, add, M, N, K, alpha, A, lda, B, ldb, C, ldc};
    switch (qk_cpu_gemm_vectors()) {
    case QK_CPU_AVX512:
        avx512_product(&p);
        return;
    case QK_CPU_AVX2:
        avx2_product(&p);
        return;
    case QK_CPU_BLAS:
        cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
                    (int)M, (int)N, (int)K, alpha, A, (int)lda, B, (int)ldb, add ? 1 : 0, C,
                    (int)ldc);
    }
}
