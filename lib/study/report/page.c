#include "study/report/page.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/textfile.h"

static const char *const style =
    ":root{color-scheme:light "
    "dark;--ink:#1c1e21;--soft:#5c6067;--line:#d9dce1;--paper:#fff;--tint:#f4f6f8;"
    "--mark:#0072b2}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e7e9;--soft:#a4a9b1;--line:#3a3f47;--paper:#"
    "17191c;"
    "--tint:#22262b;--mark:#56b4e9}}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);font:17px/1.55 Georgia,'Times New "
    "Roman',serif}\n"
    "main{max-width:64rem;margin:0 auto;padding:2rem 1.2rem 4rem}\n"
    "h1,p,ul,ol{max-width:48rem}\n"
    "h1,h2,h3,th,figcaption,summary,.label{font-family:system-ui,'Helvetica "
    "Neue',Arial,sans-serif}\n"
    "h1{font-size:1.9rem;line-height:1.2;margin:0 0 1.2rem}\n"
    "h2{font-size:1.25rem;margin:2.4rem 0 .6rem;border-bottom:1px solid "
    "var(--line);padding-bottom:.2rem}\n"
    "h3{font-size:1.05rem;margin:1.6rem 0 .4rem}\n"
    ".verdict{border-left:5px solid var(--mark);background:var(--tint);padding:.9rem "
    "1.1rem;margin:0 0 1.4rem}\n"
    ".verdict p{margin:.2rem 0 0}.label{font-weight:600}\n"
    ".scroll{overflow-x:auto}\n"
    "table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;margin:."
    "8rem 0}\n"
    "th,td{padding:.28rem .6rem;border-bottom:1px solid "
    "var(--line);text-align:right;white-space:nowrap}\n"
    "th:first-child,td:first-child{text-align:left;padding-left:0}td.text{text-align:left;white-"
    "space:normal}\n"
    "figure{margin:1.2rem 0;background:#fff;border:1px solid "
    "var(--line);border-radius:4px;padding:.6rem}\n"
    "figure svg{display:block;width:100%;height:auto}\n"
    "figcaption{color:#444;font-size:.85rem;padding:.4rem .3rem 0}\n"
    "pre{background:var(--tint);padding:.7rem "
    ".9rem;font-size:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}\n"
    "code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.9em}pre "
    "code{font-size:1em}\n"
    "details{margin:.8rem 0}summary{cursor:pointer;color:var(--soft)}\n"
    "@media print{body{font-size:11pt;background:#fff;color:#000}main{max-width:none;padding:0}"
    "figure,.verdict,tr{break-inside:avoid}h2,h3{break-after:avoid}}\n";

/* ---- text ---- */

static void escape(struct qk_buffer *to, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '&')
            qk_buffer_text(to, "&amp;");
        else if (s[i] == '<')
            qk_buffer_text(to, "&lt;");
        else if (s[i] == '>')
            qk_buffer_text(to, "&gt;");
        else if (s[i] == '"')
            qk_buffer_text(to, "&quot;");
        else
            qk_buffer_add(to, &s[i], 1);
    }
}

static void add_markdown(struct qk_page *p, const char *s)
{
    char *text = qk_minus_signs(s);
    qk_buffer_text(&p->text, text);
    free(text);
}

static void add_html(struct qk_page *p, const char *s)
{
    bool code = false;
    while (*s != '\0') {
        size_t n = strcspn(s, "`");
        escape(&p->text, s, n);
        s += n;
        if (*s == '`') {
            code = !code;
            qk_buffer_text(&p->text, code ? "<code>" : "</code>");
            s++;
        }
    }
    if (code)
        qk_buffer_text(&p->text, "</code>");
}

/* Running text: escaped in HTML, with `code` marked; numbers get minus signs. */
static void run_of_text(struct qk_page *p, const char *s)
{
    if (!p->html) {
        add_markdown(p, s);
        return;
    }
    char *text = qk_minus_signs(s);
    add_html(p, text);
    free(text);
}

