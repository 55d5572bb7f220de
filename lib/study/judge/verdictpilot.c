/* pilot500k: a first look at keys with and without QK-Norm, over half a million tokens. */
#include <math.h>
#include <stdlib.h>

#include "study/judge/judging.h"
#include "study/judge/verdict.h"

static const char *const rule =
    "Primary endpoint: mean over layers of the keys' PR at the headline site, at the last point; "
    "QK − NoQK counts as a difference from 1.0 PR on. From two seeds: paired differences with a t "
    "interval, exact sign-flip p and an equivalence test against ±1 PR. A first look: some dozen "
    "optimiser steps say nothing about where training ends.";

static void say_all(struct qk_judging *j, const struct qk_difference *d)
{
    const struct qk_results *a = &d->plus->mean, *b = &d->minus->mean;
    struct qk_trajectory with, without;
    qk_trajectory_follow(&with, d->plus);
    qk_trajectory_follow(&without, d->minus);
    qk_judging_say(j, "loss", "At the last point QK-Norm changes %s loss by %+.4f nats (QK − NoQK)",
                   d->loss_is_val ? "validation" : "training", d->loss.mean);
    qk_judging_say(j, "trajectory",
                   "From the first to the last point mean PR goes from %.2f to %.2f with QK-Norm "
                   "and from %.2f to %.2f without; its least values are %.2f and %.2f",
                   with.start_pr, with.last_pr, without.start_pr, without.last_pr, with.least_pr,
                   without.least_pr);
    qk_judging_say(j, "layers",
                   "QK is above NoQK in %d of %d layers, by %.2f PR in mean size; layers of one "
                   "network are not replicates",
                   d->layers_above, a->layers, d->layer_abs);
    if (!isnan(a->null_pr))
        qk_judging_say(j, "null",
                       "Against %.2f for i.i.d. Gaussian keys of the same shape the final PR is "
                       "%.0f %% with QK-Norm and %.0f %% without",
                       a->null_pr, 100 * with.last_pr / a->null_pr,
                       100 * b->mean_pr[b->points - 1] / a->null_pr);
}

cJSON *qk_judge_pilot(const struct qk_evidence *e, struct qk_err *err)
{
    static const char *const names[] = {"QK", "NoQK"};
    static const char *const outcomes[][2] = {{"none", "no difference yet"},
                                              {"higher", "higher rank with QK-Norm"},
                                              {"lower", "lower rank with QK-Norm"},
                                              {"open", "inconclusive"}};
    const struct qk_condition *at[2];
    struct qk_difference d;
    struct qk_judging j;
    if (qk_evidence_find(at, e, names, 2, "pilot500k", err) != 0)
        return NULL;
    qk_difference_take(&d, at[0], at[1]);
    qk_differences_adjust(&d, 1);
    const char *outcome = qk_words_for(outcomes, 4, qk_difference_is(&d), "?");
    qk_judging_start(&j, e, at[0]->n_seeds);
    qk_judging_difference(&j, "rank", "A first look at QK-Norm", &d, outcome);
    say_all(&j, &d);
    qk_judging_numbers(&j, &d, 1);
    qk_judging_caveat(&j, "Half a million tokens are the first steps of training: ranks may part, "
                          "or meet again, later.");
    char *title = qk_format("A first look at QK-Norm and key rank: %s", outcome);
    cJSON *json =
        qk_judging_end(&j, "pilot500k", title, outcome, qk_judging_said(&j, "rank"), rule);
    free(title);
    return json;
}
