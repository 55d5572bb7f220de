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

/* Opens and checks everything but the numbers: kind, version, config, and that /weights holds just
 * the tensors of the config in their shapes. */
int qk_checkpoint_open(struct qk_checkpoint *c, const char *path, struct qk_err *err);
void qk_checkpoint_close(struct qk_checkpoint *c);

/* The weights of one tensor into to[param->count]. */
int qk_checkpoint_weights(struct qk_checkpoint *c, const struct qk_param *param, float *to,
                          struct qk_err *err);

/* Rows first .. first+count-1 of a 2-D tensor. */
int qk_checkpoint_rows(struct qk_checkpoint *c, const struct qk_param *param, int64_t first,
                       int64_t count, float *to, struct qk_err *err);

/* The probe batch that travels along: sequences x T tokens, malloc'd; *n_seq 0 when absent. */
int qk_checkpoint_probe(struct qk_checkpoint *c, int32_t **tokens, int64_t *n_seq, int64_t *T,
                        struct qk_err *err);
/* The tokenizer.json text that travels along: size 0 when absent. */
int qk_checkpoint_tokenizer(struct qk_checkpoint *c, struct qk_buffer *to, struct qk_err *err);
/* What was cut from it or from one that it was trained on from, JSON (study/measure/prune.h):
 * malloc'd, NULL when nothing was. */
int qk_checkpoint_pruned(struct qk_checkpoint *c, char **text, struct qk_err *err);

/* ---- writing ---- */

/* What stands in a checkpoint beside the weights. */
struct qk_checkpoint_head {
    const struct qk_config *config;
    int64_t step, tokens_seen;
    int64_t eot;          /* -1: no attribute */
    const int32_t *probe; /* [n_seq, T]; NULL for none */
    int64_t n_seq, T;
    const struct qk_buffer *tokenizer; /* NULL or empty for none */
    const char *pruned;                /* NULL for none */
};

/* Begin a checkpoint: attributes, probe batch, tokenizer, provenance (NULL for none).  Then the
 * weights one by one, then qk_h5_commit. */
struct qk_h5 *qk_checkpoint_create(const char *path, const struct qk_checkpoint_head *head,
                                   const struct qk_provenance *p, struct qk_err *err);
/* `zstd` is the level for float32 (0: none); bf16 is always compressed, at that level or 1. */
int qk_checkpoint_put(struct qk_h5 *file, const struct qk_param *param, const float *from,
                      bool bf16, int zstd, struct qk_err *err);

#endif
