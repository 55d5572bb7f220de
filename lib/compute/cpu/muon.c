/* Muon (Jordan 2024): momentum whose step is made orthogonal.
 *
 * The `count` matrices are treated side by side: a parallel loop runs over the tiles of all of
 * them.  A matrix is not turned onto its wide side; the Gram matrix is taken on the smaller one:
 * X X^T with polynomial from the left for wide ones, X^T X with polynomial from the right for tall
 * ones, which is the same up to a transpose.
 */
#include "compute/cpu/cpu.h"

#include <math.h>

enum { BLOCK = 1 << 14, STEPS = 5 };

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

struct muon {
    int64_t count, rows, cols, small, size, tile; /* small = the shorter side */
    float *x, *next, *gram, *poly; /* [count, rows, cols] x 2, [count, small^2] x 2 */
    double *norm2;                 /* [count, blocks] */
};

/* b = lerp(b, g, 1-mu); x = lerp(g, b, mu); partial sums of x^2. */
static void momentum(const struct muon *a, float *b, const float *g, float scale, double mu)
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

static void normalise(const struct muon *a, enum qk_orthogonalizer how)
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

/* Copy the tile at (i, j), below the diagonal, to its mirror image. */
static void mirror(float *c, int64_t n, int64_t i, int64_t j, int64_t rows, int64_t cols)
{
    for (int64_t r = i; r < i + rows; r++)
        for (int64_t s = j; s < qk_min64(j + cols, r); s++)
            c[s * n + r] = c[r * n + s];
}

/* One tile of gram = X X^T or X^T X. */
static void gram_tile(const struct muon *a, int64_t matrix, int64_t i, int64_t j)
{
    int64_t n = a->small, h = qk_min64(a->tile, n - i), w = qk_min64(a->tile, n - j);
    const float *x = a->x + matrix * a->size;
    float *c = a->gram + matrix * n * n;
    if (a->rows <= a->cols)
        qk_cpu_gemm(false, true, h, w, a->cols, 1, x + i * a->cols, a->cols, x + j * a->cols,
                    a->cols, 0, c + i * n + j, n);
    else
        qk_cpu_gemm(true, false, h, w, a->rows, 1, x + i, a->cols, x + j, a->cols, 0, c + i * n + j,
                    n);
    mirror(c, n, i, j, h, w);
}

/* One tile of poly = p[0] I + p[1] A + p[2] A A, A = gram (symmetric). */
static void poly_tile(const struct muon *a, const double p[3], int64_t matrix, int64_t i, int64_t j)
{
    int64_t n = a->small, h = qk_min64(a->tile, n - i), w = qk_min64(a->tile, n - j);
    const float *g = a->gram + matrix * n * n;
    float *c = a->poly + matrix * n * n;
    for (int64_t r = i; r < i + h; r++)
        for (int64_t s = j; s < j + w; s++)
            c[r * n + s] = (float)(p[1] * (double)g[r * n + s] + (r == s ? p[0] : 0));
    qk_cpu_gemm(false, true, h, w, n, (float)p[2], g + i * n, n, g + j * n, n, 1, c + i * n + j, n);
    mirror(c, n, i, j, h, w);
}

/* One tile of next = poly X or X poly. */
static void apply_tile(const struct muon *a, int64_t matrix, int64_t i, int64_t j)
{
    int64_t n = a->small, ld = a->cols, at = matrix * a->size;
    int64_t h = qk_min64(2 * a->tile, a->rows - i), w = qk_min64(2 * a->tile, a->cols - j);
    const float *poly = a->poly + matrix * n * n, *x = a->x + at;
    float *c = a->next + at + i * ld + j;
    if (a->rows <= a->cols)
        qk_cpu_gemm(false, false, h, w, n, 1, poly + i * n, n, x + j, ld, 0, c, ld);
    else
        qk_cpu_gemm(false, false, h, w, n, 1, x + i * ld, ld, poly + j, n, 0, c, ld);
}

static void step(struct muon *a, const double p[3])
{
    int64_t side = qk_blocks(a->small, a->tile), big = 2 * a->tile;
    int64_t across = qk_blocks(a->cols, big), tiles = qk_blocks(a->rows, big) * across;
    int64_t squares = a->count * side * side;
#pragma omp parallel
    {
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < squares; t++) {
            int64_t i = t % (side * side) / side, j = t % side;
            if (j <= i)
                gram_tile(a, t / (side * side), i * a->tile, j * a->tile);
        }
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < squares; t++) {
            int64_t i = t % (side * side) / side, j = t % side;
            if (j <= i)
                poly_tile(a, p, t / (side * side), i * a->tile, j * a->tile);
        }
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < a->count * tiles; t++)
            apply_tile(a, t / tiles, t % tiles / across * big, t % across * big);
    }
    float *swap = a->x;
    a->x = a->next;
    a->next = swap;
}

static void update(const struct muon *a, float *w, const struct qk_muon *how)
{
    double ratio = (double)a->rows / (double)a->cols;
    const float keep = (float)(1 - how->lr * how->weight_decay);
    const float rate = (float)(how->lr * sqrt(ratio > 1 ? ratio : 1));
    const float *x = a->x;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < a->count * a->size; i++)
        w[i] = keep * w[i] - rate * x[i];
}

static bool find_room(struct qk_device *d, struct muon *a)
{
    int64_t n = a->count * a->size, squares = a->count * a->small * a->small;
    a->x = qk_cpu_scratch(d, QK_CPU_X0, n);
    a->next = qk_cpu_scratch(d, QK_CPU_X1, n);
    a->gram = qk_cpu_scratch(d, QK_CPU_GRAM, squares);
    a->poly = qk_cpu_scratch(d, QK_CPU_POLY, squares);
    a->norm2 = (double *)(void *)qk_cpu_scratch(d, QK_CPU_PARTIAL,
                                                2 * a->count * qk_blocks(a->size, BLOCK));
    return a->x && a->next && a->gram && a->poly && a->norm2;
}

void qk_cpu_muon(struct qk_device *d, struct qk_buf w, struct qk_buf b, struct qk_buf g,
                 struct qk_buf scale, struct qk_muon how)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    struct muon a = {.count = how.count, .rows = how.rows, .cols = how.cols};
    a.small = qk_min64(a.rows, a.cols);
    a.size = a.rows * a.cols;
    a.tile = a.small <= 256 ? 64 : a.small <= 1024 ? 128 : 256;
    if (!find_room(d, &a))
        return;
    momentum(&a, qk_cpu_out(b), qk_cpu_in(g), *qk_cpu_in(scale), how.momentum);
    normalise(&a, how.orthogonalizer);
    for (int i = 0; i < STEPS; i++)
        step(&a, how.orthogonalizer == QK_POLAR_EXPRESS ? POLAR_EXPRESS[i] : NEWTON_SCHULZ);
    update(&a, qk_cpu_out(w), &how);
    double s = (double)a.small, flops = 2 * s * s * s + 4 * s * (double)a.size;
    qk_cpu_end(d, QK_CLASS_OPTIMIZER, start, STEPS * (double)a.count * flops);
}
