#include "study/judge/judging.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "study/judge/verdict.h"

/* ---- two conditions ---- */

enum endpoint { PR, LOSS, TRAIN, QUERY, FORM };

/* `val`: the point of the validation loss, -1 for none. */
static double endpoint_of(const struct qk_results *r, enum endpoint which, int val)
{
    switch (which) {
    case PR:
        return r->mean_pr[r->points - 1];
    case LOSS:
        return val < 0 ? NAN : r->val_loss[val];
    case TRAIN:
        return r->loss[r->points - 1];
    case QUERY:
        return r->q_pr[r->points - 1];
    case FORM:
        return r->qk_pr[r->points - 1];
    }
    return NAN;
}

static void pair(struct qk_paired *s, const struct qk_condition *plus,
                 const struct qk_condition *minus, enum endpoint which, double margin)
{
    double *d = qk_alloc((size_t)plus->n_seeds, sizeof *d);
    const int val = qk_condition_last_val(plus, minus);
    for (int i = 0; i < plus->n_seeds; i++)
        d[i] = endpoint_of(&plus->seeds[i], which, val) - endpoint_of(&minus->seeds[i], which, val);
    qk_stats_paired(s, d, plus->n_seeds, margin);
    free(d);
}

void qk_difference_take(struct qk_difference *d, const struct qk_condition *plus,
                        const struct qk_condition *minus)
{
    const struct qk_results *a = &plus->mean, *b = &minus->mean;
    *d = (struct qk_difference){.plus = plus, .minus = minus, .p_holm = NAN};
    pair(&d->pr, plus, minus, PR, QK_TOLERANCE_PR);
    pair(&d->q, plus, minus, QUERY, QK_TOLERANCE_PR);
    pair(&d->qk, plus, minus, FORM, QK_TOLERANCE_PR);
    pair(&d->loss, plus, minus, LOSS, 0.005);
    d->loss_is_val = !isnan(d->loss.mean);
    if (!d->loss_is_val)
        pair(&d->loss, plus, minus, TRAIN, 0.005);
    for (int l = 0; l < a->layers; l++) {
        const double one = qk_results_at(a, a->layer_pr, l, a->points - 1) -
                           qk_results_at(b, b->layer_pr, l, b->points - 1);
        d->layer_abs += fabs(one) / a->layers;
        d->layers_above += one > 0;
    }
}

void qk_differences_adjust(struct qk_difference *list, int n)
{
    double *p = qk_alloc((size_t)n, sizeof *p), *holm = qk_alloc((size_t)n, sizeof *holm);
    for (int i = 0; i < n; i++)
        p[i] = list[i].pr.p_flip;
    qk_stats_holm(p, n, holm);
    for (int i = 0; i < n; i++)
        list[i].p_holm = holm[i];
    free(p);
    free(holm);
}

const char *qk_difference_is(const struct qk_difference *d)
{
    if (d->pr.n >= 2 && d->pr.equivalence == QK_EQ_INCONCLUSIVE)
        return "open";
    return fabs(d->pr.mean) < QK_TOLERANCE_PR ? "none" : d->pr.mean > 0 ? "higher" : "lower";
}

cJSON *qk_paired_json(const struct qk_paired *s)
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

void qk_paired_add_equivalence(cJSON *to, const struct qk_paired *s)
{
    qk_json_add_number(to, "low90", s->low90);
    qk_json_add_number(to, "high90", s->high90);
    qk_json_add_number(to, "p_tost", s->p_tost);
    if (s->n >= 2)
        cJSON_AddStringToObject(to, "equivalence", qk_stats_equivalence_name(s->equivalence));
    else
        cJSON_AddNullToObject(to, "equivalence");
}

static cJSON *whole_json(const struct qk_paired *s)
{
    cJSON *o = qk_paired_json(s);
    qk_paired_add_equivalence(o, s);
    return o;
}

static cJSON *difference_json(const struct qk_difference *d)
{
    cJSON *o = whole_json(&d->pr);
    qk_json_add_number(o, "p_holm", d->p_holm);
    cJSON_AddStringToObject(o, "is", qk_difference_is(d));
    cJSON_AddItemToObject(o, "loss", whole_json(&d->loss));
    cJSON_AddStringToObject(o, "loss_of", d->loss_is_val ? "val" : "train");
    cJSON_AddItemToObject(o, "queries", whole_json(&d->q));
    cJSON_AddItemToObject(o, "form", whole_json(&d->qk));
    qk_json_add_number(o, "layers_above", d->layers_above);
    qk_json_add_number(o, "layer_mean_abs", d->layer_abs);
    return o;
}

