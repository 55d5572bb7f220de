#include "study/results/surgery.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "study/measure/stats.h"
#include "study/results/combine.h"
#include "study/results/results.h"

/* ---- one evaluation ---- */

/* An eval.json: of which run, cut how. */
struct cut {
    char run[24], method[24]; /* method "": nothing was cut */
    double fraction, seed, loss, error, kept_rank, n, tokens;
    const char *path;
    char split[24], data[256];
};

static const char *text_of(const cJSON *object, const char *key)
{
    const char *text = qk_json_find_text(object, key);
    return text != NULL ? text : "";
}

/* The record of qk-prune. */
static int read_pruned(struct cut *c, const cJSON *pruned, struct qk_err *err)
{
    const cJSON *calibration = cJSON_GetObjectItemCaseSensitive(pruned, "calibration");
    const char *by = NULL;
    if (qk_json_text(pruned, "by", &by, c->path, err) != 0 ||
        qk_json_real(pruned, "fraction", &c->fraction, c->path, err) != 0)
        return -1;
    if (!(c->fraction >= 0 && c->fraction <= 1))
        return qk_fail(err, "%s: fraction %g is not in 0 .. 1", c->path, c->fraction);
    snprintf(c->method, sizeof c->method, "%s", by);
    c->seed = qk_json_find_number(pruned, "seed");
    c->kept_rank = qk_json_find_number(pruned, "kept_rank");
    const char *split = text_of(calibration, "split"), *path = text_of(calibration, "path");
    if (split[0] != '\0' && strcmp(split, c->split) == 0 && strcmp(path, c->data) == 0)
        return qk_fail(err, "%s: split %s of %s calibrated the cut and is evaluated too", c->path,
                       split, path);
    return 0;
}

static int read_loss(struct cut *c, const cJSON *json, struct qk_err *err)
{
    const char *kind = NULL, *task = NULL;
    if (qk_json_text(json, "kind", &kind, c->path, err) != 0 ||
        qk_json_text(json, "task", &task, c->path, err) != 0)
        return -1;
    if (strcmp(kind, "eval") != 0 || strcmp(task, "loss") != 0)
        return qk_fail(err, "%s: is %s of task '%s', a dose curve needs evaluations of task 'loss'",
                       c->path, kind, task);
    if (qk_json_real(json, "value", &c->loss, c->path, err) != 0)
        return -1;
    const cJSON *how = cJSON_GetObjectItemCaseSensitive(json, "how");
    snprintf(c->split, sizeof c->split, "%s", text_of(how, "split"));
    snprintf(c->data, sizeof c->data, "%s", text_of(how, "data"));
    c->error = qk_json_find_number(json, "stderr");
    c->n = qk_json_find_number(json, "n");
    c->tokens = qk_json_find_number(json, "tokens_seen");
    return 0;
}

static int read_cut(struct cut *c, const char *operand, struct qk_err *err)
{
    *c = (struct cut){.seed = NAN, .kept_rank = NAN};
    c->path = qk_combine_path(operand, err);
    if (c->path == NULL)
        return -1;
    snprintf(c->run, sizeof c->run, "%.*s", (int)(c->path - operand) - 1, operand);
    if (strcmp(c->run, "area") == 0)
        return qk_fail(err, "'%s': a run cannot be named 'area'", operand);
    cJSON *json = qk_json_read(c->path, err);
    if (json == NULL)
        return -1;
    const cJSON *pruned = cJSON_GetObjectItemCaseSensitive(json, "pruned");
    int bad = read_loss(c, json, err);
    if (!bad && pruned != NULL && !cJSON_IsNull(pruned))
        bad = read_pruned(c, pruned, err);
    cJSON_Delete(json);
    return bad ? -1 : 0;
}

/* ---- all of them ---- */

static int compare_cuts(const void *a, const void *b)
{
    const struct cut *x = a, *y = b;
    if (x->fraction != y->fraction)
        return x->fraction < y->fraction ? -1 : 1;
    return (x->seed > y->seed) - (x->seed < y->seed);
}

static bool same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* What cannot stand in one run's curves. */
static int check_run(const struct cut *all, size_t count, const char *run, struct qk_err *err)
{
    const struct cut *first = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct cut *c = &all[i];
        if (strcmp(c->run, run) != 0)
            continue;
        if (first == NULL)
            first = c;
        if (!same(c->n, first->n) || strcmp(c->split, first->split) != 0)
            return qk_fail(err, "%s and %s are not evaluated on the same windows", first->path,
                           c->path);
        if (!same(c->tokens, first->tokens))
            return qk_fail(err, "%s and %s are of checkpoints at %.0f and %.0f tokens", first->path,
                           c->path, first->tokens, c->tokens);
    }
    return 0;
}

