/* The transformer, written once over qk_ops: forward, backward, and taps for measurement.
 *
 *   x = embed_scale * embed[token];  per layer  x += wo attn(norm(x)),  x += w_down f(norm(x));
 *   logits = head norm(x).  Queries and keys: RMSNorm with gain (or none), then RoPE.
 */
#ifndef QK_MODEL_TRANSFORMER_H
#define QK_MODEL_TRANSFORMER_H

#include "compute/ops.h"
#include "model/checkpoint.h"
#include "model/params.h"

/* Places where keys and queries can be watched. */
enum qk_site { QK_SITE_PRE_NORM, QK_SITE_POST_NORM, QK_SITE_POST_ROPE, QK_SITES };
extern const char *const qk_site_names[QK_SITES + 1]; /* "pre_norm" ...; [QK_SITES] = "weight" */

/* What a tap sees of one layer, after its attention: host arrays, valid during the call.
 * rows[site][0] are queries [B*T, H*hd], rows[site][1] keys [B*T, G*hd], float32, dense, rows in
 * (sequence, position) order; NULL where the site was not asked for.  entropy and max_logit are
 * [B, H] as attention_stats gives them. */
struct qk_tap_view {
    int layer;
    int64_t B, T;
    const float *rows[QK_SITES][2];
    const float *entropy, *max_logit;
};
struct qk_tap {
    unsigned sites; /* bit per qk_site */
    void (*see)(void *self, const struct qk_tap_view *view);
    void *self;
};

struct qk_model; /* weights (and gradients) on a device, and the activations of one micro-batch */

/* `micro_batch` sequences of T <= config.seq_len positions at once.  train: with gradients and
 * room for the backward pass (`recompute`: only layer inputs are kept).  Weights are zero. */
struct qk_model *qk_model_create(struct qk_device *d, const struct qk_config *c,
                                 int64_t micro_batch, int64_t T, bool train, bool recompute,
                                 struct qk_err *err);
void qk_model_free(struct qk_model *m);

/* From now on sequences have T positions; no more than at creation.  Of shorter ones a forward
 * pass without a tap takes as many more as fit into the same number of rows. */
int qk_model_set_length(struct qk_model *m, int64_t T, struct qk_err *err);

const struct qk_params *qk_model_params(const struct qk_model *m);
struct qk_buf qk_model_weights(const struct qk_model *m); /* the arena, params.h order */
struct qk_buf
qk_model_gradients(const struct qk_model *m); /* `trained` floats; none unless train */

/* Fill the weights from the generator, or from a checkpoint. */
void qk_model_initialize(struct qk_model *m);
int qk_model_load(struct qk_model *m, struct qk_checkpoint *from, struct qk_err *err);

/* Forward over B sequences, B <= micro_batch (or more of shorter ones): nll[B*T] of `targets` (host
 * array; negative targets cost 0).  `best` may be NULL.  With `tap`, layers are shown in order; nll
 * may then be NULL and targets too: the loss is not computed. */
int qk_model_forward(struct qk_model *m, const int32_t *tokens, const int32_t *targets, int64_t B,
                     float *nll, int32_t *best, const struct qk_tap *tap, struct qk_err *err);

/* Forward and backward: gradients accumulate grad_scale * d sum(nll). nll as above. */
int qk_model_train(struct qk_model *m, const int32_t *tokens, const int32_t *targets, int64_t B,
                   float grad_scale, float *nll, struct qk_err *err);

/* After a non-finite loss: the first layer of the last forward pass whose output is not finite,
 * -1 for the embedding, n_layers for the final norm and head. */
int qk_model_find_nonfinite(struct qk_model *m);

#endif
