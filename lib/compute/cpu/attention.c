/* Causal grouped-query attention, by blocks that stay in the cache.
 *
 * A block of stacked rows (stacked.h) meets some keys at a time, in strips: a strip's logits are
 * made, turned into probabilities and used at once (attention_strip.h), and what lies beyond the
 * diagonal is left out strip by strip.  Logits are to base 2: queries are multiplied by
 * log2(e) / sqrt(hd) when they are gathered.
 *
 * The forward pass keeps a running maximum (Milakov and Gimelshein 2018); the backward pass makes
 * the probabilities again from lse (Dao et al. 2022).  A thread takes one sequence and key head
 * after the other; where they are too few for the threads, the parts of one go to several threads.
 * Sums are the same either way.
 */
#include "compute/cpu/attention_strip.h"
#include "compute/cpu/cpu.h"
#include "compute/cpu/stacked.h"

#include <math.h>
#include <omp.h>

enum {
    /* Positions whose keys, values and sums of gradients stay in the second-level cache. */
    CHUNK = 6 * QK_KEYS,
    /* Numbers of each array asked for ahead between two steps (qk_ahead). */
    FORWARD_AHEAD = 192,
    BACKWARD_AHEAD = 64,
};
_Static_assert(CHUNK % QK_ROWS == 0, "blocks of rows begin at the same rows in every chunk");

static const double LOG2E = 1.4426950408889634, LN2 = 0.69314718055994531;

static int64_t group(const struct qk_attention_shape *s)
{
    return s->H / s->G;
}

static int64_t numbers(const struct qk_attention_shape *s)
{
    return s->B * s->G;
}

static float base2_scale(const struct qk_attention_shape *s)
{
    return (float)(LOG2E / sqrt((double)s->hd));
}

/* Of queries and what is shaped like them, and of keys and values. */
static double numbers_of(const struct qk_attention_shape *s, double queries, double keys)
{
    return (double)(s->B * s->T * s->hd) * (queries * (double)s->H + keys * (double)s->G);
}

static double flops_of(const struct qk_attention_shape *s, double products)
{
    return products * (double)(s->B * s->H * s->hd) * (double)s->T * (double)s->T;
}

/* ---- scratch ---- */

/* A thread's block. */
struct room {
    float queries[QK_ROWS * QK_ROW], dout[QK_ROWS * QK_ROW];
    float out[QK_ROWS * QK_ROW]; /* or dq */
    float p[QK_ROWS * QK_LD], dp[QK_ROWS * QK_LD];
    float max[QK_ROWS], sum[QK_ROWS]; /* of the softmax; or lse and delta */
};

/* Keys and values of one number as the strips read them, and the sums of their gradients. */
struct home {
    float *keys_turned, *values_turned, *keys, *values, *dk, *dv;
};

static int64_t width_of(const struct qk_attention_shape *s)
{
    return qk_round_up(s->hd, QK_WIDE);
}

/* One array of a home. */
static int64_t home_array(const struct qk_attention_shape *s)
{
    return qk_round_up(s->T, QK_KEYS) * width_of(s);
}

/* Are there numbers enough to keep the threads busy with one each? */
static bool by_numbers(const struct qk_attention_shape *s)
{
    return 8 * numbers(s) >= 7 * qk_round_up(numbers(s), omp_get_max_threads());
}

/* A room for every thread; behind them a home of so many arrays for every thread or number. */
static struct room *scratch_for(struct qk_device *d, const struct qk_attention_shape *s,
                                int64_t arrays)
{
    int64_t threads = omp_get_max_threads();
    int64_t homes = by_numbers(s) ? threads : qk_max64(threads, numbers(s));
    int64_t rooms = threads * (int64_t)(sizeof(struct room) / sizeof(float));
    return (struct room *)(void *)qk_cpu_scratch(d, QK_CPU_TILES,
                                                 rooms + homes * arrays * home_array(s));
}

/* Array i, counted through all homes. */
static float *home_at(struct room *rooms, const struct qk_attention_shape *s, int64_t i)
{
    return (float *)(void *)(rooms + omp_get_max_threads()) + i * home_array(s);
}

