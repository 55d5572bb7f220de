/* What the tasks of eval_tasks.h share: running over the items of a file, and the numbers made of
 * their scores. */
#ifndef QK_STUDY_EVAL_ITEMS_H
#define QK_STUDY_EVAL_ITEMS_H

#include "study/eval/eval_tasks.h"

/* ---- items ---- */

/* A task as questions about item 0, 1, ...: `ask` adds its requests to *list (realloc'd) of
 * *count, `tell` sees them scored, in the order of the items. */
struct qk_questions {
    int64_t available; /* items there are */
    int (*ask)(void *self, int64_t item, struct qk_request **list, int64_t *count,
               struct qk_err *err);
    int (*tell)(void *self, int64_t item, const struct qk_request *list, int64_t count,
                struct qk_err *err);
    void *self;
};

/* What was run. */
struct qk_asked {
    int64_t available, items;
    int64_t tokens;   /* run through the model */
    int64_t cut;      /* requests of which the front was cut off */
    int64_t unscored; /* of them, those with part of the continuation cut off */
};

/* All items, or as many from the first on as plan->max_tokens allows. */
int qk_ask_items(struct qk_asked *asked, const struct qk_task_plan *plan,
                 const struct qk_questions *questions, struct qk_err *err);

/* {tokens, available, subset, cut, cut_continuations} into the result, {max_length, bos,
 * prefix_token} into how. */
void qk_eval_add_asked(const struct qk_asked *asked, const struct qk_task_plan *plan, cJSON *result,
                       cJSON *how);

/* ---- numbers ---- */

/* One number per item. */
struct qk_column {
    double *at;
    size_t count, capacity;
};
void qk_column_add(struct qk_column *c, double value);
void qk_column_free(struct qk_column *c);
double qk_column_mean(const struct qk_column *c);
/* sd / sqrt n, sd with n - 1; NaN for one item. */
double qk_column_error(const struct qk_column *c);

/* sum(a) / sum(b), and its standard error: sqrt(n / (n - 1) sum (a - ratio b)^2) / sum b. */
double qk_column_ratio(const struct qk_column *a, const struct qk_column *b, double *error);

/* NAME and NAME_stderr. */
void qk_eval_add_number(cJSON *to, const char *name, double value, double error);
/* The same of exp(-x), whose error is exp(-x) times that of x. */
void qk_eval_add_perplexity(cJSON *to, const char *name, double x, double error);

/* ---- lines and texts ---- */

/* The items of a file of JSON lines: *at (malloc'd) points into the array that is returned. */
cJSON *qk_read_items(const char *path, const cJSON ***at, int64_t *count, struct qk_err *err);

/* A line to plan->items, which may be NULL; frees the item. */
int qk_print_item(const struct qk_task_plan *plan, cJSON *item, struct qk_err *err);
void qk_add_sha256(cJSON *to, const char *key, struct qk_span text);

#endif
