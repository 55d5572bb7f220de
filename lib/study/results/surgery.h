/* Dose curves: what cutting a share of the key directions does to the loss (surgery.json).
 *
 * One curve per run and method of qk-prune: the loss at each fraction F that was cut.  Methods that
 * draw at random have several draws at a fraction: loss is their mean, sd their deviation (n - 1).
 *
 *   surgery.json  {RUN: {METHOD: [{fraction, loss, stderr, draws[], seeds[], sd, kept_rank}, ...]},
 *                  ..., area: {RUN: {METHOD: {value, sd, draws[], to}}}, provenance}
 *
 * area: the integral over F, from 0 to the largest fraction (`to`), of the loss minus the loss at
 * F = 0, by the trapezoidal rule: nats.  With the same seeds at every fraction, also of each seed.
 */
#ifndef QK_STUDY_SURGERY_H
#define QK_STUDY_SURGERY_H

#include "base/json.h"
#include "base/mem.h"

struct qk_dose {
    double fraction, loss;
    double error; /* standard error over windows, mean over draws; NaN for none */
    double sd;    /* between draws; NaN for one, 0 where nothing was cut */
    double kept_rank;
    int draws;
    double *losses; /* [draws] in order of seeds, owned */
    double *seeds;  /* [draws] NaN where none was told, owned */
};

struct qk_dose_curve {
    char run[24], method[24];
    int points;
    struct qk_dose *at; /* fractions rise from 0, owned */
    double area, area_sd, to;
    int area_draws;
    double *areas; /* [area_draws] one per seed; owned */
};

struct qk_surgery {
    struct qk_dose_curve *at; /* in order of the file */
    int count;
};

/* `operands` are "A1=eval.json" words: evaluations of task loss, of cut checkpoints (which carry
 * `pruned`) and of the uncut one, which is fraction 0 of every method.  All of a run must be of one
 * checkpoint's tokens, one split and as many windows; what calibrated a cut must not be what is
 * evaluated.  The caller frees the curves. */
int qk_surgery_gather(struct qk_surgery *s, const struct qk_strings *operands, struct qk_err *err);
cJSON *qk_surgery_json(const struct qk_surgery *s);
int qk_surgery_read(struct qk_surgery *s, const char *path, struct qk_err *err);
void qk_surgery_free(struct qk_surgery *s);

/* The curve, or NULL. */
const struct qk_dose_curve *qk_surgery_find(const struct qk_surgery *s, const char *run,
                                            const char *method);

#endif
