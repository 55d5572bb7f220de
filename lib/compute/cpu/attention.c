/* Causal grouped-query attention, by blocks of query rows.
 *
 * A task is one block of `bq` positions of one sequence and one key head.  The R = H/G query heads
 * that read this key head are stacked, position by position, into a matrix of R*bq rows, so that
 * one product with the keys 0 .. end of block serves them all.  Row r sees the keys 0 .. t0 + r/R:
 * the products leave out the tiles beyond (cpu.h's triangle).  The block's logits live in a
 * thread's scratch: R*bq x T at most.  Keys and values are packed once per sequence and key head.
 * The backward pass recomputes the logits from lse (Dao et al. 2022) and walks the query blocks of
 * one (sequence, key head) in order, so dk and dv are summed in one order.
 */
#include "compute/cpu/cpu.h"

#include <math.h>
#include <omp.h>

/* This file's loops are rows of hundreds of numbers: worth the widest vectors. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512")
#endif
#include "compute/cpu/vexp.h"

enum {
    STACKED = 128, /* rows of a block, about */
    WIDE = 16,     /* rows of logits are filled up to whole vectors: no loop has a scalar rest */
};

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

/* Offset of the block's i-th position in a dense [B, T, H, hd] array: its R heads lie together. */
static int64_t place_at(const struct block *k, int64_t i)
{
    return ((k->b * k->s->T + k->t0 + i) * k->s->H + k->g * group(k->s)) * k->s->hd;
}

/* Of stacked row r in lse [B, H, T]. */
static int64_t lse_at(const struct block *k, int64_t r)
{
    int64_t R = group(k->s), head = k->g * R + r % R;
    return (k->b * k->s->H + head) * k->s->T + k->t0 + r / R;
}

/* How many keys stacked row r sees. */
static int64_t seen_by(const struct block *k, int64_t r)
{
    return k->t0 + r / group(k->s) + 1;
}

static int64_t stacked(const struct block *k)
{
    return group(k->s) * k->rows;
}

/* Rows of logits lie this far apart: not a power of two. */
static int64_t logit_stride(const struct qk_attention_shape *s)
{
    return qk_round_up(s->T, QK_CPU_PANEL) + 16;
}

static struct qk_cpu_triangle triangle(const struct block *k, float *at)
{
    return (struct qk_cpu_triangle){.at = at,
                                    .ld = logit_stride(k->s),
                                    .rows = stacked(k),
                                    .keys = k->keys,
                                    .seen = k->t0 + 1,
                                    .per = group(k->s)};
}

static void gather(float *to, const float *from, float scale, const struct block *k)
{
    int64_t n = group(k->s) * k->s->hd;
    for (int64_t i = 0; i < k->rows; i++) {
        const float *row = from + place_at(k, i);
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            to[i * n + c] = scale * row[c];
    }
}

static void scatter(float *to, const float *from, const struct block *k)
{
    int64_t n = group(k->s) * k->s->hd;
    for (int64_t i = 0; i < k->rows; i++) {
        float *row = to + place_at(k, i);
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            row[c] = from[i * n + c];
    }
}

static float logit_scale(const struct qk_attention_shape *s)
{
    return (float)(1.0 / sqrt((double)s->hd));
}

/* The keys of (b, g) as the logits read them: K^T [hd, T]. */
static struct qk_cpu_packed pack_keys(float *to, const float *k_,
                                      const struct qk_attention_shape *s, int64_t b, int64_t g)
{
    int64_t width = s->G * s->hd;
    return qk_cpu_pack(to, true, s->T, s->hd, k_ + b * s->T * width + g * s->hd, width);
}

static const float *values_of(const float *v, const struct qk_attention_shape *s, int64_t b,
                              int64_t g)
{
    return v + b * s->T * s->v_stride + g * s->hd;
}

/* Room for keys or values of one (b, g), packed either way. */
static int64_t packed_room(const struct qk_attention_shape *s)
{
    int64_t turned = qk_cpu_pack_room(s->T, s->hd), plain = qk_cpu_pack_room(s->hd, s->T);
    return qk_round_up(qk_max64(turned, plain), 16);
}

/* Room per thread: three stacks of rows, `squares` arrays of logits and `packs` of keys or values;
 * behind that of all threads, `shared` packs. */
static float *task_scratch(struct qk_device *d, const struct qk_attention_shape *s, int squares,
                           int packs, int64_t shared, int64_t *each)
{
    int64_t rows = group(s) * block_rows(s), pack = packed_room(s);
    *each = qk_round_up(3 * rows * s->hd + squares * rows * logit_stride(s) + packs * pack, 64);
    return qk_cpu_scratch(d, QK_CPU_TILES, *each * omp_get_max_threads() + shared * pack);
}

static double flops_of(const struct qk_attention_shape *s, double products)
{
    return products * (double)(s->B * s->H * s->hd) * (double)s->T * (double)s->T;
}

/* ---- forward ---- */

/* Fill what a row's last vector has behind its n logits, give the length so reached, and zero the
 * rest of the `keys`. */
