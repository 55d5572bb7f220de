/* qk-eval: what a checkpoint scores on a task. */
#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/outfile.h"
#include "base/sha256.h"
#include "compute/device.h"
#include "study/eval/eval.h"
#include "study/eval/eval_tasks.h"
#include "study/measure/prune.h"

struct settings {
    const char *task, *data, *split, *items, *tokenizer, *shots_data;
    int64_t max_tokens, shots;
};

/* What a task works with. */
struct bench {
    struct qk_tool *tool;
    const struct settings *settings;
    const char *path; /* of the checkpoint */
    struct qk_checkpoint checkpoint;
    struct qk_device *device;
    struct qk_tokenizer tokenizer; /* of the tasks of text */
    FILE *items;                   /* NULL when not asked for */
};

/* A task adds {n, value, stderr, ...} to `result` and what it depends on to `how`.  One of tokens
 * reads a token pack, one of text has its text encoded. */
struct task {
    const char *name;
    int (*of_tokens)(struct bench *b, cJSON *result, cJSON *how, struct qk_err *err);
    int (*of_text)(const struct qk_task_plan *plan, cJSON *result, cJSON *how, struct qk_err *err);
    bool shots;
};

/* With which the harness draws examples. */
enum { HARNESS_SEED = 1234 };

static int run_loss(struct bench *b, cJSON *result, cJSON *how, struct qk_err *err)
{
    const struct settings *s = b->settings;
    const struct qk_loss_task task = {.device = b->device,
                                      .checkpoint = &b->checkpoint,
                                      .path = b->path,
                                      .data = s->data,
                                      .split = s->split,
                                      .max_tokens = s->max_tokens,
                                      .items = b->items,
                                      .quiet = b->tool->quiet};
    return qk_eval_loss_task(&task, result, how, err);
}

/* Add a task here. */
static const struct task tasks[] = {{"loss", run_loss, NULL, false},
                                    {"wikitext", NULL, qk_eval_wikitext, false},
                                    {"hellaswag", NULL, qk_eval_hellaswag, true},
                                    {"lambada", NULL, qk_eval_lambada, false},
                                    {0}};
#define TASK_NAMES "loss|wikitext|hellaswag|lambada"

static const struct task *find_task(const char *name)
{
    const struct task *task = tasks;
    while (task->name && strcmp(task->name, name) != 0)
        task++;
    return task;
}

/* ---- what was cut out of the model, and with which data ---- */

/* Fails when the cut, or one before it, was calibrated on the split that is to be evaluated. */
static int check_calibration(const struct bench *b, const cJSON *pruned, struct qk_err *err)
{
    const struct settings *s = b->settings;
    char hex[QK_SHA256_HEX] = ""; /* of the data, whose reading only a split of that name needs */
    for (; cJSON_IsObject(pruned); pruned = cJSON_GetObjectItemCaseSensitive(pruned, "before")) {
        const cJSON *by = cJSON_GetObjectItemCaseSensitive(pruned, "calibration");
        const char *hash = qk_json_find_text(by, "sha256"), *split = qk_json_find_text(by, "split");
        if (hash == NULL || split == NULL || strcmp(split, s->split) != 0)
            continue;
        if (hex[0] == '\0' && qk_sha256_file(s->data, hex, err) != 0)
            return -1;
        if (strcmp(hash, hex) == 0)
            return qk_fail(err,
                           "%s: split %s calibrated the cut of %s, and what it loses there says "
                           "nothing: evaluate another split",
                           s->data, s->split, b->path);
    }
    return 0;
}

/* The record qk-prune left in the checkpoint, into the result. */
static int describe_cut(struct bench *b, const struct task *task, cJSON *result, struct qk_err *err)
{
    cJSON *pruned;
    if (qk_prune_record(&b->checkpoint, &pruned, b->path, err) != 0)
        return -1;
    if (!pruned)
        return 0;
    cJSON_AddItemToObject(result, "pruned", pruned);
    return task->of_tokens ? check_calibration(b, pruned, err) : 0;
}

/* ---- the tokenizer ---- */

