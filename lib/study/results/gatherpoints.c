/* The keys that every results.json has, point by point, and the facts of the run. */
#include "study/results/gatherparts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- from one probe ---- */

const cJSON *qk_gather_layer_at(const cJSON *probe, int layer)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(probe, "layers"), layer);
}

double qk_gather_layer(const cJSON *probe, int layer, const char *key, const char *site)
{
    const cJSON *at = qk_gather_layer_at(probe, layer);
    const cJSON *by_site = cJSON_GetObjectItemCaseSensitive(at, key);
    return qk_json_find_number(by_site, site);
}

static double mean_over_layers(const struct qk_gather_run *r, const cJSON *probe, const char *key,
                               const char *site)
{
    double sum = 0;
    for (int l = 0; l < r->layers; l++)
        sum += qk_gather_layer(probe, l, key, site);
    return sum / r->layers;
}

bool qk_gather_text_is(const cJSON *object, const char *key, const char *text)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) && strcmp(item->valuestring, text) == 0;
}

/* Mean over the uncentred entries of measures[] for `of` at the headline site; NaN for none. */
static double mean_measure(const struct qk_gather_run *r, const cJSON *probe, const char *of,
                           const char *key)
{
    double sum = 0;
    int count = 0;
    const cJSON *m;
    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(probe, "measures"))
    {
        if (!qk_gather_text_is(m, "of", of) || !qk_gather_text_is(m, "site", r->g->site) ||
            cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(m, "centred")))
            continue;
        sum += qk_json_find_number(m, key);
        count++;
    }
    return count > 0 ? sum / count : NAN;
}

/* Mean, or largest, of the per-head lists layers[].key. */
static double over_heads(const cJSON *probe, const char *key, bool largest)
{
    double sum = 0, most = -INFINITY;
    int count = 0;
    const cJSON *layer, *item;
    cJSON_ArrayForEach(layer, cJSON_GetObjectItemCaseSensitive(probe, "layers"))
    {
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(layer, key))
        {
            sum += qk_json_as_number(item);
            most = fmax(most, qk_json_as_number(item));
            count++;
        }
    }
    if (count == 0)
        return NAN;
    return largest ? most : sum / count;
}

static const cJSON *gain_of(const cJSON *probe, int layer)
{
    return cJSON_GetObjectItemCaseSensitive(qk_gather_layer_at(probe, layer), "gamma_k");
}

/* ---- the parts of the output ---- */

static void add_tokens(const struct qk_gather_run *r, cJSON *out)
{
    cJSON *tokens = cJSON_AddArrayToObject(out, "tokens");
    for (int i = 0; i < r->count; i++)
        cJSON_AddItemToArray(tokens, qk_json_number(r->points[i].tokens));
}

/* Mean loss of the steps in (previous point, point], null where there are none. */
static void add_loss(const struct qk_gather_run *r, cJSON *out)
{
    cJSON *loss = cJSON_AddArrayToObject(out, "loss");
    const cJSON *line = r->log->child;
    for (int i = 0; i < r->count; i++) {
        double sum = 0;
        int steps = 0;
        for (; line != NULL; line = line->next) {
            double tokens = qk_json_find_number(line, "tokens_seen");
            const cJSON *value = cJSON_GetObjectItemCaseSensitive(line, "loss");
            if (tokens > r->points[i].tokens)
                break;
            if (value == NULL) /* an evaluation before the first step */
                continue;
            sum += qk_json_as_number(value);
            steps++;
        }
        cJSON_AddItemToArray(loss, qk_json_number(steps > 0 && i > 0 ? sum / steps : NAN));
    }
}

static void add_val_loss(const struct qk_gather_run *r, cJSON *out)
{
    cJSON *list = cJSON_AddArrayToObject(out, "val_loss");
    for (int i = 0; i < r->count; i++) {
        double value = NAN;
        const cJSON *line;
        cJSON_ArrayForEach(line, r->log)
        {
            const cJSON *val = cJSON_GetObjectItemCaseSensitive(line, "val_loss");
            const cJSON *tokens = cJSON_GetObjectItemCaseSensitive(line, "tokens_seen");
            if (val != NULL && qk_json_as_number(tokens) == r->points[i].tokens)
                value = qk_json_as_number(val);
        }
        cJSON_AddItemToArray(list, qk_json_number(value));
    }
}

static void add_layer_pr(const struct qk_gather_run *r, cJSON *out)
{
    cJSON *object = cJSON_AddObjectToObject(out, "layer_pr");
    for (int l = 0; l < r->layers; l++) {
        cJSON *row = cJSON_CreateArray();
        qk_json_add_at(object, l, row);
        for (int i = 0; i < r->count; i++)
            cJSON_AddItemToArray(
                row, qk_json_number(qk_gather_layer(r->points[i].probe, l, "k_pr", r->g->site)));
    }
}

static void add_gains(const struct qk_gather_run *r, cJSON *out, bool learned)
{
    cJSON *cv = cJSON_AddObjectToObject(out, "gamma_cv");
    cJSON *final = learned ? cJSON_AddObjectToObject(out, "gamma_final") : NULL;
    for (int l = 0; l < r->layers && gain_of(r->points[0].probe, l) != NULL; l++) {
        cJSON *row = cJSON_CreateArray();
        qk_json_add_at(cv, l, row);
        for (int i = 0; i < r->count; i++) {
            const cJSON *gain = gain_of(r->points[i].probe, l);
            cJSON_AddItemToArray(row, qk_json_number(qk_json_find_number(gain, "cv")));
        }
        const cJSON *last = gain_of(r->points[r->count - 1].probe, l);
        const cJSON *values = cJSON_GetObjectItemCaseSensitive(last, "values");
        if (final != NULL && cJSON_IsArray(values))
            qk_json_add_at(final, l, cJSON_Duplicate(values, 1));
    }
}

