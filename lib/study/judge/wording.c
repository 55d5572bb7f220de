/* The verdict in words: every sentence carries its numbers, and with one seed says so. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "study/judge/published.h"
#include "study/judge/verdict.h"

const char *qk_verdict_reservation(const struct qk_verdict *v)
{
    return v->n_seeds == 1 ? " (one seed: no variance is known)" : "";
}

/* Where sentences go, and whether they need the reservation. */
struct speech {
    const struct qk_verdict *v;
    cJSON *sentences;
};

static char *sentence(const struct qk_verdict *v, const char *format, va_list args)
{
    char *text = qk_format_args(format, args), *signs = qk_minus_signs(text);
    char *whole = qk_format("%s%s.", signs, qk_verdict_reservation(v));
    free(text);
    free(signs);
    return whole;
}

/* One sentence without its full stop under `key`. */
__attribute__((format(printf, 3, 4))) static void say(const struct speech *to, const char *key,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = sentence(to->v, format, args);
    va_end(args);
    cJSON_AddStringToObject(to->sentences, key, text);
    free(text);
}

/* "49.15 M", or "5,120" where millions say little. */
static const char *tokens_text(double tokens, char text[32])
{
    if (tokens < 1e5)
        return qk_group_digits((int64_t)tokens, text);
    snprintf(text, 32, "%.2f M", tokens / 1e6);
    return text;
}

static double diff(const struct qk_verdict *v, int which)
{
    return v->contrast[which].pr.mean;
}

/* ---- the headline ---- */

static void say_pattern(const struct speech *to)
{
    char tokens[32];
    const struct qk_verdict *v = to->v;
    say(to, "pattern",
        "After %s tokens mean key PR (%s) differs by A−B = %+.2f, B−C = %+.2f, A−C = %+.2f; at "
        "tolerance %.1f the pattern is %s: %s%s",
        tokens_text(v->tokens, tokens), v->site, diff(v, QK_AB), diff(v, QK_BC), diff(v, QK_AC),
        v->tolerance, qk_pattern_label(v->pattern), qk_pattern_meaning(v->pattern),
        v->n_seeds < 2 || qk_verdict_settled(v)
            ? ""
            : ", by the means alone: the equivalence tests leave it open");
}

static void say_kill(const struct speech *to)
{
    const struct qk_verdict *v = to->v;
    say(to, "kill",
        "|mean PR(A) − mean PR(B)| = %.2f at the last point is %s the kill criterion of %.1f: %s",
        fabs(diff(v, QK_AB)), v->killed ? "below" : "not below", v->tolerance,
        !v->killed                  ? "the learned gain stays a candidate mechanism"
        : qk_verdict_open(v, QK_AB) ? "the means are close, but the equivalence test is "
                                      "inconclusive, so this is no null result yet"
                                    : "the learned gain is not the mechanism, a null result");
}

static void say_one_contrast(const struct speech *to, const char *key, const struct qk_contrast *k)
{
    const struct qk_paired *s = &k->pr;
    say(to, key,
        "%c−%c over %d seeds: %+.2f PR, 95 %% t interval [%.2f, %.2f], 90 %% [%.2f, %.2f] against "
        "±%.1f: %s; exact sign-flip p = %.3f (the least possible is %.3f), Holm-adjusted over "
        "three "
        "contrasts %.3f",
        k->plus, k->minus, s->n, s->mean, s->low95, s->high95, s->low90, s->high90,
        to->v->tolerance, qk_stats_equivalence_name(s->equivalence), s->p_flip, ldexp(2, -s->n),
        k->p_holm);
}

static void say_equivalence(const struct speech *to)
{
    if (to->v->n_seeds < 2)
        return;
    say_one_contrast(to, "equivalence_ab", &to->v->contrast[QK_AB]);
    say_one_contrast(to, "equivalence_bc", &to->v->contrast[QK_BC]);
    say_one_contrast(to, "equivalence_ac", &to->v->contrast[QK_AC]);
}

/* ---- loss ---- */

static void say_loss_of(const struct speech *to, const char *key, const char *cause,
                        const struct qk_contrast *k)
{
    char val[64] = "not measured", seeds[96] = "";
    if (!isnan(k->val.mean))
        snprintf(val, sizeof val, "%+.4f", k->val.mean);
    const struct qk_paired *s = isnan(k->val.mean) ? &k->train : &k->val;
    if (s->n >= 2)
        snprintf(seeds, sizeof seeds, ", 95 %% t interval over %d seeds [%+.4f, %+.4f]", s->n,
                 s->low95, s->high95);
    say(to, key,
        "%s: %c−%c = %+.4f nats of training loss and %s nats of validation loss at the last "
        "point%s, whose difference changes sign %d time%s over the last %d points",
        cause, k->plus, k->minus, k->train.mean, val, seeds, k->sign_changes,
        k->sign_changes == 1 ? "" : "s", k->sign_points);
}

