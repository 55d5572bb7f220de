/* qk-prune: a checkpoint with directions of its keys taken away. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

#include "base/outfile.h"
#include "study/measure/prune.h"

/* "tokens.h5:SPLIT" into both; the path is the caller's to free. */
static char *split_calibration(const struct qk_tool *tool, const char *text, const char **split)
{
    char *path = qk_strdup(text), *colon = strrchr(path, ':');
    if (colon && colon > path && colon[1]) {
        *colon = '\0';
        *split = colon + 1; /* behind the path, and freed with it */
        return path;
    }
    qk_tool_misuse(tool, "--calib: '%s' is not FILE:SPLIT, as tokens.h5:probe", text);
}

int main(int argc, char **argv)
{
    const char *by = NULL, *calib = NULL;
    struct qk_prune p = {.fraction = -1};
    struct qk_option options[] = {
        {"by", 0, QK_OPT_CHOICE, &by, NULL, "what chooses the directions", .choices = QK_CUT_NAMES},
        {"fraction", 0, QK_OPT_REAL, &p.fraction, "F",
         "how many of each key head's directions, 0 to 1", .fallback = ""},
        {"calib", 0, QK_OPT_TEXT, &calib, "TOKENS.h5:SPLIT",
         "svd: keys of which tokens; probe, val, ..., not test"},
        {"layers", 0, QK_OPT_TEXT, &p.layers, "L,...", "in these layers; without it in all"},
        {0}};
    struct qk_tool tool = {.command = {.tool = "qk-prune",
                                       .usage = "[options] --by METHOD --fraction F CHECKPOINT "
                                                "-o OUT.h5",
                                       .summary = "Cut directions out of the keys of a checkpoint.",
                                       .tables = {options}},
                           .standard =
                               QK_TOOL_OUT | QK_TOOL_DEVICE | QK_TOOL_THREADS | QK_TOOL_SEED,
                           .least_operands = 1,
                           .most_operands = 1};
    struct qk_err err;
    qk_tool_start(&tool, argc, argv);
    if (!by)
        qk_tool_misuse(&tool, "--by is missing: one of " QK_CUT_NAMES);
    if (!(p.fraction >= 0 && p.fraction <= 1))
        qk_tool_misuse(&tool, "--fraction F is needed, from 0 to 1");
    if (!tool.out)
        qk_tool_misuse(&tool, "-o OUT.h5 is missing");
    p.by = qk_cut_named(by);
    char *path = calib ? split_calibration(&tool, calib, &p.split) : NULL;
    if (p.by == QK_CUT_SVD && !calib)
        qk_tool_misuse(&tool, "--by svd needs --calib TOKENS.h5:SPLIT");
    p.from = tool.command.operands.at[0];
    p.to = tool.out;
    p.calib = path;
    p.seed = tool.seed;
    p.device = tool.device;
    p.progress = (struct qk_progress){.tool = "qk-prune", .quiet = tool.quiet};
    p.provenance = &tool.provenance;
    qk_out_protect(p.from);
    if (path)
        qk_out_protect(path);
    int bad = qk_provenance_input(&tool.provenance, p.from, &err) ||
              (path && qk_provenance_input(&tool.provenance, path, &err)) || qk_prune_run(&p, &err);
    free(path);
    return qk_tool_end(&tool, bad, &err);
}