/* mean_pr of every site all probes have, as lists. */
static void add_sites(const struct qk_gather_run *r, cJSON *out)
{
    cJSON *object = cJSON_AddObjectToObject(out, "mean_pr_sites");
    const cJSON *site;
    cJSON_ArrayForEach(site, cJSON_GetObjectItemCaseSensitive(r->points[0].probe, "mean_pr"))
    {
        cJSON *list = cJSON_AddArrayToObject(object, site->string);
        for (int i = 0; i < r->count; i++) {
            const cJSON *pr = cJSON_GetObjectItemCaseSensitive(r->points[i].probe, "mean_pr");
            cJSON_AddItemToArray(list, qk_json_number(qk_json_find_number(pr, site->string)));
        }
    }
}

/* A list over the points, left out when no point has the number. */
void qk_gather_series(cJSON *out, const char *key, const double *values, int count)
{
    for (int i = 0; i < count; i++)
        if (!isnan(values[i])) {
            cJSON_AddItemToObject(out, key, qk_json_numbers(values, count));
            return;
        }
}

static void add_measures(const struct qk_gather_run *r, cJSON *out)
{
    double *v = qk_alloc((size_t)r->count, sizeof *v);
    for (int i = 0; i < r->count; i++)
        v[i] = mean_measure(r, r->points[i].probe, "k", "pr_energy");
    qk_gather_series(out, "mean_pr_energy", v, r->count);
    for (int i = 0; i < r->count; i++)
        v[i] = mean_over_layers(r, r->points[i].probe, "q_pr", r->g->site);
    qk_gather_series(out, "q_pr", v, r->count);
    for (int i = 0; i < r->count; i++)
        v[i] = mean_measure(r, r->points[i].probe, "qk", "pr");
    qk_gather_series(out, "qk_pr", v, r->count);
    for (int i = 0; i < r->count; i++)
        v[i] = over_heads(r->points[i].probe, "entropy", false);
    qk_gather_series(out, "entropy", v, r->count);
    for (int i = 0; i < r->count; i++)
        v[i] = over_heads(r->points[i].probe, "max_logit", true);
    qk_gather_series(out, "max_logit", v, r->count);
    free(v);
}

/* From the config, else the length of the gain vectors; NaN when neither tells. */
static double head_dim_of(const struct qk_gather_run *r)
{
    double d = qk_json_find_number(r->config, "d_model");
    double heads = qk_json_find_number(r->config, "n_heads");
    if (d > 0 && heads > 0)
        return d / heads;
    const cJSON *gain = gain_of(r->points[0].probe, 0);
    int n = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(gain, "values"));
    return n > 1 ? n : NAN;
}

static void add_facts(const struct qk_gather_run *r, cJSON *out)
{
    const cJSON *probe = r->points[r->count - 1].probe;
    const cJSON *norm = cJSON_GetObjectItemCaseSensitive(probe, "qk_norm");
    cJSON_AddStringToObject(out, "site", r->g->site);
    if (cJSON_IsString(norm))
        cJSON_AddStringToObject(out, "qk_norm", norm->valuestring);
    const cJSON *seed = cJSON_GetObjectItemCaseSensitive(r->config, "seed");
    if (cJSON_IsNumber(seed))
        qk_json_add_number(out, "seed", seed->valuedouble);
    if (r->config != NULL)
        cJSON_AddItemToObject(out, "config", cJSON_Duplicate(r->config, 1));
    qk_json_add_number(out, "head_dim", head_dim_of(r));
    qk_json_add_number(out, "rows", qk_json_find_number(probe, "rows"));
    qk_json_add_number(out, "null_pr", mean_measure(r, probe, "k", "null_pr"));
    qk_json_add_number(out, "null_pr_energy", mean_measure(r, probe, "k", "null_pr_energy"));
    const double null_qk = mean_measure(r, probe, "qk", "null_pr");
    if (!isnan(null_qk))
        qk_json_add_number(out, "null_qk_pr", null_qk);
}

/* How the probes were made, each distinct provenance once. */
static void add_made_from(const struct qk_gather_run *r, cJSON *out)
{
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < r->count; i++) {
        const cJSON *made = cJSON_GetObjectItemCaseSensitive(r->points[i].probe, "provenance");
        bool known = made == NULL;
        const cJSON *item;
        cJSON_ArrayForEach(item, list) known |= cJSON_Compare(item, made, 1) != 0;
        if (!known)
            cJSON_AddItemToArray(list, cJSON_Duplicate(made, 1));
    }
    if (list->child != NULL)
        cJSON_AddItemToObject(out, "made_from", list);
    else
        cJSON_Delete(list);
}

cJSON *qk_gather_points(const struct qk_gather_run *r)
{
    cJSON *out = cJSON_CreateObject();
    cJSON_AddStringToObject(out, "tag", r->g->tag);
    add_tokens(r, out);
    add_loss(r, out);
    add_val_loss(r, out);
    double *pr = qk_alloc((size_t)r->count, sizeof *pr);
    for (int i = 0; i < r->count; i++) {
        const cJSON *by_site = cJSON_GetObjectItemCaseSensitive(r->points[i].probe, "mean_pr");
        pr[i] = qk_json_find_number(by_site, r->g->site);
    }
    cJSON_AddItemToObject(out, "mean_pr", qk_json_numbers(pr, r->count));
    free(pr);
    add_layer_pr(r, out);
    add_gains(r, out, qk_gather_text_is(r->points[0].probe, "qk_norm", "learned"));
    add_sites(r, out);
    add_measures(r, out);
    qk_gather_by_layer(r, out);
    add_facts(r, out);
    add_made_from(r, out);
    return out;
}
