/* ceiling [--sgemm] [SECONDS]
 *
 * What this machine can do at all, as one JSON object with an entry per number of threads (1, 2,
 * 4 .. all): "fma", multiply-add in registers without a load, in GFLOP/s; "sgemm", the best of
 * four shapes of large products, in GFLOP/s, "gemm" the same by the tools' own kernels; "copy",
 * bytes read and written by memcpy of arrays of 512 MiB, in GB/s.  Every figure is the median over
 * SECONDS (1), shared out between the shapes where there are several.  With --sgemm only the
 * products, with 1 and all threads.
 *
 * The BLAS is steered as the tools steer it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cblas.h>
#include <omp.h>

#include "base/median.h"
#include "base/mem.h"
#include "base/threads.h"
#include "compute/blas.h"
#include "compute/cpu/cpu.h"

extern void openblas_set_num_threads(int n) __attribute__((weak));

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- multiply-add in registers ---- */

#if defined(__AVX512F__)
enum { LANES = 16, CHAINS = 24 };
#elif defined(__AVX__)
enum { LANES = 8, CHAINS = 12 };
#else
enum { LANES = 4, CHAINS = 12 };
#endif
enum { TURNS = 1 << 18 };

typedef float lanes __attribute__((vector_size(4 * LANES)));

/* Chains enough to hide the latency; compiled with contraction, so that a * b + c is one
 * instruction where there is one. */
static float multiply_add(float seed)
{
    lanes chain[CHAINS], factor = {0}, term = {0};
    factor += 0.999999f;
    term += seed;
    for (int i = 0; i < CHAINS; i++)
        chain[i] = term + (float)i;
    for (int turn = 0; turn < TURNS; turn++)
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS; i++)
            chain[i] = chain[i] * factor + term;
    float sum = 0;
    for (int i = 0; i < CHAINS; i++)
        for (int k = 0; k < LANES; k++)
            sum += chain[i][k];
    return sum;
}

static double fma_once(int threads, int variant)
{
    (void)variant;
    float sum = 0;
    const double from = now();
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    sum += multiply_add(1e-6f * (float)(1 + omp_get_thread_num()));
    const double took = now() - from;
    if (sum == 0) /* the work has a use */
        fprintf(stderr, "ceiling: nothing was added\n");
    return 2.0 * TURNS * CHAINS * LANES * threads / took / 1e9;
}

/* ---- copying ---- */

static size_t copied; /* bytes of an array */
static char *from_array, *to_array;

static double copy_once(int threads, int variant)
{
    (void)variant;
    const size_t part = copied / (size_t)threads;
    const double from = now();
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int i = 0; i < threads; i++)
        memcpy(to_array + (size_t)i * part, from_array + (size_t)i * part, part);
    return 2.0 * (double)part * threads / (now() - from) / 1e9;
}

/* ---- products ---- */

static const struct {
    int M, N, K;
} SHAPES[] = {{2048, 2048, 2048}, {2048, 8192, 2048}, {4096, 2048, 512}, {2048, 512, 2048}};
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES, ROOM = 8192 * 2048 };

static float *A, *B, *C;
static struct qk_device *device;

/* C = A B^T, rows of C and A shared out evenly; BLAS inside a parallel region is one thread's. */
static double shared_out(int threads, int shape)
{
    const int M = SHAPES[shape].M, N = SHAPES[shape].N, K = SHAPES[shape].K, part = M / threads;
    const double from = now();
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int i = 0; i < threads; i++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, part, N, K, 1,
                    A + (size_t)i * (size_t)part * (size_t)K, K, B, K, 0,
                    C + (size_t)i * (size_t)part * (size_t)N, N);
    return 2.0 * part * threads * N * K / (now() - from) / 1e9;
}

/* The library's own threads. */
static double library_threads(int shape)
{
    const int M = SHAPES[shape].M, N = SHAPES[shape].N, K = SHAPES[shape].K;
    const double from = now();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, M, N, K, 1, A, K, B, K, 0, C, N);
    return 2.0 * M * N * K / (now() - from) / 1e9;
}