/* Where the keys (or their gradients) of number n begin at position t, and the values. */
static int64_t key_at(const struct qk_attention_shape *s, int64_t n, int64_t t)
{
    return ((n / s->G * s->T + t) * s->G + n % s->G) * s->hd;
}

static int64_t value_at(const struct qk_attention_shape *s, int64_t n, int64_t t)
{
    return (n / s->G * s->T + t) * s->v_stride + n % s->G * s->hd;
}

/* to [rows, width] = from [rows, hd], filled up with zeros. */
static void lay(float *to, const float *from, int64_t stride, int64_t rows,
                const struct qk_attention_shape *s)
{
    int64_t width = width_of(s);
    for (int64_t r = 0; r < rows; r++) {
#pragma omp simd
        for (int64_t c = 0; c < s->hd; c++)
            to[r * width + c] = from[r * stride + c];
        for (int64_t c = s->hd; c < width; c++)
            to[r * width + c] = 0;
    }
}

/* The number that this thread will probably take after n; n if it is the last. */
static int64_t number_after(const struct qk_attention_shape *s, int64_t n)
{
    int64_t then = n + omp_get_num_threads();
    return then < numbers(s) ? then : n;
}

/* The block behind the one at `first`: the next one before `end`, or the first of number `then`. */
static void next_block(struct qk_ahead *soon, struct qk_stacked *next,
                       const struct qk_attention_shape *s, int64_t n, int64_t first, int64_t end,
                       int64_t then)
{
    if (first + QK_ROWS < end)
        qk_stacked_at(next, s, n, first + QK_ROWS, end);
    else
        qk_stacked_at(next, s, then, 0, s->T * group(s));
    soon->row = then == n && first + QK_ROWS >= end ? next->rows : 0;
}

/* ---- forward ---- */

struct forward {
    const struct qk_attention_strip *x;
    struct qk_attention_shape s;
    float *o, *lse;
    const float *q, *k, *v;
};

static void forward_block(const struct forward *a, const struct home *h, const struct qk_stacked *k,
                          struct room *m, struct qk_ahead *soon)
{
    const struct qk_attention_strip *x = a->x;
    int64_t hd = a->s.hd, width = width_of(&a->s), few = qk_max64(1, FORWARD_AHEAD / hd);
    qk_stacked_gather(m->queries, a->q, base2_scale(&a->s), k);
    for (int64_t r = 0; r < QK_ROWS; r++)
        m->max[r] = -INFINITY, m->sum[r] = 0;
    for (int64_t from = 0; from < qk_stacked_seen(k); from += QK_SPAN)
        for (int64_t r = qk_stacked_first(k, from) / QK_STRIP * QK_STRIP; r < k->rows;
             r += QK_STRIP) {
            int64_t cols = qk_min64(QK_SPAN, qk_stacked_strip_seen(k, r) - from);
            float *out = m->out + r * QK_ROW;
            x->logits(m->p, m->queries + r * QK_ROW, h->keys_turned + from * hd, hd, cols);
            qk_ahead_ask(soon, few);
            x->softmax(m->p, k->seen + r, from, cols, m->max + r, m->sum + r, out, width);
            qk_ahead_ask(soon, few);
            x->average(out, m->p, h->values + from * width, cols, width, from > 0);
            qk_ahead_ask(soon, few);
        }
    for (int64_t r = 0; r < k->rows; r++) {
        float inverse = 1.0f / m->sum[r];
        a->lse[k->lse_at[r]] = (float)(LN2 * (double)m->max[r] + log((double)m->sum[r]));
#pragma omp simd
        for (int64_t c = 0; c < hd; c++)
            a->o[k->at[r] + c] = inverse * m->out[r * QK_ROW + c];
    }
}

/* Stacked rows first .. end of number n.  Number `then` will be wanted next; n if none. */
static void forward_rows(const struct forward *a, const struct home *h, int64_t n, int64_t first,
                         int64_t end, int64_t then, struct room *m)
{
    const struct qk_attention_shape *s = &a->s;
    struct qk_stacked here, next;
    struct qk_ahead soon = {.next = &next,
                            .stacked = {a->q, a->o},
                            .keys = {a->k + key_at(s, then, 0), a->v + value_at(s, then, 0)},
                            .stride = {s->G * s->hd, s->v_stride},
                            .count = then != n ? s->T : 0};
    qk_stacked_at(&next, s, n, first, end);
    for (; first < end; first += QK_ROWS) {
        here = next;
        next_block(&soon, &next, s, n, first, end, then);
        forward_block(a, h, &here, m, &soon);
    }
}

