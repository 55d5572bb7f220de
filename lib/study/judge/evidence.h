/* The files that a verdict, a table or a report is made from, read together. */
#ifndef QK_STUDY_EVIDENCE_H
#define QK_STUDY_EVIDENCE_H

#include "study/judge/judge.h"

/* Stays where it is once read: `all` points into it. */
struct qk_evidence_files {
    const char *combined_path, *surgery_path, *chosen_path; /* NULL: not given */
    struct qk_evidence all;                                 /* what was read */
    /* what `all` points to; owned */
    struct qk_combined combined;
    struct qk_surgery surgery;
    cJSON *chosen;
};

/* Reads those that are given.  -1 with a sentence; qk_evidence_free is due either way. */
int qk_evidence_read(struct qk_evidence_files *f, struct qk_err *err);
void qk_evidence_free(struct qk_evidence_files *f);

#endif
