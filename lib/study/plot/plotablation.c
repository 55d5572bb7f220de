/* Figures of ablation25m. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "study/plot/plotparts.h"

/* ---- over time ---- */

int qk_plot_trajectory(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    (void)err;
    for (int i = 0; i < p->count; i++) {
        qk_buffer_format(to, "# %s: tokens, PR of keys, low, high, of queries, low, high\n",
                         p->at[i]->name);
        qk_plot_over_tokens(to, p->at[i], NULL,
                            (struct qk_plot_column[]){{qk_plot_pr, NULL}, {qk_plot_q_pr, NULL}}, 2);
    }
    return 0;
}

/* The two points between which mean PR fell most. */
static void drop_line(struct qk_buffer *to, const struct qk_condition *c)
{
    const struct qk_results *r = &c->mean;
    int at = -1;
    for (int i = 0; i + 1 < r->points; i++) {
        double fall = r->mean_pr[i] - r->mean_pr[i + 1];
        if (fall > 0 && (at < 0 || fall > r->mean_pr[at] - r->mean_pr[at + 1]))
            at = i;
    }
    if (at >= 0)
        qk_buffer_format(to, "# drop %s: %.10g %.10g %.10g\n", c->name, r->tokens[at],
                         r->tokens[at + 1], r->mean_pr[at + 1] - r->mean_pr[at]);
}

int qk_plot_rank_loss(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    (void)err;
    for (int i = 0; i < p->count; i++)
        drop_line(to, p->at[i]);
    for (int i = 0; i < p->count; i++) {
        qk_buffer_format(to, "# %s: tokens, PR of keys, low, high, val loss, low, high\n",
                         p->at[i]->name);
        qk_plot_over_tokens(to, p->at[i], NULL,
                            (struct qk_plot_column[]){{qk_plot_pr, NULL}, {qk_plot_val, NULL}}, 2);
    }
    return 0;
}

int qk_plot_complexity(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    return qk_plot_mean_pr(to, p, err) != 0 || qk_plot_3_per_layer(to, p, err) != 0 ? -1 : 0;
}

/* ---- spectra in time ---- */

/* Mean over layers of sigma_i/sigma_1 at a point, of the mean over seeds. */
static double mean_sigma(const struct qk_results *r, int point, int index)
{
    double sum = 0;
    for (int l = 0; l < r->layers; l++)
        sum += qk_plot_sigma(r, &(struct qk_plot_at){.layer = l, .point = point, .index = index});
    return sum / r->layers;
}

static void waterfall_block(struct qk_buffer *to, const struct qk_condition *c,
                            const struct qk_plot_spectra *s)
{
    qk_buffer_format(to, "# %s: i, sigma_i/sigma_1 at each point\n", c->name);
    for (int i = 0; i < s->values; i++) {
        qk_buffer_format(to, "%d", i + 1);
        for (int k = 0; k < s->points; k++)
            qk_plot_number(to, mean_sigma(&c->mean, k, i));
        qk_buffer_text(to, "\n");
    }
    qk_plot_end_block(to);
}

int qk_plot_waterfall(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    struct qk_plot_spectra first = {0}, s;
    for (int i = 0; i < p->count; i++) {
        if (!qk_plot_spectra_of(&p->at[i]->mean, &s))
            return qk_fail(err, "%s: %s has no 'spectra': was it probed with --spectra?", p->figure,
                           p->at[i]->name);
        if (i == 0)
            first = s;
        if (s.points != first.points || s.values != first.values)
            return qk_fail(err, "%s: the 'spectra' of %s and %s have different shapes", p->figure,
                           p->at[0]->name, p->at[i]->name);
    }
    qk_buffer_text(to, "# points:");
    for (int k = 0; k < first.points; k++)
        qk_plot_number(to, qk_json_as_number(cJSON_GetArrayItem(first.tokens, k)));
    qk_buffer_text(to, "\n");
    for (int i = 0; i < p->count; i++)
        waterfall_block(to, p->at[i], &first);
    qk_plot_null_block(to, &p->at[0]->mean, first.values);
    return 0;
}

/* ---- surgery ---- */

/* A run of surgery.json: {method: [{fraction, ...}]}. */
static bool is_run(const cJSON *run)
{
    const cJSON *curve = run != NULL ? run->child : NULL;
    return cJSON_IsArray(curve) && qk_json_find(curve->child, "fraction") != NULL;
}

/* Draws are losses, or objects that hold one. */
static double draw_of(const cJSON *item)
{
    return qk_json_as_number(cJSON_IsObject(item) ? qk_json_find(item, "loss") : item);
}

