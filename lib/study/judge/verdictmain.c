/* main300m: does rank matter?  Four tuned configurations, seeds paired. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "study/judge/judging.h"
#include "study/judge/verdict.h"

static const char *const rule =
    "Tolerance: the larger of the spread between seeds (the largest of most minus least within a "
    "configuration) and 0.005 nats or 1 PR; validation loss and mean PR at the last point. A: Muon "
    "without QK-Norm best on loss and on PR. B: best on PR only. C: AdamW with QK-Norm best on "
    "loss though its PR is below the highest. Best: ahead of every other by more than the "
    "tolerance. D: the seeds, each taken alone, point to different scenarios, or their spread is "
    "as large as the whole range of the configurations in loss and in PR. Else none of these. "
    "Reversal: does the difference in loss that QK-Norm makes at 1 M tokens (a three-hundredth of "
    "a shorter run) change sign by the end, both beyond the tolerance? From two seeds: paired "
    "differences, exact sign-flip p, Holm over the four contrasts, equivalence against ±1 PR.";

enum { ADAMW, ADAMW_QK, MUON, MUON_QK, NAMES };
enum { NORM_ADAMW, NORM_MUON, OPTIMIZER, HEADLINE, CONTRASTS };
enum scenario { SCENARIO_A, SCENARIO_B, SCENARIO_C, SCENARIO_D, SCENARIO_NONE };

struct tolerance {
    double loss, pr;               /* used */
    double loss_spread, pr_spread; /* between seeds; NaN with one */
};

static double loss_of(const struct qk_results *r)
{
    return qk_results_end(r, r->val_loss);
}

static double rank_of(const struct qk_results *r)
{
    return r->mean_pr[r->points - 1];
}

/* The largest of most minus least over seeds. */
static double spread_of(const struct qk_condition *const *at,
                        double (*value)(const struct qk_results *))
{
    double spread = NAN;
    for (int i = 0; i < NAMES; i++) {
        double least = NAN, most = NAN;
        for (int s = 0; s < at[i]->n_seeds && at[i]->n_seeds > 1; s++) {
            least = fmin(least, value(&at[i]->seeds[s]));
            most = fmax(most, value(&at[i]->seeds[s]));
        }
        spread = fmax(spread, most - least);
    }
    return spread;
}

/* ---- scenarios ---- */

/* Is `which` ahead of every other by more than the tolerance?  `sign` 1: more is better. */
static bool is_best(const double value[NAMES], int which, int sign, double tolerance)
{
    for (int i = 0; i < NAMES; i++)
        if (i != which && !(sign * (value[which] - value[i]) > tolerance))
            return false;
    return true;
}

static enum scenario scenario_of(const double loss[NAMES], const double pr[NAMES], double loss_tol,
                                 double pr_tol)
{
    double highest = pr[0];
    for (int i = 1; i < NAMES; i++)
        highest = fmax(highest, pr[i]);
    if (is_best(pr, MUON, 1, pr_tol))
        return is_best(loss, MUON, -1, loss_tol) ? SCENARIO_A : SCENARIO_B;
    if (is_best(loss, ADAMW_QK, -1, loss_tol) && pr[ADAMW_QK] < highest - pr_tol)
        return SCENARIO_C;
    return SCENARIO_NONE;
}

/* Of the means (seed -1) or of one seed. */
static void values_of(const struct qk_condition *const *at, int seed, double loss[NAMES],
                      double pr[NAMES])
{
    for (int i = 0; i < NAMES; i++) {
        const struct qk_results *r = seed < 0 ? &at[i]->mean : &at[i]->seeds[seed];
        loss[i] = loss_of(r);
        pr[i] = rank_of(r);
    }
}

static double range_of(const double v[NAMES])
{
    double least = v[0], most = v[0];
    for (int i = 1; i < NAMES; i++) {
        least = fmin(least, v[i]);
        most = fmax(most, v[i]);
    }
    return most - least;
}