/* Does every draw at a fraction count anew, or is the second the same cut again? */
static bool draws(const char *method)
{
    return strncmp(method, "random", 6) == 0;
}

static int check_draws(const struct cut *list, int count, struct qk_err *err)
{
    for (int i = 1; i < count; i++)
        if (list[i].fraction == list[i - 1].fraction &&
            (!draws(list[i].method) || same(list[i].seed, list[i - 1].seed)))
            return qk_fail(err, "%s and %s are the same cut of %s: %s of %g", list[i - 1].path,
                           list[i].path, list[i].run, list[i].method, list[i].fraction);
    return 0;
}

/* ---- a curve ---- */

static void finish_dose(struct qk_dose *d, bool random)
{
    d->loss = qk_stats_mean(d->losses, d->draws);
    d->sd = d->fraction == 0 && random && d->draws == 1 ? 0 : qk_stats_sd(d->losses, d->draws);
}

/* The integral of loss minus the loss at 0: over the means, or of draw `which`, of which fractions
 * with one draw (where nothing was cut) have all. */
static double area_of(const struct qk_dose_curve *c, int which)
{
    double sum = 0, before = 0;
    for (int i = 1; i < c->points; i++) {
        const struct qk_dose *d = &c->at[i];
        const double zero =
            which < 0 || c->at[0].draws == 1 ? c->at[0].loss : c->at[0].losses[which];
        const double now = (which < 0 ? d->loss : d->losses[which]) - zero;
        sum += 0.5 * (d->fraction - c->at[i - 1].fraction) * (before + now);
        before = now;
    }
    return sum;
}

/* The same seeds at every fraction (0 may have one)? */
static int common_draws(const struct qk_dose_curve *c)
{
    const int last = c->points - 1, n = c->at[last].draws;
    for (int i = 0; i < last; i++) {
        if (i == 0 && c->at[i].draws == 1)
            continue;
        if (c->at[i].draws != n)
            return 0;
        for (int k = 0; k < n; k++)
            if (!same(c->at[i].seeds[k], c->at[last].seeds[k]))
                return 0;
    }
    return n;
}

static int finish_curve(struct qk_dose_curve *c, const char *where, struct qk_err *err)
{
    if (c->points == 0 || c->at[0].fraction != 0)
        return qk_fail(err, "%s: the curve of %s by %s has no loss at fraction 0", where, c->run,
                       c->method);
    c->to = c->at[c->points - 1].fraction;
    c->area = area_of(c, -1);
    c->area_draws = common_draws(c);
    c->areas = qk_alloc((size_t)c->area_draws + 1, sizeof *c->areas);
    for (int i = 0; i < c->area_draws; i++)
        c->areas[i] = area_of(c, i);
    c->area_sd = qk_stats_sd(c->areas, c->area_draws);
    return 0;
}

/* `list`: the cuts of one run and method, with the uncut one, sorted. */
static void fill_curve(struct qk_dose_curve *c, const struct cut *list, int count)
{
    c->at = qk_zalloc((size_t)count + 1, sizeof *c->at);
    for (int i = 0; i < count; i++) {
        struct qk_dose *d = c->points > 0 ? &c->at[c->points - 1] : NULL;
        if (d == NULL || d->fraction != list[i].fraction) {
            d = &c->at[c->points++];
            *d = (struct qk_dose){.fraction = list[i].fraction, .kept_rank = list[i].kept_rank};
            d->losses = qk_alloc((size_t)count, sizeof *d->losses);
            d->seeds = qk_alloc((size_t)count, sizeof *d->seeds);
        }
        d->losses[d->draws] = list[i].loss;
        d->seeds[d->draws] = list[i].seed;
        d->error += list[i].error;
        d->draws++;
    }
    for (int i = 0; i < c->points; i++) {
        c->at[i].error /= c->at[i].draws;
        finish_dose(&c->at[i], draws(c->method));
    }
}

