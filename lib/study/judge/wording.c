/* The verdict in words: every sentence carries its numbers, and with one seed says so. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "study/judge/judging.h"
#include "study/judge/published.h"
#include "study/judge/verdict.h"

static double diff(const struct qk_verdict *v, int which)
{
    return v->contrast[which].pr.mean;
}

/* ---- the headline ---- */

static void say_pattern(struct qk_judging *j, const struct qk_verdict *v)
{
    char tokens[32];
    qk_judging_say(j, "pattern",
                   "After %s tokens mean key PR (%s) differs by A−B = %+.2f, B−C = %+.2f, A−C = "
                   "%+.2f; at tolerance %.1f the pattern is %s: %s%s",
                   qk_tokens_text(v->tokens, tokens), v->site, diff(v, QK_AB), diff(v, QK_BC),
                   diff(v, QK_AC), v->tolerance, qk_pattern_label(v->pattern),
                   qk_pattern_meaning(v->pattern),
                   v->n_seeds < 2 || qk_verdict_settled(v)
                       ? ""
                       : ", by the means alone: the equivalence tests leave it open");
}

static void say_kill(struct qk_judging *j, const struct qk_verdict *v)
{
    qk_judging_say(
        j, "kill",
        "|mean PR(A) − mean PR(B)| = %.2f at the last point is %s the kill criterion of %.1f: %s",
        fabs(diff(v, QK_AB)), v->killed ? "below" : "not below", v->tolerance,
        !v->killed                  ? "the learned gain stays a candidate mechanism"
        : qk_verdict_open(v, QK_AB) ? "the means are close, but the equivalence test is "
                                      "inconclusive, so this is no null result yet"
                                    : "the learned gain is not the mechanism, a null result");
}

static void say_one_contrast(struct qk_judging *j, const struct qk_verdict *v, const char *key,
                             const struct qk_contrast *k)
{
    const struct qk_paired *s = &k->pr;
    qk_judging_say(j, key,
                   "%c−%c over %d seeds: %+.2f PR, 95 %% t interval [%.2f, %.2f], 90 %% [%.2f, "
                   "%.2f] against ±%.1f: %s; exact sign-flip p = %.3f (the least possible is "
                   "%.3f), Holm-adjusted over three contrasts %.3f",
                   k->plus, k->minus, s->n, s->mean, s->low95, s->high95, s->low90, s->high90,
                   v->tolerance, qk_stats_equivalence_name(s->equivalence), s->p_flip,
                   ldexp(2, -s->n), k->p_holm);
}

static void say_equivalence(struct qk_judging *j, const struct qk_verdict *v)
{
    if (v->n_seeds < 2)
        return;
    say_one_contrast(j, v, "equivalence_ab", &v->contrast[QK_AB]);
    say_one_contrast(j, v, "equivalence_bc", &v->contrast[QK_BC]);
    say_one_contrast(j, v, "equivalence_ac", &v->contrast[QK_AC]);
}

/* ---- loss ---- */

static void say_loss_of(struct qk_judging *j, const char *key, const char *cause,
                        const struct qk_contrast *k)
{
    char val[64] = "not measured", seeds[96] = "";
    if (!isnan(k->val.mean))
        snprintf(val, sizeof val, "%+.4f", k->val.mean);
    const struct qk_paired *s = isnan(k->val.mean) ? &k->train : &k->val;
    if (s->n >= 2)
        snprintf(seeds, sizeof seeds, ", 95 %% t interval over %d seeds [%+.4f, %+.4f]", s->n,
                 s->low95, s->high95);
    qk_judging_say(j, key,
                   "%s: %c−%c = %+.4f nats of training loss and %s nats of validation loss at the "
                   "last point%s, whose difference changes sign %d time%s over the last %d points",
                   cause, k->plus, k->minus, k->train.mean, val, seeds, k->sign_changes,
                   k->sign_changes == 1 ? "" : "s", k->sign_points);
}

