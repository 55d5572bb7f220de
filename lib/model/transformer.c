#include "model/transformer_internal.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

static struct qk_buf head_place(const struct qk_model *m, struct qk_buf arena)
{
    return qk_model_place(m, arena, m->c.tie_embeddings ? QK_EMBED : QK_HEAD, -1);
}

struct qk_head_shape qk_model_head_shape(const struct qk_model *m, int64_t B, int64_t heads)
{
    return (struct qk_head_shape){
        .B = B,
        .T = m->T,
        .heads = heads,
        .hd = qk_head_dim(&m->c),
        .x_stride = projected(&m->c),
        .normalise = m->c.qk_norm != QK_NORM_NONE,
        .gain_size = m->c.qk_norm == QK_NORM_SCALAR ? 1 : qk_head_dim(&m->c),
        .eps = (float)m->c.norm_eps,
        .rotate = true,
        .half = m->c.rope_style == QK_ROPE_HALF,
    };
}
struct qk_attention_shape qk_model_attention_shape(const struct qk_model *m, int64_t B)
{
    return (struct qk_attention_shape){.B = B,
                                       .T = m->T,
                                       .H = m->c.n_heads,
                                       .G = m->c.n_kv_heads,
                                       .hd = qk_head_dim(&m->c),
                                       .v_stride = projected(&m->c)};
}
/* ---- forward ---- */

static void attention_part(struct qk_model *m, const struct layer_weights *w, const struct acts *a,
                           int64_t B)
{
    const struct qk_ops *ops = m->ops;
    const int64_t M = B * m->T, D = m->c.d_model;
    ops->rmsnorm(m->d, a->norm1, a->rstd1, a->x, w->attn_norm, (float)m->c.norm_eps, M, D);
    ops->matmul(m->d, a->qkv, QK_NONE, a->norm1, w->qkv, M, projected(&m->c), D);
    ops->head_prepare(m->d, a->q, a->q_rstd, a->qkv, w->q_norm, m->angles,
                      qk_model_head_shape(m, B, m->c.n_heads));
    ops->head_prepare(m->d, a->k, a->k_rstd, qk_at(a->qkv, key_at(m)), w->k_norm, m->angles,
                      qk_model_head_shape(m, B, m->c.n_kv_heads));
    ops->attention(m->d, a->o, a->lse, a->q, a->k, qk_at(a->qkv, value_at(m)),
                   qk_model_attention_shape(m, B));
    ops->matmul(m->d, a->mid, a->x, a->o, w->wo, M, D, key_at(m));
}

/* `out` may be a->mid itself (evaluation). */
static void feed_forward_part(struct qk_model *m, const struct layer_weights *w,
                              const struct acts *a, struct qk_buf out, int64_t B)
{
    const struct qk_ops *ops = m->ops;
    const int64_t M = B * m->T, D = m->c.d_model, F = m->c.d_ff;
    ops->rmsnorm(m->d, a->norm2, a->rstd2, a->mid, w->ffn_norm, (float)m->c.norm_eps, M, D);
    ops->matmul(m->d, a->up, QK_NONE, a->norm2, w->w_up, M, F, D);
    if (m->c.ffn == QK_SWIGLU) {
        ops->matmul(m->d, a->gate, QK_NONE, a->norm2, w->w_gate, M, F, D);
        ops->swiglu(m->d, a->f, a->gate, a->up, M * F);
    } else {
        ops->relu2(m->d, a->up, M * F);
    }
    if (qk_is_none(out))
        return;
    if (m->c.ffn == QK_SWIGLU)
        ops->matmul(m->d, out, a->mid, a->f, w->w_down, M, D, F);
    else
        ops->relu2_matmul(m->d, out, a->mid, a->up, w->w_down, M, D, F);
}

static struct acts *layer_acts(struct qk_model *m, int64_t layer)
{
    struct acts *a = &m->acts[m->n_acts > 1 ? layer : 0];
    a->x = m->layer_in[layer];
    return a;
}

void qk_model_run_layer(struct qk_model *m, int layer, int shown, int64_t B,
                        const struct qk_tap *tap)
{
    struct layer_weights w = qk_model_layer_places(m, m->weights, layer);
    struct acts *a = layer_acts(m, layer);
    attention_part(m, &w, a, B);
    if (tap)
        qk_model_show(m, tap, shown, &w, a, B);
    feed_forward_part(m, &w, a, m->layer_in[layer + 1], B);
}

static void run_layers(struct qk_model *m, int64_t B, const struct qk_tap *tap)
{
    for (int l = 0; l < m->c.n_layers; l++)
        qk_model_run_layer(m, l, l, B, tap);
}

