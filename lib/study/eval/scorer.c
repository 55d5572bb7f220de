#include "study/eval/scorer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/text/template.h"

/* Rows of a forward pass, sequences in it at most, and the multiple to which lengths are rounded:
 * few shapes, so that a device's plans for products are used again. */
enum { ROWS = 4096, MOST_SEQUENCES = 256, ROUND = 16 };

struct qk_scorer {
    struct qk_model *model;
    const struct qk_tokenizer *tokenizer;
    struct qk_encode_work work;
    int64_t max_length, rows, vocab_size, prefix, bos;
    int32_t *tokens, *targets, *best; /* [rows] */
    float *nll;
};

struct qk_scorer *qk_scorer_create(struct qk_device *d, struct qk_checkpoint *c,
                                   const struct qk_tokenizer *t, struct qk_err *err)
{
    const int64_t T = c->config.seq_len, at_once = T < ROWS ? ROWS / T : 1;
    int64_t bos;
    if (qk_template_bos(t, &bos, err) != 0)
        return NULL;
    struct qk_scorer *s = qk_zalloc(1, sizeof *s);
    s->tokenizer = t;
    s->max_length = T;
    s->rows = at_once * T;
    s->vocab_size = c->config.vocab_size;
    s->prefix = c->eot >= 0 ? c->eot : qk_tokenizer_eot(t, NULL);
    s->bos = bos;
    s->tokens = qk_alloc((size_t)s->rows, sizeof *s->tokens);
    s->targets = qk_alloc((size_t)s->rows, sizeof *s->targets);
    s->best = qk_alloc((size_t)s->rows, sizeof *s->best);
    s->nll = qk_alloc((size_t)s->rows, sizeof *s->nll);
    s->model = qk_model_create(d, &c->config, at_once, T, false, false, err);
    if (s->model && qk_model_load(s->model, c, err) == 0)
        return s;
    qk_scorer_free(s);
    return NULL;
}

void qk_scorer_free(struct qk_scorer *s)
{
    if (!s)
        return;
    qk_encode_work_free(&s->work);
    if (s->model)
        qk_model_free(s->model);
    free(s->tokens);
    free(s->targets);
    free(s->best);
    free(s->nll);
    free(s);
}

int64_t qk_scorer_max_length(const struct qk_scorer *s)
{
    return s->max_length;
}

int64_t qk_scorer_prefix(const struct qk_scorer *s)
{
    return s->prefix;
}

int64_t qk_scorer_bos(const struct qk_scorer *s)
{
    return s->bos;
}

void qk_request_free(struct qk_request *r)
{
    free(r->tokens);
    r->tokens = NULL;
}

/* ---- encoding ---- */

/* Append the ids of the text, behind the template's token. */
static int encode(struct qk_scorer *s, struct qk_span text, bool special, struct qk_ids *ids,
                  struct qk_err *err)
{
    const size_t before = ids->count;
    const uint32_t bos = (uint32_t)s->bos;
    if (special && s->bos >= 0)
        qk_ids_add(ids, &bos, 1);
    if (text.size > 0 && qk_encode(s->tokenizer, &s->work, text.at, text.size, ids, err) != 0)
        return -1;
    for (size_t i = before; i < ids->count; i++)
        if (ids->at[i] >= s->vocab_size)
            return qk_fail(err,
                           "the tokenizer gives token %u, but the model has a vocabulary of %lld",
                           (unsigned)ids->at[i], (long long)s->vocab_size);
    return 0;
}

static int need_prefix(const struct qk_scorer *s, struct qk_err *err)
{
    if (s->prefix >= 0 && s->prefix < s->vocab_size)
        return 0;
    return qk_fail(err,
                   "a text without context needs the token that ends documents, and neither the "
                   "checkpoint nor the tokenizer names one of the model's vocabulary");
}

/* Of context[..] and continuation[..] the last max_length + 1 tokens. */
static void fill(const struct qk_scorer *s, struct qk_request *r, const uint32_t *context,
                 int64_t context_count, const uint32_t *continuation, int64_t count)
{
    const int64_t all = context_count + count, most = s->max_length + 1;
    *r = (struct qk_request){
        .count = all < most ? all : most, .scored = count, .context = context_count};
    r->cut = all - r->count;
    if (r->scored > s->max_length) { /* the first one kept has nothing before it */
        r->unscored = r->scored - s->max_length;
        r->scored = s->max_length;
    }
    r->tokens = qk_alloc((size_t)r->count, sizeof *r->tokens);
    for (int64_t i = 0; i < r->count; i++) {
        const int64_t at = i + r->cut;
        r->tokens[i] =
            (int32_t)(at < context_count ? context[at] : continuation[at - context_count]);
    }
}

/* Nothing before the continuation but the prefix token, which may be its own first. */
static int pair_alone(struct qk_scorer *s, struct qk_request *r, struct qk_span continuation,
                      struct qk_err *err)
{
    struct qk_ids ids = {0};
    int bad = need_prefix(s, err) || encode(s, continuation, false, &ids, err);
    const uint32_t prefix = (uint32_t)s->prefix;
    const bool own = !bad && ids.count > 0 && ids.at[0] == prefix;
    if (!bad && ids.count < (own ? 2 : 1))
        bad = qk_fail(err, "there is no token to be scored");
    if (!bad)
        fill(s, r, &prefix, 1, ids.at + own, (int64_t)ids.count - own);
    qk_ids_free(&ids);
    return bad;
}