struct outcome {
    enum scenario scenario;
    bool disagree, noisy;
    struct tolerance tolerance;
    double loss[NAMES], pr[NAMES];
};

static struct outcome judge(const struct qk_condition *const *at)
{
    struct outcome o = {.disagree = false};
    const int seeds = at[0]->n_seeds;
    o.tolerance.loss_spread = spread_of(at, loss_of);
    o.tolerance.pr_spread = spread_of(at, rank_of);
    o.tolerance.loss = fmax(0.005, o.tolerance.loss_spread); /* fmax passes over NaN */
    o.tolerance.pr = fmax(QK_TOLERANCE_PR, o.tolerance.pr_spread);
    enum scenario first = SCENARIO_NONE;
    for (int s = 0; s < seeds && seeds > 1; s++) {
        values_of(at, s, o.loss, o.pr);
        const enum scenario one = scenario_of(o.loss, o.pr, 0.005, QK_TOLERANCE_PR);
        first = s == 0 ? one : first;
        o.disagree |= one != first;
    }
    values_of(at, -1, o.loss, o.pr);
    o.noisy =
        o.tolerance.loss_spread >= range_of(o.loss) && o.tolerance.pr_spread >= range_of(o.pr);
    o.scenario = o.disagree || o.noisy
                     ? SCENARIO_D
                     : scenario_of(o.loss, o.pr, o.tolerance.loss, o.tolerance.pr);
    return o;
}

static const char *scenario_name(enum scenario s)
{
    static const char *const names[] = {"A", "B", "C", "D", "none of these"};
    return names[s];
}

static void order_by(const double v[NAMES], int sign, int order[NAMES])
{
    for (int i = 0; i < NAMES; i++)
        order[i] = i;
    for (int i = 1; i < NAMES; i++)
        for (int k = i; k > 0 && sign * (v[order[k]] - v[order[k - 1]]) > 0; k--) {
            const int swap = order[k];
            order[k] = order[k - 1];
            order[k - 1] = swap;
        }
}

static const char *label(int i)
{
    static const char *const labels[] = {"AdamW", "AdamW+QK", "Muon", "Muon+QK"};
    return labels[i];
}

/* What is so where no scenario is. */
static char *best_words(const struct outcome *o)
{
    static const char *const within = " (within the tolerance of others)";
    int l[NAMES], p[NAMES];
    order_by(o->loss, -1, l);
    order_by(o->pr, 1, p);
    const char *loss = is_best(o->loss, l[0], -1, o->tolerance.loss) ? "" : within;
    const char *pr = is_best(o->pr, p[0], 1, o->tolerance.pr) ? "" : within;
    if (l[0] == p[0])
        return qk_format("%s is best on loss%s and on rank%s", label(l[0]), loss, pr);
    return qk_format("%s is best on loss%s, %s on rank%s", label(l[0]), loss, label(p[0]), pr);
}

/* "Scenario A: ..."; malloc'd. */
static char *scenario_words(const struct outcome *o)
{
    static const char *const words[] = {
        "Scenario A: Muon without QK-Norm is best on loss and on rank",
        "Scenario B: Muon without QK-Norm is best on rank, not on loss",
        "Scenario C: AdamW with QK-Norm is best on loss despite its low rank",
        "Scenario D: the seeds disagree or are too noisy: not for publication, more seeds are "
        "needed"};
    if (o->scenario != SCENARIO_NONE)
        return qk_strdup(words[o->scenario]);
    char *best = best_words(o), *text = qk_format("None of the scenarios: %s", best);
    free(best);
    return text;
}

/* ---- sentences ---- */

