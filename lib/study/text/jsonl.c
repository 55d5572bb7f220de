#include "study/text/jsonl.h"

#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "study/text/uchar.h"

enum { DEEPEST = 500 };

struct reader {
    const char *start, *at, *end;
    struct qk_buffer *text; /* where strings go; NULL: only checked */
};

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r' || *r->at == '\n'))
        r->at++;
}

static bool take(struct reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool take_digits(struct reader *r)
{
    const char *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > from;
}

static bool number(struct reader *r)
{
    take(r, '-');
    if (!take(r, '0') && !take_digits(r))
        return false;
    if (take(r, '.') && !take_digits(r))
        return false;
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+'))
            take(r, '-');
        return take_digits(r);
    }
    return true;
}

static bool word(struct reader *r, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, w, n) != 0)
        return false;
    r->at += n;
    return true;
}

static bool hex4(struct reader *r, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        if (r->at == r->end)
            return false;
        char c = *r->at;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        *code = *code << 4 | digit;
    }
    return true;
}

/* Behind "\u". */
static bool unicode(struct reader *r)
{
    uint32_t code, low;
    char bytes[4];
    if (!hex4(r, &code))
        return false;
    if (code >= 0xD800 && code < 0xE000) {
        if (code >= 0xDC00 || !take(r, '\\') || !take(r, 'u') || !hex4(r, &low) || low < 0xDC00 ||
            low > 0xDFFF)
            return false;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (r->text)
        qk_buffer_add(r->text, bytes, qk_uchar_put(code, bytes));
    return true;
}

/* Behind a backslash. */
static bool escape(struct reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->end || !*r->at)
        return false;
    char c = *r->at++;
    if (c == 'u')
        return unicode(r);
    const char *known = strchr(from, c);
    if (!known)
        return false;
    if (r->text)
        qk_buffer_add(r->text, &to[known - from], 1);
    return true;
}

/* Past the bytes that stand for themselves. */
static const char *plain_end(const char *at, const char *end)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        const __m128i c = _mm_loadu_si128((const __m128i *)(const void *)at);
        const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(c, _mm_set1_epi8(0x1f)), c);
        const __m128i quote = _mm_cmpeq_epi8(c, _mm_set1_epi8('"'));
        const __m128i escape = _mm_cmpeq_epi8(c, _mm_set1_epi8('\\'));
        int found = _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, escape)));
        if (found)
            return at + __builtin_ctz((unsigned)found);
    }
#endif
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
        at++;
    return at;
}

static bool string(struct reader *r)
{
    if (!take(r, '"'))
        return false;
    for (;;) {
        const char *from = r->at;
        r->at = plain_end(from, r->end);
        if (r->text)
            qk_buffer_add(r->text, from, (size_t)(r->at - from));
        if (take(r, '"'))
            return true;
        if (!take(r, '\\') || !escape(r))
            return false;
    }
}

static bool value(struct reader *r, int depth);

static bool members(struct reader *r, char close, bool keyed, int depth)
{
    skip_space(r);
    if (take(r, close))
        return true;
    for (;;) {
        skip_space(r);
        if (keyed) {
            if (!string(r))
                return false;
            skip_space(r);
            if (!take(r, ':'))
                return false;
        }
        if (!value(r, depth + 1))
            return false;
        skip_space(r);
        if (take(r, close))
            return true;
        if (!take(r, ','))
            return false;
    }
}

static bool value(struct reader *r, int depth)
{
    skip_space(r);
    if (r->at == r->end || depth > DEEPEST)
        return false;
    switch (*r->at) {
    case '"':
        return string(r);
    case '{':
        r->at++;
        return members(r, '}', true, depth);
    case '[':
        r->at++;
        return members(r, ']', false, depth);
    case 't':
        return word(r, "true");
    case 'f':
        return word(r, "false");
    case 'n':
        return word(r, "null");
    default:
        return number(r);
    }
}

static int malformed(const struct reader *r, struct qk_err *err)
{
    return qk_fail(err, "malformed JSON at column %zu", (size_t)(r->at - r->start) + 1);
}

/* One key and its value; *found when the key is the one sought and its value text, *other when the
 * value is something else. */
static bool member(struct reader *r, const char *field, struct qk_buffer *key, struct qk_buffer *to,
                   bool *found, bool *other)
{
    key->size = 0;
    r->text = key;
    skip_space(r);
    if (!string(r))
        return false;
    r->text = NULL;
    skip_space(r);
    if (!take(r, ':'))
        return false;
    skip_space(r);
    bool mine = key->size == strlen(field) && memcmp(key->at ? key->at : "", field, key->size) == 0;
    bool text = r->at < r->end && *r->at == '"';
    if (mine) {
        to->size = 0;
        r->text = text ? to : NULL;
        *found = text;
        *other = !text;
    }
    bool good = value(r, 1);
    r->text = NULL;
    return good;
}

int qk_jsonl_text(const char *line, size_t n, const char *field, struct qk_buffer *to,
                  struct qk_err *err)
{
    struct reader r = {.start = line, .at = line, .end = line + n};
    struct qk_buffer key = {0};
    bool found = false, other = false, good, closed = false;
    to->size = 0;
    skip_space(&r);
    if (r.at < r.end && *r.at != '{') {
        struct reader whole = r;
        if (!value(&whole, 0))
            return malformed(&whole, err);
        return qk_fail(err, "not a JSON object");
    }
    good = take(&r, '{');
    skip_space(&r);
    closed = good && take(&r, '}');
    while (good && !closed) {
        good = member(&r, field, &key, to, &found, &other);
        if (!good)
            break;
        skip_space(&r);
        closed = take(&r, '}');
        good = closed || take(&r, ',');
    }
    qk_buffer_free(&key);
    if (good)
        skip_space(&r);
    if (!good || r.at != r.end)
        return malformed(&r, err);
    if (other)
        return qk_fail(err, "'%s' is not text", field);
    return found ? 0 : qk_fail(err, "has no key '%s'", field);
}

bool qk_jsonl_is_object(const char *line, size_t n)
{
    struct reader r = {.start = line, .at = line, .end = line + n};
    skip_space(&r);
    if (r.at == r.end || *r.at != '{' || !value(&r, 0))
        return false;
    skip_space(&r);
    return r.at == r.end;
}
