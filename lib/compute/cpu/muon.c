/* Muon (Jordan 2024): momentum whose step is made orthogonal.
 *
 * A few of the `count` matrices are in work at once, so that they stay in the cache through all
 * steps: as many as there are threads, or as fill BATCH.  Parallel loops run over the tiles of all
 * of them.  A matrix is not turned onto its wide side; the Gram matrix is taken on the smaller one:
 * X X^T with polynomial from the left for wide ones, X^T X with polynomial from the right for tall
 * ones, which is the same up to a transpose.  Gram matrix and polynomial are symmetric: what lies
 * above their diagonal is copied.
 */
#include "compute/cpu/cpu.h"

#include <math.h>
#include <omp.h>

enum { BLOCK = 1 << 14, BATCH = 1 << 20, STEPS = 5 };

/* X <- (a + b A + c A^2) X per step. */
typedef double coefficients[3];

/* Amsel et al. 2025, "The Polar Express". */
static const coefficients POLAR_EXPRESS[STEPS] = {
    {8.156554524902461, -22.48329292557795, 15.878769915207462},
    {4.042929935166739, -2.808917465908714, 0.5000178451051316},
    {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
    {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
    {2.3465413258596377, -1.7097828382687081, 0.42323551169305323},
};
static const double NEWTON_SCHULZ[3] = {3.4445, -4.7750, 2.0315};

struct batch {
    int64_t count, rows, cols, small, size, tile; /* small = the shorter side; size = rows * cols */
    int64_t ld;         /* of the square matrices: lower triangles are made of whole panels */
    float *x, *next;    /* [count, rows, cols] */
    float *gram, *poly; /* [count, small, ld] */
    float *packed;      /* [count]: the second operand of the symmetric products */
    int64_t room;       /* of one of them */
    double *norm2;      /* [count, blocks] */
};

/* b = lerp(b, g, 1-mu); x = lerp(g, b, mu); partial sums of x^2. */
static void momentum(const struct batch *a, float *b, const float *g, float scale, double mu)
{
    int64_t blocks = qk_blocks(a->size, BLOCK);
    const float fresh = (float)(1 - mu);
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < a->count * blocks; k++) {
        int64_t first = k / blocks * a->size, from = first + k % blocks * BLOCK;
        int64_t to = qk_min64(from + BLOCK, first + a->size);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = from; i < to; i++) {
            float gi = g[i] * scale, bi = b[i] + fresh * (gi - b[i]);
            float u = bi - (bi - gi) * fresh;
            b[i] = bi;
            a->x[i] = u;
            sum += (double)u * (double)u;
        }
        a->norm2[k] = sum;
    }
}

static void normalise(const struct batch *a, enum qk_orthogonalizer how)
{
    int64_t blocks = qk_blocks(a->size, BLOCK);
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < a->count * blocks; k++) {
        int64_t matrix = k / blocks, from = matrix * a->size + k % blocks * BLOCK;
        int64_t to = qk_min64(from + BLOCK, (matrix + 1) * a->size);
        double sum = 0;
        for (int64_t j = 0; j < blocks; j++)
            sum += a->norm2[matrix * blocks + j];
        double norm = sqrt(sum) * (how == QK_POLAR_EXPRESS ? 1.01 : 1.0) + 1e-7;
        const float inverse = (float)(1 / norm);
#pragma omp simd
        for (int64_t i = from; i < to; i++)
            a->x[i] *= inverse;
    }
}

/* ---- the four parts of a step, each for `tile` rows or columns from i on of one matrix ---- */

/* The symmetric products have their own operand, transposed or not, as second one. */
static struct qk_cpu_product gram_product(const struct batch *a, int64_t matrix)
{
    const float *x = a->x + matrix * a->size;
    const bool tall = a->rows > a->cols;
    return (struct qk_cpu_product){.ta = tall,
                                   .tb = !tall,
                                   .N = a->small,
                                   .K = tall ? a->rows : a->cols,
                                   .alpha = 1,
                                   .A = x,
                                   .lda = a->cols,
                                   .B = x,
                                   .ldb = a->cols,
                                   .C = a->gram + matrix * a->small * a->ld,
                                   .ldc = a->ld};
}

