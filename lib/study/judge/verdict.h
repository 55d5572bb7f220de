/* The verdict of the causal study: which of the learned gain and the normalisation changes the
 * rank of keys?  Made by code from numbers, by rules that were fixed before any run.
 *
 * A learns the gain, B freezes it at 1, C has no QK-Norm.  The primary endpoint is the mean over
 * layers of the keys' PR at the headline site, at the last point.
 *
 *   kill criterion   |A - B| < 1.0 PR: the gain is not the mechanism, a null result
 *   pattern          from A-B, B-C, A-C, two conditions being equal when they differ by less
 *                    than 1.0 PR
 *   from two seeds   paired differences: t interval, exact sign-flip p, Holm over the three
 *                    contrasts, equivalence test with a margin of 1 PR (stats.h)
 *   plateau          the points in the second half of the tokens
 *
 * Loss effects, minima, recovery and orders are described, not tested.
 */
#ifndef QK_STUDY_VERDICT_H
#define QK_STUDY_VERDICT_H

#include "study/measure/stats.h"
#include "study/results/results.h"

#define QK_TOLERANCE_PR 1.0

enum qk_pattern {
    QK_PATTERN_GAIN,         /* A != B = C: the gain drives it */
    QK_PATTERN_NORM,         /* A = B != C: the normalisation drives it */
    QK_PATTERN_FROZEN_APART, /* A = C != B */
    QK_PATTERN_ALL,          /* all differ */
    QK_PATTERN_NONE,         /* none differ */
    QK_PATTERN_INTRANSITIVE, /* equal, equal, different */
};
enum qk_pattern qk_pattern_of(double ab, double bc, double ac, double tolerance);
const char *qk_pattern_label(enum qk_pattern p);   /* "A≠B≈C", ..., "all differ", ... */
const char *qk_pattern_meaning(enum qk_pattern p); /* "the learned gain drives it", ... */

/* One condition along its run; series are the mean over seeds. */
struct qk_trajectory {
    const struct qk_condition *condition;
    double start_pr, last_pr, least_pr, least_tokens;
    double recovery, recovered_share; /* last - least; over start - least (NaN when no fall) */
    int plateau_points;
    double plateau_mean, plateau_sd; /* over points: jitter in time, not between seeds */
    double plateau_drift;            /* fitted slope times the plateau's length, PR */
    double train_loss;               /* at the last point */
    double val_loss, val_tokens;     /* at the last point that has one; NaN for none */
    double sd_of_seeds;              /* of last_pr, n - 1; NaN with one seed */
};
/* `c` must outlive *t. */
void qk_trajectory_follow(struct qk_trajectory *t, const struct qk_condition *c);

/* The difference of two conditions, `plus` minus `minus`. */
struct qk_contrast {
    char plus, minus;
    struct qk_paired pr, train, val; /* at the last point, over seeds */
    double p_holm;                   /* of pr.p_flip among the three contrasts */
    double *seeds;                   /* [n_seeds] PR differences, owned */
    double plateau_mean, plateau_sd; /* of the difference over the plateau's points */
    int sign_changes, sign_points;   /* of the validation (else training) loss difference over
                                        the last points, at most 5 */
    double layer_mean, layer_abs;    /* of the difference per layer at the last point */
    int layers_above;                /* layers where plus > minus */
};

enum { QK_AB, QK_BC, QK_AC, QK_CONTRASTS };

struct qk_verdict {
    int n_seeds, points, layers, head_dim; /* head_dim 0 when not told */
    double tokens, null_pr, tolerance;
    const char *site;           /* "?" when not told */
    struct qk_trajectory at[3]; /* A, B, C */
    struct qk_contrast contrast[QK_CONTRASTS];
    enum qk_pattern pattern;
    bool killed;                     /* the kill criterion is met */
    char pr_order[3], loss_order[3]; /* letters, highest PR first, lowest loss first */
    bool loss_is_val, orders_match;
    double gain_mean, gain_low, gain_high; /* A: over layers of mean |gain| at the end; NaN */
    double gain_r, cv_r;                   /* over layers: A-B against mean gain, against its CV */
};

/* Of a file with conditions A, B and C; `c` must outlive *v, which the caller frees.  -1 with a
 * sentence, and nothing to free, when one of them or a number the verdict needs is missing. */
int qk_verdict_causal(struct qk_verdict *v, const struct qk_combined *c, struct qk_err *err);
void qk_verdict_free(struct qk_verdict *v);

/* With two seeds or more: is that contrast neither shown to be there nor shown to be absent? */
bool qk_verdict_open(const struct qk_verdict *v, int which);
/* Are all contrasts that the pattern speaks of settled?  Never with one seed. */
bool qk_verdict_settled(const struct qk_verdict *v);
/* The title, with seeds and size where they belong there; and what stands for the sentence of the
 * pattern when the tests do not bear that out, or NULL.  Both malloc'd. */
char *qk_verdict_title(const struct qk_verdict *v);
char *qk_verdict_headline(const struct qk_verdict *v);

/* Does a small mean over layers hide layers that differ, in both directions? */
bool qk_verdict_cancels(const struct qk_contrast *k);

/* What v was made from and holds, added to `to`: the "numbers" of verdict.json (verdictnumbers.c).
 */
void qk_verdict_numbers(const struct qk_verdict *v, cJSON *to);

/* verdict.json without provenance, the caller's to delete: title, outcome, sentence, rule,
 * sentences{}, caveats[], numbers{}.  Every sentence holds its numbers; with one seed each says
 * that no variance is known. */
cJSON *qk_verdict_json(const struct qk_verdict *v);

#endif
