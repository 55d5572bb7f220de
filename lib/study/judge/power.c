#include "study/judge/power.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "study/measure/stats.h"

/* ---- distributions ---- */

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

/* Density of s = chi_df / sqrt(df): 2 (df/2)^(df/2) / Gamma(df/2) s^(df-1) exp(-df s^2 / 2). */
static double scaled_chi_density(double s, double df)
{
    if (s <= 0)
        return df == 1 ? sqrt(2 / 3.14159265358979323846) : 0;
    return exp(log(2) + df / 2 * log(df / 2) - lgamma(df / 2) + (df - 1) * log(s) - df * s * s / 2);
}

/* Integral of f(s) times the density over s from 0 to `to`, Simpson's rule. */
static double over_deviations(double (*f)(double s, const double *with), const double *with,
                              double df, double to)
{
    enum { STEPS = 4000 };
    const double h = to / STEPS;
    double sum = 0;
    for (int i = 0; i <= STEPS; i++) {
        const double weight = i == 0 || i == STEPS ? 1 : i % 2 ? 4 : 2;
        sum += weight * f(i * h, with) * scaled_chi_density(i * h, df);
    }
    return sum * h / 3;
}

/* Beyond this the density is below 1e-30. */
static double all_deviations(double df)
{
    return 1 + 12 / sqrt(df);
}

static double below(double s, const double *with)
{
    return normal_cdf(with[0] * s - with[1]);
}

double qk_stats_nct_cdf(double t, double df, double delta)
{
    if (isnan(t) || isnan(delta) || !(df > 0))
        return NAN;
    return over_deviations(below, (const double[]){t, delta}, df, all_deviations(df));
}

/* ---- power ---- */

double qk_power_t(int n, double effect, double sd, double alpha)
{
    if (n < 2 || !(sd > 0) || !(alpha > 0 && alpha < 1))
        return NAN;
    const double df = n - 1, delta = effect * sqrt(n) / sd;
    const double t = qk_stats_t_quantile(1 - alpha / 2, df);
    return 1 - qk_stats_nct_cdf(t, df, delta) + qk_stats_nct_cdf(-t, df, delta);
}

/* The chance that |mean| < margin - t s sd/sqrt(n): with[0] = margin in standard errors, with[1] =
 * t. */
static double inside(double s, const double *with)
{
    return fmax(0, 2 * normal_cdf(with[0] - with[1] * s) - 1);
}

double qk_power_tost(int n, double margin, double sd, double alpha)
{
    if (n < 2 || !(sd > 0) || !(margin > 0) || !(alpha > 0 && alpha < 0.5))
        return NAN;
    const double df = n - 1, t = qk_stats_t_quantile(1 - alpha, df);
    const double errors = margin * sqrt(n) / sd;
    return over_deviations(inside, (const double[]){errors, t}, df,
                           fmin(errors / t, all_deviations(df)));
}

static int least_seeds(double (*power)(int, double, double, double), double size, double sd,
                       double alpha, double wanted)
{
    if (!(sd > 0) || size == 0 || isnan(size))
        return 0;
    int low = 1, high = 2; /* power rises with n */
    while (high <= QK_POWER_MOST && power(high, size, sd, alpha) < wanted) {
        low = high;
        high *= 2;
    }
    if (high > QK_POWER_MOST)
        high = QK_POWER_MOST;
    if (power(high, size, sd, alpha) < wanted)
        return 0;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (power(middle, size, sd, alpha) < wanted)
            low = middle;
        else
            high = middle;
    }
    return high;
}

int qk_power_seeds_t(double effect, double sd, double alpha, double power)
{
    return least_seeds(qk_power_t, effect, sd, alpha, power);
}

int qk_power_seeds_tost(double margin, double sd, double alpha, double power)
{
    return least_seeds(qk_power_tost, margin, sd, alpha, power);
}

/* ---- a study ---- */

static cJSON *seeds_or_null(int n)
{
    return n > 0 ? cJSON_CreateNumber(n) : cJSON_CreateNull();
}

static cJSON *needed_json(const double *d, int n, double effect, double margin)
{
    cJSON *o = cJSON_CreateObject();
    const double sd = qk_stats_sd(d, n);
    qk_json_add_number(o, "mean", qk_stats_mean(d, n));
    qk_json_add_number(o, "sd", sd);
    qk_json_add_number(o, "effect", effect);
    cJSON_AddItemToObject(o, "seeds_80", seeds_or_null(qk_power_seeds_t(effect, sd, 0.05, 0.8)));
    cJSON_AddItemToObject(o, "seeds_90", seeds_or_null(qk_power_seeds_t(effect, sd, 0.05, 0.9)));
    qk_json_add_number(o, "power_now", qk_power_t(n, effect, sd, 0.05));
    cJSON *tost = cJSON_AddObjectToObject(o, "equivalence");
    qk_json_add_number(tost, "margin", margin);
    cJSON_AddItemToObject(tost, "seeds_80",
                          seeds_or_null(qk_power_seeds_tost(margin, sd, 0.05, 0.8)));
    cJSON_AddItemToObject(tost, "seeds_90",
                          seeds_or_null(qk_power_seeds_tost(margin, sd, 0.05, 0.9)));
    qk_json_add_number(tost, "power_now", qk_power_tost(n, margin, sd, 0.05));
    return o;
}

static cJSON *pair_json(const struct qk_condition *a, const struct qk_condition *b,
                        double effect_pr, double effect_loss)
{
    const int n = a->n_seeds, val = qk_condition_last_val(a, b);
    double *pr = qk_alloc((size_t)n, sizeof *pr), *loss = qk_alloc((size_t)n, sizeof *loss);
    for (int i = 0; i < n; i++) {
        const struct qk_results *x = &a->seeds[i], *y = &b->seeds[i];
        pr[i] = x->mean_pr[x->points - 1] - y->mean_pr[y->points - 1];
        loss[i] = val < 0 ? NAN : x->val_loss[val] - y->val_loss[val];
    }
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToObject(o, "pr", needed_json(pr, n, effect_pr, 1.0));
    cJSON_AddItemToObject(o, "val_loss", needed_json(loss, n, effect_loss, effect_loss));
    free(pr);
    free(loss);
    return o;
}

cJSON *qk_power_json(const struct qk_combined *c, double effect_pr, double effect_loss,
                     struct qk_err *err)
{
    if (c->at[0].n_seeds < 2)
        return qk_fail_null(err, "one seed tells no spread: two are the fewest that do");
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "kind", "power");
    qk_json_add_number(json, "version", 1);
    qk_json_add_number(json, "seeds", c->at[0].n_seeds);
    cJSON_AddStringToObject(
        json, "how",
        "paired t test, two-sided 5 %, by the noncentral t distribution; equivalence by TOST at 5 "
        "% "
        "with a true difference of 0; the deviation is taken as known, though few seeds tell it "
        "badly; null: more than 1000 seeds, or no spread was seen");
    cJSON *pairs = cJSON_AddObjectToObject(json, "pairs");
    for (int i = 0; i < c->count; i++)
        for (int j = i + 1; j < c->count; j++) {
            char *name = qk_format("%s-%s", c->at[i].name, c->at[j].name);
            cJSON_AddItemToObject(pairs, name,
                                  pair_json(&c->at[i], &c->at[j], effect_pr, effect_loss));
            free(name);
        }
    return json;
}
