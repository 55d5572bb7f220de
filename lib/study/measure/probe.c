#include "study/measure/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "study/measure/spectrum.h"

const char *const qk_of_names[QK_MEASURES] = {"k", "q", "qk", "wk", "wq"};

int qk_probe_of(const char *text, unsigned *of, struct qk_err *err)
{
    struct qk_strings words = {0};
    int bad = 0;
    *of = 0;
    qk_strings_split(&words, text, ',');
    for (size_t i = 0; !bad && i < words.count; i++) {
        int which = 0;
        while (which < QK_MEASURES && strcmp(words.at[i], qk_of_names[which]) != 0)
            which++;
        if (which < QK_MEASURES)
            *of |= 1u << which;
        else
            bad = qk_fail(err, "'%.80s' is none of k, q, qk, wk, wq", words.at[i]);
    }
    qk_strings_free(&words);
    return bad;
}

/* ---- spectra ---- */

/* One spectrum to take, and what came of it.  `shown`: asked for; the others only feed k_pr and
 * q_pr, which are there whatever was asked. */
struct job {
    int layer, site, head;
    enum qk_of of;
    bool centred, shown;
    struct qk_spectrum spectrum;
    struct qk_null null;
};

struct jobs {
    struct job *at;
    size_t count, capacity;
};

static enum qk_what what_of(enum qk_of of)
{
    return of == QK_MEASURE_K || of == QK_MEASURE_WK ? QK_OF_K : QK_OF_Q;
}

static bool is_there(const struct qk_keys *k, int site, enum qk_of of)
{
    const struct qk_keys_layer *layer = &k->layers[0];
    if (of == QK_MEASURE_QK)
        return layer->gram[site][QK_OF_Q] && layer->gram[site][QK_OF_K];
    return layer->gram[site][what_of(of)];
}

static bool suits(int site, enum qk_of of)
{
    return (site == QK_SITE_WEIGHT) == (of == QK_MEASURE_WK || of == QK_MEASURE_WQ);
}

static void add_heads(struct jobs *jobs, const struct qk_keys *k, struct job job)
{
    int64_t heads = qk_keys_heads(&k->config, what_of(job.of));
    for (job.head = 0; job.head < heads; job.head++) {
        qk_grow(&jobs->at, &jobs->capacity, jobs->count + 1, sizeof *jobs->at);
        jobs->at[jobs->count++] = job;
    }
}

/* In the order of measures[]: layer, site, of, centred, head. */
static void list_jobs(struct jobs *jobs, const struct qk_keys *k, const struct qk_probe_ask *ask)
{
    for (int layer = 0; layer < (int)k->config.n_layers; layer++)
        for (int site = 0; site <= QK_SITES; site++)
            for (enum qk_of of = 0; of < QK_MEASURES; of++) {
                if (!(ask->sites & 1u << site) || !suits(site, of) || !is_there(k, site, of))
                    continue;
                bool asked = ask->of & 1u << of, rows = of <= QK_MEASURE_Q;
                struct job job = {.layer = layer, .site = site, .of = of};
                job.shown = asked && (ask->plain || !rows);
                if (job.shown || rows)
                    add_heads(jobs, k, job);
                job.shown = job.centred = true;
                if (asked && rows && ask->centred)
                    add_heads(jobs, k, job);
            }
}

static const double *gram_of(const struct qk_keys *k, const struct job *job, enum qk_what what,
                             int64_t head)
{
    int64_t hd = qk_head_dim(&k->config);
    return k->layers[job->layer].gram[job->site][what] + head * hd * hd;
}