static struct qk_cpu_product square_product(const struct batch *a, int64_t matrix)
{
    const int64_t at = matrix * a->small * a->ld;
    return (struct qk_cpu_product){.N = a->small,
                                   .K = a->small,
                                   .alpha = 1,
                                   .A = a->gram + at,
                                   .lda = a->ld,
                                   .B = a->gram + at,
                                   .ldb = a->ld,
                                   .C = a->poly + at,
                                   .ldc = a->ld};
}

static void pack_columns(const struct batch *a, const struct qk_cpu_product *p, int64_t matrix,
                         int64_t i)
{
    qk_cpu_pack(a->packed + matrix * a->room, p, i, qk_min64(i + a->tile, a->small));
}

/* Rows i .. end of a symmetric product up to the diagonal. */
static void lower_rows(const struct batch *a, struct qk_cpu_product p, int64_t matrix, int64_t i,
                       int64_t end)
{
    qk_cpu_use_packed(&p, a->packed + matrix * a->room, 0);
    p.M = end - i;
    p.N = qk_round_up(end, QK_CPU_PANEL);
    p.lower = true;
    p.first = i;
    p.A += p.ta ? i : i * p.lda;
    p.C += i * p.ldc;
    qk_cpu_gemm(&p);
}

/* Rows of gram = X X^T or X^T X. */
static void gram_rows(const struct batch *a, int64_t matrix, int64_t i)
{
    const struct qk_cpu_product p = gram_product(a, matrix);
    int64_t end = qk_min64(i + a->tile, a->small);
    lower_rows(a, p, matrix, i, end);
    qk_cpu_mirror(i, end, p.C, a->ld);
}

/* Rows of poly = p[0] I + p[1] A + p[2] A A, A = gram. */
static void poly_rows(const struct batch *a, const double p[3], int64_t matrix, int64_t i)
{
    struct qk_cpu_product squares = square_product(a, matrix);
    int64_t end = qk_min64(i + a->tile, a->small);
    const float *g = squares.A, linear = (float)p[1];
    float *c = squares.C;
    squares.alpha = (float)p[2];
    lower_rows(a, squares, matrix, i, end);
    for (int64_t r = i; r < end; r++) {
#pragma omp simd
        for (int64_t s = 0; s <= r; s++)
            c[r * a->ld + s] += linear * g[r * a->ld + s];
        c[r * a->ld + r] += (float)p[0];
    }
    qk_cpu_mirror(i, end, c, a->ld);
}

/* One tile of next = poly X or X poly. */
static void apply_tile(const struct batch *a, int64_t matrix, int64_t i, int64_t j)
{
    int64_t n = a->small, ld = a->cols, at = matrix * a->size;
    int64_t h = qk_min64(2 * a->tile, a->rows - i), w = qk_min64(2 * a->tile, a->cols - j);
    const float *poly = a->poly + matrix * n * a->ld, *x = a->x + at;
    struct qk_cpu_product p = {.M = h, .N = w, .K = n, .alpha = 1, .ldc = ld};
    p.C = a->next + at + i * ld + j;
    if (a->rows <= a->cols)
        p.A = poly + i * a->ld, p.lda = a->ld, p.B = x + j, p.ldb = ld;
    else
        p.A = x + i * ld, p.lda = ld, p.B = poly + j, p.ldb = a->ld;
    qk_cpu_gemm(&p);
}

