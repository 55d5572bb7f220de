/* Text as Python's str sees it, for tasks whose prompts are defined by Python code.
 *
 * All text is valid UTF-8; characters are code points.  White space is what str.isspace() and the
 * \s of `re` say: Unicode White_Space and U+001C to U+001F.
 */
#ifndef QK_STUDY_PYTEXT_H
#define QK_STUDY_PYTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/* A piece of a text that belongs to somebody else. */
struct qk_span {
    const char *at;
    size_t size;
};

struct qk_span qk_span_of(const char *text);

/* strip(), rstrip() and lstrip(). */
struct qk_span qk_py_strip(struct qk_span p);
struct qk_span qk_py_rstrip(struct qk_span p);
struct qk_span qk_py_lstrip(struct qk_span p);
/* len(): characters. */
int64_t qk_py_length(struct qk_span p);
/* len(re.split(r"\s+", text)): one more than there are runs of white space. */
int64_t qk_py_split_count(struct qk_span p);
/* text.replace(from, to): from left to right, not looked at again.  In place; `from` not empty. */
void qk_py_replace(struct qk_buffer *text, const char *from, const char *to);
/* Append p.capitalize(): the first character in upper case, the others in lower case; character by
 * character (ligatures and digraphs at the start, Georgian there, and a sigma at the end of a word
 * come out otherwise than Python's). */
void qk_py_capitalize(struct qk_span p, struct qk_buffer *to);

#endif
