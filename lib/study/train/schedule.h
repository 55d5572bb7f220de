/* Pure functions of the step: learning rate, and the points at which something is looked at. */
#ifndef QK_STUDY_SCHEDULE_H
#define QK_STUDY_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/config.h"

/* What the configured learning rates are multiplied by at step s (from 0):
 *   w = floor(warmup_tokens / tokens per step), n = floor(train_tokens / tokens per step)
 *   s < w: (s+1)/w.  Then, with p = (s-w) / max(1, n-w) kept in [0, 1]:
 *   constant 1;  cosine 0.1 + 0.45 (1 + cos pi p);  linear max(0.1, 1-p);
 *   wsd 1 until p = 0.8, then a straight line to 0.1 at p = 1. */
double qk_lr_factor(const struct qk_config *c, int64_t step);

/* Token counts asked for: `a,b,c` or `every:N`.  A point N means the first step with tokens_seen
 * >= N. */
struct qk_points {
    int64_t every; /* 0: a list */
    int64_t *at;
    int count;
};
int qk_points_parse(struct qk_points *p, const char *text, struct qk_err *err);
void qk_points_free(struct qk_points *p);

/* Is there a point at the very beginning (0 tokens seen)? */
bool qk_points_at_zero(const struct qk_points *p);
/* Does the step that took the count from `before` to `after` reach a point?  `last`: it is the
 * last one of the edge, which `every:N` always includes. */
bool qk_points_hit(const struct qk_points *p, int64_t before, int64_t after, bool last);
/* How many points there are at most in `steps` steps of `each` tokens, begun with `from` tokens
 * seen; one at the beginning counts when that is 0. */
int64_t qk_points_count(const struct qk_points *p, int64_t from, int64_t each, int64_t steps);

#endif
