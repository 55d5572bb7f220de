#include "study/eval/hellaswag.h"

#include <stdlib.h>
#include <string.h>

/* re.sub(r"\[.*?\]", "", text): up to the first closing bracket of the same line. */
static void delete_brackets(struct qk_buffer *text)
{
    size_t to = 0;
    for (size_t i = 0; i < text->size; i++) {
        if (text->at[i] == '[') {
            size_t end = i;
            while (end < text->size && text->at[end] != ']' && text->at[end] != '\n')
                end++;
            if (end < text->size && text->at[end] == ']') {
                i = end;
                continue;
            }
        }
        text->at[to++] = text->at[i];
    }
    text->size = to;
}

void qk_hellaswag_preprocess(struct qk_buffer *text)
{
    struct qk_span bare = qk_py_strip((struct qk_span){text->at, text->size});
    memmove(text->at, bare.at, bare.size);
    text->size = bare.size;
    qk_py_replace(text, " [title]", ". ");
    delete_brackets(text);
    qk_py_replace(text, "  ", " ");
    text->at[text->size] = '\0';
}

static char *take(struct qk_buffer *text, bool preprocess)
{
    qk_buffer_text(text, "");
    if (preprocess)
        qk_hellaswag_preprocess(text);
    return text->at;
}

static int read_query(struct qk_hellaswag *h, const cJSON *json, struct qk_err *err)
{
    const char *where = "the line", *label, *a, *b, *query;
    struct qk_buffer text = {0};
    if (h->plain) {
        if (qk_json_text(json, "query", &query, where, err) != 0)
            return -1;
        h->query = qk_strdup(query);
        return 0;
    }
    if (qk_json_text(json, "activity_label", &label, where, err) != 0 ||
        qk_json_text(json, "ctx_a", &a, where, err) != 0 ||
        qk_json_text(json, "ctx_b", &b, where, err) != 0)
        return -1;
    qk_buffer_format(&text, "%s: %s ", label, a);
    qk_py_capitalize(qk_span_of(b), &text);
    h->query = take(&text, true);
    return 0;
}

static int read_endings(struct qk_hellaswag *h, const cJSON *json, struct qk_err *err)
{
    const cJSON *list = qk_json_array(json, "endings", "the line", err), *each;
    if (!list)
        return -1;
    const int count = cJSON_GetArraySize(list);
    if (count < 2 || count > QK_MOST_ENDINGS)
        return qk_fail(err, "the line: 'endings' has %d texts, expected 2 to %d", count,
                       QK_MOST_ENDINGS);
    cJSON_ArrayForEach(each, list)
    {
        struct qk_buffer text = {0};
        if (!cJSON_IsString(each))
            return qk_fail(err, "the line: 'endings' is not a list of texts");
        qk_buffer_text(&text, each->valuestring);
        char *ending = take(&text, !h->plain);
        h->endings[h->count++] = ending;
        if (*ending == '\0')
            return qk_fail(err, "the line: ending %d is empty", h->count - 1);
    }
    return 0;
}

/* A number, or (as in the data set's other copy) a text of digits. */
static int read_gold(struct qk_hellaswag *h, const cJSON *json, struct qk_err *err)
{
    const cJSON *label = cJSON_GetObjectItemCaseSensitive(json, "label");
    double value = -1;
    char *end;
    if (cJSON_IsNumber(label)) {
        value = label->valuedouble;
    } else if (cJSON_IsString(label) && *label->valuestring) {
        value = strtod(label->valuestring, &end);
        value = *end ? -1 : value;
    }
    for (int i = 0; i < h->count; i++)
        if (value == i) {
            h->gold = i;
            return 0;
        }
    return qk_fail(err, "the line: 'label' is not the number of an ending");
}

int qk_hellaswag_read(struct qk_hellaswag *h, const cJSON *json, struct qk_err *err)
{
    *h = (struct qk_hellaswag){.plain = !cJSON_HasObjectItem(json, "ctx_a") &&
                                        !cJSON_HasObjectItem(json, "ctx_b")};
    if (read_query(h, json, err) == 0 && read_endings(h, json, err) == 0 &&
        read_gold(h, json, err) == 0)
        return 0;
    qk_hellaswag_free(h);
    return -1;
}

void qk_hellaswag_free(struct qk_hellaswag *h)
{
    free(h->query);
    for (int i = 0; i < h->count; i++)
        free(h->endings[i]);
    *h = (struct qk_hellaswag){0};
}
