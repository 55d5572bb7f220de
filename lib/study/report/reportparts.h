/* What the files of one report share; not for anyone else.
 *
 *   report.c           the skeleton            reportparts.c     what all of them call
 *   reportsetup.c      model, runs, rates      reportnumbers.c   tables of measures and points
 *   reportclosing.c    limitations, prior work, recommendations
 *   reportmade.c       how it was made         reportpublished.c causal50m's values beside ours
 *   reportcausal.c reportpilot.c reportablation.c reportsweep.c reportmain.c   a study each
 */
#ifndef QK_STUDY_REPORTPARTS_H
#define QK_STUDY_REPORTPARTS_H

#include "study/judge/judge.h"
#include "study/judge/verdict.h"
#include "study/report/page.h"
#include "study/report/report.h"

/* The sizes that tell a model, as published. */
struct qk_report_size {
    int64_t parameters;
    int vocab, width, layers, heads, kv_heads, d_ff, seq_len;
};
extern const struct qk_report_size qk_report_large, qk_report_middle; /* 1.58 B, 88 M */

struct qk_report_writer;

/* What is a study's own.  Each function writes whole blocks; those with a list add items to it,
 * between what all reports say. */
struct qk_report_kind {
    const char *study;
    const struct qk_report_size *size;
    void (*tldr)(struct qk_report_writer *);     /* three sentences */
    void (*summary)(struct qk_report_writer *);  /* under the verdict box; sections may follow */
    void (*intro)(struct qk_report_writer *);    /* configurations and why */
    void (*rates)(struct qk_report_writer *);    /* how learning rates were chosen */
    void (*findings)(struct qk_report_writer *); /* sections from Loss to Discussion */
    void (*limits)(struct qk_report_writer *, struct qk_strings *);
    const char *const *prior; /* items up to NULL */
    void (*advice)(struct qk_report_writer *, struct qk_strings *);
};
extern const struct qk_report_kind qk_report_causal, qk_report_pilot, qk_report_ablation,
    qk_report_sweep, qk_report_main;

/* What the verdict is made from. */
static inline struct qk_evidence qk_report_evidence(const struct qk_report *r)
{
    return (struct qk_evidence){
        .combined = r->combined, .surgery = r->surgery, .chosen = r->chosen};
}

/* One report under way. */
struct qk_report_writer {
    const struct qk_report *r;
    const struct qk_report_kind *kind;
    const struct qk_verdict *numbers; /* causal50m's; else NULL */
    struct qk_page page;
    char *link; /* the way from the report to the figures; owned by report.c */
    struct qk_err *err;
    int failed; /* a figure was missing: `err` says which, and nothing is returned */
};

void qk_report_heading(struct qk_report_writer *w, int level, const char *text);
void qk_report_paragraph(struct qk_report_writer *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Writes the table and frees it. */
void qk_report_table(struct qk_report_writer *w, struct qk_table *t);
/* A table of qk_study_table. */
void qk_report_study_table(struct qk_report_writer *w, const char *of);
/* A figure that must be there; one that is shown when it is. */
void qk_report_figure(struct qk_report_writer *w, const char *name, const char *caption);
void qk_report_figure_if(struct qk_report_writer *w, const char *name, const char *caption);

/* Lists: items are added, then the list is written and emptied. */
void qk_report_item(struct qk_strings *list, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same of texts as they are, up to NULL. */
void qk_report_items(struct qk_strings *list, const char *const *texts);
void qk_report_list(struct qk_report_writer *w, struct qk_strings *list);

/* A text of verdict.json, or "". */
const char *qk_report_text(const struct qk_report_writer *w, const char *key);
/* The sentence of verdict.json under that key, or ""; a paragraph of it, where there is one. */
const char *qk_report_said(const struct qk_report_writer *w, const char *key);
void qk_report_sentence(struct qk_report_writer *w, const char *key);
/* The same of a list of keys, up to NULL. */
void qk_report_sentences(struct qk_report_writer *w, const char *const *keys);

/* A paragraph: the headline and two more. */
void qk_report_three(struct qk_report_writer *w, const char *second, const char *third);
/* What stands under the verdict box: the conditions, and below `heading` the sentences of a list of
 * keys and the contrasts. */
void qk_report_judged(struct qk_report_writer *w, const char *heading, const char *const *keys);
/* A paragraph: the rule by which it was judged. */
void qk_report_rule(struct qk_report_writer *w);

/* Seeds of each condition; qk_seeds_reservation of them. */
int qk_report_seeds(const struct qk_report_writer *w);
const char *qk_report_reservation(const struct qk_report_writer *w);

/* The config of a condition's first seed, or NULL. */
const cJSON *qk_report_config(const struct qk_report_writer *w, int condition);
/* A config value as text: numbers as JSON prints them, "-" where it is not told. */
void qk_report_setting(const cJSON *config, const char *key, char text[64]);
/* The last number of a list `key` of a run, in its object `group` or (NULL) at the top; NaN. */
double qk_report_last(const struct qk_results *r, const char *group, const char *key);

/* Is what was trained here the published model?  Results without a config do not tell. */
enum qk_report_model { QK_REPORT_SAME, QK_REPORT_OTHER, QK_REPORT_UNTOLD };
enum qk_report_model qk_report_model(const struct qk_report_writer *w);

/* Limits that several studies have. */
#define QK_REPORT_UNTUNED                                                                          \
    "Learning rates were not tuned per condition, and a learning rate alone can move rank as "     \
    "much as a condition does."
#define QK_REPORT_NO_TASK "No downstream task is evaluated here."

/* ---- parts ---- */

/* Says that the model is not the published one, where it is not. */
void qk_report_write_size(struct qk_report_writer *w);
void qk_report_setup(struct qk_report_writer *w);
/* "Learning rates" of a study that did not tune them; `why` ends the sentence. */
void qk_report_untuned(struct qk_report_writer *w, const char *why);
void qk_report_measures(struct qk_report_writer *w);
void qk_report_points(struct qk_report_writer *w);
/* "Downstream" of a study without such a task. */
void qk_report_no_downstream(struct qk_report_writer *w);
/* "Loss against ...": rank and loss of every condition at the end, as a table. */
void qk_report_loss_and_rank(struct qk_report_writer *w);

void qk_report_limitations(struct qk_report_writer *w);
void qk_report_prior_work(struct qk_report_writer *w);
void qk_report_recommendations(struct qk_report_writer *w);
void qk_report_published(struct qk_report_writer *w);
void qk_report_made(struct qk_report_writer *w);

#endif
