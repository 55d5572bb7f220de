/* The tables of the studies. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/judge/judge.h"
#include "study/judge/verdict.h"

/* ---- of all studies ---- */

static void conditions(struct qk_table *t, const struct qk_combined *c)
{
    static const char *const names[] = {"condition", "PR",         "sd of seeds", "% of null",
                                        "least PR",  "at Mtokens", "query PR",    "QK PR",
                                        "train",     "val"};
    qk_table_header(t, names, 10);
    for (int i = 0; i < c->count; i++) {
        const struct qk_condition *condition = &c->at[i];
        const struct qk_results *r = &condition->mean;
        struct qk_trajectory at;
        qk_trajectory_follow(&at, condition);
        qk_table_cell(t, "%s %s", condition->name, qk_condition_name(condition));
        qk_table_number(t, "%.2f", at.last_pr);
        qk_table_number(t, "%.2f", at.sd_of_seeds);
        qk_table_number(t, "%.1f", 100 * at.last_pr / r->null_pr);
        qk_table_number(t, "%.2f", at.least_pr);
        qk_table_number(t, "%.4g", at.least_tokens / 1e6);
        qk_table_number(t, "%.2f", qk_results_end(r, r->q_pr));
        qk_table_number(t, "%.2f", qk_results_end(r, r->qk_pr));
        qk_table_number(t, "%.4f", at.train_loss);
        qk_table_number(t, "%.4f", at.val_loss);
    }
}

static void interval_cell(struct qk_table *t, const char *format, double low, double high)
{
    if (isnan(low)) {
        qk_table_cell(t, "-");
        return;
    }
    struct qk_table ends = {0};
    qk_table_number(&ends, format, low);
    qk_table_number(&ends, format, high);
    qk_table_cell(t, "[%s, %s]", ends.cells.at[0], ends.cells.at[1]);
    qk_table_free(&ends);
}

static void causal_contrasts(struct qk_table *t, const struct qk_verdict *v)
{
    static const char *const names[] = {"contrast", "ΔPR",     "95 % interval", "sign-flip p",
                                        "Holm p",   "±1 PR",   "second half",   "Δtrain",
                                        "Δval",     "layers >"};
    qk_table_header(t, names, 10);
    for (int i = 0; i < QK_CONTRASTS; i++) {
        const struct qk_contrast *k = &v->contrast[i];
        qk_table_cell(t, "%c−%c", k->plus, k->minus);
        qk_table_number(t, "%+.2f", k->pr.mean);
        interval_cell(t, "%+.2f", k->pr.low95, k->pr.high95);
        qk_table_number(t, "%.3f", k->pr.p_flip);
        qk_table_number(t, "%.3f", k->p_holm);
        qk_table_cell(t, "%s", k->pr.n < 2 ? "-" : qk_stats_equivalence_name(k->pr.equivalence));
        if (isnan(k->plateau_sd)) /* one point has no jitter to tell */
            qk_table_number(t, "%+.2f", k->plateau_mean);
        else
            qk_table_cell(t, "%+.2f ± %.2f", k->plateau_mean, k->plateau_sd);
        qk_table_number(t, "%+.4f", k->train.mean);
        qk_table_number(t, "%+.4f", k->val.mean);
        qk_table_cell(t, "%d of %d", k->layers_above, v->layers);
    }
}

static void contrast_row(struct qk_table *t, const cJSON *k, double layers)
{
    const double low = qk_json_find_number(k, "low95");
    const cJSON *loss = cJSON_GetObjectItemCaseSensitive(k, "loss");
    const char *is = qk_json_find_text(k, "equivalence");
    char *name = qk_strdup(k->string), *dash = strchr(name, '-'), plus[QK_CONDITION_NAME];
    char minus[QK_CONDITION_NAME];
    if (dash != NULL)
        *dash = '\0';
    qk_table_cell(t, "%s − %s", qk_condition_label(name, plus),
                  qk_condition_label(dash != NULL ? dash + 1 : "", minus));
    free(name);
    qk_table_number(t, "%+.2f", qk_json_find_number(k, "difference"));
    if (isnan(low))
        qk_table_cell(t, "-");
    else
        qk_table_cell(t, "[%+.2f, %+.2f]", low, qk_json_find_number(k, "high95"));
    qk_table_number(t, "%.3f", qk_json_find_number(k, "p_signflip"));
    qk_table_number(t, "%.3f", qk_json_find_number(k, "p_holm"));
    qk_table_cell(t, "%s", is != NULL ? is : "-");
    qk_table_number(t, "%+.4f", qk_json_find_number(loss, "difference"));
    qk_table_cell(t, "%.0f of %.0f", qk_json_find_number(k, "layers_above"), layers);
}