static int take(const struct qk_keys *k, struct job *job, struct qk_err *err)
{
    struct qk_spectrum *s = &job->spectrum;
    int hd = (int)qk_head_dim(&k->config);
    enum qk_what what = what_of(job->of);
    const double *gram = gram_of(k, job, what, job->head);
    if (job->of == QK_MEASURE_QK) {
        int64_t key_head = job->head / (k->config.n_heads / k->config.n_kv_heads);
        return qk_spectrum_of_product(s, gram, gram_of(k, job, QK_OF_K, key_head), hd, err);
    }
    if (!job->centred)
        return qk_spectrum_of_gram(s, NULL, gram, hd, err);
    double *centred = qk_alloc((size_t)(hd * hd), sizeof *centred);
    qk_gram_centre(centred, gram, k->layers[job->layer].mean[job->site][what] + job->head * hd,
                   k->rows, hd);
    int bad = qk_spectrum_of_gram(s, NULL, centred, hd, err);
    free(centred);
    return bad;
}

static void find_null(const struct qk_keys *k, struct job *job)
{
    int hd = (int)qk_head_dim(&k->config);
    if (job->of == QK_MEASURE_QK)
        job->null = qk_null_product(k->rows, hd);
    else if (job->site == QK_SITE_WEIGHT)
        job->null = qk_null_rows(k->config.d_model, hd);
    else /* centred Gaussian rows have the spectrum of one row fewer */
        job->null = qk_null_rows(k->rows - job->centred, hd);
}

static int take_all(struct jobs *jobs, const struct qk_keys *k, const char *file,
                    struct qk_err *err)
{
    size_t worst = jobs->count; /* the first that fails, whatever thread met it */
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < jobs->count; i++) {
        struct job *job = &jobs->at[i];
        struct qk_err own;
        if (take(k, job, &own) == 0)
            continue;
#pragma omp critical(qk_probe)
        if (i < worst) {
            worst = i;
            qk_fail(err, "%s: layer %d, head %d, %s at %s: %s", file, job->layer, job->head,
                    qk_of_names[job->of], qk_site_names[job->site], own.text);
        }
    }
    if (worst < jobs->count)
        return -1;
    for (size_t i = 0; i < jobs->count; i++)
        if (jobs->at[i].shown)
            find_null(k, &jobs->at[i]);
    return 0;
}

/* ---- what was asked, and what is there ---- */

static int check_ask(const struct qk_keys *k, const struct qk_probe_ask *ask, const char *file,
                     struct qk_err *err)
{
    const unsigned rows = 1u << QK_MEASURE_K | 1u << QK_MEASURE_Q;
    for (int site = 0; site <= QK_SITES; site++) {
        if (ask->sites != QK_ALL_SITES && ask->sites & 1u << site && !(k->sites & 1u << site))
            return qk_fail(err, "%s: holds nothing of site %s", file, qk_site_names[site]);
        for (enum qk_of of = 0; site < QK_SITES && of <= QK_MEASURE_Q; of++)
            if (ask->centred && ask->of & 1u << of && ask->sites & 1u << site &&
                is_there(k, site, of) && !k->layers[0].mean[site][what_of(of)])
                return qk_fail(err, "%s: holds no mean of %s at %s, so it cannot be centred", file,
                               qk_of_names[of], qk_site_names[site]);
    }
    for (enum qk_of of = 0; of < QK_MEASURES; of++) {
        bool there = !(ask->of & 1u << of);
        for (int site = 0; site <= QK_SITES; site++)
            there |= ask->sites & 1u << site && suits(site, of) && is_there(k, site, of);
        if (!there)
            return qk_fail(err, "%s: holds no %s at the sites asked for%s", file, qk_of_names[of],
                           k->sites == 1u << QK_SITE_WEIGHT && of <= QK_MEASURE_QK
                               ? ", only weights: try --of wk,wq"
                               : "");
    }
    if (!(ask->of & rows) && ask->centred && !ask->plain)
        return qk_fail(err, "%s: only k and q can be centred", file);
    return 0;
}

/* ---- JSON ---- */