static struct home forward_home(struct room *rooms, const struct qk_attention_shape *s, int64_t i)
{
    return (struct home){.keys_turned = home_at(rooms, s, 2 * i),
                         .values = home_at(rooms, s, 2 * i + 1)};
}

static void forward_open(const struct forward *a, const struct home *h, int64_t n)
{
    const struct qk_attention_shape *s = &a->s;
    a->x->turn(h->keys_turned, a->k + key_at(s, n, 0), s->G * s->hd, s->T, s->hd);
    lay(h->values, a->v + value_at(s, n, 0), s->v_stride, s->T, s);
}

static void forward_by_numbers(const struct forward *a, struct room *rooms)
{
#pragma omp parallel for schedule(dynamic)
    for (int64_t n = 0; n < numbers(&a->s); n++) {
        int thread = omp_get_thread_num();
        struct home h = forward_home(rooms, &a->s, thread);
        forward_open(a, &h, n);
        forward_rows(a, &h, n, 0, a->s.T * group(&a->s), number_after(&a->s, n), rooms + thread);
    }
}

static void forward_by_blocks(const struct forward *a, struct room *rooms)
{
    int64_t count = numbers(&a->s), rows = a->s.T * group(&a->s), blocks = qk_blocks(rows, QK_ROWS);
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t n = 0; n < count; n++) {
            struct home h = forward_home(rooms, &a->s, n);
            forward_open(a, &h, n);
        }
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count * blocks; i++) {
            int64_t n = i % count, first = (blocks - 1 - i / count) * QK_ROWS; /* long ones first */
            struct home h = forward_home(rooms, &a->s, n);
            forward_rows(a, &h, n, first, qk_min64(first + QK_ROWS, rows), n,
                         rooms + omp_get_thread_num());
        }
    }
}

void qk_cpu_attention(struct qk_device *d, struct qk_buf o, struct qk_buf lse, struct qk_buf q,
                      struct qk_buf k, struct qk_buf v, struct qk_attention_shape s)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    struct room *rooms = scratch_for(d, &s, 2);
    if (!rooms)
        return;
    const struct forward a = {
        .x = qk_attention_strip(),
        .s = s,
        .o = qk_cpu_out(o),
        .lse = qk_cpu_out(lse),
        .q = qk_cpu_in(q),
        .k = qk_cpu_in(k),
        .v = qk_cpu_in(v),
    };
    (by_numbers(&s) ? forward_by_numbers : forward_by_blocks)(&a, rooms);
    qk_cpu_end(d, QK_CLASS_ATTENTION, start, flops_of(&s, 2), numbers_of(&s, 2, 2));
}

/* ---- backward ---- */

struct backward {
    const struct qk_attention_strip *x;
    struct qk_attention_shape s;
    float *dq, *dk, *dv;
    const float *d_o, *o, *lse, *q, *k, *v;
};

