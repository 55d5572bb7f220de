#include "model/transformer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compute/device.h"

const char *const qk_site_names[QK_SITES + 1] = {"pre_norm", "post_norm", "post_rope", "weight"};

/* What one layer leaves for its backward pass.  D model width, P = (H + 2G) hd. */
struct acts {
    struct qk_buf x;              /* [M, D] residual stream on entry */
    struct qk_buf rstd1, norm1;   /* [M], [M, D] */
    struct qk_buf qkv;            /* [M, P]: queries, keys, values side by side */
    struct qk_buf q, k;           /* [M, H hd], [M, G hd]: as attention sees them */
    struct qk_buf q_rstd, k_rstd; /* [M, H], [M, G] */
    struct qk_buf o, lse;         /* [M, H hd], [B, H, T] */
    struct qk_buf mid;            /* [M, D] residual stream between attention and feed-forward */
    struct qk_buf rstd2, norm2;   /* [M], [M, D] */
    struct qk_buf gate, up, f;    /* [M, F]; gate with swiglu only */
};
enum { ACTS = sizeof(struct acts) / sizeof(struct qk_buf) };

/* The weights of a layer, or their gradients: the same places in two arenas. */
struct layer_weights {
    struct qk_buf attn_norm, qkv, wo, q_norm, k_norm, ffn_norm, w_gate, w_up, w_down;
};

struct qk_model {
    struct qk_device *d;
    const struct qk_ops *ops;
    struct qk_config c;
    struct qk_params params;
    int64_t B, T;   /* most sequences at once; positions of each now */
    int64_t most_T; /* positions there is room for */
    bool train, recompute;
    int64_t fed; /* sequences of the last forward pass */

    struct qk_buf weights, gradients, angles;
    struct qk_buf tokens, targets, nll, best;
    struct qk_buf *layer_in; /* [n_layers + 1]: the residual stream before each layer, and after */
    struct acts *acts;       /* one per layer, or one for all (evaluation, recompute) */
    int64_t n_acts;
    struct qk_buf final_rstd, final_norm;
    struct qk_buf entropy, max_logit; /* [B, H], for taps */
    struct qk_buf watched;            /* [M, H hd]: post_norm rows for taps */
    /* backward only */
    struct qk_buf dx, dnorm, dqkv, dq, dk, d_o, df, du, dgate;

    struct qk_buf owned[64];
    int n_owned;
    struct qk_buf *large; /* the buffers of acts and layer_in */
    int64_t n_large;
};

static bool same(struct qk_buf a, struct qk_buf b)
{
    return a.base == b.base && a.at == b.at;
}

/* ---- places in the arenas ---- */

static struct qk_buf place(const struct qk_model *m, struct qk_buf arena, enum qk_tensor tensor,
                           int layer)
{
    const struct qk_param *param = qk_params_find(&m->params, tensor, layer);
    if (!param || (same(arena, m->gradients) && param->group == QK_GROUP_FROZEN))
        return QK_NONE;
    return qk_at(arena, param->offset);
}

static struct layer_weights layer_places(const struct qk_model *m, struct qk_buf arena, int layer)
{
    return (struct layer_weights){
        .attn_norm = place(m, arena, QK_ATTN_NORM, layer),
        .qkv = place(m, arena, QK_WQ, layer), /* wq, wk, wv are neighbours */
        .wo = place(m, arena, QK_WO, layer),
        .q_norm = place(m, arena, QK_Q_NORM, layer),
        .k_norm = place(m, arena, QK_K_NORM, layer),
        .ffn_norm = place(m, arena, QK_FFN_NORM, layer),
        .w_gate = place(m, arena, QK_W_GATE, layer),
        .w_up = place(m, arena, QK_W_UP, layer),
        .w_down = place(m, arena, QK_W_DOWN, layer),
    };
}

static struct qk_buf head_place(const struct qk_model *m, struct qk_buf arena)
{
    return place(m, arena, m->c.tie_embeddings ? QK_EMBED : QK_HEAD, -1);
}

/* ---- creation ---- */

static struct qk_buf take(struct qk_model *m, enum qk_role role, int64_t n)
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

static int64_t projected(const struct qk_config *c)
{
    return (c->n_heads + 2 * c->n_kv_heads) * qk_head_dim(c);
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
    a->f = take_large(m, act, M * c->d_ff);
}