static cJSON *measure_json(const struct qk_keys *k, const struct job *job, bool spectra)
{
    const struct qk_spectrum *s = &job->spectrum;
    cJSON *m = cJSON_CreateObject();
    qk_json_add_number(m, "layer", job->layer);
    qk_json_add_number(m, "head", job->head);
    cJSON_AddStringToObject(m, "of", qk_of_names[job->of]);
    cJSON_AddStringToObject(m, "site", qk_site_names[job->site]);
    cJSON_AddBoolToObject(m, "centred", job->centred);
    qk_json_add_number(m, "pr", s->pr);
    qk_json_add_number(m, "pr_energy", s->pr_energy);
    qk_json_add_number(m, "rank90", s->rank90);
    qk_json_add_number(m, "cond", s->cond);
    qk_json_add_number(m, "effective_rank", s->effective_rank);
    qk_json_add_number(m, "stable_rank", s->stable_rank);
    qk_json_add_number(m, "axis_alignment", s->axis_alignment);
    qk_json_add_number(m, "null_pr", job->null.pr);
    qk_json_add_number(m, "null_pr_energy", job->null.pr_energy);
    if (job->of == QK_MEASURE_QK)
        qk_json_add_number(m, "key_head",
                           (double)(job->head / (k->config.n_heads / k->config.n_kv_heads)));
    if (spectra)
        cJSON_AddItemToObject(m, "sigma", qk_json_numbers(s->sigma, s->d));
    return m;
}

/* Mean PR over the heads of one layer and site; NaN where it was not measured. */
static double mean_over_heads(const struct jobs *jobs, int layer, int site, enum qk_of of)
{
    double sum = 0;
    int count = 0;
    for (size_t i = 0; i < jobs->count; i++) {
        const struct job *job = &jobs->at[i];
        if (job->layer != layer || job->site != site || job->of != of || job->centred)
            continue;
        sum += job->spectrum.pr;
        count++;
    }
    return count ? sum / count : NAN;
}

static bool site_measured(const struct qk_keys *k, const struct qk_probe_ask *ask, int site,
                          enum qk_of of)
{
    return ask->sites & 1u << site && is_there(k, site, of);
}

static cJSON *pr_json(const struct qk_keys *k, const struct qk_probe_ask *ask,
                      const struct jobs *jobs, int layer, enum qk_of of)
{
    cJSON *pr = cJSON_CreateObject();
    for (int site = 0; site < QK_SITES; site++)
        if (site_measured(k, ask, site, of))
            qk_json_add_number(pr, qk_site_names[site], mean_over_heads(jobs, layer, site, of));
    return pr;
}

static cJSON *mean_pr_json(const struct qk_keys *k, const struct qk_probe_ask *ask,
                           const struct jobs *jobs)
{
    cJSON *pr = cJSON_CreateObject();
    for (int site = 0; site < QK_SITES; site++) {
        double sum = 0;
        if (!site_measured(k, ask, site, QK_MEASURE_K))
            continue;
        for (int layer = 0; layer < (int)k->config.n_layers; layer++)
            sum += mean_over_heads(jobs, layer, site, QK_MEASURE_K);
        qk_json_add_number(pr, qk_site_names[site], sum / (double)k->config.n_layers);
    }
    return pr;
}

/* std is the unbiased one, as the original study's. */
static cJSON *gain_json(const double *gain, int64_t count)
{
    double sum = 0, squares = 0, least = gain[0], most = gain[0], n = (double)count;
    for (int64_t i = 0; i < count; i++) {
        sum += gain[i];
        least = fmin(least, gain[i]);
        most = fmax(most, gain[i]);
    }
    double mean = sum / n;
    for (int64_t i = 0; i < count; i++)
        squares += (gain[i] - mean) * (gain[i] - mean);
    double deviation = count > 1 ? sqrt(squares / (n - 1)) : NAN;
    cJSON *g = cJSON_CreateObject();
    qk_json_add_number(g, "mean", mean);
    qk_json_add_number(g, "std", deviation);
    qk_json_add_number(g, "cv", deviation / mean);
    qk_json_add_number(g, "min", least);
    qk_json_add_number(g, "max", most);
    cJSON_AddItemToObject(g, "values", qk_json_numbers(gain, count));
    return g;
}

