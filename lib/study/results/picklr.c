#include "study/results/picklr.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "study/results/results.h"

struct trial {
    char config[QK_CONDITION_NAME];
    double rate, muon, adamw, loss, pr, seed;
    int seeds; /* runs in the means */
    char site[16];
    const char *path;
};

/* ---- reading ---- */

/* CONFIG and RATE of a word; 0 when it is one. */
static int split_word(struct trial *t, const char *operand)
{
    const char *colon = strchr(operand, ':'), *equals = strchr(operand, '=');
    if (colon == NULL || equals == NULL || colon > equals || equals[1] == '\0' ||
        colon - operand >= QK_CONDITION_NAME)
        return -1;
    memcpy(t->config, operand, (size_t)(colon - operand));
    t->config[colon - operand] = '\0';
    char *end = NULL;
    t->rate = strtod(colon + 1, &end);
    t->path = equals + 1;
    return end == equals && end > colon + 1 && t->rate > 0 && isfinite(t->rate) &&
                   qk_condition_may_be_called(t->config)
               ? 0
               : -1;
}

const char *qk_pick_lr_path(const char *operand, struct qk_err *err)
{
    struct trial t = {.rate = 0};
    if (split_word(&t, operand) != 0)
        return qk_fail_null(err, "'%s' is not CONFIG:RATE=FILE, such as AdamW:6e-4=results.json",
                            operand);
    return t.path;
}

/* An eval.json says nothing of rates or ranks: the rate of the word stands. */
static int read_eval(struct trial *t, const cJSON *json, struct qk_err *err)
{
    const char *task = NULL;
    if (qk_json_text(json, "task", &task, t->path, err) != 0)
        return -1;
    if (strcmp(task, "loss") != 0)
        return qk_fail(err, "%s: task is '%s', rates are picked by 'loss'", t->path, task);
    t->loss = qk_json_find_number(json, "value");
    return 0;
}

static int read_results(struct trial *t, const cJSON *json, struct qk_err *err)
{
    struct qk_results r;
    if (qk_results_parse(&r, json, t->path, err) != 0)
        return -1;
    const cJSON *evals = cJSON_GetObjectItemCaseSensitive(json, "evals");
    const cJSON *select = cJSON_GetObjectItemCaseSensitive(evals, "select");
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(json, "config");
    t->loss = select != NULL ? qk_json_find_number(select, "value") : r.val_loss[r.points - 1];
    t->pr = r.mean_pr[r.points - 1];
    t->muon = qk_json_find_number(config, "muon_lr");
    t->adamw = qk_json_find_number(config, "adamw_lr");
    t->seed = r.has_seed ? (double)r.seed : (double)NAN;
    snprintf(t->site, sizeof t->site, "%s", r.site != NULL ? r.site : "");
    qk_results_free(&r);
    return 0;
}

/* The rate in the name must be one the run was trained with. */
static int check_rate(const struct trial *t, struct qk_err *err)
{
    if (isnan(t->muon) && isnan(t->adamw))
        return 0;
    if (fabs(t->muon / t->rate - 1) < 1e-9 || fabs(t->adamw / t->rate - 1) < 1e-9)
        return 0;
    if (isnan(t->muon))
        return qk_fail(err, "%s: was trained at adamw_lr %g, not at %g", t->path, t->adamw,
                       t->rate);
    return qk_fail(err, "%s: was trained at muon_lr %g and adamw_lr %g, not at %g", t->path,
                   t->muon, t->adamw, t->rate);
}

static int read_trial(struct trial *t, const char *operand, struct qk_err *err)
{
    *t = (struct trial){.loss = NAN, .pr = NAN, .muon = NAN, .adamw = NAN, .seed = NAN, .seeds = 1};
    if (split_word(t, operand) != 0)
        return qk_pick_lr_path(operand, err) == NULL ? -1 : 0;
    cJSON *json = qk_json_read(t->path, err);
    if (json == NULL)
        return -1;
    const cJSON *kind = cJSON_GetObjectItemCaseSensitive(json, "kind");
    const bool eval = cJSON_IsString(kind) && strcmp(kind->valuestring, "eval") == 0;
    int bad = eval ? read_eval(t, json, err) : read_results(t, json, err);
    if (!bad)
        bad = check_rate(t, err);
    cJSON_Delete(json);
    return bad;
}

static int compare_trials(const void *a, const void *b)
{
    const struct trial *x = a, *y = b;
    if (x->rate != y->rate)
        return x->rate < y->rate ? -1 : 1;
    return (x->seed > y->seed) - (x->seed < y->seed);
}

