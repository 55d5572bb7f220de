/* ablation25m: norm x optimiser x data, and what surgery says of the directions that are left. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "study/judge/judging.h"
#include "study/judge/verdict.h"

static const char *const rule =
    "Primary endpoint: mean over layers of the keys' PR at the headline site, at the last point; a "
    "difference counts from 1.0 PR on. A1−A2: does QK-Norm lower rank (a cause), raise it, or "
    "leave it (a report at most)? A1−B1: does Muon change the spectrum? C2−C1: does rank adapt to "
    "data? A1 in time: the steepest fall between two points; sudden when more than half of the "
    "whole fall lies in it. Surgery: area under the dose curve of loss minus loss at 0; a method's "
    "saving is the share of the area under random cuts at its own place (random-subspace for svd, "
    "random for gamma) that it avoids; γ is a reliable proxy from 80 % of the SVD's saving on, "
    "misleading below 50 %, and nothing is said when the SVD is within twice the spread of random "
    "draws. From two seeds: paired differences, exact sign-flip p, Holm over the five contrasts, "
    "equivalence against ±1 PR.";

enum { A1, A2, B1, B2, C1, C2, NAMES };
enum { NORM, NORM_ADAMW, OPTIMIZER, OPTIMIZER_PLAIN, DATA, CONTRASTS };

/* ---- A1 in time ---- */

struct fall {
    double from, to, size, whole, share; /* tokens, tokens, PR, PR, of the whole */
    double r;                            /* of changes of PR with changes of loss */
    int intervals;
};

static void changes(const struct qk_results *r, struct fall *f)
{
    const double *loss = isnan(qk_results_end(r, r->val_loss)) ? r->loss : r->val_loss;
    double *dp = qk_alloc((size_t)r->points, sizeof *dp);
    double *dl = qk_alloc((size_t)r->points, sizeof *dl);
    int n = 0;
    for (int i = 1; i < r->points; i++) {
        if (isnan(loss[i]) || isnan(loss[i - 1]))
            continue;
        dp[n] = r->mean_pr[i] - r->mean_pr[i - 1];
        dl[n++] = loss[i] - loss[i - 1];
    }
    f->intervals = n;
    f->r = qk_stats_pearson(dp, dl, n);
    free(dp);
    free(dl);
}

static struct fall fall_of(const struct qk_results *r)
{
    struct fall f = {.size = 0};
    double least = r->mean_pr[0];
    for (int i = 1; i < r->points; i++) {
        const double drop = r->mean_pr[i - 1] - r->mean_pr[i];
        least = fmin(least, r->mean_pr[i]);
        if (drop <= f.size)
            continue;
        f.size = drop;
        f.from = r->tokens[i - 1];
        f.to = r->tokens[i];
    }
    f.whole = r->mean_pr[0] - least;
    f.share = f.whole > 0 ? f.size / f.whole : NAN;
    changes(r, &f);
    return f;
}

static void say_time(struct qk_judging *j, const struct qk_results *r)
{
    const struct fall f = fall_of(r);
    char with[128] = "", from[32], to[32];
    if (!isnan(f.r))
        snprintf(with, sizeof with,
                 "; over %d intervals the change of PR correlates %.2f with the change of loss",
                 f.intervals, f.r);
    if (f.whole > 0)
        qk_judging_say(j, "time",
                       "In A1 mean PR falls by %.2f in all, steepest by %.2f between %s and %s "
                       "tokens, %.0f %% of it: %s%s",
                       f.whole, f.size, qk_tokens_text(f.from, from), qk_tokens_text(f.to, to),
                       100 * f.share, f.share > 0.5 ? "a sudden fall" : "a gradual fall", with);
    else
        qk_judging_say(j, "time", "In A1 mean PR never falls below its start of %.2f%s",
                       r->mean_pr[0], with);
    cJSON *o = cJSON_AddObjectToObject(j->numbers, "fall");
    qk_json_add_number(o, "whole", f.whole);
    qk_json_add_number(o, "steepest", f.size);
    qk_json_add_number(o, "from_tokens", f.whole > 0 ? f.from : (double)NAN);
    qk_json_add_number(o, "to_tokens", f.whole > 0 ? f.to : (double)NAN);
    qk_json_add_number(o, "share", f.share);
    qk_json_add_number(o, "correlation_with_loss", f.r);
}

