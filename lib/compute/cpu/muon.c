/* Muon (Jordan 2024): momentum whose step is made orthogonal.
 *
 * A few of the `count` matrices are in work at once, so that they stay in the cache through all
 * steps: one for each thread, or a batch whose tiles the threads share.  A matrix is not turned
 * onto its wide side; the Gram matrix is taken on the smaller one: X X^T with polynomial from the
 * left for wide ones, X^T X with polynomial from the right for tall ones, which is the same up to a
 * transpose.  Gram matrix and polynomial are symmetric: what lies above their diagonal is copied.
 */
#include "compute/cpu/cpu.h"

#include <math.h>
#include <omp.h>

#include "compute/orthogonalize.h"

enum { BLOCK = 1 << 14, BATCH = 1 << 20, STEPS = QK_ORTHOGONALIZE_STEPS };

struct batch {
    int64_t count, rows, cols, small, size, tile; /* small = the shorter side; size = rows * cols */
    int64_t ld;         /* of the square matrices: lower triangles are made of whole panels */
    float *x, *next;    /* [count, rows, cols] */
    float *gram, *poly; /* [count, small, ld] */
    float *packed;      /* [count]: the second operand of the symmetric products */
    int64_t room;       /* of one of them */
    double *norm2;      /* [count, blocks] */
    bool alone;         /* one thread's; else all threads go through its parts together */
    /* What it is about: */
    const struct qk_muon *how;
    float *w, *b; /* of its matrices */
    const float *g;
    float scale;
    const double *p; /* coefficients of this step */
};

/* Parts 0 .. n of something that a batch needs; all are done on return. */
static void for_all(const struct batch *a, int64_t n, void (*part)(const struct batch *, int64_t))
{
    if (a->alone) {
        for (int64_t t = 0; t < n; t++)
            part(a, t);
        return;
    }
#pragma omp for schedule(dynamic)
    for (int64_t t = 0; t < n; t++)
        part(a, t);
}

/* ---- number by number, in blocks of one matrix ---- */

static int64_t blocks_of(const struct batch *a)
{
    return qk_blocks(a->size, BLOCK);
}

struct range {
    int64_t matrix, from, to; /* of x */
    int64_t ahead;            /* of the same in w, b and g, whose matrices may lie apart */
};

static struct range range_of(const struct batch *a, int64_t t)
{
    int64_t matrix = t / blocks_of(a), from = matrix * a->size + t % blocks_of(a) * BLOCK;
    return (struct range){matrix, from, qk_min64(from + BLOCK, (matrix + 1) * a->size),
                          matrix * (a->how->stride - a->size)};
}

/* b = lerp(b, g, 1-mu); x = lerp(g, b, mu); partial sums of x^2. */
static void momentum(const struct batch *a, int64_t t)
{
    const struct range r = range_of(a, t);
    const float fresh = (float)(1 - a->how->momentum), *g = a->g + r.ahead;
    float *b = a->b + r.ahead;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = r.from; i < r.to; i++) {
        float gi = g[i] * a->scale, bi = b[i] + fresh * (gi - b[i]);
        float u = bi - (bi - gi) * fresh;
        b[i] = bi;
        a->x[i] = u;
        sum += (double)u * (double)u;
    }
    a->norm2[t] = sum;
}

static void normalise(const struct batch *a, int64_t t)
{
    const struct range r = range_of(a, t);
    double sum = 0;
    for (int64_t j = 0; j < blocks_of(a); j++)
        sum += a->norm2[r.matrix * blocks_of(a) + j];
    const double margin = qk_orthogonalize_margin(a->how->orthogonalizer);
    const float inverse = (float)(1 / (sqrt(sum) * margin + 1e-7));
#pragma omp simd
    for (int64_t i = r.from; i < r.to; i++)
        a->x[i] *= inverse;
}

static void update(const struct batch *a, int64_t t)
{
    const struct range r = range_of(a, t);
    const double ratio = (double)a->rows / (double)a->cols, lr = a->how->lr;
    const float keep = (float)(1 - lr * a->how->weight_decay);
    const float rate = (float)(lr * sqrt(ratio > 1 ? ratio : 1));
    float *w = a->w + r.ahead;
#pragma omp simd
    for (int64_t i = r.from; i < r.to; i++)
        w[i] = keep * w[i] - rate * a->x[i];
}

