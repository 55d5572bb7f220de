/* The report lint: a report that claims more than it shows does not pass.
 *
 * Fails when
 *   the word "proves" occurs;
 *   a paragraph or list item of a section that makes claims (TL;DR, loss, rank, layers,
 *   decomposition, gain, discussion) has neither a number nor a figure;
 *   the limitations are missing, are empty, or say nothing of seeds or of learning rates;
 *   the loss curves (figure 1_loss) are missing;
 *   the TL;DR is missing.
 */
#ifndef QK_STUDY_LINT_H
#define QK_STUDY_LINT_H

#include "base/err.h"

/* 0, or -1 with the first thing found; `where` names the report. */
int qk_lint_text(const char *markdown, const char *where, struct qk_err *err);
int qk_lint_file(const char *path, struct qk_err *err);

#endif