void qk_page_begin(struct qk_page *p, bool html, const char *title)
{
    *p = (struct qk_page){.html = html};
    if (!html) {
        qk_buffer_format(&p->text, "# %s\n\n", title);
        return;
    }
    qk_buffer_text(&p->text,
                   "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
                   "name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    escape(&p->text, title, strlen(title));
    qk_buffer_format(&p->text, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>",
                     style);
    escape(&p->text, title, strlen(title));
    qk_buffer_text(&p->text, "</h1>\n");
}

void qk_page_end(struct qk_page *p)
{
    if (p->html)
        qk_buffer_text(&p->text, "</main>\n</body>\n</html>\n");
}

void qk_page_heading(struct qk_page *p, int level, const char *text)
{
    if (p->html) {
        qk_buffer_format(&p->text, "<h%d>", level);
        run_of_text(p, text);
        qk_buffer_format(&p->text, "</h%d>\n", level);
    } else {
        qk_buffer_format(&p->text, "%.*s %s\n\n", level, "######", text);
    }
}

void qk_page_paragraph(struct qk_page *p, const char *text)
{
    qk_buffer_text(&p->text, p->html ? "<p>" : "");
    run_of_text(p, text);
    qk_buffer_text(&p->text, p->html ? "</p>\n" : "\n\n");
}

void qk_page_verdict(struct qk_page *p, const char *label, const char *text)
{
    if (p->html) {
        qk_buffer_text(&p->text, "<div class=\"verdict\"><span class=\"label\">");
        run_of_text(p, label);
        qk_buffer_text(&p->text, "</span><p>");
        run_of_text(p, text);
        qk_buffer_text(&p->text, "</p></div>\n");
    } else {
        qk_buffer_format(&p->text, "> **%s** ", label);
        add_markdown(p, text);
        qk_buffer_text(&p->text, "\n\n");
    }
}

void qk_page_list(struct qk_page *p, const struct qk_strings *items)
{
    qk_buffer_text(&p->text, p->html ? "<ul>\n" : "");
    for (size_t i = 0; i < items->count; i++) {
        qk_buffer_text(&p->text, p->html ? "<li>" : "- ");
        run_of_text(p, items->at[i]);
        qk_buffer_text(&p->text, p->html ? "</li>\n" : "\n");
    }
    qk_buffer_text(&p->text, p->html ? "</ul>\n" : "\n");
}

/* ---- tables ---- */

static bool looks_like_text(const char *s)
{
    return strlen(s) > 40;
}

static void html_row(struct qk_page *p, const struct qk_table *t, int row)
{
    qk_buffer_text(&p->text, "<tr>");
    for (int c = 0; c < t->columns; c++) {
        const char *cell = qk_table_at(t, row, c);
        qk_buffer_text(&p->text, row < 0                 ? "<th>"
                                 : looks_like_text(cell) ? "<td class=\"text\">"
                                                         : "<td>");
        run_of_text(p, cell);
        qk_buffer_text(&p->text, row < 0 ? "</th>" : "</td>");
    }
    qk_buffer_text(&p->text, "</tr>\n");
}

void qk_page_table(struct qk_page *p, const struct qk_table *t)
{
    if (!p->html) {
        char *text = NULL;
        size_t size = 0;
        FILE *to = open_memstream(&text, &size);
        if (to != NULL) {
            qk_table_print(t, QK_TABLE_MD, to);
            fclose(to);
            add_markdown(p, text);
        }
        free(text);
        qk_buffer_text(&p->text, "\n");
        return;
    }
    qk_buffer_text(&p->text, "<div class=\"scroll\"><table>\n<thead>");
    html_row(p, t, -1);
    qk_buffer_text(&p->text, "</thead>\n<tbody>\n");
    for (int row = 0; row < qk_table_rows(t); row++)
        html_row(p, t, row);
    qk_buffer_text(&p->text, "</tbody></table></div>\n");
}

void qk_page_code(struct qk_page *p, const char *text)
{
    if (p->html) {
        qk_buffer_text(&p->text, "<pre><code>");
        escape(&p->text, text, strlen(text));
        qk_buffer_text(&p->text, "</code></pre>\n");
    } else {
        qk_buffer_format(&p->text, "```sh\n%s\n```\n\n", text);
    }
}

void qk_page_fold(struct qk_page *p, const char *summary)
{
    qk_buffer_text(&p->text, "<details><summary>");
    escape(&p->text, summary, strlen(summary));
    qk_buffer_text(&p->text, p->html ? "</summary>\n" : "</summary>\n\n");
}

void qk_page_unfold(struct qk_page *p)
{
    qk_buffer_text(&p->text, p->html ? "</details>\n" : "</details>\n\n");
}

/* ---- figures ---- */

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Copy one tag or stretch of SVG, giving every id and every reference to one a prefix, so that
 * several figures can live in one page. */
static void copy_svg(struct qk_buffer *to, const char *s, int figure)
{
    static const char *const marks[] = {" id=\"", " id='", "href='#", "href=\"#", "url(#"};
    while (*s != '\0') {
        size_t hit = 0;
        for (size_t i = 0; i < sizeof marks / sizeof marks[0] && hit == 0; i++)
            if (starts_with(s, marks[i]))
                hit = strlen(marks[i]);
        if (hit > 0) {
            qk_buffer_add(to, s, hit);
            qk_buffer_format(to, "f%d-", figure);
            s += hit;
        } else {
            qk_buffer_add(to, s++, 1);
        }
    }
}

/* The <svg ...> tag without its fixed width and height: the page gives the size. */
static const char *copy_svg_tag(struct qk_buffer *to, const char *s, const char *caption)
{
    const char *end = strchr(s, '>');
    if (end == NULL)
        return s;
    while (s < end) {
        if (starts_with(s, " width=\"") || starts_with(s, " height=\"")) {
            const char *quote = strchr(strchr(s, '"') + 1, '"');
            s = quote == NULL || quote > end ? end : quote + 1;
        } else {
            qk_buffer_add(to, *s == '\n' ? " " : s, 1);
            s++;
        }
    }
    qk_buffer_text(to, " role=\"img\" aria-label=\"");
    escape(to, caption, strlen(caption));
    qk_buffer_text(to, "\">");
    return end + 1;
}

/* Remove all that stands between these marks: gnuplot's titles, which are plot commands, would show
 * as tooltips. */
static void cut(char *s, const char *from, const char *to)
{
    for (const char *end; (s = strstr(s, from)) != NULL && (end = strstr(s, to)) != NULL;)
        memmove(s, end + strlen(to), strlen(end + strlen(to)) + 1);
}

static int inline_svg(struct qk_page *p, const char *path, const char *caption, struct qk_err *err)
{
    struct qk_buffer text = {0};
    if (qk_text_slurp(path, &text, err) != 0)
        return -1;
    const char *svg = text.size > 0 ? strstr(text.at, "<svg") : NULL;
    int failed = svg == NULL || strstr(text.at, "</svg>") == NULL;
    if (failed) {
        qk_fail(err, "%s: is no whole SVG", path);
    } else {
        cut(text.at, "<title>", "</title>");
        cut(text.at, "<desc>", "</desc>");
        svg = copy_svg_tag(&p->text, strstr(text.at, "<svg"), caption);
        copy_svg(&p->text, svg, ++p->figures);
    }
    qk_buffer_free(&text);
    return failed ? -1 : 0;
}

/* Markdown shows either kind; PNG is what more viewers draw. */
static const char *kind_there(const char *folder, const char *name)
{
    static const char *const kinds[] = {"png", "svg"};
    for (int i = 0; i < 2; i++) {
        char *path = qk_format("%s/%s.%s", folder, name, kinds[i]);
        int there = access(path, R_OK) == 0;
        free(path);
        if (there)
            return kinds[i];
    }
    return NULL;
}

static int link_figure(struct qk_page *p, const char *folder, const char *link, const char *name,
                       const char *caption, struct qk_err *err)
{
    const char *kind = kind_there(folder, name);
    if (kind == NULL)
        return qk_fail_errno(err, "%s/%s.png", folder, name);
    qk_buffer_format(&p->text, "![%s](%s/%s.%s)\n\n", caption, link, name, kind);
    return 0;
}

int qk_page_figure(struct qk_page *p, const char *folder, const char *link, const char *name,
                   const char *caption, struct qk_err *err)
{
    if (!p->html)
        return link_figure(p, folder, link, name, caption, err);
    char *path = qk_format("%s/%s.svg", folder, name);
    qk_buffer_format(&p->text, "<figure id=\"%s\">\n", name);
    int failed = inline_svg(p, path, caption, err);
    qk_buffer_text(&p->text, "<figcaption>");
    run_of_text(p, caption);
    qk_buffer_text(&p->text, "</figcaption>\n</figure>\n");
    free(path);
    return failed;
}
