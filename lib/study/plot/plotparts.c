#include "study/plot/plotparts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

/* ---- text ---- */

void qk_plot_number(struct qk_buffer *to, double value)
{
    if (isnan(value))
        qk_buffer_text(to, " NaN");
    else
        qk_buffer_format(to, " %.10g", value);
}

void qk_plot_end_block(struct qk_buffer *to)
{
    qk_buffer_text(to, "\n\n");
}

void qk_plot_spread(struct qk_buffer *to, const struct qk_condition *plus,
                    const struct qk_condition *minus, qk_plot_value *value,
                    const struct qk_plot_at *at)
{
    double low = NAN, high = NAN, sum = 0;
    for (int s = 0; s < plus->n_seeds; s++) {
        double v = value(&plus->seeds[s], at);
        if (minus != NULL)
            v -= value(&minus->seeds[s], at);
        low = fmin(low, v);
        high = fmax(high, v);
        sum += v;
    }
    qk_plot_number(to, sum / plus->n_seeds);
    qk_plot_number(to, low);
    qk_plot_number(to, high);
}

void qk_plot_over_tokens(struct qk_buffer *to, const struct qk_condition *plus,
                         const struct qk_condition *minus, const struct qk_plot_column *columns,
                         int count)
{
    for (int p = 0; p < plus->mean.points; p++) {
        qk_buffer_format(to, "%.10g", plus->mean.tokens[p]);
        for (int i = 0; i < count; i++)
            qk_plot_spread(to, plus, minus, columns[i].value,
                           &(struct qk_plot_at){.point = p, .key = columns[i].key});
        qk_buffer_text(to, "\n");
    }
    qk_plot_end_block(to);
}

/* ---- values ---- */

double qk_plot_loss(const struct qk_results *r, const struct qk_plot_at *at)
{
    return r->loss[at->point];
}

double qk_plot_val(const struct qk_results *r, const struct qk_plot_at *at)
{
    return r->val_loss[at->point];
}

double qk_plot_pr(const struct qk_results *r, const struct qk_plot_at *at)
{
    return r->mean_pr[at->point];
}

double qk_plot_q_pr(const struct qk_results *r, const struct qk_plot_at *at)
{
    return r->q_pr[at->point];
}

double qk_plot_qk_pr(const struct qk_results *r, const struct qk_plot_at *at)
{
    return r->qk_pr[at->point];
}

double qk_plot_entropy(const struct qk_results *r, const struct qk_plot_at *at)
{
    return r->entropy[at->point];
}

double qk_plot_max_logit(const struct qk_results *r, const struct qk_plot_at *at)
{
    return r->max_logit[at->point];
}

double qk_plot_layer_pr(const struct qk_results *r, const struct qk_plot_at *at)
{
    return qk_results_at(r, r->layer_pr, at->layer, at->point);
}

double qk_plot_gamma_cv(const struct qk_results *r, const struct qk_plot_at *at)
{
    return r->gamma_cv == NULL ? NAN : qk_results_at(r, r->gamma_cv, at->layer, at->point);
}

double qk_plot_site_pr(const struct qk_results *r, const struct qk_plot_at *at)
{
    return qk_json_as_number(cJSON_GetArrayItem(
        qk_json_find(qk_json_find(r->json, "mean_pr_sites"), at->key), at->point));
}

static const cJSON *spectra_of_layer(const struct qk_results *r, int layer)
{
    return qk_json_find_at(qk_json_find(qk_json_find(r->json, "spectra"), "layers"), layer);
}

double qk_plot_sigma(const struct qk_results *r, const struct qk_plot_at *at)
{
    return qk_json_as_number(cJSON_GetArrayItem(
        cJSON_GetArrayItem(spectra_of_layer(r, at->layer), at->point), at->index));
}

bool qk_plot_spectra_of(const struct qk_results *r, struct qk_plot_spectra *s)
{
    s->tokens = qk_json_find(qk_json_find(r->json, "spectra"), "tokens");
    s->points = cJSON_GetArraySize(s->tokens);
    s->values = cJSON_GetArraySize(cJSON_GetArrayItem(spectra_of_layer(r, 0), 0));
    return s->points > 0 && s->values > 0;
}

bool qk_plot_has(const struct qk_plot *p, qk_plot_value *value, const char *key)
{
    for (int i = 0; i < p->count; i++)
        for (int point = 0; point < p->at[i]->mean.points; point++)
            if (!isnan(value(&p->at[i]->mean, &(struct qk_plot_at){.point = point, .key = key})))
                return true;
    return false;
}

