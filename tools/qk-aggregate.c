/* qk-aggregate: probes and logs become results, results become verdicts, tables and reports. */
#include <stdlib.h>
#include <string.h>

#include "common.h"

#include "base/json.h"
#include "base/outfile.h"
#include "study/judge/judge.h"
#include "study/judge/power.h"
#include "study/judge/table.h"
#include "study/judge/verdict.h"
#include "study/report/experiment.h"
#include "study/report/lint.h"
#include "study/report/report.h"
#include "study/results/combine.h"
#include "study/results/gather.h"
#include "study/results/picklr.h"
#include "study/results/surgery.h"

/* ---- what the subcommands share ---- */

/* Parse the subcommand's own options; provenance names the subcommand first. */
static void start(struct qk_tool *tool, const char *name, int argc, char **argv)
{
    static char usage[256];
    snprintf(usage, sizeof usage, "%s %s", name, tool->command.usage);
    tool->command.tool = "qk-aggregate";
    tool->command.usage = usage;
    tool->standard = QK_TOOL_OUT;
    tool->no_blas = true;
    qk_tool_start(tool, argc, argv);
    struct qk_strings *args = &tool->provenance.argv;
    qk_strings_add(args, name);
    char *word = args->at[args->count - 1];
    memmove(&args->at[2], &args->at[1], (args->count - 2) * sizeof *args->at);
    args->at[1] = word;
}

static int write_json(struct qk_tool *tool, cJSON *json, struct qk_err *err)
{
    qk_provenance_to_json(&tool->provenance, json);
    struct qk_out *out = qk_out_open(qk_tool_target(tool), err);
    if (out == NULL)
        return -1;
    qk_json_print_pretty(json, qk_out_stream(out));
    return qk_out_commit(out, err);
}

static int note_inputs(struct qk_tool *tool, const struct qk_strings *paths, struct qk_err *err)
{
    for (size_t i = 0; i < paths->count; i++)
        if (qk_provenance_input(&tool->provenance, paths->at[i], err) != 0)
            return -1;
    return 0;
}

static void require_study(const struct qk_tool *tool, const char *study)
{
    if (study == NULL)
        qk_tool_misuse(tool, "--study is needed");
}

/* ---- results ---- */

static int note_evals(struct qk_tool *tool, const struct qk_strings *operands, struct qk_err *err)
{
    for (size_t i = 0; i < operands->count; i++)
        if (qk_provenance_input(&tool->provenance, qk_gather_eval_path(operands->at[i], err),
                                err) != 0)
            return -1;
    return 0;
}