static void say_order(struct qk_judging *j, const struct outcome *o)
{
    int l[NAMES], p[NAMES];
    order_by(o->loss, -1, l);
    order_by(o->pr, 1, p);
    qk_judging_say(j, "order",
                   "By validation loss: %s %.4f, %s %.4f, %s %.4f, %s %.4f nats; by mean PR: %s "
                   "%.2f, %s %.2f, %s %.2f, %s %.2f: the orders %s",
                   label(l[0]), o->loss[l[0]], label(l[1]), o->loss[l[1]], label(l[2]),
                   o->loss[l[2]], label(l[3]), o->loss[l[3]], label(p[0]), o->pr[p[0]], label(p[1]),
                   o->pr[p[1]], label(p[2]), o->pr[p[2]], label(p[3]), o->pr[p[3]],
                   memcmp(l, p, sizeof l) == 0 ? "are the same" : "differ");
}

static void say_scenario(struct qk_judging *j, const struct outcome *o)
{
    char *words = scenario_words(o);
    qk_judging_say(j, "scenario",
                   "%s (Muon %.4f nats at PR %.2f, Muon+QK %.4f at %.2f, AdamW %.4f at %.2f, "
                   "AdamW+QK %.4f at %.2f; tolerance %.4f nats and %.2f PR)",
                   words, o->loss[MUON], o->pr[MUON], o->loss[MUON_QK], o->pr[MUON_QK],
                   o->loss[ADAMW], o->pr[ADAMW], o->loss[ADAMW_QK], o->pr[ADAMW_QK],
                   o->tolerance.loss, o->tolerance.pr);
    free(words);
    if (j->n_seeds > 1)
        qk_judging_say(
            j, "tolerance",
            "Between %d seeds the largest spread within a configuration is %.4f nats and %.2f PR, "
            "so the tolerances are %.4f nats and %.2f PR; the seeds, each taken alone, %s",
            j->n_seeds, o->tolerance.loss_spread, o->tolerance.pr_spread, o->tolerance.loss,
            o->tolerance.pr,
            o->disagree ? "point to different scenarios" : "point to one scenario");
    else
        qk_judging_say(j, "tolerance", "The tolerances are the least ones, %.4f nats and %.2f PR",
                       o->tolerance.loss, o->tolerance.pr);
}

/* The first point behind the start, from `least` tokens on, that has a validation loss; or -1. */
static int early_point(const struct qk_results *a, const struct qk_results *b, double least)
{
    for (int i = 1; i < a->points; i++)
        if (a->tokens[i] >= least && !isnan(a->val_loss[i]) && !isnan(b->val_loss[i]))
            return i;
    return -1;
}

/* Does what QK-Norm does to the loss early change sign by the end? */
static void say_reversal(struct qk_judging *j, const char *key, const struct qk_condition *with,
                         const struct qk_condition *without, double tolerance)
{
    const struct qk_results *a = &with->mean, *b = &without->mean;
    const int i = early_point(a, b, fmin(1e6, a->tokens[a->points - 1] / 300));
    cJSON *o = cJSON_AddObjectToObject(j->numbers, key);
    if (i < 0 || i == a->points - 1)
        return;
    char plus[QK_CONDITION_NAME], minus[QK_CONDITION_NAME], at[32];
    const double early = a->val_loss[i] - b->val_loss[i], late = loss_of(a) - loss_of(b);
    const bool changes = early * late < 0;
    const bool beyond = fabs(early) > tolerance && fabs(late) > tolerance;
    const char *is = !changes ? "no reversal" : beyond ? "reversal" : "within the tolerance";
    qk_judging_say(j, key, "%s − %s = %+.4f nats at %s tokens and %+.4f at the end: %s",
                   qk_condition_label(with->name, plus), qk_condition_label(without->name, minus),
                   early, qk_tokens_text(a->tokens[i], at), late,
                   !changes ? "the sign stays"
                   : beyond ? "the sign changes, a reversal"
                            : "the sign changes, within the tolerance");
    qk_json_add_number(o, "early_tokens", a->tokens[i]);
    qk_json_add_number(o, "early", early);
    qk_json_add_number(o, "late", late);
    cJSON_AddStringToObject(o, "is", is);
}

