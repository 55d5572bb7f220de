/* Figures of pilot500k: two conditions and what lies between them. */
#include <math.h>

#include "study/plot/plotparts.h"

/* Trajectories, and the area between the first two conditions. */
int qk_plot_gap(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    if (p->count != 2)
        return qk_fail(err, "%s needs two conditions, not %d", p->figure, p->count);
    qk_plot_mean_pr(to, p, err);
    qk_buffer_format(to, "# gap: tokens, PR of %s, of %s\n", p->at[0]->name, p->at[1]->name);
    for (int i = 0; i < p->at[0]->mean.points; i++) {
        qk_buffer_format(to, "%.10g", p->at[0]->mean.tokens[i]);
        qk_plot_number(to, p->at[0]->mean.mean_pr[i]);
        qk_plot_number(to, p->at[1]->mean.mean_pr[i]);
        qk_buffer_text(to, "\n");
    }
    qk_plot_end_block(to);
    return 0;
}

/* Mean PR of layer l at the end: the first condition minus the second. */
static double delta(const struct qk_plot *p, int layer)
{
    const struct qk_results *a = &p->at[0]->mean, *b = &p->at[1]->mean;
    return qk_results_at(a, a->layer_pr, layer, a->points - 1) -
           qk_results_at(b, b->layer_pr, layer, b->points - 1);
}

int qk_plot_delta(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    if (p->count != 2)
        return qk_fail(err, "%s needs two conditions, not %d", p->figure, p->count);
    const int layers = p->at[0]->mean.layers;
    int largest = 0, positive = 0;
    for (int l = 0; l < layers; l++) {
        positive += delta(p, l) > 0;
        if (fabs(delta(p, l)) > fabs(delta(p, largest)))
            largest = l;
    }
    qk_buffer_format(to, "# largest: %d", largest);
    qk_plot_number(to, delta(p, largest));
    qk_buffer_format(to, "\n# positive: %d of %d\n", positive, layers);
    qk_buffer_format(to, "# layer, %s-%s, low, high (PR at the end)\n", p->at[0]->name,
                     p->at[1]->name);
    for (int l = 0; l < layers; l++) {
        qk_buffer_format(to, "%d", l);
        qk_plot_spread(to, p->at[0], p->at[1], qk_plot_layer_pr,
                       &(struct qk_plot_at){.layer = l, .point = p->at[0]->mean.points - 1});
        qk_buffer_text(to, "\n");
    }
    qk_plot_end_block(to);
    return 0;
}

int qk_plot_sheet(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    return qk_plot_losses(to, p, err) != 0 || qk_plot_gap(to, p, err) != 0 ||
                   qk_plot_3_per_layer(to, p, err) != 0 || qk_plot_delta(to, p, err) != 0
               ? -1
               : 0;
}

/* Layer against tokens for each condition, then layer against condition at the end. */
int qk_plot_heatmap(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    (void)err;
    qk_buffer_format(to, "# points: %d\n# layers: %d\n", p->at[0]->mean.points,
                     p->at[0]->mean.layers);
    for (int i = 0; i < p->count; i++) {
        const struct qk_results *r = &p->at[i]->mean;
        qk_buffer_format(to, "# %s: layer, point, tokens, PR\n", p->at[i]->name);
        for (int l = 0; l < r->layers; l++) {
            for (int k = 0; k < r->points; k++) {
                qk_buffer_format(to, "%d %d %.10g", l, k, r->tokens[k]);
                qk_plot_number(to, qk_results_at(r, r->layer_pr, l, k));
                qk_buffer_text(to, "\n");
            }
            if (l + 1 < r->layers)
                qk_buffer_text(to, "\n");
        }
        qk_plot_end_block(to);
    }
    qk_buffer_text(to, "# layer, condition (from 1), PR at the end\n");
    for (int l = 0; l < p->at[0]->mean.layers; l++) {
        for (int i = 0; i < p->count; i++) {
            const struct qk_results *r = &p->at[i]->mean;
            qk_buffer_format(to, "%d %d", l, i + 1);
            qk_plot_number(to, qk_results_at(r, r->layer_pr, l, r->points - 1));
            qk_buffer_text(to, "\n");
        }
        if (l + 1 < p->at[0]->mean.layers)
            qk_buffer_text(to, "\n");
    }
    qk_plot_end_block(to);
    return 0;
}
