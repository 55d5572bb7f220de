/* What the figures of all studies are made of: conditions chosen for one, columns of numbers with
 * their spread over seeds, and the lookups in results.json that have no field of their own. */
#ifndef QK_STUDY_PLOTPARTS_H
#define QK_STUDY_PLOTPARTS_H

#include "study/plot/plotdata.h"

/* One figure being written. */
struct qk_plot {
    const char *figure;
    const struct qk_plot_inputs *in;
    const struct qk_condition *at[QK_MOST_CONDITIONS]; /* those it shows */
    int number[QK_MOST_CONDITIONS];                    /* their places in the file, from 1 */
    int count;
};

typedef int qk_plot_fn(struct qk_buffer *to, const struct qk_plot *p, struct qk_err *err);

/* Where in a run a number stands; what a value does not need is ignored. */
struct qk_plot_at {
    int layer, point, index;
    const char *key;
};
typedef double qk_plot_value(const struct qk_results *r, const struct qk_plot_at *at);

qk_plot_value qk_plot_loss, qk_plot_val, qk_plot_pr, qk_plot_q_pr, qk_plot_qk_pr, qk_plot_entropy,
    qk_plot_max_logit, qk_plot_layer_pr, qk_plot_gamma_cv;
/* key is a site: mean_pr_sites.KEY[point] */
qk_plot_value qk_plot_site_pr;
/* spectra.layers.LAYER[point][index] */
qk_plot_value qk_plot_sigma;

/* " value low high" of a condition, or of its paired difference with `minus` (else NULL). */
void qk_plot_spread(struct qk_buffer *to, const struct qk_condition *plus,
                    const struct qk_condition *minus, qk_plot_value *value,
                    const struct qk_plot_at *at);
void qk_plot_number(struct qk_buffer *to, double value);
void qk_plot_end_block(struct qk_buffer *to);

/* A block over the points of a run: tokens, then the spread of each column; a comment before. */
struct qk_plot_column {
    qk_plot_value *value;
    const char *key;
};
void qk_plot_over_tokens(struct qk_buffer *to, const struct qk_condition *plus,
                         const struct qk_condition *minus, const struct qk_plot_column *columns,
                         int count);

/* Whether a series [points] has any number in any run of any condition shown. */
bool qk_plot_has(const struct qk_plot *p, qk_plot_value *value, const char *key);

/* Of the `spectra` of a run: how many points and singular values; false when it has none. */
struct qk_plot_spectra {
    const cJSON *tokens;
    int points, values;
};
bool qk_plot_spectra_of(const struct qk_results *r, struct qk_plot_spectra *s);

/* sigma_i/sigma_1 of Gaussian rows [rows, dim], i from 0, into ratios[dim]: quantiles of the
 * Marchenko-Pastur law. */
void qk_plot_null_spectrum(double *ratios, int64_t rows, int dim);
/* Its block "i value", i from 1, after "# gaussian: ..."; only the first where rows or head_dim are
 * not told. */
void qk_plot_null_block(struct qk_buffer *to, const struct qk_results *r, int values);

/* `count` layers spread evenly, first and last among them; fewer when there are few. */
int qk_plot_choose_layers(int layers, int wanted, int *chosen);

/* "AdamW_QK" -> "AdamW+QK", for people; valid until the next call. */
const char *qk_plot_short(const char *name);
/* "post_norm" -> "after the norm, before RoPE". */
const char *qk_plot_site_words(const char *site);
/* What stands behind a name in a legend. */
const char *qk_plot_legend(const char *name, const struct qk_results *r);

qk_plot_fn qk_plot_1_loss, qk_plot_2_key_pr, qk_plot_3_per_layer, qk_plot_4_decomposition,
    qk_plot_5_gamma; /* plotcausal.c */
qk_plot_fn qk_plot_losses, qk_plot_gap, qk_plot_delta, qk_plot_sheet,
    qk_plot_heatmap; /* plotpilot.c */
qk_plot_fn qk_plot_trajectory, qk_plot_waterfall, qk_plot_complexity, qk_plot_surgery,
    qk_plot_gamma_svd, qk_plot_rank_loss; /* plotablation.c */
qk_plot_fn qk_plot_val_loss, qk_plot_mean_pr, qk_plot_loss_pr, qk_plot_sv_spectra, qk_plot_lr_sweep,
    qk_plot_attention, qk_plot_sites; /* plotmain.c */

#endif