static void step(struct batch *a, const double p[3])
{
    int64_t side = qk_blocks(a->small, a->tile), big = 2 * a->tile, strips = a->count * side;
    int64_t across = qk_blocks(a->cols, big), tiles = qk_blocks(a->rows, big) * across;
#pragma omp parallel
    {
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < strips; t++) {
            const struct qk_cpu_product gram = gram_product(a, t / side);
            pack_columns(a, &gram, t / side, t % side * a->tile);
        }
#pragma omp for schedule(dynamic)
        for (int64_t t = strips - 1; t >= 0; t--) /* long rows first */
            gram_rows(a, t % a->count, t / a->count * a->tile);
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < strips; t++) {
            const struct qk_cpu_product squares = square_product(a, t / side);
            pack_columns(a, &squares, t / side, t % side * a->tile);
        }
#pragma omp for schedule(dynamic)
        for (int64_t t = strips - 1; t >= 0; t--)
            poly_rows(a, p, t % a->count, t / a->count * a->tile);
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < a->count * tiles; t++)
            apply_tile(a, t / tiles, t % tiles / across * big, t % across * big);
    }
    float *swap = a->x;
    a->x = a->next;
    a->next = swap;
}

static void update(const struct batch *a, float *w, const struct qk_muon *how)
{
    double ratio = (double)a->rows / (double)a->cols;
    const float keep = (float)(1 - how->lr * how->weight_decay);
    const float rate = (float)(how->lr * sqrt(ratio > 1 ? ratio : 1));
    const float *x = a->x;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < a->count * a->size; i++)
        w[i] = keep * w[i] - rate * x[i];
}

/* ---- the operation ---- */

static void choose_sizes(struct batch *a, int64_t count)
{
    a->small = qk_min64(a->rows, a->cols);
    a->size = a->rows * a->cols;
    a->tile = a->small <= 256 ? 64 : 128;
    a->ld = qk_round_up(a->small, QK_CPU_PANEL);
    a->room = qk_cpu_pack_room(a->small, qk_max64(a->rows, a->cols));
    a->count = qk_min64(count, qk_max64(omp_get_max_threads(), BATCH / a->size));
}

static bool find_room(struct qk_device *d, struct batch *a)
{
    int64_t n = a->count * a->size, squares = a->count * a->small * a->ld;
    a->x = qk_cpu_scratch(d, QK_CPU_X0, n);
    a->next = qk_cpu_scratch(d, QK_CPU_X1, n);
    a->gram = qk_cpu_scratch(d, QK_CPU_GRAM, squares);
    a->poly = qk_cpu_scratch(d, QK_CPU_POLY, squares);
    a->packed = qk_cpu_scratch(d, QK_CPU_TILES, a->count * a->room);
    a->norm2 = (double *)(void *)qk_cpu_scratch(d, QK_CPU_PARTIAL,
                                                2 * a->count * qk_blocks(a->size, BLOCK));
    return a->x && a->next && a->gram && a->poly && a->packed && a->norm2;
}

void qk_cpu_muon(struct qk_device *d, struct qk_buf w, struct qk_buf b, struct qk_buf g,
                 struct qk_buf scale, struct qk_muon how)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    struct batch a = {.rows = how.rows, .cols = how.cols};
    choose_sizes(&a, how.count);
    if (!find_room(d, &a))
        return;
    for (int64_t k = 0, most = a.count; k < how.count; k += most) {
        int64_t at = k * a.size;
        a.count = qk_min64(most, how.count - k);
        momentum(&a, qk_cpu_out(b) + at, qk_cpu_in(g) + at, *qk_cpu_in(scale), how.momentum);
        normalise(&a, how.orthogonalizer);
        for (int i = 0; i < STEPS; i++)
            step(&a, how.orthogonalizer == QK_POLAR_EXPRESS ? POLAR_EXPRESS[i] : NEWTON_SCHULZ);
        update(&a, qk_cpu_out(w) + at, &how);
    }
    /* Two symmetric products, of which half is needed, and one whole. */
    const double s = (double)a.small, size = (double)a.size, count = (double)how.count;
    qk_cpu_end(d, QK_CLASS_OPTIMIZER, start, STEPS * count * (s * s * s + 3 * s * size),
               5 * count * size);
}
