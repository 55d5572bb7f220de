#include "study/text/pytext.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

#include "study/text/uchar.h"

struct qk_span qk_span_of(const char *text)
{
    return (struct qk_span){text, strlen(text)};
}

static bool is_space(uint32_t code)
{
    return (code >= 0x1c && code <= 0x1f) || (qk_uchar_class(code) & QK_SPACE);
}

/* The bytes of the white space at s, 0 when there is none. */
static size_t space_at(const char *s, size_t n)
{
    unsigned width = 0;
    return n > 0 && is_space(qk_uchar_at(s, n, &width)) ? width : 0;
}

struct qk_span qk_py_lstrip(struct qk_span p)
{
    size_t width;
    while ((width = space_at(p.at, p.size)) > 0) {
        p.at += width;
        p.size -= width;
    }
    return p;
}

struct qk_span qk_py_rstrip(struct qk_span p)
{
    while (p.size > 0) {
        size_t at = p.size - 1;
        while (at > 0 && ((unsigned char)p.at[at] & 0xC0) == 0x80)
            at--;
        if (space_at(p.at + at, p.size - at) == 0)
            break;
        p.size = at;
    }
    return p;
}

struct qk_span qk_py_strip(struct qk_span p)
{
    return qk_py_rstrip(qk_py_lstrip(p));
}

int64_t qk_py_length(struct qk_span p)
{
    int64_t count = 0;
    for (size_t i = 0; i < p.size; i++)
        count += ((unsigned char)p.at[i] & 0xC0) != 0x80;
    return count;
}

int64_t qk_py_split_count(struct qk_span p)
{
    int64_t runs = 0;
    bool inside = false;
    for (size_t i = 0; i < p.size;) {
        unsigned width = 1;
        bool space = is_space(qk_uchar_at(p.at + i, p.size - i, &width));
        runs += space && !inside;
        inside = space;
        i += width;
    }
    return runs + 1;
}

void qk_py_replace(struct qk_buffer *text, const char *from, const char *to)
{
    struct qk_buffer result = {0};
    const size_t n = strlen(from), m = strlen(to);
    size_t done = 0;
    for (size_t i = 0; i + n <= text->size;) {
        const char *next = memchr(text->at + i, from[0], text->size - n + 1 - i);
        if (!next)
            break;
        i = (size_t)(next - text->at);
        if (memcmp(next, from, n) != 0) {
            i++;
            continue;
        }
        qk_buffer_add(&result, text->at + done, i - done);
        qk_buffer_add(&result, to, m);
        done = i += n;
    }
    if (done == 0)
        return;
    qk_buffer_add(&result, text->at + done, text->size - done);
    qk_buffer_free(text);
    *text = result;
}

/* ---- upper and lower case, by PCRE2's tables ---- */

/* The whole piece in upper ("\U") or lower ("\L") case. */
static void add_case(struct qk_span p, const char *replacement, struct qk_buffer *to)
{
    int number;
    size_t offset, size = p.size * 3 + 1; /* a character may take more bytes in the other case */
    pcre2_code *all = pcre2_compile((PCRE2_SPTR) ".+", PCRE2_ZERO_TERMINATED,
                                    PCRE2_UTF | PCRE2_DOTALL, &number, &offset, NULL);
    char *room = qk_alloc(size, 1);
    int done = !all ? -1
                    : pcre2_substitute(all, (PCRE2_SPTR)p.at, p.size, 0, PCRE2_SUBSTITUTE_EXTENDED,
                                       NULL, NULL, (PCRE2_SPTR)replacement, PCRE2_ZERO_TERMINATED,
                                       (PCRE2_UCHAR *)room, &size);
    if (done == 1)
        qk_buffer_add(to, room, size);
    else
        qk_buffer_add(to, p.at, p.size);
    pcre2_code_free(all);
    free(room);
}

/* Letters of which PCRE2 knows another form than the capital, if any: iota, mu, micro sign, final
 * sigma, dotless i, long s, sharp s. */
static const char *capital_of(struct qk_span letter)
{
    static const char *const pairs[][2] = {
        {"\u03b9", "\u0399"}, {"\u03bc", "\u039c"}, {"\u00b5", "\u039c"}, {"\u03c2", "\u03a3"},
        {"\u0131", "I"},      {"\u017f", "S"},      {"\u00df", "Ss"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (strlen(pairs[i][0]) == letter.size && memcmp(pairs[i][0], letter.at, letter.size) == 0)
            return pairs[i][1];
    return NULL;
}

void qk_py_capitalize(struct qk_span p, struct qk_buffer *to)
{
    if (p.size == 0)
        return;
    unsigned width;
    qk_uchar_at(p.at, p.size, &width);
    const struct qk_span first = {p.at, width};
    const char *capital = capital_of(first);
    if (capital)
        qk_buffer_text(to, capital);
    else
        add_case(first, "\\U$0", to);
    add_case((struct qk_span){p.at + width, p.size - width}, "\\L$0", to);
}
