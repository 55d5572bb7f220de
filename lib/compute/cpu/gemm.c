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

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

enum {
    DEPTH = 512,           /* k at once */
    COLS = 256,            /* columns of B packed at once: DEPTH * COLS floats, half a MB */
    A_STRIDE = DEPTH + 16, /* not a power of two: rows would meet in the same cache sets */
    A_GROUP = 16,
    A_TILE = DEPTH * A_GROUP + 112, /* what one tile has of packed A */
    STRIP = 8,                /* tiles for which a transposed A is packed at once */
};

static _Thread_local float packed_a[STRIP * A_TILE] __attribute__((aligned(64)));
static _Thread_local float packed_b[DEPTH * COLS] __attribute__((aligned(64)));

/* ---- what a triangle leaves of a tile of C whose rows are i .. end ---- */

static int64_t last_column(const struct qk_cpu_product *p, int64_t end)
{
    return p->part == QK_CPU_LOGITS ? p->seen + (end - 1) / p->per : p->N;
}

/* Of k .. k+n: the first that counts and one behind the last, less k. */
static int64_t first_k(const struct qk_cpu_product *p, int64_t i, int64_t k, int64_t n)
{
    if (p->part != QK_CPU_SPREAD || i < p->seen)
        return 0;
    return qk_min64(n, qk_max64(0, (i - p->seen + 1) * p->per - k));
}

static int64_t last_k(const struct qk_cpu_product *p, int64_t end, int64_t k, int64_t n)
{
    if (p->part != QK_CPU_AVERAGE)
        return n;
    return qk_min64(n, qk_max64(0, p->seen + (end - 1) / p->per - k));
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
    switch (qk_cpu_gemm_vectors()) {
    case QK_CPU_AVX512:
        avx512_product(p);
        return;
    case QK_CPU_AVX2:
        avx2_product(p);
        return;
    case QK_CPU_BLAS:
        blas_product(p);
    }
}

/* ---- packed once, and causal ---- */

int64_t qk_cpu_pack_room(int64_t N, int64_t K)
{
    return qk_round_up(N, QK_CPU_PANEL) * K;
}

void qk_cpu_pack_columns(float *to, bool tb, int64_t N, int64_t K, const float *B, int64_t ldb,
                         int64_t from, int64_t end)
{
    const struct qk_cpu_product p = {.tb = tb, .N = N, .K = K, .B = B, .ldb = ldb};
    const int64_t wide = qk_round_up(N, QK_CPU_PANEL);
    end = qk_round_up(end, QK_CPU_PANEL);
    switch (qk_cpu_gemm_vectors()) {
    case QK_CPU_AVX512:
        avx512_pack(to + from * K, &p, from, end, 0, K);
        break;
    case QK_CPU_AVX2:
        avx2_pack(to + from * K, &p, from, end, 0, K);
        break;
    case QK_CPU_BLAS: /* plain, [K, wide] */
        for (int64_t k = 0; k < K; k++)
            for (int64_t n = from; n < end; n++)
                to[k * wide + n] = n >= N ? 0 : tb ? B[n * ldb + k] : B[k * ldb + n];
    }
}

struct qk_cpu_packed qk_cpu_pack(float *to, bool tb, int64_t N, int64_t K, const float *B,
                                 int64_t ldb)
{
    qk_cpu_pack_columns(to, tb, N, K, B, ldb, 0, N);
    return (struct qk_cpu_packed){to, N, K};
}

static struct qk_cpu_product with_packed(const struct qk_cpu_triangle *t,
                                         const struct qk_cpu_packed *b)
{
    return (struct qk_cpu_product){.M = t->rows,
                                   .alpha = 1,
                                   .B = b->at,
                                   .ldb = qk_round_up(b->N, QK_CPU_PANEL),
                                   .panels = b->at,
                                   .depth = b->K,
                                   .seen = t->seen,
                                   .per = t->per};
}

void qk_cpu_causal_logits(const struct qk_cpu_triangle *t, const float *A, int64_t lda,
                          const struct qk_cpu_packed *b)
{
    struct qk_cpu_product p = with_packed(t, b);
    p.part = QK_CPU_LOGITS;
    p.N = qk_round_up(t->keys, QK_CPU_PANEL), p.K = b->K;
    p.A = A, p.lda = lda, p.C = t->at, p.ldc = t->ld;
    qk_cpu_gemm(&p);
}

void qk_cpu_causal_average(const struct qk_cpu_triangle *t, float alpha,
                           const struct qk_cpu_packed *b, float *C, int64_t ldc)
{
    struct qk_cpu_product p = with_packed(t, b);
    p.part = QK_CPU_AVERAGE, p.alpha = alpha;
    p.N = b->N, p.K = t->keys;
    p.A = t->at, p.lda = t->ld, p.C = C, p.ldc = ldc;
    qk_cpu_gemm(&p);
}

void qk_cpu_causal_spread(const struct qk_cpu_triangle *t, int64_t N, const float *B, int64_t ldb,
                          float *C, int64_t ldc)
{
    const struct qk_cpu_product p = {.ta = true,
                                     .base = C,
                                     .M = t->keys,
                                     .N = N,
                                     .K = t->rows,
                                     .alpha = 1,
                                     .A = t->at,
                                     .lda = t->ld,
                                     .B = B,
                                     .ldb = ldb,
                                     .C = C,
                                     .ldc = ldc,
                                     .part = QK_CPU_SPREAD,
                                     .seen = t->seen,
                                     .per = t->per};
    qk_cpu_gemm(&p);
}

/* ---- symmetric ---- */

void qk_cpu_lower(bool ta, int64_t from, int64_t end, float alpha, const float *A, int64_t lda,
                  const struct qk_cpu_packed *b, float *C, int64_t ldc)
{
    const struct qk_cpu_product p = {.ta = ta,
                                     .M = end - from,
                                     .N = qk_round_up(end, QK_CPU_PANEL),
                                     .K = b->K,
                                     .alpha = alpha,
                                     .A = A,
                                     .lda = lda,
                                     .B = b->at,
                                     .ldb = qk_round_up(b->N, QK_CPU_PANEL),
                                     .C = C + from * ldc,
                                     .ldc = ldc,
                                     .panels = b->at,
                                     .depth = b->K,
                                     .part = QK_CPU_LOGITS,
                                     .seen = from + 1,
                                     .per = 1};
    qk_cpu_gemm(&p);
}

/* Squares at a time: their rows stay in the first-level cache. */
void qk_cpu_mirror(int64_t from, int64_t end, float *C, int64_t ldc)
{
    enum { SIDE = 16 };
    for (int64_t i = from; i < end; i += SIDE)
        for (int64_t j = 0; j < i + SIDE; j += SIDE)
            for (int64_t s = j; s < qk_min64(j + SIDE, end - 1); s++)
#pragma omp simd
                for (int64_t r = qk_max64(i, s + 1); r < qk_min64(i + SIDE, end); r++)
                    C[s * ldc + r] = C[r * ldc + s];
}
