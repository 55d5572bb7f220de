/* Matrix products: single-threaded ones (gemm.c) over tiles of the result. */
#include "compute/cpu/cpu.h"

#include <omp.h>

enum { BLAS_TILES = 16, LEAST = 32 }; /* tiles to have, numbers along a tile's side */

/* Tile sides for an M x N result: as large as they can be, so that packing the operands is small
 * beside the products, but some for each thread; fewer where rows are columns of A, which cost
 * more to pack.  Where the product is BLAS's, tiles follow from the shape alone: only our own
 * promises the same bits for any cut. */
static void choose_tile(bool ta, int64_t M, int64_t N, int64_t *rows, int64_t *cols)
{
    bool own = qk_cpu_gemm_vectors() != QK_CPU_BLAS;
    int64_t threads = omp_get_max_threads(), each = threads == 1 ? 1 : ta ? 2 : 4;
    int64_t enough = own ? each * threads : BLAS_TILES;
    *rows = 1024, *cols = own ? 256 : 1024;
    while (qk_blocks(M, *rows) * qk_blocks(N, *cols) < enough) {
        bool by_rows = qk_min64(*rows, M) >= 2 * qk_min64(*cols, N);
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
    choose_tile(ta, M, N, &rows, &cols);
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

void qk_cpu_matmul_dw(struct qk_device *d, struct qk_buf dw, struct qk_buf dy, struct qk_buf x,
                      int64_t M, int64_t N, int64_t K)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    qk_cpu_gemm_tiled(true, false, N, K, M, 1, qk_cpu_in(dy), N, qk_cpu_in(x), K, true,
                      qk_cpu_out(dw), K);
    qk_cpu_end(d, QK_CLASS_MATMUL, start, flops_of(M, N, K));
}
