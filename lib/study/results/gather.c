#include "study/results/gatherparts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- the whole ---- */

cJSON *qk_gather_results(const struct qk_gather *g, struct qk_err *err)
{
    struct qk_gather_run r = {.g = g};
    cJSON *out = NULL;
    if (read_points(&r, err) == 0 && check_same_norm(&r, err) == 0 && read_logs(&r, err) == 0 &&
        read_config(&r, err) == 0)
        out = qk_gather_points(&r);
    if (out != NULL && qk_gather_evals(g, out, err) != 0) {
        cJSON_Delete(out);
        out = NULL;
    }
    run_free(&r);
    return out;
}