/* ---- surgery ---- */

/* What of the loss that cuts at random cost each method avoids, on one run. The two methods cut at
 * two places, where the same F takes different lengths: savings can be compared, areas cannot. */
struct proxy {
    double svd, gamma, random, subspace; /* areas, nats */
    double spread;                       /* of random draws, nats */
    double svd_saving, gamma_saving;     /* 1 − area / area of random cuts at the same place */
    double share;                        /* gamma_saving / svd_saving; NaN when the SVD saves
                                            nothing to speak of */
    const char *is;
};

static double area_of(const struct qk_surgery *s, const char *run, const char *method)
{
    const struct qk_dose_curve *c = qk_surgery_find(s, run, method);
    return c != NULL ? c->area : NAN;
}

static double spread_of(const struct qk_surgery *s, const char *run, const char *method)
{
    const struct qk_dose_curve *c = qk_surgery_find(s, run, method);
    return c != NULL ? c->area_sd : NAN;
}

static struct proxy proxy_of(const struct qk_surgery *s, const char *run)
{
    struct proxy p = {.svd = area_of(s, run, "svd"),
                      .gamma = area_of(s, run, "gamma"),
                      .random = area_of(s, run, "random"),
                      .subspace = area_of(s, run, "random-subspace"),
                      .svd_saving = NAN,
                      .gamma_saving = NAN,
                      .share = NAN};
    const double chance = isnan(p.subspace) ? p.random : p.subspace;
    const double advantage = chance - p.svd;
    p.spread = fmax(spread_of(s, run, "random"), spread_of(s, run, "random-subspace"));
    if (isnan(advantage) || isnan(p.random - p.gamma))
        p.is = "not measured";
    else if (!(advantage > 0) || advantage < 2 * p.spread || !(chance > 0) || !(p.random > 0))
        p.is = "inconclusive";
    else {
        p.svd_saving = advantage / chance;
        p.gamma_saving = 1 - p.gamma / p.random;
        p.share = p.gamma_saving / p.svd_saving;
        p.is = p.share >= 0.8 ? "reliable" : p.share < 0.5 ? "misleading" : "partial";
    }
    return p;
}

static const char *proxy_words(const struct proxy *p)
{
    static const char *const words[][2] = {
        {"reliable", "the gain is a reliable proxy of what can go"},
        {"partial", "the gain tells a part of what can go"},
        {"misleading",
         "the gain is a misleading proxy: the SVD finds what can go, the gain does not"},
        {"inconclusive", "no method stands out from random cuts, so nothing is said of the gain"}};
    return qk_words_for(words, 4, p->is, "not measured");
}

static void say_surgery(struct qk_judging *j)
{
    const struct qk_surgery *s = j->e->surgery;
    if (s == NULL)
        return;
    const struct proxy p = proxy_of(s, "A1");
    char savings[128] = "", subspace[48] = "";
    cJSON *o = cJSON_AddObjectToObject(j->numbers, "surgery");
    for (int i = 0; i < s->count; i++) {
        cJSON *run = cJSON_GetObjectItemCaseSensitive(o, s->at[i].run);
        if (run == NULL)
            run = cJSON_AddObjectToObject(o, s->at[i].run);
        qk_json_add_number(run, s->at[i].method, s->at[i].area);
    }
    cJSON_AddStringToObject(o, "proxy", p.is);
    qk_json_add_number(o, "svd_saving", p.svd_saving);
    qk_json_add_number(o, "gamma_saving", p.gamma_saving);
    qk_json_add_number(o, "share", p.share);
    if (strcmp(p.is, "not measured") == 0)
        return;
    if (!isnan(p.share))
        snprintf(savings, sizeof savings,
                 "; the SVD saves %.0f %% of what random cuts at its place cost, the gain %.0f %%",
                 100 * p.svd_saving, 100 * p.gamma_saving);
    if (!isnan(p.subspace))
        snprintf(subspace, sizeof subspace, ", random subspaces %.4f", p.subspace);
    qk_judging_say(j, "surgery",
                   "On A1 the area under the dose curve is %.4f nats by SVD, %.4f by the gain, "
                   "random dimensions %.4f%s%s: %s (RMSNorm re-inflates what a cut before it "
                   "leaves, a cut of the gain it does not)",
                   p.svd, p.gamma, p.random, subspace, savings, proxy_words(&p));
}

