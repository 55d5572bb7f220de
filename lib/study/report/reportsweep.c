/* sweep20m's report: which learning rate each configuration gets, and how far rank moves with it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/report/reportparts.h"
#include "study/results/picklr.h"

/* The configuration of least loss, or NULL. */
static const cJSON *best_of(const cJSON *chosen)
{
    const cJSON *best = NULL, *one;
    cJSON_ArrayForEach(one, chosen)
    {
        const double loss = qk_json_find_number(one, "val_loss");
        if (!isnan(loss) && (best == NULL || loss < qk_json_find_number(best, "val_loss")))
            best = one;
    }
    return best;
}

static int runs_of(const cJSON *chosen)
{
    const cJSON *one;
    int runs = 0;
    cJSON_ArrayForEach(one, chosen)
    {
        runs += cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(one, "grid"));
    }
    return runs * qk_chosen_seeds(chosen);
}

static void write_tldr(struct qk_report_writer *w)
{
    const cJSON *best = best_of(w->r->chosen);
    const char *moves = qk_report_said(w, "rank_moves");
    char *untold = qk_format("Ranks of the %d runs are not told.", runs_of(w->r->chosen));
    qk_report_paragraph(w, "%s %s %s", qk_report_text(w, "sentence"),
                        moves[0] != '\0' ? moves : untold,
                        best != NULL ? qk_report_said(w, best->string) : "");
    free(untold);
}

static void write_summary(struct qk_report_writer *w)
{
    qk_report_study_table(w, "rates");
    qk_report_heading(w, 2, "Verdict");
    qk_report_sentence(w, "edges");
    qk_report_paragraph(w, "The rule was fixed before the %d runs. %s", runs_of(w->r->chosen),
                        qk_report_text(w, "rule"));
}

static void write_intro(struct qk_report_writer *w)
{
    struct qk_strings list = {0};
    qk_report_paragraph(w, "Models of one size, trained alike (cosine schedule, 2 %% of the tokens "
                           "for warming up) at a grid of rates per configuration:");
    qk_report_item(&list, "AdamW and Muon: the optimisers of the main study, without QK-Norm.");
    qk_report_item(&list, "AdamW+QK and Muon+QK: the same with QK-Norm, whose best rate may be "
                          "higher; a rate shared by all would favour one of them.");
    qk_report_list(w, &list);
    qk_report_paragraph(w, "With Muon the rate given is that of the matrices; the part that AdamW "
                           "trains has a quarter of it.");
}

static void write_rates(struct qk_report_writer *w)
{
    qk_report_paragraph(w, "They are what is tuned here, per configuration, by loss on the split "
                           "`select`, which is used for nothing else; the figure below shows every "
                           "run.");
}

static void write_findings(struct qk_report_writer *w)
{
    const cJSON *one;
    qk_report_heading(w, 2, "Loss");
    qk_report_figure(w, "lr_sweep",
                     "Validation loss and rank at every rate; stars mark the chosen ones.");
    cJSON_ArrayForEach(one, w->r->chosen)
    {
        qk_report_sentence(w, one->string);
    }
    qk_report_heading(w, 2, "Representation quality");
    qk_report_sentence(w, "rank_moves");
    qk_report_study_table(w, "grid");
    qk_report_heading(w, 2, "Loss against rank");
    qk_report_paragraph(w,
                        "Every row above is 1 rate with %d seed%s: loss and rank at the end of a "
                        "short run, not a law that joins them.",
                        qk_report_seeds(w), qk_report_seeds(w) == 1 ? "" : "s");
    qk_report_heading(w, 2, "Downstream");
    qk_report_paragraph(w, "0 downstream tasks are evaluated here; main300m does so with the rates "
                           "chosen.");
    qk_report_heading(w, 2, "Discussion");
    qk_report_sentence(w, "edges");
    qk_report_sentence(w, "rank_moves");
}

static void add_limits(struct qk_report_writer *w, struct qk_strings *list)
{
    static const char *const items[] = {
        "Learning rates were tuned on runs far shorter than the main study's: the best rate of a "
        "longer run may be lower.",
        "One number is tuned per configuration; warm-up, decay, momentum and the ratio of the two "
        "rates are not.",
        "Differences between neighbouring rates below about 0.005 nats may be the seed's.", NULL};
    (void)w;
    qk_report_items(list, items);
}

static const char *const prior[] = {
    "Tuning one rate alone can give AdamW a factor of about 2, and rankings flip while rates "
    "decay: \"Fantastic optimizers\" (2025, arXiv 2509.02046); so ends are compared here.",
    NULL};

static void add_advice(struct qk_report_writer *w, struct qk_strings *list)
{
    const cJSON *one;
    cJSON_ArrayForEach(one, w->r->chosen)
    {
        char label[QK_CONDITION_NAME];
        const cJSON *side = cJSON_GetObjectItemCaseSensitive(one, "side");
        if (cJSON_IsString(side))
            qk_report_item(list,
                           "Extend the grid of %s at its %s end: %g is the last rate tried "
                           "there.",
                           qk_condition_label(one->string, label), side->valuestring,
                           qk_json_find_number(one, "rate"));
    }
    qk_report_item(list, "Show rank at every rate beside any comparison of conditions.");
}

const struct qk_report_kind qk_report_sweep = {
    .study = "sweep20m",
    .size = &qk_report_middle,
    .tldr = write_tldr,
    .summary = write_summary,
    .intro = write_intro,
    .rates = write_rates,
    .findings = write_findings,
    .limits = add_limits,
    .prior = prior,
    .advice = add_advice,
};
