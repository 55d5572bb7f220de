/* Causal grouped-query attention, by blocks of query rows.
 *
 * A task is one block of `bq` positions of one sequence and one key head.  The R = H/G query heads
 * that read this key head are stacked, head by head, into a matrix of R*bq rows, so that one
 * product with the keys 0 .. end of block serves them all; only these keys are touched, which is
 * the causal half.  The block's logits live in a thread's scratch: R*bq x T at most.
 * The backward pass recomputes them from lse (Dao et al. 2022) and walks the query blocks of one
 * (sequence, key head) in order, so dk and dv are summed in one order.
 */
#include "compute/cpu/cpu.h"

#include <math.h>
#include <omp.h>

#include "compute/cpu/vexp.h"

enum { STACKED = 128 }; /* rows of a block, about */

/* One task's place. */
struct block {
    const struct qk_attention_shape *s;
    int64_t b, g, t0, rows, keys; /* sequence, key head, first position, positions, keys seen */
};

static int64_t group(const struct qk_attention_shape *s)
{
    return s->H / s->G;
}

static int64_t block_rows(const struct qk_attention_shape *s)
{
    return qk_min64(s->T, qk_max64(16, STACKED / group(s)));
}

static struct block block_at(const struct qk_attention_shape *s, int64_t b, int64_t g, int64_t i)
{
    int64_t bq = block_rows(s), t0 = i * bq, end = qk_min64(t0 + bq, s->T);
    return (struct block){s, b, g, t0, end - t0, end};
}

/* Offset of stacked row r's head in a dense [B, T, H, hd] array; / hd gives the row of [B, T, H].
 */
static int64_t row_at(const struct block *k, int64_t r)
{
    int64_t head = k->g * group(k->s) + r / k->rows, t = k->t0 + r % k->rows;
    return ((k->b * k->s->T + t) * k->s->H + head) * k->s->hd;
}

static int64_t lse_at(const struct block *k, int64_t r)
{
    int64_t head = k->g * group(k->s) + r / k->rows;
    return (k->b * k->s->H + head) * k->s->T + k->t0 + r % k->rows;
}

static int64_t stacked(const struct block *k)
{
    return group(k->s) * k->rows;
}

static void gather(float *to, const float *from, float scale, const struct block *k)
{
    int64_t hd = k->s->hd;
    for (int64_t r = 0; r < stacked(k); r++) {
        const float *row = from + row_at(k, r);
#pragma omp simd
        for (int64_t i = 0; i < hd; i++)
            to[r * hd + i] = scale * row[i];
    }
}

static float logit_scale(const struct qk_attention_shape *s)
{
    return (float)(1.0 / sqrt((double)s->hd));
}

/* logits [stacked, keys] = (scaled queries) K^T */
static void block_logits(float *logits, const float *queries, const float *k_,
                         const struct block *k)
{
    int64_t width = k->s->G * k->s->hd;
    qk_cpu_gemm(false, true, stacked(k), k->keys, k->s->hd, 1, queries, k->s->hd,
                k_ + k->b * k->s->T * width + k->g * k->s->hd, width, 0, logits, k->keys);
}

static const float *values_of(const float *v, const struct block *k)
{
    return v + k->b * k->s->T * k->s->v_stride + k->g * k->s->hd;
}

/* Room per thread: three stacks of rows and `squares` arrays of logits. */
static float *task_scratch(struct qk_device *d, const struct qk_attention_shape *s, int squares,
                           int64_t *each)
{
    int64_t rows = group(s) * block_rows(s);
    *each = qk_round_up(3 * rows * s->hd + squares * rows * s->T, 64);
    return qk_cpu_scratch(d, QK_CPU_TILES, *each * omp_get_max_threads());
}

static double flops_of(const struct qk_attention_shape *s, double products)
{
    return products * (double)(s->B * s->H * s->hd) * (double)s->T * (double)s->T;
}

/* ---- forward ---- */

/* Turn a row's n logits into exp(l - max), the rest of its `keys` into zeros. */
static void softmax_row(float *row, int64_t n, int64_t keys, float *max_, float *sum_)
{
    float max = row[0], sum = 0;
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < n; i++)
        max = row[i] > max ? row[i] : max;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        row[i] = qk_expf(row[i] - max);
        sum += row[i];
    }
    for (int64_t i = n; i < keys; i++)
        row[i] = 0;
    *max_ = max;
    *sum_ = sum;
}

