/* Results made by hand for the tests of aggregation: the published trajectory with made-up layers
 * that average to it. */
#ifndef QK_TESTS_CAUSAL_H
#define QK_TESTS_CAUSAL_H

#include "check.h"

#include "base/json.h"
#include "study/judge/published.h"
#include "study/results/results.h"

enum { CAUSAL_LAYERS = 4 };

/* Layer l deviates from the mean by (l - 1.5) * tilt at the end, in proportion to tokens. */
static inline cJSON *causal_layers(int condition)
{
    static const double tilt[3] = {2.0, 1.0, 1.5};
    cJSON *layers = cJSON_CreateObject();
    for (int l = 0; l < CAUSAL_LAYERS; l++) {
        char name[16];
        snprintf(name, sizeof name, "%d", l);
        cJSON *row = cJSON_AddArrayToObject(layers, name);
        for (int i = 0; i < QK_PUBLISHED_POINTS; i++)
            cJSON_AddItemToArray(
                row,
                cJSON_CreateNumber(qk_published_causal50m[i].at[condition].pr +
                                   (l - 1.5) * tilt[condition] * i / (QK_PUBLISHED_POINTS - 1)));
    }
    return layers;
}

/* {"0": [...]} of one value at every point. */
static inline cJSON *causal_constant(double value)
{
    cJSON *layers = cJSON_CreateObject();
    for (int l = 0; l < CAUSAL_LAYERS; l++) {
        char name[16];
        snprintf(name, sizeof name, "%d", l);
        cJSON *row = cJSON_AddArrayToObject(layers, name);
        for (int i = 0; i < QK_PUBLISHED_POINTS; i++)
            cJSON_AddItemToArray(row, cJSON_CreateNumber(value * i));
    }
    return layers;
}

static inline cJSON *causal_gain(void)
{
    cJSON *layers = cJSON_CreateObject();
    for (int l = 0; l < CAUSAL_LAYERS; l++) {
        char name[16];
        snprintf(name, sizeof name, "%d", l);
        const double values[4] = {1.0 + 0.1 * l, -1.2 - 0.1 * l, 1.1 + 0.1 * l, 1.3 + 0.1 * l};
        cJSON_AddItemToObject(layers, name, qk_json_numbers(values, 4));
    }
    return layers;
}

/* One run in the original's style: condition 0, 1, 2 and an amount added to every PR. */
static inline cJSON *causal_results(int condition, double shift)
{
    static const char *const tags[3] = {"QK", "QK_frozen", "NoQK"};
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "tag", tags[condition]);
    cJSON *tokens = cJSON_AddArrayToObject(json, "tokens");
    cJSON *loss = cJSON_AddArrayToObject(json, "loss");
    cJSON *val = cJSON_AddArrayToObject(json, "val_loss");
    cJSON *pr = cJSON_AddArrayToObject(json, "mean_pr");
    for (int i = 0; i < QK_PUBLISHED_POINTS; i++) {
        const struct qk_published_point *p = &qk_published_causal50m[i];
        cJSON_AddItemToArray(tokens, cJSON_CreateNumber(p->tokens));
        cJSON_AddItemToArray(loss, qk_json_number(p->at[condition].train));
        cJSON_AddItemToArray(val, qk_json_number(p->at[condition].val));
        cJSON_AddItemToArray(pr, cJSON_CreateNumber(p->at[condition].pr + shift));
    }
    cJSON_AddItemToObject(json, "layer_pr", causal_layers(condition));
    cJSON_AddItemToObject(json, "gamma_cv",
                          condition == 2 ? cJSON_CreateObject()
                                         : causal_constant(condition == 0 ? 0.01 : 0));
    if (condition == 0)
        cJSON_AddItemToObject(json, "gamma_final", causal_gain());
    return json;
}

/* A letter: one run, or with shifts for `seeds` runs their first as the mean (shifts sum to 0). */
static inline cJSON *causal_condition(int condition, const double *shift, int seeds)
{
    cJSON *json = causal_results(condition, 0);
    if (seeds < 2)
        return json;
    cJSON *list = cJSON_AddArrayToObject(json, "seeds");
    for (int i = 0; i < seeds; i++) {
        cJSON *run = causal_results(condition, shift[i]);
        cJSON_AddNumberToObject(run, "seed", 100 + i);
        cJSON_AddItemToArray(list, run);
    }
    return json;
}

static inline cJSON *causal_combined(void)
{
    cJSON *json = cJSON_CreateObject();
    for (int i = 0; i < 3; i++) {
        char letter[2] = {(char)('A' + i), '\0'};
        cJSON_AddItemToObject(json, letter, causal_condition(i, NULL, 1));
    }
    cJSON_AddNullToObject(json, "elapsed_s");
    return json;
}

/* A file of that text in a fresh folder; the name is malloc'd. */
static inline char *causal_file(const char *folder, const char *name, const char *text)
{
    char *path = qk_format("%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static inline char *causal_json_file(const char *folder, const char *name, const cJSON *json)
{
    char *text = cJSON_PrintUnformatted(json);
    char *path = causal_file(folder, name, text);
    free(text);
    return path;
}

#endif
