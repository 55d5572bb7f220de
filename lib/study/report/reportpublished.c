/* The original study's published values beside ours. */
#include <math.h>

#include "study/judge/published.h"
#include "study/report/reportparts.h"

struct published_summary {
    double last, least, least_tokens, train, val;
};

static struct published_summary summarise(int condition)
{
    const struct qk_published_point *p = qk_published_causal50m;
    const struct qk_published_point *end = &p[QK_PUBLISHED_POINTS - 1];
    struct published_summary s = {end->at[condition].pr, INFINITY, 0, end->at[condition].train,
                                  end->at[condition].val};
    for (int i = 0; i < QK_PUBLISHED_POINTS; i++)
        if (p[i].at[condition].pr < s.least) {
            s.least = p[i].at[condition].pr;
            s.least_tokens = p[i].tokens;
        }
    return s;
}

static void published_rows(struct qk_table *t, const struct qk_verdict *v)
{
    for (int i = 0; i < 3; i++) {
        struct published_summary s = summarise(i);
        const struct qk_trajectory *at = &v->at[i];
        qk_table_cell(t, "%c %s", 'A' + i, qk_condition_name(at->condition));
        qk_table_cell(t, "%.2f", s.last);
        qk_table_number(t, "%.2f", at->last_pr);
        qk_table_cell(t, "%.0f", 100 * s.last / QK_PUBLISHED_HEAD_DIM);
        qk_table_number(t, "%.0f", v->head_dim > 0 ? 100 * at->last_pr / v->head_dim : NAN);
        qk_table_cell(t, "%.2f at %.2f M", s.least, s.least_tokens / 1e6);
        qk_table_cell(t, "%.2f at %.3g M", at->least_pr, at->least_tokens / 1e6);
        qk_table_cell(t, "%.3f", s.val);
        qk_table_number(t, "%.3f", at->val_loss);
    }
}

static void published_contrasts(struct qk_table *t, const struct qk_verdict *v)
{
    static const int pair[QK_CONTRASTS][2] = {{0, 1}, {1, 2}, {0, 2}};
    for (int i = 0; i < QK_CONTRASTS; i++) {
        struct published_summary a = summarise(pair[i][0]), b = summarise(pair[i][1]);
        qk_table_cell(t, "%c−%c", v->contrast[i].plus, v->contrast[i].minus);
        qk_table_cell(t, "%+.2f", a.last - b.last);
        qk_table_number(t, "%+.2f", v->contrast[i].pr.mean);
        qk_table_cell(t, "%+.3f", a.train - b.train);
        qk_table_number(t, "%+.3f", v->contrast[i].train.mean);
        qk_table_cell(t, "%+.3f", a.val - b.val);
        qk_table_number(t, "%+.3f", v->contrast[i].val.mean);
    }
}

static const char *relation(enum qk_report_model model)
{
    return model == QK_REPORT_SAME ? "a model of the same size, with one seed."
           : model == QK_REPORT_UNTOLD
               ? "a model of 1.577 billion parameters, 32 layers, head dimension 128, trained on "
                 "49.15 M tokens with one seed. The input does not tell what model it is of."
               : "a different model: 1.577 billion parameters, 32 layers, head dimension 128, "
                 "49.15 M tokens, one seed. PR is capped by the head dimension, so values cannot "
                 "be compared; signs, order and shape can.";
}

void qk_report_published(struct qk_report_writer *w)
{
    static const char *const rows[] = {"condition",     "PR published",  "PR here",
                                       "% of hd publ.", "% of hd here",  "least published",
                                       "least here",    "val published", "val here"};
    static const char *const contrasts[] = {"contrast",     "ΔPR published", "ΔPR here",
                                            "Δtrain publ.", "Δtrain here",   "Δval publ.",
                                            "Δval here"};
    const struct qk_verdict *v = w->numbers;
    struct qk_table t = {0};
    qk_page_heading(&w->page, 2, "Published values beside ours");
    qk_report_paragraph(w, "The original study's published results (%s) come from %s",
                        qk_published_source, relation(qk_report_model(w)));
    qk_table_header(&t, rows, 9);
    published_rows(&t, v);
    qk_report_table(w, &t);
    qk_table_header(&t, contrasts, 7);
    published_contrasts(&t, v);
    qk_report_table(w, &t);
    double ab = summarise(0).last - summarise(1).last, bc = summarise(1).last - summarise(2).last;
    qk_report_paragraph(
        w,
        "The published pattern by the same rule is %s, here it is %s%s. The published "
        "validation batches were redrawn at every probe, which moves its validation loss by "
        "about ±0.1; ours are fixed.",
        qk_pattern_label(qk_pattern_of(ab, bc, ab + bc, v->tolerance)),
        qk_pattern_label(v->pattern), qk_report_reservation(w));
}
