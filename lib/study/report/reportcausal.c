/* causal50m's report: is it the learned gain, or the normalisation itself? */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "study/judge/published.h"
#include "study/report/reportparts.h"

/* ---- opening ---- */

static void write_tldr(struct qk_report_writer *w)
{
    qk_report_three(w, "loss", "order");
}

static void write_summary(struct qk_report_writer *w)
{
    static const char *const keys[] = {"kill", "equivalence_ab", "equivalence_bc", "equivalence_ac",
                                       NULL};
    qk_report_judged(w, "Verdict", keys);
    qk_report_sentence(w, "scale");
    qk_report_rule(w);
}

/* ---- set-up ---- */

static const char *why(const struct qk_condition *c)
{
    static const char *const reasons[][2] = {
        {"learned", "queries and keys are normalised per head and scaled by a learned gain per "
                    "dimension: QK-Norm as it is used"},
        {"frozen", "the same normalisation with the gain kept at 1: what A has beyond it is the "
                   "learned gain alone"},
        {"none", "no normalisation of queries and keys: what B has beyond it is the normalisation "
                 "alone"},
        {"scalar", "one learned number per layer: temperature without choice of dimensions"}};
    return qk_words_for(reasons, sizeof reasons / sizeof reasons[0], c->mean.qk_norm,
                        "as its tag says");
}

static void write_intro(struct qk_report_writer *w)
{
    const struct qk_combined *c = w->r->combined;
    struct qk_strings list = {0};
    qk_report_paragraph(w,
                        "%s language models are trained alike but for the treatment of queries and "
                        "keys, from the same initial weights, on the same data in the same order:",
                        c->count == 3 ? "Three" : "Several");
    for (int i = 0; i < c->count; i++)
        qk_report_item(&list, "%s (%s, `%s`): %s.", c->at[i].name, qk_condition_name(&c->at[i]),
                       c->at[i].mean.tag, why(&c->at[i]));
    qk_report_list(w, &list);
}

static void write_rates(struct qk_report_writer *w)
{
    qk_report_untuned(w, "they are those of the original, alike in all conditions");
}

/* ---- findings ---- */

static void write_loss(struct qk_report_writer *w)
{
    qk_report_heading(w, 2, "Loss");
    qk_report_figure(w, "1_loss",
                     "Figure 1. Training and validation loss, and the differences to condition A.");
    qk_report_sentence(w, "loss_ab");
    qk_report_sentence(w, "loss_bc");
}

/* Conditions beyond A, B and C are described, not judged. */
static void write_others(struct qk_report_writer *w)
{
    static const char *const names[] = {"condition", "PR", "Δ to A", "Δ to B", "train", "val"};
    const struct qk_combined *c = w->r->combined;
    const struct qk_verdict *v = w->numbers;
    struct qk_table t = {0};
    qk_table_header(&t, names, 6);
    for (int i = 0; i < c->count; i++) {
        const struct qk_results *r = &c->at[i].mean;
        const int last = r->points - 1;
        if (c->at[i].name[0] <= 'C')
            continue;
        qk_table_cell(&t, "%s %s", c->at[i].name, qk_condition_name(&c->at[i]));
        qk_table_number(&t, "%.2f", r->mean_pr[last]);
        qk_table_number(&t, "%+.2f", r->mean_pr[last] - v->at[0].last_pr);
        qk_table_number(&t, "%+.2f", r->mean_pr[last] - v->at[1].last_pr);
        qk_table_number(&t, "%.4f", r->loss[last]);
        qk_table_number(&t, "%.4f", qk_results_end(r, r->val_loss));
    }
    if (qk_table_rows(&t) > 0)
        qk_page_table(&w->page, &t);
    qk_table_free(&t);
}

static void write_rank(struct qk_report_writer *w)
{
    qk_report_heading(w, 2, "Rank of the keys");
    qk_report_figure(w, "2_key_pr_causal",
                     "Figure 2. Mean participation ratio of the keys during training.");
    qk_report_sentence(w, "minimum");
    qk_report_sentence(w, "recovery");
    qk_report_sentence(w, "plateau");
    qk_report_sentence(w, "null");
    write_others(w);
}

static void write_layers(struct qk_report_writer *w)
{
    qk_report_heading(w, 2, "Layer by layer");
    qk_report_figure(w, "3_per_layer",
                     "Figure 3. Participation ratio per layer at the end of training.");
    qk_report_sentence(w, "layers");
    qk_report_heading(w, 2, "What changes the rank: decomposition");
    qk_report_figure(w, "4_causal_decomposition",
                     "Figure 4. A−B, the learned gain, and B−C, the normalisation, per layer.");
    qk_report_sentence(w, "pattern");
    qk_report_sentence(w, "plateau_contrasts");
}