static struct qk_dose_curve *new_curve(struct qk_surgery *s, const char *run, const char *method)
{
    s->at = qk_realloc(s->at, (size_t)s->count + 1, sizeof *s->at);
    struct qk_dose_curve *c = &s->at[s->count++];
    *c = (struct qk_dose_curve){.points = 0};
    snprintf(c->run, sizeof c->run, "%s", run);
    snprintf(c->method, sizeof c->method, "%s", method);
    return c;
}

const struct qk_dose_curve *qk_surgery_find(const struct qk_surgery *s, const char *run,
                                            const char *method)
{
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->at[i].run, run) == 0 && strcmp(s->at[i].method, method) == 0)
            return &s->at[i];
    return NULL;
}

static int add_curve(struct qk_surgery *s, const struct cut *all, size_t count,
                     const struct cut *like, struct qk_err *err)
{
    struct cut *list = qk_alloc(count, sizeof *list);
    int n = 0;
    for (size_t i = 0; i < count; i++) {
        const bool uncut = all[i].method[0] == '\0';
        if (strcmp(all[i].run, like->run) != 0 ||
            (!uncut && strcmp(all[i].method, like->method) != 0))
            continue;
        list[n++] = all[i];
    }
    qsort(list, (size_t)n, sizeof *list, compare_cuts);
    /* a cut of nothing beside the checkpoint itself: once is enough, and they must agree */
    int from = 0;
    for (int i = 0; i + 1 < n && list[i + 1].fraction == 0; i++)
        if (list[i].method[0] == '\0' || list[i + 1].method[0] == '\0')
            from = i + 1;
    int bad = check_draws(list + from, n - from, err);
    for (int i = 0; i < from && !bad; i++)
        if (list[i].loss != list[from].loss)
            bad = qk_fail(err, "%s and %s cut nothing but differ in loss", list[i].path,
                          list[from].path);
    struct qk_dose_curve *c = NULL;
    if (!bad) {
        c = new_curve(s, like->run, like->method);
        fill_curve(c, list + from, n - from);
        bad = finish_curve(c, like->path, err);
    }
    free(list);
    return bad ? -1 : 0;
}

int qk_surgery_gather(struct qk_surgery *s, const struct qk_strings *operands, struct qk_err *err)
{
    const size_t n = operands->count;
    struct cut *all = qk_zalloc(n + 1, sizeof *all);
    int bad = 0;
    *s = (struct qk_surgery){.count = 0};
    for (size_t i = 0; i < n && !bad; i++)
        bad = read_cut(&all[i], operands->at[i], err);
    for (size_t i = 0; i < n && !bad; i++) {
        bad = check_run(all, n, all[i].run, err);
        if (!bad && all[i].method[0] != '\0' &&
            qk_surgery_find(s, all[i].run, all[i].method) == NULL)
            bad = add_curve(s, all, n, &all[i], err);
    }
    if (!bad && s->count == 0)
        bad = qk_fail(err, "%s: none of the evaluations is of a cut checkpoint",
                      n > 0 ? operands->at[0] : "surgery");
    free(all);
    if (bad)
        qk_surgery_free(s);
    return bad ? -1 : 0;
}

void qk_surgery_free(struct qk_surgery *s)
{
    for (int i = 0; i < s->count; i++) {
        for (int k = 0; k < s->at[i].points; k++) {
            free(s->at[i].at[k].losses);
            free(s->at[i].at[k].seeds);
        }
        free(s->at[i].at);
        free(s->at[i].areas);
    }
    free(s->at);
    *s = (struct qk_surgery){.count = 0};
}

/* ---- surgery.json ---- */

/* The object under `key`, made when there is none. */
static cJSON *object_in(cJSON *object, const char *key)
{
    cJSON *there = cJSON_GetObjectItemCaseSensitive(object, key);
    return there != NULL ? there : cJSON_AddObjectToObject(object, key);
}

static cJSON *dose_json(const struct qk_dose *d)
{
    cJSON *o = cJSON_CreateObject();
    qk_json_add_number(o, "fraction", d->fraction);
    qk_json_add_number(o, "loss", d->loss);
    qk_json_add_number(o, "stderr", d->error);
    cJSON_AddItemToObject(o, "draws", qk_json_numbers(d->losses, d->draws));
    cJSON_AddItemToObject(o, "seeds", qk_json_numbers(d->seeds, d->draws));
    qk_json_add_number(o, "sd", d->sd);
    qk_json_add_number(o, "kept_rank", d->kept_rank);
    return o;
}