/* The share of each dimension in the keys, mean over heads, beside |gamma|, per site. */
static cJSON *shares_json(const struct qk_keys *k, const struct qk_probe_ask *ask, int layer)
{
    const struct qk_keys_layer *l = &k->layers[layer];
    int hd = (int)qk_head_dim(&k->config);
    int64_t G = k->config.n_kv_heads;
    cJSON *sites = cJSON_CreateObject();
    for (int site = 0; site < QK_SITES; site++) {
        double mean[QK_MOST_DIM] = {0}, one[QK_MOST_DIM], gain[QK_MOST_DIM];
        if (!site_measured(k, ask, site, QK_MEASURE_K))
            continue;
        for (int64_t h = 0; h < G; h++) {
            qk_gram_shares(one, l->gram[site][QK_OF_K] + h * hd * hd, hd);
            for (int j = 0; j < hd; j++)
                mean[j] += one[j] / (double)G;
        }
        cJSON *s = cJSON_AddObjectToObject(sites, qk_site_names[site]);
        cJSON_AddItemToObject(s, "c", qk_json_numbers(mean, hd));
        bool vector = l->gain[QK_OF_K] && qk_keys_gains(&k->config) == hd;
        for (int j = 0; vector && j < hd; j++)
            gain[j] = fabs(l->gain[QK_OF_K][j]);
        qk_json_add_number(s, "rho", vector ? qk_spearman(mean, gain, hd) : NAN);
    }
    return sites;
}

static cJSON *overlap_json(const struct qk_keys *k, const struct qk_probe_ask *ask, int layer)
{
    cJSON *overlap = cJSON_CreateObject();
    for (int site = 0; site < QK_SITES; site++)
        if (site_measured(k, ask, site, QK_MEASURE_K))
            qk_json_add_number(overlap, qk_site_names[site],
                               qk_head_overlap(k->layers[layer].gram[site][QK_OF_K],
                                               (int)k->config.n_kv_heads,
                                               (int)qk_head_dim(&k->config)));
    return overlap;
}

/* Asked for weights alone, a checkpoint is not run: then its dump is told about nothing else. */
static bool with_rows(const struct qk_probe_ask *ask)
{
    return ask->sites & ~(1u << QK_SITE_WEIGHT);
}

static cJSON *layer_json(const struct qk_keys *k, const struct qk_probe_ask *ask,
                         const struct jobs *jobs, int layer)
{
    const struct qk_keys_layer *l = &k->layers[layer];
    bool ran = with_rows(ask) && l->entropy && l->max_logit;
    int64_t H = ran ? k->config.n_heads : 0, gains = qk_keys_gains(&k->config);
    cJSON *o = cJSON_CreateObject();
    qk_json_add_number(o, "layer", layer);
    cJSON_AddItemToObject(o, "k_pr", pr_json(k, ask, jobs, layer, QK_MEASURE_K));
    cJSON_AddItemToObject(o, "q_pr", pr_json(k, ask, jobs, layer, QK_MEASURE_Q));
    if (l->gain[QK_OF_K])
        cJSON_AddItemToObject(o, "gamma_k", gain_json(l->gain[QK_OF_K], gains));
    if (l->gain[QK_OF_Q])
        cJSON_AddItemToObject(o, "gamma_q", gain_json(l->gain[QK_OF_Q], gains));
    cJSON_AddItemToObject(o, "entropy", qk_json_numbers(l->entropy, H));
    cJSON_AddItemToObject(o, "max_logit", qk_json_numbers(l->max_logit, H));
    cJSON_AddItemToObject(o, "head_overlap", overlap_json(k, ask, layer));
    cJSON_AddItemToObject(o, "gamma_vs_svd", shares_json(k, ask, layer));
    return o;
}

static cJSON *null_json(const struct qk_keys *k)
{
    cJSON *null = cJSON_CreateObject();
    cJSON_AddStringToObject(null, "how",
                            "mean over draws of i.i.d. Gaussian rows, by Bartlett's decomposition");
    qk_json_add_number(null, "draws", qk_null_draws((int)qk_head_dim(&k->config)));
    return null;
}