static void write_gain(struct qk_report_writer *w)
{
    qk_report_heading(w, 2, "Gain");
    qk_report_figure(w, "5_gamma_cv",
                     "Figure 5. Coefficient of variation of the learned key gain.");
    qk_report_sentence(w, "gain");
}

/* ---- discussion ---- */

/* One contrast: mean against layers. */
static void discuss_contrast(struct qk_report_writer *w, const char *what,
                             const struct qk_contrast *k)
{
    qk_report_paragraph(
        w,
        "%s (%c−%c) moves mean PR by %+.2f at the end and by %+.2f over the second half of "
        "training; a single layer moves by %.2f on average, whatever the sign%s%s.",
        what, k->plus, k->minus, k->pr.mean, k->plateau_mean, k->layer_abs,
        qk_verdict_cancels(k) ? ", so a small mean hides larger changes of both signs" : "",
        qk_report_reservation(w));
}

static double last_logit(const struct qk_verdict *v, int condition)
{
    const struct qk_results *r = &v->at[condition].condition->mean;
    return r->max_logit[r->points - 1];
}

/* A learned gain is also a temperature. */
static void discuss_temperature(struct qk_report_writer *w)
{
    const struct qk_verdict *v = w->numbers;
    if (v->head_dim == 0 || isnan(last_logit(v, 0) + last_logit(v, 1) + last_logit(v, 2)))
        return;
    qk_report_paragraph(
        w,
        "With the gain frozen at 1 no logit can exceed √%d = %.1f; the largest seen at the end is "
        "%.2f in A, %.2f in B and %.2f in C. So A−B compares two temperatures of attention as "
        "well as two sets of dimensions.",
        v->head_dim, sqrt(v->head_dim), last_logit(v, 0), last_logit(v, 1), last_logit(v, 2));
}

static void write_discussion(struct qk_report_writer *w)
{
    const struct qk_verdict *v = w->numbers;
    qk_report_heading(w, 2, "Discussion");
    discuss_contrast(w, "Learning the gain", &v->contrast[QK_AB]);
    discuss_contrast(w, "Normalising with the gain frozen", &v->contrast[QK_BC]);
    discuss_temperature(w);
}

static void write_findings(struct qk_report_writer *w)
{
    write_loss(w);
    write_rank(w);
    write_layers(w);
    write_gain(w);
    qk_report_measures(w);
    qk_report_heading(w, 2, "Loss against rank");
    qk_report_sentence(w, "order");
    qk_report_loss_and_rank(w);
    qk_report_no_downstream(w);
    if (w->r->published)
        qk_report_published(w);
    qk_report_points(w);
    write_discussion(w);
}

/* ---- closing ---- */

static const cJSON *gain_decay(const struct qk_report_writer *w)
{
    return cJSON_GetObjectItemCaseSensitive(qk_report_config(w, 0), "qk_gain_weight_decay");
}

static void add_limits(struct qk_report_writer *w, struct qk_strings *list)
{
    const cJSON *decay = gain_decay(w);
    qk_report_item(list, QK_REPORT_UNTUNED);
    qk_report_item(list, "One optimiser.");
    if (!cJSON_IsNumber(decay) || decay->valuedouble != 0)
        qk_report_item(list,
                       "Weight decay acts on the learned gain and not on the frozen one, as in the "
                       "original: A and B differ in that too.");
    qk_report_item(list, "A learned gain also changes the temperature of attention, which A−B does "
                         "not separate from the choice of dimensions.");
    qk_report_item(list, QK_REPORT_NO_TASK);
}

static const char *const prior[] = {
    "A norm without any gain, as in condition B, is what modded-nanogpt (2024) trains with.", NULL};

static bool has_norm(const struct qk_combined *c, const char *norm)
{
    for (int i = 0; i < c->count; i++)
        if (c->at[i].mean.qk_norm != NULL && strcmp(c->at[i].mean.qk_norm, norm) == 0)
            return true;
    return false;
}

static void add_advice(struct qk_report_writer *w, struct qk_strings *list)
{
    const cJSON *decay = gain_decay(w);
    if (!has_norm(w->r->combined, "scalar"))
        qk_report_item(list, "Add the condition with one learned number per layer (`QK_scalar`), "
                             "which changes temperature and cannot choose dimensions.");
    if (cJSON_IsNumber(decay) && decay->valuedouble != 0)
        qk_report_item(list, "Repeat A without decay of its gain (`qk_gain_weight_decay=0`).");
    qk_report_item(list, "Tune the learning rates per condition before comparing their losses.");
}

const struct qk_report_kind qk_report_causal = {
    .study = "causal50m",
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
