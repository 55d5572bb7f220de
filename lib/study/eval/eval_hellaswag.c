/* HellaSwag: which of several endings follows.
 *
 * A prompt is, for each example, query + " " + its right ending + "\n\n", then the item's query; an
 * ending follows a space.  Examples are drawn for item after item by Random(seed).sample(examples,
 * shots + 1), without those equal to the item, the first `shots` of what is left.  (One more is
 * drawn because the harness takes equal names of splits, both unset, for the same split.)
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/eval/eval_items.h"
#include "study/eval/hellaswag.h"
#include "study/eval/pyrandom.h"

struct set {
    cJSON *json;
    const cJSON **lines;
    struct qk_hellaswag *at;
    int64_t count;
};

enum { ACC, ACC_NORM, ACC_BYTES, GOLD, MARGIN, COLUMNS };

/* Of items that wait: their prompt's hash and examples. */
struct prompt {
    struct qk_buffer text;
    uint32_t *examples;
};

struct hellaswag {
    const struct qk_task_plan *plan;
    struct set items, others;
    const struct set *examples;
    struct qk_pyrandom random;
    struct prompt *prompts; /* [items.count] */
    uint32_t *drawn;        /* [shots + 1] */
    struct qk_column columns[COLUMNS];
};

/* ---- the data ---- */

static int read_set(struct set *set, const char *path, struct qk_err *err)
{
    set->json = qk_read_items(path, &set->lines, &set->count, err);
    if (!set->json)
        return -1;
    set->at = qk_zalloc((size_t)set->count, sizeof *set->at);
    for (int64_t i = 0; i < set->count; i++)
        if (qk_hellaswag_read(&set->at[i], set->lines[i], err) != 0)
            return qk_fail_in(err, "%s: item %lld: ", path, (long long)i);
    return 0;
}

static void free_set(struct set *set)
{
    for (int64_t i = 0; set->at && i < set->count; i++)
        qk_hellaswag_free(&set->at[i]);
    free(set->at);
    free(set->lines);
    cJSON_Delete(set->json);
}

/* ---- examples ---- */

/* Python's x == doc of the two lines as objects. */
static bool equal(const struct hellaswag *h, int64_t item, uint32_t example)
{
    return cJSON_Compare(h->items.lines[item], h->examples->lines[example], true);
}

/* Of `count` drawn ones those that are not the item, `shots` at most: how many. */
static int64_t keep_others(const struct hellaswag *h, int64_t item, int64_t count, uint32_t *chosen)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count && kept < h->plan->shots; i++)
        if (!equal(h, item, h->drawn[i]))
            chosen[kept++] = h->drawn[i];
    return kept;
}

/* Copies of the item used up what was drawn: draw again, from the others alone. */
static int draw_from_others(struct hellaswag *h, int64_t item, uint32_t *chosen, struct qk_err *err)
{
    const int64_t shots = h->plan->shots;
    uint32_t *pool = qk_alloc((size_t)h->examples->count, sizeof *pool), count = 0;
    for (int64_t i = 0; i < h->examples->count; i++)
        if (!equal(h, item, (uint32_t)i))
            pool[count++] = (uint32_t)i;
    const bool enough = count >= shots;
    if (enough)
        qk_pyrandom_sample(&h->random, count, (uint32_t)shots, chosen);
    for (int64_t i = 0; enough && i < shots; i++)
        chosen[i] = pool[chosen[i]];
    free(pool);
    return enough ? 0 : qk_fail(err, "there are not %lld examples but itself", (long long)shots);
}

static int draw(struct hellaswag *h, int64_t item, uint32_t *chosen, struct qk_err *err)
{
    const int64_t shots = h->plan->shots;
    if (shots == 0)
        return 0;
    if (h->examples->count < shots + 1)
        return qk_fail(err, "%lld examples are drawn for %lld shots, but there are %lld",
                       (long long)shots + 1, (long long)shots, (long long)h->examples->count);
    qk_pyrandom_sample(&h->random, (uint32_t)h->examples->count, (uint32_t)shots + 1, h->drawn);
    return keep_others(h, item, shots + 1, chosen) == shots
               ? 0
               : draw_from_others(h, item, chosen, err);
}

