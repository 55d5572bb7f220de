/* qk-eval: what a checkpoint scores on a task. */
#include "common.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/outfile.h"
#include "base/sha256.h"
#include "compute/device.h"
#include "study/eval.h"

struct settings {
    const char *task, *data, *split, *items;
    int64_t max_tokens;
};

/* What a task works with. */
struct bench {
    struct qk_tool *tool;
    const struct settings *settings;
    const char *path; /* of the checkpoint */
    struct qk_checkpoint checkpoint;
    struct qk_device *device;
    FILE *items; /* NULL when not asked for */
};

/* A task adds {n, value, stderr, ...} to `result` and what it depends on to `how`. */
struct task {
    const char *name;
    int (*run)(struct bench *b, cJSON *result, cJSON *how, struct qk_err *err);
};

/* Rows of a forward pass: enough to keep the processor busy, few enough to fit. */
enum { ROWS_AT_ONCE = 2048 };

static int check_pack(const struct bench *b, const struct qk_pack *pack, struct qk_err *err)
{
    int64_t model = b->checkpoint.config.vocab_size;
    return pack->vocab_size <= model
               ? 0
               : qk_fail(err, "%s: has a vocabulary of %lld, but %s one of %lld", b->settings->data,
                         (long long)pack->vocab_size, b->path, (long long)model);
}

static int score(struct bench *b, struct qk_loss *loss, const struct qk_split *split,
                 struct qk_err *err)
{
    int64_t T = b->checkpoint.config.seq_len, at_once = T < ROWS_AT_ONCE ? ROWS_AT_ONCE / T : 1;
    struct qk_model *m =
        qk_model_create(b->device, &b->checkpoint.config, at_once, T, false, false, err);
    if (!m)
        return -1;
    struct qk_progress progress;
    int64_t windows = qk_split_windows(split, T), most = b->settings->max_tokens / T;
    if (most > 0 && most < windows)
        windows = most;
    qk_progress_begin(&progress, "qk-eval", "tokens", 0, windows * T, b->tool->quiet);
    struct qk_loss_plan plan = {.split = split,
                                .T = T,
                                .micro_batch = at_once,
                                .max_tokens = b->settings->max_tokens,
                                .items = b->items,
                                .progress = &progress};
    int bad = qk_model_load(m, &b->checkpoint, err);
    if (!bad && qk_eval_loss(loss, m, &plan, err) != 0)
        bad = qk_fail_in(err, "%s: ", b->settings->data);
    qk_progress_end(&progress);
    qk_model_free(m);
    return bad;
}

static int run_loss(struct bench *b, cJSON *result, cJSON *how, struct qk_err *err)
{
    const struct settings *s = b->settings;
    struct qk_pack pack;
    struct qk_split split = {0};
    struct qk_loss loss;
    if (qk_pack_open(&pack, s->data, err) != 0)
        return -1;
    int bad = check_pack(b, &pack, err) || qk_split_read(&split, &pack, s->split, err) ||
              score(b, &loss, &split, err);
    qk_pack_close(&pack);
    qk_split_free(&split);
    if (bad)
        return -1;
    qk_json_add_number(result, "n", (double)loss.windows);
    qk_json_add_number(result, "value", loss.mean);
    qk_json_add_number(result, "stderr", loss.error);
    qk_json_add_number(result, "tokens", (double)loss.tokens);
    qk_json_add_number(result, "perplexity", exp(loss.mean));
    cJSON_AddStringToObject(how, "value", "nats per token, mean over windows");
    cJSON_AddStringToObject(how, "stderr", "sd over windows / sqrt(n), sd with n - 1");
    cJSON_AddStringToObject(how, "data", s->data);
    cJSON_AddStringToObject(how, "split", s->split);
    qk_json_add_number(how, "window", (double)b->checkpoint.config.seq_len);
    return 0;
}

/* Add a task here: its name and how it is run.  Without the latter it is refused by name. */
static const struct task tasks[] = {
    {"loss", run_loss}, {"wikitext", NULL}, {"hellaswag", NULL}, {"lambada", NULL}, {NULL, NULL}};
#define TASK_NAMES "loss|wikitext|hellaswag|lambada"

static const struct task *find_task(const char *name)
{
    const struct task *task = tasks;
    while (task->name && strcmp(task->name, name) != 0)
        task++;
    return task;
}

static int describe_tokenizer(struct bench *b, cJSON *how, struct qk_err *err)
{
    struct qk_buffer text;
    if (qk_checkpoint_tokenizer(&b->checkpoint, &text, err) != 0)
        return -1;
    if (text.size) {
        char hex[QK_SHA256_HEX];
        qk_sha256_bytes(text.at, text.size, hex);
        cJSON_AddStringToObject(how, "tokenizer_sha256", hex);
    } else {
        cJSON_AddNullToObject(how, "tokenizer_sha256");
    }
    qk_buffer_free(&text);
    return 0;
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
    int bad = describe_tokenizer(b, how, err) || task->run(b, result, how, err);
    cJSON_AddItemToObject(result, "how", how);
    if (!bad)
        return result;
    cJSON_Delete(result);
    return NULL;
}

static int evaluate(struct bench *b, const struct task *task, FILE *to, struct qk_err *err)
{
    struct qk_provenance *p = &b->tool->provenance;
    if (qk_provenance_input(p, b->path, err) != 0 ||
        (b->settings->data && qk_provenance_input(p, b->settings->data, err) != 0) ||
        qk_checkpoint_open(&b->checkpoint, b->path, err) != 0)
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
    qk_out_protect(b->path);
    if (b->settings->data)
        qk_out_protect(b->settings->data);
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

int main(int argc, char **argv)
{
    struct settings s = {.split = "test"};
    struct qk_option options[] = {
        {"task", 0, QK_OPT_CHOICE, &s.task, NULL, "what to score", .choices = TASK_NAMES},
        {"data", 0, QK_OPT_TEXT, &s.data, "FILE", "loss: a token pack"},
        {"split", 0, QK_OPT_TEXT, &s.split, "NAME", "loss: the split of it"},
        {"max-tokens", 0, QK_OPT_COUNT, &s.max_tokens, "N",
         "loss: only the first windows, of about N tokens; 0 for all"},
        {"items", 0, QK_OPT_TEXT, &s.items, "OUT.jsonl", "also write a line for each item",
         .content_free = true},
        {0}};
    struct qk_tool tool = {.command = {.tool = "qk-eval",
                                       .usage = "[options] --task TASK CHECKPOINT",
                                       .summary = "Score a checkpoint on a task.",
                                       .tables = {options}},
                           .standard = QK_TOOL_OUT | QK_TOOL_DEVICE | QK_TOOL_THREADS,
                           .least_operands = 1,
                           .most_operands = 1};
    struct qk_err err;
    qk_tool_start(&tool, argc, argv);
    if (!s.task)
        qk_tool_misuse(&tool, "--task is missing: one of " TASK_NAMES);
    const struct task *task = find_task(s.task);
    if (task->run == run_loss && !s.data)
        qk_tool_misuse(&tool, "--task loss needs --data TOKENS.h5");
    if (s.items && strcmp(s.items, "-") == 0 && !tool.out)
        qk_tool_misuse(&tool, "--items - and the result cannot both go to standard output");
    struct bench bench = {.tool = &tool, .settings = &s, .path = tool.command.operands.at[0]};
    int bad = task->run ? evaluate_to_files(&bench, task, &err)
                        : qk_fail(&err, "task %s is not available in this version", task->name);
    return qk_tool_end(&tool, bad, &err);
}
