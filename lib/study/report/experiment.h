/* experiment_config.md: every setting of a study on one page, filled from the configs of its runs.
 *
 * Where conditions differ in a setting, each value is given with the conditions that have it; what
 * the configs do not tell (which text, which tokenizer) comes from `data` and `tokenizer`, or is
 * said to be untold.
 */
#ifndef QK_STUDY_EXPERIMENT_H
#define QK_STUDY_EXPERIMENT_H

#include "base/mem.h"
#include "study/results/results.h"

struct qk_experiment {
    const struct qk_combined *combined;
    const char *title;            /* of the page */
    const char *data, *tokenizer; /* in words, or NULL */
};

/* The page as Markdown into *to, the caller's to free; fails when a run carries no config. */
int qk_experiment_write(struct qk_buffer *to, const struct qk_experiment *e, struct qk_err *err);

#endif
