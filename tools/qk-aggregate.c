/* qk-aggregate: probes and logs become results, results become verdicts, tables and reports. */
#include <stdlib.h>
#include <string.h>

#include "common.h"

#include "base/json.h"
#include "base/outfile.h"
#include "study/judge/evidence.h"
#include "study/judge/power.h"
#include "study/judge/table.h"
#include "study/report/experiment.h"
#include "study/report/lint.h"
#include "study/report/report.h"
#include "study/results/combine.h"
#include "study/results/gather.h"
#include "study/results/picklr.h"
#include "study/results/surgery.h"

/* One command of the tool; the table of them is below. */
struct subcommand {
    const char *name;
    int (*run)(const struct subcommand *me, int argc, char **argv);
    const char *brief;           /* in the list of qk-aggregate --help */
    const char *usage, *summary; /* in its own */
    int least, most;             /* operands; most < 0: any number */
};

/* ---- what the subcommands share ---- */

/* Parse the subcommand's own options; provenance names the subcommand first. */
static void start(struct qk_tool *tool, const struct subcommand *me, struct qk_option *options,
                  int argc, char **argv)
{
    static char usage[256];
    snprintf(usage, sizeof usage, "%s %s", me->name, me->usage);
    *tool = (struct qk_tool){.command = {.tool = "qk-aggregate",
                                         .usage = usage,
                                         .summary = me->summary,
                                         .tables = {options}},
                             .standard = QK_TOOL_OUT,
                             .least_operands = me->least,
                             .most_operands = me->most,
                             .no_blas = true};
    qk_tool_start(tool, argc, argv);
    struct qk_strings *args = &tool->provenance.argv;
    qk_strings_add(args, me->name);
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

/* The end of a command that makes JSON: written unless it has failed already, and freed. */
static int finish_json(struct qk_tool *tool, int failed, cJSON *json, struct qk_err *err)
{
    failed = failed || write_json(tool, json, err) != 0;
    cJSON_Delete(json);
    return failed;
}

/* How a word such as NAME=FILE tells its file: NULL with a sentence when it does not. */
typedef const char *(*path_of)(const char *word, struct qk_err *err);

static const char *itself(const char *word, struct qk_err *err)
{
    (void)err;
    return word;
}

static void require_paths(const struct qk_tool *tool, const struct qk_strings *words, path_of of)
{
    struct qk_err err;
    for (size_t i = 0; i < words->count; i++)
        if (of(words->at[i], &err) == NULL)
            qk_tool_misuse(tool, "%s", err.text);
}

static int note_inputs(struct qk_tool *tool, const struct qk_strings *words, path_of of,
                       struct qk_err *err)
{
    for (size_t i = 0; i < words->count; i++)
        if (qk_provenance_input(&tool->provenance, of(words->at[i], err), err) != 0)
            return -1;
    return 0;
}

/* What may be missing is NULL. */
static int note_input(struct qk_tool *tool, const char *path, struct qk_err *err)
{
    return path == NULL ? 0 : qk_provenance_input(&tool->provenance, path, err);
}

static bool is_sweep(const char *study)
{
    return strcmp(study, "sweep20m") == 0;
}

/* ---- results ---- */

static int run_results(const struct subcommand *me, int argc, char **argv)
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
    struct qk_tool tool;
    struct qk_err err;
    start(&tool, me, options, argc, argv);
    if (g.tag == NULL || g.probes.count == 0)
        qk_tool_misuse(&tool, "--tag and at least one --probe are needed");
    require_paths(&tool, &g.evals, qk_gather_eval_path);
    cJSON *json = qk_gather_results(&g, &err);
    int failed = json == NULL || note_inputs(&tool, &g.probes, itself, &err) != 0 ||
                 note_inputs(&tool, &g.logs, itself, &err) != 0 ||
                 note_inputs(&tool, &g.evals, qk_gather_eval_path, &err) != 0 ||
                 note_input(&tool, g.config, &err) != 0;
    failed = finish_json(&tool, failed, json, &err);
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

static int run_combine(const struct subcommand *me, int argc, char **argv)
{
    struct qk_strings timings = {0}, runs = {0};
    struct qk_option options[] = {{"timing", 0, QK_OPT_LIST, &timings, "FILE...",
                                   "timing files of qk-train, added up", .content_free = true},
                                  {0}};
    struct qk_tool tool;
    struct qk_err err;
    start(&tool, me, options, argc, argv);
    sort_operands(&tool, &runs, &timings);
    record_runs(&tool, &runs);
    for (size_t i = 0; i < timings.count; i++)
        qk_out_protect(timings.at[i]);
    cJSON *json = qk_combine(&runs, &timings, &err);
    int failed = json == NULL || note_inputs(&tool, &runs, qk_combine_path, &err) != 0;
    failed = finish_json(&tool, failed, json, &err);
    qk_strings_free(&timings);
    qk_strings_free(&runs);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- surgery ---- */

static int run_surgery(const struct subcommand *me, int argc, char **argv)
{
    struct qk_tool tool;
    struct qk_err err;
    struct qk_surgery s = {.count = 0};
    start(&tool, me, NULL, argc, argv);
    const struct qk_strings *evals = &tool.command.operands;
    require_paths(&tool, evals, qk_combine_path);
    int failed = qk_surgery_gather(&s, evals, &err) != 0 ||
                 note_inputs(&tool, evals, qk_combine_path, &err) != 0;
    if (!failed)
        failed = finish_json(&tool, 0, qk_surgery_json(&s), &err);
    qk_surgery_free(&s);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- pick-lr ---- */

static int run_pick_lr(const struct subcommand *me, int argc, char **argv)
{
    struct qk_strings added = {0};
    struct qk_option options[] = {
        {"added", 0, QK_OPT_LIST, &added, "CONFIG:RATE",
         "a rate tried because the best one was at an edge of the grid; may be repeated"},
        {0}};
    struct qk_tool tool;
    struct qk_err err;
    start(&tool, me, options, argc, argv);
    const struct qk_strings *runs = &tool.command.operands;
    require_paths(&tool, runs, qk_pick_lr_path);
    cJSON *json = qk_pick_lr(runs, &err);
    int failed = json == NULL || qk_chosen_mark_added(json, &added, &err) != 0 ||
                 note_inputs(&tool, runs, qk_pick_lr_path, &err) != 0;
    const cJSON *config;
    cJSON_ArrayForEach(config, json)
    {
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(config, "edge")))
            qk_tool_say(&tool, "%s is best at the edge of its grid: add rates beyond it",
                        config->string);
    }
    failed = finish_json(&tool, failed, json, &err);
    qk_strings_free(&added);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- power ---- */

static int run_power(const struct subcommand *me, int argc, char **argv)
{
    double pr = 1, loss = 0.005;
    struct qk_option options[] = {
        {"effect", 0, QK_OPT_REAL, &pr, "PR", "difference in mean PR to be found"},
        {"effect-loss", 0, QK_OPT_REAL, &loss, "NATS", "difference in validation loss to be found"},
        {0}};
    struct qk_tool tool;
    struct qk_err err;
    struct qk_combined combined = {.count = 0};
    start(&tool, me, options, argc, argv);
    if (!(pr > 0) || !(loss > 0))
        qk_tool_misuse(&tool, "--effect and --effect-loss must be above 0");
    const char *path = tool.command.operands.at[0];
    qk_out_protect(path);
    int failed = qk_combined_read(&combined, path, &err) != 0 ||
                 qk_provenance_input(&tool.provenance, path, &err) != 0;
    if (!failed) {
        cJSON *json = qk_power_json(&combined, pr, loss, &err);
        failed = json == NULL ? qk_fail_in(&err, "%s: ", path) : finish_json(&tool, 0, json, &err);
    }
    qk_combined_free(&combined);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- verdict ---- */

/* What a verdict or a table is made from: the operand is the combined.json, of sweep20m, which has
 * none, the chosen.json. */
static const char *take_operand(const struct qk_tool *tool, const char *study,
                                struct qk_evidence_files *f)
{
    const char *path = tool->command.operands.at[0];
    if (study == NULL)
        qk_tool_misuse(tool, "--study is needed");
    *(is_sweep(study) ? &f->chosen_path : &f->combined_path) = path;
    return path;
}

/* Read, recorded and kept from being overwritten. */
static int take_evidence(struct qk_tool *tool, struct qk_evidence_files *f, struct qk_err *err)
{
    return qk_evidence_read(f, err) != 0 || note_input(tool, f->combined_path, err) != 0 ||
                   note_input(tool, f->surgery_path, err) != 0 ||
                   note_input(tool, f->chosen_path, err) != 0
               ? -1
               : 0;
}

static int run_verdict(const struct subcommand *me, int argc, char **argv)
{
    const char *study = NULL;
    struct qk_evidence_files f = {.combined_path = NULL};
    struct qk_option options[] = {
        {"study", 0, QK_OPT_CHOICE, &study, "STUDY", "whose rules to judge by",
         .choices = QK_STUDIES},
        {"surgery", 0, QK_OPT_TEXT, &f.surgery_path, "FILE", "dose curves, for ablation25m"},
        {"chosen", 0, QK_OPT_TEXT, &f.chosen_path, "FILE", "chosen.json, for main300m"},
        {0}};
    struct qk_tool tool;
    struct qk_err err;
    start(&tool, me, options, argc, argv);
    const char *path = take_operand(&tool, study, &f);
    int failed = take_evidence(&tool, &f, &err);
    if (!failed) {
        cJSON *json = qk_judge(study, &f.all, &err);
        failed = json == NULL ? qk_fail_in(&err, "%s: ", path) : finish_json(&tool, 0, json, &err);
    }
    qk_evidence_free(&f);
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

static int run_table(const struct subcommand *me, int argc, char **argv)
{
    const char *study = NULL, *format = "text", *of = NULL;
    struct qk_evidence_files f = {.combined_path = NULL};
    struct qk_option options[] = {
        {"study", 0, QK_OPT_CHOICE, &study, "STUDY", "whose tables", .choices = QK_STUDIES},
        {"of", 0, QK_OPT_CHOICE, &of, "WHAT",
         "what is tabled; by default conditions, of sweep20m rates", .choices = QK_STUDY_TABLES},
        {"surgery", 0, QK_OPT_TEXT, &f.surgery_path, "FILE", "dose curves"},
        {"chosen", 0, QK_OPT_TEXT, &f.chosen_path, "FILE", "chosen.json"},
        {"format", 0, QK_OPT_CHOICE, &format, "FORMAT", "how", .choices = "md|tsv|text"},
        {0}};
    struct qk_tool tool;
    struct qk_err err;
    struct qk_table table = {.columns = 0};
    start(&tool, me, options, argc, argv);
    const char *path = take_operand(&tool, study, &f);
    if (of == NULL)
        of = is_sweep(study) ? "rates" : "conditions";
    int failed = take_evidence(&tool, &f, &err);
    if (!failed && qk_study_table(&table, study, of, &f.all, &err) != 0)
        failed = qk_fail_in(&err, "%s: ", path);
    failed = failed || print_table(&tool, &table, format, &err) != 0;
    qk_table_free(&table);
    qk_evidence_free(&f);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- experiment-config ---- */

static int run_experiment_config(const struct subcommand *me, int argc, char **argv)
{
    struct qk_experiment e = {.title = "Experiment configuration"};
    struct qk_option options[] = {
        {"title", 0, QK_OPT_TEXT, &e.title, "TEXT", "heading of the page"},
        {"data", 0, QK_OPT_TEXT, &e.data, "TEXT", "the data set, in words"},
        {"tokenizer", 0, QK_OPT_TEXT, &e.tokenizer, "TEXT", "the tokenizer, in words"},
        {0}};
    struct qk_tool tool;
    struct qk_err err;
    struct qk_combined combined = {.count = 0};
    struct qk_buffer text = {0};
    start(&tool, me, options, argc, argv);
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

static int take_report_inputs(struct qk_tool *tool, struct qk_report *r, cJSON **verdict,
                              struct qk_evidence_files *f, struct qk_err *err)
{
    if (take_evidence(tool, f, err) != 0 || note_input(tool, r->verdict_path, err) != 0)
        return -1;
    *verdict = qk_json_read(r->verdict_path, err);
    r->combined = f->all.combined;
    r->surgery = f->all.surgery;
    r->chosen = f->all.chosen;
    r->verdict = *verdict;
    return *verdict != NULL ? 0 : -1;
}

static void require_report_inputs(const struct qk_tool *tool, const struct qk_report *r,
                                  struct qk_evidence_files *f)
{
    if (r->study == NULL)
        qk_tool_misuse(tool, "--study is needed");
    const bool sweep = is_sweep(r->study);
    if ((sweep ? f->chosen_path : f->combined_path) == NULL || r->verdict_path == NULL ||
        r->figures == NULL)
        qk_tool_misuse(tool, "--%s, --verdict and --figures are needed",
                       sweep ? "chosen" : "combined");
    if (sweep)
        f->combined_path = NULL; /* it has none */
}

static int run_report(const struct subcommand *me, int argc, char **argv)
{
    const char *format = "md";
    struct qk_report r = {.figures = NULL};
    struct qk_evidence_files f = {.combined_path = NULL};
    struct qk_option options[] = {
        {"study", 0, QK_OPT_CHOICE, &r.study, "STUDY", "whose report", .choices = QK_STUDIES},
        {"combined", 0, QK_OPT_TEXT, &f.combined_path, "FILE",
         "combined.json (sweep20m does without it)"},
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
    struct qk_tool tool;
    struct qk_err err;
    cJSON *verdict = NULL;
    start(&tool, me, options, argc, argv);
    require_report_inputs(&tool, &r, &f);
    r.out = qk_tool_target(&tool);
    r.html = strcmp(format, "html") == 0;
    r.provenance = &tool.provenance;
    int failed = take_report_inputs(&tool, &r, &verdict, &f, &err) != 0 ||
                 write_report(&tool, &r, &err) != 0;
    cJSON_Delete(verdict);
    qk_evidence_free(&f);
    return qk_tool_end(&tool, failed, &err);
}

static int run_lint(const struct subcommand *me, int argc, char **argv)
{
    struct qk_tool tool;
    struct qk_err err;
    start(&tool, me, NULL, argc, argv);
    int failed = 0;
    for (size_t i = 0; i < tool.command.operands.count && !failed; i++)
        failed = qk_lint_file(tool.command.operands.at[i], &err);
    return qk_tool_end(&tool, failed, &err);
}

/* ---- the tool ---- */

static const struct subcommand subcommands[] = {
    {"results", run_results, "probes and logs of one run -> results.json",
     "--tag TAG --probe FILE... --log FILE... -o OUT", "One run's probes and logs as results.json.",
     0, 0},
    {"combine", run_combine, "results of several conditions and seeds -> combined.json",
     "A=FILE B=FILE ... [--timing FILE...] -o OUT",
     "results.json of several conditions as combined.json; a name given more than once holds the "
     "mean over its seeds.",
     1, -1},
    {"surgery", run_surgery, "evaluations of cut checkpoints -> dose curves",
     "RUN=eval.json ... -o OUT",
     "Losses of cut checkpoints as dose curves: random draws become mean and spread; areas under "
     "the curves.",
     1, -1},
    {"pick-lr", run_pick_lr, "a sweep's runs -> chosen.json", "CONFIG:RATE=FILE ... -o OUT",
     "The learning rate of least validation loss of each configuration, from results.json (or "
     "eval.json) of a sweep's runs.",
     1, -1},
    {"power", run_power, "combined.json -> how many seeds a difference needs",
     "combined.json [-o OUT]",
     "How many seeds a difference needs, from the spread between the seeds that were run.", 1, 1},
    {"verdict", run_verdict, "combined.json -> verdict.json", "--study STUDY combined.json -o OUT",
     "Numbers, rule, outcome and sentence (sweep20m: of a chosen.json).", 1, 1},
    {"table", run_table, "final numbers as text, Markdown or TSV", "--study STUDY combined.json",
     "Final numbers per condition, differences, and each study's own tables (sweep20m: of a "
     "chosen.json).",
     1, 1},
    {"experiment-config", run_experiment_config, "combined.json -> experiment_config.md",
     "combined.json -o experiment_config.md",
     "Every setting of a study, from the configs of its runs, as Markdown.", 1, 1},
    {"report", run_report, "combined.json, verdict.json and figures -> report.md or report.html",
     "--study STUDY --combined FILE --verdict FILE --figures DIR -o OUT",
     "The study as a paper: verdict, numbers, figures, limitations.", 0, 0},
    {"lint", run_lint, "check a report.md", "report.md...",
     "Fails when a report claims without number or figure, lacks limitations or loss curves, or "
     "says that something is proven.",
     1, -1},
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
        qk_buffer_format(&summary, "  %-18s %s%s", subcommands[i].name, subcommands[i].brief,
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
            return subcommands[i].run(&subcommands[i], argc - 1, argv + 1);
    return run_bare(argc, argv);
}
