/* Figures of causal50m. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "study/judge/verdict.h"
#include "study/plot/plotparts.h"

int qk_plot_losses(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    (void)err;
    for (int i = 0; i < p->count; i++) {
        qk_buffer_format(to,
                         "# %s: tokens, train (nats/token, mean since the point before), "
                         "low, high, val, low, high\n",
                         p->at[i]->name);
        qk_plot_over_tokens(to, p->at[i], NULL,
                            (struct qk_plot_column[]){{qk_plot_loss, NULL}, {qk_plot_val, NULL}},
                            2);
    }
    return 0;
}

int qk_plot_1_loss(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    qk_plot_losses(to, p, err);
    for (int i = 1; i < p->count; i++) {
        qk_buffer_format(
            to, "# %s-%s: tokens, train difference, low, high, val difference, low, high\n",
            p->at[i]->name, p->at[0]->name);
        qk_plot_over_tokens(to, p->at[i], p->at[0],
                            (struct qk_plot_column[]){{qk_plot_loss, NULL}, {qk_plot_val, NULL}},
                            2);
    }
    return 0;
}

int qk_plot_mean_pr(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    (void)err;
    for (int i = 0; i < p->count; i++) {
        qk_buffer_format(to, "# %s: tokens, mean PR over layers, low, high\n", p->at[i]->name);
        qk_plot_over_tokens(to, p->at[i], NULL, &(struct qk_plot_column){qk_plot_pr, NULL}, 1);
    }
    return 0;
}

/* The pattern as the text box of figure 2; nothing when there is no A, B, C to judge. */
static void pattern_lines(struct qk_buffer *to, const struct qk_combined *c)
{
    struct qk_err ignored;
    struct qk_verdict v;
    if (qk_verdict_causal(&v, c, &ignored) == 0) {
        qk_buffer_format(to, "# pattern: %s\n", qk_pattern_label(v.pattern));
        if (v.n_seeds >= 2 && !qk_verdict_settled(&v))
            qk_buffer_format(to, "# meaning: so the means, but %d seeds do not settle it\n",
                             v.n_seeds);
        else
            qk_buffer_format(to, "# meaning: %s\n", qk_pattern_meaning(v.pattern));
        char *plain = qk_format("# differences: A−B = %+.2f, B−C = %+.2f, A−C = %+.2f\n",
                                v.contrast[QK_AB].pr.mean, v.contrast[QK_BC].pr.mean,
                                v.contrast[QK_AC].pr.mean);
        char *text = qk_minus_signs(plain);
        qk_buffer_text(to, text);
        free(plain);
        free(text);
    }
    qk_verdict_free(&v);
}

int qk_plot_2_key_pr(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    pattern_lines(to, p->in->combined);
    return qk_plot_mean_pr(to, p, err);
}

int qk_plot_3_per_layer(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    (void)err;
    int last = p->at[0]->mean.points - 1;
    qk_buffer_text(to, "# layer, then per condition: PR at the end, low, high, PR at the start\n");
    for (int l = 0; l < p->at[0]->mean.layers; l++) {
        qk_buffer_format(to, "%d", l);
        for (int i = 0; i < p->count; i++) {
            qk_plot_spread(to, p->at[i], NULL, qk_plot_layer_pr,
                           &(struct qk_plot_at){.layer = l, .point = last});
            qk_plot_number(to, qk_results_at(&p->at[i]->mean, p->at[i]->mean.layer_pr, l, 0));
        }
        qk_buffer_text(to, "\n");
    }
    qk_plot_end_block(to);
    return 0;
}

int qk_plot_4_decomposition(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    const struct qk_combined *c = p->in->combined;
    const struct qk_condition *a = qk_combined_find(c, "A"), *b = qk_combined_find(c, "B");
    const struct qk_condition *none = qk_combined_find(c, "C");
    if (a == NULL || b == NULL || none == NULL)
        return qk_fail(err, "4_causal_decomposition needs conditions A, B and C");
    qk_buffer_text(to, "# layer, A-B, low, high, B-C, low, high (PR at the end)\n");
    for (int l = 0; l < a->mean.layers; l++) {
        const struct qk_plot_at at = {.layer = l, .point = a->mean.points - 1};
        qk_buffer_format(to, "%d", l);
        qk_plot_spread(to, a, b, qk_plot_layer_pr, &at);
        qk_plot_spread(to, b, none, qk_plot_layer_pr, &at);
        qk_buffer_text(to, "\n");
    }
    qk_plot_end_block(to);
    return 0;
}

static bool has_spread(const struct qk_condition *c)
{
    bool learned = c->mean.qk_norm == NULL || strcmp(c->mean.qk_norm, "learned") == 0;
    return learned && c->mean.gamma_cv != NULL;
}

static void gamma_block(struct qk_buffer *to, const struct qk_condition *c, int layer)
{
    for (int p = 0; p < c->mean.points; p++) {
        qk_buffer_format(to, "%.10g", c->mean.tokens[p]);
        qk_plot_spread(to, c, NULL, qk_plot_gamma_cv,
                       &(struct qk_plot_at){.layer = layer, .point = p});
        qk_buffer_text(to, "\n");
    }
    qk_plot_end_block(to);
}

int qk_plot_5_gamma(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err)
{
    const struct qk_condition *gain = NULL;
    for (int i = p->count - 1; i >= 0; i--)
        if (has_spread(p->at[i]))
            gain = p->at[i];
    if (gain == NULL)
        return qk_fail(err, "5_gamma_cv: no condition has a learned gain with 'gamma_cv'");
    int chosen[5] = {0}, count = qk_plot_choose_layers(gain->mean.layers, 5, chosen);
    qk_buffer_format(to, "# condition: %s\n# lines: %d\n", gain->name, count);
    for (int i = 0; i < count; i++)
        qk_buffer_format(to, "# line %d: layer %d\n", i, chosen[i]);
    for (int i = 0; i < count; i++)
        gamma_block(to, gain, chosen[i]);
    return 0;
}
