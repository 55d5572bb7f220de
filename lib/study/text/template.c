#include "study/text/template.h"

#include <string.h>

#include "base/json.h"

static bool has_type(const cJSON *processor, const char *type)
{
    const cJSON *own = cJSON_GetObjectItemCaseSensitive(processor, "type");
    return cJSON_IsString(own) && strcmp(own->valuestring, type) == 0;
}

/* The template among the post-processors; NULL when there is none. */
static const cJSON *find_template(const cJSON *processor)
{
    if (has_type(processor, "TemplateProcessing"))
        return processor;
    const cJSON *each;
    if (has_type(processor, "Sequence"))
        cJSON_ArrayForEach(
            each,
            cJSON_GetObjectItemCaseSensitive(
                processor, "processors")) if (has_type(each, "TemplateProcessing")) return each;
    return NULL;
}

static int read_template(const cJSON *template, int64_t *bos, struct qk_err *err)
{
    const cJSON *single = cJSON_GetObjectItemCaseSensitive(template, "single");
    const cJSON *first = cJSON_GetArrayItem(single, 0);
    const cJSON *special = cJSON_GetObjectItemCaseSensitive(first, "SpecialToken");
    const int size = cJSON_GetArraySize(single);
    if (size == 1 && !special)
        return 0;
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(special, "id");
    const cJSON *tokens = cJSON_GetObjectItemCaseSensitive(template, "special_tokens");
    const cJSON *token =
        cJSON_IsString(name) ? cJSON_GetObjectItemCaseSensitive(tokens, name->valuestring) : NULL;
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(token, "ids");
    const cJSON *id = cJSON_GetArrayItem(ids, 0);
    if (size != 2 || !cJSON_IsNumber(id) || cJSON_GetArraySize(ids) != 1 || id->valuedouble < 0 ||
        id->valuedouble > 0xffffffffu ||
        !cJSON_HasObjectItem(cJSON_GetArrayItem(single, 1), "Sequence"))
        return qk_fail(err, "the tokenizer's template is not one token before the text");
    *bos = (int64_t)id->valuedouble;
    return 0;
}

int qk_template_bos(const struct qk_tokenizer *t, int64_t *bos, struct qk_err *err)
{
    *bos = -1;
    if (t->json.size == 0)
        return 0;
    cJSON *json = cJSON_ParseWithLength(t->json.at, t->json.size);
    const cJSON *template = find_template(cJSON_GetObjectItemCaseSensitive(json, "post_processor"));
    int bad = template ? read_template(template, bos, err) : 0;
    cJSON_Delete(json);
    return bad;
}