static cJSON *area_json(const struct qk_dose_curve *c)
{
    cJSON *o = cJSON_CreateObject();
    qk_json_add_number(o, "value", c->area);
    qk_json_add_number(o, "sd", c->area_sd);
    cJSON_AddItemToObject(o, "draws", qk_json_numbers(c->areas, c->area_draws));
    qk_json_add_number(o, "to", c->to);
    return o;
}

cJSON *qk_surgery_json(const struct qk_surgery *s)
{
    cJSON *json = cJSON_CreateObject(), *area = cJSON_CreateObject();
    for (int i = 0; i < s->count; i++) {
        const struct qk_dose_curve *c = &s->at[i];
        cJSON *list = cJSON_AddArrayToObject(object_in(json, c->run), c->method);
        for (int k = 0; k < c->points; k++)
            cJSON_AddItemToArray(list, dose_json(&c->at[k]));
        cJSON_AddItemToObject(object_in(area, c->run), c->method, area_json(c));
    }
    cJSON_AddItemToObject(json, "area", area);
    return json;
}

/* ---- reading it ---- */

static int read_dose(struct qk_dose *d, const cJSON *json, const char *where, struct qk_err *err)
{
    const cJSON *losses = cJSON_GetObjectItemCaseSensitive(json, "draws"), *item;
    const cJSON *seeds = cJSON_GetObjectItemCaseSensitive(json, "seeds");
    if (qk_json_real(json, "fraction", &d->fraction, where, err) != 0 ||
        qk_json_real(json, "loss", &d->loss, where, err) != 0)
        return -1;
    d->error = qk_json_find_number(json, "stderr");
    d->sd = qk_json_find_number(json, "sd");
    d->kept_rank = qk_json_find_number(json, "kept_rank");
    d->draws = cJSON_GetArraySize(losses);
    d->losses = qk_alloc((size_t)d->draws + 1, sizeof *d->losses);
    d->seeds = qk_alloc((size_t)d->draws + 1, sizeof *d->seeds);
    int i = 0;
    cJSON_ArrayForEach(item, losses)
    {
        const cJSON *seed = cJSON_GetArrayItem(seeds, i);
        if (!cJSON_IsNumber(item))
            return qk_fail(err, "%s: 'draws' holds something that is no number", where);
        d->seeds[i] = qk_json_as_number(seed);
        d->losses[i++] = item->valuedouble;
    }
    if (d->draws == 0) { /* a file that keeps the mean alone */
        d->losses[0] = d->loss;
        d->seeds[0] = NAN;
        d->draws = 1;
    }
    return 0;
}

static int read_curve(struct qk_surgery *s, const char *run, const cJSON *list, const char *path,
                      struct qk_err *err)
{
    char where[300];
    snprintf(where, sizeof where, "%.200s: %.24s.%.24s", path, run, list->string);
    if (!cJSON_IsArray(list))
        return qk_fail(err, "%s: is no list of doses", where);
    struct qk_dose_curve *c = new_curve(s, run, list->string);
    c->at = qk_zalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *c->at);
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        struct qk_dose *d = &c->at[c->points++];
        if (read_dose(d, item, where, err) != 0)
            return -1;
        if (c->points > 1 && !(d->fraction > d[-1].fraction))
            return qk_fail(err, "%s: fractions do not rise", where);
    }
    return finish_curve(c, path, err);
}

static int read_runs(struct qk_surgery *s, const cJSON *json, const char *path, struct qk_err *err)
{
    const cJSON *run, *list;
    if (!cJSON_IsObject(json))
        return qk_fail(err, "%s: not an object", path);
    cJSON_ArrayForEach(run, json)
    {
        if (!cJSON_IsObject(run) || !qk_condition_may_be_called(run->string) ||
            strcmp(run->string, "area") == 0)
            continue;
        cJSON_ArrayForEach(list, run)
        {
            if (read_curve(s, run->string, list, path, err) != 0)
                return -1;
        }
    }
    return s->count > 0 ? 0 : qk_fail(err, "%s: no dose curve in it", path);
}

int qk_surgery_read(struct qk_surgery *s, const char *path, struct qk_err *err)
{
    *s = (struct qk_surgery){.count = 0};
    cJSON *json = qk_json_read(path, err);
    if (json == NULL)
        return -1;
    const int bad = read_runs(s, json, path, err);
    cJSON_Delete(json);
    if (bad)
        qk_surgery_free(s);
    return bad;
}
