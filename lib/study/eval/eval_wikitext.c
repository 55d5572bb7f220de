/* WikiText: perplexity per word and per byte over whole pages. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/textfile.h"
#include "study/eval/eval_items.h"
#include "study/eval/wikitext.h"
#include "study/text/jsonl.h"

struct wikitext {
    const struct qk_task_plan *plan;
    struct qk_buffer raw; /* the whole file, when it is no JSON */
    cJSON *lines;
    struct qk_span *pages;
    int64_t count;
    struct qk_buffer text; /* the page at hand, detokenised */
    bool line_ends;        /* were mended */
    struct qk_column logp, words, bytes, tokens;
};

static void add_page(struct wikitext *w, size_t *capacity, struct qk_span page)
{
    qk_grow(&w->pages, capacity, (size_t)w->count + 1, sizeof *w->pages);
    w->pages[w->count++] = page;
}

static int read_lines(struct wikitext *w, struct qk_err *err)
{
    size_t capacity = 0;
    const cJSON **items = NULL;
    int64_t count = 0;
    int bad = 0;
    w->lines = qk_read_items(w->plan->data, &items, &count, err);
    for (int64_t i = 0; w->lines && !bad && i < count; i++) {
        const char *page, *key = cJSON_HasObjectItem(items[i], "page") ? "page" : "text";
        bad = qk_json_text(items[i], key, &page, w->plan->data, err);
        if (!bad)
            add_page(w, &capacity, qk_span_of(page));
    }
    free(items);
    return w->lines ? bad : -1;
}

static int read_raw(struct wikitext *w, struct qk_err *err)
{
    size_t capacity = 0, at = 0, bad;
    struct qk_span page;
    if (qk_text_slurp(w->plan->data, &w->raw, err) != 0)
        return -1;
    if ((bad = qk_utf8_check(w->raw.at, w->raw.size)) != 0)
        return qk_fail(err, "%s: is not valid UTF-8 (byte %zu)", w->plan->data, bad);
    w->line_ends = qk_wikitext_line_ends(&w->raw);
    while (qk_wikitext_page(&w->raw, &at, &page))
        add_page(w, &capacity, page);
    return w->count > 0 ? 0 : qk_fail(err, "%s: holds no text", w->plan->data);
}

/* JSON lines are known by their first line. */
static int read_pages(struct wikitext *w, struct qk_err *err)
{
    struct qk_textfile *file = qk_text_open(w->plan->data, err);
    const char *line;
    size_t n;
    int got = file ? qk_text_peek(file, &line, &n, err) : -1;
    const bool json = got == 1 && qk_jsonl_is_object(line, n);
    qk_text_close(file);
    if (got < 0)
        return -1;
    return json ? read_lines(w, err) : read_raw(w, err);
}

static int ask(void *self, int64_t item, struct qk_request **list, int64_t *count,
               struct qk_err *err)
{
    struct wikitext *w = self;
    int64_t tokens;
    qk_wikitext_detokenize(w->pages[item], &w->text);
    if (qk_request_rolling(w->plan->scorer, (struct qk_span){w->text.at, w->text.size}, list, count,
                           &tokens, err) != 0)
        return -1;
    qk_column_add(&w->tokens, (double)tokens);
    return 0;
}

static int tell(void *self, int64_t item, const struct qk_request *list, int64_t count,
                struct qk_err *err)
{
    struct wikitext *w = self;
    const struct qk_span page = w->pages[item];
    double logp = 0;
    for (int64_t i = 0; i < count; i++)
        logp += list[i].logp;
    qk_column_add(&w->logp, logp);
    qk_column_add(&w->words, (double)qk_py_split_count(page));
    qk_column_add(&w->bytes, (double)page.size);
    qk_wikitext_detokenize(page, &w->text);
    cJSON *line = cJSON_CreateObject();
    qk_json_add_number(line, "item", (double)item);
    qk_json_add_number(line, "logp", logp);
    qk_json_add_number(line, "words", (double)qk_py_split_count(page));
    qk_json_add_number(line, "bytes", (double)page.size);
    qk_json_add_number(line, "tokens", w->tokens.at[item]);
    qk_json_add_number(line, "windows", (double)count);
    qk_add_sha256(line, "prompt_sha256", (struct qk_span){w->text.at, w->text.size});
    return qk_print_item(w->plan, line, err);
}

static void report_how(const struct wikitext *w, cJSON *how)
{
    cJSON_AddStringToObject(
        how, "value",
        "exp(-sum of log-likelihoods / words), words of the page before detokenising");
    cJSON_AddStringToObject(how, "stderr", "delta method on the ratio of sums over pages");
    cJSON_AddStringToObject(how, "pages",
                            w->lines ? "one per line of JSON"
                                     : "cut before each heading \" = Title = \"");
    cJSON_AddStringToObject(how, "line_ends", w->line_ends ? "CR LF or CR, read as LF" : "LF");
    cJSON_AddStringToObject(how, "windows",
                            "rolling, each token once; the first begins with prefix_token, "
                            "others with the token before");
}

static void report(struct wikitext *w, const struct qk_asked *asked, cJSON *result, cJSON *how)
{
    double word_error, byte_error, token_error;
    w->tokens.count = w->logp.count; /* one more was asked for where max_tokens ended it */
    const double word = qk_column_ratio(&w->logp, &w->words, &word_error);
    const double byte = qk_column_ratio(&w->logp, &w->bytes, &byte_error);
    const double token = qk_column_ratio(&w->logp, &w->tokens, &token_error);
    qk_json_add_number(result, "n", (double)asked->items);
    qk_json_add_number(result, "value", exp(-word));
    qk_json_add_number(result, "stderr", exp(-word) * word_error);
    cJSON_AddStringToObject(result, "metric", "word_perplexity");
    qk_eval_add_perplexity(result, "word_perplexity", word, word_error);
    qk_eval_add_perplexity(result, "byte_perplexity", byte, byte_error);
    qk_eval_add_number(result, "bits_per_byte", -byte / log(2), byte_error / log(2));
    qk_eval_add_perplexity(result, "token_perplexity", token, token_error);
    qk_eval_add_asked(asked, w->plan, result, how);
    report_how(w, how);
}

static void free_all(struct wikitext *w)
{
    qk_buffer_free(&w->raw);
    qk_buffer_free(&w->text);
    cJSON_Delete(w->lines);
    free(w->pages);
    qk_column_free(&w->logp);
    qk_column_free(&w->words);
    qk_column_free(&w->bytes);
    qk_column_free(&w->tokens);
}

int qk_eval_wikitext(const struct qk_task_plan *plan, cJSON *result, cJSON *how, struct qk_err *err)
{
    struct wikitext w = {.plan = plan};
    struct qk_asked asked;
    int bad = read_pages(&w, err);
    struct qk_questions questions = {.available = w.count, .ask = ask, .tell = tell, .self = &w};
    bad = bad || qk_ask_items(&asked, plan, &questions, err);
    if (!bad)
        report(&w, &asked, result, how);
    free_all(&w);
    return bad ? -1 : 0;
}