static void say_downstream(struct qk_judging *j, const struct qk_condition *const *at)
{
    static const struct {
        const char *name, *title;
        int digits;
    } tasks[] = {{"hellaswag", "HellaSwag acc_norm", 4},
                 {"lambada", "LAMBADA accuracy", 4},
                 {"wikitext", "WikiText word perplexity", 1}};
    struct qk_buffer text = {0};
    cJSON *o = cJSON_AddObjectToObject(j->numbers, "downstream");
    for (size_t t = 0; t < sizeof tasks / sizeof tasks[0]; t++) {
        double v[NAMES], sum = 0;
        const int d = tasks[t].digits;
        cJSON *task = cJSON_AddObjectToObject(o, tasks[t].name);
        for (int i = 0; i < NAMES; i++) {
            sum += v[i] = qk_results_eval(&at[i]->mean, tasks[t].name);
            qk_json_add_number(task, at[i]->name, v[i]);
        }
        if (!isnan(sum))
            qk_buffer_format(&text, "%s%s %.*f / %.*f / %.*f / %.*f", text.size > 0 ? "; " : "",
                             tasks[t].title, d, v[ADAMW], d, v[ADAMW_QK], d, v[MUON], d,
                             v[MUON_QK]);
    }
    if (text.size > 0)
        qk_judging_say(j, "downstream",
                       "Downstream, AdamW / AdamW+QK / Muon / Muon+QK: %s; at this size "
                       "differences of less than two standard errors are to be expected",
                       text.at);
    qk_buffer_free(&text);
}

static void say_loss_vs_pr(struct qk_judging *j, const struct outcome *o)
{
    const double r = qk_stats_pearson(o->pr, o->loss, NAMES);
    if (isnan(r))
        return;
    qk_judging_say(j, "loss_vs_pr",
                   "Over the four configurations mean PR and validation loss correlate %.2f at the "
                   "end, from four points: %s",
                   r,
                   r < -0.5  ? "higher rank goes with lower loss"
                   : r > 0.5 ? "higher rank goes with higher loss"
                             : "rank does not tell loss");
    qk_json_add_number(j->numbers, "correlation_of_pr_and_loss", r);
}

static const char *rank_words(const struct qk_difference *d)
{
    static const char *const words[][2] = {{"none", "no difference in rank"},
                                           {"higher", "higher rank"},
                                           {"lower", "lower rank"},
                                           {"open", "the tests leave rank open"}};
    return qk_words_for(words, 4, qk_difference_is(d), "?");
}

static void add_numbers(struct qk_judging *j, const struct outcome *o)
{
    cJSON *t = cJSON_AddObjectToObject(j->numbers, "tolerances");
    qk_json_add_number(t, "loss", o->tolerance.loss);
    qk_json_add_number(t, "pr", o->tolerance.pr);
    qk_json_add_number(t, "loss_spread", o->tolerance.loss_spread);
    qk_json_add_number(t, "pr_spread", o->tolerance.pr_spread);
    cJSON_AddBoolToObject(j->numbers, "seeds_disagree", o->disagree);
    cJSON_AddBoolToObject(j->numbers, "noisy", o->noisy);
}

static void say_all(struct qk_judging *j, const struct qk_condition *const *at,
                    const struct outcome *o, const struct qk_difference *d)
{
    say_scenario(j, o);
    say_order(j, o);
    qk_judging_difference(j, "norm_adamw", "QK-Norm under AdamW", &d[NORM_ADAMW],
                          rank_words(&d[NORM_ADAMW]));
    qk_judging_difference(j, "norm_muon", "QK-Norm under Muon", &d[NORM_MUON],
                          rank_words(&d[NORM_MUON]));
    qk_judging_difference(j, "optimizer", "The optimiser, without QK-Norm", &d[OPTIMIZER],
                          rank_words(&d[OPTIMIZER]));
    qk_judging_difference(j, "headline", "The two headline configurations", &d[HEADLINE],
                          rank_words(&d[HEADLINE]));
    say_reversal(j, "reversal_adamw", at[ADAMW_QK], at[ADAMW], o->tolerance.loss);
    say_reversal(j, "reversal_muon", at[MUON_QK], at[MUON], o->tolerance.loss);
    say_downstream(j, at);
    say_loss_vs_pr(j, o);
}