static float row_dot(const float *a, const float *b, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* A block of rows, as gathered, and the keys from .. from+cols: dq to m->out, or += when `add`;
 * dk and dv always +=. */
static void backward_block(const struct backward *a, const struct home *h,
                           const struct qk_stacked *k, int64_t from, int64_t cols, bool add,
                           struct room *m, struct qk_ahead *soon)
{
    const struct qk_attention_strip *x = a->x;
    int64_t hd = a->s.hd, width = width_of(&a->s), few = qk_max64(1, BACKWARD_AHEAD / hd);
    for (int64_t r = qk_stacked_first(k, from) / QK_STRIP * QK_STRIP; r < k->rows; r += QK_STRIP) {
        int64_t n = qk_min64(cols, qk_stacked_strip_seen(k, r) - from);
        float *p = m->p + r * QK_LD, *dp = m->dp + r * QK_LD;
        x->logits(p, m->queries + r * QK_ROW, h->keys_turned + from * hd, hd, n);
        qk_ahead_ask(soon, few);
        x->logits(dp, m->dout + r * QK_ROW, h->values_turned + from * hd, hd, n);
        qk_ahead_ask(soon, few);
        x->gradient(p, dp, k->seen + r, from, n, m->max + r, m->sum + r);
        x->average(m->out + r * QK_ROW, dp, h->keys + from * width, n, width, add);
        qk_ahead_ask(soon, few);
    }
    for (int64_t c = 0; c < cols; c += QK_STRIP) {
        int64_t r = qk_stacked_first(k, from + c), rows = k->rows - r;
        const float *p = m->p + r * QK_LD + c, *dp = m->dp + r * QK_LD + c;
        x->spread(h->dv + (from + c) * width, p, m->dout + r * QK_ROW, rows, width);
        qk_ahead_ask(soon, few);
        x->spread(h->dk + (from + c) * width, dp, m->queries + r * QK_ROW, rows, width);
        qk_ahead_ask(soon, few);
    }
}

static void backward_gather(const struct backward *a, const struct qk_stacked *k, struct room *m)
{
    qk_stacked_gather(m->queries, a->q, base2_scale(&a->s), k);
    qk_stacked_gather(m->dout, a->d_o, 1, k);
    for (int64_t r = 0; r < k->rows; r++) {
        m->max[r] = (float)(LOG2E * (double)a->lse[k->lse_at[r]]);
        m->sum[r] = row_dot(m->dout + r * QK_ROW, a->o + k->at[r], a->s.hd);
    }
    for (int64_t r = k->rows; r < QK_ROWS; r++)
        m->max[r] = m->sum[r] = 0;
}

/* Stacked rows first .. end of number n, none of them before chunk j of the keys, and this chunk.
 * Number `then` will be wanted next; n if none. */
static void backward_rows(const struct backward *a, const struct home *h, int64_t n, int64_t j,
                          int64_t first, int64_t end, int64_t then, struct room *m)
{
    const struct qk_attention_shape *s = &a->s;
    struct qk_stacked here, next;
    int64_t t = j * CHUNK;
    struct qk_ahead soon = {.next = &next,
                            .stacked = {a->q, a->d_o, a->o, a->dq},
                            .keys = {a->k + key_at(s, then, 0), a->v + value_at(s, then, 0),
                                     a->dk + key_at(s, n, t), a->dv + value_at(s, n, t)},
                            .stride = {s->G * s->hd, s->v_stride, s->G * s->hd, s->v_stride},
                            .count = then != n ? qk_min64(CHUNK, s->T - t) : 0};
    qk_stacked_at(&next, s, n, first, end);
    for (; first < end; first += QK_ROWS) {
        here = next;
        next_block(&soon, &next, s, n, first, end, then);
        backward_gather(a, &here, m);
        int64_t seen = qk_min64(t + CHUNK, qk_stacked_seen(&here));
        for (int64_t from = t; from < seen; from += QK_KEYS)
            backward_block(a, h, &here, from, qk_min64(QK_KEYS, seen - from), from > t, m, &soon);
        qk_stacked_scatter(a->dq, m->out, (float)(1.0 / sqrt((double)s->hd)), j > 0, &here);
    }
}

static struct home backward_home(struct room *rooms, const struct qk_attention_shape *s, int64_t i)
{
    return (struct home){.keys_turned = home_at(rooms, s, 5 * i),
                         .values_turned = home_at(rooms, s, 5 * i + 1),
                         .keys = home_at(rooms, s, 5 * i + 2),
                         .dk = home_at(rooms, s, 5 * i + 3),
                         .dv = home_at(rooms, s, 5 * i + 4)};
}

static int64_t chunk_length(const struct qk_attention_shape *s, int64_t j)
{
    return qk_min64(CHUNK, s->T - j * CHUNK);
}

static void backward_open(const struct backward *a, const struct home *h, int64_t n, int64_t j)
{
    const struct qk_attention_shape *s = &a->s;
    int64_t t = j * CHUNK, length = chunk_length(s, j), width = width_of(s), stride = s->G * s->hd;
    const float *k = a->k + key_at(s, n, t), *v = a->v + value_at(s, n, t);
    a->x->turn(h->keys_turned + t * s->hd, k, stride, length, s->hd);
    a->x->turn(h->values_turned + t * s->hd, v, s->v_stride, length, s->hd);
    lay(h->keys + t * width, k, stride, length, s);
#pragma omp simd
    for (int64_t i = t * width; i < (t + qk_round_up(length, QK_KEYS)) * width; i++)
        h->dk[i] = h->dv[i] = 0;
}

static void backward_close(const struct backward *a, const struct home *h, int64_t n, int64_t j)
{
    const struct qk_attention_shape *s = &a->s;
    int64_t width = width_of(s), end = j * CHUNK + chunk_length(s, j);
    for (int64_t t = j * CHUNK; t < end; t++) {
        float *dk = a->dk + key_at(s, n, t), *dv = a->dv + value_at(s, n, t);
#pragma omp simd
        for (int64_t c = 0; c < s->hd; c++) {
            dk[c] = (float)LN2 * h->dk[t * width + c]; /* queries are to base 2 */
            dv[c] = h->dv[t * width + c];
        }
    }
}

static void backward_by_numbers(const struct backward *a, struct room *rooms)
{
    const struct qk_attention_shape *s = &a->s;
    int64_t chunks = qk_blocks(s->T, CHUNK), R = group(s);
#pragma omp parallel for schedule(dynamic)
    for (int64_t n = 0; n < numbers(s); n++) {
        int thread = omp_get_thread_num();
        struct home h = backward_home(rooms, s, thread);
        for (int64_t j = 0; j < chunks; j++) {
            backward_open(a, &h, n, j);
            backward_rows(a, &h, n, j, j * CHUNK * R, s->T * R, number_after(s, n), rooms + thread);
            backward_close(a, &h, n, j);
        }
    }
}

/* Chunk i of the rows and chunk j of the keys make a pair.  Pairs with the same i + j share
 * neither, so they go side by side; every dq is still summed in rising order of j, every dk and dv
 * in rising order of i. */
static void backward_by_pairs(const struct backward *a, struct room *rooms)
{
    const struct qk_attention_shape *s = &a->s;
    int64_t count = numbers(s), chunks = qk_blocks(s->T, CHUNK), R = group(s);
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t c = 0; c < count * chunks; c++) {
            struct home h = backward_home(rooms, s, c / chunks);
            backward_open(a, &h, c / chunks, c % chunks);
        }
        for (int64_t sum = 0; sum < 2 * chunks - 1; sum++) {
            int64_t lowest = qk_max64(0, sum - chunks + 1), pairs = sum / 2 + 1 - lowest;
#pragma omp for schedule(dynamic)
            for (int64_t c = 0; c < count * pairs; c++) {
                int64_t n = c % count, j = lowest + c / count, t = (sum - j) * CHUNK;
                struct home h = backward_home(rooms, s, n);
                backward_rows(a, &h, n, j, t * R, qk_min64(t + CHUNK, s->T) * R, n,
                              rooms + omp_get_thread_num());
            }
        }
#pragma omp for schedule(static)
        for (int64_t c = 0; c < count * chunks; c++) {
            struct home h = backward_home(rooms, s, c / chunks);
            backward_close(a, &h, c / chunks, c % chunks);
        }
    }
}