/* ---- questions ---- */

static void write_prompt(const struct hellaswag *h, int64_t item, struct prompt *prompt)
{
    for (int64_t i = 0; i < h->plan->shots; i++) {
        const struct qk_hellaswag *e = &h->examples->at[prompt->examples[i]];
        qk_buffer_format(&prompt->text, "%s %s\n\n", e->query, e->endings[e->gold]);
    }
    qk_buffer_text(&prompt->text, h->items.at[item].query);
}

static int ask(void *self, int64_t item, struct qk_request **list, int64_t *count,
               struct qk_err *err)
{
    struct hellaswag *h = self;
    const struct qk_hellaswag *q = &h->items.at[item];
    struct prompt *prompt = &h->prompts[item];
    prompt->examples = qk_alloc((size_t)h->plan->shots + 1, sizeof *prompt->examples);
    if (draw(h, item, prompt->examples, err) != 0)
        return -1;
    write_prompt(h, item, prompt);
    *list = qk_realloc(*list, (size_t)(*count + q->count), sizeof **list);
    for (int i = 0; i < q->count; i++) {
        char *ending = qk_format(" %s", q->endings[i]);
        int bad = qk_request_pair(h->plan->scorer, &(*list)[*count],
                                  (struct qk_span){prompt->text.at, prompt->text.size},
                                  qk_span_of(ending), err);
        free(ending);
        if (bad)
            return -1;
        (*count)++;
    }
    return 0;
}

/* The first of the greatest numbers logp[i] / length[i]. */
static int best(const struct qk_request *list, const double *length, int count)
{
    int at = 0;
    for (int i = 1; i < count; i++)
        if (list[i].logp / length[i] > list[at].logp / length[at])
            at = i;
    return at;
}

/* log of the right ending's share of the probability of all: another measure than acc, of the same
 * items, that moves with every change of the model. */
static double log_share(const struct qk_request *list, int count, int gold)
{
    double most = list[0].logp;
    for (int i = 1; i < count; i++)
        most = fmax(most, list[i].logp);
    double sum = exp(list[0].logp - most);
    for (int i = 1; i < count; i++)
        sum += exp(list[i].logp - most);
    return list[gold].logp - most - log(sum);
}

static cJSON *item_line(const struct hellaswag *h, int64_t item, const struct qk_request *list)
{
    const struct qk_hellaswag *q = &h->items.at[item];
    cJSON *line = cJSON_CreateObject();
    qk_json_add_number(line, "item", (double)item);
    qk_json_add_number(line, "gold", q->gold);
    cJSON *logp = cJSON_AddArrayToObject(line, "logp");
    cJSON *tokens = cJSON_AddArrayToObject(line, "tokens");
    for (int i = 0; i < q->count; i++) {
        cJSON_AddItemToArray(logp, qk_json_number(list[i].logp));
        cJSON_AddItemToArray(tokens, qk_json_number((double)list[i].scored));
    }
    qk_json_add_number(line, "context_tokens", (double)list[0].context);
    qk_json_add_number(line, "cut", (double)list[0].cut);
    cJSON *shots = cJSON_AddArrayToObject(line, "shots");
    for (int64_t i = 0; i < h->plan->shots; i++)
        cJSON_AddItemToArray(shots, qk_json_number((double)h->prompts[item].examples[i]));
    return line;
}

static int tell(void *self, int64_t item, const struct qk_request *list, int64_t count,
                struct qk_err *err)
{
    struct hellaswag *h = self;
    const struct qk_hellaswag *q = &h->items.at[item];
    struct prompt *prompt = &h->prompts[item];
    double length[3][QK_MOST_ENDINGS];
    static const char *const names[] = {"pred", "pred_norm", "pred_bytes"};
    for (int i = 0; i < q->count; i++) {
        const struct qk_span ending = qk_span_of(q->endings[i]);
        length[ACC][i] = 1;
        length[ACC_NORM][i] = (double)qk_py_length(ending);
        length[ACC_BYTES][i] = (double)ending.size;
    }
    cJSON *line = item_line(h, item, list);
    for (int by = ACC; by <= ACC_BYTES; by++) {
        const int chosen = best(list, length[by], (int)count);
        qk_column_add(&h->columns[by], chosen == q->gold ? 1 : 0);
        qk_json_add_number(line, names[by], chosen);
    }
    qk_column_add(&h->columns[GOLD], list[q->gold].logp);
    qk_column_add(&h->columns[MARGIN], log_share(list, (int)count, q->gold));
    qk_add_sha256(line, "prompt_sha256", (struct qk_span){prompt->text.at, prompt->text.size});
    qk_buffer_free(&prompt->text);
    return qk_print_item(h->plan, line, err);
}

