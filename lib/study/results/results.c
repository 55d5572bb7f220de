#include "study/results/results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/params.h"
#include "study/measure/stats.h"

/* ---- arrays of numbers and nulls ---- */

static int read_element(const cJSON *item, double *value)
{
    if (cJSON_IsNull(item))
        *value = NAN;
    else if (cJSON_IsNumber(item) && isfinite(item->valuedouble)) /* 1e999 is not */
        *value = item->valuedouble;
    else
        return -1;
    return 0;
}

/* An array of exactly `count` numbers or nulls into `to`. */
static int read_series(const cJSON *array, int count, double *to, const char *key,
                       const char *where, struct qk_err *err)
{
    if (!cJSON_IsArray(array))
        return qk_fail(err, "%s: '%s' is not an array", where, key);
    if (cJSON_GetArraySize(array) != count)
        return qk_fail(err, "%s: '%s' has %d values, 'tokens' has %d", where, key,
                       cJSON_GetArraySize(array), count);
    int i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        if (read_element(item, &to[i++]) != 0)
            return qk_fail(err, "%s: '%s' holds something that is no number at index %d", where,
                           key, i - 1);
    }
    return 0;
}

static double *nan_array(int64_t count)
{
    double *a = qk_alloc((size_t)count + 1, sizeof *a);
    for (int64_t i = 0; i <= count; i++)
        a[i] = NAN;
    return a;
}

/* A member [points]; all NaN when it may be missing and is. */
static int member_series(const struct qk_results *r, const char *key, bool required, double **to,
                         const char *where, struct qk_err *err)
{
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(r->json, key);
    *to = nan_array(r->points);
    if (array == NULL && required)
        return qk_fail(err, "%s: there is no '%s'", where, key);
    return array == NULL ? 0 : read_series(array, r->points, *to, key, where, err);
}

/* {"0": [...], "1": [...], ...}: layer l of `layers` into row l; layers that are missing stay NaN
 * unless `whole`. */
static int read_layers(const struct qk_results *r, const cJSON *object, bool whole, double *to,
                       const char *key, const char *where, struct qk_err *err)
{
    for (int l = 0; l < r->layers; l++) {
        char label[64];
        snprintf(label, sizeof label, "%s.%d", key, l);
        const cJSON *row = qk_json_find_at(object, l);
        if (row == NULL && whole)
            return qk_fail(err, "%s: '%s' has no layer %d", where, key, l);
        if (row != NULL &&
            read_series(row, r->points, to + (int64_t)l * r->points, label, where, err) != 0)
            return -1;
    }
    return 0;
}

/* ---- one run ---- */

static int read_tokens(struct qk_results *r, const char *where, struct qk_err *err)
{
    const cJSON *array = qk_json_array(r->json, "tokens", where, err);
    if (array == NULL)
        return -1;
    r->points = cJSON_GetArraySize(array);
    if (r->points == 0)
        return qk_fail(err, "%s: 'tokens' is empty", where);
    r->tokens = nan_array(r->points);
    if (read_series(array, r->points, r->tokens, "tokens", where, err) != 0)
        return -1;
    for (int i = 0; i < r->points; i++)
        if (!(r->tokens[i] >= 0) || (i > 0 && !(r->tokens[i] > r->tokens[i - 1])))
            return qk_fail(err, "%s: 'tokens' does not rise at index %d", where, i);
    return 0;
}

static int read_layer_pr(struct qk_results *r, const char *where, struct qk_err *err)
{
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(r->json, "layer_pr");
    if (!cJSON_IsObject(object))
        return qk_fail(err, "%s: there is no object 'layer_pr'", where);
    r->layers = cJSON_GetArraySize(object);
    if (r->layers == 0)
        return qk_fail(err, "%s: 'layer_pr' is empty", where);
    r->layer_pr = nan_array((int64_t)r->layers * r->points);
    return read_layers(r, object, true, r->layer_pr, "layer_pr", where, err);
}

static int read_gamma_cv(struct qk_results *r, const char *where, struct qk_err *err)
{
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(r->json, "gamma_cv");
    if (object == NULL || cJSON_GetArraySize(object) == 0)
        return 0;
    r->gamma_cv = nan_array((int64_t)r->layers * r->points);
    return read_layers(r, object, false, r->gamma_cv, "gamma_cv", where, err);
}