static void make_backward(struct qk_model *m)
{
    const struct qk_config *c = &m->c;
    const int64_t M = m->B * m->T, hd = qk_head_dim(c);
    const enum qk_role act = QK_ROLE_ACTIVATION;
    m->dx = take(m, act, M * c->d_model);
    m->dnorm = take(m, act, M * c->d_model);
    m->dqkv = take(m, act, M * projected(c));
    m->dq = take(m, act, M * c->n_heads * hd);
    m->dk = take(m, act, M * c->n_kv_heads * hd);
    m->d_o = take(m, act, M * c->n_heads * hd);
    m->df = take(m, act, M * c->d_ff);
    m->du = take(m, act, M * c->d_ff);
    m->dgate = c->ffn == QK_SWIGLU ? take(m, act, M * c->d_ff) : QK_NONE;
}

static void make_layers(struct qk_model *m)
{
    const int64_t L = m->c.n_layers, streams = m->train ? L + 1 : 1;
    m->layer_in = qk_zalloc((size_t)L + 1, sizeof *m->layer_in);
    m->n_acts = m->train && !m->recompute ? L : 1;
    m->acts = qk_zalloc((size_t)m->n_acts, sizeof *m->acts);
    m->large = qk_zalloc((size_t)(L + 1 + m->n_acts * ACTS), sizeof *m->large);
    for (int64_t l = 0; l <= L; l++)
        m->layer_in[l] = l < streams ? take_large(m, QK_ROLE_ACTIVATION, m->B * m->T * m->c.d_model)
                                     : m->layer_in[0];
    for (int64_t l = 0; l < m->n_acts; l++)
        make_acts(m, &m->acts[l], m->layer_in[l]);
}