static void forward_block(float *o, float *lse, const float *q, const float *k_, const float *v,
                          const struct block *k, float *scratch)
{
    int64_t hd = k->s->hd, rows = stacked(k);
    float *queries = scratch, *out = queries + rows * hd, *inverse = out + rows * hd;
    float *logits = scratch + 3 * group(k->s) * block_rows(k->s) * hd;
    gather(queries, q, logit_scale(k->s), k);
    block_logits(logits, queries, k_, k);
    for (int64_t r = 0; r < rows; r++) {
        float max, sum;
        softmax_row(logits + r * k->keys, k->t0 + r % k->rows + 1, k->keys, &max, &sum);
        lse[lse_at(k, r)] = max + logf(sum);
        inverse[r] = 1.0f / sum;
    }
    qk_cpu_gemm(false, false, rows, hd, k->keys, 1, logits, k->keys, values_of(v, k),
                k->s->v_stride, 0, out, hd);
    for (int64_t r = 0; r < rows; r++) {
        float *to = o + row_at(k, r);
#pragma omp simd
        for (int64_t i = 0; i < hd; i++)
            to[i] = inverse[r] * out[r * hd + i];
    }
}

void qk_cpu_attention(struct qk_device *d, struct qk_buf o, struct qk_buf lse, struct qk_buf q,
                      struct qk_buf k, struct qk_buf v, struct qk_attention_shape s)
{
    double start;
    int64_t each;
    if (!qk_cpu_begin(d, &start))
        return;
    float *scratch = task_scratch(d, &s, 1, &each);
    if (!scratch)
        return;
    int64_t blocks = qk_blocks(s.T, block_rows(&s)), tasks = s.B * s.G * blocks;
#pragma omp parallel for schedule(dynamic)
    for (int64_t n = 0; n < tasks; n++) {
        int64_t i = blocks - 1 - n / (s.B * s.G), bg = n % (s.B * s.G); /* long ones first */
        struct block place = block_at(&s, bg / s.G, bg % s.G, i);
        forward_block(qk_cpu_out(o), qk_cpu_out(lse), qk_cpu_in(q), qk_cpu_in(k), qk_cpu_in(v),
                      &place, scratch + each * omp_get_thread_num());
    }
    qk_cpu_end(d, QK_CLASS_ATTENTION, start, flops_of(&s, 2));
}

/* ---- backward ---- */

struct arrays {
    float *dq, *dk, *dv;
    const float *d_o, *o, *lse, *q, *k, *v;
};

/* Logits to probabilities, and dP to the logits' gradient P * (dP - delta). */
static void backward_row(float *p, float *dp, float lse, float delta, int64_t n, int64_t keys)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        p[i] = qk_expf(p[i] - lse);
        dp[i] = p[i] * (dp[i] - delta);
    }
    for (int64_t i = n; i < keys; i++)
        p[i] = dp[i] = 0;
}

