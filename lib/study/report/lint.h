/* The report lint: a report that claims more than it shows does not pass.
 *
 * Fails when
 *   the word "proves" occurs;
 *   a paragraph or list item of a section that makes claims (TL;DR, verdict, loss, rank, layers,
 *   data, surgery, reversal, claims, downstream, discussion, ...) has neither a number (the digit
 *   of a name such as A1 is none) nor a figure;
 *   a question under "Claims", a heading of level 3, has no answer;
 *   the TL;DR is missing or has fewer than three sentences, or there is no set-up;
 *   the loss curves (figure 1_loss, panel_a_loss, rank_and_loss, val_loss or lr_sweep) are missing;
 *   the limitations are missing, or say nothing of seeds, learning rates, size, architecture,
 *   scale or production models;
 *   the limitations say that configurations are compared whose rates were not tuned for each;
 *   no tuning is shown (figure lr_sweep) and the limitations do not say that rates were "not tuned
 *   per condition", as those of a study that keeps one rate on purpose do;
 *   "Downstream" names HellaSwag and does not say that it is underpowered.
 */
#ifndef QK_STUDY_LINT_H
#define QK_STUDY_LINT_H

#include "base/err.h"

/* 0, or -1 with the first thing found; `where` names the report. */
int qk_lint_text(const char *markdown, const char *where, struct qk_err *err);
int qk_lint_file(const char *path, struct qk_err *err);

#endif
