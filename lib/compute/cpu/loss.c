/* Head and cross-entropy in one pass.
 *
 * Rows go by chunks of 512 at most, fewer for a large vocabulary: a chunk's logits take 64 MB.  The
 * vocabulary is cut into blocks; a task turns its piece of the logits into e = exp(l - m), m = the
 * row's largest logit in this block, while it is in the cache.  The blocks' maxima and sums then
 * give the row's normaliser and a factor f per (row, block) with f e = grad_scale * softmax, so
 * that the probabilities themselves are never written:
 *
 *   dx[r] = sum over blocks of f (e w_block) - grad_scale w[target]
 *   dw_block += e^T (f x),  dw[target] -= grad_scale x[r]
 */
#include "compute/cpu/cpu.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Rows of hundreds of numbers: worth the widest vectors. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512")
#endif
#include "compute/cpu/vexp.h"

enum { CHUNK_FLOATS = 1 << 24, CHUNK_ROWS = 512, TILE_FLOATS = 1 << 18, COLUMNS = 32 };

struct loss {
    int64_t D, V, chunk;   /* rows of a chunk at most */
    int64_t width, blocks; /* of the vocabulary */
    int64_t rows, tile;    /* rows of this chunk, of a logits task */
    float grad_scale;
    const float *x, *w;        /* x: this chunk's */
    const int32_t *targets;    /* this chunk's */
    float *nll, *dx, *dw;      /* nll, dx: this chunk's; dx NULL: no gradients */
    int32_t *best;             /* this chunk's, or NULL */
    float *e;                  /* [blocks, rows, width] */
    float *max, *sum, *factor; /* [rows, blocks] */
    float *target_logit;       /* [rows] */
    int32_t *where;            /* [rows, blocks]: index of max */
    float *partial;            /* [blocks, rows, D] */
    float *scaled;             /* [threads][rows, D] */
};

static int64_t width_of(const struct loss *a, int64_t j)
{
    return qk_min64(a->width, a->V - j * a->width);
}

/* ---- logits and their exponentials ---- */

/* Sums of at most 512 in float, these in double. */
static double exp_row(float *row, float max, int64_t n)
{
    double total = 0;
    for (int64_t at = 0; at < n; at += 512) {
        int64_t end = qk_min64(at + 512, n);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = at; i < end; i++) {
            row[i] = qk_expf_below(row[i] - max);
            sum += row[i];
        }
        total += (double)sum;
    }
    return total;
}

static int32_t first_equal(const float *row, float value, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (row[i] == value)
            return (int32_t)i;
    return 0; /* a row of NaN */
}

/* Where row r of block j begins. */
static float *e_at(const struct loss *a, int64_t j, int64_t r)
{
    return a->e + (j * a->chunk + r) * a->width;
}

static void logits_task(const struct loss *a, int64_t r0, int64_t j)
{
    int64_t n = width_of(a, j), from = j * a->width, end = qk_min64(r0 + a->tile, a->rows);
    const struct qk_cpu_product logits = {.tb = true,
                                          .M = end - r0,
                                          .N = n,
                                          .K = a->D,
                                          .alpha = 1,
                                          .A = a->x + r0 * a->D,
                                          .lda = a->D,
                                          .B = a->w + from * a->D,
                                          .ldb = a->D,
                                          .C = e_at(a, j, r0),
                                          .ldc = a->width};
    qk_cpu_gemm(&logits);
    for (int64_t r = r0; r < end; r++) {
        float *row = e_at(a, j, r), max = row[0];
#pragma omp simd reduction(max : max)
        for (int64_t i = 0; i < n; i++)
            max = row[i] > max ? row[i] : max;
        if (a->targets[r] >= from && a->targets[r] < from + n)
            a->target_logit[r] = row[a->targets[r] - from];
        if (a->best)
            a->where[r * a->blocks + j] = (int32_t)from + first_equal(row, max, n);
        a->max[r * a->blocks + j] = max;
        a->sum[r * a->blocks + j] = (float)exp_row(row, max, n);
    }
}

/* The row's normaliser from its blocks. */
static void finish_row(const struct loss *a, int64_t r)
{
    const float *max = a->max + r * a->blocks, *sum = a->sum + r * a->blocks;
    float *factor = a->factor + r * a->blocks, most = max[0];
    int64_t at = 0;
    for (int64_t j = 1; j < a->blocks; j++)
        if (max[j] > most)
            most = max[j], at = j;
    double total = 0;
    for (int64_t j = 0; j < a->blocks; j++)
        total += (double)sum[j] * exp((double)max[j] - (double)most);
    bool counts = a->targets[r] >= 0;
    a->nll[r] = counts ? (float)(log(total) + (double)most - (double)a->target_logit[r]) : 0;
    for (int64_t j = 0; j < a->blocks; j++)
        factor[j] =
            counts ? (float)((double)a->grad_scale * exp((double)max[j] - (double)most) / total)
                   : 0;
    if (a->best)
        a->best[r] = a->where[r * a->blocks + at];
}

/* ---- gradients ---- */

static void gradient_task(const struct loss *a, int64_t j, float *scaled)
{
    int64_t n = width_of(a, j), from = j * a->width, D = a->D;
    for (int64_t r = 0; r < a->rows; r++) {
        float f = a->factor[r * a->blocks + j];
#pragma omp simd
        for (int64_t i = 0; i < D; i++)
            scaled[r * D + i] = f * a->x[r * D + i];
    }
    struct qk_cpu_product p = {.alpha = 1, .A = e_at(a, j, 0), .lda = a->width, .N = D};
    p.ldb = p.ldc = D;
    p.ta = true, p.M = n, p.K = a->rows, p.B = scaled, p.base = p.C = a->dw + from * D;
    qk_cpu_gemm(&p);
    p.ta = false, p.M = a->rows, p.K = n, p.B = a->w + from * D;
    p.base = NULL, p.C = a->partial + j * a->chunk * D;
    qk_cpu_gemm(&p);
}

