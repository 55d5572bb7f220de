#include "study/results/gatherparts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/measure/stats.h"

/* ---- reading ---- */

/* One object, or JSON lines, appended to `list`. */
static int read_objects(cJSON *list, const char *path, struct qk_err *err)
{
    struct qk_err ignored;
    cJSON *lines = qk_json_read_lines(path, err);
    if (lines == NULL) { /* one object over several lines? */
        cJSON *whole = qk_json_read(path, &ignored);
        if (!cJSON_IsObject(whole)) {
            cJSON_Delete(whole);
            return -1;
        }
        cJSON_AddItemToArray(list, whole);
        return 0;
    }
    if (lines->child == NULL) {
        cJSON_Delete(lines);
        return qk_fail(err, "%s: is empty, expected JSON", path);
    }
    while (lines->child != NULL)
        cJSON_AddItemToArray(list, cJSON_DetachItemViaPointer(lines, lines->child));
    cJSON_Delete(lines);
    return 0;
}

static void run_free(struct qk_gather_run *r)
{
    cJSON_Delete(r->probes);
    cJSON_Delete(r->log);
    cJSON_Delete(r->config_owned);
    for (int i = 0; i < r->count; i++)
        free(r->points[i].where);
    free(r->points);
}

static int compare_points(const void *a, const void *b)
{
    const struct qk_gather_point *x = a, *y = b;
    return (x->tokens > y->tokens) - (x->tokens < y->tokens);
}

static char *where_of(const char *path, const cJSON *probe)
{
    const cJSON *file = cJSON_GetObjectItemCaseSensitive(probe, "file");
    return cJSON_IsString(file) ? qk_format("%s: probe of %s", path, file->valuestring)
                                : qk_strdup(path);
}

/* Every layer has a rank at the headline site. */
static int check_layers(const struct qk_gather_run *r, const cJSON *layers, const char *where,
                        struct qk_err *err)
{
    if (cJSON_GetArraySize(layers) == 0)
        return qk_fail(err, "%s: 'layers' is empty", where);
    if (cJSON_GetArraySize(layers) != r->layers)
        return qk_fail(err, "%s: %d layers, the probe before it has %d", where,
                       cJSON_GetArraySize(layers), r->layers);
    const cJSON *layer;
    int l = 0;
    cJSON_ArrayForEach(layer, layers)
    {
        const cJSON *pr = cJSON_GetObjectItemCaseSensitive(layer, "k_pr");
        if (!cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(pr, r->g->site)))
            return qk_fail(err, "%s: layer %d has no 'k_pr' at %s", where, l, r->g->site);
        l++;
    }
    return 0;
}

static int check_probe(const struct qk_gather_run *r, struct qk_gather_point *p, struct qk_err *err)
{
    const char *kind = NULL;
    if (!cJSON_IsObject(p->probe))
        return qk_fail(err, "%s: a probe is no object", p->where);
    if (qk_json_text(p->probe, "kind", &kind, p->where, err) != 0)
        return -1;
    if (strcmp(kind, "probe") != 0)
        return qk_fail(err, "%s: kind is '%s', expected 'probe'", p->where, kind);
    const cJSON *layers = qk_json_array(p->probe, "layers", p->where, err);
    const cJSON *pr = cJSON_GetObjectItemCaseSensitive(p->probe, "mean_pr");
    if (layers == NULL)
        return -1;
    if (!cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(pr, r->g->site)))
        return qk_fail(err, "%s: 'mean_pr' has no site %s", p->where, r->g->site);
    if (check_layers(r, layers, p->where, err) != 0)
        return -1;
    return qk_json_real(p->probe, "tokens_seen", &p->tokens, p->where, err);
}

/* The same point measured twice (as the end of one edge and the start of the next) is kept once. */
static int drop_repeats(struct qk_gather_run *r, struct qk_err *err)
{
    int kept = 0;
    for (int i = 0; i < r->count; i++) {
        struct qk_gather_point *p = &r->points[i], *before = kept > 0 ? &r->points[kept - 1] : NULL;
        if (before == NULL || before->tokens != p->tokens) {
            struct qk_gather_point swap = r->points[kept];
            r->points[kept++] = *p;
            *p = swap;
        } else if (!cJSON_Compare(cJSON_GetObjectItemCaseSensitive(before->probe, "mean_pr"),
                                  cJSON_GetObjectItemCaseSensitive(p->probe, "mean_pr"), 1)) {
            return qk_fail(err, "%s and %s are both at %.0f tokens but differ", before->where,
                           p->where, p->tokens);
        }
    }
    for (int i = kept; i < r->count; i++)
        free(r->points[i].where);
    r->count = kept;
    return 0;
}

/* The probes of one file become points; all stay in r->probes. */
static int read_file(struct qk_gather_run *r, const char *path, struct qk_err *err)
{
    const int before = cJSON_GetArraySize(r->probes);
    if (read_objects(r->probes, path, err) != 0)
        return -1;
    const int count = cJSON_GetArraySize(r->probes);
    const cJSON *probe = cJSON_GetArrayItem(r->probes, before);
    r->points = qk_realloc(r->points, (size_t)count, sizeof *r->points);
    for (; probe != NULL; probe = probe->next)
        r->points[r->count++] = (struct qk_gather_point){0, probe, where_of(path, probe)};
    return 0;
}