static void say_loss(struct qk_judging *j, const struct qk_verdict *v)
{
    const struct qk_contrast *ab = &v->contrast[QK_AB], *bc = &v->contrast[QK_BC];
    bool val = !isnan(ab->val.mean) && !isnan(bc->val.mean);
    qk_judging_say(j, "loss",
                   "At the last point learning the gain changes %s loss by %+.4f nats (A−B) and "
                   "normalising with the gain frozen by %+.4f nats (B−C)",
                   val ? "validation" : "training", val ? ab->val.mean : ab->train.mean,
                   val ? bc->val.mean : bc->train.mean);
    say_loss_of(j, "loss_ab", "Learning the gain", &v->contrast[QK_AB]);
    say_loss_of(j, "loss_bc", "Normalising with the gain frozen", &v->contrast[QK_BC]);
}

static void say_order(struct qk_judging *j, const struct qk_verdict *v)
{
    const char *p = v->pr_order, *l = v->loss_order;
    const struct qk_trajectory *t = v->at;
    double loss[3];
    for (int i = 0; i < 3; i++)
        loss[i] = v->loss_is_val ? t[i].val_loss : t[i].train_loss;
    qk_judging_say(j, "order",
                   "By mean PR the order is %c > %c > %c (%.2f, %.2f, %.2f), by %s loss %c < %c < "
                   "%c (%.4f, %.4f, %.4f): higher rank %s with lower loss",
                   p[0], p[1], p[2], t[p[0] - 'A'].last_pr, t[p[1] - 'A'].last_pr,
                   t[p[2] - 'A'].last_pr, v->loss_is_val ? "validation" : "training", l[0], l[1],
                   l[2], loss[l[0] - 'A'], loss[l[1] - 'A'], loss[l[2] - 'A'],
                   v->orders_match ? "goes" : "does not go");
}

/* ---- rank in time ---- */

static void say_minimum(struct qk_judging *j, const struct qk_verdict *v)
{
    const struct qk_trajectory *t = v->at;
    char at[3][32];
    qk_judging_say(j, "minimum",
                   "Mean PR is least at %s tokens in A (%.2f), %s in B (%.2f) and %s in C (%.2f)",
                   qk_tokens_text(t[0].least_tokens, at[0]), t[0].least_pr,
                   qk_tokens_text(t[1].least_tokens, at[1]), t[1].least_pr,
                   qk_tokens_text(t[2].least_tokens, at[2]), t[2].least_pr);
}

/* "+10.53 (33 % of the fall)" */
static const char *regained(const struct qk_trajectory *t, char text[64])
{
    if (isnan(t->recovered_share))
        snprintf(text, 64, "%+.2f (it never fell)", t->recovery);
    else
        snprintf(text, 64, "%+.2f (%.0f %% of the fall)", t->recovery, 100 * t->recovered_share);
    return text;
}

static void say_recovery(struct qk_judging *j, const struct qk_verdict *v)
{
    const struct qk_trajectory *t = v->at;
    char text[3][64];
    qk_judging_say(j, "recovery",
                   "From the minimum to the end mean PR changes by %s in A, %s in B, %s in C",
                   regained(&t[0], text[0]), regained(&t[1], text[1]), regained(&t[2], text[2]));
}

/* A drift as large as what counts as a difference is no plateau. */
static const char *steadiness(const struct qk_trajectory *t)
{
    return fabs(t->plateau_drift) < QK_TOLERANCE_PR ? "a plateau"
           : t->plateau_drift > 0                   ? "still rising"
                                                    : "still falling";
}

