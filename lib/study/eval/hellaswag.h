/* HellaSwag's items, in upstream's form or the plain one, as lm-evaluation-harness asks them.
 *
 * Upstream: {activity_label, ctx_a, ctx_b, endings, label}.  The query is
 * preprocess(activity_label + ": " + ctx_a + " " + ctx_b.capitalize()) and each ending is
 * preprocessed: white space stripped, " [title]" -> ". ", "[...]" deleted, "  " -> " " in one pass.
 * Plain: {query, endings, label} without ctx_a and ctx_b: markup is gone already, and the texts are
 * taken as they are.
 */
#ifndef QK_STUDY_HELLASWAG_H
#define QK_STUDY_HELLASWAG_H

#include "base/json.h"
#include "study/text/pytext.h"

enum { QK_MOST_ENDINGS = 16 };

struct qk_hellaswag {
    char *query; /* owned, as are the endings */
    char *endings[QK_MOST_ENDINGS];
    int count, gold;
    bool plain;
};

int qk_hellaswag_read(struct qk_hellaswag *h, const cJSON *json, struct qk_err *err);
void qk_hellaswag_free(struct qk_hellaswag *h);

/* The harness's preprocess(), in place. */
void qk_hellaswag_preprocess(struct qk_buffer *text);

#endif