/* Mean and deviation of |gain| of each layer; the head dimension is its length. */
static int read_gamma_final(struct qk_results *r, const char *where, struct qk_err *err)
{
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(r->json, "gamma_final");
    if (object == NULL || cJSON_GetArraySize(object) == 0)
        return 0;
    r->gamma_mean = nan_array(r->layers);
    r->gamma_sd = nan_array(r->layers);
    for (int l = 0; l < r->layers; l++) {
        const cJSON *row = qk_json_find_at(object, l), *item;
        int n = cJSON_GetArraySize(row), i = 0;
        double *values = nan_array(n);
        bool bad = n == 0 || !cJSON_IsArray(row);
        cJSON_ArrayForEach(item, row)
        {
            bad |= read_element(item, &values[i]) != 0;
            values[i] = fabs(values[i]);
            i++;
        }
        r->gamma_mean[l] = qk_stats_mean(values, n);
        r->gamma_sd[l] = qk_stats_sd(values, n);
        free(values);
        if (bad)
            return qk_fail(err, "%s: 'gamma_final' has no list of numbers for layer %d", where, l);
        r->head_dim = n;
    }
    return 0;
}

/* The original's tags tell its condition; ours say it in the config. */
static const char *norm_of_tag(const char *tag)
{
    static const char *const known[][2] = {{"QK", "learned"},
                                           {"QK_learned", "learned"},
                                           {"QK_frozen", "frozen"},
                                           {"QK_scalar", "scalar"},
                                           {"NoQK", "none"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(tag, known[i][0]) == 0)
            return known[i][1];
    return NULL;
}

static void read_facts(struct qk_results *r)
{
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(r->json, "config");
    r->site = qk_json_find_text(r->json, "site");
    r->qk_norm = qk_json_find_text(config, "qk_norm");
    if (r->qk_norm == NULL)
        r->qk_norm = qk_json_find_text(r->json, "qk_norm");
    if (r->qk_norm == NULL)
        r->qk_norm = norm_of_tag(r->tag);
    double seed = qk_json_find_number(r->json, "seed"),
           dim = qk_json_find_number(r->json, "head_dim");
    r->has_seed = fabs(seed) < 9007199254740992.0; /* not NaN either */
    r->seed = r->has_seed ? (int64_t)seed : 0;
    if (dim >= 1 && dim <= 4096)
        r->head_dim = (int)dim;
    r->null_pr = qk_json_find_number(r->json, "null_pr");
}

static int parse_run(struct qk_results *r, const char *where, struct qk_err *err)
{
    if (!cJSON_IsObject(r->json))
        return qk_fail(err, "%s: not an object", where);
    if (qk_json_text(r->json, "tag", &r->tag, where, err) != 0 || read_tokens(r, where, err) != 0 ||
        read_layer_pr(r, where, err) != 0 ||
        member_series(r, "loss", true, &r->loss, where, err) != 0 ||
        member_series(r, "val_loss", true, &r->val_loss, where, err) != 0 ||
        member_series(r, "mean_pr", true, &r->mean_pr, where, err) != 0 ||
        member_series(r, "q_pr", false, &r->q_pr, where, err) != 0 ||
        member_series(r, "qk_pr", false, &r->qk_pr, where, err) != 0 ||
        member_series(r, "entropy", false, &r->entropy, where, err) != 0 ||
        member_series(r, "max_logit", false, &r->max_logit, where, err) != 0 ||
        read_gamma_cv(r, where, err) != 0 || read_gamma_final(r, where, err) != 0)
        return -1;
    read_facts(r);
    return 0;
}

int qk_results_parse(struct qk_results *r, const cJSON *json, const char *where, struct qk_err *err)
{
    *r = (struct qk_results){.json = json, .null_pr = NAN};
    if (parse_run(r, where, err) == 0)
        return 0;
    qk_results_free(r);
    return -1;
}

void qk_results_free(struct qk_results *r)
{
    double *arrays[] = {r->tokens,   r->loss,     r->val_loss,   r->mean_pr,
                        r->q_pr,     r->qk_pr,    r->entropy,    r->max_logit,
                        r->layer_pr, r->gamma_cv, r->gamma_mean, r->gamma_sd};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        free(arrays[i]);
    *r = (struct qk_results){.null_pr = NAN};
}

int qk_results_last(const double *series, int points)
{
    for (int i = points - 1; i >= 0; i--)
        if (!isnan(series[i]))
            return i;
    return -1;
}

double qk_results_end(const struct qk_results *r, const double *series)
{
    const int i = qk_results_last(series, r->points);
    return i < 0 ? NAN : series[i];
}

static bool all_have_val(const struct qk_condition *c, int point)
{
    bool all = true;
    for (int s = 0; s < c->n_seeds; s++)
        all = all && point < c->seeds[s].points && !isnan(c->seeds[s].val_loss[point]);
    return all;
}

int qk_condition_last_val(const struct qk_condition *a, const struct qk_condition *b)
{
    int point = a->seeds[0].points - 1;
    while (point >= 0 && !(all_have_val(a, point) && all_have_val(b, point)))
        point--;
    return point;
}

double qk_results_eval(const struct qk_results *r, const char *name)
{
    const cJSON *evals = cJSON_GetObjectItemCaseSensitive(r->json, "evals");
    return qk_json_find_number(cJSON_GetObjectItemCaseSensitive(evals, name), "value");
}

int64_t qk_results_parameters(const cJSON *file)
{
    struct qk_err ignored;
    struct qk_config c;
    struct qk_params p;
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(file, "config");
    if (config == NULL || qk_config_from_json(&c, config, "config", &ignored) != 0)
        return 0;
    qk_params_layout(&p, &c);
    int64_t total = p.total;
    qk_params_free(&p);
    return total;
}

/* ---- conditions ---- */

static int parse_condition(struct qk_condition *c, const cJSON *json, const char *where,
                           struct qk_err *err)
{
    char label[512];
    snprintf(label, sizeof label, "%.400s: %s", where, c->name);
    if (qk_results_parse(&c->mean, json, label, err) != 0)
        return -1;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "seeds");
    int n = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (list != NULL && n == 0)
        return qk_fail(err, "%s: 'seeds' is not a list of runs", label);
    c->seeds = qk_zalloc(n > 0 ? (size_t)n : 1, sizeof *c->seeds);
    if (n == 0) {
        c->n_seeds = 1;
        return qk_results_parse(&c->seeds[0], json, label, err);
    }
    for (int i = 0; i < n; i++) {
        snprintf(label, sizeof label, "%.400s: %s.seeds[%d]", where, c->name, i);
        if (qk_results_parse(&c->seeds[i], cJSON_GetArrayItem(list, i), label, err) != 0)
            return -1;
        c->n_seeds++;
    }
    return 0;
}

