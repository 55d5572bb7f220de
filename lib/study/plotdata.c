#include "study/plotdata.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "study/verdict.h"

/* ---- pieces ---- */

static void number(struct qk_buffer *to, double value)
{
    if (isnan(value))
        qk_buffer_text(to, " NaN");
    else
        qk_buffer_format(to, " %.10g", value);
}

static void end_block(struct qk_buffer *to)
{
    qk_buffer_text(to, "\n\n");
}

/* The value of a seed's run at (layer, point); `minus` NULL or the paired run. */
typedef double value_fn(const struct qk_results *r, int layer, int point);

static double loss_value(const struct qk_results *r, int layer, int point)
{
    (void)layer;
    return r->loss[point];
}

static double val_value(const struct qk_results *r, int layer, int point)
{
    (void)layer;
    return r->val_loss[point];
}

static double pr_value(const struct qk_results *r, int layer, int point)
{
    (void)layer;
    return r->mean_pr[point];
}

static double layer_value(const struct qk_results *r, int layer, int point)
{
    return qk_results_at(r, r->layer_pr, layer, point);
}

static double cv_value(const struct qk_results *r, int layer, int point)
{
    return r->gamma_cv == NULL ? NAN : qk_results_at(r, r->gamma_cv, layer, point);
}

/* Mean over seeds, least, largest: of one condition, or of the paired difference with `minus`. */
static void spread(struct qk_buffer *to, const struct qk_condition *plus,
                   const struct qk_condition *minus, value_fn *value, int layer, int point)
{
    double low = NAN, high = NAN, sum = 0;
    for (int s = 0; s < plus->n_seeds; s++) {
        double v = value(&plus->seeds[s], layer, point);
        if (minus != NULL)
            v -= value(&minus->seeds[s], layer, point);
        low = fmin(low, v);
        high = fmax(high, v);
        sum += v;
    }
    number(to, sum / plus->n_seeds);
    number(to, low);
    number(to, high);
}

/* ---- header ---- */

/* What stands behind the name in a legend. */
static const char *legend_of(const struct qk_condition *c)
{
    static const char *const legends[][2] = {{"learned", "learned γ"},
                                             {"frozen", "frozen γ = 1"},
                                             {"scalar", "scalar γ"},
                                             {"none", "no QK-Norm"}};
    return qk_words_for(legends, sizeof legends / sizeof legends[0], c->mean.qk_norm, c->mean.tag);
}

/* Site names as people write them: "post_norm" -> "after the norm, before RoPE". */
static const char *site_words(const char *site)
{
    static const char *const words[][2] = {{"pre_norm", "before the norm"},
                                           {"post_norm", "after the norm, before RoPE"},
                                           {"post_rope", "after RoPE"},
                                           {"weight", "of the weights"}};
    return qk_words_for(words, sizeof words / sizeof words[0], site, site);
}

static void header(struct qk_buffer *to, const char *figure, const char *title,
                   const struct qk_combined *c, const char *columns, const char *provenance)
{
    const struct qk_results *r = &c->at[0].mean;
    qk_buffer_format(to, "# figure: %s\n# title: %s\n# conditions:", figure, title);
    for (int i = 0; i < c->count; i++)
        qk_buffer_format(to, " %s", c->at[i].name);
    qk_buffer_text(to, "\n");
    for (int i = 0; i < c->count; i++)
        qk_buffer_format(to, "# label %s: %s\n", c->at[i].name, legend_of(&c->at[i]));
    qk_buffer_format(to, "# seeds: %d\n", c->at[0].n_seeds);
    if (r->site != NULL)
        qk_buffer_format(to, "# site: %s\n", site_words(r->site));
    if (r->head_dim > 0)
        qk_buffer_format(to, "# head_dim: %d\n", r->head_dim);
    if (!isnan(r->null_pr))
        qk_buffer_format(to, "# null: %.10g\n", r->null_pr);
    qk_buffer_format(to, "# tokens: %.0f\n", r->tokens[r->points - 1]);
    qk_buffer_format(to, "# columns: %s\n", columns);
    if (provenance != NULL)
        qk_buffer_format(to, "# provenance: %s\n", provenance);
}

/* ---- figures ---- */

static int plot_loss(struct qk_buffer *to, const struct qk_combined *c, struct qk_err *err)
{
    (void)err;
    for (int i = 0; i < c->count; i++) {
        const struct qk_condition *at = &c->at[i];
        qk_buffer_format(to,
                         "# %s: tokens, train (nats/token, mean since the point before), "
                         "low, high, val, low, high\n",
                         at->name);
        for (int p = 0; p < at->mean.points; p++) {
            qk_buffer_format(to, "%.10g", at->mean.tokens[p]);
            spread(to, at, NULL, loss_value, 0, p);
            spread(to, at, NULL, val_value, 0, p);
            qk_buffer_text(to, "\n");
        }
        end_block(to);
    }
    for (int i = 1; i < c->count; i++) {
        const struct qk_condition *at = &c->at[i];
        qk_buffer_format(
            to, "# %s-%s: tokens, train difference, low, high, val difference, low, high\n",
            at->name, c->at[0].name);
        for (int p = 0; p < at->mean.points; p++) {
            qk_buffer_format(to, "%.10g", at->mean.tokens[p]);
            spread(to, at, &c->at[0], loss_value, 0, p);
            spread(to, at, &c->at[0], val_value, 0, p);
            qk_buffer_text(to, "\n");
        }
        end_block(to);
    }
    return 0;
}

