#include "study/judge/verdict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "study/judge/judging.h"

enum qk_pattern qk_pattern_of(double ab, double bc, double ac, double tolerance)
{
    bool a_is_b = fabs(ab) < tolerance, b_is_c = fabs(bc) < tolerance,
         a_is_c = fabs(ac) < tolerance;
    int equal = a_is_b + b_is_c + a_is_c;
    if (equal == 3)
        return QK_PATTERN_NONE;
    if (equal == 2)
        return QK_PATTERN_INTRANSITIVE;
    if (equal == 0)
        return QK_PATTERN_ALL;
    return b_is_c ? QK_PATTERN_GAIN : a_is_b ? QK_PATTERN_NORM : QK_PATTERN_FROZEN_APART;
}

const char *qk_pattern_label(enum qk_pattern p)
{
    static const char *const labels[] = {"A≠B≈C",      "A≈B≠C",       "A≈C≠B",
                                         "all differ", "none differ", "intransitive"};
    return labels[p];
}

const char *qk_pattern_meaning(enum qk_pattern p)
{
    static const char *const meanings[] = {
        "the learned gain drives the difference in mean key rank",
        "the normalisation, not its gain, drives the difference in mean key rank",
        "freezing the gain sets B apart, and the learned gain undoes it",
        "the gain and the normalisation both change mean key rank",
        "neither the gain nor the normalisation moves mean key rank by 1.0",
        "the three differences straddle the tolerance and form no pattern"};
    return meanings[p];
}

/* ---- one condition ---- */

static int plateau_start(const struct qk_results *r)
{
    int i = 0;
    while (i < r->points - 1 && r->tokens[i] < r->tokens[r->points - 1] / 2)
        i++;
    return i;
}

/* Between seeds, of the last mean PR. */
static double seed_sd(const struct qk_condition *c)
{
    double *pr = qk_alloc((size_t)c->n_seeds, sizeof *pr);
    for (int i = 0; i < c->n_seeds; i++)
        pr[i] = c->seeds[i].mean_pr[c->seeds[i].points - 1];
    double sd = qk_stats_sd(pr, c->n_seeds);
    free(pr);
    return sd;
}

void qk_trajectory_follow(struct qk_trajectory *t, const struct qk_condition *c)
{
    const struct qk_results *r = &c->mean;
    int last = r->points - 1, least = 0, from = plateau_start(r), n = r->points - from;
    for (int i = 1; i <= last; i++)
        if (r->mean_pr[i] < r->mean_pr[least])
            least = i;
    int val = qk_results_last(r->val_loss, r->points);
    double length = r->tokens[last] - r->tokens[from];
    *t = (struct qk_trajectory){
        .condition = c,
        .start_pr = r->mean_pr[0],
        .last_pr = r->mean_pr[last],
        .least_pr = r->mean_pr[least],
        .least_tokens = r->tokens[least],
        .recovery = r->mean_pr[last] - r->mean_pr[least],
        .plateau_points = n,
        .plateau_mean = qk_stats_mean(r->mean_pr + from, n),
        .plateau_sd = qk_stats_sd(r->mean_pr + from, n),
        .plateau_drift = length * qk_stats_slope(r->tokens + from, r->mean_pr + from, n),
        .train_loss = r->loss[last],
        .val_loss = val >= 0 ? r->val_loss[val] : NAN,
        .val_tokens = val >= 0 ? r->tokens[val] : NAN,
    };
    double fall = t->start_pr - t->least_pr;
    t->sd_of_seeds = seed_sd(c);
    t->recovered_share = fall > 0 ? t->recovery / fall : NAN;
}

/* ---- two conditions ---- */

enum which { PR, TRAIN, VAL };

static const double *series_of(const struct qk_results *r, enum which which)
{
    return which == PR ? r->mean_pr : which == TRAIN ? r->loss : r->val_loss;
}

