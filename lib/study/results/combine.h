/* combined.json: the conditions of a study side by side, and the mean over seeds.
 *
 * {A: results, B: results, ..., elapsed_s}; with several runs under one name, that one holds
 * their mean (every number and array averaged element by element, null where any run has null) and
 * `seeds`: the runs themselves in the order given.
 */
#ifndef QK_STUDY_COMBINE_H
#define QK_STUDY_COMBINE_H

#include "base/json.h"
#include "base/mem.h"

/* `operands` are "A=results.json" words.  Runs of one name must have different seeds and equal
 * points; all names the same seeds.  The caller deletes the result; NULL on failure. */
cJSON *qk_combine(const struct qk_strings *operands, const struct qk_strings *timings,
                  struct qk_err *err);

/* The file name in an "A=FILE" word; NULL with a sentence when it is not one. */
const char *qk_combine_path(const char *operand, struct qk_err *err);

/* The mean of `count` JSON values of one shape: numbers are averaged, null anywhere gives null,
 * arrays and objects go member by member, other things are taken from the first. */
cJSON *qk_combine_mean(const cJSON *const *values, int count, const char *what, struct qk_err *err);

#endif
