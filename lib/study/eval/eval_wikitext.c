/* WikiText: perplexity per word and per byte over whole pages. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/textfile.h"
#include "study/eval/eval_items.h"
#include "study/eval/wikitext.h"

struct wikitext {
    const struct qk_task_plan *plan;
    struct qk_buffer raw; /* the whole file */
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
    const cJSON *each;
    int bad = 0;
    w->lines = qk_json_parse_lines(&w->raw, w->plan->data, err);
    cJSON_ArrayForEach(each, w->lines)
    {
        const char *page, *key = cJSON_HasObjectItem(each, "page") ? "page" : "text";
        bad = bad || qk_json_text(each, key, &page, w->plan->data, err);
        if (!bad)
            add_page(w, &capacity, qk_span_of(page));
    }
    return w->lines ? bad : -1;
}

static int read_raw(struct wikitext *w, struct qk_err *err)
{
    size_t capacity = 0, at = 0, bad;
    struct qk_span page;
    if ((bad = qk_utf8_check(w->raw.at, w->raw.size)) != 0)
        return qk_fail(err, "%s: is not valid UTF-8 (byte %zu)", w->plan->data, bad);
    w->line_ends = qk_wikitext_line_ends(&w->raw);
    while (qk_wikitext_page(&w->raw, &at, &page))
        add_page(w, &capacity, page);
    return w->count > 0 ? 0 : qk_fail(err, "%s: holds no text", w->plan->data);
}

/* JSON lines are known by how the first of them begins, so that one that is broken is no text. */
static bool begins_as_json(const struct qk_buffer *text)
{
    const char *at = text->at;
    at += strncmp(at, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    at += strspn(at, " \t\r\n");
    const char next = *at == '{' ? at[1 + strspn(at + 1, " \t")] : '\0';
    return next == '"' || next == '}';
}

static int read_pages(struct wikitext *w, struct qk_err *err)
{
    if (qk_text_slurp(w->plan->data, &w->raw, err) != 0)
        return -1;
    return begins_as_json(&w->raw) ? read_lines(w, err) : read_raw(w, err);
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
