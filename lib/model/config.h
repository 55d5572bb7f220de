/* A run's configuration: sizes, condition, optimiser, schedule, data.  DESIGN of the keys: JSON,
 * unknown keys refused, defaults written out, one canonical text.  One table in config.c lists
 * every key; parsing, printing, --set and the experiment record derive from it. */
#ifndef QK_MODEL_CONFIG_H
#define QK_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"

enum qk_ffn { QK_RELU2, QK_SWIGLU };
enum qk_norm_kind { QK_NORM_LEARNED, QK_NORM_FROZEN, QK_NORM_SCALAR, QK_NORM_NONE };
enum qk_rope_style { QK_ROPE_INTERLEAVED, QK_ROPE_HALF };
enum qk_optimizer_kind { QK_MUON_ADAMW, QK_ADAMW };
enum qk_orth_kind { QK_ORTH_POLAR_EXPRESS, QK_ORTH_NEWTON_SCHULZ };
enum qk_qkvo { QK_QKVO_MERGED, QK_QKVO_MATRIX, QK_QKVO_HEAD };
enum qk_lr_schedule { QK_LR_CONSTANT, QK_LR_COSINE, QK_LR_LINEAR, QK_LR_WSD };
enum qk_data_order { QK_ORDER_SHUFFLE, QK_ORDER_SEQUENTIAL };
enum qk_dtype { QK_DTYPE_FP32, QK_DTYPE_BF16 };

struct qk_config {
    int64_t vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_ff;
    enum qk_ffn ffn;
    enum qk_norm_kind qk_norm;
    double norm_eps, rope_base;
    enum qk_rope_style rope_style;
    double embed_scale;
    bool tie_embeddings;
    int64_t seq_len;
    double init_std;
    enum qk_optimizer_kind optimizer;
    double muon_lr, muon_momentum; /* muon_lr is NaN when absent (allowed without Muon) */
    enum qk_orth_kind muon_orthogonalizer;
    enum qk_qkvo muon_qkvo;
    double muon_weight_decay;
    double adamw_lr, adamw_beta1, adamw_beta2, adamw_eps;
    double weight_decay, qk_gain_weight_decay, grad_clip;
    enum qk_lr_schedule lr_schedule;
    int64_t warmup_tokens, batch_size, grad_accum, train_tokens, seed;
    enum qk_data_order data_order;
    enum qk_dtype dtype;
};

/* From a JSON object; every required key must be there and the whole must be consistent. `where`
 * names the file in errors. */
int qk_config_from_json(struct qk_config *c, const cJSON *json, const char *where,
                        struct qk_err *err);
int qk_config_from_text(struct qk_config *c, const char *text, const char *where,
                        struct qk_err *err);
/* Apply `key=value` words (--set) to a JSON object before it is parsed. */
int qk_config_set(cJSON *json, const char *assignment, struct qk_err *err);
/* Every key with its value, in table order: the canonical form. */
cJSON *qk_config_to_json(const struct qk_config *c);
char *qk_config_to_text(const struct qk_config *c); /* malloc'd, one line */

/* Before --set is applied to a config read back from a checkpoint, where every key is spelled out:
 * drop qk_gain_weight_decay where it equals weight_decay, so that it goes on following it. */
void qk_config_relax(cJSON *json);
/* Does this `key=value` name a key whose default comes from another key?  Those are set last. */
bool qk_config_is_derived(const char *assignment);

/* The first key in which two configs differ, or NULL. */
const char *qk_config_difference(const struct qk_config *a, const struct qk_config *b);

const char *qk_norm_name(enum qk_norm_kind kind); /* "learned", ... */

static inline int64_t qk_head_dim(const struct qk_config *c)
{
    return c->d_model / c->n_heads;
}
static inline int64_t qk_tokens_per_step(const struct qk_config *c)
{
    return c->batch_size * c->grad_accum * c->seq_len;
}

#endif