void qk_cpu_attention_back(struct qk_device *d, struct qk_buf dq, struct qk_buf dk,
                           struct qk_buf dv, struct qk_buf d_o, struct qk_buf o, struct qk_buf lse,
                           struct qk_buf q, struct qk_buf k, struct qk_buf v,
                           struct qk_attention_shape s)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    struct room *rooms = scratch_for(d, &s, 5);
    if (!rooms)
        return;
    const struct backward a = {
        .x = qk_attention_strip(),
        .s = s,
        .dq = qk_cpu_out(dq),
        .dk = qk_cpu_out(dk),
        .dv = qk_cpu_out(dv),
        .d_o = qk_cpu_in(d_o),
        .o = qk_cpu_in(o),
        .lse = qk_cpu_in(lse),
        .q = qk_cpu_in(q),
        .k = qk_cpu_in(k),
        .v = qk_cpu_in(v),
    };
    (by_numbers(&s) ? backward_by_numbers : backward_by_pairs)(&a, rooms);
    qk_cpu_end(d, QK_CLASS_ATTENTION, start, flops_of(&s, 5), numbers_of(&s, 4, 4));
}

/* ---- measurement ---- */

struct stats {
    const struct qk_attention_strip *x;
    struct qk_attention_shape s;
    const float *lse, *q, *k;
};