/* Differences per seed at `point`, and what they tell. */
static void pair_seeds(struct qk_paired *s, double *d, const struct qk_condition *plus,
                       const struct qk_condition *minus, enum which which, int point)
{
    for (int i = 0; i < plus->n_seeds; i++)
        d[i] = point < 0 ? NAN
                         : series_of(&plus->seeds[i], which)[point] -
                               series_of(&minus->seeds[i], which)[point];
    qk_stats_paired(s, d, plus->n_seeds, QK_TOLERANCE_PR);
}

static void contrast_plateau(struct qk_contrast *k, const struct qk_results *a,
                             const struct qk_results *b)
{
    int from = plateau_start(a), n = a->points - from;
    double *d = qk_alloc((size_t)n, sizeof *d);
    for (int i = 0; i < n; i++)
        d[i] = a->mean_pr[from + i] - b->mean_pr[from + i];
    k->plateau_mean = qk_stats_mean(d, n);
    k->plateau_sd = qk_stats_sd(d, n);
    free(d);
}

/* How often the difference of losses changes sign over its last five points. */
static void contrast_signs(struct qk_contrast *k, const struct qk_results *a,
                           const struct qk_results *b)
{
    enum which which = qk_results_last(a->val_loss, a->points) >= 0 ? VAL : TRAIN;
    int sign = 0;
    for (int i = a->points - 1; i >= 0 && k->sign_points < 5; i--) {
        double d = series_of(a, which)[i] - series_of(b, which)[i];
        if (isnan(d))
            continue;
        int now = (d > 0) - (d < 0);
        k->sign_changes += k->sign_points > 0 && now != sign;
        k->sign_points++;
        sign = now;
    }
}

static void contrast_layers(struct qk_contrast *k, const struct qk_results *a,
                            const struct qk_results *b)
{
    double sum = 0, size = 0;
    for (int l = 0; l < a->layers; l++) {
        double d = qk_results_at(a, a->layer_pr, l, a->points - 1) -
                   qk_results_at(b, b->layer_pr, l, b->points - 1);
        sum += d;
        size += fabs(d);
        k->layers_above += d > 0;
    }
    k->layer_mean = sum / a->layers;
    k->layer_abs = size / a->layers;
}

static void contrast(struct qk_contrast *k, const struct qk_condition *plus,
                     const struct qk_condition *minus)
{
    const struct qk_results *a = &plus->mean, *b = &minus->mean;
    double *d = qk_alloc((size_t)plus->n_seeds, sizeof *d);
    *k = (struct qk_contrast){.plus = plus->name[0], .minus = minus->name[0], .p_holm = NAN};
    k->seeds = qk_alloc((size_t)plus->n_seeds, sizeof *k->seeds);
    pair_seeds(&k->train, d, plus, minus, TRAIN, a->points - 1);
    pair_seeds(&k->val, d, plus, minus, VAL, qk_results_last(a->val_loss, a->points));
    pair_seeds(&k->pr, k->seeds, plus, minus, PR, a->points - 1);
    free(d);
    contrast_plateau(k, a, b);
    contrast_signs(k, a, b);
    contrast_layers(k, a, b);
}

/* ---- all three ---- */

/* The letters A, B, C by falling value (rising when `lowest_first`); equal values keep the order
 * of letters. */
static void order_letters(const double value[3], bool lowest_first, char order[3])
{
    int index[3] = {0, 1, 2};
    for (int i = 1; i < 3; i++)
        for (int j = i; j > 0; j--) {
            double d = value[index[j]] - value[index[j - 1]];
            if (lowest_first ? d < 0 : d > 0) {
                int swap = index[j];
                index[j] = index[j - 1];
                index[j - 1] = swap;
            }
        }
    for (int i = 0; i < 3; i++)
        order[i] = (char)('A' + index[i]);
}