static int read_points(struct qk_gather_run *r, struct qk_err *err)
{
    r->probes = cJSON_CreateArray();
    for (size_t i = 0; i < r->g->probes.count; i++)
        if (read_file(r, r->g->probes.at[i], err) != 0)
            return -1;
    if (r->count == 0)
        return qk_fail(err, "no probe given");
    r->layers = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(r->probes->child, "layers"));
    for (int i = 0; i < r->count; i++)
        if (check_probe(r, &r->points[i], err) != 0)
            return -1;
    qsort(r->points, (size_t)r->count, sizeof *r->points, compare_points);
    return drop_repeats(r, err);
}

/* Steps must follow each other: a gap means the log of an edge was forgotten.  *before is the step
 * of the line before, NaN for none, and becomes that of this one. */
static int check_line(const cJSON *line, double *before, const char *path, struct qk_err *err)
{
    double step, tokens;
    if (qk_json_real(line, "step", &step, path, err) != 0 ||
        qk_json_real(line, "tokens_seen", &tokens, path, err) != 0)
        return -1;
    const cJSON *loss = cJSON_GetObjectItemCaseSensitive(line, "loss");
    if (loss != NULL && !cJSON_IsNumber(loss) && !cJSON_IsNull(loss))
        return qk_fail(err, "%s: 'loss' of step %.0f is no number", path, step);
    /* two edges that meet before the first step may both have been validated there */
    const bool again = step == 0 && *before == 0 && loss == NULL;
    if (!again && !isnan(*before) && step != *before + 1)
        return qk_fail(err, "%s: step %.0f follows step %.0f", path, step, *before);
    *before = step;
    return 0;
}

static int read_logs(struct qk_gather_run *r, struct qk_err *err)
{
    r->log = cJSON_CreateArray();
    double before = NAN;
    for (size_t i = 0; i < r->g->logs.count; i++) {
        const char *path = r->g->logs.at[i];
        cJSON *lines = qk_json_read_lines(path, err);
        if (lines == NULL)
            return -1;
        int bad = 0;
        while (lines->child != NULL && !bad) {
            cJSON *line = cJSON_DetachItemViaPointer(lines, lines->child);
            cJSON_AddItemToArray(r->log, line);
            bad = check_line(line, &before, path, err);
        }
        cJSON_Delete(lines);
        if (bad)
            return -1;
    }
    return 0;
}

static int read_config(struct qk_gather_run *r, struct qk_err *err)
{
    if (r->g->config != NULL) {
        r->config = r->config_owned = qk_json_read(r->g->config, err);
        return r->config == NULL ? -1 : 0;
    }
    r->config = cJSON_GetObjectItemCaseSensitive(r->points[0].probe, "config");
    return 0;
}

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
        char name[16];
        snprintf(name, sizeof name, "%d", l);
        cJSON *row = cJSON_AddArrayToObject(object, name);
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
        char name[16];
        snprintf(name, sizeof name, "%d", l);
        cJSON *row = cJSON_AddArrayToObject(cv, name);
        for (int i = 0; i < r->count; i++) {
            const cJSON *gain = gain_of(r->points[i].probe, l);
            cJSON_AddItemToArray(row, qk_json_number(qk_json_find_number(gain, "cv")));
        }
        const cJSON *last = gain_of(r->points[r->count - 1].probe, l);
        const cJSON *values = cJSON_GetObjectItemCaseSensitive(last, "values");
        if (final != NULL && cJSON_IsArray(values))
            cJSON_AddItemToObject(final, name, cJSON_Duplicate(values, 1));
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

static int check_same_norm(const struct qk_gather_run *r, struct qk_err *err)
{
    const cJSON *first = cJSON_GetObjectItemCaseSensitive(r->points[0].probe, "qk_norm");
    for (int i = 1; i < r->count; i++) {
        const cJSON *other = cJSON_GetObjectItemCaseSensitive(r->points[i].probe, "qk_norm");
        if (first != NULL && other != NULL && !cJSON_Compare(first, other, 1))
            return qk_fail(err, "%s and %s are of models with different qk_norm",
                           r->points[0].where, r->points[i].where);
    }
    return 0;
}

static cJSON *write_results(const struct qk_gather_run *r)
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

cJSON *qk_gather_results(const struct qk_gather *g, struct qk_err *err)
{
    struct qk_gather_run r = {.g = g};
    cJSON *out = NULL;
    if (read_points(&r, err) == 0 && check_same_norm(&r, err) == 0 && read_logs(&r, err) == 0 &&
        read_config(&r, err) == 0)
        out = write_results(&r);
    if (out != NULL && qk_gather_evals(g, out, err) != 0) {
        cJSON_Delete(out);
        out = NULL;
    }
    run_free(&r);
    return out;
}
