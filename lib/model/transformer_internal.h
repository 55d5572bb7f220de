/* What the files of the transformer share: the model's insides.  Only model.c, transformer.c,
 * stream.c and taps.c include this. */
#ifndef QK_MODEL_TRANSFORMER_INTERNAL_H
#define QK_MODEL_TRANSFORMER_INTERNAL_H

#include "compute/device.h"
#include "model/transformer.h"

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
    struct qk_buf up, gate, f;    /* [M, F]; gate and f with swiglu only */
};
enum { QK_ACTS = sizeof(struct acts) / sizeof(struct qk_buf) };

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

static inline bool same(struct qk_buf a, struct qk_buf b)
{
    return a.base == b.base && a.at == b.at;
}
static inline int64_t projected(const struct qk_config *c)
{
    return (c->n_heads + 2 * c->n_kv_heads) * qk_head_dim(c);
}
/* Where keys and values begin in a row of qkv. */
static inline int64_t key_at(const struct qk_model *m)
{
    return m->c.n_heads * qk_head_dim(&m->c);
}

static inline int64_t value_at(const struct qk_model *m)
{
    return (m->c.n_heads + m->c.n_kv_heads) * qk_head_dim(&m->c);
}
/* Where a tensor, the tensors of a layer, or the head lie in an arena: weights or gradients. */
struct qk_buf qk_model_place(const struct qk_model *m, struct qk_buf arena, enum qk_tensor tensor,
                             int layer);
struct layer_weights qk_model_layer_places(const struct qk_model *m, struct qk_buf arena,
                                           int layer);

/* A buffer that is released with the model. */
struct qk_buf qk_model_take(struct qk_model *m, enum qk_role role, int64_t n);
/* n numbers on the host, malloc'd. */
float *qk_model_fetch(struct qk_model *m, struct qk_buf from, int64_t n);

struct qk_head_shape qk_model_head_shape(const struct qk_model *m, int64_t B, int64_t heads);
struct qk_attention_shape qk_model_attention_shape(const struct qk_model *m, int64_t B);

/* A tensor of the model from one of a checkpoint, of the same shape; `room` for its numbers. */
int qk_model_load_tensor(struct qk_model *m, const struct qk_param *to, struct qk_checkpoint *from,
                         const struct qk_param *param, float *room, struct qk_err *err);
/* Numbers of the largest tensor, of those within layers or of all. */
int64_t qk_model_largest(const struct qk_model *m, bool layers_alone);

/* Tokens to the device, and the embedding of them into layer_in[0]. */
void qk_model_begin(struct qk_model *m, const int32_t *tokens, const int32_t *targets, int64_t B);
/* layer_in[layer] -> layer_in[layer + 1]; a tap hears that it is layer `shown`. */
void qk_model_run_layer(struct qk_model *m, int layer, int shown, int64_t B,
                        const struct qk_tap *tap);

/* Show a layer to a tap, after its attention. */
void qk_model_show(struct qk_model *m, const struct qk_tap *tap, int layer,
                   const struct layer_weights *w, const struct acts *a, int64_t B);

#endif