static void say_loss(const struct speech *to)
{
    const struct qk_contrast *ab = &to->v->contrast[QK_AB], *bc = &to->v->contrast[QK_BC];
    bool val = !isnan(ab->val.mean) && !isnan(bc->val.mean);
    say(to, "loss",
        "At the last point learning the gain changes %s loss by %+.4f nats (A−B) and normalising "
        "with the gain frozen by %+.4f nats (B−C)",
        val ? "validation" : "training", val ? ab->val.mean : ab->train.mean,
        val ? bc->val.mean : bc->train.mean);
    say_loss_of(to, "loss_ab", "Learning the gain", &to->v->contrast[QK_AB]);
    say_loss_of(to, "loss_bc", "Normalising with the gain frozen", &to->v->contrast[QK_BC]);
}

static void say_order(const struct speech *to)
{
    const struct qk_verdict *v = to->v;
    const char *p = v->pr_order, *l = v->loss_order;
    const struct qk_trajectory *t = v->at;
    double loss[3];
    for (int i = 0; i < 3; i++)
        loss[i] = v->loss_is_val ? t[i].val_loss : t[i].train_loss;
    say(to, "order",
        "By mean PR the order is %c > %c > %c (%.2f, %.2f, %.2f), by %s loss %c < %c < %c (%.4f, "
        "%.4f, %.4f): higher rank %s with lower loss",
        p[0], p[1], p[2], t[p[0] - 'A'].last_pr, t[p[1] - 'A'].last_pr, t[p[2] - 'A'].last_pr,
        v->loss_is_val ? "validation" : "training", l[0], l[1], l[2], loss[l[0] - 'A'],
        loss[l[1] - 'A'], loss[l[2] - 'A'], v->orders_match ? "goes" : "does not go");
}

/* ---- rank in time ---- */

