#include "base/json.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/textfile.h"

static int line_of(const char *text, const char *at)
{
    int line = 1;
    for (const char *p = text; p < at; p++)
        line += *p == '\n';
    return line;
}

/* `first` is the number of the text's first line. */
static cJSON *parse(const char *text, int first, const char *where, struct qk_err *err)
{
    size_t bad_byte = qk_utf8_check(text, strlen(text));
    if (bad_byte)
        return qk_fail_null(err, "%s: line %d is not valid UTF-8", where,
                            first - 1 + line_of(text, text + bad_byte - 1));
    const char *end = NULL;
    cJSON *value = cJSON_ParseWithOpts(text, &end, 0);
    if (value) {
        while (isspace((unsigned char)*end))
            end++;
        if (*end == '\0')
            return value;
        cJSON_Delete(value);
    }
    if (!end)
        end = text;
    if (text[strspn(text, " \t\r\n")] == '\0')
        return qk_fail_null(err, "%s: is empty, expected JSON", where);
    return qk_fail_null(err, "%s: malformed JSON at line %d", where,
                        first - 1 + line_of(text, end));
}

cJSON *qk_json_parse(const char *text, const char *where, struct qk_err *err)
{
    return parse(text, 1, where, err);
}

cJSON *qk_json_parse_bytes(const struct qk_buffer *text, const char *where, struct qk_err *err)
{
    if (text->size && memchr(text->at, '\0', text->size))
        return qk_fail_null(err, "%s: malformed JSON: a zero byte", where);
    return qk_json_parse(text->size ? text->at : "", where, err);
}

cJSON *qk_json_read(const char *path, struct qk_err *err)
{
    struct qk_buffer text = {0};
    cJSON *value = NULL;
    if (qk_text_slurp(path, &text, err) == 0)
        value = qk_json_parse_bytes(&text, path, err);
    qk_buffer_free(&text);
    return value;
}

static bool is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isspace((unsigned char)s[i]))
            return false;
    return true;
}

/* "\u0000": cJSON's texts would end there. */
static bool escapes_zero(const char *text)
{
    const char *at = text;
    while ((at = strchr(at, '\\')) != NULL && strncmp(at, "\\u0000", 6) != 0)
        at += at[1] ? 2 : 1;
    return at != NULL;
}

/* Line `number`, n bytes. */
static cJSON *parse_line(const char *line, size_t n, int number, const char *path,
                         struct qk_err *err)
{
    struct qk_buffer text = {0};
    cJSON *value = NULL;
    qk_buffer_add(&text, line, n);
    if (memchr(line, '\0', n) || escapes_zero(text.at))
        qk_fail(err, "%s: a zero byte in line %d", path, number);
    else
        value = parse(text.at, number, path, err);
    qk_buffer_free(&text);
    return value;
}

cJSON *qk_json_parse_lines(const struct qk_buffer *text, const char *path, struct qk_err *err)
{
    cJSON *array = cJSON_CreateArray();
    const char *line = text->at, *end = line + text->size;
    for (int number = 1; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        const size_t n = (size_t)((stop ? stop : end) - line);
        cJSON *value = is_blank(line, n) ? NULL : parse_line(line, n, number, path, err);
        if (!value && !is_blank(line, n)) {
            cJSON_Delete(array);
            return NULL;
        }
        if (value)
            cJSON_AddItemToArray(array, value);
        line += n + 1;
    }
    return array;
}

cJSON *qk_json_read_lines(const char *path, struct qk_err *err)
{
    struct qk_buffer text = {0};
    cJSON *array = NULL;
    if (qk_text_slurp(path, &text, err) == 0)
        array = qk_json_parse_lines(&text, path, err);
    qk_buffer_free(&text);
    return array;
}

static const cJSON *member(const cJSON *object, const char *key, const char *where,
                           struct qk_err *err)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
    return value ? value : qk_fail_null(err, "%s: has no key '%s'", where, key);
}

