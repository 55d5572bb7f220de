#include "study/results/combine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "study/results/results.h"

/* ---- means of JSON ---- */

static cJSON *mean_of_numbers(const cJSON *const *values, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += qk_json_as_number(values[i]);
    return qk_json_number(sum / count);
}

/* The member `key` of every value; NULL when one lacks it. */
static const cJSON **members(const cJSON *const *values, int count, const char *key)
{
    const cJSON **list = qk_alloc((size_t)count, sizeof *list);
    for (int i = 0; i < count; i++) {
        list[i] = cJSON_GetObjectItemCaseSensitive(values[i], key);
        if (list[i] == NULL) {
            free(list);
            return NULL;
        }
    }
    return list;
}

static cJSON *mean_of_arrays(const cJSON *const *values, int count, const char *what,
                             struct qk_err *err)
{
    int n = cJSON_GetArraySize(values[0]);
    for (int i = 1; i < count; i++)
        if (!cJSON_IsArray(values[i]) || cJSON_GetArraySize(values[i]) != n)
            return qk_fail_null(err, "%s: the runs have lists of different length", what);
    /* cJSON lists are linked: walk them side by side instead of indexing. */
    const cJSON **at = qk_alloc((size_t)count, sizeof *at);
    for (int i = 0; i < count; i++)
        at[i] = values[i]->child;
    cJSON *mean = cJSON_CreateArray();
    for (int j = 0; j < n && mean != NULL; j++) {
        cJSON *item = qk_combine_mean(at, count, what, err);
        if (item == NULL) {
            cJSON_Delete(mean);
            mean = NULL;
            break;
        }
        cJSON_AddItemToArray(mean, item);
        for (int i = 0; i < count; i++)
            at[i] = at[i]->next;
    }
    free(at);
    return mean;
}

static cJSON *mean_of_objects(const cJSON *const *values, int count, const char *what,
                              struct qk_err *err)
{
    cJSON *mean = cJSON_CreateObject();
    const cJSON *member;
    cJSON_ArrayForEach(member, values[0])
    {
        const cJSON **list = members(values, count, member->string);
        if (list == NULL) /* what not all runs have has no mean */
            continue;
        char label[256];
        snprintf(label, sizeof label, "%.180s.%.60s", what, member->string);
        cJSON *item = qk_combine_mean(list, count, label, err);
        free(list);
        if (item == NULL) {
            cJSON_Delete(mean);
            return NULL;
        }
        cJSON_AddItemToObject(mean, member->string, item);
    }
    return mean;
}

cJSON *qk_combine_mean(const cJSON *const *values, int count, const char *what, struct qk_err *err)
{
    for (int i = 0; i < count; i++)
        if (cJSON_IsNull(values[i]))
            return cJSON_CreateNull();
    if (cJSON_IsNumber(values[0]))
        return mean_of_numbers(values, count);
    if (cJSON_IsArray(values[0]))
        return mean_of_arrays(values, count, what, err);
    if (cJSON_IsObject(values[0]))
        return mean_of_objects(values, count, what, err);
    return cJSON_Duplicate(values[0], 1);
}

/* ---- conditions ---- */

/* What stands before the "="; false when it is no name of a condition. */
static bool name_of(char name[QK_CONDITION_NAME], const char *operand)
{
    const size_t n = strcspn(operand, "=");
    if (n >= QK_CONDITION_NAME)
        return false;
    memcpy(name, operand, n);
    name[n] = '\0';
    return qk_condition_may_be_called(name);
}

const char *qk_combine_path(const char *operand, struct qk_err *err)
{
    char name[QK_CONDITION_NAME];
    const char *equals = strchr(operand, '=');
    if (equals == NULL || equals[1] == '\0' || !name_of(name, operand))
        return qk_fail_null(err, "'%s' is not NAME=FILE, such as A=results.json", operand);
    return equals + 1;
}

/* The runs of one condition, read and checked one by one. */
struct runs {
    cJSON **at;
    const char **paths;
    int count;
};

static void runs_free(struct runs *r)
{
    for (int i = 0; i < r->count; i++)
        cJSON_Delete(r->at[i]);
    free(r->at);
    free(r->paths);
}

static int check_run(const cJSON *json, const char *path, struct qk_err *err)
{
    struct qk_results results;
    if (qk_results_parse(&results, json, path, err) != 0)
        return -1;
    qk_results_free(&results);
    return 0;
}

static int runs_read(struct runs *r, const struct qk_strings *operands, const char *name,
                     struct qk_err *err)
{
    r->at = qk_zalloc(operands->count + 1, sizeof *r->at);
    r->paths = qk_zalloc(operands->count + 1, sizeof *r->paths);
    for (size_t i = 0; i < operands->count; i++) {
        char its[QK_CONDITION_NAME];
        const char *path = qk_combine_path(operands->at[i], err);
        if (path == NULL)
            return -1;
        if (!name_of(its, operands->at[i]) || strcmp(its, name) != 0)
            continue;
        cJSON *json = qk_json_read(path, err);
        if (json == NULL)
            return -1;
        r->paths[r->count] = path;
        r->at[r->count++] = json;
        if (check_run(json, path, err) != 0)
            return -1;
    }
    return 0;
}

