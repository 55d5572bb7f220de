/* Verdicts of the studies: made by code from numbers, by rules fixed before any run.
 *
 * causal50m's is verdict.h; the others share the parts below and are one file each:
 * verdictpilot.c, verdictablation.c, verdictsweep.c, verdictmain.c.  Each makes verdict.json:
 * study, title, outcome, sentence, rule, sentences{}, caveats[], numbers{}.  With one seed every
 * sentence about a difference says that no variance is known.
 *
 * Sentences by study (a report takes them by key; one that cannot be said is not there):
 *   pilot500k   rank loss trajectory layers null
 *   ablation25m norm norm_adamw optimizer interaction data loss time surgery queries cross null
 *               claim_joint claim_accelerates claim_spectrum claim_adaptive claim_pruning
 *   sweep20m    CONFIG (one each), edges, rank_moves
 *   main300m    scenario order tolerance norm_muon norm_adamw optimizer reversal_adamw
 * reversal_muon downstream loss_vs_pr headline
 */
#ifndef QK_STUDY_JUDGE_H
#define QK_STUDY_JUDGE_H

#include "study/judge/table.h"
#include "study/measure/stats.h"
#include "study/results/results.h"
#include "study/results/surgery.h"

#define QK_STUDIES "causal50m|pilot500k|ablation25m|sweep20m|main300m"

/* What a verdict is made from; `surgery` and `chosen` (chosen.json) may be NULL.  sweep20m needs
 * `chosen` alone, the others `combined`. */
struct qk_evidence {
    const struct qk_combined *combined;
    const struct qk_surgery *surgery;
    const cJSON *chosen;
};

/* verdict.json without provenance, the caller's to delete; NULL with a sentence. */
cJSON *qk_judge(const char *study, const struct qk_evidence *e, struct qk_err *err);

/* A table of a study: "conditions" and "contrasts" of all (sweep20m: "rates", "grid"); main300m
 * also "runs", "rates", "configs", "headline"; ablation25m also "surgery".  -1 with a sentence for
 * what is not there. */
int qk_study_table(struct qk_table *t, const char *study, const char *of,
                   const struct qk_evidence *e, struct qk_err *err);
#define QK_STUDY_TABLES "conditions|contrasts|trajectory|runs|rates|grid|configs|headline|surgery"

/* "AdamW_QK" is shown to people as "AdamW+QK". */
const char *qk_condition_label(const char *name, char text[QK_CONDITION_NAME]);

/* ---- for the files of the verdicts ---- */

/* Two conditions at the last point, `plus` minus `minus`, paired by seed. */
struct qk_difference {
    const struct qk_condition *plus, *minus;
    struct qk_paired pr, loss, q, qk; /* loss: validation, else training */
    bool loss_is_val;
    double p_holm; /* of pr.p_flip, when adjusted */
    double layer_abs;
    int layers_above;
};
void qk_difference_take(struct qk_difference *d, const struct qk_condition *plus,
                        const struct qk_condition *minus);
void qk_differences_adjust(struct qk_difference *list, int n);
/* "none", "higher", "lower" by the tolerance of 1 PR; from two seeds by the equivalence test too:
 * "open" when it is inconclusive. */
const char *qk_difference_is(const struct qk_difference *d);
cJSON *qk_difference_json(const struct qk_difference *d);

/* A verdict under way. */
struct qk_judging {
    const struct qk_evidence *e;
    int n_seeds;
    cJSON *sentences, *caveats, *numbers;
};
void qk_judging_start(struct qk_judging *j, const struct qk_evidence *e);
/* One sentence without its full stop, under `key`; the reservation of one seed is added. */
void qk_judging_say(struct qk_judging *j, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void qk_judging_caveat(struct qk_judging *j, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Sentence of a difference: "WHAT: PLUS−MINUS = +1.23 PR (intervals), CONCLUSION". */
void qk_judging_difference(struct qk_judging *j, const char *key, const char *what,
                           const struct qk_difference *d, const char *conclusion);
/* The usual caveats and numbers: seeds, tokens, site, conditions, differences. */
void qk_judging_numbers(struct qk_judging *j, const struct qk_difference *list, int n);
/* The whole; `sentence` is the key of the headline. */
cJSON *qk_judging_end(struct qk_judging *j, const char *study, const char *title,
                      const char *outcome, const char *sentence, const char *rule);
/* Drop what was begun. */
void qk_judging_drop(struct qk_judging *j);

/* Conditions by name, all of them, with numbers where verdicts need them. */
int qk_evidence_find(const struct qk_condition **at, const struct qk_evidence *e,
                     const char *const *names, int n, const char *study, struct qk_err *err);

/* evals.NAME.value of a run, NaN for none. */
double qk_results_eval(const struct qk_results *r, const char *name);
/* The last number of a series, NaN for none. */
double qk_results_end(const struct qk_results *r, const double *series);

cJSON *qk_judge_pilot(const struct qk_evidence *e, struct qk_err *err);
cJSON *qk_judge_ablation(const struct qk_evidence *e, struct qk_err *err);
cJSON *qk_judge_sweep(const struct qk_evidence *e, struct qk_err *err);
cJSON *qk_judge_main(const struct qk_evidence *e, struct qk_err *err);

#endif
