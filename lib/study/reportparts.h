/* What the files of one report share; not for anyone else.
 *
 *   report.c           the page: verdict, set-up, findings     reportparts.c  what all of them call
 *   reportpublished.c  the original study's values beside ours
 *   reportclosing.c    discussion, limitations, prior work     reportmade.c   how it was made
 */
#ifndef QK_STUDY_REPORTPARTS_H
#define QK_STUDY_REPORTPARTS_H

#include "study/page.h"
#include "study/report.h"

/* One report under way. */
struct qk_report_writer {
    const struct qk_report *r;
    struct qk_page page;
    char *link; /* the way from the report to the figures; owned by report.c */
    struct qk_err *err;
    int failed; /* a figure was missing: `err` says which, and nothing is returned */
};

void qk_report_paragraph(struct qk_report_writer *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Writes the table and frees it. */
void qk_report_table(struct qk_report_writer *w, struct qk_table *t);

/* Lists: items are added, then the list is written and emptied. */
void qk_report_item(struct qk_strings *list, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void qk_report_list(struct qk_report_writer *w, struct qk_strings *list);
/* The sentence of verdict.json under that key, or ""; a paragraph of it, where there is one. */
const char *qk_report_said(const struct qk_report_writer *w, const char *key);
void qk_report_sentence(struct qk_report_writer *w, const char *key);

/* qk_verdict_reservation of the numbers of this report. */
const char *qk_report_reservation(const struct qk_report_writer *w);

/* The config of a condition's first seed, or NULL. */
const cJSON *qk_report_config(const struct qk_report_writer *w, int condition);
/* A config value as text: numbers as JSON prints them, "-" where it is not told. */
void qk_report_setting(const cJSON *config, const char *key, char text[64]);

/* Is what was trained here the published model?  Results without a config do not tell. */
enum qk_report_model { QK_REPORT_SAME, QK_REPORT_OTHER, QK_REPORT_UNTOLD };
enum qk_report_model qk_report_model(const struct qk_report_writer *w);

/* Sections. */
void qk_report_loss_and_rank(struct qk_report_writer *w);
void qk_report_discussion(struct qk_report_writer *w);
void qk_report_limitations(struct qk_report_writer *w);
void qk_report_prior_work(struct qk_report_writer *w);
void qk_report_recommendations(struct qk_report_writer *w);
void qk_report_published(struct qk_report_writer *w);
void qk_report_made(struct qk_report_writer *w);

#endif
