/* results.json by layer: attention, queries, spectra, the gain beside the keys' dimensions; and
 * what evaluations add. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/results/gatherparts.h"

/* ---- a series per layer ---- */

/* A number of one layer of a probe; `text` is what the caller gave along. */
typedef double (*layer_number)(const cJSON *probe, int layer, const char *text);

static double mean_of_list(const cJSON *probe, int layer, const char *key)
{
    const cJSON *item,
        *list = cJSON_GetObjectItemCaseSensitive(qk_gather_layer_at(probe, layer), key);
    double sum = 0;
    cJSON_ArrayForEach(item, list) sum += qk_json_as_number(item);
    const int n = cJSON_GetArraySize(list);
    return n > 0 ? sum / n : NAN;
}

static double most_of_list(const cJSON *probe, int layer, const char *key)
{
    const cJSON *item;
    double most = NAN;
    cJSON_ArrayForEach(item,
                       cJSON_GetObjectItemCaseSensitive(qk_gather_layer_at(probe, layer), key))
        most = fmax(most, qk_json_as_number(item));
    return most;
}

static double query_rank(const cJSON *probe, int layer, const char *site)
{
    return qk_gather_layer(probe, layer, "q_pr", site);
}

/* {"0": [a number per point], ...} under `key`, left out when no point has one. */
static void add_layers(const struct qk_gather_run *r, cJSON *out, const char *key,
                       layer_number number, const char *text)
{
    cJSON *object = cJSON_CreateObject();
    bool any = false;
    for (int l = 0; l < r->layers; l++) {
        cJSON *row = cJSON_CreateArray();
        qk_json_add_at(object, l, row);
        for (int i = 0; i < r->count; i++) {
            const double value = number(r->points[i].probe, l, text);
            any |= !isnan(value);
            cJSON_AddItemToArray(row, qk_json_number(value));
        }
    }
    if (any)
        cJSON_AddItemToObject(out, key, object);
    else
        cJSON_Delete(object);
}

/* ---- queries and the bilinear form at every site ---- */

static double mean_query_rank(const struct qk_gather_run *r, const cJSON *probe, const char *site)
{
    double sum = 0;
    for (int l = 0; l < r->layers; l++)
        sum += query_rank(probe, l, site);
    return sum / r->layers;
}

static double mean_form_rank(const struct qk_gather_run *r, const cJSON *probe, const char *site)
{
    const cJSON *m;
    double sum = 0;
    int count = 0;
    (void)r;
    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(probe, "measures"))
    {
        if (!qk_gather_text_is(m, "of", "qk") || !qk_gather_text_is(m, "site", site))
            continue;
        sum += qk_json_find_number(m, "pr");
        count++;
    }
    return count > 0 ? sum / count : NAN;
}

static void add_rank_by_site(const struct qk_gather_run *r, cJSON *out, const char *key,
                             double (*rank)(const struct qk_gather_run *, const cJSON *,
                                            const char *))
{
    cJSON *object = cJSON_CreateObject();
    const cJSON *site;
    double *v = qk_alloc((size_t)r->count, sizeof *v);
    cJSON_ArrayForEach(site, cJSON_GetObjectItemCaseSensitive(r->points[0].probe, "mean_pr"))
    {
        for (int i = 0; i < r->count; i++)
            v[i] = rank(r, r->points[i].probe, site->string);
        qk_gather_series(object, site->string, v, r->count);
    }
    free(v);
    if (object->child != NULL)
        cJSON_AddItemToObject(out, key, object);
    else
        cJSON_Delete(object);
}

/* ---- spectra ---- */

/* The uncentred keys of one layer at the headline site: the mean over heads of sigma_i / sigma_1
 * added to `rows`; false when the probe holds no spectra. */
static bool add_spectrum(const struct qk_gather_run *r, const cJSON *probe, int layer, cJSON *rows)
{
    const cJSON *m, *item;
    double *sum = NULL;
    int heads = 0, n = 0;
    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(probe, "measures"))
    {
        const cJSON *sigma = cJSON_GetObjectItemCaseSensitive(m, "sigma");
        if (!qk_gather_text_is(m, "of", "k") || !qk_gather_text_is(m, "site", r->g->site) ||
            cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(m, "centred")) ||
            qk_json_find_number(m, "layer") != layer || cJSON_GetArraySize(sigma) == 0)
            continue;
        if (sum == NULL) {
            n = cJSON_GetArraySize(sigma);
            sum = qk_zalloc((size_t)n, sizeof *sum);
        }
        const double first = qk_json_as_number(sigma->child);
        int i = 0;
        cJSON_ArrayForEach(item, sigma)
        {
            if (i < n)
                sum[i++] += qk_json_as_number(item) / first;
        }
        for (; i < n; i++)
            sum[i] = NAN;
        heads++;
    }
    if (heads == 0)
        return false;
    for (int i = 0; i < n; i++)
        sum[i] /= heads;
    cJSON_AddItemToArray(rows, qk_json_numbers(sum, n));
    free(sum);
    return true;
}

/* Only some probes may have been made with --spectra: the points that were are listed. */
static void add_spectra(const struct qk_gather_run *r, cJSON *out)
{
    cJSON *spectra = cJSON_CreateObject(), *tokens = cJSON_AddArrayToObject(spectra, "tokens");
    cJSON_AddStringToObject(spectra, "site", r->g->site);
    cJSON *layers = cJSON_AddObjectToObject(spectra, "layers");
    for (int l = 0; l < r->layers; l++) {
        cJSON *rows = cJSON_CreateArray();
        qk_json_add_at(layers, l, rows);
        for (int i = 0; i < r->count; i++)
            if (add_spectrum(r, r->points[i].probe, l, rows) && l == 0)
                cJSON_AddItemToArray(tokens, qk_json_number(r->points[i].tokens));
    }
    if (tokens->child != NULL)
        cJSON_AddItemToObject(out, "spectra", spectra);
    else
        cJSON_Delete(spectra);
}

