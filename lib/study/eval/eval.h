/* Evaluation: what a model scores on text it did not train on.
 *
 * loss: mean cross-entropy in nats over the windows of a split (tokens.h): floor((N-1)/T) of them,
 * every one of T targets.  Window losses are sums in double precision of float32 token losses.
 */
#ifndef QK_STUDY_EVAL_H
#define QK_STUDY_EVAL_H

#include <stdio.h>

#include "base/progress.h"
#include "model/transformer.h"
#include "study/corpus/tokens.h"

struct qk_loss {
    int64_t windows, tokens;
    double mean;  /* nats per token */
    double error; /* standard error of the mean over windows, sd/sqrt(windows), sd with n-1; NaN for
                     one window */
};

/* How much of a split, and what is told on the way. */
struct qk_loss_plan {
    const struct qk_split *split;
    int64_t T;           /* what the model was made for */
    int64_t micro_batch; /* sequences at once: at most what the model was made for */
    int64_t max_tokens;  /* the first floor(max_tokens / T) windows, at least one; 0: all */
    FILE *items;         /* a JSON line {window, tokens, loss} for each; may be NULL */
    struct qk_progress *progress; /* in tokens; may be NULL */
};

/* `m` computes them; the split must hold one window. */
int qk_eval_loss(struct qk_loss *loss, struct qk_model *m, const struct qk_loss_plan *plan,
                 struct qk_err *err);

/* Task loss of a checkpoint, on a split of the token pack at `data`. */
struct qk_loss_task {
    struct qk_device *device;
    struct qk_checkpoint *checkpoint; /* open */
    const char *path;                 /* of the checkpoint, for sentences */
    const char *data, *split;
    int64_t max_tokens; /* as in qk_loss_plan */
    FILE *items;        /* likewise */
    bool quiet;         /* no progress */
};
/* Adds {n, value, stderr, tokens, perplexity} to `result` and what they depend on to `how`. */
int qk_eval_loss_task(const struct qk_loss_task *task, cJSON *result, cJSON *how,
                      struct qk_err *err);

#endif