static void dx_row(const struct loss *a, int64_t r)
{
    int64_t D = a->D;
    float *to = a->dx + r * D;
    memset(to, 0, (size_t)D * sizeof *to);
    for (int64_t j = 0; j < a->blocks; j++) {
        const float f = a->factor[r * a->blocks + j], *from = a->partial + (j * a->chunk + r) * D;
#pragma omp simd
        for (int64_t i = 0; i < D; i++)
            to[i] += f * from[i];
    }
    if (a->targets[r] < 0)
        return;
    const float *row = a->w + a->targets[r] * D;
#pragma omp simd
    for (int64_t i = 0; i < D; i++)
        to[i] -= a->grad_scale * row[i];
}

/* dw[target] -= grad_scale x, for some columns, in row order. */
static void subtract_targets(const struct loss *a, int64_t column)
{
    int64_t end = qk_min64(column + COLUMNS, a->D);
    for (int64_t r = 0; r < a->rows; r++) {
        if (a->targets[r] < 0)
            continue;
        float *row = a->dw + a->targets[r] * a->D;
#pragma omp simd
        for (int64_t i = column; i < end; i++)
            row[i] -= a->grad_scale * a->x[r * a->D + i];
    }
}

/* ---- the operation ---- */

static void one_chunk(const struct loss *a)
{
    int64_t down = qk_blocks(a->rows, a->tile);
#pragma omp parallel
    {
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < down * a->blocks; t++)
            logits_task(a, t % down * a->tile, t / down);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < a->rows; r++)
            finish_row(a, r);
        if (a->dx) {
#pragma omp for schedule(dynamic)
            for (int64_t j = 0; j < a->blocks; j++)
                gradient_task(a, j, a->scaled + omp_get_thread_num() * a->chunk * a->D);
#pragma omp for schedule(static) nowait
            for (int64_t r = 0; r < a->rows; r++)
                dx_row(a, r);
#pragma omp for schedule(static)
            for (int64_t c = 0; c < qk_blocks(a->D, COLUMNS); c++)
                subtract_targets(a, c * COLUMNS);
        }
    }
}

static void choose_sizes(struct loss *a, int64_t M)
{
    int64_t fit = qk_max64(32, CHUNK_FLOATS / a->V / 32 * 32);
    a->chunk = qk_min64(M, qk_min64(CHUNK_ROWS, fit));
    a->width = qk_max64(256, qk_min64(2048, qk_round_up(qk_blocks(a->V, 8), 64)));
    a->blocks = qk_blocks(a->V, a->width);
    a->tile = qk_max64(64, qk_min64(256, TILE_FLOATS / a->width));
}

static bool find_room(struct qk_device *d, struct loss *a)
{
    int64_t table = a->chunk * a->blocks, wide = a->chunk * a->D;
    int64_t shares = a->dx ? a->blocks + omp_get_max_threads() : 0;
    a->e = qk_cpu_scratch(d, QK_CPU_TILES, a->chunk * a->blocks * a->width);
    a->max = qk_cpu_scratch(d, QK_CPU_ROWS, 4 * table + a->chunk);
    a->partial = qk_cpu_scratch(d, QK_CPU_PARTIAL, shares * wide);
    if (!a->e || !a->max || !a->partial)
        return false;
    a->sum = a->max + table;
    a->factor = a->sum + table;
    a->where = (int32_t *)(void *)(a->factor + table);
    a->target_logit = a->factor + 2 * table;
    a->scaled = a->partial + a->blocks * wide;
    return true;
}

static bool targets_fit(struct qk_device *d, const int32_t *targets, int64_t M, int64_t V)
{
    for (int64_t m = 0; m < M; m++)
        if (targets[m] >= V) {
            qk_cpu_fail(d, "cpu loss: target %d at %lld is outside the vocabulary of %lld",
                        (int)targets[m], (long long)m, (long long)V);
            return false;
        }
    return true;
}

void qk_cpu_loss(struct qk_device *d, struct qk_buf nll, struct qk_buf best, struct qk_buf dx,
                 struct qk_buf dw, struct qk_buf x, struct qk_buf w, struct qk_buf targets,
                 float grad_scale, int64_t M, int64_t D, int64_t V)
{
    double start;
    const int32_t *all = qk_cpu_tokens(targets);
    if (!qk_cpu_begin(d, &start) || !targets_fit(d, all, M, V))
        return;
    struct loss a = {.D = D, .V = V, .grad_scale = grad_scale, .w = qk_cpu_in(w)};
    a.dx = qk_cpu_out(dx);
    a.dw = qk_cpu_out(dw);
    choose_sizes(&a, M);
    if (!find_room(d, &a))
        return;
    for (int64_t m = 0; m < M; m += a.chunk) {
        a.rows = qk_min64(a.chunk, M - m);
        a.x = qk_cpu_in(x) + m * D;
        a.targets = all + m;
        a.nll = qk_cpu_out(nll) + m;
        a.best = qk_is_none(best) ? NULL : qk_cpu_tokens(best) + m;
        a.dx = qk_is_none(dx) ? NULL : qk_cpu_out(dx) + m * D;
        one_chunk(&a);
    }
    const double rows = (double)M * (double)D, head = (double)V * (double)D;
    const bool back = !qk_is_none(dx);
    qk_cpu_end(d, QK_CLASS_LOSS, start, (back ? 6 : 2) * rows * (double)V,
               (back ? 2 : 1) * rows + (back ? 3 : 1) * head);
}
