/* qk-plotdata: a figure's numbers as text that gnuplot reads. */
#include <stdlib.h>
#include <string.h>

#include "common.h"

#include "base/outfile.h"
#include "study/plotdata.h"

static bool is_figure(const char *name)
{
    struct qk_strings names = {0};
    bool found = false;
    qk_strings_split(&names, qk_plotdata_figures(), '|');
    for (size_t i = 0; i < names.count; i++)
        found |= strcmp(names.at[i], name) == 0;
    qk_strings_free(&names);
    return found;
}

static int plot(struct qk_tool *tool, const char *figure, const char *path, struct qk_err *err)
{
    struct qk_combined combined;
    struct qk_buffer text = {0};
    if (qk_combined_read(&combined, path, err) != 0)
        return -1;
    int failed = qk_provenance_input(&tool->provenance, path, err);
    char *provenance = failed ? NULL : qk_provenance_text(&tool->provenance);
    if (!failed && qk_plotdata_write(&text, figure, &combined, provenance, err) != 0)
        failed = qk_fail_in(err, "%s: ", path);
    if (!failed)
        failed = qk_tool_write(tool, &text, err);
    qk_combined_free(&combined);
    qk_buffer_free(&text);
    free(provenance);
    return failed;
}

int main(int argc, char **argv)
{
    struct qk_tool tool = {
        .command = {.tool = "qk-plotdata",
                    .usage = "FIGURE combined.json [-o FILE]",
                    .summary =
                        "Prints the numbers of a figure as blocks that gnuplot reads.\nFIGURE "
                        "is 1_loss, 2_key_pr_causal, 3_per_layer, 4_causal_decomposition or "
                        "5_gamma_cv."},
        .standard = QK_TOOL_OUT,
        .least_operands = 2,
        .most_operands = 2,
        .no_blas = true};
    struct qk_err err;
    qk_tool_start(&tool, argc, argv);
    const char *const *operands = (const char *const *)tool.command.operands.at;
    if (!is_figure(operands[0]))
        qk_tool_misuse(&tool, "there is no figure '%s', only %s", operands[0],
                       qk_plotdata_figures());
    return qk_tool_end(&tool, plot(&tool, operands[0], operands[1], &err), &err);
}