void qk_model_begin(struct qk_model *m, const int32_t *tokens, const int32_t *targets, int64_t B)
{
    const int64_t M = B * m->T;
    m->fed = B;
    m->ops->put_tokens(m->d, m->tokens, tokens, M);
    if (targets)
        m->ops->put_tokens(m->d, m->targets, targets, M);
    m->ops->embed(m->d, m->layer_in[0], m->tokens, qk_model_place(m, m->weights, QK_EMBED, -1),
                  (float)m->c.embed_scale, M, m->c.d_model, m->c.vocab_size);
}

static void final_norm(struct qk_model *m, int64_t M)
{
    m->ops->rmsnorm(m->d, m->final_norm, m->final_rstd, m->layer_in[m->c.n_layers],
                    qk_model_place(m, m->weights, QK_FINAL_NORM, -1), (float)m->c.norm_eps, M,
                    m->c.d_model);
}

/* Every buffer is dense over rows but those of taps, which have one number per sequence. */
static int64_t most_sequences(const struct qk_model *m, bool tapped)
{
    return tapped ? m->B : m->B * m->most_T / m->T;
}

static int check_batch(const struct qk_model *m, const int32_t *tokens, int64_t B, int64_t most,
                       struct qk_err *err)
{
    if (B < 1 || B > most)
        return qk_fail(err, "a batch of %lld sequences, but there is room for %lld", (long long)B,
                       (long long)most);
    for (int64_t i = 0; i < B * m->T; i++)
        if (tokens[i] < 0 || tokens[i] >= m->c.vocab_size)
            return qk_fail(err, "token %d is outside the vocabulary of %lld", (int)tokens[i],
                           (long long)m->c.vocab_size);
    return 0;
}

int qk_model_forward(struct qk_model *m, const int32_t *tokens, const int32_t *targets, int64_t B,
                     float *nll, int32_t *best, const struct qk_tap *tap, struct qk_err *err)
{
    if (check_batch(m, tokens, B, most_sequences(m, tap != NULL), err) != 0)
        return -1;
    const int64_t M = B * m->T;
    qk_model_begin(m, tokens, targets, B);
    run_layers(m, B, tap);
    if (nll) {
        final_norm(m, M);
        m->ops->loss(m->d, m->nll, best ? m->best : QK_NONE, QK_NONE, QK_NONE, m->final_norm,
                     head_place(m, m->weights), m->targets, 0, M, m->c.d_model, m->c.vocab_size);
        m->ops->get(m->d, nll, m->nll, M);
        if (best)
            m->ops->get_tokens(m->d, best, m->best, M);
    }
    return m->ops->sync(m->d, err);
}

/* ---- backward: m->dx holds the gradient of the residual stream, from the last layer down ---- */

static void feed_forward_back(struct qk_model *m, const struct layer_weights *w,
                              const struct layer_weights *g, const struct acts *a, int64_t B)
{
    const struct qk_ops *ops = m->ops;
    const int64_t M = B * m->T, D = m->c.d_model, F = m->c.d_ff;
    if (m->c.ffn == QK_SWIGLU) {
        ops->matmul_dw(m->d, g->w_down, m->dx, a->f, M, D, F);
        ops->matmul_dx(m->d, m->df, m->dx, w->w_down, false, M, D, F);
        ops->swiglu_back(m->d, m->dgate, m->du, m->df, a->gate, a->up, M * F);
    } else {
        ops->relu2_matmul_back(m->d, m->du, g->w_down, m->dx, w->w_down, a->up, M, D, F);
    }
    ops->matmul_dw(m->d, g->w_up, m->du, a->norm2, M, F, D);
    ops->matmul_dx(m->d, m->dnorm, m->du, w->w_up, false, M, F, D);
    if (m->c.ffn == QK_SWIGLU) {
        ops->matmul_dw(m->d, g->w_gate, m->dgate, a->norm2, M, F, D);
        ops->matmul_dx(m->d, m->dnorm, m->dgate, w->w_gate, true, M, F, D);
    }
    ops->rmsnorm_back(m->d, m->dx, g->ffn_norm, m->dnorm, a->mid, w->ffn_norm, a->rstd2, M, D);
}

