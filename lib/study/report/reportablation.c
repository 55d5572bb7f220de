/* ablation25m's report: norm, optimiser and data; surgery; and the claims, each with its number or
 * the sentence that it cannot be told. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/report/reportparts.h"

static void write_tldr(struct qk_report_writer *w)
{
    qk_report_three(w, "optimizer", "loss");
}

static void write_summary(struct qk_report_writer *w)
{
    static const char *const keys[] = {"norm", NULL};
    qk_report_judged(w, "Verdict", keys);
    qk_report_rule(w);
}

static const char *why(const char *name)
{
    static const char *const reasons[][2] = {
        {"A1", "QK-Norm and Muon on the mixed data: the reference"},
        {"A2", "Muon without QK-Norm: what A1 has beyond it is the norm"},
        {"B1", "QK-Norm and AdamW: what A1 has beyond it is the optimiser"},
        {"B2", "AdamW without QK-Norm: with B1, the norm under the other optimiser"},
        {"C1", "as A1, on the simple third of one corpus"},
        {"C2", "as A1, on the complex third of the same corpus: C2 − C1 is the data"}};
    return qk_words_for(reasons, sizeof reasons / sizeof reasons[0], name,
                        "a condition of its own");
}

static void write_intro(struct qk_report_writer *w)
{
    const struct qk_combined *c = w->r->combined;
    struct qk_strings list = {0};
    qk_report_paragraph(w, "Language models of one size that differ in the norm of queries and "
                           "keys, the optimiser, or the data; the same initial weights where the "
                           "parameters are the same, one probe batch for all of them:");
    for (int i = 0; i < c->count; i++)
        qk_report_item(&list, "%s: %s.", c->at[i].name, why(c->at[i].name));
    qk_report_list(w, &list);
}

static void write_rates(struct qk_report_writer *w)
{
    qk_report_untuned(w,
                      "all conditions share them, after the original's Muon 0.024 and AdamW 0.006, "
                      "the latter about six times the best rate of its own sweep; sweep20m shows "
                      "rank and loss at every rate, and main300m takes the winners");
}

/* ---- findings ---- */

static void write_rank(struct qk_report_writer *w)
{
    static const char *const keys[] = {"norm",        "norm_adamw", "optimizer",
                                       "interaction", "null",       NULL};
    qk_report_heading(w, 2, "Representation quality");
    qk_report_figure(w, "trajectory",
                     "Participation ratio of keys and queries during training, A1, A2, B1, B2.");
    qk_report_sentences(w, keys);
    qk_report_sentence(w, "time");
    qk_report_figure(w, "sv_waterfall",
                     "Singular values of the keys, σ_i/σ_1, mean over layers, during training.");
    qk_report_sentence(w, "queries");
    qk_report_measures(w);
}

static void write_data(struct qk_report_writer *w)
{
    qk_report_heading(w, 2, "Data complexity");
    qk_report_figure(w, "data_complexity",
                     "Rank of the keys on simple (C1) and complex (C2) text.");
    qk_report_sentence(w, "data");
    qk_report_sentence(w, "cross");
}

static const char *const gain_caption =
    "The learned gain against each dimension's share of the spectrum.";

static void write_surgery(struct qk_report_writer *w)
{
    const int dim = w->r->combined->at[0].mean.head_dim;
    qk_report_heading(w, 2, "Surgery");
    if (w->r->surgery == NULL || w->r->surgery->count == 0) {
        qk_report_paragraph(w, "No surgery was run here: 0 dose curves, so nothing is said of "
                               "which directions the keys need.");
        qk_report_figure_if(w, "gamma_vs_svd", gain_caption);
        return;
    }
    qk_report_figure(w, "surgery", "Loss after removing a share F of the key directions.");
    qk_report_sentence(w, "surgery");
    qk_report_study_table(w, "surgery");
    qk_report_paragraph(
        w,
        "Calibration and evaluation share no data. The methods cut at two places: `svd` and "
        "`random-subspace` cut W_k, before the norm, and RMSNorm divides what is left by its own "
        "root mean square, so with QK-Norm it is re-inflated to length √%d again; a cut of γ, by "
        "`gamma` and, where there is a gain, by `random`, comes after the norm, and nothing "
        "restores it. At the same F they therefore do not take the same length from the keys: "
        "`gamma` is to be held against `random`, `svd` against `random-subspace`.",
        dim > 0 ? dim : 1);
    qk_report_figure(w, "gamma_vs_svd", gain_caption);
}