/* ---- sentences ---- */

static const char *norm_words(const struct qk_difference *d)
{
    static const char *const words[][2] = {
        {"none", "rank is similar with and without QK-Norm, which at most reports a loss of rank"},
        {"lower", "rank is lower with QK-Norm, which is a cause of the loss of rank"},
        {"higher", "rank is higher with QK-Norm, which keeps rank up"},
        {"open", "the tests leave open what QK-Norm does to rank"}};
    return qk_words_for(words, 4, qk_difference_is(d), "?");
}

static const char *optimizer_words(const struct qk_difference *d)
{
    static const char *const words[][2] = {
        {"none", "the spectrum is similar under both optimisers"},
        {"lower", "Muon's keys use fewer directions"},
        {"higher", "Muon's keys use more directions"},
        {"open", "the tests leave the optimiser's part open"}};
    return qk_words_for(words, 4, qk_difference_is(d), "?");
}

static const char *data_words(const struct qk_difference *d)
{
    static const char *const words[][2] = {
        {"none", "rank does not adapt to the data"},
        {"lower", "rank is lower on the complex data, against the hypothesis"},
        {"higher", "rank is higher on the complex data: it adapts"},
        {"open", "the tests leave open whether rank adapts to the data"}};
    return qk_words_for(words, 4, qk_difference_is(d), "?");
}

static void say_losses(struct qk_judging *j, const struct qk_condition *const *at)
{
    const char *of = "validation";
    double loss[NAMES];
    for (int i = 0; i < NAMES; i++)
        if (isnan(qk_results_end(&at[i]->mean, at[i]->mean.val_loss)))
            of = "training";
    for (int i = 0; i < NAMES; i++)
        loss[i] = of[0] == 'v' ? qk_results_end(&at[i]->mean, at[i]->mean.val_loss)
                               : at[i]->mean.loss[at[i]->mean.points - 1];
    qk_judging_say(j, "loss",
                   "At the last point %s loss is A1 %.4f, A2 %.4f, B1 %.4f, B2 %.4f, C1 %.4f, C2 "
                   "%.4f nats (C1 and C2 each on their own data)",
                   of, loss[A1], loss[A2], loss[B1], loss[B2], loss[C1], loss[C2]);
}

/* Each on the other's validation set. */
static void say_cross(struct qk_judging *j, const struct qk_condition *const *at)
{
    const double c1 = qk_results_eval(&at[C1]->mean, "val_other");
    const double c2 = qk_results_eval(&at[C2]->mean, "val_other");
    const double own1 = qk_results_end(&at[C1]->mean, at[C1]->mean.val_loss);
    const double own2 = qk_results_end(&at[C2]->mean, at[C2]->mean.val_loss);
    if (isnan(c1 + c2 + own1 + own2))
        return;
    qk_judging_say(j, "cross",
                   "Each on the other's validation set: C1 %.4f nats on its own and %.4f on the "
                   "complex text, C2 %.4f on its own and %.4f on the simple text",
                   own1, c1, own2, c2);
    cJSON *o = cJSON_AddObjectToObject(j->numbers, "cross");
    qk_json_add_number(o, "C1", c1);
    qk_json_add_number(o, "C2", c2);
}

