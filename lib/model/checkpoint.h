/* Checkpoints: the parameter table <-> HDF5 (lib/FORMAT.md).
 *
 * A reader opens, checks kind, version and config, and takes tensors one by one, so a model larger
 * than memory can be walked layer by layer.  Weights are checked for shape and finiteness.
 */
#ifndef QK_MODEL_CHECKPOINT_H
#define QK_MODEL_CHECKPOINT_H

#include "base/h5.h"
#include "base/provenance.h"
#include "model/config.h"
#include "model/params.h"

struct qk_checkpoint {
    struct qk_h5 *file;
    struct qk_config config;
    struct qk_params params;
    int64_t step, tokens_seen;
    int64_t eot; /* -1 when the attribute is absent */
};

int qk_checkpoint_open(struct qk_checkpoint *c, const char *path, struct qk_err *err);
void qk_checkpoint_close(struct qk_checkpoint *c);

/* The weights of one tensor into to[param->count]. */
int qk_checkpoint_weights(struct qk_checkpoint *c, const struct qk_param *param, float *to,
                          struct qk_err *err);

/* The probe batch that travels along: sequences x T tokens, malloc'd; *n_seq 0 when absent. */
int qk_checkpoint_probe(struct qk_checkpoint *c, int32_t **tokens, int64_t *n_seq, int64_t *T,
                        struct qk_err *err);
/* The tokenizer.json text that travels along: size 0 when absent. */
int qk_checkpoint_tokenizer(struct qk_checkpoint *c, struct qk_buffer *to, struct qk_err *err);

#endif