static int plot_pr(struct qk_buffer *to, const struct qk_combined *c, struct qk_err *err)
{
    (void)err;
    for (int i = 0; i < c->count; i++) {
        const struct qk_condition *at = &c->at[i];
        qk_buffer_format(to, "# %s: tokens, mean PR over layers, low, high\n", at->name);
        for (int p = 0; p < at->mean.points; p++) {
            qk_buffer_format(to, "%.10g", at->mean.tokens[p]);
            spread(to, at, NULL, pr_value, 0, p);
            qk_buffer_text(to, "\n");
        }
        end_block(to);
    }
    return 0;
}

static int plot_layers(struct qk_buffer *to, const struct qk_combined *c, struct qk_err *err)
{
    (void)err;
    int last = c->at[0].mean.points - 1;
    qk_buffer_text(to, "# layer, then per condition: PR at the end, low, high, PR at the start\n");
    for (int l = 0; l < c->at[0].mean.layers; l++) {
        qk_buffer_format(to, "%d", l);
        for (int i = 0; i < c->count; i++) {
            spread(to, &c->at[i], NULL, layer_value, l, last);
            number(to, layer_value(&c->at[i].mean, l, 0));
        }
        qk_buffer_text(to, "\n");
    }
    end_block(to);
    return 0;
}

static int plot_decomposition(struct qk_buffer *to, const struct qk_combined *c, struct qk_err *err)
{
    const struct qk_condition *a = qk_combined_find(c, "A"), *b = qk_combined_find(c, "B");
    const struct qk_condition *none = qk_combined_find(c, "C");
    if (a == NULL || b == NULL || none == NULL)
        return qk_fail(err, "4_causal_decomposition needs conditions A, B and C");
    int last = a->mean.points - 1;
    qk_buffer_text(to, "# layer, A-B, low, high, B-C, low, high (PR at the end)\n");
    for (int l = 0; l < a->mean.layers; l++) {
        qk_buffer_format(to, "%d", l);
        spread(to, a, b, layer_value, l, last);
        spread(to, b, none, layer_value, l, last);
        qk_buffer_text(to, "\n");
    }
    end_block(to);
    return 0;
}

/* First, quarter, middle, three quarters, last; fewer when layers are few. */
static int choose_layers(int layers, int chosen[5])
{
    int count = 0;
    for (int i = 0; i < 5; i++) {
        int layer = (int)lround((layers - 1) * i / 4.0);
        if (count == 0 || chosen[count - 1] != layer)
            chosen[count++] = layer;
    }
    return count;
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
        spread(to, c, NULL, cv_value, layer, p);
        qk_buffer_text(to, "\n");
    }
    end_block(to);
}

static int plot_gamma(struct qk_buffer *to, const struct qk_combined *c, struct qk_err *err)
{
    const struct qk_condition *gain = NULL;
    for (int i = c->count - 1; i >= 0; i--)
        if (has_spread(&c->at[i]))
            gain = &c->at[i];
    if (gain == NULL)
        return qk_fail(err, "5_gamma_cv: no condition has a learned gain with 'gamma_cv'");
    int chosen[5] = {0}, count = choose_layers(gain->mean.layers, chosen);
    qk_buffer_format(to, "# condition: %s\n# lines: %d\n", gain->name, count);
    for (int i = 0; i < count; i++)
        qk_buffer_format(to, "# line %d: layer %d\n", i, chosen[i]);
    for (int i = 0; i < count; i++)
        gamma_block(to, gain, chosen[i]);
    return 0;
}

/* ---- by name ---- */

static const struct figure {
    const char *name, *title, *columns;
    int (*plot)(struct qk_buffer *to, const struct qk_combined *c, struct qk_err *err);
} figures[] = {
    {"1_loss", "Training and validation loss",
     "tokens train low high val low high [nats per token]; then differences to the first condition",
     plot_loss},
    {"2_key_pr_causal", "Rank of the keys during training", "tokens pr low high", plot_pr},
    {"3_per_layer", "Rank of the keys, layer by layer", "layer {pr low high start} per condition",
     plot_layers},
    {"4_causal_decomposition", "What changes the rank, layer by layer",
     "layer A-B low high B-C low high", plot_decomposition},
    {"5_gamma_cv", "Spread of the learned key gain over its dimensions", "tokens cv low high",
     plot_gamma},
};
enum { FIGURES = sizeof figures / sizeof figures[0] };

const char *qk_plotdata_figures(void)
{
    return "1_loss|2_key_pr_causal|3_per_layer|4_causal_decomposition|5_gamma_cv";
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

int qk_plotdata_write(struct qk_buffer *to, const char *figure, const struct qk_combined *c,
                      const char *provenance, struct qk_err *err)
{
    for (int i = 0; i < FIGURES; i++) {
        const struct figure *f = &figures[i];
        if (strcmp(f->name, figure) != 0)
            continue;
        header(to, f->name, f->title, c, f->columns, provenance);
        if (f->plot == plot_pr)
            pattern_lines(to, c);
        return f->plot(to, c, err);
    }
    return qk_fail(err, "there is no figure '%s', only %s", figure, qk_plotdata_figures());
}