static void say_minimum(const struct speech *to)
{
    const struct qk_trajectory *t = to->v->at;
    char at[3][32];
    say(to, "minimum",
        "Mean PR is least at %s tokens in A (%.2f), %s in B (%.2f) and %s in C (%.2f)",
        tokens_text(t[0].least_tokens, at[0]), t[0].least_pr, tokens_text(t[1].least_tokens, at[1]),
        t[1].least_pr, tokens_text(t[2].least_tokens, at[2]), t[2].least_pr);
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

static void say_recovery(const struct speech *to)
{
    const struct qk_trajectory *t = to->v->at;
    char text[3][64];
    say(to, "recovery", "From the minimum to the end mean PR changes by %s in A, %s in B, %s in C",
        regained(&t[0], text[0]), regained(&t[1], text[1]), regained(&t[2], text[2]));
}

/* A drift as large as what counts as a difference is no plateau. */
static const char *steadiness(const struct qk_trajectory *t)
{
    return fabs(t->plateau_drift) < QK_TOLERANCE_PR ? "a plateau"
           : t->plateau_drift > 0                   ? "still rising"
                                                    : "still falling";
}

static void say_plateau(const struct speech *to)
{
    const struct qk_verdict *v = to->v;
    const struct qk_trajectory *t = v->at;
    int n = t[0].plateau_points;
    if (n < 3)
        return;
    say(to, "plateau",
        "Over the second half of training (%d points) mean PR is %.2f ± %.2f in A, %.2f ± %.2f in "
        "B, %.2f ± %.2f in C (jitter in time, not between seeds); it drifts by %+.2f (%s), %+.2f "
        "(%s), %+.2f "
        "(%s)",
        n, t[0].plateau_mean, t[0].plateau_sd, t[1].plateau_mean, t[1].plateau_sd,
        t[2].plateau_mean, t[2].plateau_sd, t[0].plateau_drift, steadiness(&t[0]),
        t[1].plateau_drift, steadiness(&t[1]), t[2].plateau_drift, steadiness(&t[2]));
    const struct qk_contrast *k = v->contrast;
    say(to, "plateau_contrasts",
        "Over the second half of training (%d points) the differences are A−B = %+.2f ± %.2f and "
        "B−C = %+.2f ± %.2f PR (jitter in time)",
        n, k[QK_AB].plateau_mean, k[QK_AB].plateau_sd, k[QK_BC].plateau_mean, k[QK_BC].plateau_sd);
}

static void say_null(const struct speech *to)
{
    const struct qk_verdict *v = to->v;
    if (isnan(v->null_pr))
        return;
    say(to, "null",
        "Against %.2f for i.i.d. Gaussian keys of the same shape the final PR is %.0f %% in A, "
        "%.0f %% in B, %.0f %% in C (at the start %.0f %%, %.0f %%, %.0f %%)",
        v->null_pr, 100 * v->at[0].last_pr / v->null_pr, 100 * v->at[1].last_pr / v->null_pr,
        100 * v->at[2].last_pr / v->null_pr, 100 * v->at[0].start_pr / v->null_pr,
        100 * v->at[1].start_pr / v->null_pr, 100 * v->at[2].start_pr / v->null_pr);
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

static void say_layers(const struct speech *to)
{
    const struct qk_contrast *ab = &to->v->contrast[QK_AB], *bc = &to->v->contrast[QK_BC];
    say(to, "layers",
        "Layer by layer A is above B in %d of %d layers (mean %+.2f, mean size %.2f%s) and B above "
        "C in %d (mean %+.2f, mean size %.2f%s); layers of one network are not replicates",
        ab->layers_above, to->v->layers, ab->layer_mean, ab->layer_abs, cancels(ab),
        bc->layers_above, bc->layer_mean, bc->layer_abs, cancels(bc));
}

static void say_gain(const struct speech *to)
{
    const struct qk_verdict *v = to->v;
    if (isnan(v->gain_mean))
        return;
    char r[160] = "";
    if (v->layers >= 8 && !isnan(v->gain_r) && !isnan(v->cv_r))
        snprintf(r, sizeof r,
                 "; over layers A−B correlates %.2f with the mean gain and %.2f with its CV",
                 v->gain_r, v->cv_r);
    say(to, "gain", "The learned key gain ends at a mean of %.3f (layers %.3f to %.3f)%s",
        v->gain_mean, v->gain_low, v->gain_high, r);
}

static void say_scale(const struct speech *to)
{
    const struct qk_verdict *v = to->v;
    if (v->head_dim == 0 || v->head_dim == QK_PUBLISHED_HEAD_DIM)
        return;
    say(to, "scale",
        "The head dimension %d caps PR here, so the tolerance of %.1f PR is %.1f %% of it, against "
        "%.1f %% at the published model's %d",
        v->head_dim, v->tolerance, 100 * v->tolerance / v->head_dim,
        100 * v->tolerance / QK_PUBLISHED_HEAD_DIM, QK_PUBLISHED_HEAD_DIM);
}

/* ---- reservations ---- */

__attribute__((format(printf, 2, 3))) static void add_caveat(cJSON *list, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = qk_format_args(format, args);
    va_end(args);
    cJSON_AddItemToArray(list, cJSON_CreateString(text));
    free(text);
}

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

static void caveat_configs(const struct qk_verdict *v, cJSON *list)
{
    const cJSON *a = cJSON_GetObjectItemCaseSensitive(v->at[0].condition->mean.json, "config");
    for (int i = 1; i < 3; i++) {
        const cJSON *b = cJSON_GetObjectItemCaseSensitive(v->at[i].condition->mean.json, "config");
        if (a == NULL || b == NULL)
            continue;
        char *keys = config_differences(a, b);
        if (keys[0] != '\0')
            add_caveat(list,
                       "A and %c differ not only in qk_norm but also in %s: their difference has "
                       "more than one cause.",
                       'A' + i, keys);
        free(keys);
    }
}

static cJSON *caveats(const struct qk_verdict *v)
{
    cJSON *list = cJSON_CreateArray();
    if (v->n_seeds == 1)
        add_caveat(list, "One seed per condition: the variance between seeds is not known, so no "
                         "difference here can be called significant, and one below the tolerance "
                         "is no test of equivalence.");
    else if (v->n_seeds < 6)
        add_caveat(list,
                   "%d seeds: the exact sign-flip test cannot go below p = %.3f; six seeds are the "
                   "fewest that can reach 0.05.",
                   v->n_seeds, ldexp(2, -v->n_seeds));
    if (v->n_seeds > QK_STATS_MOST_FLIPS)
        add_caveat(list, "Above %d seeds the exact sign-flip test is not computed.",
                   QK_STATS_MOST_FLIPS);
    if (isnan(v->null_pr))
        add_caveat(list,
                   "The null PR of Gaussian keys of the same shape is not told by the input.");
    caveat_configs(v, list);
    return list;
}

/* ---- numbers ---- */

static cJSON *paired_json(const struct qk_paired *s)
{
    cJSON *o = cJSON_CreateObject();
    qk_json_add_number(o, "difference", s->mean);
    qk_json_add_number(o, "n", s->n);
    qk_json_add_number(o, "sd", s->sd);
    qk_json_add_number(o, "low95", s->low95);
    qk_json_add_number(o, "high95", s->high95);
    qk_json_add_number(o, "p_t", s->p_t);
    qk_json_add_number(o, "p_signflip", s->p_flip);
    return o;
}

static cJSON *contrast_json(const struct qk_contrast *k)
{
    cJSON *o = paired_json(&k->pr);
    qk_json_add_number(o, "low90", k->pr.low90);
    qk_json_add_number(o, "high90", k->pr.high90);
    qk_json_add_number(o, "p_tost", k->pr.p_tost);
    qk_json_add_number(o, "p_holm", k->p_holm);
    if (k->pr.n >= 2)
        cJSON_AddStringToObject(o, "equivalence", qk_stats_equivalence_name(k->pr.equivalence));
    else
        cJSON_AddNullToObject(o, "equivalence");
    cJSON_AddItemToObject(o, "seeds", qk_json_numbers(k->seeds, k->pr.n));
    qk_json_add_number(o, "plateau_mean", k->plateau_mean);
    qk_json_add_number(o, "plateau_sd", k->plateau_sd);
    qk_json_add_number(o, "layer_mean", k->layer_mean);
    qk_json_add_number(o, "layer_mean_abs", k->layer_abs);
    qk_json_add_number(o, "layers_above", k->layers_above);
    cJSON *loss = cJSON_AddObjectToObject(o, "loss");
    cJSON_AddItemToObject(loss, "train", paired_json(&k->train));
    cJSON_AddItemToObject(loss, "val", paired_json(&k->val));
    qk_json_add_number(loss, "sign_changes", k->sign_changes);
    qk_json_add_number(loss, "sign_points", k->sign_points);
    return o;
}

static cJSON *trajectory_json(const struct qk_verdict *v, const struct qk_trajectory *t)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "tag", t->condition->mean.tag);
    cJSON_AddStringToObject(o, "name", qk_condition_name(t->condition));
    qk_json_add_number(o, "start_pr", t->start_pr);
    qk_json_add_number(o, "mean_pr", t->last_pr);
    qk_json_add_number(o, "share_of_null", t->last_pr / v->null_pr);
    qk_json_add_number(o, "share_of_head_dim", v->head_dim > 0 ? t->last_pr / v->head_dim : NAN);
    qk_json_add_number(o, "train_loss", t->train_loss);
    qk_json_add_number(o, "val_loss", t->val_loss);
    qk_json_add_number(o, "val_tokens", t->val_tokens);
    cJSON *least = cJSON_AddObjectToObject(o, "minimum");
    qk_json_add_number(least, "tokens", t->least_tokens);
    qk_json_add_number(least, "pr", t->least_pr);
    cJSON *recovery = cJSON_AddObjectToObject(o, "recovery");
    qk_json_add_number(recovery, "pr", t->recovery);
    qk_json_add_number(recovery, "share_of_fall", t->recovered_share);
    cJSON *plateau = cJSON_AddObjectToObject(o, "plateau");
    qk_json_add_number(plateau, "points", t->plateau_points);
    qk_json_add_number(plateau, "mean", t->plateau_mean);
    qk_json_add_number(plateau, "sd", t->plateau_sd);
    qk_json_add_number(plateau, "drift", t->plateau_drift);
    return o;
}