static float row_dot(const float *a, const float *b, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void backward_block(const struct arrays *a, const struct block *k, float *scratch)
{
    const struct qk_attention_shape *s = k->s;
    int64_t hd = s->hd, rows = stacked(k), keys = k->keys, width = s->G * hd;
    int64_t most = group(s) * block_rows(s), at = k->b * s->T * width + k->g * hd;
    float *queries = scratch, *dout = queries + most * hd, *dqueries = dout + most * hd;
    float *p = dqueries + most * hd, *dp = p + most * s->T;
    float *dv = a->dv + k->b * s->T * s->v_stride + k->g * hd;
    gather(queries, a->q, logit_scale(s), k);
    gather(dout, a->d_o, 1, k);
    block_logits(p, queries, a->k, k);
    qk_cpu_gemm(false, true, rows, keys, hd, 1, dout, hd, values_of(a->v, k), s->v_stride, 0, dp,
                keys);
    for (int64_t r = 0; r < rows; r++) {
        float delta = row_dot(dout + r * hd, a->o + row_at(k, r), hd);
        backward_row(p + r * keys, dp + r * keys, a->lse[lse_at(k, r)], delta,
                     k->t0 + r % k->rows + 1, keys);
    }
    qk_cpu_gemm(true, false, keys, hd, rows, 1, p, keys, dout, hd, 1, dv, s->v_stride);
    qk_cpu_gemm(true, false, keys, hd, rows, 1, dp, keys, queries, hd, 1, a->dk + at, width);
    qk_cpu_gemm(false, false, rows, hd, keys, logit_scale(s), dp, keys, a->k + at, width, 0,
                dqueries, hd);
    for (int64_t r = 0; r < rows; r++) {
        float *to = a->dq + row_at(k, r);
#pragma omp simd
        for (int64_t i = 0; i < hd; i++)
            to[i] = dqueries[r * hd + i];
    }
}

static void zero_rows(float *x, int64_t rows, int64_t stride, int64_t n)
{
    for (int64_t r = 0; r < rows; r++)
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            x[r * stride + i] = 0;
}

void qk_cpu_attention_back(struct qk_device *d, struct qk_buf dq, struct qk_buf dk,
                           struct qk_buf dv, struct qk_buf d_o, struct qk_buf o, struct qk_buf lse,
                           struct qk_buf q, struct qk_buf k, struct qk_buf v,
                           struct qk_attention_shape s)
{
    double start;
    int64_t each;
    if (!qk_cpu_begin(d, &start))
        return;
    float *scratch = task_scratch(d, &s, 2, &each);
    if (!scratch)
        return;
    struct arrays a = {qk_cpu_out(dq), qk_cpu_out(dk), qk_cpu_out(dv), qk_cpu_in(d_o), qk_cpu_in(o),
                       qk_cpu_in(lse), qk_cpu_in(q),   qk_cpu_in(k),   qk_cpu_in(v)};
#pragma omp parallel for schedule(dynamic)
    for (int64_t n = 0; n < s.B * s.G; n++) {
        int64_t b = n / s.G, g = n % s.G;
        zero_rows(a.dk + b * s.T * s.G * s.hd + g * s.hd, s.T, s.G * s.hd, s.hd);
        zero_rows(a.dv + b * s.T * s.v_stride + g * s.hd, s.T, s.v_stride, s.hd);
        for (int64_t i = 0; i < qk_blocks(s.T, block_rows(&s)); i++) {
            struct block place = block_at(&s, b, g, i);
            backward_block(&a, &place, scratch + each * omp_get_thread_num());
        }
    }
    qk_cpu_end(d, QK_CLASS_ATTENTION, start, flops_of(&s, 5));
}

/* ---- measurement ---- */

/* Adds -sum p ln p of the block's rows to entropy[j], raises max[j], j = head of the group. */
static void stats_block(double *entropy, float *max, const float *q, const float *k_,
                        const float *lse, const struct block *k, float *scratch)
{
    float *queries = scratch;
    float *logits = scratch + 3 * group(k->s) * block_rows(k->s) * k->s->hd;
    gather(queries, q, logit_scale(k->s), k);
    block_logits(logits, queries, k_, k);
    for (int64_t r = 0; r < stacked(k); r++) {
        const float *row = logits + r * k->keys;
        int64_t n = k->t0 + r % k->rows + 1, j = r / k->rows;
        float total = lse[lse_at(k, r)], most = row[0];
        double sum = 0;
#pragma omp simd reduction(+ : sum) reduction(max : most)
        for (int64_t i = 0; i < n; i++) {
            float below = row[i] - total; /* ln p */
            sum -= (double)(qk_expf(below) * below);
            most = row[i] > most ? row[i] : most;
        }
        entropy[j] += sum;
        max[j] = most > max[j] ? most : max[j];
    }
}

void qk_cpu_attention_stats(struct qk_device *d, struct qk_buf entropy, struct qk_buf max_logit,
                            struct qk_buf q, struct qk_buf k, struct qk_buf lse,
                            struct qk_attention_shape s)
{
    double start;
    int64_t each, R = group(&s);
    if (!qk_cpu_begin(d, &start))
        return;
    float *scratch = task_scratch(d, &s, 1, &each);
    double *sums = (double *)(void *)qk_cpu_scratch(d, QK_CPU_PARTIAL, 2 * s.B * s.H);
    if (!scratch || !sums)
        return;
    float *out = qk_cpu_out(entropy), *max = qk_cpu_out(max_logit);
#pragma omp parallel for schedule(dynamic)
    for (int64_t n = 0; n < s.B * s.G; n++) {
        for (int64_t j = 0; j < R; j++) {
            sums[n * R + j] = 0;
            max[n * R + j] = -INFINITY;
        }
        for (int64_t i = 0; i < qk_blocks(s.T, block_rows(&s)); i++) {
            struct block place = block_at(&s, n / s.G, n % s.G, i);
            stats_block(sums + n * R, max + n * R, qk_cpu_in(q), qk_cpu_in(k), qk_cpu_in(lse),
                        &place, scratch + each * omp_get_thread_num());
        }
        for (int64_t j = 0; j < R; j++)
            out[n * R + j] = (float)sums[n * R + j];
    }
    qk_cpu_end(d, QK_CLASS_ATTENTION, start, flops_of(&s, 1));
}