/* ---- the gain beside the dimensions ---- */

/* At pre_norm the gain has not yet touched the keys; elsewhere it is in what it is compared with.
 * Behind the rotary embedding dimensions are mixed. */
static const char *contribution_site(const cJSON *by_site)
{
    return cJSON_HasObjectItem(by_site, "pre_norm")    ? "pre_norm"
           : cJSON_HasObjectItem(by_site, "post_norm") ? "post_norm"
                                                       : NULL;
}

static cJSON *contribution_of(const cJSON *layer)
{
    const cJSON *by_site = cJSON_GetObjectItemCaseSensitive(layer, "gamma_vs_svd"), *item;
    const cJSON *gain = cJSON_GetObjectItemCaseSensitive(layer, "gamma_k");
    const cJSON *values = cJSON_GetObjectItemCaseSensitive(gain, "values");
    const char *site = contribution_site(by_site);
    const cJSON *at = cJSON_GetObjectItemCaseSensitive(by_site, site != NULL ? site : "");
    const cJSON *c = cJSON_GetObjectItemCaseSensitive(at, "c");
    if (c == NULL || cJSON_GetArraySize(c) != cJSON_GetArraySize(values))
        return NULL; /* no gain vector */
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "site", site);
    cJSON *gamma = cJSON_AddArrayToObject(o, "gamma");
    cJSON_ArrayForEach(item, values)
        cJSON_AddItemToArray(gamma, qk_json_number(fabs(qk_json_as_number(item))));
    cJSON_AddItemToObject(o, "c", cJSON_Duplicate(c, 1));
    qk_json_add_number(o, "spearman", qk_json_find_number(at, "rho"));
    cJSON *sites = cJSON_AddObjectToObject(o, "spearman_sites");
    cJSON_ArrayForEach(item, by_site)
        qk_json_add_number(sites, item->string, qk_json_find_number(item, "rho"));
    return o;
}

static void add_contribution(const struct qk_gather_run *r, cJSON *out)
{
    const cJSON *probe = r->points[r->count - 1].probe;
    cJSON *object = cJSON_CreateObject();
    for (int l = 0; l < r->layers; l++) {
        cJSON *one = contribution_of(qk_gather_layer_at(probe, l));
        if (one != NULL)
            qk_json_add_at(object, l, one);
    }
    if (object->child != NULL)
        cJSON_AddItemToObject(out, "contribution", object);
    else
        cJSON_Delete(object);
}

void qk_gather_by_layer(const struct qk_gather_run *r, cJSON *out)
{
    const cJSON *last = r->points[r->count - 1].probe;
    add_layers(r, out, "q_layer_pr", query_rank, r->g->site);
    add_layers(r, out, "layer_entropy", mean_of_list, "entropy");
    add_layers(r, out, "layer_max_logit", most_of_list, "max_logit");
    add_rank_by_site(r, out, "q_pr_sites", mean_query_rank);
    add_rank_by_site(r, out, "qk_pr_sites", mean_form_rank);
    add_spectra(r, out);
    if (qk_gather_text_is(last, "qk_norm", "learned"))
        add_contribution(r, out);
}

/* ---- evaluations ---- */

const char *qk_gather_eval_path(const char *operand, struct qk_err *err)
{
    const char *equals = strchr(operand, '=');
    if (equals == NULL || equals == operand || equals[1] == '\0')
        return qk_fail_null(err, "'%s' is not NAME=FILE, such as hellaswag=eval.json", operand);
    return equals + 1;
}

/* An eval.json without what concerns the file alone. */
static cJSON *read_eval(const char *path, struct qk_err *err)
{
    static const char *const dropped[] = {"kind", "version", "file", "provenance"};
    const char *kind = NULL, *task = NULL;
    cJSON *json = qk_json_read(path, err);
    if (json == NULL)
        return NULL;
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(json, "value");
    int bad = 0;
    if (!cJSON_IsObject(json))
        bad = qk_fail(err, "%s: not an object", path);
    else if (qk_json_text(json, "kind", &kind, path, err) != 0)
        bad = -1;
    else if (strcmp(kind, "eval") != 0)
        bad = qk_fail(err, "%s: kind is '%s', expected 'eval'", path, kind);
    else if (qk_json_text(json, "task", &task, path, err) != 0)
        bad = -1;
    else if (!cJSON_IsNumber(value) && !cJSON_IsNull(value))
        bad = qk_fail(err, "%s: there is no number 'value'", path);
    if (bad) {
        cJSON_Delete(json);
        return NULL;
    }
    for (size_t i = 0; i < sizeof dropped / sizeof dropped[0]; i++)
        cJSON_DeleteItemFromObjectCaseSensitive(json, dropped[i]);
    return json;
}

int qk_gather_evals(const struct qk_gather *g, cJSON *out, struct qk_err *err)
{
    cJSON *evals = g->evals.count > 0 ? cJSON_AddObjectToObject(out, "evals") : NULL;
    for (size_t i = 0; i < g->evals.count; i++) {
        const char *path = qk_gather_eval_path(g->evals.at[i], err);
        if (path == NULL)
            return -1;
        char *name = qk_strdup(g->evals.at[i]);
        name[strcspn(name, "=")] = '\0';
        cJSON *eval = NULL;
        if (cJSON_HasObjectItem(evals, name))
            qk_fail(err, "%s: there are two evaluations named '%s'", path, name);
        else if ((eval = read_eval(path, err)) != NULL)
            cJSON_AddItemToObject(evals, name, eval);
        free(name);
        if (eval == NULL)
            return -1;
    }
    return 0;
}
