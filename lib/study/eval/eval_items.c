#include "study/eval/eval_items.h"

#include <math.h>
#include <stdlib.h>

#include "base/progress.h"
#include "base/sha256.h"
#include "study/measure/stats.h"

/* ---- items ---- */

enum { ITEMS_AT_ONCE = 256 };

/* Items that wait to be scored: item first + i owns requests start[i] .. start[i+1]-1. */
struct waiting {
    int64_t first, items;
    int64_t start[ITEMS_AT_ONCE + 1];
    struct qk_request *list;
    int64_t count;
};

static void drop_from(struct waiting *w, int64_t request)
{
    while (w->count > request)
        qk_request_free(&w->list[--w->count]);
}

static int64_t tokens_of(const struct qk_request *list, int64_t count)
{
    int64_t tokens = 0;
    for (int64_t i = 0; i < count; i++)
        tokens += list[i].count - 1;
    return tokens;
}

/* Ask for one more item.  *enough: max_tokens does not allow it. */
static int ask(struct waiting *w, struct qk_asked *asked, const struct qk_task_plan *plan,
               const struct qk_questions *q, bool *enough, struct qk_err *err)
{
    const int64_t from = w->count, item = w->first + w->items;
    if (q->ask(q->self, item, &w->list, &w->count, err) != 0)
        return qk_fail_in(err, "%s: item %lld: ", plan->data, (long long)item);
    const int64_t tokens = tokens_of(w->list + from, w->count - from);
    *enough = plan->max_tokens > 0 && asked->items > 0 && asked->tokens + tokens > plan->max_tokens;
    if (*enough) {
        drop_from(w, from);
        return 0;
    }
    for (int64_t i = from; i < w->count; i++) {
        asked->cut += w->list[i].cut > 0;
        asked->unscored += w->list[i].unscored > 0;
    }
    asked->tokens += tokens;
    asked->items++;
    w->start[++w->items] = w->count;
    return 0;
}

static int tell(const struct waiting *w, const struct qk_task_plan *plan,
                const struct qk_questions *q, struct qk_err *err)
{
    for (int64_t i = 0; i < w->items; i++)
        if (q->tell(q->self, w->first + i, w->list + w->start[i], w->start[i + 1] - w->start[i],
                    err) != 0)
            return qk_fail_in(err, "%s: item %lld: ", plan->data, (long long)(w->first + i));
    return 0;
}

int qk_ask_items(struct qk_asked *asked, const struct qk_task_plan *plan,
                 const struct qk_questions *questions, struct qk_err *err)
{
    struct waiting w = {0};
    struct qk_progress progress;
    bool enough = false;
    int bad = 0;
    *asked = (struct qk_asked){.available = questions->available};
    qk_progress_begin(&progress, "qk-eval", "items", 0, questions->available, plan->quiet);
    while (!bad && !enough && w.first < questions->available) {
        while (!bad && !enough && w.items < ITEMS_AT_ONCE &&
               w.first + w.items < questions->available)
            bad = ask(&w, asked, plan, questions, &enough, err);
        if (!bad && qk_scorer_score(plan->scorer, w.list, w.count, err) != 0)
            bad = qk_fail_in(err, "%s: ", plan->data);
        bad = bad || tell(&w, plan, questions, err);
        drop_from(&w, 0);
        w.first += w.items;
        w.items = 0;
        qk_progress_show(&progress, w.first, NULL);
    }
    qk_progress_end(&progress);
    drop_from(&w, 0);
    free(w.list);
    return bad ? -1 : 0;
}

void qk_eval_add_asked(const struct qk_asked *asked, const struct qk_task_plan *plan, cJSON *result,
                       cJSON *how)
{
    const int64_t bos = qk_scorer_bos(plan->scorer), prefix = qk_scorer_prefix(plan->scorer);
    qk_json_add_number(result, "tokens", (double)asked->tokens);
    qk_json_add_number(result, "available", (double)asked->available);
    cJSON_AddBoolToObject(result, "subset", asked->items < asked->available);
    qk_json_add_number(result, "cut", (double)asked->cut);
    qk_json_add_number(result, "cut_continuations", (double)asked->unscored);
    cJSON_ReplaceItemInObjectCaseSensitive(how, "bos", cJSON_CreateBool(bos >= 0));
    cJSON_AddStringToObject(how, "data", plan->data);
    cJSON_AddStringToObject(how, "definition", "lm-evaluation-harness 0.4.13");
    qk_json_add_number(how, "max_length", (double)qk_scorer_max_length(plan->scorer));
    cJSON_AddItemToObject(how, "prefix_token",
                          prefix >= 0 ? qk_json_number((double)prefix) : cJSON_CreateNull());
}

/* ---- numbers ---- */

void qk_column_add(struct qk_column *c, double value)
{
    qk_grow(&c->at, &c->capacity, c->count + 1, sizeof *c->at);
    c->at[c->count++] = value;
}

void qk_column_free(struct qk_column *c)
{
    free(c->at);
    *c = (struct qk_column){0};
}

double qk_column_mean(const struct qk_column *c)
{
    return qk_stats_mean(c->at, (int64_t)c->count);
}

double qk_column_error(const struct qk_column *c)
{
    return qk_stats_sd(c->at, (int64_t)c->count) / sqrt((double)c->count);
}

double qk_column_ratio(const struct qk_column *a, const struct qk_column *b, double *error)
{
    double above = 0, below = 0, squares = 0;
    const double n = (double)a->count;
    for (size_t i = 0; i < a->count; i++) {
        above += a->at[i];
        below += b->at[i];
    }
    const double ratio = above / below;
    for (size_t i = 0; i < a->count; i++) {
        const double rest = a->at[i] - ratio * b->at[i];
        squares += rest * rest;
    }
    *error = a->count > 1 ? sqrt(n / (n - 1) * squares) / below : NAN;
    return ratio;
}

void qk_eval_add_number(cJSON *to, const char *name, double value, double error)
{
    char *second = qk_format("%s_stderr", name);
    qk_json_add_number(to, name, value);
    qk_json_add_number(to, second, error);
    free(second);
}

void qk_eval_add_perplexity(cJSON *to, const char *name, double x, double error)
{
    qk_eval_add_number(to, name, exp(-x), exp(-x) * error);
}

/* ---- lines and texts ---- */

cJSON *qk_read_items(const char *path, const cJSON ***at, int64_t *count, struct qk_err *err)
{
    cJSON *array = qk_json_read_lines(path, err);
    if (!array)
        return NULL;
    *count = cJSON_GetArraySize(array);
    if (*count == 0) {
        cJSON_Delete(array);
        return qk_fail_null(err, "%s: holds no item", path);
    }
    *at = qk_alloc((size_t)*count, sizeof **at);
    int64_t i = 0;
    const cJSON *each;
    cJSON_ArrayForEach(each, array)(*at)[i++] = each;
    return array;
}

int qk_print_item(const struct qk_task_plan *plan, cJSON *item, struct qk_err *err)
{
    if (plan->items)
        qk_json_print_line(item, plan->items);
    cJSON_Delete(item);
    return plan->items && ferror(plan->items) ? qk_fail_errno(err, "cannot write the items") : 0;
}

void qk_add_sha256(cJSON *to, const char *key, struct qk_span text)
{
    char hex[QK_SHA256_HEX];
    qk_sha256_bytes(text.at, text.size, hex);
    cJSON_AddStringToObject(to, key, hex);
}
