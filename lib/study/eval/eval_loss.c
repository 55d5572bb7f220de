/* Task loss: from a checkpoint and a token pack to eval.json's numbers. */
#include <inttypes.h>
#include <math.h>

#include "study/eval/eval.h"

/* Rows of a forward pass: enough to keep the processor busy, few enough to fit. */
enum { ROWS_AT_ONCE = 2048 };

static int check_pack(const struct qk_loss_task *task, const struct qk_pack *pack,
                      struct qk_err *err)
{
    const int64_t model = task->checkpoint->config.vocab_size;
    if (pack->vocab_size <= model)
        return 0;
    return qk_fail(err, "%s: has a vocabulary of %" PRId64 ", but %s one of %" PRId64, task->data,
                   pack->vocab_size, task->path, model);
}

static int score(const struct qk_loss_task *task, struct qk_loss *loss,
                 const struct qk_split *split, struct qk_err *err)
{
    const struct qk_config *c = &task->checkpoint->config;
    const int64_t T = c->seq_len, at_once = T < ROWS_AT_ONCE ? ROWS_AT_ONCE / T : 1;
    const int64_t all = qk_split_windows(split, T), most = task->max_tokens / T;
    struct qk_model *m = qk_model_create(task->device, c, at_once, T, false, false, err);
    if (m == NULL)
        return -1;
    struct qk_progress progress;
    const struct qk_loss_plan plan = {.split = split,
                                      .T = T,
                                      .micro_batch = at_once,
                                      .max_tokens = task->max_tokens,
                                      .items = task->items,
                                      .progress = &progress};
    qk_progress_begin(&progress, "qk-eval", "tokens", 0, (most > 0 && most < all ? most : all) * T,
                      task->quiet);
    int bad = qk_model_load(m, task->checkpoint, err);
    if (!bad && qk_eval_loss(loss, m, &plan, err) != 0)
        bad = qk_fail_in(err, "%s: ", task->data);
    qk_progress_end(&progress);
    qk_model_free(m);
    return bad;
}

static void report(const struct qk_loss_task *task, const struct qk_loss *loss, cJSON *result,
                   cJSON *how)
{
    qk_json_add_number(result, "n", (double)loss->windows);
    qk_json_add_number(result, "value", loss->mean);
    qk_json_add_number(result, "stderr", loss->error);
    qk_json_add_number(result, "tokens", (double)loss->tokens);
    qk_json_add_number(result, "perplexity", exp(loss->mean));
    cJSON_AddStringToObject(how, "value", "nats per token, mean over windows");
    cJSON_AddStringToObject(how, "stderr", "sd over windows / sqrt(n), sd with n - 1");
    cJSON_AddStringToObject(how, "data", task->data);
    cJSON_AddStringToObject(how, "split", task->split);
    qk_json_add_number(how, "window", (double)task->checkpoint->config.seq_len);
}

int qk_eval_loss_task(const struct qk_loss_task *task, cJSON *result, cJSON *how,
                      struct qk_err *err)
{
    struct qk_pack pack;
    struct qk_split split = {0};
    struct qk_loss loss;
    if (qk_pack_open(&pack, task->data, err) != 0)
        return -1;
    const int bad = check_pack(task, &pack, err) != 0 ||
                    qk_split_read(&split, &pack, task->split, err) != 0 ||
                    score(task, &loss, &split, err) != 0;
    qk_pack_close(&pack);
    qk_split_free(&split);
    if (!bad)
        report(task, &loss, result, how);
    return bad ? -1 : 0;
}
