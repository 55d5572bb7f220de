/* Figures of main300m and sweep20m, and the sites of every study. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "study/plot/plotparts.h"

/* ---- trajectories ---- */

int qk_plot_val_loss(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    (void)err;
    for (int i = 0; i < p->count; i++) {
        qk_buffer_format(to, "# %s: tokens, val loss (nats/token), low, high\n", p->at[i]->name);
        qk_plot_over_tokens(to, p->at[i], NULL, &(struct qk_plot_column){qk_plot_val, NULL}, 1);
    }
    return 0;
}

/* The point nearest to that many tokens. */
static int nearest_point(const struct qk_results *r, double tokens)
{
    int best = 0;
    for (int i = 1; i < r->points; i++)
        if (fabs(r->tokens[i] - tokens) < fabs(r->tokens[best] - tokens))
            best = i;
    return best;
}

/* Six points on the way: of 300 M tokens, every 50 M. */
int qk_plot_loss_pr(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    enum { PARTS = 6 };
    (void)err;
    for (int i = 0; i < p->count; i++) {
        const struct qk_results *r = &p->at[i]->mean;
        int before = 0;
        qk_buffer_format(to, "# %s: tokens, val loss, low, high, PR of keys, low, high\n",
                         p->at[i]->name);
        for (int k = 1; k <= PARTS; k++) {
            const int point = nearest_point(r, r->tokens[r->points - 1] * k / PARTS);
            const struct qk_plot_at at = {.point = point};
            if (point == before)
                continue;
            before = point;
            qk_buffer_format(to, "%.10g", r->tokens[point]);
            qk_plot_spread(to, p->at[i], NULL, qk_plot_val, &at);
            qk_plot_spread(to, p->at[i], NULL, qk_plot_pr, &at);
            qk_buffer_text(to, "\n");
        }
        qk_plot_end_block(to);
    }
    return 0;
}

/* Entropy of attention that looks at every earlier token alike: mean over t = 1..T of ln t. */
static double uniform_entropy(const struct qk_results *r)
{
    const double length = qk_json_find_number(qk_json_find(r->json, "config"), "seq_len");
    double sum = 0;
    if (!(length >= 1 && length <= 1 << 20))
        return NAN;
    for (int t = 1; t <= (int)length; t++)
        sum += log(t);
    return sum / (int)length;
}

int qk_plot_attention(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    if (!qk_plot_has(p, qk_plot_entropy, NULL) && !qk_plot_has(p, qk_plot_max_logit, NULL))
        return qk_fail(err, "%s: there is no 'entropy' and no 'max_logit'", p->figure);
    const double uniform = uniform_entropy(&p->at[0]->mean);
    if (!isnan(uniform))
        qk_buffer_format(to, "# uniform: %.10g\n", uniform);
    for (int i = 0; i < p->count; i++) {
        qk_buffer_format(to, "# %s: tokens, entropy (nats), low, high, largest logit, low, high\n",
                         p->at[i]->name);
        qk_plot_over_tokens(
            to, p->at[i], NULL,
            (struct qk_plot_column[]){{qk_plot_entropy, NULL}, {qk_plot_max_logit, NULL}}, 2);
    }
    return 0;
}

/* ---- spectra ---- */

static void spectrum_block(struct qk_buffer *to, const struct qk_condition *c, int layer, int last,
                           int values)
{
    qk_buffer_format(to, "# layer %d, %s: i, sigma_i/sigma_1 at the end, low, high, start\n", layer,
                     c->name);
    for (int i = 0; i < values; i++) {
        struct qk_plot_at at = {.layer = layer, .point = last, .index = i};
        qk_buffer_format(to, "%d", i + 1);
        qk_plot_spread(to, c, NULL, qk_plot_sigma, &at);
        at.point = 0;
        qk_plot_number(to, qk_plot_sigma(&c->mean, &at));
        qk_buffer_text(to, "\n");
    }
    qk_plot_end_block(to);
}

