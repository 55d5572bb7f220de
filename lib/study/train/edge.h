/* The state of an edge and its life on disk: where it starts, what it resumes, what it leaves.
 *
 *   /train  windows       how many windows of the data were drawn
 *           data_sha256   of the tokens.h5 they were drawn from
 *   /edge   (in B.partial only) from_sha256, data_sha256, last_step, first_step, first_tokens,
 *           watch (what is looked at on the way): who may go on from it; trained on a card also
 *           device (its name) and micro_batch, so that what goes on rounds as it did
 */
#ifndef QK_STUDY_EDGE_H
#define QK_STUDY_EDGE_H

#include "base/sha256.h"
#include "model/optimizer.h"
#include "model/transformer.h"
#include "study/corpus/tokens.h"
#include "study/train/train.h"

struct qk_edge {
    const struct qk_train_options *o;
    struct qk_config config;
    struct qk_pack pack;
    char data_sha256[QK_SHA256_HEX], from_sha256[QK_SHA256_HEX]; /* from: "" for a config */
    int64_t first_step, first_tokens, last_step;
    int64_t step, tokens_seen, windows; /* now */
    bool resumed;
    const char *device;  /* that trains: its operations' name */
    int64_t micro_batch; /* sequences at once, known when the model is made; a partial's until then,
                            0 when it does not say */
    char *partial;       /* B.partial */
    char *watch;

    struct qk_checkpoint source; /* A or B.partial; source.file NULL: initial weights */
    bool with_moments;           /* source has /optim that fits */
    int64_t eot;
    int32_t *probe;
    int64_t n_seq, T_probe;
    struct qk_buffer tokenizer;
    char *pruned; /* NULL for none */
};

/* Open everything, check everything that can be checked before the work. */
int qk_edge_open(struct qk_edge *e, const struct qk_device *d, const struct qk_train_options *o,
                 struct qk_err *err);
void qk_edge_close(struct qk_edge *e);

/* Weights and moments from the source; the source is closed.  `optimizer` may be NULL. */
int qk_edge_load(struct qk_edge *e, struct qk_model *m, struct qk_optimizer *optimizer,
                 struct qk_err *err);

/* Group /edge of B.partial. */
int qk_edge_put_identity(const struct qk_edge *e, struct qk_h5 *file, struct qk_err *err);

/* "runs/b.h5.partial", A's path or "none": the last checkpoint that is good, for sentences. */
const char *qk_edge_last_good(const struct qk_edge *e);

/* Is there disk for what will be written, B, B.partial and keys dumps (edge_space.c)? */
int qk_edge_check_space(const struct qk_edge *e, struct qk_err *err);

/* The config of --config, with the hash of its text, or of --from, with --set and --seed applied
 * (edge_config.c). */
int qk_edge_config_of_file(const struct qk_train_options *o, struct qk_config *config,
                           char sha256[QK_SHA256_HEX], struct qk_err *err);
int qk_edge_config_of_checkpoint(const struct qk_train_options *o, const struct qk_config *from,
                                 struct qk_config *config, struct qk_err *err);

#endif
