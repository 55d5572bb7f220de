/* LAMBADA: the last word of a passage. */
#include <stdlib.h>
#include <string.h>

#include "study/eval/eval_items.h"

struct lambada {
    const struct qk_task_plan *plan;
    const cJSON **items;
    struct qk_column acc, logp;
};

/* The text up to its last space, and from that space on. */
static int read_item(const struct lambada *l, int64_t item, struct qk_span *context,
                     struct qk_span *target, struct qk_err *err)
{
    const char *text;
    if (qk_json_text(l->items[item], "text", &text, "the line", err) != 0)
        return -1;
    const char *space = strrchr(text, ' ');
    const size_t cut = space ? (size_t)(space - text) : 0;
    *context = (struct qk_span){text, cut};
    *target = qk_span_of(text + cut);
    return 0;
}

static int ask(void *self, int64_t item, struct qk_request **list, int64_t *count,
               struct qk_err *err)
{
    struct lambada *l = self;
    struct qk_span context, target;
    struct qk_buffer word = {0};
    if (read_item(l, item, &context, &target, err) != 0)
        return -1;
    if (target.size == 0 || target.at[0] != ' ') /* one word: its target has a space all the same */
        qk_buffer_text(&word, " ");
    qk_buffer_add(&word, target.at, target.size);
    *list = qk_realloc(*list, (size_t)*count + 1, sizeof **list);
    int bad = qk_request_pair(l->plan->scorer, &(*list)[*count], context,
                              (struct qk_span){word.at, word.size}, err);
    *count += !bad;
    qk_buffer_free(&word);
    return bad;
}

static int tell(void *self, int64_t item, const struct qk_request *r, int64_t count,
                struct qk_err *err)
{
    struct lambada *l = self;
    struct qk_span context, target;
    (void)count;
    if (read_item(l, item, &context, &target, err) != 0)
        return -1;
    qk_column_add(&l->acc, r->greedy ? 1 : 0);
    qk_column_add(&l->logp, r->logp);
    cJSON *line = cJSON_CreateObject();
    qk_json_add_number(line, "item", (double)item);
    cJSON_AddStringToObject(line, "target", target.at);
    qk_json_add_number(line, "logp", r->logp);
    cJSON_AddBoolToObject(line, "greedy", r->greedy);
    qk_json_add_number(line, "tokens", (double)r->scored);
    qk_json_add_number(line, "context_tokens", (double)r->context);
    qk_json_add_number(line, "cut", (double)r->cut);
    qk_add_sha256(line, "prompt_sha256", context);
    return qk_print_item(l->plan, line, err);
}

static void report(const struct lambada *l, const struct qk_asked *asked, cJSON *result, cJSON *how)
{
    const double acc = qk_column_mean(&l->acc), error = qk_column_error(&l->acc);
    qk_json_add_number(result, "n", (double)asked->items);
    qk_json_add_number(result, "value", acc);
    qk_json_add_number(result, "stderr", error);
    cJSON_AddStringToObject(result, "metric", "acc");
    qk_eval_add_number(result, "acc", acc, error);
    qk_eval_add_perplexity(result, "perplexity", qk_column_mean(&l->logp),
                           qk_column_error(&l->logp));
    qk_eval_add_number(result, "logp", qk_column_mean(&l->logp), qk_column_error(&l->logp));
    qk_eval_add_asked(asked, l->plan, result, how);
    cJSON_AddStringToObject(how, "value",
                            "share of items whose last word is, token for token, the likeliest");
    cJSON_AddStringToObject(
        how, "stderr", "sd over items / sqrt(n), sd with n - 1; of perplexity by the delta method");
    cJSON_AddStringToObject(how, "perplexity",
                            "exp(-mean over items of the log-likelihood of the last word)");
}

int qk_eval_lambada(const struct qk_task_plan *plan, cJSON *result, cJSON *how, struct qk_err *err)
{
    struct lambada l = {.plan = plan};
    struct qk_questions questions = {.ask = ask, .tell = tell, .self = &l};
    struct qk_asked asked;
    cJSON *items = qk_read_items(plan->data, &l.items, &questions.available, err);
    if (!items)
        return -1;
    int bad = qk_ask_items(&asked, plan, &questions, err);
    if (!bad)
        report(&l, &asked, result, how);
    qk_column_free(&l.acc);
    qk_column_free(&l.logp);
    free(l.items);
    cJSON_Delete(items);
    return bad;
}