/* All operands in a line: where a combination does not fit together. */
static void name_all(const struct qk_strings *operands, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < operands->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? " " : "", operands->at[i]);
}

static int check_distinct_seeds(const struct runs *r, const char *name, struct qk_err *err)
{
    for (int i = 0; i < r->count; i++)
        for (int j = 0; j < i; j++) {
            const cJSON *a = cJSON_GetObjectItemCaseSensitive(r->at[i], "seed");
            const cJSON *b = cJSON_GetObjectItemCaseSensitive(r->at[j], "seed");
            if (cJSON_IsNumber(a) && cJSON_IsNumber(b) && a->valuedouble == b->valuedouble)
                return qk_fail(err, "%s: condition %s has two runs of seed %.0f", r->paths[i], name,
                               a->valuedouble);
        }
    return 0;
}

/* The mean of the runs with `seeds` inside; takes the runs over. */
static cJSON *mean_of_runs(struct runs *r, const char *name, struct qk_err *err)
{
    const cJSON *const *values = (const cJSON *const *)r->at;
    cJSON *mean = qk_combine_mean(values, r->count, name, err);
    if (mean == NULL)
        return NULL;
    cJSON_DeleteItemFromObjectCaseSensitive(mean, "seed");
    cJSON_DeleteItemFromObjectCaseSensitive(mean, "provenance");
    cJSON_DeleteItemFromObjectCaseSensitive(mean, "made_from");
    cJSON *config = cJSON_GetObjectItemCaseSensitive(mean, "config");
    cJSON_DeleteItemFromObjectCaseSensitive(config, "seed");
    cJSON *list = cJSON_AddArrayToObject(mean, "seeds");
    for (int i = 0; i < r->count; i++)
        cJSON_AddItemToArray(list, r->at[i]);
    r->count = 0;
    return mean;
}

static int add_condition(cJSON *combined, const struct qk_strings *operands, const char *name,
                         struct qk_err *err)
{
    struct runs runs = {0};
    cJSON *json = NULL;
    int result = runs_read(&runs, operands, name, err);
    if (result == 0)
        result = check_distinct_seeds(&runs, name, err);
    if (result == 0 && runs.count == 1)
        json = runs.at[--runs.count];
    else if (result == 0 && runs.count > 1)
        json = mean_of_runs(&runs, name, err);
    if (result == 0 && runs.count > 0 && json == NULL)
        result = -1;
    if (json != NULL)
        cJSON_AddItemToObject(combined, name, json);
    runs_free(&runs);
    return result;
}

/* ---- time ---- */

static int add_elapsed(const char *path, double *sum, struct qk_err *err)
{
    struct qk_err ignored;
    cJSON *lines = qk_json_read_lines(path, err);
    if (lines == NULL) { /* one object over several lines? */
        cJSON *whole = qk_json_read(path, &ignored);
        if (whole == NULL)
            return -1;
        lines = cJSON_CreateArray();
        cJSON_AddItemToArray(lines, whole);
    }
    const cJSON *line;
    bool found = lines->child == NULL;
    cJSON_ArrayForEach(line, lines)
    {
        const cJSON *elapsed = cJSON_GetObjectItemCaseSensitive(line, "elapsed_s");
        if (cJSON_IsNumber(elapsed))
            *sum += elapsed->valuedouble;
        found |= cJSON_IsNumber(elapsed);
    }
    cJSON_Delete(lines);
    return found ? 0 : qk_fail(err, "%s: has no 'elapsed_s': is it a timing file?", path);
}

cJSON *qk_combine(const struct qk_strings *operands, const struct qk_strings *timings,
                  struct qk_err *err)
{
    cJSON *combined = cJSON_CreateObject();
    int result = 0;
    for (size_t i = 0; i < operands->count && result == 0; i++) {
        char name[QK_CONDITION_NAME];
        if (qk_combine_path(operands->at[i], err) == NULL || !name_of(name, operands->at[i]))
            result = -1;
        else if (!cJSON_HasObjectItem(combined, name))
            result = add_condition(combined, operands, name, err);
    }
    double elapsed = 0;
    for (size_t i = 0; i < timings->count && result == 0; i++)
        result = add_elapsed(timings->at[i], &elapsed, err);
    qk_json_add_number(combined, "elapsed_s", timings->count > 0 ? elapsed : NAN);
    if (result != 0) {
        cJSON_Delete(combined);
        return NULL;
    }
    /* Whether the conditions fit together is checked by the reader of the finished thing. */
    char all[300];
    struct qk_combined check;
    name_all(operands, all, sizeof all);
    if (qk_combined_parse(&check, combined, all, err) != 0)
        return NULL;
    check.json = NULL;
    qk_combined_free(&check);
    return combined;
}