static void compare_orders(struct qk_verdict *v)
{
    double pr[3], loss[3];
    v->loss_is_val = true;
    for (int i = 0; i < 3; i++)
        v->loss_is_val &= !isnan(v->at[i].val_loss);
    for (int i = 0; i < 3; i++) {
        pr[i] = v->at[i].last_pr;
        loss[i] = v->loss_is_val ? v->at[i].val_loss : v->at[i].train_loss;
    }
    order_letters(pr, false, v->pr_order);
    order_letters(loss, true, v->loss_order);
    v->orders_match = memcmp(v->pr_order, v->loss_order, 3) == 0;
}

/* Does A-B follow the size of the gain, or its spread over dimensions? */
static void study_gain(struct qk_verdict *v, const struct qk_results *a, const struct qk_results *b)
{
    v->gain_mean = v->gain_low = v->gain_high = v->gain_r = v->cv_r = NAN;
    if (a->gamma_mean == NULL)
        return;
    int n = a->layers;
    double *delta = qk_alloc((size_t)n, sizeof *delta), *cv = qk_alloc((size_t)n, sizeof *cv);
    v->gain_mean = qk_stats_mean(a->gamma_mean, n);
    for (int l = 0; l < n; l++) {
        v->gain_low = fmin(v->gain_low, a->gamma_mean[l]);
        v->gain_high = fmax(v->gain_high, a->gamma_mean[l]);
        delta[l] = qk_results_at(a, a->layer_pr, l, a->points - 1) -
                   qk_results_at(b, b->layer_pr, l, b->points - 1);
        cv[l] = a->gamma_sd[l] / a->gamma_mean[l];
    }
    v->gain_r = qk_stats_pearson(delta, a->gamma_mean, n);
    v->cv_r = qk_stats_pearson(delta, cv, n);
    free(delta);
    free(cv);
}

static void adjust(struct qk_verdict *v)
{
    double p[QK_CONTRASTS], holm[QK_CONTRASTS];
    for (int i = 0; i < QK_CONTRASTS; i++)
        p[i] = v->contrast[i].pr.p_flip;
    qk_stats_holm(p, QK_CONTRASTS, holm);
    for (int i = 0; i < QK_CONTRASTS; i++)
        v->contrast[i].p_holm = holm[i];
}

int qk_verdict_causal(struct qk_verdict *v, const struct qk_combined *c, struct qk_err *err)
{
    const struct qk_condition *at[3];
    *v = (struct qk_verdict){.tolerance = QK_TOLERANCE_PR};
    for (int i = 0; i < 3; i++) {
        at[i] = qk_combined_find(c, (char[]){(char)('A' + i), '\0'});
        if (at[i] == NULL)
            return qk_fail(err, "there is no condition %c, causal50m needs A, B and C", 'A' + i);
        if (qk_condition_check(at[i], err) != 0)
            return -1;
    }
    const struct qk_results *a = &at[0]->mean;
    v->n_seeds = at[0]->n_seeds;
    v->points = a->points;
    v->layers = a->layers;
    v->tokens = a->tokens[a->points - 1];
    v->head_dim = a->head_dim;
    v->null_pr = a->null_pr;
    v->site = a->site != NULL ? a->site : "?";
    for (int i = 0; i < 3; i++)
        qk_trajectory_follow(&v->at[i], at[i]);
    contrast(&v->contrast[QK_AB], at[0], at[1]);
    contrast(&v->contrast[QK_BC], at[1], at[2]);
    contrast(&v->contrast[QK_AC], at[0], at[2]);
    adjust(v);
    v->pattern = qk_pattern_of(v->contrast[QK_AB].pr.mean, v->contrast[QK_BC].pr.mean,
                               v->contrast[QK_AC].pr.mean, v->tolerance);
    v->killed = fabs(v->contrast[QK_AB].pr.mean) < v->tolerance;
    compare_orders(v);
    study_gain(v, a, &at[1]->mean);
    return 0;
}

void qk_verdict_free(struct qk_verdict *v)
{
    for (int i = 0; i < QK_CONTRASTS; i++)
        free(v->contrast[i].seeds);
    *v = (struct qk_verdict){0};
}
