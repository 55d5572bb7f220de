/* What a report ends with: loss against rank, discussion, limitations, prior work and what to do
 * next. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "study/published.h"
#include "study/reportparts.h"

/* ---- loss ---- */

void qk_report_loss_and_rank(struct qk_report_writer *w)
{
    const struct qk_verdict *v = w->r->numbers;
    qk_page_heading(&w->page, 2, "Loss against rank");
    qk_report_sentence(w, "order");
    qk_report_paragraph(w, "3 conditions are 3 points: an order can be told, a law cannot.");
    qk_page_heading(&w->page, 2, "Downstream");
    qk_report_paragraph(w,
                        "No downstream task is part of this study: %s loss is all that is known "
                        "of what the models can do.",
                        v->loss_is_val ? "validation" : "training");
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
    const struct qk_verdict *v = w->r->numbers;
    if (v->head_dim == 0 || isnan(last_logit(v, 0) + last_logit(v, 1) + last_logit(v, 2)))
        return;
    qk_report_paragraph(
        w,
        "With the gain frozen at 1 no logit can exceed √%d = %.1f; the largest seen at the end is "
        "%.2f in A, %.2f in B and %.2f in C. So A−B compares two temperatures of attention as "
        "well as two sets of dimensions.",
        v->head_dim, sqrt(v->head_dim), last_logit(v, 0), last_logit(v, 1), last_logit(v, 2));
}

void qk_report_discussion(struct qk_report_writer *w)
{
    const struct qk_verdict *v = w->r->numbers;
    qk_page_heading(&w->page, 2, "Discussion");
    discuss_contrast(w, "Learning the gain", &v->contrast[QK_AB]);
    discuss_contrast(w, "Normalising with the gain frozen", &v->contrast[QK_BC]);
    discuss_temperature(w);
}

/* ---- limitations ---- */

static void add_rates(const struct qk_report_writer *w, struct qk_strings *list)
{
    char muon[64], adamw[64], schedule[64];
    const cJSON *config = qk_report_config(w, 0);
    qk_report_setting(config, "muon_lr", muon);
    qk_report_setting(config, "adamw_lr", adamw);
    qk_report_setting(config, "lr_schedule", schedule);
    char *rates = config == NULL
                      ? qk_strdup("")
                      : qk_format(" (in A: Muon %s, AdamW %s, schedule %s)", muon, adamw, schedule);
    qk_report_item(list,
                   "Learning rates%s were not tuned per condition, and a learning rate alone can "
                   "move rank as much as a condition does.",
                   rates);
    free(rates);
}

/* Size, architecture and length, as far as they are told. */
static void add_size(struct qk_report_writer *w, struct qk_strings *list)
{
    const struct qk_verdict *v = w->r->numbers;
    const int64_t parameters = qk_results_parameters(&v->at[0].condition->mean);
    char tokens[32], digits[32];
    qk_group_digits((int64_t)v->tokens, tokens);
    if (parameters == 0)
        qk_report_item(list,
                       "One architecture, one data mix, one optimiser, %s tokens; the input does "
                       "not tell the size of the model.",
                       tokens);
    else
        qk_report_item(list,
                       "One architecture (%s parameters), one data mix, one optimiser; training "
                       "stops after %s tokens, %.2g per parameter.",
                       qk_group_digits(parameters, digits), tokens, v->tokens / (double)parameters);
    if (qk_report_model(w) == QK_REPORT_OTHER)
        qk_report_item(list,
                       "The head dimension of %d caps PR; whether any of this holds at the "
                       "published model's size, or at any other scale, is unknown.",
                       v->head_dim);
    else
        qk_report_item(list, "Whether any of this holds at another scale is unknown.");
}

