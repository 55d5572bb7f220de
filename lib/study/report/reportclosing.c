/* What a report ends with: limitations, prior work and what to do next. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "study/judge/published.h"
#include "study/report/reportparts.h"

/* ---- limitations ---- */

/* Size, architecture and length, as far as they are told. */
static void add_size(struct qk_report_writer *w, struct qk_strings *list)
{
    const struct qk_combined *c = w->r->combined;
    char tokens[32], digits[32];
    if (c == NULL || c->count == 0) {
        qk_report_item(list, "One architecture, one size, one data mix, short runs.");
    } else {
        const struct qk_results *r = &c->at[0].mean;
        const int64_t parameters = qk_results_parameters(r->json);
        const double end = r->tokens[r->points - 1];
        qk_group_digits((int64_t)end, tokens);
        if (parameters == 0)
            qk_report_item(list,
                           "One architecture, one data mix, %s tokens; the input does not tell the "
                           "size of the model.",
                           tokens);
        else
            qk_report_item(list,
                           "One architecture of one size (%s parameters), one data mix; training "
                           "stops after %s tokens, %.2g per parameter.",
                           qk_group_digits(parameters, digits), tokens, end / (double)parameters);
        if (qk_report_model(w) == QK_REPORT_OTHER) {
            qk_report_item(list,
                           "The head dimension of %d caps PR; whether any of this holds at the "
                           "published model's size, or at any other scale, is unknown.",
                           r->head_dim);
            return;
        }
    }
    qk_report_item(list, "Whether any of this holds at another scale is unknown.");
}

void qk_report_limitations(struct qk_report_writer *w)
{
    struct qk_strings list = {0};
    const cJSON *caveat;
    qk_report_heading(w, 2, "Limitations: what this cannot say");
    cJSON_ArrayForEach(caveat, cJSON_GetObjectItemCaseSensitive(w->r->verdict, "caveats"))
    {
        if (cJSON_IsString(caveat))
            qk_report_item(&list, "%s", caveat->valuestring);
    }
    qk_report_item(&list,
                   "The replicate is the seed: points of one run, layers and heads of one network "
                   "are not independent.");
    add_size(w, &list);
    w->kind->limits(w, &list);
    qk_report_item(
        &list, "Key PR is not invariant: a factor moved from the gain of keys to that of queries "
               "changes it and leaves attention as it was.");
    qk_report_item(&list, "Rank is a property of the keys on one probe batch, not of what the "
                          "model can do with them.");
    qk_report_item(&list,
                   "QK-Norm with a learned gain is used in production models elsewhere (Qwen3, "
                   "Gemma 3), for the stability of training at scale; that is not what is measured "
                   "here.");
    qk_report_list(w, &list);
}

/* ---- prior work ---- */

void qk_report_prior_work(struct qk_report_writer *w)
{
    struct qk_strings list = {0};
    qk_report_heading(w, 2, "Prior work");
    qk_report_paragraph(w, "This repeats the comparison of %s; nothing in it is claimed as new.",
                        qk_published_source);
    qk_report_item(
        &list, "QK-Norm: Henry et al. 2020 (arXiv 2010.04245), ViT-22B (Dehghani et al. 2023); per "
               "head with a gain shared by heads in Qwen3 and Gemma 3 (2025), and without any gain "
               "in modded-nanogpt (2024).");
    qk_report_item(&list,
                   "Fall and recovery of rank during training: three phases in OLMo and Pythia "
                   "(2025, arXiv 2509.23024).");
    qk_report_item(
        &list, "Key rank before and after RoPE: Loki (2024, arXiv 2406.02542), SALS (2025, arXiv "
               "2510.24273). Participation ratio of representations: Chun et al. (2025, arXiv "
               "2509.26560).");
    qk_report_item(&list,
                   "Muon and spectra: Moonlight (2025, arXiv 2502.16982) and Wang (2025, arXiv "
                   "2509.26030) find weights more isotropic than with AdamW, NuMuon (2026, arXiv "
                   "2603.03597) pronounced low-rank structure.");
    qk_report_item(
        &list,
        "Entropy collapse of attention: Zhai et al. (2023, arXiv 2303.06296). Rank collapse across "
        "tokens (Dong et al. 2021, arXiv 2103.03404) is a different object.");
    qk_report_items(&list, w->kind->prior);
    qk_report_list(w, &list);
}

/* ---- recommendations ---- */

void qk_report_recommendations(struct qk_report_writer *w)
{
    const int seeds = qk_report_seeds(w);
    struct qk_strings list = {0};
    qk_report_heading(w, 2, "Recommendations");
    if (seeds < 6)
        qk_report_item(&list,
                       "Run at least 6 seeds (`SEEDS=`): fewer cannot reach p < 0.05 in the "
                       "exact test, and %s.",
                       seeds == 1 ? "one tells nothing about variance" : "intervals stay wide");
    if (qk_report_model(w) == QK_REPORT_OTHER)
        qk_report_item(&list, "Repeat it at the published size (`SCALE=full`) before anything is "
                              "said about that model.");
    w->kind->advice(w, &list);
    qk_report_item(&list, "Decide for or against QK-Norm on stability and loss; key rank alone is "
                          "no reason for either.");
    qk_report_list(w, &list);
}
