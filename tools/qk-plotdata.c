/* qk-plotdata: a figure's numbers as text that gnuplot reads. */
#include <stdlib.h>
#include <string.h>

#include "common.h"

#include "base/outfile.h"
#include "study/plot/plotdata.h"

struct files {
    struct qk_plot_inputs in;
    struct qk_combined combined;
    cJSON *others[2]; /* surgery.json, chosen.json */
};

/* What a file is shows in it; a combined.json is taken over by its parser. */
static int read_one(struct files *f, const char *path, struct qk_err *err)
{
    cJSON *json = qk_json_read(path, err);
    if (json == NULL)
        return -1;
    const enum qk_plot_kind kind = qk_plot_kind_of(json);
    if (kind == QK_PLOT_COMBINED && f->in.combined == NULL) {
        if (qk_combined_parse(&f->combined, json, path, err) != 0)
            return -1;
        f->in.combined = &f->combined;
        return 0;
    }
    const cJSON **to = kind == QK_PLOT_SURGERY ? &f->in.surgery : &f->in.chosen;
    if (kind == QK_PLOT_COMBINED || *to != NULL) {
        cJSON_Delete(json);
        return qk_fail(err, "%s: a second file of its kind", path);
    }
    f->others[kind == QK_PLOT_CHOSEN] = json;
    *to = json;
    return 0;
}

static int plot(struct qk_tool *tool, const char *figure, struct qk_err *err)
{
    struct files files = {0};
    struct qk_buffer text = {0};
    const struct qk_strings *operands = &tool->command.operands;
    int failed = 0;
    for (size_t i = 1; i < operands->count && !failed; i++)
        failed = read_one(&files, operands->at[i], err) != 0 ||
                 qk_provenance_input(&tool->provenance, operands->at[i], err) != 0;
    char *provenance = failed ? NULL : qk_provenance_text(&tool->provenance);
    if (!failed && qk_plotdata_write(&text, figure, &files.in, provenance, err) != 0)
        failed = qk_fail_in(err, "%s: ", operands->at[operands->count - 1]);
    if (!failed)
        failed = qk_tool_write(tool, &text, err);
    if (files.in.combined != NULL)
        qk_combined_free(&files.combined);
    cJSON_Delete(files.others[0]);
    cJSON_Delete(files.others[1]);
    qk_buffer_free(&text);
    free(provenance);
    return failed;
}

int main(int argc, char **argv)
{
    struct qk_tool tool = {
        .command =
            {.tool = "qk-plotdata",
             .usage = "FIGURE combined.json|surgery.json|chosen.json... [-o FILE]",
             .summary =
                 "Prints the numbers of a figure as blocks that gnuplot reads.\nFIGURE "
                 "is 1_loss, 2_key_pr_causal, 3_per_layer, 4_causal_decomposition,\n"
                 "5_gamma_cv (causal50m); panel_a_loss, panel_b_pr_trajectory,\n"
                 "panel_c_per_layer, panel_d_delta, sheet, layer_pr_heatmap (pilot500k);\n"
                 "trajectory, sv_waterfall, data_complexity, surgery, gamma_vs_svd,\n"
                 "rank_and_loss (ablation25m); val_loss, mean_pr, loss_vs_pr, sv_spectra,\n"
                 "entropy_max_logit (main300m); lr_sweep (sweep20m, main300m); sites (all)."},
        .standard = QK_TOOL_OUT,
        .least_operands = 2,
        .most_operands = 4,
        .no_blas = true};
    struct qk_err err;
    qk_tool_start(&tool, argc, argv);
    const char *figure = tool.command.operands.at[0];
    if (!qk_plotdata_is_figure(figure))
        qk_tool_misuse(&tool, "there is no figure '%s', only %s", figure, qk_plotdata_figures());
    return qk_tool_end(&tool, plot(&tool, figure, &err), &err);
}
