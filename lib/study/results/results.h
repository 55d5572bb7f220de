/* results.json and combined.json in memory: one run's trajectory, and the conditions of a study.
 *
 * Only the keys of the original study are required (tag, tokens, loss, val_loss, mean_pr,
 * layer_pr, gamma_cv); everything else is optional, so that published files are read too.
 * A null in a file is NaN here.  Points are indexed in order of tokens, which must rise.
 */
#ifndef QK_STUDY_RESULTS_H
#define QK_STUDY_RESULTS_H

#include <stdbool.h>

#include "base/json.h"

struct qk_results {
    const cJSON *json; /* the object it was read from, not owned */
    const char *tag;
    const char *site;    /* NULL when not told */
    const char *qk_norm; /* "learned", ...; guessed from the tag in published files; NULL */
    bool has_seed;
    int64_t seed;
    int points, layers;
    double *tokens, *loss, *val_loss, *mean_pr; /* [points] */
    double *q_pr, *qk_pr, *entropy, *max_logit; /* [points], NaN where not told */
    double *layer_pr;                           /* [layers, points] */
    double *gamma_cv;   /* [layers, points], NaN where not told; NULL when there is none */
    double *gamma_mean; /* [layers] mean |gain| at the end; NULL without gamma_final */
    double *gamma_sd;   /* [layers] its sample deviation; NULL likewise */
    int head_dim;       /* 0 when not told */
    double null_pr;     /* NaN when not told */
};

/* `where` names file and object in errors. */
int qk_results_parse(struct qk_results *r, const cJSON *json, const char *where,
                     struct qk_err *err);
void qk_results_free(struct qk_results *r);

/* The value at [layer, point] of an array [layers, points]. */
static inline double qk_results_at(const struct qk_results *r, const double *array, int layer,
                                   int point)
{
    return array[(int64_t)layer * r->points + point];
}

/* The last point that has a number, or -1; the number there, NaN for none (`series` is one of r's
 * over its points). */
int qk_results_last(const double *series, int points);
double qk_results_end(const struct qk_results *r, const double *series);

/* evals.NAME.value of a run, NaN for none. */
double qk_results_eval(const struct qk_results *r, const char *name);

/* Parameters of the model that the member `config` of a file (results.json, chosen.json) describes;
 * 0 when it has none. */
int64_t qk_results_parameters(const cJSON *file);

enum { QK_CONDITION_NAME = 24 };

/* One condition: the mean over its seeds, and the seeds (one when the file had no list). */
struct qk_condition {
    char name[QK_CONDITION_NAME]; /* "A", "B1", "Muon_QK": its key in combined.json */
    struct qk_results mean;
    struct qk_results *seeds;
    int n_seeds;
};

/* The last point at which every run of both has a validation loss, -1 for none: losses of different
 * points make no pair. */
int qk_condition_last_val(const struct qk_condition *a, const struct qk_condition *b);

enum { QK_MOST_CONDITIONS = 26 };

struct qk_combined {
    cJSON *json;                                /* owned */
    struct qk_condition at[QK_MOST_CONDITIONS]; /* in the file's order */
    int count;
    double elapsed_s; /* NaN when null */
};

/* Takes over `json` (freed by qk_combined_free, and on failure).  All conditions must have the
 * same points and layers, and the same seeds when they have several. */
int qk_combined_parse(struct qk_combined *c, cJSON *json, const char *where, struct qk_err *err);
int qk_combined_read(struct qk_combined *c, const char *path, struct qk_err *err);
void qk_combined_free(struct qk_combined *c);

/* The condition of that name, or NULL. */
const struct qk_condition *qk_combined_find(const struct qk_combined *c, const char *name);

/* A name that a condition may have: a letter, then letters, digits and _; not a key that
 * combined.json has for other things. */
bool qk_condition_may_be_called(const char *name);

/* The second of the pair whose first is `key`; `otherwise` when there is none, or key is NULL. */
const char *qk_words_for(const char *const pairs[][2], size_t count, const char *key,
                         const char *otherwise);

/* For people: "learned gain", "frozen gain", "no QK-Norm", ... or the tag; and its key, "AdamW_QK"
 * shown as "AdamW+QK". */
const char *qk_condition_name(const struct qk_condition *c);
const char *qk_condition_label(const char *name, char text[QK_CONDITION_NAME]);

#endif