int qk_plot_sv_spectra(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    struct qk_plot_spectra s[QK_MOST_CONDITIONS];
    for (int i = 0; i < p->count; i++)
        if (!qk_plot_spectra_of(&p->at[i]->mean, &s[i]))
            return qk_fail(err, "%s: %s has no 'spectra': was it probed with --spectra?", p->figure,
                           p->at[i]->name);
    int chosen[3] = {0}, count = qk_plot_choose_layers(p->at[0]->mean.layers, 3, chosen);
    qk_buffer_text(to, "# chosen:");
    for (int k = 0; k < count; k++)
        qk_buffer_format(to, " %d", chosen[k]);
    qk_buffer_format(to, "\n# from: %.10g\n# to: %.10g\n",
                     qk_json_as_number(cJSON_GetArrayItem(s[0].tokens, 0)),
                     qk_json_as_number(cJSON_GetArrayItem(s[0].tokens, s[0].points - 1)));
    for (int k = 0; k < count; k++)
        for (int i = 0; i < p->count; i++)
            spectrum_block(to, p->at[i], chosen[k], s[i].points - 1, s[i].values);
    qk_plot_null_block(to, &p->at[0]->mean, s[0].values);
    return 0;
}

/* ---- learning rates ---- */

/* The rate of a configuration or a point of its grid; where it is not told, Muon's, else AdamW's.
 */
static double rate_of(const cJSON *item)
{
    const cJSON *lr = qk_json_find(item, "lr");
    if (cJSON_IsNumber(qk_json_find(item, "rate")))
        return qk_json_find_number(item, "rate");
    const double muon = qk_json_find_number(lr, "muon");
    return cJSON_IsNumber(lr) ? qk_json_as_number(lr)
           : isnan(muon)      ? qk_json_find_number(lr, "adamw")
                              : muon;
}

static bool is_configuration(const cJSON *item)
{
    return cJSON_IsArray(qk_json_find(item, "grid")) && qk_json_find(item, "lr") != NULL;
}

int qk_plot_lr_sweep(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    const cJSON *item, *point;
    int count = 0;
    cJSON_ArrayForEach(item, p->in->chosen)
    {
        if (!is_configuration(item))
            continue;
        count++;
        qk_buffer_format(to, "# edge %s: %s\n", item->string,
                         cJSON_IsTrue(qk_json_find(item, "edge")) ? "yes" : "no");
    }
    if (count == 0)
        return qk_fail(err, "%s: no configuration with a 'grid' in it", p->figure);
    cJSON_ArrayForEach(item, p->in->chosen)
    {
        if (!is_configuration(item))
            continue;
        const double winner = rate_of(item);
        qk_buffer_format(to, "# %s: rate, val loss, PR of keys, 1 at the winner\n", item->string);
        cJSON_ArrayForEach(point, qk_json_find(item, "grid"))
        {
            const double rate = rate_of(point);
            qk_buffer_format(to, "%.10g", rate);
            qk_plot_number(to, qk_json_find_number(point, "val_loss"));
            qk_plot_number(to, qk_json_find_number(point, "mean_pr"));
            qk_buffer_format(to, " %d\n", fabs(rate - winner) <= 1e-9 * fabs(winner));
        }
        qk_plot_end_block(to);
    }
    return 0;
}

/* ---- sites ---- */

int qk_plot_sites(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    static const struct qk_plot_column columns[] = {{qk_plot_site_pr, "pre_norm"},
                                                    {qk_plot_site_pr, "post_norm"},
                                                    {qk_plot_site_pr, "post_rope"},
                                                    {qk_plot_site_pr, "weight"},
                                                    {qk_plot_q_pr, NULL},
                                                    {qk_plot_qk_pr, NULL},
                                                    {qk_plot_pr, NULL}};
    enum { COLUMNS = sizeof columns / sizeof columns[0] };
    static const char *const names[COLUMNS] = {"keys before the norm",
                                               "keys after the norm",
                                               "keys after RoPE",
                                               "weights of the keys",
                                               "queries",
                                               "qk form",
                                               "keys, at a site not told"};
    (void)err;
    bool sites = false; /* without them what mean_pr tells: published files */
    for (int i = 0; i < COLUMNS; i++) {
        if ((i == COLUMNS - 1 && sites) || !qk_plot_has(p, columns[i].value, columns[i].key))
            continue;
        sites |= columns[i].key != NULL;
        qk_buffer_format(to, "# line %d: %s\n", i + 1, names[i]);
    }
    for (int i = 0; i < p->count; i++) {
        qk_buffer_format(to,
                         "# %s: tokens, then PR, low, high of keys at pre_norm, post_norm, "
                         "post_rope, of weights, queries, qk form, keys at the headline site\n",
                         p->at[i]->name);
        qk_plot_over_tokens(to, p->at[i], NULL, columns, COLUMNS);
    }
    return 0;
}
