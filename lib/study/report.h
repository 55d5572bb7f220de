/* The causal study as a paper, in Markdown or as one self-contained HTML page.
 *
 * Both come from the same blocks (page.h); the Markdown form is linted (lint.h) before anything
 * is returned, whichever form is asked for.
 */
#ifndef QK_STUDY_REPORT_H
#define QK_STUDY_REPORT_H

#include "base/mem.h"
#include "base/provenance.h"
#include "study/verdict.h"

struct qk_report {
    const struct qk_combined *combined;
    const struct qk_verdict *numbers; /* computed from `combined` */
    const cJSON *verdict;             /* verdict.json; must agree with `numbers` */
    const char *verdict_path;
    const char *figures; /* folder of NAME.svg (HTML) and NAME.png (Markdown) */
    const char *out;     /* where the report goes: figures are linked from there */
    bool published;      /* the original study's values beside ours */
    bool html;
    const struct qk_provenance *provenance;
};

/* Into *to, which is overwritten and then the caller's to free; untouched on failure: a verdict
 * that does not agree, a figure that is missing, or what the lint finds. */
int qk_report_write(struct qk_buffer *to, const struct qk_report *r, struct qk_err *err);

#endif
