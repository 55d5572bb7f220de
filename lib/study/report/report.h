/* A study as a paper, in Markdown or as one self-contained HTML page.
 *
 * Both come from the same blocks (page.h); the Markdown form is linted (lint.h) before anything
 * is returned, whichever form is asked for.  What all studies' reports have in common is
 * report.c's: title from the outcome, TL;DR of three sentences, set-up, limitations, prior work,
 * recommendations, how it was made.  What is a study's own is a struct qk_report_kind
 * (reportparts.h), in a file of its own.
 */
#ifndef QK_STUDY_REPORT_H
#define QK_STUDY_REPORT_H

#include "base/mem.h"
#include "base/provenance.h"
#include "study/results/surgery.h"
#include "study/results/results.h"

struct qk_report {
    const char *study;                  /* "causal50m", ... */
    const struct qk_combined *combined; /* NULL for sweep20m, which needs none */
    const cJSON *verdict;               /* verdict.json; must be what these files give */
    const struct qk_surgery *surgery;   /* or NULL */
    const cJSON *chosen;                /* chosen.json, or NULL: rates were not tuned */
    const char *verdict_path;
    const char *figures; /* folder of NAME.svg (HTML) and NAME.png (Markdown) */
    const char *out;     /* where the report goes: figures are linked from there */
    bool published;      /* causal50m: the original study's values beside ours */
    bool html;
    const struct qk_provenance *provenance;
};

/* Into *to, which is overwritten and then the caller's to free; untouched on failure: a verdict
 * that does not agree, a figure that is missing, or what the lint finds. */
int qk_report_write(struct qk_buffer *to, const struct qk_report *r, struct qk_err *err);

#endif
