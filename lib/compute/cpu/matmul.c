/* Matrix products: single-threaded ones (gemm.c) over fixed tiles of the result. */
#include "compute/cpu/cpu.h"

enum { ENOUGH = 16, LEAST = 64 }; /* tiles to have, numbers along the side of one */

/* Tile sides for an M x N result: as large as they can be, so that packing the operands is small
 * beside the products, but ENOUGH of them for a few cores to share. */
static void choose_tile(int64_t M, int64_t N, int64_t *rows, int64_t *cols)
{
    *rows = 512, *cols = 1024;
    while (qk_blocks(M, *rows) * qk_blocks(N, *cols) < ENOUGH) {
        bool by_rows = qk_min64(*rows, M) >= qk_min64(*cols, N);
        int64_t *side = by_rows ? rows : cols;
        if (*side / 2 < LEAST)
            return;
        *side /= 2;
    }
}

void qk_cpu_gemm_tiled(bool ta, bool tb, int64_t M, int64_t N, int64_t K, float alpha,
                       const float *A, int64_t lda, const float *B, int64_t ldb, bool add, float *C,
                       int64_t ldc)
{
    int64_t rows, cols;
    choose_tile(M, N, &rows, &cols);
    int64_t across = qk_blocks(N, cols), tiles = qk_blocks(M, rows) * across;
#pragma omp parallel for schedule(dynamic)
    for (int64_t t = 0; t < tiles; t++) {
        int64_t i = t / across * rows, j = t % across * cols;
        qk_cpu_gemm(ta, tb, qk_min64(rows, M - i), qk_min64(cols, N - j), K, alpha,
                    A + (ta ? i : i * lda), lda, B + (tb ? j * ldb : j), ldb, add, C + i * ldc + j,
                    ldc);
    }
}

static double flops_of(int64_t M, int64_t N, int64_t K)
{
    return 2.0 * (double)M * (double)N * (double)K;
}

void qk_cpu_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf x, struct qk_buf w, bool add,
                   int64_t M, int64_t N, int64_t K)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    qk_cpu_gemm_tiled(false, true, M, N, K, 1, qk_cpu_in(x), K, qk_cpu_in(w), K, add, qk_cpu_out(y),
                      N);
    qk_cpu_end(d, QK_CLASS_MATMUL, start, flops_of(M, N, K));
}

void qk_cpu_matmul_dx(struct qk_device *d, struct qk_buf dx, struct qk_buf dy, struct qk_buf w,
                      bool add, int64_t M, int64_t N, int64_t K)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    qk_cpu_gemm_tiled(false, false, M, K, N, 1, qk_cpu_in(dy), N, qk_cpu_in(w), K, add,
                      qk_cpu_out(dx), K);
    qk_cpu_end(d, QK_CLASS_MATMUL, start, flops_of(M, N, K));
}

/* A weight's gradient is often too small to be cut into good tiles, but its sum over M is long:
 * then the rows are cut into a fixed number of parts, whose sums are added in order. */
static int64_t parts_of(int64_t M, int64_t N, int64_t K)
{
    int64_t parts = ENOUGH / (qk_blocks(N, 256) * qk_blocks(K, 256));
    while (parts > 1 && M / parts < 256)
        parts /= 2;
    return qk_max64(parts, 1);
}

static void add_parts(float *dw, const float *part, int64_t parts, int64_t n)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += 1024)
        for (int64_t p = 0; p < parts; p++)
#pragma omp simd
            for (int64_t j = i; j < qk_min64(i + 1024, n); j++)
                dw[j] += part[p * n + j];
}

void qk_cpu_matmul_dw(struct qk_device *d, struct qk_buf dw_, struct qk_buf dy_, struct qk_buf x_,
                      int64_t M, int64_t N, int64_t K)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float *dw = qk_cpu_out(dw_);
    const float *dy = qk_cpu_in(dy_), *x = qk_cpu_in(x_);
    int64_t parts = parts_of(M, N, K), length = qk_blocks(M, parts);
    if (parts == 1) {
        qk_cpu_gemm_tiled(true, false, N, K, M, 1, dy, N, x, K, 1, dw, K);
    } else {
        float *part = qk_cpu_scratch(d, QK_CPU_PARTIAL, parts * N * K);
        if (!part)
            return;
#pragma omp parallel for schedule(dynamic)
        for (int64_t p = 0; p < parts; p++) {
            int64_t m = p * length;
            qk_cpu_gemm(true, false, N, K, qk_min64(length, M - m), 1, dy + m * N, N, x + m * K, K,
                        0, part + p * N * K, K);
        }
        add_parts(dw, part, parts, N * K);
    }
    qk_cpu_end(d, QK_CLASS_MATMUL, start, flops_of(M, N, K));
}