/* ---- the parts of a step: `tile` rows or columns of one matrix ---- */

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

static int64_t sides(const struct batch *a)
{
    return qk_blocks(a->small, a->tile);
}

static void pack_columns(const struct batch *a, const struct qk_cpu_product *p, int64_t t)
{
    int64_t i = t % sides(a) * a->tile;
    qk_cpu_pack(a->packed + t / sides(a) * a->room, p, i, qk_min64(i + a->tile, a->small));
}

static void pack_matrix(const struct batch *a, int64_t t)
{
    const struct qk_cpu_product p = gram_product(a, t / sides(a));
    pack_columns(a, &p, t);
}

static void pack_gram(const struct batch *a, int64_t t)
{
    const struct qk_cpu_product p = square_product(a, t / sides(a));
    pack_columns(a, &p, t);
}

/* Strips of rows, the long ones first. */
static struct range strip_of(const struct batch *a, int64_t t)
{
    int64_t from = (sides(a) - 1 - t / a->count) * a->tile;
    return (struct range){t % a->count, from, qk_min64(from + a->tile, a->small), 0};
}

/* A strip of a symmetric product up to the diagonal. */
static void lower_rows(const struct batch *a, struct qk_cpu_product p, const struct range *strip)
{
    qk_cpu_use_packed(&p, a->packed + strip->matrix * a->room, 0);
    p.M = strip->to - strip->from;
    p.N = qk_round_up(strip->to, QK_CPU_PANEL);
    p.lower = true;
    p.first = strip->from;
    p.A += p.ta ? strip->from : strip->from * p.lda;
    p.C += strip->from * p.ldc;
    qk_cpu_gemm(&p);
}

/* gram = X X^T or X^T X */
static void gram_rows(const struct batch *a, int64_t t)
{
    const struct range strip = strip_of(a, t);
    const struct qk_cpu_product p = gram_product(a, strip.matrix);
    lower_rows(a, p, &strip);
    qk_cpu_mirror(strip.from, strip.to, p.C, a->ld);
}

/* poly = p[0] I + p[1] A + p[2] A A, A = gram */
static void poly_rows(const struct batch *a, int64_t t)
{
    const struct range strip = strip_of(a, t);
    struct qk_cpu_product squares = square_product(a, strip.matrix);
    const float *g = squares.A, constant = (float)a->p[0], linear = (float)a->p[1];
    float *c = squares.C;
    squares.alpha = (float)a->p[2];
    lower_rows(a, squares, &strip);
    for (int64_t r = strip.from; r < strip.to; r++) {
#pragma omp simd
        for (int64_t s = 0; s <= r; s++)
            c[r * a->ld + s] += linear * g[r * a->ld + s];
        c[r * a->ld + r] += constant;
    }
    qk_cpu_mirror(strip.from, strip.to, c, a->ld);
}

/* Tiles of next = poly X or X poly are twice as large. */
static int64_t tiles_of(const struct batch *a)
{
    return qk_blocks(a->rows, 2 * a->tile) * qk_blocks(a->cols, 2 * a->tile);
}

static void apply(const struct batch *a, int64_t t)
{
    int64_t big = 2 * a->tile, across = qk_blocks(a->cols, big), n = a->small, ld = a->cols;
    int64_t matrix = t / tiles_of(a), at = matrix * a->size;
    int64_t i = t % tiles_of(a) / across * big, j = t % across * big;
    const float *poly = a->poly + matrix * n * a->ld, *x = a->x + at;
    struct qk_cpu_product p = {.K = n, .alpha = 1, .ldc = ld};
    p.M = qk_min64(big, a->rows - i);
    p.N = qk_min64(big, a->cols - j);
    p.C = a->next + at + i * ld + j;
    if (a->rows <= a->cols)
        p.A = poly + i * a->ld, p.lda = a->ld, p.B = x + j, p.ldb = ld;
    else
        p.A = x + i * ld, p.lda = ld, p.B = poly + j, p.ldb = a->ld;
    qk_cpu_gemm(&p);
}

/* ---- a batch, from momentum to new weights ---- */