/* ---- a verdict under way ---- */

const char *qk_seeds_reservation(int n_seeds)
{
    return n_seeds == 1 ? " (one seed: no variance is known)" : "";
}

void qk_judging_start(struct qk_judging *j, const struct qk_evidence *e, int n_seeds)
{
    *j = (struct qk_judging){.e = e,
                             .n_seeds = n_seeds,
                             .details = cJSON_CreateObject(),
                             .sentences = cJSON_CreateObject(),
                             .caveats = cJSON_CreateArray(),
                             .numbers = cJSON_CreateObject()};
}

void qk_judging_say(struct qk_judging *j, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = qk_format_args(format, args), *signs = qk_minus_signs(text);
    va_end(args);
    char *whole = qk_format("%s%s.", signs, qk_seeds_reservation(j->n_seeds));
    cJSON_AddStringToObject(j->sentences, key, whole);
    free(text);
    free(signs);
    free(whole);
}

const char *qk_judging_said(const struct qk_judging *j, const char *key)
{
    const char *text = qk_json_find_text(j->sentences, key);
    return text != NULL ? text : "";
}

void qk_judging_caveat(struct qk_judging *j, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = qk_format_args(format, args);
    va_end(args);
    cJSON_AddItemToArray(j->caveats, cJSON_CreateString(text));
    free(text);
}

void qk_judging_difference(struct qk_judging *j, const char *key, const char *what,
                           const struct qk_difference *d, const char *conclusion)
{
    char plus[QK_CONDITION_NAME], minus[QK_CONDITION_NAME], tests[256] = "";
    const struct qk_paired *s = &d->pr;
    if (s->n >= 2)
        snprintf(tests, sizeof tests,
                 " (95 %% t interval [%.2f, %.2f] over %d seeds, exact sign-flip p = %.3f, "
                 "Holm-adjusted %.3f, against ±%.1f: %s)",
                 s->low95, s->high95, s->n, s->p_flip, d->p_holm, QK_TOLERANCE_PR,
                 qk_stats_equivalence_name(s->equivalence));
    qk_judging_say(
        j, key, "%s: %s − %s = %+.2f PR and %+.4f nats of %s loss at the last point%s: %s", what,
        qk_condition_label(d->plus->name, plus), qk_condition_label(d->minus->name, minus), s->mean,
        d->loss.mean, d->loss_is_val ? "validation" : "training", tests, conclusion);
}

static cJSON *condition_json(const struct qk_condition *c)
{
    const struct qk_results *r = &c->mean;
    struct qk_trajectory t;
    qk_trajectory_follow(&t, c);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "tag", r->tag);
    qk_json_add_number(o, "start_pr", t.start_pr);
    qk_json_add_number(o, "mean_pr", t.last_pr);
    qk_json_add_number(o, "share_of_null", t.last_pr / r->null_pr);
    qk_json_add_number(o, "q_pr", qk_results_end(r, r->q_pr));
    qk_json_add_number(o, "qk_pr", qk_results_end(r, r->qk_pr));
    qk_json_add_number(o, "train_loss", t.train_loss);
    qk_json_add_number(o, "val_loss", t.val_loss);
    cJSON *least = cJSON_AddObjectToObject(o, "minimum");
    qk_json_add_number(least, "tokens", t.least_tokens);
    qk_json_add_number(least, "pr", t.least_pr);
    qk_json_add_number(o, "sd_of_seeds", t.sd_of_seeds);
    return o;
}

void qk_judging_seed_caveats(struct qk_judging *j)
{
    if (j->n_seeds == 1)
        qk_judging_caveat(j, "One seed per condition: the variance between seeds is not known, so "
                             "no difference here can be called significant, and one below the "
                             "tolerance is no test of equivalence.");
    else if (j->n_seeds < 6)
        qk_judging_caveat(j,
                          "%d seeds: the exact sign-flip test cannot go below p = %.3f; six seeds "
                          "are the fewest that can reach 0.05.",
                          j->n_seeds, ldexp(2, -j->n_seeds));
    if (j->n_seeds > QK_STATS_MOST_FLIPS)
        qk_judging_caveat(j, "Above %d seeds the exact sign-flip test is not computed.",
                          QK_STATS_MOST_FLIPS);
}