/* ---- the claims ---- */

static void claim(struct qk_report_writer *w, const char *question, const char *key,
                  const char *untold)
{
    qk_report_heading(w, 3, question);
    if (qk_report_said(w, key)[0] != '\0')
        qk_report_sentence(w, key);
    else
        qk_report_paragraph(w, "It cannot be told: %s.", untold);
}

static void write_claims(struct qk_report_writer *w)
{
    qk_report_heading(w, 2, "Claims");
    claim(w, "Is collapse jointly determined by normalisation, optimiser and data?", "claim_joint",
          "that needs all 6 conditions, A1 to C2");
    claim(w, "Does QK-Norm accelerate it?", "claim_accelerates",
          "that needs A1 and A2 at the same points, 2 curves of PR in time");
    claim(w, "Does Muon's spectral evolution differ?", "claim_spectrum",
          "that needs A1 and B1, 2 optimisers under one norm");
    claim(w, "Is depth adaptive to data?", "claim_adaptive",
          "that needs C1 and C2, 2 kinds of text, layer by layer");
    claim(w, "What follows for pruning?", "claim_pruning",
          "that needs dose curves of svd, gamma and random, and there are 0 of them here");
}

static void write_findings(struct qk_report_writer *w)
{
    qk_report_heading(w, 2, "Loss");
    qk_report_figure(w, "rank_and_loss", "Rank of the keys and validation loss during training.");
    qk_report_sentence(w, "loss");
    write_rank(w);
    write_data(w);
    write_surgery(w);
    qk_report_heading(w, 2, "Loss against rank");
    qk_report_sentence(w, "time");
    qk_report_loss_and_rank(w);
    qk_report_no_downstream(w);
    write_claims(w);
    qk_report_points(w);
    qk_report_heading(w, 2, "Discussion");
    qk_report_sentence(w, "interaction");
    qk_report_paragraph(
        w,
        "The original's headline at 25 M tokens, mean PR 51 with Muon alone against 16 with "
        "QK-Norm and AdamW, compares a Muon rate of 0.024 with an AdamW rate of 0.006; halving "
        "Muon's rate alone moved its PR with QK-Norm from 30 (at 25 M tokens) to 43.5 (at 16 "
        "M). A difference between conditions at one untuned rate is a difference of rates "
        "too%s.",
        qk_report_reservation(w));
}

/* ---- closing ---- */

static void add_limits(struct qk_report_writer *w, struct qk_strings *list)
{
    static const char *const items[] = {
        "Learning rates were not tuned per condition: the original's AdamW rate was far above the "
        "best one it found, and a learning rate alone can move rank as much as a condition does.",
        "C1 and C2 are thirds of one corpus by one score of complexity; what else differs between "
        "them is not controlled.",
        "Surgery cuts without training again: what a model could regain is not measured.",
        QK_REPORT_NO_TASK, NULL};
    (void)w;
    qk_report_items(list, items);
}

static const char *const prior[] = {
    "Optimiser against architecture in spectra, and matched loss without matched spectra: arXiv "
    "2605.21803 (2026); effective rank of hidden states with Muon: arXiv 2606.09658 (2026).",
    "Low-rank keys used for compression: Loki (2024), SALS (2025), RAP, which keeps RoPE's pairs "
    "together (2026, arXiv 2602.02599); SparseGPT and SliceGPT prune weights and the residual "
    "stream.",
    "The original's own surgery trained on unshifted labels, a task of copying: its \"50 to 60 % "
    "of dimensions for free\" is not evidence.",
    NULL};

static void add_advice(struct qk_report_writer *w, struct qk_strings *list)
{
    static const char *const items[] = {
        "Run sweep20m and read every contrast here beside rank at every rate.",
        "Prune by the spectrum of calibration keys, not by the gain, unless the dose curves here "
        "show them alike.",
        NULL};
    (void)w;
    qk_report_items(list, items);
}

const struct qk_report_kind qk_report_ablation = {
    .study = "ablation25m",
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
