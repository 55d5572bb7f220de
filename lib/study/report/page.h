/* A page of headings, paragraphs, lists, tables, figures and commands, written as Markdown or as
 * one HTML file that needs nothing else: styles and figures (SVG text) are inside it.
 *
 * Text is plain; `code` between back quotes is the only mark it may hold.  Every call adds one
 * block.  Text is copied; the page is one growing buffer.
 */
#ifndef QK_STUDY_PAGE_H
#define QK_STUDY_PAGE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"
#include "study/judge/table.h"

struct qk_page {
    bool html;
    struct qk_buffer text;
    int figures; /* so far: ids inside inlined SVG get a prefix of their own */
};

void qk_page_begin(struct qk_page *p, bool html, const char *title);
void qk_page_end(struct qk_page *p);

void qk_page_heading(struct qk_page *p, int level, const char *text);
void qk_page_paragraph(struct qk_page *p, const char *text);
/* The box at the top: a short word and a sentence. */
void qk_page_verdict(struct qk_page *p, const char *label, const char *text);
void qk_page_list(struct qk_page *p, const struct qk_strings *items);
void qk_page_table(struct qk_page *p, const struct qk_table *table);
void qk_page_code(struct qk_page *p, const char *text);
/* What is between these is folded away until asked for. */
void qk_page_fold(struct qk_page *p, const char *summary);
void qk_page_unfold(struct qk_page *p);

/* NAME.svg of `folder` inlined; in Markdown a link to NAME.png (NAME.svg where that is missing)
 * under `link`, the way from the page to `folder`.  The file must be there. */
int qk_page_figure(struct qk_page *p, const char *folder, const char *link, const char *name,
                   const char *caption, struct qk_err *err);

#endif