static void say_plateau(struct qk_judging *j, const struct qk_verdict *v)
{
    const struct qk_trajectory *t = v->at;
    int n = t[0].plateau_points;
    if (n < 3)
        return;
    qk_judging_say(j, "plateau",
                   "Over the second half of training (%d points) mean PR is %.2f ± %.2f in A, %.2f "
                   "± %.2f in B, %.2f ± %.2f in C (jitter in time, not between seeds); it drifts "
                   "by %+.2f (%s), %+.2f (%s), %+.2f (%s)",
                   n, t[0].plateau_mean, t[0].plateau_sd, t[1].plateau_mean, t[1].plateau_sd,
                   t[2].plateau_mean, t[2].plateau_sd, t[0].plateau_drift, steadiness(&t[0]),
                   t[1].plateau_drift, steadiness(&t[1]), t[2].plateau_drift, steadiness(&t[2]));
    const struct qk_contrast *k = v->contrast;
    qk_judging_say(j, "plateau_contrasts",
                   "Over the second half of training (%d points) the differences are A−B = %+.2f ± "
                   "%.2f and B−C = %+.2f ± %.2f PR (jitter in time)",
                   n, k[QK_AB].plateau_mean, k[QK_AB].plateau_sd, k[QK_BC].plateau_mean,
                   k[QK_BC].plateau_sd);
}

static void say_null(struct qk_judging *j, const struct qk_verdict *v)
{
    if (isnan(v->null_pr))
        return;
    qk_judging_say(j, "null",
                   "Against %.2f for i.i.d. Gaussian keys of the same shape the final PR is %.0f "
                   "%% in A, %.0f %% in B, %.0f %% in C (at the start %.0f %%, %.0f %%, %.0f %%)",
                   v->null_pr, 100 * v->at[0].last_pr / v->null_pr,
                   100 * v->at[1].last_pr / v->null_pr, 100 * v->at[2].last_pr / v->null_pr,
                   100 * v->at[0].start_pr / v->null_pr, 100 * v->at[1].start_pr / v->null_pr,
                   100 * v->at[2].start_pr / v->null_pr);
}

/* ---- layers and gains ---- */

/* A mean near 0 of large differences is no absence of an effect. */
bool qk_verdict_cancels(const struct qk_contrast *k)
{
    return fabs(k->layer_mean) < QK_TOLERANCE_PR && k->layer_abs >= QK_TOLERANCE_PR;
}

static const char *cancels(const struct qk_contrast *k)
{
    return qk_verdict_cancels(k) ? ", layers cancelling in the mean" : "";
}

static void say_layers(struct qk_judging *j, const struct qk_verdict *v)
{
    const struct qk_contrast *ab = &v->contrast[QK_AB], *bc = &v->contrast[QK_BC];
    qk_judging_say(
        j, "layers",
        "Layer by layer A is above B in %d of %d layers (mean %+.2f, mean size %.2f%s) and B above "
        "C in %d (mean %+.2f, mean size %.2f%s); layers of one network are not replicates",
        ab->layers_above, v->layers, ab->layer_mean, ab->layer_abs, cancels(ab), bc->layers_above,
        bc->layer_mean, bc->layer_abs, cancels(bc));
}

static void say_gain(struct qk_judging *j, const struct qk_verdict *v)
{
    if (isnan(v->gain_mean))
        return;
    char r[160] = "";
    if (v->layers >= 8 && !isnan(v->gain_r) && !isnan(v->cv_r))
        snprintf(r, sizeof r,
                 "; over layers A−B correlates %.2f with the mean gain and %.2f with its CV",
                 v->gain_r, v->cv_r);
    qk_judging_say(j, "gain", "The learned key gain ends at a mean of %.3f (layers %.3f to %.3f)%s",
                   v->gain_mean, v->gain_low, v->gain_high, r);
}

static void say_scale(struct qk_judging *j, const struct qk_verdict *v)
{
    if (v->head_dim == 0 || v->head_dim == QK_PUBLISHED_HEAD_DIM)
        return;
    qk_judging_say(j, "scale",
                   "The head dimension %d caps PR here, so the tolerance of %.1f PR is %.1f %% of "
                   "it, against %.1f %% at the published model's %d",
                   v->head_dim, v->tolerance, 100 * v->tolerance / v->head_dim,
                   100 * v->tolerance / QK_PUBLISHED_HEAD_DIM, QK_PUBLISHED_HEAD_DIM);
}

/* ---- reservations ---- */