/* ---- one configuration ---- */

static cJSON *lr_json(const struct trial *t)
{
    const bool told = !isnan(t->muon) || !isnan(t->adamw);
    cJSON *lr = cJSON_CreateObject();
    qk_json_add_number(lr, "muon", t->muon);
    qk_json_add_number(lr, "adamw", told ? t->adamw : t->rate);
    return lr;
}

/* To two significant digits, as people write rates. */
static double tidy(double rate)
{
    char text[32];
    snprintf(text, sizeof text, "%.1e", rate);
    return strtod(text, NULL);
}

/* Two rates beyond the edge, in the ratio of the last two of the grid there. */
static cJSON *rates_beyond(const struct trial *grid, int n, int winner)
{
    cJSON *add = cJSON_CreateArray();
    if (n < 2 || (winner != 0 && winner != n - 1))
        return add;
    const int inner = winner == 0 ? 1 : n - 2;
    const double ratio = grid[winner].rate / grid[inner].rate;
    double rate = grid[winner].rate;
    for (int i = 0; i < 2; i++) {
        rate *= ratio;
        cJSON_AddItemToArray(add, cJSON_CreateNumber(tidy(rate)));
    }
    return add;
}

static int winner_of(const struct trial *grid, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (!isnan(grid[i].loss) && (best < 0 || grid[i].loss < grid[best].loss))
            best = i;
    return best;
}

static cJSON *config_json(const struct trial *grid, int n, int winner)
{
    const bool edge = winner == 0 || winner == n - 1;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToObject(o, "lr", lr_json(&grid[winner]));
    qk_json_add_number(o, "rate", grid[winner].rate);
    qk_json_add_number(o, "val_loss", grid[winner].loss);
    qk_json_add_number(o, "rank", grid[winner].pr);
    cJSON_AddBoolToObject(o, "edge", edge);
    if (edge)
        cJSON_AddStringToObject(o, "side", winner == 0 ? "low" : "high");
    else
        cJSON_AddNullToObject(o, "side");
    cJSON_AddItemToObject(o, "add", rates_beyond(grid, n, winner));
    cJSON *list = cJSON_AddArrayToObject(o, "grid");
    for (int i = 0; i < n; i++) {
        cJSON *at = cJSON_CreateObject();
        qk_json_add_number(at, "rate", grid[i].rate);
        cJSON_AddItemToObject(at, "lr", lr_json(&grid[i]));
        qk_json_add_number(at, "val_loss", grid[i].loss);
        qk_json_add_number(at, "mean_pr", grid[i].pr);
        qk_json_add_number(at, "seeds", grid[i].seeds);
        cJSON_AddItemToArray(list, at);
    }
    return o;
}

/* Runs of one rate become their mean; returns how many rates there are, or -1 where a seed is
 * twice. */
static int merge_seeds(struct trial *grid, int n, struct qk_err *err)
{
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && grid[i].rate == grid[i - 1].rate &&
            (grid[i].seed == grid[i - 1].seed || isnan(grid[i].seed)))
            return qk_fail(err, "%s and %s are both %s at rate %g", grid[i - 1].path, grid[i].path,
                           grid[i].config, grid[i].rate);
    }
    for (int i = 0; i < n; i++) {
        struct trial *t = kept > 0 ? &grid[kept - 1] : NULL;
        if (t != NULL && t->rate == grid[i].rate) {
            t->loss += grid[i].loss;
            t->pr += grid[i].pr;
            t->seeds++;
        } else {
            grid[kept++] = grid[i];
        }
    }
    for (int i = 0; i < kept; i++) {
        grid[i].loss /= grid[i].seeds;
        grid[i].pr /= grid[i].seeds;
    }
    return kept;
}

/* The trials of one config, sorted; returns how many. */
static int grid_of(struct trial *grid, const struct trial *all, size_t count, const char *config)
{
    int n = 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].config, config) == 0)
            grid[n++] = all[i];
    qsort(grid, (size_t)n, sizeof *grid, compare_trials);
    return n;
}

static int add_config(cJSON *chosen, const struct trial *all, size_t count, const char *config,
                      struct qk_err *err)
{
    struct trial *grid = qk_alloc(count, sizeof *grid);
    const int n = merge_seeds(grid, grid_of(grid, all, count, config), err);
    const int winner = winner_of(grid, n);
    int bad = n < 0;
    if (!bad && winner < 0)
        bad = qk_fail(err, "%s: no run of %s has a validation loss", grid[0].path, config);
    if (!bad)
        cJSON_AddItemToObject(chosen, config, config_json(grid, n, winner));
    free(grid);
    return bad;
}

