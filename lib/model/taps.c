/* Keys and queries shown to whoever measures them. */
#include "model/transformer_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

const char *const qk_site_names[QK_SITES + 1] = {"pre_norm", "post_norm", "post_rope", "weight"};

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

float *qk_model_fetch(struct qk_model *m, struct qk_buf from, int64_t n)
{
    float *to = qk_alloc((size_t)n, sizeof *to);
    m->ops->get(m->d, to, from, n);
    return to;
}

/* Keys or queries after the norm and before the rotation; without a norm that is W x itself. */
static float *fetch_post_norm(struct qk_model *m, const struct acts *a, struct qk_buf gain,
                              int64_t at, int64_t heads, int64_t B)
{
    struct qk_head_shape shape = qk_model_head_shape(m, B, heads);
    shape.rotate = false;
    struct qk_buf rstd = heads == m->c.n_heads ? a->q_rstd : a->k_rstd;
    m->ops->head_prepare(m->d, m->watched, rstd, qk_at(a->qkv, at), gain, m->angles, shape);
    return qk_model_fetch(m, m->watched, B * m->T * heads * shape.hd);
}

void qk_model_show(struct qk_model *m, const struct qk_tap *tap, int layer,
                   const struct layer_weights *w, const struct acts *a, int64_t B)
{
    const int64_t M = B * m->T, H = m->c.n_heads, G = m->c.n_kv_heads, hd = qk_head_dim(&m->c);
    float *rows[QK_SITES][2] = {{NULL}};
    m->ops->attention_stats(m->d, m->entropy, m->max_logit, a->q, a->k, a->lse,
                            qk_model_attention_shape(m, B));
    if (tap->sites & 1u << QK_SITE_PRE_NORM) {
        float *wide = qk_model_fetch(m, a->qkv, M * projected(&m->c));
        rows[QK_SITE_PRE_NORM][0] = dense_rows(m, wide, 0, M, H * hd);
        rows[QK_SITE_PRE_NORM][1] = dense_rows(m, wide, key_at(m), M, G * hd);
        free(wide);
    }
    if (tap->sites & 1u << QK_SITE_POST_NORM) {
        rows[QK_SITE_POST_NORM][0] = fetch_post_norm(m, a, w->q_norm, 0, H, B);
        rows[QK_SITE_POST_NORM][1] = fetch_post_norm(m, a, w->k_norm, key_at(m), G, B);
    }
    if (tap->sites & 1u << QK_SITE_POST_ROPE) {
        rows[QK_SITE_POST_ROPE][0] = qk_model_fetch(m, a->q, M * H * hd);
        rows[QK_SITE_POST_ROPE][1] = qk_model_fetch(m, a->k, M * G * hd);
    }
    float *entropy = qk_model_fetch(m, m->entropy, B * H),
          *max_logit = qk_model_fetch(m, m->max_logit, B * H);
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