static int run_results(int argc, char **argv)
{
    struct qk_gather g = {.tag = NULL, .site = "post_norm"};
    struct qk_option options[] = {
        {"tag", 0, QK_OPT_TEXT, &g.tag, "TAG", "name of the run, such as QK"},
        {"site", 0, QK_OPT_CHOICE, &g.site, "SITE", "the site whose ranks are the headline",
         .choices = "pre_norm|post_norm|post_rope|weight"},
        {"probe", 0, QK_OPT_LIST, &g.probes, "FILE", "output of qk-probe; may be repeated"},
        {"log", 0, QK_OPT_LIST, &g.logs, "FILE", "training log, edges in order; may be repeated"},
        {"eval", 0, QK_OPT_LIST, &g.evals, "NAME=FILE",
         "output of qk-eval, kept under that name; may be repeated"},
        {"config", 0, QK_OPT_TEXT, &g.config, "FILE",
         "effective config, where the probes do not carry it"},
        {0}};
    struct qk_tool tool = {.command = {.usage = "--tag TAG --probe FILE... --log FILE... -o OUT",
                                       .summary = "One run's probes and logs as results.json.",
                                       .tables = {options}}};
    struct qk_err err;
    start(&tool, "results", argc, argv);
    if (g.tag == NULL || g.probes.count == 0)
        qk_tool_misuse(&tool, "--tag and at least one --probe are needed");
    for (size_t i = 0; i < g.evals.count; i++)
        if (qk_gather_eval_path(g.evals.at[i], &err) == NULL)
            qk_tool_misuse(&tool, "%s", err.text);
    cJSON *json = qk_gather_results(&g, &err);
    int failed = json == NULL || note_inputs(&tool, &g.probes, &err) != 0 ||
                 note_inputs(&tool, &g.logs, &err) != 0 || note_evals(&tool, &g.evals, &err) != 0 ||
                 (g.config != NULL && qk_provenance_input(&tool.provenance, g.config, &err) != 0) ||
                 write_json(&tool, json, &err) != 0;
    cJSON_Delete(json);
    qk_strings_free(&g.probes);
    qk_strings_free(&g.logs);
    qk_strings_free(&g.evals);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- combine ---- */

/* `--timing F1 F2 ...`: what has no NAME= behind --timing is one more timing file. */
static void sort_operands(const struct qk_tool *tool, struct qk_strings *runs,
                          struct qk_strings *timings)
{
    const struct qk_strings *all = &tool->command.operands;
    struct qk_err err;
    for (size_t i = 0; i < all->count; i++) {
        if (qk_combine_path(all->at[i], &err) != NULL)
            qk_strings_add(runs, all->at[i]);
        else if (timings->count > 0)
            qk_strings_add(timings, all->at[i]);
        else
            qk_tool_misuse(tool, "%s", err.text);
    }
    if (runs->count == 0)
        qk_tool_misuse(tool, "no NAME=FILE given");
}

/* Of the operands only the runs are recorded: times are not the content. */
static void record_runs(struct qk_tool *tool, const struct qk_strings *runs)
{
    struct qk_strings *argv = &tool->provenance.argv;
    qk_strings_free(argv);
    *argv = (struct qk_strings){0};
    qk_strings_add(argv, tool->command.tool);
    qk_strings_add(argv, "combine");
    for (size_t i = 0; i < runs->count; i++)
        qk_strings_add(argv, runs->at[i]);
}

static int run_combine(int argc, char **argv)
{
    struct qk_strings timings = {0}, runs = {0};
    struct qk_option options[] = {{"timing", 0, QK_OPT_LIST, &timings, "FILE...",
                                   "timing files of qk-train, added up", .content_free = true},
                                  {0}};
    struct qk_tool tool = {
        .command = {.usage = "A=FILE B=FILE ... [--timing FILE...] -o OUT",
                    .summary = "results.json of several conditions as combined.json; a name "
                               "given more than once holds the mean over its seeds.",
                    .tables = {options}},
        .least_operands = 1,
        .most_operands = -1};
    struct qk_err err;
    start(&tool, "combine", argc, argv);
    sort_operands(&tool, &runs, &timings);
    record_runs(&tool, &runs);
    cJSON *json = qk_combine(&runs, &timings, &err);
    int failed = json == NULL;
    for (size_t i = 0; i < runs.count && !failed; i++)
        failed = qk_provenance_input(&tool.provenance, qk_combine_path(runs.at[i], &err), &err);
    failed = failed || write_json(&tool, json, &err) != 0;
    cJSON_Delete(json);
    qk_strings_free(&timings);
    qk_strings_free(&runs);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- surgery ---- */

/* NAME=FILE operands, or misuse. */
static void require_named(const struct qk_tool *tool)
{
    const struct qk_strings *all = &tool->command.operands;
    struct qk_err err;
    for (size_t i = 0; i < all->count; i++)
        if (qk_combine_path(all->at[i], &err) == NULL)
            qk_tool_misuse(tool, "%s", err.text);
}

static int note_named(struct qk_tool *tool, struct qk_err *err)
{
    const struct qk_strings *all = &tool->command.operands;
    for (size_t i = 0; i < all->count; i++)
        if (qk_provenance_input(&tool->provenance, qk_combine_path(all->at[i], err), err) != 0)
            return -1;
    return 0;
}

static int run_surgery(int argc, char **argv)
{
    struct qk_tool tool = {
        .command = {.usage = "RUN=eval.json ... -o OUT",
                    .summary = "Losses of cut checkpoints as dose curves: random draws become mean "
                               "and spread; areas under the curves.",
                    .tables = {NULL}},
        .least_operands = 1,
        .most_operands = -1};
    struct qk_err err;
    struct qk_surgery s = {.count = 0};
    start(&tool, "surgery", argc, argv);
    require_named(&tool);
    int failed =
        qk_surgery_gather(&s, &tool.command.operands, &err) != 0 || note_named(&tool, &err) != 0;
    if (!failed) {
        cJSON *json = qk_surgery_json(&s);
        failed = write_json(&tool, json, &err);
        cJSON_Delete(json);
    }
    qk_surgery_free(&s);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- pick-lr ---- */

static int run_pick_lr(int argc, char **argv)
{
    struct qk_tool tool = {
        .command = {.usage = "CONFIG:RATE=FILE ... -o OUT",
                    .summary = "The learning rate of least validation loss of each configuration, "
                               "from results.json (or eval.json) of a sweep's runs.",
                    .tables = {NULL}},
        .least_operands = 1,
        .most_operands = -1};
    struct qk_err err;
    start(&tool, "pick-lr", argc, argv);
    const struct qk_strings *all = &tool.command.operands;
    for (size_t i = 0; i < all->count; i++)
        if (qk_pick_lr_path(all->at[i], &err) == NULL)
            qk_tool_misuse(&tool, "%s", err.text);
    cJSON *json = qk_pick_lr(all, &err);
    int failed = json == NULL;
    for (size_t i = 0; i < all->count && !failed; i++)
        failed = qk_provenance_input(&tool.provenance, qk_pick_lr_path(all->at[i], &err), &err);
    const cJSON *config;
    cJSON_ArrayForEach(config, json)
    {
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(config, "edge")))
            qk_tool_say(&tool, "%s is best at the edge of its grid: add rates beyond it",
                        config->string);
    }
    failed = failed || write_json(&tool, json, &err) != 0;
    cJSON_Delete(json);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- power ---- */

static int run_power(int argc, char **argv)
{
    double pr = 1, loss = 0.005;
    struct qk_option options[] = {
        {"effect", 0, QK_OPT_REAL, &pr, "PR", "difference in mean PR to be found"},
        {"effect-loss", 0, QK_OPT_REAL, &loss, "NATS", "difference in validation loss to be found"},
        {0}};
    struct qk_tool tool = {
        .command = {.usage = "combined.json [-o OUT]",
                    .summary = "How many seeds a difference needs, from the spread between the "
                               "seeds that were run.",
                    .tables = {options}},
        .least_operands = 1,
        .most_operands = 1};
    struct qk_err err;
    struct qk_combined combined = {.count = 0};
    start(&tool, "power", argc, argv);
    if (!(pr > 0) || !(loss > 0))
        qk_tool_misuse(&tool, "--effect and --effect-loss must be above 0");
    const char *path = tool.command.operands.at[0];
    qk_out_protect(path);
    int failed = qk_combined_read(&combined, path, &err) != 0 ||
                 qk_provenance_input(&tool.provenance, path, &err) != 0;
    if (!failed) {
        cJSON *json = qk_power_json(&combined, pr, loss, &err);
        failed = json == NULL ? qk_fail_in(&err, "%s: ", path) : write_json(&tool, json, &err);
        cJSON_Delete(json);
    }
    qk_combined_free(&combined);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- verdict ---- */

/* What a verdict or a table is made from. */
struct evidence_files {
    const char *study, *surgery_path, *chosen_path;
    struct qk_combined combined;
    struct qk_surgery surgery;
    cJSON *chosen;
    struct qk_evidence all;
};

/* sweep20m has no combined.json: its operand is chosen.json. */
static int evidence_read(struct evidence_files *f, const char *path, struct qk_err *err)
{
    const bool sweep = strcmp(f->study, "sweep20m") == 0;
    const char *chosen = sweep ? path : f->chosen_path;
    qk_out_protect(path);
    if (!sweep) {
        if (qk_combined_read(&f->combined, path, err) != 0)
            return -1;
        f->all.combined = &f->combined;
    }
    if (chosen != NULL && (f->chosen = qk_json_read(chosen, err)) == NULL)
        return -1;
    f->all.chosen = f->chosen;
    if (f->surgery_path != NULL) {
        if (qk_surgery_read(&f->surgery, f->surgery_path, err) != 0)
            return -1;
        f->all.surgery = &f->surgery;
    }
    return 0;
}

static int evidence_note(struct qk_tool *tool, const struct evidence_files *f, const char *path,
                         struct qk_err *err)
{
    const char *const paths[] = {path, f->surgery_path, f->chosen_path};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (paths[i] != NULL && qk_provenance_input(&tool->provenance, paths[i], err) != 0)
            return -1;
    return 0;
}

static void evidence_free(struct evidence_files *f)
{
    qk_combined_free(&f->combined);
    qk_surgery_free(&f->surgery);
    cJSON_Delete(f->chosen);
}

static int run_verdict(int argc, char **argv)
{
    struct evidence_files f = {.study = NULL};
    struct qk_option options[] = {
        {"study", 0, QK_OPT_CHOICE, &f.study, "STUDY", "whose rules to judge by",
         .choices = QK_STUDIES},
        {"surgery", 0, QK_OPT_TEXT, &f.surgery_path, "FILE", "dose curves, for ablation25m"},
        {"chosen", 0, QK_OPT_TEXT, &f.chosen_path, "FILE", "chosen.json, for main300m"},
        {0}};
    struct qk_tool tool = {.command = {.usage = "--study STUDY combined.json -o OUT",
                                       .summary = "Numbers, rule, outcome and sentence (sweep20m: "
                                                  "of a chosen.json).",
                                       .tables = {options}},
                           .least_operands = 1,
                           .most_operands = 1};
    struct qk_err err;
    start(&tool, "verdict", argc, argv);
    require_study(&tool, f.study);
    const char *path = tool.command.operands.at[0];
    int failed = evidence_read(&f, path, &err) != 0 || evidence_note(&tool, &f, path, &err) != 0;
    if (!failed) {
        cJSON *json = qk_judge(f.study, &f.all, &err);
        failed = json == NULL ? qk_fail_in(&err, "%s: ", path) : write_json(&tool, json, &err);
        cJSON_Delete(json);
    }
    evidence_free(&f);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- table ---- */

static int print_table(const struct qk_tool *tool, const struct qk_table *table, const char *format,
                       struct qk_err *err)
{
    struct qk_out *out = qk_out_open(qk_tool_target(tool), err);
    if (out == NULL)
        return -1;
    qk_table_print(table,
                   strcmp(format, "md") == 0    ? QK_TABLE_MD
                   : strcmp(format, "tsv") == 0 ? QK_TABLE_TSV
                                                : QK_TABLE_TEXT,
                   qk_out_stream(out));
    return qk_out_commit(out, err);
}

static int run_table(int argc, char **argv)
{
    struct evidence_files f = {.study = NULL};
    const char *format = "text", *of = NULL;
    struct qk_option options[] = {
        {"study", 0, QK_OPT_CHOICE, &f.study, "STUDY", "whose tables", .choices = QK_STUDIES},
        {"of", 0, QK_OPT_CHOICE, &of, "WHAT",
         "what is tabled; by default conditions, of sweep20m rates", .choices = QK_STUDY_TABLES},
        {"surgery", 0, QK_OPT_TEXT, &f.surgery_path, "FILE", "dose curves"},
        {"chosen", 0, QK_OPT_TEXT, &f.chosen_path, "FILE", "chosen.json"},
        {"format", 0, QK_OPT_CHOICE, &format, "FORMAT", "how", .choices = "md|tsv|text"},
        {0}};
    struct qk_tool tool = {.command = {.usage = "--study STUDY combined.json",
                                       .summary = "Final numbers per condition, differences, and "
                                                  "each study's own tables (sweep20m: of a "
                                                  "chosen.json).",
                                       .tables = {options}},
                           .least_operands = 1,
                           .most_operands = 1};
    struct qk_err err;
    struct qk_table table = {.columns = 0};
    start(&tool, "table", argc, argv);
    require_study(&tool, f.study);
    const char *path = tool.command.operands.at[0];
    if (of == NULL)
        of = strcmp(f.study, "sweep20m") == 0 ? "rates" : "conditions";
    int failed = evidence_read(&f, path, &err);
    if (!failed && qk_study_table(&table, f.study, of, &f.all, &err) != 0)
        failed = qk_fail_in(&err, "%s: ", path);
    failed = failed || print_table(&tool, &table, format, &err) != 0;
    qk_table_free(&table);
    evidence_free(&f);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- experiment-config ---- */

static int run_experiment_config(int argc, char **argv)
{
    struct qk_experiment e = {.title = "Experiment configuration"};
    struct qk_option options[] = {
        {"title", 0, QK_OPT_TEXT, &e.title, "TEXT", "heading of the page"},
        {"data", 0, QK_OPT_TEXT, &e.data, "TEXT", "the data set, in words"},
        {"tokenizer", 0, QK_OPT_TEXT, &e.tokenizer, "TEXT", "the tokenizer, in words"},
        {0}};
    struct qk_tool tool = {.command = {.usage = "combined.json -o experiment_config.md",
                                       .summary = "Every setting of a study, from the configs of "
                                                  "its runs, as Markdown.",
                                       .tables = {options}},
                           .least_operands = 1,
                           .most_operands = 1};
    struct qk_err err;
    struct qk_combined combined = {.count = 0};
    struct qk_buffer text = {0};
    start(&tool, "experiment-config", argc, argv);
    const char *path = tool.command.operands.at[0];
    qk_out_protect(path);
    int failed = qk_combined_read(&combined, path, &err);
    e.combined = &combined;
    if (!failed && qk_experiment_write(&text, &e, &err) != 0)
        failed = qk_fail_in(&err, "%s: ", path);
    if (!failed)
        failed = qk_tool_write(&tool, &text, &err);
    qk_buffer_free(&text);
    qk_combined_free(&combined);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- report, lint ---- */

static int write_report(const struct qk_tool *tool, const struct qk_report *r, struct qk_err *err)
{
    struct qk_buffer text = {0};
    int failed = qk_report_write(&text, r, err);
    if (!failed)
        failed = qk_tool_write(tool, &text, err);
    qk_buffer_free(&text);
    return failed;
}

static int note_input(struct qk_tool *tool, const char *path, struct qk_err *err)
{
    return qk_provenance_input(&tool->provenance, path, err);
}

static int read_report_inputs(struct qk_tool *tool, struct qk_report *r, struct evidence_files *f,
                              const char *combined, cJSON **verdict, struct qk_err *err)
{
    const bool sweep = strcmp(r->study, "sweep20m") == 0;
    const char *const path = sweep ? f->chosen_path : combined;
    qk_out_protect(r->verdict_path);
    f->study = r->study;
    if (evidence_read(f, path, err) != 0 || (*verdict = qk_json_read(r->verdict_path, err)) == NULL)
        return -1;
    r->combined = f->all.combined;
    r->surgery = f->all.surgery;
    r->chosen = f->all.chosen;
    r->verdict = *verdict;
    if (sweep)
        return note_input(tool, path, err) != 0 || note_input(tool, r->verdict_path, err) != 0 ? -1
                                                                                               : 0;
    return evidence_note(tool, f, path, err) != 0 || note_input(tool, r->verdict_path, err) != 0
               ? -1
               : 0;
}

static void require_report_inputs(const struct qk_tool *tool, const struct qk_report *r,
                                  const char *combined, const char *chosen)
{
    require_study(tool, r->study);
    const bool sweep = strcmp(r->study, "sweep20m") == 0;
    if (sweep && (chosen == NULL || r->verdict_path == NULL || r->figures == NULL))
        qk_tool_misuse(tool, "--chosen, --verdict and --figures are needed");
    if (!sweep && (combined == NULL || r->verdict_path == NULL || r->figures == NULL))
        qk_tool_misuse(tool, "--combined, --verdict and --figures are needed");
}

static int run_report(int argc, char **argv)
{
    const char *format = "md", *combined = NULL;
    struct qk_report r = {.figures = NULL};
    struct evidence_files f = {.study = NULL};
    struct qk_option options[] = {
        {"study", 0, QK_OPT_CHOICE, &r.study, "STUDY", "whose report", .choices = QK_STUDIES},
        {"combined", 0, QK_OPT_TEXT, &combined, "FILE", "combined.json (sweep20m does without it)"},
        {"verdict", 0, QK_OPT_TEXT, &r.verdict_path, "FILE",
         "verdict.json, made from the files given here"},
        {"figures", 0, QK_OPT_TEXT, &r.figures, "DIR", "where the study's NAME.svg are"},
        {"surgery", 0, QK_OPT_TEXT, &f.surgery_path, "FILE", "dose curves, for ablation25m"},
        {"chosen", 0, QK_OPT_TEXT, &f.chosen_path, "FILE",
         "chosen.json, for sweep20m and main300m"},
        {"published", 0, QK_OPT_FLAG, &r.published, NULL,
         "causal50m: set the original study's values beside these"},
        {"format", 0, QK_OPT_CHOICE, &format, "FORMAT", "Markdown or one self-contained page",
         .choices = "md|html"},
        {0}};
    struct qk_tool tool = {
        .command = {.usage = "--study STUDY --combined FILE --verdict FILE --figures DIR -o OUT",
                    .summary = "The study as a paper: verdict, numbers, figures, limitations.",
                    .tables = {options}}};
    struct qk_err err;
    cJSON *verdict = NULL;
    start(&tool, "report", argc, argv);
    require_report_inputs(&tool, &r, combined, f.chosen_path);
    r.out = qk_tool_target(&tool);
    r.html = strcmp(format, "html") == 0;
    r.provenance = &tool.provenance;
    int failed = read_report_inputs(&tool, &r, &f, combined, &verdict, &err) != 0 ||
                 write_report(&tool, &r, &err) != 0;
    cJSON_Delete(verdict);
    evidence_free(&f);
    return qk_tool_end(&tool, failed, &err);
}

static int run_lint(int argc, char **argv)
{
    struct qk_tool tool = {.command = {.usage = "report.md...",
                                       .summary = "Fails when a report claims without number or "
                                                  "figure, lacks limitations or loss curves, or "
                                                  "says that something is proven.",
                                       .tables = {NULL}},
                           .least_operands = 1,
                           .most_operands = -1};
    struct qk_err err;
    start(&tool, "lint", argc, argv);
    int failed = 0;
    for (size_t i = 0; i < tool.command.operands.count && !failed; i++)
        failed = qk_lint_file(tool.command.operands.at[i], &err);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- the tool ---- */

static const struct subcommand {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} subcommands[] = {
    {"results", "probes and logs of one run -> results.json", run_results},
    {"combine", "results of several conditions and seeds -> combined.json", run_combine},
    {"surgery", "evaluations of cut checkpoints -> dose curves", run_surgery},
    {"pick-lr", "a sweep's runs -> chosen.json", run_pick_lr},
    {"power", "combined.json -> how many seeds a difference needs", run_power},
    {"verdict", "combined.json -> verdict.json", run_verdict},
    {"table", "final numbers as text, Markdown or TSV", run_table},
    {"experiment-config", "combined.json -> experiment_config.md", run_experiment_config},
    {"report", "combined.json, verdict.json and figures -> report.md or report.html", run_report},
    {"lint", "check a report.md", run_lint},
};
enum { SUBCOMMANDS = sizeof subcommands / sizeof subcommands[0] };

/* Options before any subcommand: --help and --version, or misuse. */
static int run_bare(int argc, char **argv)
{
    struct qk_buffer summary = {0};
    qk_buffer_text(&summary,
                   "Probes, logs and evaluations become results, verdicts and reports.\n\n"
                   "Subcommands (each has its own --help):\n");
    for (int i = 0; i < SUBCOMMANDS; i++)
        qk_buffer_format(&summary, "  %-18s %s%s", subcommands[i].name, subcommands[i].summary,
                         i + 1 < SUBCOMMANDS ? "\n" : "");
    struct qk_tool tool = {.command = {.tool = "qk-aggregate",
                                       .usage = "SUBCOMMAND [options] INPUT... -o OUT",
                                       .summary = summary.at},
                           .most_operands = -1,
                           .no_blas = true};
    qk_tool_start(&tool, argc, argv);
    if (tool.command.operands.count > 0)
        qk_tool_misuse(&tool, "there is no subcommand '%s'", tool.command.operands.at[0]);
    qk_tool_misuse(&tool, "a subcommand is needed");
}

int main(int argc, char **argv)
{
    for (int i = 0; argc > 1 && i < SUBCOMMANDS; i++)
        if (strcmp(argv[1], subcommands[i].name) == 0)
            return subcommands[i].run(argc - 1, argv + 1);
    return run_bare(argc, argv);
}
