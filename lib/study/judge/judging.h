/* What the files of the verdicts share: differences of two conditions, and a verdict under way. */
#ifndef QK_STUDY_JUDGING_H
#define QK_STUDY_JUDGING_H

#include "study/judge/judge.h"

/* Two conditions at the last point, `plus` minus `minus`, paired by seed. */
struct qk_difference {
    const struct qk_condition *plus, *minus; /* not owned */
    struct qk_paired pr, q, qk;              /* PR of keys, of queries, of the bilinear form */
    struct qk_paired loss;                   /* validation, else training; nats */
    bool loss_is_val;
    double p_holm;    /* of pr.p_flip, once adjusted; NaN before */
    double layer_abs; /* mean over layers of the size of the difference of PR */
    int layers_above; /* layers where plus > minus */
};
void qk_difference_take(struct qk_difference *d, const struct qk_condition *plus,
                        const struct qk_condition *minus);
/* Holm's adjustment over the n differences of a study's primary family. */
void qk_differences_adjust(struct qk_difference *list, int n);
/* "none", "higher", "lower" by the tolerance of 1 PR; from two seeds by the equivalence test too:
 * "open" when it is inconclusive. */
const char *qk_difference_is(const struct qk_difference *d);

/* Paired differences for verdict.json: mean, deviation, 95 % interval and tests against 0; then
 * what the equivalence test adds, null from one seed. */
cJSON *qk_paired_json(const struct qk_paired *s);
void qk_paired_add_equivalence(cJSON *to, const struct qk_paired *s);

/* A verdict under way: what stands between outcome and sentence, then the members by these names;
 * all owned, until qk_judging_end takes them. */
struct qk_judging {
    const struct qk_evidence *e; /* NULL where the verdict does not look at it */
    int n_seeds;
    cJSON *details, *sentences, *caveats, *numbers;
};
void qk_judging_start(struct qk_judging *j, const struct qk_evidence *e, int n_seeds);
/* One sentence without its full stop, under `key`; the reservation of one seed is added. */
void qk_judging_say(struct qk_judging *j, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* What was said under `key`, or "". */
const char *qk_judging_said(const struct qk_judging *j, const char *key);
void qk_judging_caveat(struct qk_judging *j, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Sentence of a difference: "WHAT: PLUS−MINUS = +1.23 PR (intervals), CONCLUSION". */
void qk_judging_difference(struct qk_judging *j, const char *key, const char *what,
                           const struct qk_difference *d, const char *conclusion);
/* What so few seeds cannot tell. */
void qk_judging_seed_caveats(struct qk_judging *j);
/* The usual caveats and numbers: seeds, tokens, site, conditions, differences. */
void qk_judging_numbers(struct qk_judging *j, const struct qk_difference *list, int n);
/* "49.15 M", or "5,120" where millions say little; returns `text`. */
const char *qk_tokens_text(double tokens, char text[32]);
/* The whole, the caller's to delete; `sentence` is the headline. */
cJSON *qk_judging_end(struct qk_judging *j, const char *study, const char *title,
                      const char *outcome, const char *sentence, const char *rule);

/* Has every run of it the numbers that verdicts need: two points, the rank at each, and at the last
 * one the rank of every layer and the training loss? */
int qk_condition_check(const struct qk_condition *c, struct qk_err *err);
/* Conditions by name, all of them and checked. */
int qk_evidence_find(const struct qk_condition **at, const struct qk_evidence *e,
                     const char *const *names, int n, const char *study, struct qk_err *err);

cJSON *qk_judge_pilot(const struct qk_evidence *e, struct qk_err *err);
cJSON *qk_judge_ablation(const struct qk_evidence *e, struct qk_err *err);
cJSON *qk_judge_sweep(const struct qk_evidence *e, struct qk_err *err);
cJSON *qk_judge_main(const struct qk_evidence *e, struct qk_err *err);

#endif