static int contrasts(struct qk_table *t, const char *study, const struct qk_evidence *e,
                     struct qk_err *err)
{
    static const char *const names[] = {"contrast", "ΔPR",   "95 % interval", "sign-flip p",
                                        "Holm p",   "±1 PR", "Δloss",         "layers >"};
    if (strcmp(study, "causal50m") == 0) {
        struct qk_verdict v;
        if (qk_verdict_causal(&v, e->combined, err) != 0)
            return -1;
        causal_contrasts(t, &v);
        qk_verdict_free(&v);
        return 0;
    }
    cJSON *verdict = qk_judge(study, e, err);
    if (verdict == NULL)
        return -1;
    const cJSON *numbers = cJSON_GetObjectItemCaseSensitive(verdict, "numbers"), *k;
    qk_table_header(t, names, 8);
    cJSON_ArrayForEach(k, cJSON_GetObjectItemCaseSensitive(numbers, "contrasts"))
        contrast_row(t, k, qk_json_find_number(numbers, "layers"));
    cJSON_Delete(verdict);
    return 0;
}

static void trajectory(struct qk_table *t, const struct qk_combined *c)
{
    static const char *const of[] = {"PR", "train", "val"};
    t->columns = 1 + 3 * c->count;
    qk_table_cell(t, "Mtokens");
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < c->count; i++)
            qk_table_cell(t, "%s %s", of[k], c->at[i].name);
    for (int p = 0; p < c->at[0].mean.points; p++) {
        qk_table_number(t, "%.4g", c->at[0].mean.tokens[p] / 1e6);
        for (int i = 0; i < c->count; i++)
            qk_table_number(t, "%.2f", c->at[i].mean.mean_pr[p]);
        for (int i = 0; i < c->count; i++)
            qk_table_number(t, "%.4f", c->at[i].mean.loss[p]);
        for (int i = 0; i < c->count; i++)
            qk_table_number(t, "%.4f", c->at[i].mean.val_loss[p]);
    }
}

/* ---- of rates ---- */

static void rates(struct qk_table *t, const cJSON *chosen)
{
    static const char *const names[] = {"configuration", "best LR", "sweep val loss",
                                        "mean PR there", "edge of the grid"};
    const cJSON *c;
    qk_table_header(t, names, 5);
    cJSON_ArrayForEach(c, chosen)
    {
        char label[QK_CONDITION_NAME];
        const char *side = qk_json_find_text(c, "side");
        if (!cJSON_HasObjectItem(c, "grid"))
            continue;
        qk_table_cell(t, "%s", qk_condition_label(c->string, label));
        qk_table_number(t, "%g", qk_json_find_number(c, "rate"));
        qk_table_number(t, "%.4f", qk_json_find_number(c, "val_loss"));
        qk_table_number(t, "%.2f", qk_json_find_number(c, "rank"));
        qk_table_cell(t, "%s", side != NULL ? side : "no");
    }
}

static void grid(struct qk_table *t, const cJSON *chosen)
{
    static const char *const names[] = {"configuration", "LR", "val loss", "mean PR", "winner"};
    const cJSON *c, *at;
    qk_table_header(t, names, 5);
    cJSON_ArrayForEach(c, chosen)
    {
        char label[QK_CONDITION_NAME];
        cJSON_ArrayForEach(at, cJSON_GetObjectItemCaseSensitive(c, "grid"))
        {
            const bool won = qk_json_find_number(at, "rate") == qk_json_find_number(c, "rate");
            qk_table_cell(t, "%s", qk_condition_label(c->string, label));
            qk_table_number(t, "%g", qk_json_find_number(at, "rate"));
            qk_table_number(t, "%.4f", qk_json_find_number(at, "val_loss"));
            qk_table_number(t, "%.2f", qk_json_find_number(at, "mean_pr"));
            qk_table_cell(t, "%s", won ? "*" : "");
        }
    }
}

