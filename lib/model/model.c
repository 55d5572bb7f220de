/* A model's memory: where its weights lie, what it keeps, how it is filled. */
#include "model/transformer_internal.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* ---- places in the arenas ---- */

struct qk_buf qk_model_place(const struct qk_model *m, struct qk_buf arena, enum qk_tensor tensor,
                             int layer)
{
    const struct qk_param *param = qk_params_find(&m->params, tensor, layer);
    if (!param || (same(arena, m->gradients) && param->group == QK_GROUP_FROZEN))
        return QK_NONE;
    return qk_at(arena, param->offset);
}

struct layer_weights qk_model_layer_places(const struct qk_model *m, struct qk_buf arena, int layer)
{
    return (struct layer_weights){
        .attn_norm = qk_model_place(m, arena, QK_ATTN_NORM, layer),
        .qkv = qk_model_place(m, arena, QK_WQ, layer), /* wq, wk, wv are neighbours */
        .wo = qk_model_place(m, arena, QK_WO, layer),
        .q_norm = qk_model_place(m, arena, QK_Q_NORM, layer),
        .k_norm = qk_model_place(m, arena, QK_K_NORM, layer),
        .ffn_norm = qk_model_place(m, arena, QK_FFN_NORM, layer),
        .w_gate = qk_model_place(m, arena, QK_W_GATE, layer),
        .w_up = qk_model_place(m, arena, QK_W_UP, layer),
        .w_down = qk_model_place(m, arena, QK_W_DOWN, layer),
    };
}

/* ---- creation ---- */

struct qk_buf qk_model_take(struct qk_model *m, enum qk_role role, int64_t n)
{
    struct qk_buf b = QK_NONE;
    m->ops->alloc(m->d, &b, role, n);
    m->owned[m->n_owned++] = b;
    return b;
}

static struct qk_buf take_large(struct qk_model *m, enum qk_role role, int64_t n)
{
    struct qk_buf b = QK_NONE;
    m->ops->alloc(m->d, &b, role, n);
    m->large[m->n_large++] = b;
    return b;
}

static void make_acts(struct qk_model *m, struct acts *a, struct qk_buf x)
{
    const struct qk_config *c = &m->c;
    const int64_t M = m->B * m->T, D = c->d_model, hd = qk_head_dim(c);
    const enum qk_role act = QK_ROLE_ACTIVATION, exact = QK_ROLE_EXACT;
    a->x = x;
    a->rstd1 = take_large(m, exact, M);
    a->norm1 = take_large(m, act, M * D);
    a->qkv = take_large(m, act, M * projected(c));
    a->q = take_large(m, act, M * c->n_heads * hd);
    a->k = take_large(m, act, M * c->n_kv_heads * hd);
    a->q_rstd = take_large(m, exact, M * c->n_heads);
    a->k_rstd = take_large(m, exact, M * c->n_kv_heads);
    a->o = take_large(m, act, M * c->n_heads * hd);
    a->lse = take_large(m, exact, M * c->n_heads);
    a->mid = m->train ? take_large(m, act, M * D) : x;
    a->rstd2 = take_large(m, exact, M);
    a->norm2 = take_large(m, act, M * D);
    a->gate = c->ffn == QK_SWIGLU ? take_large(m, act, M * c->d_ff) : QK_NONE;
    a->up = take_large(m, act, M * c->d_ff);
    a->f = c->ffn == QK_SWIGLU ? take_large(m, act, M * c->d_ff) : QK_NONE;
}

static void make_backward(struct qk_model *m)
{
    const struct qk_config *c = &m->c;
    const int64_t M = m->B * m->T, hd = qk_head_dim(c);
    const enum qk_role act = QK_ROLE_ACTIVATION;
    m->dx = qk_model_take(m, act, M * c->d_model);
    m->dnorm = qk_model_take(m, act, M * c->d_model);
    m->dqkv = qk_model_take(m, act, M * projected(c));
    m->dq = qk_model_take(m, act, M * c->n_heads * hd);
    m->dk = qk_model_take(m, act, M * c->n_kv_heads * hd);
    m->d_o = qk_model_take(m, act, M * c->n_heads * hd);
    m->df = c->ffn == QK_SWIGLU ? qk_model_take(m, act, M * c->d_ff) : QK_NONE;
    m->du = qk_model_take(m, act, M * c->d_ff);
    m->dgate = c->ffn == QK_SWIGLU ? qk_model_take(m, act, M * c->d_ff) : QK_NONE;
}

static void make_layers(struct qk_model *m)
{
    const int64_t L = m->c.n_layers, streams = m->train ? L + 1 : 1;
    m->layer_in = qk_zalloc((size_t)L + 1, sizeof *m->layer_in);
    m->n_acts = m->train && !m->recompute ? L : 1;
    m->acts = qk_zalloc((size_t)m->n_acts, sizeof *m->acts);
    m->large = qk_zalloc((size_t)(L + 1 + m->n_acts * QK_ACTS), sizeof *m->large);
    for (int64_t l = 0; l <= L; l++)
        m->layer_in[l] = l < streams ? take_large(m, QK_ROLE_ACTIVATION, m->B * m->T * m->c.d_model)
                                     : m->layer_in[0];
    for (int64_t l = 0; l < m->n_acts; l++)
        make_acts(m, &m->acts[l], m->layer_in[l]);
}

