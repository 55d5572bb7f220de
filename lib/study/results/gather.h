/* results.json of one run: probes at its points and its training log become one trajectory.
 *
 * Output keys: the original study's (tag, tokens, loss, val_loss, mean_pr, layer_pr, gamma_cv,
 * gamma_final), then what the probes have of mean_pr_sites, mean_pr_energy, q_pr, qk_pr, entropy,
 * max_logit, q_layer_pr, layer_entropy, layer_max_logit, q_pr_sites, qk_pr_sites, spectra,
 * contribution, then site, qk_norm, seed, config, head_dim, rows, null_pr, null_pr_energy,
 * null_qk_pr, made_from, evals (lib/FORMAT.md, section 8).  The points are those of the probes;
 * loss at a point is the mean over the optimiser steps since the point before it.
 */
#ifndef QK_STUDY_GATHER_H
#define QK_STUDY_GATHER_H

#include "base/json.h"
#include "base/mem.h"

struct qk_gather {
    const char *tag;
    const char *site;         /* the headline site: "post_norm", ... */
    struct qk_strings probes; /* files of qk-probe output, objects or JSON lines, in any order */
    struct qk_strings logs;   /* training logs, edges in order */
    struct qk_strings evals;  /* "NAME=eval.json" */
    const char *config;       /* effective config file, or NULL: taken from the probes */
};

/* The file name in a "NAME=FILE" word; NULL with a sentence when it is not one. */
const char *qk_gather_eval_path(const char *operand, struct qk_err *err);

/* The object, which the caller deletes, or NULL. */
cJSON *qk_gather_results(const struct qk_gather *g, struct qk_err *err);

#endif