/* ---- the null of a spectrum ---- */

/* With c = dim/rows, eigenvalues lie at 1 + c + 2 sqrt(c) cos(t), t in [0, pi], with density
 * sin(t)^2 / eigenvalue over t (Marchenko and Pastur); the i-th largest is where (i + 1/2)/dim of
 * the mass is passed. */
void qk_plot_null_spectrum(double *ratios, int64_t rows, int dim)
{
    enum { STEPS = 4096 };
    const double c = (double)dim / (double)rows, step = acos(-1.0) / STEPS;
    double total = 0, passed = 0;
    for (int k = 0; k < STEPS; k++) {
        double s = sin((k + 0.5) * step);
        total += s * s / (1 + c + 2 * sqrt(c) * cos((k + 0.5) * step));
    }
    for (int k = 0, i = 0; k < STEPS && i < dim; k++) {
        double s = sin((k + 0.5) * step), value = 1 + c + 2 * sqrt(c) * cos((k + 0.5) * step);
        passed += s * s / value / total;
        while (i < dim && passed >= (i + 0.5) / dim)
            ratios[i++] = sqrt(value);
        if (k == STEPS - 1) /* rounding at the very end */
            while (i < dim)
                ratios[i++] = sqrt(value);
    }
    for (int i = dim - 1; i >= 0; i--)
        ratios[i] /= ratios[0];
}

void qk_plot_null_block(struct qk_buffer *to, const struct qk_results *r, int values)
{
    const double rows = qk_json_find_number(r->json, "rows");
    if (rows >= values && rows < 1e12 && r->head_dim == values) {
        qk_buffer_text(to, "# gaussian: i, sigma_i/sigma_1 of Gaussian rows\n");
        double *ratios = qk_alloc((size_t)values, sizeof *ratios);
        qk_plot_null_spectrum(ratios, (int64_t)rows, values);
        for (int i = 0; i < values; i++)
            qk_buffer_format(to, "%d %.10g\n", i + 1, ratios[i]);
        free(ratios);
    } else {
        qk_buffer_text(to, "1 1\n"); /* true of any; gnuplot minds a block without numbers */
    }
    qk_plot_end_block(to);
}

/* ---- names and layers ---- */

int qk_plot_choose_layers(int layers, int wanted, int *chosen)
{
    int count = 0;
    for (int i = 0; i < wanted; i++) {
        int layer = (int)lround((layers - 1) * (double)i / (wanted - 1));
        if (count == 0 || chosen[count - 1] != layer)
            chosen[count++] = layer;
    }
    return count;
}

const char *qk_plot_short(const char *name)
{
    static const char *const names[][2] = {{"AdamW_QK", "AdamW+QK"}, {"Muon_QK", "Muon+QK"}};
    return qk_words_for(names, sizeof names / sizeof names[0], name, name);
}

const char *qk_plot_legend(const char *name, const struct qk_results *r)
{
    static const char *const names[][2] = {
        {"A1", "QK-Norm, Muon"},     {"A2", "no QK-Norm, Muon"},  {"B1", "QK-Norm, AdamW"},
        {"B2", "no QK-Norm, AdamW"}, {"C1", "simple text"},       {"C2", "complex text"},
        {"QK", "with QK-Norm"},      {"NoQK", "without QK-Norm"}, {"AdamW_QK", "AdamW+QK"},
        {"Muon_QK", "Muon+QK"},      {"AdamW", "AdamW"},          {"Muon", "Muon"}};
    static const char *const norms[][2] = {{"learned", "learned γ"},
                                           {"frozen", "frozen γ = 1"},
                                           {"scalar", "scalar γ"},
                                           {"none", "no QK-Norm"}};
    const char *otherwise =
        r == NULL ? name : qk_words_for(norms, sizeof norms / sizeof norms[0], r->qk_norm, r->tag);
    return qk_words_for(names, sizeof names / sizeof names[0], name, otherwise);
}

const char *qk_plot_site_words(const char *site)
{
    static const char *const words[][2] = {{"pre_norm", "before the norm"},
                                           {"post_norm", "after the norm, before RoPE"},
                                           {"post_rope", "after RoPE"},
                                           {"weight", "of the weights"}};
    return qk_words_for(words, sizeof words / sizeof words[0], site, site);
}
