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

/* Rows from .. end, columns `left` .. diagonal. */
static void mirror_plainly(int64_t from, int64_t end, int64_t left, float *C, int64_t ldc)
{
    for (int64_t r = from; r < end; r++)
        for (int64_t s = left; s < r; s++)
            C[s * ldc + r] = C[r * ldc + s];
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

enum {
    DEPTH = 512,           /* k at once */
    COLS = 256,            /* columns of B at once, more of a shallow one: half a MB */
    A_STRIDE = DEPTH + 16, /* not a power of two: rows would meet in the same cache sets */
    A_GROUP = 16,
    A_TILE = DEPTH * A_GROUP + 112, /* what one tile has of packed A */
    STRIP = 8,                      /* tiles for which a transposed A is packed at once */
};

static _Thread_local float packed_a[STRIP * A_TILE] __attribute__((aligned(64)));
static _Thread_local float packed_b[DEPTH * COLS] __attribute__((aligned(64)));

/* Of B: what fits into packed_b, in whole panels of any width. */
static int64_t columns_at_once(int64_t K)
{
    return DEPTH * COLS / qk_max64(1, qk_min64(K, DEPTH)) / QK_CPU_PANEL * QK_CPU_PANEL;
}

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

#else

static void avx512_product(const struct qk_cpu_product *p)
{
    (void)p; /* never asked for */
}

static void avx2_product(const struct qk_cpu_product *p)
{
    (void)p;
}

static void avx512_pack(float *to, const struct qk_cpu_product *p, int64_t from, int64_t end,
                        int64_t k, int64_t n)
{
    (void)to, (void)p, (void)from, (void)end, (void)k, (void)n;
}

static void avx2_pack(float *to, const struct qk_cpu_product *p, int64_t from, int64_t end,
                      int64_t k, int64_t n)
{
    (void)to, (void)p, (void)from, (void)end, (void)k, (void)n;
}

static void avx512_mirror(int64_t from, int64_t end, float *C, int64_t ldc)
{
    mirror_plainly(from, end, 0, C, ldc);
}

static void avx2_mirror(int64_t from, int64_t end, float *C, int64_t ldc)
{
    mirror_plainly(from, end, 0, C, ldc);
}

#endif

static void gate(const struct qk_cpu_product *p)
{
    for (int64_t i = 0; i < p->M; i++)
#pragma omp simd
        for (int64_t j = 0; j < p->N; j++) {
            float g = p->gate[i * p->ldc + j];
            p->C[i * p->ldc + j] *= 2 * (g < 0 ? 0 : g);
        }
}

static void blas_product(const struct qk_cpu_product *p)
{
    for (int64_t i = 0; p->base && p->base != p->C && i < p->M; i++)
        memcpy(p->C + i * p->ldc, p->base + i * p->ldc, (size_t)p->N * sizeof *p->C);
    cblas_sgemm(CblasRowMajor, p->ta ? CblasTrans : CblasNoTrans, p->tb ? CblasTrans : CblasNoTrans,
                (int)p->M, (int)p->N, (int)p->K, p->alpha, p->A, (int)p->lda, p->B, (int)p->ldb,
                p->base ? 1 : 0, p->C, (int)p->ldc);
    if (p->gate)
        gate(p);
}

void qk_cpu_gemm(const struct qk_cpu_product *p)
{
    switch (qk_vectors()) {
    case QK_AVX512:
        avx512_product(p);
        return;
    case QK_AVX2:
        avx2_product(p);
        return;
    case QK_PLAIN:
        blas_product(p);
    }
}

/* ---- packed once ---- */

int64_t qk_cpu_pack_room(int64_t N, int64_t K)
{
    return qk_round_up(N, QK_CPU_PANEL) * K;
}

/* For BLAS plain, [K, N in whole panels]. */
static void pack_plainly(float *to, const struct qk_cpu_product *p, int64_t from, int64_t end)
{
    const int64_t wide = qk_round_up(p->N, QK_CPU_PANEL);
    for (int64_t k = 0; k < p->K; k++)
        for (int64_t n = from; n < end; n++)
            to[k * wide + n] = n >= p->N ? 0 : p->tb ? p->B[n * p->ldb + k] : p->B[k * p->ldb + n];
}

void qk_cpu_pack(float *to, const struct qk_cpu_product *p, int64_t from, int64_t end)
{
    end = qk_round_up(end, QK_CPU_PANEL);
    switch (qk_vectors()) {
    case QK_AVX512:
        avx512_pack(to + from * p->K, p, from, end, 0, p->K);
        break;
    case QK_AVX2:
        avx2_pack(to + from * p->K, p, from, end, 0, p->K);
        break;
    case QK_PLAIN:
        pack_plainly(to, p, from, end);
    }
}

void qk_cpu_use_packed(struct qk_cpu_product *p, const float *packed, int64_t from)
{
    p->panels = packed + from * p->K;
    p->B = packed + from;
    p->ldb = qk_round_up(p->N, QK_CPU_PANEL);
    p->tb = p->square_b = false;
}

void qk_cpu_mirror(int64_t from, int64_t end, float *C, int64_t ldc)
{
    switch (qk_vectors()) {
    case QK_AVX512:
        avx512_mirror(from, end, C, ldc);
        break;
    case QK_AVX2:
        avx2_mirror(from, end, C, ldc);
        break;
    case QK_PLAIN:
        mirror_plainly(from, end, 0, C, ldc);
    }
}