/* ---- of the main study ---- */

static double val_loss(const struct qk_results *r)
{
    return qk_results_end(r, r->val_loss);
}

static double val_perplexity(const struct qk_results *r)
{
    return exp(val_loss(r));
}

static double mean_pr(const struct qk_results *r)
{
    return qk_results_end(r, r->mean_pr);
}

static double hellaswag(const struct qk_results *r)
{
    return qk_results_eval(r, "hellaswag");
}

static double lambada(const struct qk_results *r)
{
    return qk_results_eval(r, "lambada");
}

static double wikitext(const struct qk_results *r)
{
    return qk_results_eval(r, "wikitext");
}

static void runs(struct qk_table *t, const struct qk_combined *c)
{
    static const char *const names[] = {"configuration", "seed",    "val perplexity",
                                        "HellaSwag",     "LAMBADA", "WikiText perplexity"};
    qk_table_header(t, names, 6);
    for (int i = 0; i < c->count; i++)
        for (int s = 0; s < c->at[i].n_seeds; s++) {
            char label[QK_CONDITION_NAME];
            const struct qk_results *r = &c->at[i].seeds[s];
            qk_table_cell(t, "%s", qk_condition_label(c->at[i].name, label));
            qk_table_number(t, "%.0f", r->has_seed ? (double)r->seed : (double)NAN);
            qk_table_number(t, "%.3f", val_perplexity(r));
            qk_table_number(t, "%.4f", hellaswag(r));
            qk_table_number(t, "%.4f", lambada(r));
            qk_table_number(t, "%.2f", wikitext(r));
        }
}

/* Mean over seeds ± the difference of two (of more: most minus least); the mean alone with one. */
static void mean_and_difference(struct qk_table *t, const struct qk_condition *c, int digits,
                                double (*value)(const struct qk_results *))
{
    double sum = 0, least = NAN, most = NAN;
    for (int s = 0; s < c->n_seeds; s++) {
        const double v = value(&c->seeds[s]);
        sum += v;
        least = fmin(least, v);
        most = fmax(most, v);
    }
    if (isnan(sum))
        qk_table_cell(t, "-");
    else if (c->n_seeds < 2)
        qk_table_cell(t, "%.*f", digits, sum);
    else
        qk_table_cell(t, "%.*f ± %.*f", digits, sum / c->n_seeds, digits, most - least);
}

static double rate_of(const struct qk_condition *c, const cJSON *chosen)
{
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(c->mean.json, "config");
    const double picked =
        qk_json_find_number(cJSON_GetObjectItemCaseSensitive(chosen, c->name), "rate");
    const double muon = qk_json_find_number(config, "muon_lr");
    return !isnan(picked) ? picked : !isnan(muon) ? muon : qk_json_find_number(config, "adamw_lr");
}

static void configs(struct qk_table *t, const struct qk_combined *c, const cJSON *chosen)
{
    static const char *const names[] = {"configuration", "best LR",   "val loss",
                                        "mean PR",       "HellaSwag", "LAMBADA"};
    qk_table_header(t, names, 6);
    for (int i = 0; i < c->count; i++) {
        char label[QK_CONDITION_NAME];
        qk_table_cell(t, "%s", qk_condition_label(c->at[i].name, label));
        qk_table_number(t, "%g", rate_of(&c->at[i], chosen));
        mean_and_difference(t, &c->at[i], 4, val_loss);
        mean_and_difference(t, &c->at[i], 2, mean_pr);
        mean_and_difference(t, &c->at[i], 4, hellaswag);
        mean_and_difference(t, &c->at[i], 4, lambada);
    }
}