static void say_queries(struct qk_judging *j, const struct qk_difference *d)
{
    if (isnan(d[NORM].q.mean))
        return;
    qk_judging_say(j, "queries",
                   "Queries beside keys: A1 − A2 = %+.2f PR of queries against %+.2f of keys, A1 − "
                   "B1 = %+.2f against %+.2f",
                   d[NORM].q.mean, d[NORM].pr.mean, d[OPTIMIZER].q.mean, d[OPTIMIZER].pr.mean);
}

static bool moves(const struct qk_difference *d)
{
    return fabs(d->pr.mean) >= QK_TOLERANCE_PR;
}

/* The plan's claims, each with the number it hangs on. */
static void say_claims(struct qk_judging *j, const struct qk_condition *const *at,
                       const struct qk_difference *d)
{
    const int factors = (moves(&d[NORM]) || moves(&d[NORM_ADAMW])) +
                        (moves(&d[OPTIMIZER]) || moves(&d[OPTIMIZER_PLAIN])) + moves(&d[DATA]);
    const struct fall with = fall_of(&at[A1]->mean), without = fall_of(&at[A2]->mean);
    const struct fall adamw = fall_of(&at[B1]->mean);
    qk_judging_say(
        j, "claim_joint",
        "Of normalisation (%+.2f under Muon, %+.2f under AdamW), optimiser (%+.2f with QK-Norm, "
        "%+.2f without) and data (%+.2f), %d move mean PR by 1.0 or more: the loss of rank is %s",
        d[NORM].pr.mean, d[NORM_ADAMW].pr.mean, d[OPTIMIZER].pr.mean, d[OPTIMIZER_PLAIN].pr.mean,
        d[DATA].pr.mean, factors,
        factors == 3   ? "determined by all three"
        : factors == 0 ? "determined by none of them"
        : factors == 1 ? "determined by one of them"
                       : "determined by two of them, not by all");
    qk_judging_say(j, "claim_accelerates",
                   "The steepest fall of mean PR is %.2f with QK-Norm (A1) and %.2f without (A2), "
                   "the whole fall %.2f and %.2f: QK-Norm %s",
                   with.size, without.size, with.whole, without.whole,
                   with.size - without.size >= QK_TOLERANCE_PR ? "accelerates the fall"
                   : without.size - with.size >= QK_TOLERANCE_PR
                       ? "slows the fall"
                       : "does not change its pace by 1.0");
    qk_judging_say(j, "claim_spectrum",
                   "Muon's keys fall by %.2f PR in all and AdamW's by %.2f (both with QK-Norm), "
                   "and end %+.2f apart: the spectral evolution %s",
                   with.whole, adamw.whole, d[OPTIMIZER].pr.mean,
                   moves(&d[OPTIMIZER]) || fabs(with.whole - adamw.whole) >= QK_TOLERANCE_PR
                       ? "differs"
                       : "does not differ by 1.0");
    qk_judging_say(j, "claim_adaptive", "C2 − C1 = %+.2f PR, mean size over layers %.2f: %s",
                   d[DATA].pr.mean, d[DATA].layer_abs, data_words(&d[DATA]));
    if (j->e->surgery != NULL) {
        const struct proxy p = proxy_of(j->e->surgery, "A1");
        if (strcmp(p.is, "not measured") != 0)
            qk_judging_say(j, "claim_pruning",
                           "For pruning: areas %.4f (SVD), %.4f (gain) and %.4f (random) nats; %s",
                           p.svd, p.gamma, p.random, proxy_words(&p));
    }
}