static cJSON *whole_json(const struct qk_keys *k, const struct qk_probe_ask *ask,
                         const struct jobs *jobs, const char *file)
{
    cJSON *probe = cJSON_CreateObject();
    cJSON_AddStringToObject(probe, "kind", "probe");
    qk_json_add_number(probe, "version", 1);
    cJSON_AddStringToObject(probe, "file", file);
    qk_json_add_number(probe, "step", (double)k->step);
    qk_json_add_number(probe, "tokens_seen", (double)k->tokens_seen);
    cJSON_AddStringToObject(probe, "qk_norm", qk_norm_name(k->config.qk_norm));
    qk_json_add_number(probe, "rows", with_rows(ask) ? (double)k->rows : 0);
    qk_json_add_number(probe, "skip_first", with_rows(ask) ? (double)k->skip_first : 0);
    cJSON_AddItemToObject(probe, "config", qk_config_to_json(&k->config));
    cJSON_AddItemToObject(probe, "null", null_json(k));
    cJSON *measures = cJSON_AddArrayToObject(probe, "measures");
    for (size_t i = 0; i < jobs->count; i++)
        if (jobs->at[i].shown)
            cJSON_AddItemToArray(measures, measure_json(k, &jobs->at[i], ask->spectra));
    cJSON *layers = cJSON_AddArrayToObject(probe, "layers");
    for (int layer = 0; layer < (int)k->config.n_layers; layer++)
        cJSON_AddItemToArray(layers, layer_json(k, ask, jobs, layer));
    cJSON_AddItemToObject(probe, "mean_pr", mean_pr_json(k, ask, jobs));
    return probe;
}

cJSON *qk_probe_json(const struct qk_keys *k, const struct qk_probe_ask *ask, const char *file,
                     struct qk_err *err)
{
    struct jobs jobs = {0};
    cJSON *probe = NULL;
    if (check_ask(k, ask, file, err) != 0)
        return NULL;
    list_jobs(&jobs, k, ask);
    if (take_all(&jobs, k, file, err) == 0)
        probe = whole_json(k, ask, &jobs, file);
    free(jobs.at);
    return probe;
}

/* ---- a flat table ---- */

static void print_one(const cJSON *value, FILE *to)
{
    if (!value || cJSON_IsNull(value)) {
        fputs("NA", to);
    } else if (cJSON_IsString(value)) {
        fputs(value->valuestring, to);
    } else {
        char *text = cJSON_PrintUnformatted(value);
        fputs(text, to);
        free(text);
    }
}

/* One value, or a list joined with commas. */
static void print_cell(const cJSON *cell, FILE *to)
{
    const cJSON *value;
    if (!cJSON_IsArray(cell)) {
        print_one(cell, to);
        return;
    }
    cJSON_ArrayForEach(value, cell)
    {
        print_one(value, to);
        fputs(value->next ? "," : "", to);
    }
}

void qk_probe_tsv(const cJSON *probe, bool header, const char *file, FILE *to)
{
    static const char *const columns[] = {
        "layer",       "head",           "of",      "site",           "centred",
        "pr",          "pr_energy",      "rank90",  "cond",           "effective_rank",
        "stable_rank", "axis_alignment", "null_pr", "null_pr_energy", "key_head",
        "sigma"};
    const cJSON *measures = cJSON_GetObjectItemCaseSensitive(probe, "measures"), *m;
    size_t count = sizeof columns / sizeof *columns;
    if (!cJSON_GetObjectItemCaseSensitive(measures->child, "sigma"))
        count--;
    if (header && file)
        fputs("file\t", to);
    for (size_t i = 0; header && i < count; i++)
        fprintf(to, "%s%c", columns[i], i + 1 < count ? '\t' : '\n');
    cJSON_ArrayForEach(m, measures)
    {
        if (file)
            fprintf(to, "%s\t", file);
        for (size_t i = 0; i < count; i++) {
            print_cell(cJSON_GetObjectItemCaseSensitive(m, columns[i]), to);
            putc(i + 1 < count ? '\t' : '\n', to);
        }
    }
}
