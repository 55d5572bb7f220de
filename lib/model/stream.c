#include "model/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/transformer_internal.h"

struct qk_stream {
    struct qk_device *d;
    struct qk_checkpoint *from;
    struct qk_model *one; /* a model of one layer, whose vocabulary is the tokens that occur */
    struct qk_buf x;      /* [n_seq, T, D]: the residual streams between layers */
    int64_t n_seq, T;
    float *room; /* for a tensor on its way */
    size_t room_bytes;
    int layer; /* whose weights are there; -1 before the first */
};

/* ---- the tokens that occur ---- */

/* place[token] = its row in the small embedding, -1 for tokens that do not occur; their count, or
 * -1 when a token is outside the vocabulary. */
static int64_t number_tokens(int32_t *place, int64_t V, const int32_t *tokens, int64_t count)
{
    int64_t used = 0;
    for (int64_t v = 0; v < V; v++)
        place[v] = -1;
    for (int64_t i = 0; i < count; i++) {
        if (tokens[i] < 0 || tokens[i] >= V)
            return -1;
        place[tokens[i]] = 0;
    }
    for (int64_t v = 0; v < V; v++)
        if (place[v] == 0)
            place[v] = (int32_t)used++;
    return used;
}

enum { PIECE = 1 << 20 }; /* floats of a table read at once */

/* Rows of a table from its file, piece by piece; those with a place go to the device at `to`.
 * Without places all are only looked at. */
static int read_table(struct qk_stream *s, const struct qk_param *param, const int32_t *place,
                      struct qk_buf to, struct qk_err *err)
{
    const int64_t V = param->dims[0], D = param->dims[1], most = D < PIECE ? PIECE / D : 1;
    const struct qk_ops *ops = s->d->ops;
    float *rows = qk_alloc((size_t)(most * D), sizeof *rows);
    int bad = 0;
    for (int64_t first = 0; !bad && first < V; first += most) {
        const int64_t count = V - first < most ? V - first : most;
        int64_t used = 0, at = -1;
        bad = qk_checkpoint_rows(s->from, param, first, count, rows, err);
        for (int64_t r = 0; !bad && place && r < count; r++) { /* places ascend: one dense run */
            if (place[first + r] < 0)
                continue;
            at = at < 0 ? place[first + r] : at;
            memmove(rows + used++ * D, rows + r * D, (size_t)D * sizeof *rows);
        }
        if (!bad && used) {
            ops->put(s->d, qk_at(to, at * D), rows, used * D);
            bad = ops->sync(s->d, err);
        }
    }
    free(rows);
    return bad;
}

/* ---- beginning ---- */

/* The residual streams of all sequences: rows of the small embedding, which is there. */
static int embed(struct qk_stream *s, const int32_t *tokens, const int32_t *place,
                 struct qk_err *err)
{
    const int64_t T = s->T, n = T * s->one->c.d_model;
    int32_t *placed = qk_alloc((size_t)T, sizeof *placed);
    int bad = 0;
    for (int64_t i = 0; !bad && i < s->n_seq; i++) {
        for (int64_t t = 0; t < T; t++)
            placed[t] = place[tokens[i * T + t]];
        qk_model_begin(s->one, placed, NULL, 1);
        s->d->ops->copy(s->d, qk_at(s->x, i * n), s->one->layer_in[0], n);
        bad = s->d->ops->sync(s->d, err);
    }
    free(placed);
    return bad;
}

/* What no layer needs is read for its numbers' sake. */
static int read_outside_layers(struct qk_stream *s, const int32_t *place, struct qk_err *err)
{
    const struct qk_param *head = qk_params_find(&s->from->params, QK_HEAD, -1);
    const struct qk_buf table = qk_model_place(s->one, s->one->weights, QK_EMBED, -1);
    if (read_table(s, qk_params_find(&s->from->params, QK_EMBED, -1), place, table, err) != 0 ||
        (head && read_table(s, head, NULL, QK_NONE, err) != 0))
        return -1;
    const struct qk_param *norm = qk_params_find(&s->one->params, QK_FINAL_NORM, -1);
    return qk_model_load_tensor(s->one, norm, s->from,
                                qk_params_find(&s->from->params, QK_FINAL_NORM, -1), s->room, err);
}

static int begin(struct qk_stream *s, const int32_t *tokens, struct qk_err *err)
{
    struct qk_config c = s->from->config;
    const int64_t V = c.vocab_size, count = s->n_seq * s->T;
    int32_t *place = qk_alloc((size_t)V, sizeof *place);
    c.n_layers = 1;
    c.tie_embeddings = true;
    c.vocab_size = number_tokens(place, V, tokens, count);
    int bad = c.vocab_size < 1 ? qk_fail(err, "a token of the batch is outside the vocabulary") : 0;
    if (!bad) {
        s->one = qk_model_create(s->d, &c, 1, s->T, false, false, err);
        bad = s->one ? 0 : -1;
    }
    if (!bad) {
        const int64_t most = qk_model_largest(s->one, true);
        s->room_bytes = (size_t)(most > c.d_model ? most : c.d_model) * sizeof *s->room;
        s->room = qk_big_alloc(s->room_bytes);
        s->d->ops->alloc(s->d, &s->x, QK_ROLE_ACTIVATION, count * c.d_model);
        bad = s->d->ops->sync(s->d, err) != 0 || read_outside_layers(s, place, err) != 0 ||
              embed(s, tokens, place, err) != 0;
    }
    free(place);
    return bad ? -1 : 0;
}

struct qk_stream *qk_stream_open(struct qk_device *d, struct qk_checkpoint *from,
                                 const int32_t *tokens, int64_t n_seq, int64_t T,
                                 struct qk_err *err)
{
    struct qk_stream *s = qk_zalloc(1, sizeof *s);
    *s = (struct qk_stream){.d = d, .from = from, .n_seq = n_seq, .T = T, .layer = -1};
    if (begin(s, tokens, err) == 0)
        return s;
    qk_stream_close(s);
    return NULL;
}

void qk_stream_close(struct qk_stream *s)
{
    if (!s)
        return;
    s->d->ops->release(s->d, s->x);
    qk_model_free(s->one);
    qk_big_free(s->room, s->room_bytes);
    free(s);
}

/* ---- layer by layer ---- */

int qk_stream_load(struct qk_stream *s, int layer, struct qk_err *err)
{
    const struct qk_params *table = &s->one->params;
    s->layer = layer;
    for (int i = 0; i < table->count; i++) {
        const struct qk_param *to = &table->at[i];
        if (to->layer == 0 &&
            qk_model_load_tensor(s->one, to, s->from,
                                 qk_params_find(&s->from->params, to->tensor, layer), s->room,
                                 err) != 0)
            return -1;
    }
    return 0;
}

int qk_stream_run(struct qk_stream *s, int64_t sequence, const struct qk_tap *tap,
                  struct qk_err *err)
{
    struct qk_model *m = s->one;
    const int64_t n = s->T * m->c.d_model;
    const struct qk_buf x = qk_at(s->x, sequence * n);
    m->ops->copy(m->d, m->layer_in[0], x, n);
    qk_model_run_layer(m, 0, s->layer, 1, tap);
    m->ops->copy(m->d, x, m->layer_in[1], n);
    return m->ops->sync(m->d, err);
}