static void say_all(struct qk_judging *j, const struct qk_condition *const *at,
                    const struct qk_difference *d)
{
    const struct qk_results *a1 = &at[A1]->mean;
    qk_judging_difference(j, "norm", "QK-Norm under Muon", &d[NORM], norm_words(&d[NORM]));
    qk_judging_difference(j, "norm_adamw", "QK-Norm under AdamW", &d[NORM_ADAMW],
                          norm_words(&d[NORM_ADAMW]));
    qk_judging_difference(j, "optimizer", "The optimiser, with QK-Norm", &d[OPTIMIZER],
                          optimizer_words(&d[OPTIMIZER]));
    qk_judging_say(j, "interaction",
                   "QK-Norm moves mean PR by %+.2f under Muon and by %+.2f under AdamW: the "
                   "interaction is %+.2f, %s",
                   d[NORM].pr.mean, d[NORM_ADAMW].pr.mean, d[NORM].pr.mean - d[NORM_ADAMW].pr.mean,
                   fabs(d[NORM].pr.mean - d[NORM_ADAMW].pr.mean) < QK_TOLERANCE_PR
                       ? "within the tolerance"
                       : "so its effect depends on the optimiser");
    qk_judging_difference(j, "data", "Complex against simple data", &d[DATA], data_words(&d[DATA]));
    say_losses(j, at);
    say_time(j, a1);
    say_surgery(j);
    say_queries(j, d);
    say_cross(j, at);
    if (!isnan(a1->null_pr))
        qk_judging_say(j, "null",
                       "Against %.2f for i.i.d. Gaussian keys of the same shape the final PR of A1 "
                       "is %.0f %%, A2 %.0f %%, B1 %.0f %%, B2 %.0f %%",
                       a1->null_pr, 100 * qk_results_end(a1, a1->mean_pr) / a1->null_pr,
                       100 * qk_results_end(&at[A2]->mean, at[A2]->mean.mean_pr) / a1->null_pr,
                       100 * qk_results_end(&at[B1]->mean, at[B1]->mean.mean_pr) / a1->null_pr,
                       100 * qk_results_end(&at[B2]->mean, at[B2]->mean.mean_pr) / a1->null_pr);
    say_claims(j, at, d);
}

cJSON *qk_judge_ablation(const struct qk_evidence *e, struct qk_err *err)
{
    static const char *const names[NAMES] = {"A1", "A2", "B1", "B2", "C1", "C2"};
    static const char *const outcomes[][2] = {{"none", "QK-Norm reports"},
                                              {"lower", "QK-Norm lowers rank"},
                                              {"higher", "QK-Norm raises rank"},
                                              {"open", "inconclusive"}};
    const struct qk_condition *at[NAMES];
    struct qk_difference d[CONTRASTS];
    struct qk_judging j;
    if (qk_evidence_find(at, e, names, NAMES, "ablation25m", err) != 0)
        return NULL;
    qk_difference_take(&d[NORM], at[A1], at[A2]);
    qk_difference_take(&d[NORM_ADAMW], at[B1], at[B2]);
    qk_difference_take(&d[OPTIMIZER], at[A1], at[B1]);
    qk_difference_take(&d[OPTIMIZER_PLAIN], at[A2], at[B2]);
    qk_difference_take(&d[DATA], at[C2], at[C1]);
    qk_differences_adjust(d, CONTRASTS);
    qk_judging_start(&j, e, at[0]->n_seeds);
    qk_judging_numbers(&j, d, CONTRASTS);
    say_all(&j, at, d);
    qk_judging_caveat(&j,
                      "Learning rates here are the original's, not tuned per condition: rank moves "
                      "with the rate, so Muon against AdamW is a comparison of two recipes.");
    qk_judging_caveat(&j, "A cut of W_k before RMSNorm and a cut of the gain behind it are not the "
                          "same dose: each is set beside random cuts at its own place.");
    const char *outcome = qk_words_for(outcomes, 4, qk_difference_is(&d[NORM]), "?");
    char *title = qk_format("Norm, optimiser and data: %s", norm_words(&d[NORM]));
    cJSON *json =
        qk_judging_end(&j, "ablation25m", title, outcome, qk_judging_said(&j, "norm"), rule);
    free(title);
    return json;
}
