/* Figures as text that gnuplot reads: a header of comments, then blocks separated by two blank
 * lines (gnuplot's `index`).
 *
 * Header lines are "# KEY: VALUE"; pipelines/figures/style.gp reads them with meta("KEY"): figure,
 * title, about ("ablation25m, 88.6 M parameters, 25 M tokens, seed 42"), conditions ("A1 A2"), per
 * condition "label A1" and, where the name is no single letter, "legend A1" (its name and label),
 * "short A1" (for tight places) and "number A1" (its colour); seeds, site, head_dim, null, null_qk,
 * tokens, columns, provenance, then what a figure needs.  A key that is not known is left out.
 * Numbers are "%.10g"; what is missing is NaN.
 *
 * Any number is followed by the least and the largest seed ("low high", equal to it with one seed)
 * unless it is said to stand alone.  Blocks:
 *
 *   1_loss                  a block per condition: tokens train val, then one per condition but
 *                           the first: tokens, its train and val minus the first's
 *   2_key_pr_causal         a block per condition: tokens pr; "pattern", "meaning", "differences"
 *   3_per_layer             one block: layer, then per condition: pr at the end, start (alone)
 *   4_causal_decomposition  one block: layer, A-B, B-C
 *   5_gamma_cv              a block per chosen layer of the first condition with a gain per
 *                           dimension: tokens cv; "line K" names them
 *   panel_a_loss            as 1_loss, without differences
 *   panel_b_pr_trajectory   as 2_key_pr_causal, then one: tokens, pr of both conditions (alone)
 *   panel_c_per_layer       as 3_per_layer
 *   panel_d_delta           one block: layer, first minus second; "largest", "positive"
 *   sheet                   the blocks of the four panels, in order
 *   layer_pr_heatmap        a block per condition: layer, point, tokens, pr (alone; a blank line
 *                           between layers); then one: layer, which condition, pr at the end
 *   trajectory              a block per condition: tokens, pr of keys, of queries
 *   sv_waterfall            a block per condition: i, sigma_i/sigma_1 at each point (alone, mean
 *                           over layers); then the null's: i, value; "points" tells the tokens
 *   data_complexity         as 2_key_pr_causal; then as 3_per_layer
 *   surgery                 a block per run and method: fraction, loss, least and largest draw,
 *                           deviation of the draws, standard error (all alone); "panels",
 *                           "run RUN" (in words), "panel RUN" (its methods), "draws"
 *   gamma_vs_svd            a block per condition: layer, |gamma|, contribution (alone; all
 *                           dimensions); then one: layer, Spearman's rho per condition (alone)
 *   rank_and_loss           a block per condition: tokens, pr, val loss; "drop NAME": the two
 *                           tokens between which its rank fell most, and the change
 *   val_loss, mean_pr       a block per condition: tokens and the number
 *   loss_vs_pr              a block per condition: tokens, val loss, pr at sixths of the way
 *   sv_spectra              a block per chosen layer (first, middle, last) and condition: i,
 *                           sigma_i/sigma_1 at the end, at the start (alone); then the null's
 *   lr_sweep                a block per configuration: rate, val loss, pr, 1 at the winner (all
 *                           alone); "edge NAME"
 *   entropy_max_logit       a block per condition: tokens, entropy, largest logit; "uniform": the
 *                           entropy of uniform attention
 *   sites                   a block per condition: tokens, then pr of the keys at pre_norm,
 *                           post_norm, post_rope, of their weights, the queries, the qk form,
 *                           of the keys at the headline site;
 *                           "line K" names those that are there
 */
#ifndef QK_STUDY_PLOTDATA_H
#define QK_STUDY_PLOTDATA_H

#include "base/mem.h"
#include "study/results/results.h"

/* What a figure may be drawn from; NULL is not there. */
struct qk_plot_inputs {
    const struct qk_combined *combined;
    const cJSON *surgery; /* of qk-aggregate surgery */
    const cJSON *chosen;  /* of qk-aggregate pick-lr */
};

/* Names as above.  `provenance` may be NULL.  An input that is missing, or lacks the keys that the
 * figure shows, is refused with a sentence. */
int qk_plotdata_write(struct qk_buffer *to, const char *figure, const struct qk_plot_inputs *in,
                      const char *provenance, struct qk_err *err);

/* "1_loss|2_key_pr_causal|..." The caller frees it. */
char *qk_plotdata_figures(void);
bool qk_plotdata_is_figure(const char *name);

/* What a file is, by its content. */
enum qk_plot_kind { QK_PLOT_COMBINED, QK_PLOT_SURGERY, QK_PLOT_CHOSEN };
enum qk_plot_kind qk_plot_kind_of(const cJSON *json);

#endif