int qk_json_text(const cJSON *object, const char *key, const char **value, const char *where,
                 struct qk_err *err)
{
    const cJSON *item = member(object, key, where, err);
    if (!item)
        return -1;
    if (!cJSON_IsString(item))
        return qk_fail(err, "%s: '%s' is not text", where, key);
    *value = item->valuestring;
    return 0;
}

int qk_json_real(const cJSON *object, const char *key, double *value, const char *where,
                 struct qk_err *err)
{
    const cJSON *item = member(object, key, where, err);
    if (!item)
        return -1;
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble))
        return qk_fail(err, "%s: '%s' is not a number", where, key);
    *value = item->valuedouble;
    return 0;
}

int qk_json_int(const cJSON *object, const char *key, int64_t *value, const char *where,
                struct qk_err *err)
{
    double real = 0;
    if (qk_json_real(object, key, &real, where, err) != 0)
        return -1;
    if (real != nearbyint(real) || fabs(real) > 9007199254740992.0)
        return qk_fail(err, "%s: '%s' is not a whole number", where, key);
    *value = (int64_t)real;
    return 0;
}

const cJSON *qk_json_array(const cJSON *object, const char *key, const char *where,
                           struct qk_err *err)
{
    const cJSON *item = member(object, key, where, err);
    if (item && !cJSON_IsArray(item))
        return qk_fail_null(err, "%s: '%s' is not an array", where, key);
    return item;
}

double qk_json_as_number(const cJSON *value)
{
    const bool number = cJSON_IsNumber(value) && isfinite(value->valuedouble); /* 1e999 is not */
    return number ? value->valuedouble : (double)NAN;
}

const cJSON *qk_json_find(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

const cJSON *qk_json_find_at(const cJSON *object, int index)
{
    char key[16];
    snprintf(key, sizeof key, "%d", index);
    return qk_json_find(object, key);
}

void qk_json_add_at(cJSON *object, int index, cJSON *value)
{
    char key[16];
    snprintf(key, sizeof key, "%d", index);
    cJSON_AddItemToObject(object, key, value);
}

double qk_json_find_number(const cJSON *object, const char *key)
{
    return qk_json_as_number(cJSON_GetObjectItemCaseSensitive(object, key));
}

const char *qk_json_find_text(const cJSON *object, const char *key)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(value) ? value->valuestring : NULL;
}

cJSON *qk_json_number(double value)
{
    return isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull();
}

cJSON *qk_json_numbers(const double *values, int64_t count)
{
    cJSON *array = cJSON_CreateArray();
    for (int64_t i = 0; i < count; i++)
        cJSON_AddItemToArray(array, qk_json_number(values[i]));
    return array;
}

void qk_json_add_number(cJSON *object, const char *key, double value)
{
    cJSON_AddItemToObject(object, key, qk_json_number(value));
}

/* cJSON takes a number's text for good when it reads back to within a rounding error; ours must
 * read back to the same bits, so every number is spelled here. */
static void spell_numbers(cJSON *value)
{
    if (cJSON_IsNumber(value)) {
        char text[32];
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, value->valuedouble);
            if (strtod(text, NULL) == value->valuedouble)
                break;
        }
        value->type = (value->type & ~0xFF) | cJSON_Raw; /* the higher bits own key and text */
        value->valuestring = qk_strdup(text);
    }
    cJSON *child;
    cJSON_ArrayForEach(child, value) spell_numbers(child);
}

static void print(const cJSON *value, bool pretty, FILE *to)
{
    cJSON *copy = cJSON_Duplicate(value, true);
    spell_numbers(copy);
    char *text = pretty ? cJSON_Print(copy) : cJSON_PrintUnformatted(copy);
    cJSON_Delete(copy);
    fputs(text, to);
    putc('\n', to);
    free(text);
}

void qk_json_print_line(const cJSON *value, FILE *to)
{
    print(value, false, to);
}

void qk_json_print_pretty(const cJSON *value, FILE *to)
{
    print(value, true, to);
}
