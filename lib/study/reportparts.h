/* What the files of one report share: report.c writes the page, published.c's values and the record
 * of how it was made have files of their own.  Not for anyone else. */
#ifndef QK_STUDY_REPORTPARTS_H
#define QK_STUDY_REPORTPARTS_H

#include "study/page.h"
#include "study/report.h"

/* One report under way. */
struct qk_report_writer {
    const struct qk_report *r;
    struct qk_page page;
    char *link; /* from the report to the figures */
    struct qk_err *err;
    int failed;
};

void qk_report_paragraph(struct qk_report_writer *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Writes the table and frees it. */
void qk_report_table(struct qk_report_writer *w, struct qk_table *t);

/* The config of a condition's first seed, or NULL. */
const cJSON *qk_report_config(const struct qk_report_writer *w, int condition);
/* Is what was trained here the published model? */
bool qk_report_same_model(const struct qk_report_writer *w);

/* Sections. */
void qk_report_published(struct qk_report_writer *w);
void qk_report_made(struct qk_report_writer *w);

#endif