/* (cos, sin) of position * base^(-2j/hd) (Su et al. 2021, section 3.2.2), [T, hd/2, 2]. */
static void make_angles(struct qk_model *m)
{
    const int64_t half = qk_head_dim(&m->c) / 2, n = m->T * half * 2;
    float *angles = qk_alloc((size_t)n, sizeof *angles);
    for (int64_t t = 0; t < m->T; t++)
        for (int64_t j = 0; j < half; j++) {
            double frequency = pow(m->c.rope_base, -(double)j / (double)half);
            angles[(t * half + j) * 2] = (float)cos((double)t * frequency);
            angles[(t * half + j) * 2 + 1] = (float)sin((double)t * frequency);
        }
    m->angles = take(m, QK_ROLE_EXACT, n);
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
    qk_params_layout(&m->params, c);
    m->weights = take(m, QK_ROLE_PARAMETER, m->params.total);
    if (train)
        m->gradients = take(m, QK_ROLE_GRADIENT, m->params.trained);
    m->tokens = take(m, QK_ROLE_TOKENS, M);
    m->targets = take(m, QK_ROLE_TOKENS, M);
    m->best = take(m, QK_ROLE_TOKENS, M);
    m->nll = take(m, QK_ROLE_EXACT, M);
    m->final_rstd = take(m, QK_ROLE_EXACT, M);
    m->final_norm = take(m, QK_ROLE_ACTIVATION, M * c->d_model);
    m->entropy = take(m, QK_ROLE_EXACT, micro_batch * c->n_heads);
    m->max_logit = take(m, QK_ROLE_EXACT, micro_batch * c->n_heads);
    if (!train)
        m->watched = take(m, QK_ROLE_ACTIVATION, M * c->d_model);
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

int qk_model_load(struct qk_model *m, struct qk_checkpoint *from, struct qk_err *err)
{
    int bad = 0;
    for (int i = 0; !bad && i < m->params.count; i++) {
        const struct qk_param *param = &m->params.at[i];
        float *values = qk_alloc((size_t)param->count, sizeof *values);
        bad = qk_checkpoint_weights(from, param, values, err);
        if (!bad) {
            m->ops->put(m->d, qk_at(m->weights, param->offset), values, param->count);
            bad = m->ops->sync(m->d, err);
        }
        free(values);
    }
    return bad;
}

/* ---- forward ---- */

static struct qk_head_shape head_shape(const struct qk_model *m, int64_t B, int64_t heads)
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

static struct qk_attention_shape attention_shape(const struct qk_model *m, int64_t B)
{
    return (struct qk_attention_shape){.B = B,
                                       .T = m->T,
                                       .H = m->c.n_heads,
                                       .G = m->c.n_kv_heads,
                                       .hd = qk_head_dim(&m->c),
                                       .v_stride = projected(&m->c)};
}

/* Where keys and values begin in a row of qkv. */
static int64_t key_at(const struct qk_model *m)
{
    return m->c.n_heads * qk_head_dim(&m->c);
}

static int64_t value_at(const struct qk_model *m)
{
    return (m->c.n_heads + m->c.n_kv_heads) * qk_head_dim(&m->c);
}

static void attention_part(struct qk_model *m, const struct layer_weights *w, const struct acts *a,
                           int64_t B)
{
    const struct qk_ops *ops = m->ops;
    const int64_t M = B * m->T, D = m->c.d_model;
    ops->rmsnorm(m->d, a->norm1, a->rstd1, a->x, w->attn_norm, (float)m->c.norm_eps, M, D);
    ops->matmul(m->d, a->qkv, a->norm1, w->qkv, false, M, projected(&m->c), D);
    ops->head_prepare(m->d, a->q, a->q_rstd, a->qkv, w->q_norm, m->angles,
                      head_shape(m, B, m->c.n_heads));
    ops->head_prepare(m->d, a->k, a->k_rstd, qk_at(a->qkv, key_at(m)), w->k_norm, m->angles,
                      head_shape(m, B, m->c.n_kv_heads));
    ops->attention(m->d, a->o, a->lse, a->q, a->k, qk_at(a->qkv, value_at(m)),
                   attention_shape(m, B));
    if (!same(a->mid, a->x))
        ops->copy(m->d, a->mid, a->x, M * D);
    ops->matmul(m->d, a->mid, a->o, w->wo, true, M, D, key_at(m));
}

/* `out` may be a->mid itself (evaluation). */
static void feed_forward_part(struct qk_model *m, const struct layer_weights *w,
                              const struct acts *a, struct qk_buf out, int64_t B)
{
    const struct qk_ops *ops = m->ops;
    const int64_t M = B * m->T, D = m->c.d_model, F = m->c.d_ff;
    ops->rmsnorm(m->d, a->norm2, a->rstd2, a->mid, w->ffn_norm, (float)m->c.norm_eps, M, D);
    ops->matmul(m->d, a->up, a->norm2, w->w_up, false, M, F, D);
    if (m->c.ffn == QK_SWIGLU) {
        ops->matmul(m->d, a->gate, a->norm2, w->w_gate, false, M, F, D);
        ops->swiglu(m->d, a->f, a->gate, a->up, M * F);
    } else {
        ops->relu2(m->d, a->f, a->up, M * F);
    }
    if (qk_is_none(out))
        return;
    if (!same(out, a->mid))
        ops->copy(m->d, out, a->mid, M * D);
    ops->matmul(m->d, out, a->f, w->w_down, true, M, D, F);
}

/* Rows of `width` numbers out of rows of `stride`, to the host. */
static float *dense_rows(struct qk_model *m, const float *wide, int64_t at, int64_t M,
                         int64_t width)
{
    const int64_t stride = projected(&m->c);
    float *rows = qk_alloc((size_t)(M * width), sizeof *rows);
    for (int64_t r = 0; r < M; r++)
        memcpy(rows + r * width, wide + r * stride + at, (size_t)width * sizeof *rows);
    return rows;
}

static float *fetch(struct qk_model *m, struct qk_buf from, int64_t n)
{
    float *to = qk_alloc((size_t)n, sizeof *to);
    m->ops->get(m->d, to, from, n);
    return to;
}

/* Keys or queries after the norm and before the rotation; without a norm that is W x itself. */
static float *fetch_post_norm(struct qk_model *m, const struct acts *a, struct qk_buf gain,
                              int64_t at, int64_t heads, int64_t B)
{
    struct qk_head_shape shape = head_shape(m, B, heads);
    shape.rotate = false;
    struct qk_buf rstd = heads == m->c.n_heads ? a->q_rstd : a->k_rstd;
    m->ops->head_prepare(m->d, m->watched, rstd, qk_at(a->qkv, at), gain, m->angles, shape);
    return fetch(m, m->watched, B * m->T * heads * shape.hd);
}

static void show(struct qk_model *m, const struct qk_tap *tap, int layer,
                 const struct layer_weights *w, const struct acts *a, int64_t B)
{
    const int64_t M = B * m->T, H = m->c.n_heads, G = m->c.n_kv_heads, hd = qk_head_dim(&m->c);
    float *rows[QK_SITES][2] = {{NULL}};
    m->ops->attention_stats(m->d, m->entropy, m->max_logit, a->q, a->k, a->lse,
                            attention_shape(m, B));
    if (tap->sites & 1u << QK_SITE_PRE_NORM) {
        float *wide = fetch(m, a->qkv, M * projected(&m->c));
        rows[QK_SITE_PRE_NORM][0] = dense_rows(m, wide, 0, M, H * hd);
        rows[QK_SITE_PRE_NORM][1] = dense_rows(m, wide, key_at(m), M, G * hd);
        free(wide);
    }
    if (tap->sites & 1u << QK_SITE_POST_NORM) {
        rows[QK_SITE_POST_NORM][0] = fetch_post_norm(m, a, w->q_norm, 0, H, B);
        rows[QK_SITE_POST_NORM][1] = fetch_post_norm(m, a, w->k_norm, key_at(m), G, B);
    }
    if (tap->sites & 1u << QK_SITE_POST_ROPE) {
        rows[QK_SITE_POST_ROPE][0] = fetch(m, a->q, M * H * hd);
        rows[QK_SITE_POST_ROPE][1] = fetch(m, a->k, M * G * hd);
    }
    float *entropy = fetch(m, m->entropy, B * H), *max_logit = fetch(m, m->max_logit, B * H);
    struct qk_tap_view view = {
        .layer = layer, .B = B, .T = m->T, .entropy = entropy, .max_logit = max_logit};
    for (int s = 0; s < QK_SITES; s++)
        for (int i = 0; i < 2; i++)
            view.rows[s][i] = rows[s][i];
    if (m->ops->sync(m->d, &(struct qk_err){{0}}) == 0)
        tap->see(tap->self, &view);
    for (int s = 0; s < QK_SITES; s++)
        for (int i = 0; i < 2; i++)
            free(rows[s][i]);
    free(entropy);
    free(max_logit);
}

static struct acts *layer_acts(struct qk_model *m, int64_t layer)
{
    struct acts *a = &m->acts[m->n_acts > 1 ? layer : 0];
    a->x = m->layer_in[layer];
    return a;
}

static void run_layers(struct qk_model *m, int64_t B, const struct qk_tap *tap)
{
    for (int l = 0; l < m->c.n_layers; l++) {
        struct layer_weights w = layer_places(m, m->weights, l);
        struct acts *a = layer_acts(m, l);
        attention_part(m, &w, a, B);
        if (tap)
            show(m, tap, l, &w, a, B);
        feed_forward_part(m, &w, a, m->layer_in[l + 1], B);
    }
}

static void begin(struct qk_model *m, const int32_t *tokens, const int32_t *targets, int64_t B)
{
    const int64_t M = B * m->T;
    m->fed = B;
    m->ops->put_tokens(m->d, m->tokens, tokens, M);
    if (targets)
        m->ops->put_tokens(m->d, m->targets, targets, M);
    m->ops->embed(m->d, m->layer_in[0], m->tokens, place(m, m->weights, QK_EMBED, -1),
                  (float)m->c.embed_scale, M, m->c.d_model, m->c.vocab_size);
}

static void final_norm(struct qk_model *m, int64_t M)
{
    m->ops->rmsnorm(m->d, m->final_norm, m->final_rstd, m->layer_in[m->c.n_layers],
                    place(m, m->weights, QK_FINAL_NORM, -1), (float)m->c.norm_eps, M, m->c.d_model);
}

static int check_batch(const struct qk_model *m, const int32_t *tokens, int64_t B,
                       struct qk_err *err)
{
    if (B < 1 || B > m->B)
        return qk_fail(err, "a batch of %lld sequences, but there is room for %lld", (long long)B,
                       (long long)m->B);
    for (int64_t i = 0; i < B * m->T; i++)
        if (tokens[i] < 0 || tokens[i] >= m->c.vocab_size)
            return qk_fail(err, "token %d is outside the vocabulary of %lld", (int)tokens[i],
                           (long long)m->c.vocab_size);
    return 0;
}

int qk_model_forward(struct qk_model *m, const int32_t *tokens, const int32_t *targets, int64_t B,
                     float *nll, int32_t *best, const struct qk_tap *tap, struct qk_err *err)
{
    if (check_batch(m, tokens, B, err) != 0)
        return -1;
    const int64_t M = B * m->T;
    begin(m, tokens, targets, B);
    if (tap && qk_is_none(m->watched))
        m->watched = take(m, QK_ROLE_ACTIVATION, m->B * m->T * m->c.d_model);
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
    ops->matmul_dw(m->d, g->w_down, m->dx, a->f, M, D, F);
    ops->matmul_dx(m->d, m->df, m->dx, w->w_down, false, M, D, F);
    if (m->c.ffn == QK_SWIGLU)
        ops->swiglu_back(m->d, m->dgate, m->du, m->df, a->gate, a->up, M * F);
    else
        ops->relu2_back(m->d, m->du, m->df, a->up, M * F);
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
                        a->k, qk_at(a->qkv, value_at(m)), attention_shape(m, B));
    ops->head_prepare_back(m->d, m->dqkv, g->q_norm, m->dq, a->qkv, w->q_norm, a->q_rstd, m->angles,
                           head_shape(m, B, m->c.n_heads));
    ops->head_prepare_back(m->d, qk_at(m->dqkv, key_at(m)), g->k_norm, m->dk,
                           qk_at(a->qkv, key_at(m)), w->k_norm, a->k_rstd, m->angles,
                           head_shape(m, B, m->c.n_kv_heads));
    ops->matmul_dw(m->d, g->qkv, m->dqkv, a->norm1, M, P, D);
    ops->matmul_dx(m->d, m->dnorm, m->dqkv, w->qkv, false, M, P, D);
    ops->rmsnorm_back(m->d, m->dx, g->attn_norm, m->dnorm, a->x, w->attn_norm, a->rstd1, M, D);
}

