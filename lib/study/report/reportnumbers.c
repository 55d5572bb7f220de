/* Tables that every study's report has: other measures, all points, loss beside rank. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/report/reportparts.h"

static bool any_number(const struct qk_combined *c, const char *group, const char *key)
{
    for (int i = 0; i < c->count; i++)
        if (!isnan(qk_report_last(&c->at[i].mean, group, key)))
            return true;
    return false;
}

static void measure_row(struct qk_table *t, const struct qk_combined *c, const char *name,
                        const char *group, const char *key, const char *format)
{
    if (!any_number(c, group, key))
        return;
    qk_table_cell(t, "%s", name);
    for (int i = 0; i < c->count; i++)
        qk_table_number(t, format, qk_report_last(&c->at[i].mean, group, key));
}

/* Conditions as columns. */
static void condition_columns(struct qk_table *t, const struct qk_combined *c, const char *first)
{
    t->columns = 1 + c->count;
    qk_table_cell(t, "%s", first);
    for (int i = 0; i < c->count; i++) {
        char label[QK_CONDITION_NAME];
        qk_table_cell(t, "%s", qk_condition_label(c->at[i].name, label));
    }
}

/* One number of the first condition less that of the second, " +0.12 WORD", where both have it. */
static void add_difference(struct qk_buffer *to, const struct qk_combined *c, const char *word,
                           const char *group, const char *key)
{
    const double d =
        qk_report_last(&c->at[0].mean, group, key) - qk_report_last(&c->at[1].mean, group, key);
    if (!isnan(d))
        qk_buffer_format(to, "%s %+.2f %s", to->size > 0 ? "," : "", d, word);
}

/* How much the answer hangs on what is measured, and where. */
static void write_dependence(struct qk_report_writer *w)
{
    const struct qk_combined *c = w->r->combined;
    struct qk_buffer text = {0};
    char first[QK_CONDITION_NAME], second[QK_CONDITION_NAME];
    if (c->count < 2)
        return;
    add_difference(&text, c, "before the norm", "mean_pr_sites", "pre_norm");
    add_difference(&text, c, "after it", "mean_pr_sites", "post_norm");
    add_difference(&text, c, "after RoPE", "mean_pr_sites", "post_rope");
    add_difference(&text, c, "in the PR of σ²", NULL, "mean_pr_energy");
    add_difference(&text, c, "in queries", NULL, "q_pr");
    add_difference(&text, c, "in the bilinear form QKᵀ", NULL, "qk_pr");
    if (text.size > 0)
        qk_report_paragraph(
            w,
            "The answer hangs on what is measured: %s−%s is%s%s. RoPE is not rank-preserving over "
            "stacked positions, so sites are not interchangeable; the PR of QKᵀ is the one that "
            "does not change when a factor moves from keys to queries.",
            qk_condition_label(c->at[0].name, first), qk_condition_label(c->at[1].name, second),
            text.at, qk_report_reservation(w));
    qk_buffer_free(&text);
}

void qk_report_measures(struct qk_report_writer *w)
{
    const struct qk_combined *c = w->r->combined;
    struct qk_table t = {0};
    condition_columns(&t, c, "at the last point");
    measure_row(&t, c, "key PR, pre_norm", "mean_pr_sites", "pre_norm", "%.2f");
    measure_row(&t, c, "key PR, post_norm", "mean_pr_sites", "post_norm", "%.2f");
    measure_row(&t, c, "key PR, post_rope", "mean_pr_sites", "post_rope", "%.2f");
    measure_row(&t, c, "key PR, weight", "mean_pr_sites", "weight", "%.2f");
    measure_row(&t, c, "key PR of σ² (the literature's)", NULL, "mean_pr_energy", "%.2f");
    measure_row(&t, c, "query PR", NULL, "q_pr", "%.2f");
    measure_row(&t, c, "PR of the bilinear form QKᵀ", NULL, "qk_pr", "%.2f");
    measure_row(&t, c, "attention entropy (nats)", NULL, "entropy", "%.3f");
    measure_row(&t, c, "largest logit", NULL, "max_logit", "%.2f");
    if (qk_table_rows(&t) > 0) {
        qk_report_heading(w, 2, "Other measures");
        qk_report_figure_if(w, "sites", "Rank at every site, of queries and of the bilinear form.");
        qk_report_table(w, &t);
        write_dependence(w);
    }
    qk_table_free(&t);
}

/* ---- all points ---- */

static void series_table(struct qk_report_writer *w, const char *what, const char *key,
                         const char *format)
{
    const struct qk_combined *c = w->r->combined;
    struct qk_table t = {0};
    char *first = qk_format("%s at Mtokens", what);
    condition_columns(&t, c, first);
    free(first);
    for (int i = 0; i < c->at[0].mean.points; i++) {
        qk_table_number(&t, "%.4g", c->at[0].mean.tokens[i] / 1e6);
        for (int k = 0; k < c->count; k++) {
            const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->at[k].mean.json, key);
            qk_table_number(&t, format, qk_json_as_number(cJSON_GetArrayItem(list, i)));
        }
    }
    qk_report_table(w, &t);
}

void qk_report_points(struct qk_report_writer *w)
{
    qk_report_heading(w, 2, "All points");
    qk_page_fold(&w->page, "Mean PR, training and validation loss at every point");
    series_table(w, "PR", "mean_pr", "%.2f");
    series_table(w, "train", "loss", "%.4f");
    series_table(w, "val", "val_loss", "%.4f");
    qk_page_unfold(&w->page);
}

/* ---- loss beside rank ---- */

static void add_end(struct qk_buffer *to, const struct qk_condition *c)
{
    char label[QK_CONDITION_NAME];
    const struct qk_results *r = &c->mean;
    const double val = qk_results_end(r, r->val_loss);
    qk_buffer_format(to, "%s%s %.2f PR and %.4f nats", to->size > 0 ? ", " : "",
                     qk_condition_label(c->name, label), r->mean_pr[r->points - 1],
                     isnan(val) ? r->loss[r->points - 1] : val);
}

void qk_report_loss_and_rank(struct qk_report_writer *w)
{
    const struct qk_combined *c = w->r->combined;
    struct qk_buffer ends = {0};
    for (int i = 0; i < c->count; i++)
        add_end(&ends, &c->at[i]);
    qk_report_paragraph(
        w,
        "At the last point: %s (validation loss where there is one, else training loss). %d "
        "condition%s: an order can be told, a law cannot.",
        ends.at, c->count, c->count == 1 ? " is one point" : "s are as many points");
    qk_buffer_free(&ends);
}

void qk_report_no_downstream(struct qk_report_writer *w)
{
    const struct qk_results *r = &w->r->combined->at[0].mean;
    char label[QK_CONDITION_NAME];
    const double val = qk_results_end(r, r->val_loss);
    qk_report_heading(w, 2, "Downstream");
    qk_report_paragraph(w,
                        "No downstream task is part of this study: %s loss (%.4f nats in %s) is "
                        "all that is known of what the models can do.",
                        isnan(val) ? "training" : "validation",
                        isnan(val) ? r->loss[r->points - 1] : val,
                        qk_condition_label(w->r->combined->at[0].name, label));
}