/* ---- the result ---- */

static void report_how(const struct hellaswag *h, cJSON *how)
{
    const struct qk_task_plan *plan = h->plan;
    cJSON_ReplaceItemInObjectCaseSensitive(how, "shots", qk_json_number((double)plan->shots));
    if (plan->shots > 0) {
        cJSON_ReplaceItemInObjectCaseSensitive(how, "seed", qk_json_number((double)plan->seed));
        cJSON_ReplaceItemInObjectCaseSensitive(
            how, "shots_source",
            cJSON_CreateString(plan->shots_data ? plan->shots_data
                                                : "the evaluated file itself, never the item"));
        cJSON_AddStringToObject(how, "shots_order",
                                "Python's random.Random(seed).sample, item after item");
    }
    cJSON_AddStringToObject(how, "form",
                            h->items.at[0].plain
                                ? "plain: query and endings as they are in the file"
                                : "upstream: preprocessed as the harness does");
    cJSON_AddStringToObject(how, "value",
                            "share of items whose right ending has the greatest "
                            "log-likelihood per character");
    cJSON_AddStringToObject(how, "stderr", "sd over items / sqrt(n), sd with n - 1");
}

static void report(const struct hellaswag *h, const struct qk_asked *asked, cJSON *result,
                   cJSON *how)
{
    static const char *const names[COLUMNS] = {"acc", "acc_norm", "acc_bytes", "logp_gold",
                                               "log_share_gold"};
    qk_json_add_number(result, "n", (double)asked->items);
    qk_json_add_number(result, "value", qk_column_mean(&h->columns[ACC_NORM]));
    qk_json_add_number(result, "stderr", qk_column_error(&h->columns[ACC_NORM]));
    cJSON_AddStringToObject(result, "metric", "acc_norm");
    for (int i = 0; i < COLUMNS; i++)
        qk_eval_add_number(result, names[i], qk_column_mean(&h->columns[i]),
                           qk_column_error(&h->columns[i]));
    qk_eval_add_asked(asked, h->plan, result, how);
    report_how(h, how);
}

static void free_all(struct hellaswag *h)
{
    for (int64_t i = 0; h->prompts && i < h->items.count; i++) {
        qk_buffer_free(&h->prompts[i].text);
        free(h->prompts[i].examples);
    }
    free(h->prompts);
    free(h->drawn);
    free_set(&h->items);
    free_set(&h->others);
    for (int i = 0; i < COLUMNS; i++)
        qk_column_free(&h->columns[i]);
}

int qk_eval_hellaswag(const struct qk_task_plan *plan, cJSON *result, cJSON *how,
                      struct qk_err *err)
{
    struct hellaswag h = {.plan = plan};
    struct qk_asked asked;
    int bad = read_set(&h.items, plan->data, err);
    if (!bad && plan->shots_data)
        bad = read_set(&h.others, plan->shots_data, err);
    h.examples = plan->shots_data ? &h.others : &h.items;
    h.prompts = qk_zalloc((size_t)h.items.count + 1, sizeof *h.prompts);
    h.drawn = qk_alloc((size_t)plan->shots + 1, sizeof *h.drawn);
    qk_pyrandom_seed(&h.random, plan->seed);
    struct qk_questions questions = {
        .available = h.items.count, .ask = ask, .tell = tell, .self = &h};
    bad = bad || qk_ask_items(&asked, plan, &questions, err);
    if (!bad)
        report(&h, &asked, result, how);
    free_all(&h);
    return bad ? -1 : 0;
}