static cJSON *order_json(const struct qk_verdict *v)
{
    cJSON *o = cJSON_CreateObject();
    char text[16];
    snprintf(text, sizeof text, "%c > %c > %c", v->pr_order[0], v->pr_order[1], v->pr_order[2]);
    cJSON_AddStringToObject(o, "pr", text);
    snprintf(text, sizeof text, "%c < %c < %c", v->loss_order[0], v->loss_order[1],
             v->loss_order[2]);
    cJSON_AddStringToObject(o, "loss", text);
    cJSON_AddStringToObject(o, "loss_of", v->loss_is_val ? "val" : "train");
    cJSON_AddBoolToObject(o, "match", v->orders_match);
    return o;
}

static cJSON *numbers_json(const struct qk_verdict *v)
{
    static const char *const names[] = {"A-B", "B-C", "A-C"};
    cJSON *o = cJSON_CreateObject();
    qk_json_add_number(o, "tokens", v->tokens);
    cJSON_AddStringToObject(o, "site", v->site);
    qk_json_add_number(o, "seeds", v->n_seeds);
    qk_json_add_number(o, "points", v->points);
    qk_json_add_number(o, "layers", v->layers);
    qk_json_add_number(o, "head_dim", v->head_dim > 0 ? v->head_dim : NAN);
    qk_json_add_number(o, "null_pr", v->null_pr);
    qk_json_add_number(o, "tolerance", v->tolerance);
    cJSON *conditions = cJSON_AddObjectToObject(o, "conditions");
    for (int i = 0; i < 3; i++) {
        char letter[2] = {(char)('A' + i), '\0'};
        cJSON_AddItemToObject(conditions, letter, trajectory_json(v, &v->at[i]));
    }
    cJSON *contrasts = cJSON_AddObjectToObject(o, "contrasts");
    for (int i = 0; i < QK_CONTRASTS; i++)
        cJSON_AddItemToObject(contrasts, names[i], contrast_json(&v->contrast[i]));
    cJSON_AddItemToObject(o, "order", order_json(v));
    cJSON *gain = cJSON_AddObjectToObject(o, "gain");
    qk_json_add_number(gain, "mean", v->gain_mean);
    qk_json_add_number(gain, "least_layer", v->gain_low);
    qk_json_add_number(gain, "most_layer", v->gain_high);
    qk_json_add_number(gain, "correlation_with_mean", v->gain_r);
    qk_json_add_number(gain, "correlation_with_cv", v->cv_r);
    return o;
}