/* Same points and layers, so that any two may be subtracted. */
static int check_same_points(const struct qk_results *a, const struct qk_results *b,
                             const char *where, const char *what, struct qk_err *err)
{
    if (a->points != b->points)
        return qk_fail(err, "%s: %s have %d and %d points", where, what, a->points, b->points);
    for (int i = 0; i < a->points; i++)
        if (a->tokens[i] != b->tokens[i])
            return qk_fail(err, "%s: %s differ in tokens at point %d (%.0f and %.0f)", where, what,
                           i, a->tokens[i], b->tokens[i]);
    if (a->layers != b->layers)
        return qk_fail(err, "%s: %s have %d and %d layers", where, what, a->layers, b->layers);
    if (a->site != NULL && b->site != NULL && strcmp(a->site, b->site) != 0)
        return qk_fail(err, "%s: %s are measured at %s and %s", where, what, a->site, b->site);
    return 0;
}

static int check_same_seeds(const struct qk_condition *a, const struct qk_condition *b,
                            const char *where, struct qk_err *err)
{
    if (a->n_seeds != b->n_seeds)
        return qk_fail(err, "%s: %s has %d seeds, %s has %d: they cannot be paired", where, a->name,
                       a->n_seeds, b->name, b->n_seeds);
    for (int i = 0; i < a->n_seeds; i++)
        if (a->seeds[i].has_seed && b->seeds[i].has_seed && a->seeds[i].seed != b->seeds[i].seed)
            return qk_fail(err, "%s: run %d of %s has seed %lld, of %s %lld: they cannot be paired",
                           where, i, a->name, (long long)a->seeds[i].seed, b->name,
                           (long long)b->seeds[i].seed);
    return 0;
}

