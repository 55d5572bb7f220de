/* Figures as text that gnuplot reads: a header of comments, then blocks separated by two blank
 * lines (gnuplot's `index`).
 *
 * Header lines are "# KEY: VALUE"; pipelines/figures/style.gp reads them with meta("KEY"):
 *   figure, title, conditions ("A B C"), "label A", "seeds", site, head_dim, null, tokens, pattern,
 * columns, provenance.  A key that is not known is left out. Numbers are "%.10g"; what is missing
 * is NaN.
 *
 *   1_loss                  a block per condition: tokens train low high val low high, then one per
 *                           condition but the first: tokens, its train and val minus the first's
 *   2_key_pr_causal         a block per condition: tokens pr low high
 *   3_per_layer             one block: layer, then per condition: pr at the end, pr at the start
 *   4_causal_decomposition  one block: layer, A-B, B-C (low and high over seeds behind each)
 *   5_gamma_cv              a block per chosen layer of each condition with a gain per dimension:
 *                           tokens cv low high; header "line K" names them
 * low and high are the least and the largest seed (equal to the value with one seed).
 */
#ifndef QK_STUDY_PLOTDATA_H
#define QK_STUDY_PLOTDATA_H

#include "base/mem.h"
#include "study/results.h"

/* Names as above.  `provenance` may be NULL. */
int qk_plotdata_write(struct qk_buffer *to, const char *figure, const struct qk_combined *c,
                      const char *provenance, struct qk_err *err);

/* "1_loss|2_key_pr_causal|..." */
const char *qk_plotdata_figures(void);

#endif