/* The checkpoint's, or the one that was asked for; its hash into `how`. */
static int read_tokenizer(struct bench *b, const struct task *task, cJSON *how, struct qk_err *err)
{
    const char *path = b->settings->tokenizer;
    struct qk_buffer own = {0};
    char hex[QK_SHA256_HEX];
    if (path && task->of_text) {
        if (qk_tokenizer_read(&b->tokenizer, path, err) != 0)
            return -1;
    } else if (qk_checkpoint_tokenizer(&b->checkpoint, &own, err) != 0) {
        return -1;
    }
    const struct qk_buffer *text = own.size ? &own : &b->tokenizer.json;
    int bad = 0;
    if (own.size && task->of_text)
        bad = qk_tokenizer_parse(&b->tokenizer, own.at, own.size, b->path, err);
    else if (text->size == 0 && task->of_text)
        bad = qk_fail(err, "%s: has no tokenizer: name one with --tokenizer", b->path);
    if (!bad && text->size) {
        qk_sha256_bytes(text->at, text->size, hex);
        cJSON_AddStringToObject(how, "tokenizer_sha256", hex);
    } else if (!bad) {
        cJSON_AddNullToObject(how, "tokenizer_sha256");
    }
    qk_buffer_free(&own);
    return bad;
}

static int run_text(struct bench *b, const struct task *task, cJSON *result, cJSON *how,
                    struct qk_err *err)
{
    const struct settings *s = b->settings;
    struct qk_scorer *scorer = qk_scorer_create(b->device, &b->checkpoint, &b->tokenizer, err);
    struct qk_task_plan plan = {.scorer = scorer,
                                .data = s->data,
                                .shots_data = s->shots_data,
                                .shots = s->shots,
                                .seed = (uint64_t)b->tool->seed,
                                .max_tokens = s->max_tokens,
                                .items = b->items,
                                .quiet = b->tool->quiet};
    int bad = scorer ? task->of_text(&plan, result, how, err) : -1;
    qk_scorer_free(scorer);
    return bad;
}

/* The result object; NULL on failure. */
static cJSON *run(struct bench *b, const struct task *task, struct qk_err *err)
{
    cJSON *result = cJSON_CreateObject(), *how = cJSON_CreateObject();
    cJSON_AddStringToObject(result, "kind", "eval");
    qk_json_add_number(result, "version", 1);
    cJSON_AddStringToObject(result, "file", b->path);
    qk_json_add_number(result, "step", (double)b->checkpoint.step);
    qk_json_add_number(result, "tokens_seen", (double)b->checkpoint.tokens_seen);
    cJSON_AddStringToObject(result, "task", task->name);
    qk_json_add_number(how, "shots", 0);
    cJSON_AddNullToObject(how, "seed");
    cJSON_AddBoolToObject(how, "bos", false);
    cJSON_AddNullToObject(how, "shots_source");
    int bad = describe_cut(b, task, result, err) || read_tokenizer(b, task, how, err) ||
              (task->of_tokens ? task->of_tokens(b, result, how, err)
                               : run_text(b, task, result, how, err));
    qk_tokenizer_free(&b->tokenizer);
    cJSON_AddItemToObject(result, "how", how);
    if (!bad)
        return result;
    cJSON_Delete(result);
    return NULL;
}

/* Inputs are noted, and kept from being overwritten, before anything is opened. */
static int note_inputs(struct bench *b, struct qk_err *err)
{
    const struct settings *s = b->settings;
    const char *const paths[] = {b->path, s->data, s->tokenizer, s->shots_data};
    struct stat st;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (paths[i] && !(stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode)) &&
            qk_provenance_input(&b->tool->provenance, paths[i], err) != 0)
            return -1;
    return 0;
}

static int evaluate(struct bench *b, const struct task *task, FILE *to, struct qk_err *err)
{
    struct qk_provenance *p = &b->tool->provenance;
    if (note_inputs(b, err) != 0 || qk_checkpoint_open(&b->checkpoint, b->path, err) != 0)
        return -1;
    b->device = qk_device_open(b->tool->device, err);
    if (b->device)
        qk_provenance_device(p, b->device->ops->name);
    cJSON *result = b->device ? run(b, task, err) : NULL;
    int bad = result ? 0 : -1;
    if (result) {
        qk_provenance_to_json(p, result);
        qk_json_print_line(result, to);
        cJSON_Delete(result);
    }
    if (b->device)
        qk_device_close(b->device);
    qk_checkpoint_close(&b->checkpoint);
    return bad;
}