void qk_judging_numbers(struct qk_judging *j, const struct qk_difference *list, int n)
{
    const struct qk_combined *c = j->e->combined;
    const struct qk_results *r = &c->at[0].mean;
    cJSON *o = j->numbers;
    qk_judging_seed_caveats(j);
    qk_json_add_number(o, "tokens", r->tokens[r->points - 1]);
    cJSON_AddStringToObject(o, "site", r->site != NULL ? r->site : "?");
    qk_json_add_number(o, "seeds", j->n_seeds);
    qk_json_add_number(o, "points", r->points);
    qk_json_add_number(o, "layers", r->layers);
    qk_json_add_number(o, "head_dim", r->head_dim > 0 ? (double)r->head_dim : (double)NAN);
    qk_json_add_number(o, "null_pr", r->null_pr);
    qk_json_add_number(o, "tolerance", QK_TOLERANCE_PR);
    cJSON *conditions = cJSON_AddObjectToObject(o, "conditions");
    for (int i = 0; i < c->count; i++)
        cJSON_AddItemToObject(conditions, c->at[i].name, condition_json(&c->at[i]));
    cJSON *contrasts = cJSON_AddObjectToObject(o, "contrasts");
    for (int i = 0; i < n; i++) {
        char *name = qk_format("%s-%s", list[i].plus->name, list[i].minus->name);
        cJSON_AddItemToObject(contrasts, name, difference_json(&list[i]));
        free(name);
    }
}

const char *qk_tokens_text(double tokens, char text[32])
{
    if (tokens < 1e5)
        return qk_group_digits((int64_t)tokens, text);
    snprintf(text, 32, "%.2f M", tokens / 1e6);
    return text;
}

cJSON *qk_judging_end(struct qk_judging *j, const char *study, const char *title,
                      const char *outcome, const char *sentence, const char *rule)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *detail;
    cJSON_AddStringToObject(json, "kind", "verdict");
    qk_json_add_number(json, "version", 1);
    cJSON_AddStringToObject(json, "study", study);
    cJSON_AddStringToObject(json, "title", title);
    cJSON_AddStringToObject(json, "outcome", outcome);
    while ((detail = cJSON_DetachItemFromArray(j->details, 0)) != NULL)
        cJSON_AddItemToObject(json, detail->string, detail);
    cJSON_AddStringToObject(json, "sentence", sentence);
    cJSON_AddStringToObject(json, "rule", rule);
    cJSON_AddItemToObject(json, "sentences", j->sentences);
    cJSON_AddItemToObject(json, "caveats", j->caveats);
    cJSON_AddItemToObject(json, "numbers", j->numbers);
    cJSON_Delete(j->details);
    *j = (struct qk_judging){.n_seeds = 0};
    return json;
}

/* ---- finding conditions ---- */

static int check_run(const struct qk_results *r, const char *name, struct qk_err *err)
{
    const int last = r->points - 1;
    for (int i = 0; i <= last; i++)
        if (isnan(r->mean_pr[i]))
            return qk_fail(err, "condition %s: 'mean_pr' is null at %.0f tokens", name,
                           r->tokens[i]);
    for (int l = 0; l < r->layers; l++)
        if (isnan(qk_results_at(r, r->layer_pr, l, last)))
            return qk_fail(err, "condition %s: 'layer_pr' of layer %d is null at the last point",
                           name, l);
    if (isnan(r->loss[last]))
        return qk_fail(err, "condition %s: 'loss' is null at the last point", name);
    return 0;
}

int qk_condition_check(const struct qk_condition *c, struct qk_err *err)
{
    if (c->mean.points < 2)
        return qk_fail(err, "condition %s: one point is no trajectory", c->name);
    for (int s = 0; s < c->n_seeds; s++)
        if (check_run(&c->seeds[s], c->name, err) != 0)
            return -1;
    return 0;
}

int qk_evidence_find(const struct qk_condition **at, const struct qk_evidence *e,
                     const char *const *names, int n, const char *study, struct qk_err *err)
{
    if (e->combined == NULL)
        return qk_fail(err, "%s is judged from a combined.json", study);
    for (int i = 0; i < n; i++) {
        at[i] = qk_combined_find(e->combined, names[i]);
        if (at[i] == NULL)
            return qk_fail(err, "there is no condition %s, which %s needs", names[i], study);
        if (qk_condition_check(at[i], err) != 0)
            return -1;
    }
    return 0;
}
