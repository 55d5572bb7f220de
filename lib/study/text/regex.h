/* The regular expressions of tokenizer.json, written for Oniguruma, run by PCRE2.
 *
 * The pattern is translated: \s and \S are Unicode White_Space, \p{L}, \p{M}, \p{N}, \p{P} and
 * \p{S} know Unicode 16, scripts mean Script and not Script_Extensions, ^ and $ match at every
 * line.  What means something else in the two dialects (\w, \b, \h, named groups, nested classes,
 * ...) is refused by name.
 */
#ifndef QK_STUDY_REGEX_H
#define QK_STUDY_REGEX_H

#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

struct qk_regex; /* compiled; shared by threads */

/* The pattern in PCRE2's dialect. */
int qk_regex_translate(const char *pattern, struct qk_buffer *to, struct qk_err *err);

/* NULL on failure.  `literal` takes the pattern as plain text. */
struct qk_regex *qk_regex_new(const char *pattern, int literal, struct qk_err *err);
void qk_regex_free(struct qk_regex *re);

/* Room for matching, one per thread. */
struct qk_regex_work;
struct qk_regex_work *qk_regex_work_new(void);
void qk_regex_work_free(struct qk_regex_work *work);

/* Search text (valid UTF-8) from `from`: 1 with *start and *end, 0 for no match, -1 on failure. */
int qk_regex_find(const struct qk_regex *re, struct qk_regex_work *work, const char *text, size_t n,
                  size_t from, size_t *start, size_t *end, struct qk_err *err);

#endif