static void attention_part_back(struct qk_model *m, const struct layer_weights *w,
                                const struct layer_weights *g, const struct acts *a, int64_t B)
{
    const struct qk_ops *ops = m->ops;
    const int64_t M = B * m->T, D = m->c.d_model, P = projected(&m->c);
    ops->matmul_dw(m->d, g->wo, m->dx, a->o, M, D, key_at(m));
    ops->matmul_dx(m->d, m->d_o, m->dx, w->wo, false, M, D, key_at(m));
    ops->attention_back(m->d, m->dq, m->dk, qk_at(m->dqkv, value_at(m)), m->d_o, a->o, a->lse, a->q,
                        a->k, qk_at(a->qkv, value_at(m)), qk_model_attention_shape(m, B));
    ops->head_prepare_back(m->d, m->dqkv, g->q_norm, m->dq, a->qkv, w->q_norm, a->q_rstd, m->angles,
                           qk_model_head_shape(m, B, m->c.n_heads));
    ops->head_prepare_back(m->d, qk_at(m->dqkv, key_at(m)), g->k_norm, m->dk,
                           qk_at(a->qkv, key_at(m)), w->k_norm, a->k_rstd, m->angles,
                           qk_model_head_shape(m, B, m->c.n_kv_heads));
    ops->matmul_dw(m->d, g->qkv, m->dqkv, a->norm1, M, P, D);
    ops->matmul_dx(m->d, m->dnorm, m->dqkv, w->qkv, false, M, P, D);
    ops->rmsnorm_back(m->d, m->dx, g->attn_norm, m->dnorm, a->x, w->attn_norm, a->rstd1, M, D);
}

static void run_layers_back(struct qk_model *m, int64_t B)
{
    for (int l = (int)m->c.n_layers - 1; l >= 0; l--) {
        struct layer_weights w = qk_model_layer_places(m, m->weights, l);
        struct layer_weights g = qk_model_layer_places(m, m->gradients, l);
        struct acts *a = layer_acts(m, l);
        if (m->recompute) { /* the last layer's are still there, but a rule without exceptions */
            attention_part(m, &w, a, B);
            feed_forward_part(m, &w, a, QK_NONE, B);
        }
        feed_forward_back(m, &w, &g, a, B);
        attention_part_back(m, &w, &g, a, B);
    }
}

int qk_model_train(struct qk_model *m, const int32_t *tokens, const int32_t *targets, int64_t B,
                   float grad_scale, float *nll, struct qk_err *err)
{
    if (check_batch(m, tokens, B, m->B, err) != 0)
        return -1;
    const struct qk_ops *ops = m->ops;
    const int64_t M = B * m->T, D = m->c.d_model;
    const int L = (int)m->c.n_layers;
    qk_model_begin(m, tokens, targets, B);
    run_layers(m, B, NULL);
    final_norm(m, M);
    ops->loss(m->d, m->nll, QK_NONE, m->dnorm, head_place(m, m->gradients), m->final_norm,
              head_place(m, m->weights), m->targets, grad_scale, M, D, m->c.vocab_size);
    ops->zero(m->d, m->dx, M * D);
    ops->rmsnorm_back(m->d, m->dx, qk_model_place(m, m->gradients, QK_FINAL_NORM, -1), m->dnorm,
                      m->layer_in[L], qk_model_place(m, m->weights, QK_FINAL_NORM, -1),
                      m->final_rstd, M, D);
    run_layers_back(m, B);
    ops->embed_back(m->d, qk_model_place(m, m->gradients, QK_EMBED, -1), m->dx, m->tokens,
                    (float)m->c.embed_scale, M, D, m->c.vocab_size);
    ops->get(m->d, nll, m->nll, M);
    return ops->sync(m->d, err);
}

/* ---- diagnosis ---- */

static bool all_finite(struct qk_model *m, struct qk_buf x, int64_t n)
{
    float *values = qk_model_fetch(m, x, n);
    bool finite = true;
    for (int64_t i = 0; finite && i < n; i++)
        finite = isfinite(values[i]);
    free(values);
    return finite;
}

int qk_model_find_nonfinite(struct qk_model *m)
{
    const int64_t n = m->fed * m->T * m->c.d_model;
    m->ops->embed(m->d, m->layer_in[0], m->tokens, qk_model_place(m, m->weights, QK_EMBED, -1),
                  (float)m->c.embed_scale, m->fed * m->T, m->c.d_model, m->c.vocab_size);
    if (!all_finite(m, m->layer_in[0], n))
        return -1;
    for (int l = 0; l < m->c.n_layers; l++) {
        struct layer_weights w = qk_model_layer_places(m, m->weights, l);
        struct acts *a = layer_acts(m, l);
        attention_part(m, &w, a, m->fed);
        feed_forward_part(m, &w, a, m->layer_in[l + 1], m->fed);
        if (!all_finite(m, m->layer_in[l + 1], n))
            return l;
    }
    return (int)m->c.n_layers;
}