static int64_t fill_row(float *row, float fill, int64_t n, int64_t keys)
{
    int64_t whole = qk_round_up(n, WIDE);
    for (int64_t i = n; i < whole; i++)
        row[i] = fill;
    for (int64_t i = whole; i < keys; i++)
        row[i] = 0;
    return whole;
}

/* Turn a row's n logits into exp(l - max), the rest of its `keys` into zeros. */
static void softmax_row(float *row, int64_t n, int64_t keys, float *max_, float *sum_)
{
    int64_t whole = fill_row(row, -INFINITY, n, keys);
    float max = row[0], sum = 0;
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < whole; i++)
        max = row[i] > max ? row[i] : max;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < whole; i++) {
        row[i] = qk_expf(row[i] - max);
        sum += row[i];
    }
    *max_ = max;
    *sum_ = sum;
}

static void forward_block(float *o, float *lse, const float *q, const struct qk_cpu_packed *keys,
                          const struct qk_cpu_packed *values, const struct block *k, float *scratch)
{
    int64_t hd = k->s->hd, rows = stacked(k), R = group(k->s);
    int64_t most = R * block_rows(k->s) * hd;
    float *queries = scratch, *out = queries + most, *inverse = out + most;
    const struct qk_cpu_triangle p = triangle(k, inverse + most);
    gather(queries, q, logit_scale(k->s), k);
    qk_cpu_causal_logits(&p, queries, hd, keys);
    for (int64_t r = 0; r < rows; r++) {
        float max, sum;
        softmax_row(p.at + r * p.ld, seen_by(k, r), k->keys, &max, &sum);
        lse[lse_at(k, r)] = max + logf(sum);
        inverse[r] = 1.0f / sum;
    }
    qk_cpu_causal_average(&p, 1, values, out, hd);
    for (int64_t r = 0; r < rows; r++)
#pragma omp simd
        for (int64_t i = 0; i < hd; i++)
            out[r * hd + i] *= inverse[r];
    scatter(o, out, k);
}

void qk_cpu_attention(struct qk_device *d, struct qk_buf o, struct qk_buf lse, struct qk_buf q,
                      struct qk_buf k, struct qk_buf v, struct qk_attention_shape s)
{
    double start;
    int64_t each, heads = s.B * s.G, pack = packed_room(&s);
    if (!qk_cpu_begin(d, &start))
        return;
    float *scratch = task_scratch(d, &s, 1, 0, 2 * heads, &each);
    if (!scratch)
        return;
    float *packs = scratch + each * omp_get_max_threads();
    int64_t blocks = qk_blocks(s.T, block_rows(&s));
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t n = 0; n < heads; n++) {
            pack_keys(packs + 2 * n * pack, qk_cpu_in(k), &s, n / s.G, n % s.G);
            qk_cpu_pack(packs + (2 * n + 1) * pack, false, s.hd, s.T,
                        values_of(qk_cpu_in(v), &s, n / s.G, n % s.G), s.v_stride);
        }
#pragma omp for schedule(dynamic)
        for (int64_t n = 0; n < heads * blocks; n++) {
            int64_t i = blocks - 1 - n / heads, bg = n % heads; /* long ones first */
            const struct qk_cpu_packed keys = {packs + 2 * bg * pack, s.T, s.hd};
            const struct qk_cpu_packed values = {packs + (2 * bg + 1) * pack, s.hd, s.T};
            struct block place = block_at(&s, bg / s.G, bg % s.G, i);
            forward_block(qk_cpu_out(o), qk_cpu_out(lse), qk_cpu_in(q), &keys, &values, &place,
                          scratch + each * omp_get_thread_num());
        }
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
    int64_t whole = fill_row(p, -INFINITY, n, keys);
    fill_row(dp, 0, n, keys);
#pragma omp simd
    for (int64_t i = 0; i < whole; i++) {
        p[i] = qk_expf(p[i] - lse);
        dp[i] = p[i] * (dp[i] - delta);
    }
}