int qk_request_pair(struct qk_scorer *s, struct qk_request *r, struct qk_span context,
                    struct qk_span continuation, struct qk_err *err)
{
    *r = (struct qk_request){0};
    if (context.size == 0)
        return pair_alone(s, r, continuation, err);
    struct qk_buffer whole = {0};
    struct qk_ids alone = {0}, both = {0};
    qk_buffer_add(&whole, context.at, context.size);
    qk_buffer_add(&whole, continuation.at, continuation.size);
    int bad = encode(s, qk_py_rstrip(context), true, &alone, err) ||
              encode(s, (struct qk_span){whole.at, whole.size}, true, &both, err);
    if (!bad && both.count <= alone.count)
        bad = qk_fail(err, "its continuation has no token of its own");
    if (!bad && alone.count == 0)
        bad = qk_fail(err, "its context has no token");
    if (!bad)
        fill(s, r, alone.at, (int64_t)alone.count, both.at + alone.count,
             (int64_t)(both.count - alone.count));
    qk_buffer_free(&whole);
    qk_ids_free(&alone);
    qk_ids_free(&both);
    return bad;
}

static void add_window(const struct qk_scorer *s, struct qk_request **list, int64_t *count,
                       const uint32_t *tokens, int64_t n, int64_t scored)
{
    *list = qk_realloc(*list, (size_t)*count + 1, sizeof **list);
    fill(s, &(*list)[(*count)++], tokens, n - scored, tokens + n - scored, scored);
}

int qk_request_rolling(struct qk_scorer *s, struct qk_span text, struct qk_request **list,
                       int64_t *count, int64_t *tokens, struct qk_err *err)
{
    struct qk_ids ids = {0};
    if (need_prefix(s, err) != 0)
        return -1;
    const uint32_t prefix = (uint32_t)s->prefix;
    qk_ids_add(&ids, &prefix, 1);
    int bad = encode(s, text, true, &ids, err);
    /* ids: the prefix, then n tokens; window [.., end] scores what was not scored before */
    const int64_t n = bad ? 0 : (int64_t)ids.count - 1, most = s->max_length;
    for (int64_t done = 0; done < n;) {
        const int64_t scored = n - done < most ? n - done : most, end = done + scored + 1;
        const int64_t from = done == 0 ? 0 : end - (most + 1);
        add_window(s, list, count, ids.at + from, end - from, scored);
        done += scored;
    }
    *tokens = n;
    qk_ids_free(&ids);
    return bad;
}

/* ---- scoring ---- */

struct place {
    int64_t length, index;
};

static int longer_first(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    if (p->length != q->length)
        return p->length > q->length ? -1 : 1;
    return p->index < q->index ? -1 : 1;
}

/* Lay a request out as row b: inputs, and targets where they are scored. */
static void lay_out(struct qk_scorer *s, const struct qk_request *r, int64_t b, int64_t T)
{
    int32_t *tokens = s->tokens + b * T, *targets = s->targets + b * T;
    for (int64_t t = 0; t < T; t++) {
        const bool scored = t + 1 < r->count && t + 1 >= r->count - r->scored;
        tokens[t] = t + 1 < r->count ? r->tokens[t] : 0;
        targets[t] = scored ? r->tokens[t + 1] : -1;
    }
}

static int take_result(const struct qk_scorer *s, struct qk_request *r, int64_t b, int64_t T,
                       struct qk_err *err)
{
    double sum = 0;
    r->greedy = true;
    for (int64_t t = b * T + r->count - 1 - r->scored; t < b * T + r->count - 1; t++) {
        sum += (double)s->nll[t];
        r->greedy = r->greedy && s->best[t] == s->targets[t];
    }
    r->logp = -sum;
    return isfinite(sum) ? 0 : qk_fail(err, "a log-likelihood is not finite");
}

/* The requests at place[0 .. B-1], the first being the longest. */
static int score_batch(struct qk_scorer *s, struct qk_request *list, const struct place *place,
                       int64_t B, int64_t T, struct qk_err *err)
{
    for (int64_t b = 0; b < B; b++)
        lay_out(s, &list[place[b].index], b, T);
    if (qk_model_set_length(s->model, T, err) != 0 ||
        qk_model_forward(s->model, s->tokens, s->targets, B, s->nll, s->best, NULL, err) != 0)
        return -1;
    for (int64_t b = 0; b < B; b++)
        if (take_result(s, &list[place[b].index], b, T, err) != 0)
            return -1;
    return 0;
}

/* How many of them go together, at T positions each: no more than a quarter of the rows idle. */
static int64_t together(const struct qk_scorer *s, const struct place *place, int64_t count,
                        int64_t T)
{
    int64_t most = s->rows / T < MOST_SEQUENCES ? s->rows / T : MOST_SEQUENCES, B = 1;
    while (B < count && B < most && 4 * (place[B].length + ROUND) > 3 * T)
        B++;
    return B;
}

int qk_scorer_score(struct qk_scorer *s, struct qk_request *list, int64_t count, struct qk_err *err)
{
    struct place *order = qk_alloc((size_t)(count > 0 ? count : 1), sizeof *order);
    for (int64_t i = 0; i < count; i++)
        order[i] = (struct place){list[i].count - 1, i};
    qsort(order, (size_t)count, sizeof *order, longer_first);
    int bad = 0;
    for (int64_t i = 0, B; !bad && i < count; i += B) {
        int64_t T = (order[i].length + ROUND - 1) / ROUND * ROUND;
        T = T < s->max_length ? T : s->max_length;
        B = together(s, order + i, count - i, T);
        bad = score_batch(s, list, order + i, B, T, err);
    }
    free(order);
    return bad;
}