/* Both outputs or none. */
static int evaluate_to_files(struct bench *b, const struct task *task, struct qk_err *err)
{
    struct qk_out *items = NULL;
    const char *const inputs[] = {b->path, b->settings->data, b->settings->tokenizer,
                                  b->settings->shots_data};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i])
            qk_out_protect(inputs[i]);
    if (b->settings->items && !(items = qk_out_open(b->settings->items, err)))
        return -1;
    b->items = items ? qk_out_stream(items) : NULL;
    struct qk_out *out = qk_out_open(qk_tool_target(b->tool), err);
    int bad = !out || evaluate(b, task, qk_out_stream(out), err) != 0;
    if (!bad && items) {
        bad = qk_out_commit(items, err);
        items = NULL;
    }
    if (!bad)
        return qk_out_commit(out, err);
    qk_out_discard(items);
    qk_out_discard(out);
    return -1;
}

/* What the command line says that its task does not know. */
static void check_settings(const struct qk_tool *tool, const struct settings *s,
                           const struct task *task)
{
    if (task->of_tokens && !s->data)
        qk_tool_misuse(tool, "--task %s needs --data TOKENS.h5", task->name);
    if (!s->data)
        qk_tool_misuse(tool, "--task %s needs --data FILE", task->name);
    if (!task->shots && (s->shots || s->shots_data))
        qk_tool_misuse(tool, "--task %s takes no --shots", task->name);
    if (s->shots_data && !s->shots)
        qk_tool_misuse(tool, "--shots-data needs --shots");
    if (s->items && strcmp(s->items, "-") == 0 && !tool->out)
        qk_tool_misuse(tool, "--items - and the result cannot both go to standard output");
}

int main(int argc, char **argv)
{
    struct settings s = {.split = "test"};
    struct qk_option options[] = {
        {"task", 0, QK_OPT_CHOICE, &s.task, NULL, "what to score", .choices = TASK_NAMES},
        {"data", 0, QK_OPT_TEXT, &s.data, "FILE", "loss: a token pack; else the task's text"},
        {"split", 0, QK_OPT_TEXT, &s.split, "NAME", "loss: the split of it"},
        {"tokenizer", 0, QK_OPT_TEXT, &s.tokenizer, "FILE|DIR", "instead of the checkpoint's"},
        {"shots", 0, QK_OPT_INT, &s.shots, "N", "hellaswag: examples before each item", .least = 0,
         .most = 1000},
        {"shots-data", 0, QK_OPT_TEXT, &s.shots_data, "FILE",
         "where they come from; otherwise from --data"},
        {"max-tokens", 0, QK_OPT_COUNT, &s.max_tokens, "N",
         "only the first windows or items, of about N tokens; 0 for all"},
        {"items", 0, QK_OPT_TEXT, &s.items, "OUT.jsonl", "also write a line for each item",
         .content_free = true},
        {0}};
    struct qk_tool tool = {.command = {.tool = "qk-eval",
                                       .usage = "[options] --task TASK CHECKPOINT",
                                       .summary = "Score a checkpoint on a task.",
                                       .tables = {options}},
                           .standard =
                               QK_TOOL_OUT | QK_TOOL_DEVICE | QK_TOOL_THREADS | QK_TOOL_SEED,
                           .seed_fallback = "1234",
                           .least_operands = 1,
                           .most_operands = 1};
    struct qk_err err;
    qk_tool_start(&tool, argc, argv);
    if (!s.task)
        qk_tool_misuse(&tool, "--task is missing: one of " TASK_NAMES);
    const struct task *task = find_task(s.task);
    check_settings(&tool, &s, task);
    if (!tool.seed_given)
        tool.seed = HARNESS_SEED;
    struct bench bench = {.tool = &tool, .settings = &s, .path = tool.command.operands.at[0]};
    return qk_tool_end(&tool, evaluate_to_files(&bench, task, &err), &err);
}