/* The site of the ranks, which must be one. */
static int add_site(cJSON *chosen, const struct trial *all, size_t count, struct qk_err *err)
{
    const struct trial *first = NULL;
    for (size_t i = 0; i < count; i++) {
        if (all[i].site[0] == '\0')
            continue;
        if (first == NULL)
            first = &all[i];
        if (strcmp(first->site, all[i].site) != 0)
            return qk_fail(err, "%s and %s are measured at %s and %s", first->path, all[i].path,
                           first->site, all[i].site);
    }
    if (first != NULL)
        cJSON_AddStringToObject(chosen, "site", first->site);
    return 0;
}

/* The config of the first run tells what model was swept; its rates are that run's alone. */
static int add_model(cJSON *chosen, const char *path, struct qk_err *err)
{
    cJSON *json = qk_json_read(path, err);
    if (json == NULL)
        return -1;
    cJSON *config = cJSON_DetachItemFromObjectCaseSensitive(json, "config");
    if (config != NULL && !cJSON_HasObjectItem(chosen, "config"))
        cJSON_AddItemToObject(chosen, "config", config);
    else
        cJSON_Delete(config);
    cJSON_Delete(json);
    return 0;
}

cJSON *qk_pick_lr(const struct qk_strings *operands, struct qk_err *err)
{
    const size_t n = operands->count;
    struct trial *all = qk_zalloc(n + 1, sizeof *all);
    cJSON *chosen = cJSON_CreateObject();
    int bad = 0;
    for (size_t i = 0; i < n && !bad; i++)
        bad = read_trial(&all[i], operands->at[i], err);
    for (size_t i = 0; i < n && !bad; i++)
        if (!cJSON_HasObjectItem(chosen, all[i].config))
            bad = add_config(chosen, all, n, all[i].config, err);
    if (!bad)
        bad = add_site(chosen, all, n, err);
    if (!bad && n > 0)
        bad = add_model(chosen, all[0].path, err);
    free(all);
    if (!bad)
        return chosen;
    cJSON_Delete(chosen);
    return NULL;
}

int qk_chosen_check(const cJSON *config, struct qk_err *err)
{
    if (isnan(qk_json_find_number(config, "rate")) ||
        isnan(qk_json_find_number(config, "val_loss")) ||
        !cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(config, "grid")))
        return qk_fail(err, "configuration %s lacks rate, val_loss or grid", config->string);
    return 0;
}

/* The point of a grid that a word "CONFIG:RATE" names, or NULL. */
static cJSON *point_named(const cJSON *chosen, const char *word)
{
    const cJSON *config;
    cJSON *at;
    cJSON_ArrayForEach(config, chosen)
    {
        const size_t length = strlen(config->string);
        if (strncmp(word, config->string, length) != 0 || word[length] != ':')
            continue;
        char *end = NULL;
        const double rate = strtod(word + length + 1, &end);
        cJSON_ArrayForEach(at, cJSON_GetObjectItemCaseSensitive(config, "grid"))
        {
            if (*end == '\0' && qk_json_find_number(at, "rate") == rate)
                return at;
        }
    }
    return NULL;
}

int qk_chosen_mark_added(cJSON *chosen, const struct qk_strings *added, struct qk_err *err)
{
    for (size_t i = 0; i < added->count; i++) {
        cJSON *at = point_named(chosen, added->at[i]);
        if (at == NULL)
            return qk_fail(err, "'%s' is no CONFIG:RATE of this sweep", added->at[i]);
        cJSON_DeleteItemFromObjectCaseSensitive(at, "added");
        cJSON_AddTrueToObject(at, "added");
    }
    return 0;
}

int qk_chosen_seeds(const cJSON *chosen)
{
    const cJSON *config, *at;
    int least = 0;
    cJSON_ArrayForEach(config, chosen)
    {
        cJSON_ArrayForEach(at, cJSON_GetObjectItemCaseSensitive(config, "grid"))
        {
            const double told = qk_json_find_number(at, "seeds");
            const int seeds = told > 1 && told < INT_MAX ? (int)told : 1;
            least = least == 0 || seeds < least ? seeds : least;
        }
    }
    return least > 0 ? least : 1;
}
