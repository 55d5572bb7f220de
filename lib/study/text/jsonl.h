/* One line of JSON: the text under a key of its object, checked and unescaped in one pass.
 *
 * Strict (RFC 8259): the whole line must be one object.  \u0000 is kept as a zero byte; of a key
 * that is there twice the last counts; surrogates must come in pairs.
 */
#ifndef QK_STUDY_JSONL_H
#define QK_STUDY_JSONL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

/* The string under `field` into `to` (emptied first).  The line is valid UTF-8.  Errors say what
 * is wrong with the line and leave naming it to the caller. */
int qk_jsonl_text(const char *line, size_t n, const char *field, struct qk_buffer *to,
                  struct qk_err *err);

/* Whether the line is a JSON object. */
bool qk_jsonl_is_object(const char *line, size_t n);

#endif
