/* pilot500k's report: a first look at keys with QK-Norm and without, and the original's report
 * beside ours. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/judge/published.h"
#include "study/report/reportparts.h"

static void write_tldr(struct qk_report_writer *w)
{
    qk_report_three(w, "trajectory", "loss");
}

static void write_summary(struct qk_report_writer *w)
{
    static const char *const keys[] = {"rank", NULL};
    qk_report_judged(w, "Verdict", keys);
    qk_report_rule(w);
}

static void write_intro(struct qk_report_writer *w)
{
    struct qk_strings list = {0};
    qk_report_paragraph(w, "Two language models are trained alike but for the treatment of queries "
                           "and keys, from the same initial weights, on the same data in the same "
                           "order:");
    qk_report_item(&list, "QK: queries and keys are normalised per head and scaled by a learned "
                          "gain per dimension, QK-Norm as it is used.");
    qk_report_item(&list, "NoQK: no normalisation; what QK has beyond it is normalisation and gain "
                          "together, which causal50m takes apart.");
    qk_report_list(w, &list);
}

static void write_rates(struct qk_report_writer *w)
{
    qk_report_untuned(w, "they are those of the original pilot, alike in both conditions");
}

/* ---- the original's report beside ours ---- */

/* The value at our point nearest to `tokens`, relative to the end of either run. */
static int point_at(const struct qk_results *r, double share)
{
    const double end = r->tokens[r->points - 1];
    int best = 0;
    for (int i = 1; i < r->points; i++)
        if (fabs(r->tokens[i] - share * end) < fabs(r->tokens[best] - share * end))
            best = i;
    return best;
}

static void original_table(struct qk_report_writer *w, const struct qk_results *with,
                           const struct qk_results *without)
{
    static const char *const names[] = {
        "Mtokens publ.", "PR QK publ.", "PR NoQK publ.", "ΔPR publ.", "Δtrain publ.",
        "Mtokens here",  "PR QK here",  "PR NoQK here",  "ΔPR here",  "Δtrain here"};
    struct qk_table t = {0};
    qk_table_header(&t, names, 10);
    for (int i = 0; i < QK_PUBLISHED_PILOT_POINTS; i++) {
        const struct qk_published_pilot *p = &qk_published_pilot500k[i];
        const double end = qk_published_pilot500k[QK_PUBLISHED_PILOT_POINTS - 1].tokens;
        const int at = point_at(with, p->tokens / end);
        qk_table_number(&t, "%.4g", p->tokens / 1e6);
        qk_table_number(&t, "%.2f", p->pr[0]);
        qk_table_number(&t, "%.2f", p->pr[1]);
        qk_table_number(&t, "%+.2f", p->pr[0] - p->pr[1]);
        qk_table_number(&t, "%+.3f", p->train[0] - p->train[1]);
        qk_table_number(&t, "%.4g", with->tokens[at] / 1e6);
        qk_table_number(&t, "%.2f", with->mean_pr[at]);
        qk_table_number(&t, "%.2f", without->mean_pr[at]);
        qk_table_number(&t, "%+.2f", with->mean_pr[at] - without->mean_pr[at]);
        qk_table_number(&t, "%+.3f", with->loss[at] - without->loss[at]);
    }
    qk_report_table(w, &t);
}

static void write_null(struct qk_report_writer *w, const struct qk_results *r)
{
    if (isnan(r->null_pr)) {
        qk_report_paragraph(w, "Its report says that Marchenko–Pastur predicts a PR of 0.90·d ≈ "
                               "115 for random keys, which its initial 115.86 would match. That is "
                               "wrong: independent Gaussian rows of 8,192 × 128 have 127.5. The "
                               "results here do not tell their own null.");
        return;
    }
    qk_report_paragraph(
        w,
        "Its report says that Marchenko–Pastur predicts a PR of 0.90·d ≈ 115 for random keys, "
        "which its initial 115.86 would match. That is wrong: independent Gaussian rows of 8,192 × "
        "128 have 127.5. Here the null of independent Gaussian rows of the same shape is computed: "
        "%.2f, against %.2f measured at the first point; tokens repeat, and their keys with them, "
        "so keys lie below the null before any training.",
        r->null_pr, r->mean_pr[0]);
}

