/* Matrix products: single-threaded ones (gemm.c) over tiles of the result. */
#include "compute/cpu/cpu.h"

#include <omp.h>

enum {
    BLAS_TILES = 16,
    LEAST = 32, /* numbers along a tile's side */
};

/* Tile sides for an M x N result: as large as they can be, so that packing the operands is small
 * beside the products, but some for each thread.  Where the product is BLAS's, tiles follow from
 * the shape alone: only our own promises the same bits for any cut. */
static void choose_tile(const struct qk_cpu_product *p, int64_t *rows, int64_t *cols)
{
    bool own = qk_vectors() != QK_PLAIN;
    int64_t threads = omp_get_max_threads(), each = threads == 1 ? 1 : 2;
    int64_t enough = own ? each * threads : BLAS_TILES;
    *rows = 1024, *cols = own ? 256 : 1024;
    while (qk_blocks(p->M, *rows) * qk_blocks(p->N, *cols) < enough) {
        bool by_rows = qk_min64(*rows, p->M) >= 2 * qk_min64(*cols, p->N);
        int64_t *side = by_rows ? rows : cols;
        if (*side / 2 < LEAST)
            return;
        *side /= 2;
    }
}

/* BLAS knows neither squares nor gates. */
static const float *squared(struct qk_device *d, const float *from, int64_t n)
{
    float *to = qk_cpu_scratch(d, QK_CPU_TILES, n);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < (to ? n : 0); i++) {
        float r = from[i] < 0 ? 0 : from[i]; /* NaN stays NaN */
        to[i] = r * r;
    }
    return to;
}

void qk_cpu_gemm_tiled(struct qk_device *d, const struct qk_cpu_product *whole)
{
    struct qk_cpu_product p = *whole;
    const bool blas = qk_vectors() == QK_PLAIN;
    if (blas && p.square_a)
        p.A = squared(d, p.A, p.M * p.K), p.square_a = false;
    if (blas && p.square_b)
        p.B = squared(d, p.B, p.K * p.N), p.square_b = false;
    if (!p.A || !p.B)
        return;
    int64_t rows, cols;
    choose_tile(&p, &rows, &cols);
    int64_t across = qk_blocks(p.N, cols), tiles = qk_blocks(p.M, rows) * across;
#pragma omp parallel for schedule(dynamic)
    for (int64_t t = 0; t < tiles; t++) {
        int64_t i = t / across * rows, j = t % across * cols, at = i * p.ldc + j;
        struct qk_cpu_product tile = p;
        tile.M = qk_min64(rows, p.M - i);
        tile.N = qk_min64(cols, p.N - j);
        tile.A += p.ta ? i : i * p.lda;
        tile.B += p.tb ? j * p.ldb : j;
        tile.C += at;
        tile.base = p.base ? p.base + at : NULL;
        tile.gate = p.gate ? p.gate + at : NULL;
        qk_cpu_gemm(&tile);
    }
}

static void product(struct qk_device *d, const struct qk_cpu_product *p)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    qk_cpu_gemm_tiled(d, p);
    const double M = (double)p->M, N = (double)p->N, K = (double)p->K;
    const double results = 1 + (p->base ? 1 : 0) + (p->gate ? 1 : 0);
    qk_cpu_end(d, QK_CLASS_MATMUL, start, 2 * M * N * K, M * K + K * N + results * M * N);
}

/* ---- the operations ---- */

static struct qk_cpu_product forward(struct qk_buf y, struct qk_buf base, struct qk_buf x,
                                     struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    return (struct qk_cpu_product){.tb = true,
                                   .M = M,
                                   .N = N,
                                   .K = K,
                                   .alpha = 1,
                                   .A = qk_cpu_in(x),
                                   .lda = K,
                                   .B = qk_cpu_in(w),
                                   .ldb = K,
                                   .base = qk_cpu_in(base),
                                   .C = qk_cpu_out(y),
                                   .ldc = N};
}

void qk_cpu_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf base, struct qk_buf x,
                   struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    const struct qk_cpu_product p = forward(y, base, x, w, M, N, K);
    product(d, &p);
}

/* The products square what they read, and gate what they write. */
void qk_cpu_relu2(struct qk_device *d, struct qk_buf u, int64_t n)
{
    (void)d, (void)u, (void)n;
}

void qk_cpu_relu2_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf base, struct qk_buf u,
                         struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    struct qk_cpu_product p = forward(y, base, u, w, M, N, K);
    p.square_a = true;
    product(d, &p);
}

static struct qk_cpu_product to_input(struct qk_buf dx, struct qk_buf dy, struct qk_buf w,
                                      int64_t M, int64_t N, int64_t K)
{
    return (struct qk_cpu_product){.M = M,
                                   .N = K,
                                   .K = N,
                                   .alpha = 1,
                                   .A = qk_cpu_in(dy),
                                   .lda = N,
                                   .B = qk_cpu_in(w),
                                   .ldb = K,
                                   .C = qk_cpu_out(dx),
                                   .ldc = K};
}

void qk_cpu_matmul_dx(struct qk_device *d, struct qk_buf dx, struct qk_buf dy, struct qk_buf w,
                      bool add, int64_t M, int64_t N, int64_t K)
{
    struct qk_cpu_product p = to_input(dx, dy, w, M, N, K);
    p.base = add ? p.C : NULL;
    product(d, &p);
}

static struct qk_cpu_product to_weight(struct qk_buf dw, struct qk_buf dy, struct qk_buf x,
                                       int64_t M, int64_t N, int64_t K)
{
    return (struct qk_cpu_product){.ta = true,
                                   .M = N,
                                   .N = K,
                                   .K = M,
                                   .alpha = 1,
                                   .A = qk_cpu_in(dy),
                                   .lda = N,
                                   .B = qk_cpu_in(x),
                                   .ldb = K,
                                   .base = qk_cpu_in(dw),
                                   .C = qk_cpu_out(dw),
                                   .ldc = K};
}

void qk_cpu_matmul_dw(struct qk_device *d, struct qk_buf dw, struct qk_buf dy, struct qk_buf x,
                      int64_t M, int64_t N, int64_t K)
{
    const struct qk_cpu_product p = to_weight(dw, dy, x, M, N, K);
    product(d, &p);
}

void qk_cpu_relu2_matmul_back(struct qk_device *d, struct qk_buf du, struct qk_buf dw,
                              struct qk_buf dy, struct qk_buf w, struct qk_buf u, int64_t M,
                              int64_t N, int64_t K)
{
    struct qk_cpu_product weight = to_weight(dw, dy, u, M, N, K),
                          input = to_input(du, dy, w, M, N, K);
    weight.square_b = true;
    input.gate = qk_cpu_in(u);
    product(d, &weight);
    product(d, &input);
}