static double sgemm_once(int threads, int variant)
{
    const bool library = variant >= N_SHAPES;
    omp_set_num_threads(threads); /* what OpenBLAS's OpenMP build goes by */
    if (openblas_set_num_threads)
        openblas_set_num_threads(library ? threads : 1);
    return library ? library_threads(variant - N_SHAPES) : shared_out(threads, variant);
}

/* As the training's products are shared out. */
static double gemm_once(int threads, int variant)
{
    const int M = SHAPES[variant].M, N = SHAPES[variant].N, K = SHAPES[variant].K;
    omp_set_num_threads(threads);
    const double from = now();
    const struct qk_cpu_product p = {.tb = true,
                                     .M = M,
                                     .N = N,
                                     .K = K,
                                     .alpha = 1,
                                     .A = A,
                                     .lda = K,
                                     .B = B,
                                     .ldb = K,
                                     .C = C,
                                     .ldc = N};
    qk_cpu_gemm_tiled(device, &p);
    return 2.0 * M * N * K / (now() - from) / 1e9;
}

/* ---- the report ---- */

enum { MOST_REPEATS = 10000 };

/* The median of what fits into the seconds, after one to warm up. */
static double median_of(double (*once)(int, int), int threads, int variant, double seconds)
{
    static double rate[MOST_REPEATS];
    int count = 0;
    once(threads, variant);
    const double from = now();
    do
        rate[count++] = once(threads, variant);
    while (now() - from < seconds && count < MOST_REPEATS);
    return qk_median(rate, (size_t)count);
}

struct figure {
    const char *name;
    double (*once)(int threads, int variant);
    int variants;
};

static void row(const struct figure *f, int most, bool ends_only, double seconds)
{
    printf("\"%s\":{", f->name);
    for (int threads = 1;;) {
        double best = 0;
        for (int i = 0; i < f->variants; i++) {
            const double rate = median_of(f->once, threads, i, seconds / f->variants);
            best = rate > best ? rate : best;
        }
        printf("%s\"%d\":%.2f", threads > 1 ? "," : "", threads, best);
        if (threads == most)
            break;
        threads = ends_only || 2 * threads > most ? most : 2 * threads;
    }
    printf("},");
}

static void fill(float *x, size_t n)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(i % 1013) / 1013 - 0.5f;
}

int main(int argc, char **argv)
{
    const char *warning = qk_blas_start(argv);
    if (warning)
        fprintf(stderr, "ceiling: %s\n", warning);
    const bool sgemm = argc > 1 && strcmp(argv[1], "--sgemm") == 0;
    const double seconds = argc > 1 + sgemm ? strtod(argv[1 + sgemm], NULL) : 1;
    qk_threads_set(0);
    const int most = qk_threads();
    device = qk_cpu_open();
    A = qk_big_alloc(ROOM * sizeof *A);
    B = qk_big_alloc(ROOM * sizeof *B);
    C = qk_big_alloc(ROOM * sizeof *C);
    fill(A, ROOM);
    fill(B, ROOM);
    char blas[128];
    qk_blas_describe(blas, sizeof blas);
    printf("{");
    if (!sgemm) {
        copied = (size_t)512 << 20;
        from_array = qk_big_alloc(copied);
        to_array = qk_big_alloc(copied);
        memset(from_array, 1, copied);
        memset(to_array, 2, copied);
        row(&(struct figure){"fma", fma_once, 1}, most, false, seconds);
        row(&(struct figure){"copy", copy_once, 1}, most, false, seconds);
        qk_big_free(from_array, copied);
        qk_big_free(to_array, copied);
    }
    row(&(struct figure){"sgemm", sgemm_once, 2 * N_SHAPES}, most, sgemm, seconds);
    row(&(struct figure){"gemm", gemm_once, N_SHAPES}, most, sgemm, seconds);
    printf("\"threads\":%d,\"blas\":\"%s\"}\n", most, blas);
    qk_cpu_close(device);
    return 0;
}