static void write_original(struct qk_report_writer *w)
{
    const struct qk_combined *c = w->r->combined;
    const struct qk_condition *with = qk_combined_find(c, "QK"),
                              *without = qk_combined_find(c, "NoQK");
    struct qk_strings list = {0};
    qk_report_heading(w, 2, "The original's report beside ours");
    if (with == NULL || without == NULL) {
        qk_report_paragraph(w, "2 conditions named QK and NoQK are needed for it.");
        return;
    }
    qk_report_paragraph(
        w,
        "Published numbers (%s): 1.577 billion parameters, head dimension 128, one seed, 409,600 "
        "tokens. %s",
        qk_published_source,
        qk_report_model(w) == QK_REPORT_SAME
            ? "The model here is of the same size, so its 10 columns can be compared."
            : "PR is capped by the head dimension, so with another model signs, order and shape "
              "can be compared, values cannot; points are matched by their share of the run.");
    original_table(w, &with->mean, &without->mean);
    write_null(w, &with->mean);
    qk_report_paragraph(w, "5 more things to know of it:");
    qk_report_item(&list,
                   "Its \"50 steps\" between points are forward steps, 6.25 optimiser steps; "
                   "here a point is told in tokens.");
    qk_report_item(&list, "Its last point is at 409,600 tokens although the study is named for "
                          "500,000; here the end of the run is a point.");
    qk_report_item(&list, "It reports that 32 of 32 layers are higher with QK-Norm: layers of one "
                          "network are one replicate, not 32.");
    qk_report_item(&list, "It had training loss alone; here 1 fixed set of validation windows is "
                          "used at every point.");
    qk_report_item(&list, "It measured keys at 1 site, after RoPE, which later texts compare with "
                          "keys before it; here every site is measured and named.");
    qk_report_list(w, &list);
}

static void write_findings(struct qk_report_writer *w)
{
    qk_report_heading(w, 2, "Loss");
    qk_report_figure(w, "panel_a_loss", "Panel A. Loss with QK-Norm and without.");
    qk_report_sentence(w, "loss");
    qk_report_heading(w, 2, "Representation quality");
    qk_report_figure(w, "panel_b_pr_trajectory",
                     "Panel B. Mean participation ratio of the keys during training.");
    qk_report_sentence(w, "trajectory");
    qk_report_sentence(w, "null");
    qk_report_figure(w, "panel_c_per_layer", "Panel C. Participation ratio per layer at the end.");
    qk_report_figure(w, "panel_d_delta", "Panel D. QK less NoQK, per layer.");
    qk_report_sentence(w, "layers");
    qk_report_figure(w, "layer_pr_heatmap", "Participation ratio by layer and tokens.");
    qk_report_measures(w);
    qk_report_heading(w, 2, "Loss against rank");
    qk_report_loss_and_rank(w);
    qk_report_no_downstream(w);
    write_original(w);
    qk_report_figure_if(w, "sheet", "The four panels on one sheet.");
    qk_report_points(w);
    qk_report_heading(w, 2, "Discussion");
    qk_report_sentence(w, "rank");
    qk_report_paragraph(w, "Half a million tokens, where the original's loss is still 7.2 of the "
                           "10.8 that guessing costs, show how training begins. Whether a "
                           "difference stays, grows or turns is what causal50m measures over 100 "
                           "times as many tokens.");
}

static void add_limits(struct qk_report_writer *w, struct qk_strings *list)
{
    static const char *const items[] = {
        QK_REPORT_UNTUNED, "The run ends after few optimiser steps.",
        "QK and NoQK differ in normalisation and in gain: which of the two acts is not told here.",
        QK_REPORT_NO_TASK, NULL};
    (void)w;
    qk_report_items(list, items);
}

static const char *const prior[] = {"RoPE changes the rank of stacked keys: SALS (2025, arXiv "
                                    "2510.24273); so a null before RoPE is none after it.",
                                    NULL};

static void add_advice(struct qk_report_writer *w, struct qk_strings *list)
{
    static const char *const items[] = {"Take nothing from this study alone: run causal50m, which "
                                        "is longer and separates gain from normalisation.",
                                        NULL};
    (void)w;
    qk_report_items(list, items);
}

const struct qk_report_kind qk_report_pilot = {
    .study = "pilot500k",
    .size = &qk_report_large,
    .tldr = write_tldr,
    .summary = write_summary,
    .intro = write_intro,
    .rates = write_rates,
    .findings = write_findings,
    .limits = add_limits,
    .prior = prior,
    .advice = add_advice,
};
