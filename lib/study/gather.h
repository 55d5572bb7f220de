/* results.json of one run: probes at its points and its training log become one trajectory.
 *
 * Output keys: the original study's (tag, tokens, loss, val_loss, mean_pr, layer_pr, gamma_cv,
 * gamma_final), then site, qk_norm, seed, config, head_dim, rows, null_pr, null_pr_energy,
 * mean_pr_sites, mean_pr_energy, q_pr, qk_pr, entropy, max_logit, made_from.  The points are those
 * of the probes; loss at a point is the mean over the optimiser steps since the point before it.
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
    const char *config;       /* effective config file, or NULL: taken from the probes */
};

/* The object, which the caller deletes, or NULL. */
cJSON *qk_gather_results(const struct qk_gather *g, struct qk_err *err);

#endif
