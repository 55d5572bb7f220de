/* From key statistics to numbers: the probe.json object and its flat table.
 *
 * Every measure is a function of the statistics in struct qk_keys alone, so a checkpoint and its
 * keys dump give the same numbers to the last bit (lib/FORMAT.md, "probe.json").
 */
#ifndef QK_STUDY_PROBE_H
#define QK_STUDY_PROBE_H

#include "base/json.h"
#include "study/measure/keys.h"

/* Whose spectrum: of queries, keys, their bilinear form, and the weight blocks. */
enum qk_of { QK_MEASURE_K, QK_MEASURE_Q, QK_MEASURE_QK, QK_MEASURE_WK, QK_MEASURE_WQ, QK_MEASURES };
extern const char *const qk_of_names[QK_MEASURES]; /* "k", "q", "qk", "wk", "wq" */

struct qk_probe_ask {
    unsigned sites;      /* bits as in keys.h */
    unsigned of;         /* bit per qk_of */
    bool plain, centred; /* k and q: which versions; the others are never centred */
    bool spectra;        /* with sigma[] */
};

/* "k,qk" -> bits. */
int qk_probe_of(const char *text, unsigned *of, struct qk_err *err);

/* The probe.json object without provenance; `file` is what the result names and errors begin
 * with.  What was asked and is not there (a site that was not dumped, keys of a dump of weights)
 * is an error. */
cJSON *qk_probe_json(const struct qk_keys *k, const struct qk_probe_ask *ask, const char *file,
                     struct qk_err *err);

/* measures[] as tab-separated lines, null as "NA", sigma[] joined with commas.  With `file` the
 * first column names it.  `header` first prints the column names. */
void qk_probe_tsv(const cJSON *probe, bool header, const char *file, FILE *to);

#endif