static void surgery_point(struct qk_buffer *to, const cJSON *point)
{
    const double loss = qk_json_find_number(point, "loss");
    double low = NAN, high = NAN;
    const cJSON *item;
    cJSON_ArrayForEach(item, qk_json_find(point, "draws"))
    {
        low = fmin(low, draw_of(item));
        high = fmax(high, draw_of(item));
    }
    qk_buffer_format(to, "%.10g", qk_json_find_number(point, "fraction"));
    qk_plot_number(to, loss);
    qk_plot_number(to, isnan(low) ? loss : low);
    qk_plot_number(to, isnan(high) ? loss : high);
    qk_plot_number(to, qk_json_find_number(point, "sd"));
    qk_plot_number(to, qk_json_find_number(point, "stderr"));
    qk_buffer_text(to, "\n");
}

int qk_plot_surgery(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    const cJSON *run, *curve, *point;
    int draws = 0, panels = 0;
    qk_buffer_text(to, "# panels:");
    cJSON_ArrayForEach(run, p->in->surgery)
    {
        if (is_run(run)) {
            qk_buffer_format(to, " %s", run->string);
            panels++;
        }
    }
    qk_buffer_text(to, "\n");
    if (panels == 0)
        return qk_fail(err, "%s: no run with curves in it", p->figure);
    cJSON_ArrayForEach(run, p->in->surgery)
    {
        if (!is_run(run))
            continue;
        qk_buffer_format(to, "# run %s: %s\n# panel %s:", run->string,
                         qk_plot_legend(run->string, NULL), run->string);
        cJSON_ArrayForEach(curve, run)
        {
            qk_buffer_format(to, " %s", curve->string);
            cJSON_ArrayForEach(point, curve)
            {
                int n = cJSON_GetArraySize(qk_json_find(point, "draws"));
                draws = n > draws ? n : draws;
            }
        }
        qk_buffer_text(to, "\n");
    }
    qk_buffer_format(to, "# draws: %d\n", draws);
    cJSON_ArrayForEach(run, p->in->surgery)
    {
        if (!is_run(run))
            continue;
        cJSON_ArrayForEach(curve, run)
        {
            qk_buffer_format(to, "# %s %s: fraction, loss, least, largest draw, sd, stderr\n",
                             run->string, curve->string);
            cJSON_ArrayForEach(point, curve) surgery_point(to, point);
            qk_plot_end_block(to);
        }
    }
    return 0;
}

/* ---- gain against spectrum ---- */

static const cJSON *contribution_of(const struct qk_condition *c, int layer)
{
    return qk_json_find_at(qk_json_find(c->mean.json, "contribution"), layer);
}

static int scatter_block(struct qk_buffer *to, const struct qk_condition *c, const char *figure,
                         struct qk_err *err)
{
    qk_buffer_format(to, "# %s: layer, |gamma_j|, contribution c_j\n", c->name);
    for (int l = 0; l < c->mean.layers; l++) {
        const cJSON *layer = contribution_of(c, l);
        const cJSON *gamma = qk_json_find(layer, "gamma"), *share = qk_json_find(layer, "c");
        if (cJSON_GetArraySize(gamma) == 0 ||
            cJSON_GetArraySize(gamma) != cJSON_GetArraySize(share))
            return qk_fail(err, "%s: 'contribution' of %s has no pairs for layer %d", figure,
                           c->name, l);
        const cJSON *g = gamma->child, *s = share->child;
        for (; g != NULL && s != NULL; g = g->next, s = s->next) {
            qk_buffer_format(to, "%d", l);
            qk_plot_number(to, fabs(qk_json_as_number(g)));
            qk_plot_number(to, qk_json_as_number(s));
            qk_buffer_text(to, "\n");
        }
    }
    qk_plot_end_block(to);
    return 0;
}

int qk_plot_gamma_svd(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    struct qk_plot shown = *p;
    shown.count = 0;
    for (int i = 0; i < p->count; i++)
        if (contribution_of(p->at[i], 0) != NULL)
            shown.at[shown.count++] = p->at[i];
    if (shown.count == 0)
        return qk_fail(err, "%s: no condition has 'contribution', which needs a learned gain",
                       p->figure);
    qk_buffer_text(to, "# panels:");
    for (int i = 0; i < shown.count; i++)
        qk_buffer_format(to, " %s", shown.at[i]->name);
    qk_buffer_format(to, "\n# layers: %d\n", shown.at[0]->mean.layers);
    const cJSON *site = qk_json_find(contribution_of(shown.at[0], 0), "site");
    if (cJSON_IsString(site))
        qk_buffer_format(to, "# keys: %s\n", qk_plot_site_words(site->valuestring));
    for (int i = 0; i < shown.count; i++)
        if (scatter_block(to, shown.at[i], p->figure, err) != 0)
            return -1;
    qk_buffer_text(to, "# layer, Spearman's rho per condition\n");
    for (int l = 0; l < shown.at[0]->mean.layers; l++) {
        qk_buffer_format(to, "%d", l);
        for (int i = 0; i < shown.count; i++)
            qk_plot_number(to, qk_json_find_number(contribution_of(shown.at[i], l), "spearman"));
        qk_buffer_text(to, "\n");
    }
    qk_plot_end_block(to);
    return 0;
}