void qk_report_limitations(struct qk_report_writer *w)
{
    struct qk_strings list = {0};
    const cJSON *caveat;
    qk_page_heading(&w->page, 2, "Limitations: what this cannot say");
    cJSON_ArrayForEach(caveat, cJSON_GetObjectItemCaseSensitive(w->r->verdict, "caveats"))
    {
        if (cJSON_IsString(caveat))
            qk_report_item(&list, "%s", caveat->valuestring);
    }
    qk_report_item(&list,
                   "The replicate is the seed: points of one run and layers of one network are not "
                   "independent.");
    add_rates(w, &list);
    add_size(w, &list);
    const cJSON *decay =
        cJSON_GetObjectItemCaseSensitive(qk_report_config(w, 0), "qk_gain_weight_decay");
    if (!cJSON_IsNumber(decay) || decay->valuedouble != 0)
        qk_report_item(&list,
                       "Weight decay acts on the learned gain and not on the frozen one, as in the "
                       "original: A and B differ in that too.");
    qk_report_item(
        &list, "Key PR is not invariant: a factor moved from the gain of keys to that of queries "
               "changes it and leaves attention as it was. A learned gain also changes the "
               "temperature of attention, which A−B does not separate from the choice of "
               "dimensions.");
    qk_report_item(
        &list, "Rank is a property of the keys on one probe batch, not of what the model can do "
               "with them; no downstream task is evaluated here.");
    qk_report_item(&list,
                   "QK-Norm with a learned gain is used in production models elsewhere (Qwen3, "
                   "Gemma 3), for the stability of training at scale; that is not what is measured "
                   "here.");
    qk_report_list(w, &list);
}

void qk_report_prior_work(struct qk_report_writer *w)
{
    struct qk_strings list = {0};
    qk_page_heading(&w->page, 2, "Prior work");
    qk_report_paragraph(w, "This repeats the comparison of %s; nothing in it is claimed as new.",
                        qk_published_source);
    qk_report_item(
        &list, "QK-Norm: Henry et al. 2020 (arXiv 2010.04245), ViT-22B (Dehghani et al. 2023); per "
               "head with a gain shared by heads in Qwen3 and Gemma 3, and without any gain, as in "
               "condition B, in modded-nanogpt.");
    qk_report_item(&list,
                   "Fall and recovery of rank during training: three phases in OLMo and Pythia "
                   "(arXiv 2509.23024).");
    qk_report_item(
        &list, "Key rank before and after RoPE: Loki (arXiv 2406.02542), SALS (arXiv 2510.24273). "
               "Participation ratio of representations: Chun et al. (arXiv 2509.26560).");
    qk_report_item(
        &list, "Muon and spectra: Moonlight (arXiv 2502.16982) and Wang (arXiv 2509.26030) find "
               "weights more isotropic than with AdamW, NuMuon (arXiv 2603.03597) pronounced "
               "low-rank structure.");
    qk_report_item(
        &list,
        "Entropy collapse of attention: Zhai et al. (arXiv 2303.06296). Rank collapse across "
        "tokens (Dong et al., arXiv 2103.03404) is a different object.");
    qk_report_list(w, &list);
}

/* ---- recommendations ---- */

static bool has_norm(const struct qk_combined *c, const char *norm)
{
    for (int i = 0; i < c->count; i++)
        if (c->at[i].mean.qk_norm != NULL && strcmp(c->at[i].mean.qk_norm, norm) == 0)
            return true;
    return false;
}

void qk_report_recommendations(struct qk_report_writer *w)
{
    const struct qk_verdict *v = w->r->numbers;
    const cJSON *decay =
        cJSON_GetObjectItemCaseSensitive(qk_report_config(w, 0), "qk_gain_weight_decay");
    struct qk_strings list = {0};
    qk_page_heading(&w->page, 2, "Recommendations");
    if (v->n_seeds < 6)
        qk_report_item(&list,
                       "Run at least 6 seeds (`SEEDS=`): fewer cannot reach p < 0.05 in the "
                       "exact test, and %s.",
                       v->n_seeds == 1 ? "one tells nothing about variance"
                                       : "intervals stay wide");
    if (qk_report_model(w) == QK_REPORT_OTHER)
        qk_report_item(&list, "Repeat it at the published size (`SCALE=full`) before anything is "
                              "said about that model.");
    if (!has_norm(w->r->combined, "scalar"))
        qk_report_item(&list, "Add the condition with one learned number per layer (`QK_scalar`), "
                              "which changes temperature and cannot choose dimensions.");
    if (cJSON_IsNumber(decay) && decay->valuedouble != 0)
        qk_report_item(&list, "Repeat A without decay of its gain (`qk_gain_weight_decay=0`).");
    qk_report_item(&list, "Tune the learning rates per condition before comparing their losses.");
    qk_report_item(&list, "Decide for or against QK-Norm on stability and loss; key rank alone is "
                          "no reason for either.");
    qk_report_list(w, &list);
}