static void run_layers_back(struct qk_model *m, int64_t B)
{
    for (int l = (int)m->c.n_layers - 1; l >= 0; l--) {
        struct layer_weights w = layer_places(m, m->weights, l);
        struct layer_weights g = layer_places(m, m->gradients, l);
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
    if (check_batch(m, tokens, B, err) != 0)
        return -1;
    const struct qk_ops *ops = m->ops;
    const int64_t M = B * m->T, D = m->c.d_model;
    const int L = (int)m->c.n_layers;
    begin(m, tokens, targets, B);
    run_layers(m, B, NULL);
    final_norm(m, M);
    ops->loss(m->d, m->nll, QK_NONE, m->dnorm, head_place(m, m->gradients), m->final_norm,
              head_place(m, m->weights), m->targets, grad_scale, M, D, m->c.vocab_size);
    ops->zero(m->d, m->dx, M * D);
    ops->rmsnorm_back(m->d, m->dx, place(m, m->gradients, QK_FINAL_NORM, -1), m->dnorm,
                      m->layer_in[L], place(m, m->weights, QK_FINAL_NORM, -1), m->final_rstd, M, D);
    run_layers_back(m, B);
    ops->embed_back(m->d, place(m, m->gradients, QK_EMBED, -1), m->dx, m->tokens,
                    (float)m->c.embed_scale, M, D, m->c.vocab_size);
    ops->get(m->d, nll, m->nll, M);
    return ops->sync(m->d, err);
}

/* ---- diagnosis ---- */

static bool all_finite(struct qk_model *m, struct qk_buf x, int64_t n)
{
    float *values = fetch(m, x, n);
    bool finite = true;
    for (int64_t i = 0; finite && i < n; i++)
        finite = isfinite(values[i]);
    free(values);
    return finite;
}

int qk_model_find_nonfinite(struct qk_model *m)
{
    const int64_t n = m->fed * m->T * m->c.d_model;
    m->ops->embed(m->d, m->layer_in[0], m->tokens, place(m, m->weights, QK_EMBED, -1),
                  (float)m->c.embed_scale, m->fed * m->T, m->c.d_model, m->c.vocab_size);
    if (!all_finite(m, m->layer_in[0], n))
        return -1;
    for (int l = 0; l < m->c.n_layers; l++) {
        struct layer_weights w = layer_places(m, m->weights, l);
        struct acts *a = layer_acts(m, l);
        attention_part(m, &w, a, m->fed);
        feed_forward_part(m, &w, a, m->layer_in[l + 1], m->fed);
        if (!all_finite(m, m->layer_in[l + 1], n))
            return l;
    }
    return (int)m->c.n_layers;
}
