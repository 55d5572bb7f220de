/* WikiText as a test of language models: pages, and the text they were before tokenisation.
 *
 * Pages: the raw file is cut before every heading of the first level, " = Title = ", as the
 * document-level data set of lm-evaluation-harness does; what stands before the first is a page of
 * its own unless it is blank.  CR LF and CR are line ends, as to Python's open().
 */
#ifndef QK_STUDY_WIKITEXT_H
#define QK_STUDY_WIKITEXT_H

#include "base/mem.h"
#include "study/text/pytext.h"

/* Line ends of the text become LF, in place; whether any was not. */
bool qk_wikitext_line_ends(struct qk_buffer *text);

/* The next page of text[*at ..], LF line ends; false when there is none.  *at moves on.  The line
 * end before a heading belongs to no page. */
bool qk_wikitext_page(const struct qk_buffer *text, size_t *at, struct qk_span *page);

/* The page with the data set's spaces and marks undone, into `to` (emptied first): the replacements
 * of the harness's wikitext_detokenizer, in its order, including what has no effect by mistake. */
void qk_wikitext_detokenize(struct qk_span page, struct qk_buffer *to);

#endif