static int check_consistent(const struct qk_combined *c, const char *where, struct qk_err *err)
{
    const struct qk_condition *first = &c->at[0];
    for (int i = 0; i < c->count; i++) {
        const struct qk_condition *other = &c->at[i];
        char what[64];
        snprintf(what, sizeof what, "%s and %s", first->name, other->name);
        if (check_same_points(&first->mean, &other->mean, where, what, err) != 0 ||
            check_same_seeds(first, other, where, err) != 0)
            return -1;
        snprintf(what, sizeof what, "the seeds of %s", other->name);
        for (int s = 0; s < other->n_seeds; s++)
            if (check_same_points(&other->mean, &other->seeds[s], where, what, err) != 0)
                return -1;
    }
    return 0;
}

bool qk_condition_may_be_called(const char *name)
{
    static const char *const taken[] = {"provenance", "elapsed_s", "config"};
    const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const char rest[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(name, taken[i]) == 0)
            return false;
    return n > 0 && n < QK_CONDITION_NAME && strspn(name, letters) > 0 && strspn(name, rest) == n;
}

/* Other objects may stand beside the conditions. */
static bool looks_like_results(const cJSON *json)
{
    return cJSON_GetObjectItemCaseSensitive(json, "mean_pr") ||
           cJSON_GetObjectItemCaseSensitive(json, "layer_pr");
}

static int parse_conditions(struct qk_combined *c, const char *where, struct qk_err *err)
{
    if (!cJSON_IsObject(c->json))
        return qk_fail(err, "%s: not an object", where);
    const cJSON *json;
    cJSON_ArrayForEach(json, c->json)
    {
        if (!looks_like_results(json) || !qk_condition_may_be_called(json->string))
            continue;
        if (c->count == QK_MOST_CONDITIONS)
            return qk_fail(err, "%s: more than %d conditions", where, QK_MOST_CONDITIONS);
        struct qk_condition *condition = &c->at[c->count++];
        snprintf(condition->name, sizeof condition->name, "%s", json->string);
        if (parse_condition(condition, json, where, err) != 0)
            return -1;
    }
    if (c->count == 0)
        return qk_fail(err, "%s: no condition A, B, ... in it", where);
    c->elapsed_s = qk_json_find_number(c->json, "elapsed_s");
    return check_consistent(c, where, err);
}

int qk_combined_parse(struct qk_combined *c, cJSON *json, const char *where, struct qk_err *err)
{
    *c = (struct qk_combined){.json = json, .elapsed_s = NAN};
    if (parse_conditions(c, where, err) == 0)
        return 0;
    qk_combined_free(c);
    return -1;
}

int qk_combined_read(struct qk_combined *c, const char *path, struct qk_err *err)
{
    *c = (struct qk_combined){.elapsed_s = NAN};
    cJSON *json = qk_json_read(path, err);
    return json == NULL ? -1 : qk_combined_parse(c, json, path, err);
}

void qk_combined_free(struct qk_combined *c)
{
    for (int i = 0; i < c->count; i++) {
        qk_results_free(&c->at[i].mean);
        for (int s = 0; s < c->at[i].n_seeds; s++)
            qk_results_free(&c->at[i].seeds[s]);
        free(c->at[i].seeds);
    }
    cJSON_Delete(c->json);
    *c = (struct qk_combined){.elapsed_s = NAN};
}

const struct qk_condition *qk_combined_find(const struct qk_combined *c, const char *name)
{
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->at[i].name, name) == 0)
            return &c->at[i];
    return NULL;
}

const char *qk_words_for(const char *const pairs[][2], size_t count, const char *key,
                         const char *otherwise)
{
    for (size_t i = 0; key != NULL && i < count; i++)
        if (strcmp(key, pairs[i][0]) == 0)
            return pairs[i][1];
    return otherwise;
}

const char *qk_condition_name(const struct qk_condition *c)
{
    static const char *const names[][2] = {{"learned", "learned gain"},
                                           {"frozen", "frozen gain"},
                                           {"scalar", "scalar gain"},
                                           {"none", "no QK-Norm"}};
    return qk_words_for(names, sizeof names / sizeof names[0], c->mean.qk_norm, c->mean.tag);
}

const char *qk_condition_label(const char *name, char text[QK_CONDITION_NAME])
{
    snprintf(text, QK_CONDITION_NAME, "%s", name);
    for (char *c = text; *c != '\0'; c++)
        if (*c == '_')
            *c = '+';
    return text;
}