static float row_dot(const float *a, const float *b, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Keys and values of one (sequence, key head), packed for the backward products. */
struct packs {
    struct qk_cpu_packed keys_turned, values_turned, keys;
};

static struct packs pack_both(const struct arrays *a, const struct qk_attention_shape *s, int64_t b,
                              int64_t g, float *to)
{
    int64_t room = packed_room(s), width = s->G * s->hd;
    return (struct packs){
        pack_keys(to, a->k, s, b, g),
        qk_cpu_pack(to + room, true, s->T, s->hd, values_of(a->v, s, b, g), s->v_stride),
        qk_cpu_pack(to + 2 * room, false, s->hd, s->T, a->k + b * s->T * width + g * s->hd, width),
    };
}

static void backward_block(const struct arrays *a, const struct packs *packed,
                           const struct block *k, float *scratch)
{
    const struct qk_attention_shape *s = k->s;
    int64_t hd = s->hd, rows = stacked(k), keys = k->keys, width = s->G * hd, R = group(s);
    int64_t most = R * block_rows(s);
    float *queries = scratch, *dout = queries + most * hd, *dqueries = dout + most * hd;
    float *dk = a->dk + k->b * s->T * width + k->g * hd;
    float *dv = a->dv + k->b * s->T * s->v_stride + k->g * hd;
    const struct qk_cpu_triangle p = triangle(k, dqueries + most * hd);
    const struct qk_cpu_triangle dp = triangle(k, p.at + most * p.ld);
    gather(queries, a->q, logit_scale(s), k);
    gather(dout, a->d_o, 1, k);
    qk_cpu_causal_logits(&p, queries, hd, &packed->keys_turned);
    qk_cpu_causal_logits(&dp, dout, hd, &packed->values_turned);
    for (int64_t r = 0; r < rows; r++) {
        float delta = row_dot(dout + r * hd, a->o + place_at(k, r / R) + r % R * hd, hd);
        backward_row(p.at + r * p.ld, dp.at + r * p.ld, a->lse[lse_at(k, r)], delta, seen_by(k, r),
                     keys);
    }
    qk_cpu_causal_spread(&p, hd, dout, hd, dv, s->v_stride);
    qk_cpu_causal_spread(&dp, hd, queries, hd, dk, width);
    qk_cpu_causal_average(&dp, logit_scale(s), &packed->keys, dqueries, hd);
    scatter(a->dq, dqueries, k);
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
    int64_t each, pack = packed_room(&s);
    if (!qk_cpu_begin(d, &start))
        return;
    float *scratch = task_scratch(d, &s, 2, 3, 0, &each);
    if (!scratch)
        return;
    struct arrays a = {qk_cpu_out(dq), qk_cpu_out(dk), qk_cpu_out(dv), qk_cpu_in(d_o), qk_cpu_in(o),
                       qk_cpu_in(lse), qk_cpu_in(q),   qk_cpu_in(k),   qk_cpu_in(v)};
#pragma omp parallel for schedule(dynamic)
    for (int64_t n = 0; n < s.B * s.G; n++) {
        int64_t b = n / s.G, g = n % s.G;
        float *mine = scratch + each * omp_get_thread_num();
        const struct packs packed = pack_both(&a, &s, b, g, mine);
        zero_rows(a.dk + b * s.T * s.G * s.hd + g * s.hd, s.T, s.G * s.hd, s.hd);
        zero_rows(a.dv + b * s.T * s.v_stride + g * s.hd, s.T, s.v_stride, s.hd);
        for (int64_t i = 0; i < qk_blocks(s.T, block_rows(&s)); i++) {
            struct block place = block_at(&s, b, g, i);
            backward_block(&a, &packed, &place, mine + 3 * pack);
        }
    }
    qk_cpu_end(d, QK_CLASS_ATTENTION, start, flops_of(&s, 5));
}

/* ---- measurement ---- */

/* Adds -sum p ln p of the block's rows to entropy[j], raises max[j], j = head of the group. */
static void stats_block(double *entropy, float *max, const float *q,
                        const struct qk_cpu_packed *keys, const float *lse, const struct block *k,
                        float *scratch)
{
    float *queries = scratch;
    const struct qk_cpu_triangle p =
        triangle(k, scratch + 3 * group(k->s) * block_rows(k->s) * k->s->hd);
    gather(queries, q, logit_scale(k->s), k);
    qk_cpu_causal_logits(&p, queries, k->s->hd, keys);
    for (int64_t r = 0; r < stacked(k); r++) {
        const float *row = p.at + r * p.ld;
        int64_t n = seen_by(k, r), j = r % group(k->s);
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
    int64_t each, R = group(&s), pack = packed_room(&s);
    if (!qk_cpu_begin(d, &start))
        return;
    float *scratch = task_scratch(d, &s, 1, 1, 0, &each);
    double *sums = (double *)(void *)qk_cpu_scratch(d, QK_CPU_PARTIAL, 2 * s.B * s.H);
    if (!scratch || !sums)
        return;
    float *out = qk_cpu_out(entropy), *max = qk_cpu_out(max_logit);
#pragma omp parallel for schedule(dynamic)
    for (int64_t n = 0; n < s.B * s.G; n++) {
        float *mine = scratch + each * omp_get_thread_num();
        const struct qk_cpu_packed keys = pack_keys(mine, qk_cpu_in(k), &s, n / s.G, n % s.G);
        for (int64_t j = 0; j < R; j++) {
            sums[n * R + j] = 0;
            max[n * R + j] = -INFINITY;
        }
        for (int64_t i = 0; i < qk_blocks(s.T, block_rows(&s)); i++) {
            struct block place = block_at(&s, n / s.G, n % s.G, i);
            stats_block(sums + n * R, max + n * R, qk_cpu_in(q), &keys, qk_cpu_in(lse), &place,
                        mine + pack);
        }
        for (int64_t j = 0; j < R; j++)
            out[n * R + j] = (float)sums[n * R + j];
    }
    qk_cpu_end(d, QK_CLASS_ATTENTION, start, flops_of(&s, 1));
}