/* Raises the group's entropies by those of a block's rows, and its largest logits (to base 2). */
static void stats_block(const struct stats *a, const float *keys_turned, const struct qk_stacked *k,
                        double *entropy, float *max, struct room *m)
{
    int64_t hd = a->s.hd, R = group(&a->s);
    double sum[QK_ROWS] = {0};
    qk_stacked_gather(m->queries, a->q, base2_scale(&a->s), k);
    for (int64_t r = 0; r < QK_ROWS; r++) {
        m->max[r] = -INFINITY;
        m->sum[r] = r < k->rows ? (float)(LOG2E * (double)a->lse[k->lse_at[r]]) : 0;
    }
    for (int64_t from = 0; from < qk_stacked_seen(k); from += QK_SPAN)
        for (int64_t r = qk_stacked_first(k, from) / QK_STRIP * QK_STRIP; r < k->rows;
             r += QK_STRIP) {
            int64_t cols = qk_min64(QK_SPAN, qk_stacked_strip_seen(k, r) - from);
            a->x->logits(m->p, m->queries + r * QK_ROW, keys_turned + from * hd, hd, cols);
            a->x->entropy(m->p, k->seen + r, from, cols, m->sum + r, sum + r, m->max + r);
        }
    for (int64_t r = 0; r < k->rows; r++) {
        int64_t j = (k->first + r) % R;
        entropy[j] += sum[r];
        max[j] = m->max[r] > max[j] ? m->max[r] : max[j];
    }
}

static void stats_number(const struct stats *a, int64_t n, double *entropy, float *max,
                         float *keys_turned, struct room *m)
{
    const struct qk_attention_shape *s = &a->s;
    int64_t R = group(s);
    struct qk_stacked k;
    a->x->turn(keys_turned, a->k + key_at(s, n, 0), s->G * s->hd, s->T, s->hd);
    for (int64_t j = 0; j < R; j++)
        entropy[j] = 0, max[j] = -INFINITY;
    for (int64_t first = 0; first < s->T * R; first += QK_ROWS) {
        qk_stacked_at(&k, s, n, first, s->T * R);
        stats_block(a, keys_turned, &k, entropy, max, m);
    }
    for (int64_t j = 0; j < R; j++)
        max[j] = isnan(entropy[j]) ? NAN : (float)LN2 * max[j]; /* maxima pass over NaN */
}

void qk_cpu_attention_stats(struct qk_device *d, struct qk_buf entropy, struct qk_buf max_logit,
                            struct qk_buf q, struct qk_buf k, struct qk_buf lse,
                            struct qk_attention_shape s)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    struct room *rooms = scratch_for(d, &s, 1);
    double *sums = (double *)(void *)qk_cpu_scratch(d, QK_CPU_PARTIAL, 2 * s.B * s.H);
    if (!rooms || !sums)
        return;
    const struct stats a = {qk_attention_strip(), s, qk_cpu_in(lse), qk_cpu_in(q), qk_cpu_in(k)};
    float *out = qk_cpu_out(entropy), *max = qk_cpu_out(max_logit);
    int64_t R = group(&s);
#pragma omp parallel for schedule(dynamic)
    for (int64_t n = 0; n < numbers(&s); n++) {
        int thread = omp_get_thread_num();
        stats_number(&a, n, sums + n * R, max + n * R, home_at(rooms, &s, thread), rooms + thread);
        for (int64_t j = 0; j < R; j++)
            out[n * R + j] = (float)sums[n * R + j];
    }
    qk_cpu_end(d, QK_CLASS_ATTENTION, start, flops_of(&s, 1), numbers_of(&s, 1, 1));
}
