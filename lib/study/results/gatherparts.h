/* What the files of gathering share; not for anyone else.
 *
 *   gather.c        reading, and the whole
 *   gatherpoints.c  the keys that every results.json has
 *   gatherlayers.c  those by layer; evals
 */
#ifndef QK_STUDY_GATHERPARTS_H
#define QK_STUDY_GATHERPARTS_H

#include "study/results/gather.h"

struct qk_gather_point {
    double tokens;
    const cJSON *probe;
    char *where; /* the file it came from and the file it measured, for sentences */
};

/* One run as read. */
struct qk_gather_run {
    const struct qk_gather *g;
    cJSON *probes, *log; /* arrays, owned */
    struct qk_gather_point *points;
    int count, layers;
    const cJSON *config; /* not owned unless config_owned */
    cJSON *config_owned;
};

/* layers[layer].key[site] of a probe; NaN for none. */
double qk_gather_layer(const cJSON *probe, int layer, const char *key, const char *site);
/* layers[layer] of a probe. */
const cJSON *qk_gather_layer_at(const cJSON *probe, int layer);
bool qk_gather_text_is(const cJSON *object, const char *key, const char *text);
/* A list over the points, left out when no point has the number. */
void qk_gather_series(cJSON *out, const char *key, const double *values, int count);

/* All of results.json but `evals`; the caller deletes it. */
cJSON *qk_gather_points(const struct qk_gather_run *r);
/* q_layer_pr, layer_entropy, layer_max_logit, q_pr_sites, spectra, contribution; each is left out
 * where the probes do not have it. */
void qk_gather_by_layer(const struct qk_gather_run *r, cJSON *out);
/* evals; left out when none is given. */
int qk_gather_evals(const struct qk_gather *g, cJSON *out, struct qk_err *err);

#endif
