#include "study/eval/wikitext.h"

#include <string.h>

/* ---- pages ---- */

bool qk_wikitext_line_ends(struct qk_buffer *text)
{
    size_t to = 0;
    bool found = false;
    for (size_t i = 0; i < text->size; i++) {
        char c = text->at[i];
        if (c == '\r') {
            found = true;
            i += i + 1 < text->size && text->at[i + 1] == '\n';
            c = '\n';
        }
        text->at[to++] = c;
    }
    text->size = to;
    if (text->at)
        text->at[to] = '\0';
    return found;
}

/* "= Title =" once "= = =" and "= =" are closed up, so that deeper headings begin with "==". */
static bool is_title(struct qk_span line)
{
    struct qk_buffer bare = {0};
    struct qk_span p = qk_py_strip(line);
    if (p.size < 3 || p.at[0] != '=' || p.at[p.size - 1] != '=')
        return false;
    qk_buffer_add(&bare, line.at, line.size);
    qk_py_replace(&bare, "= = =", "===");
    qk_py_replace(&bare, "= =", "==");
    p = qk_py_strip((struct qk_span){bare.at, bare.size});
    bool title =
        p.size >= 2 && memcmp(p.at, "= ", 2) == 0 && memcmp(p.at + p.size - 2, " =", 2) == 0;
    qk_buffer_free(&bare);
    return title;
}

static struct qk_span line_at(const struct qk_buffer *text, size_t at)
{
    const char *end = memchr(text->at + at, '\n', text->size - at);
    return (struct qk_span){text->at + at, end ? (size_t)(end - text->at) - at : text->size - at};
}

/* Up to the next title behind the first line, or to the end.  *at behind it. */
static struct qk_span take_page(const struct qk_buffer *text, size_t *at)
{
    const size_t from = *at;
    size_t next = from;
    for (;;) {
        struct qk_span line = line_at(text, next);
        if (next > from && is_title(line)) {
            *at = next;
            return (struct qk_span){text->at + from, next - 1 - from};
        }
        next += line.size + 1;
        if (next > text->size) { /* that line had no end: it is the last */
            *at = text->size + 1;
            return (struct qk_span){text->at + from, text->size - from};
        }
    }
}

bool qk_wikitext_page(const struct qk_buffer *text, size_t *at, struct qk_span *page)
{
    while (*at < text->size) {
        *page = take_page(text, at);
        if (qk_py_strip(*page).size > 0)
            return true;
    }
    return false;
}

/* ---- detokenizer ---- */

/* re.sub(r"OPEN\s*([^CLOSE]*?)\s*CLOSE", r"OPEN\1CLOSE"): from an opening mark to the first closing
 * one behind it, whatever is between. */
static void close_up(struct qk_buffer *text, char opening, char closing)
{
    struct qk_buffer result = {0};
    const char *s = text->at, *end = s + text->size, *from, *to;
    while (s < end && (from = memchr(s, opening, (size_t)(end - s))) != NULL &&
           (to = memchr(from + 1, closing, (size_t)(end - from - 1))) != NULL) {
        struct qk_span inner = qk_py_strip((struct qk_span){from + 1, (size_t)(to - from - 1)});
        qk_buffer_add(&result, s, (size_t)(from + 1 - s));
        qk_buffer_add(&result, inner.at, inner.size);
        qk_buffer_add(&result, to, 1);
        s = to + 1;
    }
    qk_buffer_add(&result, s, (size_t)(end - s));
    qk_buffer_free(text);
    *text = result;
}

/* re.sub(r"/' [0-9]/", r"/'[0-9]/"): the replacement is no pattern, and its text is put in. */
static void mend_quoted_digits(struct qk_buffer *text)
{
    char from[] = "/' 0/";
    for (char digit = '0'; digit <= '9'; digit++) {
        from[3] = digit;
        qk_py_replace(text, from, "/'[0-9]/");
    }
}

struct replacement {
    const char *from, *to;
};

static void replace_all(struct qk_buffer *text, const struct replacement *list)
{
    for (; list->from; list++)
        qk_py_replace(text, list->from, list->to);
}

void qk_wikitext_detokenize(struct qk_span page, struct qk_buffer *to)
{
    static const struct replacement first[] = {
        {" @-@ ", "-"}, {" @,@ ", ","}, {" @.@ ", "."}, {" : ", ": "}, {" ; ", "; "},
        {" . ", ". "},  {" ! ", "! "},  {" ? ", "? "},  {" , ", ", "}, {NULL, NULL}};
    static const struct replacement last[] = {
        {"= = = =", "===="}, {"= = =", "==="}, {"= =", "=="},  {" \xc2\xb0 ", "\xc2\xb0"},
        {" \n", "\n"},       {"\n ", "\n"},    {" N ", " 1 "}, {" 's", "'s"},
        {NULL, NULL}};
    to->size = 0;
    qk_buffer_add(to, page.at, page.size);
    qk_py_replace(to, "s '", "s'");
    mend_quoted_digits(to);
    replace_all(to, first);
    close_up(to, '(', ')');
    close_up(to, '[', ']');
    close_up(to, '{', '}');
    close_up(to, '"', '"');
    close_up(to, '\'', '\'');
    replace_all(to, last);
}