static int headline(struct qk_table *t, const struct qk_combined *c, struct qk_err *err)
{
    static const char *const names[] = {"measure", "Muon", "AdamW+QK", "difference"};
    static const struct {
        const char *name, *format, *sign;
        double (*value)(const struct qk_results *);
    } rows[] = {{"val loss", "%.4f", "%+.4f", val_loss},
                {"val perplexity", "%.3f", "%+.3f", val_perplexity},
                {"mean PR", "%.2f", "%+.2f", mean_pr},
                {"HellaSwag", "%.4f", "%+.4f", hellaswag},
                {"LAMBADA", "%.4f", "%+.4f", lambada},
                {"WikiText perplexity", "%.2f", "%+.2f", wikitext}};
    const struct qk_condition *muon = qk_combined_find(c, "Muon");
    const struct qk_condition *adamw = qk_combined_find(c, "AdamW_QK");
    if (muon == NULL || adamw == NULL)
        return qk_fail(err, "there is no condition %s", muon == NULL ? "Muon" : "AdamW_QK");
    qk_table_header(t, names, 4);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const double a = rows[i].value(&muon->mean), b = rows[i].value(&adamw->mean);
        qk_table_cell(t, "%s", rows[i].name);
        qk_table_number(t, rows[i].format, a);
        qk_table_number(t, rows[i].format, b);
        qk_table_number(t, rows[i].sign, a - b);
    }
    return 0;
}

/* ---- of surgery ---- */

static void surgery(struct qk_table *t, const struct qk_surgery *s)
{
    static const char *const names[] = {"run",       "method",      "area",           "sd",
                                        "loss at 0", "loss at 0.5", "loss at the end"};
    qk_table_header(t, names, 7);
    for (int i = 0; i < s->count; i++) {
        const struct qk_dose_curve *c = &s->at[i];
        double half = NAN;
        for (int k = 0; k < c->points; k++)
            if (fabs(c->at[k].fraction - 0.5) < 1e-9)
                half = c->at[k].loss;
        qk_table_cell(t, "%s", c->run);
        qk_table_cell(t, "%s", c->method);
        qk_table_number(t, "%.4f", c->area);
        qk_table_number(t, "%.4f", c->area_sd);
        qk_table_number(t, "%.4f", c->at[0].loss);
        qk_table_number(t, "%.4f", half);
        qk_table_number(t, "%.4f", c->at[c->points - 1].loss);
    }
}

/* ---- which ---- */

static int need(const void *there, const char *of, const char *what, struct qk_err *err)
{
    return there != NULL ? 0 : qk_fail(err, "the table of %s needs a %s", of, what);
}

int qk_study_table(struct qk_table *t, const char *study, const char *of,
                   const struct qk_evidence *e, struct qk_err *err)
{
    *t = (struct qk_table){.columns = 0};
    const bool of_rates = strcmp(of, "rates") == 0 || strcmp(of, "grid") == 0;
    if (of_rates                     ? need(e->chosen, of, "chosen.json", err)
        : strcmp(of, "surgery") == 0 ? need(e->surgery, of, "surgery.json", err)
                                     : need(e->combined, of, "combined.json", err))
        return -1;
    if (strcmp(of, "rates") == 0)
        rates(t, e->chosen);
    else if (strcmp(of, "grid") == 0)
        grid(t, e->chosen);
    else if (strcmp(of, "surgery") == 0)
        surgery(t, e->surgery);
    else if (strcmp(of, "conditions") == 0)
        conditions(t, e->combined);
    else if (strcmp(of, "contrasts") == 0)
        return contrasts(t, study, e, err);
    else if (strcmp(of, "trajectory") == 0)
        trajectory(t, e->combined);
    else if (strcmp(of, "runs") == 0)
        runs(t, e->combined);
    else if (strcmp(of, "configs") == 0)
        configs(t, e->combined, e->chosen);
    else if (strcmp(of, "headline") == 0)
        return headline(t, e->combined, err);
    else
        return qk_fail(err, "there is no table of %s", of);
    return 0;
}