/* Keys, other than the condition itself, in which two configs differ: "a, b" or "". */
static char *config_differences(const cJSON *a, const cJSON *b)
{
    static const char *const expected[] = {"qk_norm", "seed", "qk_gain_weight_decay"};
    struct qk_buffer text = {0};
    const cJSON *item;
    qk_buffer_text(&text, "");
    cJSON_ArrayForEach(item, a)
    {
        bool skip = false;
        for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
            skip |= strcmp(item->string, expected[i]) == 0;
        if (!skip && !cJSON_Compare(item, cJSON_GetObjectItemCaseSensitive(b, item->string), 1))
            qk_buffer_format(&text, "%s%s", text.size > 0 ? ", " : "", item->string);
    }
    return text.at;
}

static void caveat_configs(struct qk_judging *j, const struct qk_verdict *v)
{
    const cJSON *a = cJSON_GetObjectItemCaseSensitive(v->at[0].condition->mean.json, "config");
    for (int i = 1; i < 3; i++) {
        const cJSON *b = cJSON_GetObjectItemCaseSensitive(v->at[i].condition->mean.json, "config");
        if (a == NULL || b == NULL)
            continue;
        char *keys = config_differences(a, b);
        if (keys[0] != '\0')
            qk_judging_caveat(j,
                              "A and %c differ not only in qk_norm but also in %s: their "
                              "difference has more than one cause.",
                              'A' + i, keys);
        free(keys);
    }
}

static void caveats(struct qk_judging *j, const struct qk_verdict *v)
{
    qk_judging_seed_caveats(j);
    if (isnan(v->null_pr))
        qk_judging_caveat(
            j, "The null PR of Gaussian keys of the same shape is not told by the input.");
    caveat_configs(j, v);
}

/* ---- the whole ---- */

static const char *const rule =
    "Primary endpoint: mean over layers of the keys' PR at the headline site, at the last point. "
    "Kill criterion: |A−B| < 1.0 PR means the learned gain is not the mechanism. Pattern: from "
    "A−B, B−C, A−C, two conditions being equal when they differ by less than 1.0 PR. From two "
    "seeds: paired differences; null when the 90 % t interval lies inside ±1 PR, effect when it "
    "lies wholly outside, else inconclusive; exact sign-flip p, Holm-adjusted over the three "
    "contrasts. Plateau: the second half of the tokens.";

static void say_all(struct qk_judging *j, const struct qk_verdict *v)
{
    say_pattern(j, v);
    say_kill(j, v);
    say_equivalence(j, v);
    say_loss(j, v);
    say_order(j, v);
    say_minimum(j, v);
    say_recovery(j, v);
    say_plateau(j, v);
    say_null(j, v);
    say_layers(j, v);
    say_gain(j, v);
    say_scale(j, v);
}

/* What the tests of several seeds say, beside the outcome by the means. */
static void add_details(cJSON *to, const struct qk_verdict *v)
{
    cJSON_AddBoolToObject(to, "kill_criterion_met", v->killed);
    if (v->n_seeds >= 2) {
        cJSON_AddStringToObject(to, "equivalence",
                                qk_stats_equivalence_name(v->contrast[QK_AB].pr.equivalence));
        cJSON_AddBoolToObject(to, "settled", qk_verdict_settled(v));
    } else {
        cJSON_AddNullToObject(to, "equivalence");
        cJSON_AddNullToObject(to, "settled");
    }
}

cJSON *qk_verdict_json(const struct qk_verdict *v)
{
    struct qk_judging j;
    char *title = qk_verdict_title(v), *headline = qk_verdict_headline(v);
    qk_judging_start(&j, NULL, v->n_seeds);
    add_details(j.details, v);
    say_all(&j, v);
    caveats(&j, v);
    qk_verdict_numbers(v, j.numbers);
    cJSON *json =
        qk_judging_end(&j, "causal50m", title, qk_pattern_label(v->pattern),
                       headline != NULL ? headline : qk_judging_said(&j, "pattern"), rule);
    free(title);
    free(headline);
    return json;
}