static const char *const rule_text =
    "Primary endpoint: mean over layers of the keys' PR at the headline site, at the last point. "
    "Kill criterion: |A−B| < 1.0 PR means the learned gain is not the mechanism. Pattern: from "
    "A−B, B−C, A−C, two conditions being equal when they differ by less than 1.0 PR. From two "
    "seeds: paired differences; null when the 90 % t interval lies inside ±1 PR, effect when it "
    "lies wholly outside, else inconclusive; exact sign-flip p, Holm-adjusted over the three "
    "contrasts. Plateau: the second half of the tokens.";

static cJSON *sentences_json(const struct qk_verdict *v)
{
    struct speech to = {v, cJSON_CreateObject()};
    say_pattern(&to);
    say_kill(&to);
    say_equivalence(&to);
    say_loss(&to);
    say_order(&to);
    say_minimum(&to);
    say_recovery(&to);
    say_plateau(&to);
    say_null(&to);
    say_layers(&to);
    say_gain(&to);
    say_scale(&to);
    return to.sentences;
}

cJSON *qk_verdict_json(const struct qk_verdict *v)
{
    cJSON *json = cJSON_CreateObject();
    struct speech to = {v, sentences_json(v)};
    char *title = qk_verdict_title(v), *headline = qk_verdict_headline(v);
    cJSON_AddStringToObject(json, "kind", "verdict");
    qk_json_add_number(json, "version", 1);
    cJSON_AddStringToObject(json, "study", "causal50m");
    cJSON_AddStringToObject(json, "title", title);
    cJSON_AddStringToObject(json, "outcome", qk_pattern_label(v->pattern));
    cJSON_AddBoolToObject(json, "kill_criterion_met", v->killed);
    if (v->n_seeds >= 2)
        cJSON_AddStringToObject(json, "equivalence",
                                qk_stats_equivalence_name(v->contrast[QK_AB].pr.equivalence));
    else
        cJSON_AddNullToObject(json, "equivalence");
    if (v->n_seeds >= 2)
        cJSON_AddBoolToObject(json, "settled", qk_verdict_settled(v));
    else
        cJSON_AddNullToObject(json, "settled");
    cJSON_AddStringToObject(
        json, "sentence",
        headline != NULL ? headline
                         : cJSON_GetObjectItemCaseSensitive(to.sentences, "pattern")->valuestring);
    cJSON_AddStringToObject(json, "rule", rule_text);
    cJSON_AddItemToObject(json, "sentences", to.sentences);
    cJSON_AddItemToObject(json, "caveats", caveats(v));
    cJSON_AddItemToObject(json, "numbers", numbers_json(v));
    free(title);
    free(headline);
    return json;
}