static void treat(struct batch a)
{
    const int64_t blocks = a.count * blocks_of(&a), strips = a.count * sides(&a);
    for_all(&a, blocks, momentum);
    for_all(&a, blocks, normalise);
    for (int i = 0; i < STEPS; i++) {
        a.p = qk_orthogonalize_step(a.how->orthogonalizer, i);
        for_all(&a, strips, pack_matrix);
        for_all(&a, strips, gram_rows);
        for_all(&a, strips, pack_gram);
        for_all(&a, strips, poly_rows);
        for_all(&a, a.count * tiles_of(&a), apply);
        float *swap = a.x;
        a.x = a.next;
        a.next = swap;
    }
    for_all(&a, blocks, update);
}

/* The lane's arrays, and matrices k .. of all. */
static struct batch batch_at(const struct batch *first, int64_t lane, int64_t k)
{
    struct batch a = *first;
    int64_t n = a.count * a.size, squares = a.count * a.small * a.ld, at = k * a.how->stride;
    a.x += lane * n;
    a.next += lane * n;
    a.gram += lane * squares;
    a.poly += lane * squares;
    a.packed += lane * a.count * a.room;
    a.norm2 += lane * a.count * blocks_of(&a);
    a.w += at;
    a.b += at;
    a.g += at;
    a.count = qk_min64(a.count, a.how->count - k);
    return a;
}

/* ---- the operation ---- */

/* Where matrices can be dealt out evenly each thread takes whole ones, which then stay in its cache
 * and need no waiting for others: as many lanes, of one matrix each.  Else there is one, whose
 * parts all threads share. */
static int64_t choose_sizes(struct batch *a)
{
    int64_t threads = omp_get_max_threads(), count = a->how->count;
    a->alone = 10 * qk_blocks(count, threads) * threads <= 11 * count;
    a->small = qk_min64(a->rows, a->cols);
    a->size = a->rows * a->cols;
    a->tile = a->small <= 256 ? 64 : 128;
    a->ld = qk_round_up(a->small, QK_CPU_PANEL);
    a->room = qk_round_up(qk_cpu_pack_room(a->small, qk_max64(a->rows, a->cols)), 16);
    a->count = a->alone ? 1 : qk_min64(count, qk_max64(threads, BATCH / a->size));
    return a->alone ? threads : 1;
}

static bool find_room(struct qk_device *d, struct batch *a, int64_t lanes)
{
    int64_t all = lanes * a->count, squares = all * a->small * a->ld;
    a->x = qk_cpu_scratch(d, QK_CPU_X0, all * a->size);
    a->next = qk_cpu_scratch(d, QK_CPU_X1, all * a->size);
    a->gram = qk_cpu_scratch(d, QK_CPU_GRAM, squares);
    a->poly = qk_cpu_scratch(d, QK_CPU_POLY, squares);
    a->packed = qk_cpu_scratch(d, QK_CPU_TILES, all * a->room);
    a->norm2 = (double *)(void *)qk_cpu_scratch(d, QK_CPU_PARTIAL, 2 * all * blocks_of(a));
    return a->x && a->next && a->gram && a->poly && a->packed && a->norm2;
}

void qk_cpu_muon(struct qk_device *d, struct qk_buf w, struct qk_buf b, struct qk_buf g,
                 struct qk_buf scale, struct qk_muon how)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    struct batch a = {.rows = how.rows,
                      .cols = how.cols,
                      .how = &how,
                      .w = qk_cpu_out(w),
                      .b = qk_cpu_out(b),
                      .g = qk_cpu_in(g),
                      .scale = *qk_cpu_in(scale)};
    const int64_t lanes = choose_sizes(&a);
    if (!find_room(d, &a, lanes))
        return;
#pragma omp parallel
    if (a.alone) {
#pragma omp for schedule(dynamic)
        for (int64_t k = 0; k < how.count; k++)
            treat(batch_at(&a, omp_get_thread_num(), k));
    } else {
        for (int64_t k = 0; k < how.count; k += a.count)
            treat(batch_at(&a, 0, k));
    }
    /* Two symmetric products, of which half is needed, and one whole. */
    const double s = (double)a.small, size = (double)a.size, count = (double)how.count;
    qk_cpu_end(d, QK_CLASS_OPTIMIZER, start, STEPS * count * (s * s * s + 3 * s * size),
               5 * count * size);
}