/* Angles position * base^(-2j/hd) (Su et al. 2021, section 3.2.2) as ops.h asks for them. */
static void make_angles(struct qk_model *m)
{
    const int64_t hd = qk_head_dim(&m->c), n = m->T * 2 * hd;
    const bool halves = m->c.rope_style == QK_ROPE_HALF;
    float *angles = qk_alloc((size_t)n, sizeof *angles);
    for (int64_t t = 0; t < m->T; t++)
        for (int64_t j = 0; j < hd / 2; j++) {
            const double turn = (double)t * pow(m->c.rope_base, -(double)j / ((double)hd / 2));
            const int64_t a = halves ? j : 2 * j, b = halves ? j + hd / 2 : 2 * j + 1;
            float *same = angles + t * 2 * hd, *other = same + hd;
            same[a] = same[b] = (float)cos(turn);
            other[b] = (float)sin(turn);
            other[a] = -other[b];
        }
    m->angles = qk_model_take(m, QK_ROLE_EXACT, n);
    m->ops->put(m->d, m->angles, angles, n);
    m->ops->sync(m->d, &(struct qk_err){{0}}); /* `angles` may be in flight; failures are kept */
    free(angles);
}

struct qk_model *qk_model_create(struct qk_device *d, const struct qk_config *c,
                                 int64_t micro_batch, int64_t T, bool train, bool recompute,
                                 struct qk_err *err)
{
    if (T < 1 || T > c->seq_len || micro_batch < 1)
        return qk_fail_null(err,
                            "a batch of %lld sequences of %lld positions does not suit a model "
                            "with seq_len %lld",
                            (long long)micro_batch, (long long)T, (long long)c->seq_len);
    struct qk_model *m = qk_zalloc(1, sizeof *m);
    const int64_t M = micro_batch * T;
    *m = (struct qk_model){.d = d,
                           .ops = d->ops,
                           .c = *c,
                           .B = micro_batch,
                           .T = T,
                           .most_T = T,
                           .train = train,
                           .recompute = recompute};
    d->bf16 = c->dtype == QK_DTYPE_BF16; /* before anything is allocated */
    qk_params_layout(&m->params, c);
    m->weights = qk_model_take(m, QK_ROLE_PARAMETER, m->params.total);
    if (train)
        m->gradients = qk_model_take(m, QK_ROLE_GRADIENT, m->params.trained);
    m->tokens = qk_model_take(m, QK_ROLE_TOKENS, M);
    m->targets = qk_model_take(m, QK_ROLE_TOKENS, M);
    m->best = qk_model_take(m, QK_ROLE_TOKENS, M);
    m->nll = qk_model_take(m, QK_ROLE_EXACT, M);
    m->final_rstd = qk_model_take(m, QK_ROLE_EXACT, M);
    m->final_norm = qk_model_take(m, QK_ROLE_ACTIVATION, M * c->d_model);
    m->entropy = qk_model_take(m, QK_ROLE_EXACT, micro_batch * c->n_heads);
    m->max_logit = qk_model_take(m, QK_ROLE_EXACT, micro_batch * c->n_heads);
    m->watched = qk_model_take(m, QK_ROLE_ACTIVATION, M * c->d_model);
    make_angles(m);
    make_layers(m);
    if (train)
        make_backward(m);
    if (m->ops->sync(d, err) == 0)
        return m;
    qk_model_free(m);
    return NULL;
}

void qk_model_free(struct qk_model *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->n_owned; i++)
        m->ops->release(m->d, m->owned[i]);
    for (int64_t i = 0; i < m->n_large; i++)
        m->ops->release(m->d, m->large[i]);
    free(m->large);
    free(m->layer_in);
    free(m->acts);
    qk_params_free(&m->params);
    free(m);
}

int qk_model_set_length(struct qk_model *m, int64_t T, struct qk_err *err)
{
    if (T < 1 || T > m->most_T)
        return qk_fail(err, "sequences of %lld positions, but the model has room for %lld",
                       (long long)T, (long long)m->most_T);
    m->T = T; /* every buffer is dense over B*T rows, and angles [T, ...] is a prefix */
    return 0;
}

const struct qk_params *qk_model_params(const struct qk_model *m)
{
    return &m->params;
}

struct qk_buf qk_model_weights(const struct qk_model *m)
{
    return m->weights;
}

struct qk_buf qk_model_gradients(const struct qk_model *m)
{
    return m->gradients;
}

void qk_model_initialize(struct qk_model *m)
{
    for (int i = 0; i < m->params.count; i++) {
        const struct qk_param *param = &m->params.at[i];
        float *values = qk_alloc((size_t)param->count, sizeof *values);
        qk_param_initialize(param, &m->c, values);
        m->ops->put(m->d, qk_at(m->weights, param->offset), values, param->count);
        m->ops->sync(m->d, &(struct qk_err){{0}});
        free(values);
    }
}

int64_t qk_model_largest(const struct qk_model *m, bool layers_alone)
{
    int64_t most = 1;
    for (int i = 0; i < m->params.count; i++)
        if ((!layers_alone || m->params.at[i].layer >= 0) && m->params.at[i].count > most)
            most = m->params.at[i].count;
    return most;
}

int qk_model_load_tensor(struct qk_model *m, const struct qk_param *to, struct qk_checkpoint *from,
                         const struct qk_param *param, float *room, struct qk_err *err)
{
    if (qk_checkpoint_weights(from, param, room, err) != 0)
        return -1;
    m->ops->put(m->d, qk_at(m->weights, to->offset), room, to->count);
    return m->ops->sync(m->d, err);
}

int qk_model_load(struct qk_model *m, struct qk_checkpoint *from, struct qk_err *err)
{
    const size_t bytes = (size_t)qk_model_largest(m, false) * sizeof(float);
    float *room = qk_big_alloc(bytes);
    int bad = 0;
    for (int i = 0; !bad && i < m->params.count; i++)
        bad = qk_model_load_tensor(m, &m->params.at[i], from, &m->params.at[i], room, err);
    qk_big_free(room, bytes);
    return bad;
}