/* Was it trained with that rate, as far as config and chosen.json tell? */
static bool trained_with(const struct qk_condition *c, const cJSON *chosen, const char *key,
                         const char *of)
{
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(c->mean.json, "config");
    const cJSON *used = cJSON_GetObjectItemCaseSensitive(config, key);
    const cJSON *picked =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(chosen, "lr"), of);
    return !cJSON_IsNumber(used) || !cJSON_IsNumber(picked) ||
           fabs(used->valuedouble / picked->valuedouble - 1) < 1e-9;
}

/* Were the rates of chosen.json those that were trained with? */
static void rate_caveats(struct qk_judging *j, const struct qk_condition *const *at)
{
    if (j->e->chosen == NULL) {
        qk_judging_caveat(j, "No chosen.json is given: that rates were tuned per configuration is "
                             "not checked here.");
        return;
    }
    for (int i = 0; i < NAMES; i++) {
        char text[QK_CONDITION_NAME];
        const cJSON *c = cJSON_GetObjectItemCaseSensitive(j->e->chosen, at[i]->name);
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c, "edge")))
            qk_judging_caveat(
                j,
                "The rate of %s was best at the edge of its grid: it may not be the best there is.",
                qk_condition_label(at[i]->name, text));
        if (c == NULL)
            qk_judging_caveat(j, "No rate was chosen for %s.",
                              qk_condition_label(at[i]->name, text));
        else if (!trained_with(at[i], c, "muon_lr", "muon") ||
                 !trained_with(at[i], c, "adamw_lr", "adamw"))
            qk_judging_caveat(j, "%s was not trained at the rate the sweep chose.",
                              qk_condition_label(at[i]->name, text));
    }
}

cJSON *qk_judge_main(const struct qk_evidence *e, struct qk_err *err)
{
    static const char *const names[NAMES] = {"AdamW", "AdamW_QK", "Muon", "Muon_QK"};
    const struct qk_condition *at[NAMES];
    struct qk_difference d[CONTRASTS];
    struct qk_judging j;
    if (qk_evidence_find(at, e, names, NAMES, "main300m", err) != 0)
        return NULL;
    for (int i = 0; i < NAMES; i++)
        if (isnan(loss_of(&at[i]->mean)))
            return qk_fail_null(err, "condition %s: there is no validation loss", at[i]->name);
    qk_difference_take(&d[NORM_ADAMW], at[ADAMW_QK], at[ADAMW]);
    qk_difference_take(&d[NORM_MUON], at[MUON_QK], at[MUON]);
    qk_difference_take(&d[OPTIMIZER], at[MUON], at[ADAMW]);
    qk_difference_take(&d[HEADLINE], at[MUON], at[ADAMW_QK]);
    qk_differences_adjust(d, CONTRASTS);
    const struct outcome o = judge(at);
    qk_judging_start(&j, e, at[0]->n_seeds);
    qk_judging_numbers(&j, d, CONTRASTS);
    add_numbers(&j, &o);
    say_all(&j, at, &o, d);
    rate_caveats(&j, at);
    char *words = scenario_words(&o), *title = qk_format("Does rank matter? %s", words);
    cJSON *json = qk_judging_end(&j, "main300m", title, scenario_name(o.scenario),
                                 qk_judging_said(&j, "scenario"), rule);
    free(title);
    free(words);
    return json;
}
