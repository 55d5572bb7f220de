/* The tasks of language understanding, as lm-evaluation-harness v0.4.13 defines them.
 *
 * lambada   {"text"} per line: the last word, cut off at the last space, is to be predicted.
 *           acc: every token of it is the likeliest; perplexity = exp(-mean over items of logp).
 * hellaswag an item per line (hellaswag.h): of several endings the likeliest is to be the right
 *           one.  acc by logp, acc_norm by logp per character, acc_bytes by logp per byte.
 * wikitext  the raw file (wikitext.h), or {"page"} or {"text"} per line: a page is read in rolling
 *           windows; word_perplexity = exp(-sum logp / sum words), words and bytes counted in the
 *           page as it stands in the data.
 *
 * Each adds {n, value, stderr, ...} to `result` and what it depends on to `how`.  Standard errors:
 * sd / sqrt n with n - 1; of perplexities by the delta method (the harness draws bootstraps).
 * Errors name the file and the item.
 */
#ifndef QK_STUDY_EVAL_TASKS_H
#define QK_STUDY_EVAL_TASKS_H

#include <stdio.h>

#include "base/json.h"
#include "study/eval/scorer.h"

struct qk_task_plan {
    struct qk_scorer *scorer;
    const char *data;
    const char *shots_data; /* hellaswag: where examples come from; NULL: `data` */
    int64_t shots;          /* hellaswag: examples before each item */
    uint64_t seed;          /* they are drawn with */
    int64_t max_tokens;     /* items in order while the tokens run through the model stay within it,
                               at least one; 0: all */
    FILE *items;            /* a JSON line for each; may be NULL */
    bool quiet;             /* no progress */
};

int qk_eval_lambada(const struct qk_task_plan *plan, cJSON *result, cJSON *how, struct qk_err *err);
int qk_eval_hellaswag(const struct qk_task_plan *plan, cJSON *result, cJSON *how,
                      struct qk_err *err);
int qk_eval_wikitext(const struct qk_task_plan *plan, cJSON *result, cJSON *how,
                     struct qk_err *err);

#endif
