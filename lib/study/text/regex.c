#include "study/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "study/text/uchar.h"

#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define NOT_SPACES                                                                                 \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}"                   \
    "\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}"                 \
    "\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

struct translation {
    const char *at;
    struct qk_buffer *to;
    struct qk_err *err;
    bool in_class;
};

static int refuse(struct translation *t, const char *what)
{
    return qk_fail(t->err, "%s is not supported in a pattern", what);
}

/* \p{NAME} and \P{NAME}, `at` on the p. */
static int property(struct translation *t)
{
    bool negated = *t->at == 'P';
    const char *name = t->at + 2, *end = t->at[1] == '{' ? strchr(name, '}') : NULL;
    if (!end || end == name || end - name > 40)
        return refuse(t, "\\p without {NAME}");
    if (*name == '^') {
        negated = !negated;
        name++;
    }
    int n = (int)(end - name);
    t->at = end + 1;
    struct qk_buffer more = {0};
    if (n == 1)
        qk_uchar_additions(*name, &more);
    const char *script = n > 2 ? "sc:" : "";
    if (!more.size ||
        (t->in_class && negated)) /* additions cannot be taken from a class's middle */
        qk_buffer_format(t->to, "\\%c{%s%.*s}", negated ? 'P' : 'p', script, n, name);
    else if (t->in_class)
        qk_buffer_format(t->to, "\\p{%.*s}%s", n, name, more.at);
    else
        qk_buffer_format(t->to, "[%s\\p{%.*s}%s]", negated ? "^" : "", n, name, more.at);
    qk_buffer_free(&more);
    return 0;
}

/* \uHHHH, \xHH, \x{H...}, `at` on the letter. */
static int code_point(struct translation *t)
{
    const char *digits = t->at + 1;
    bool braces = *t->at == 'x' && *digits == '{';
    size_t n = 0, exact = *t->at == 'u' ? 4 : 2;
    digits += braces;
    while (isxdigit((unsigned char)digits[n]) && (braces || n < exact))
        n++;
    if (n == 0 || n > 8 || (braces && digits[n] != '}') || (!braces && n != exact))
        return refuse(t, "a malformed \\x or \\u");
    if (*t->at == 'x' && !braces && digits[0] >= '8')
        return refuse(t, "a raw byte \\x80 to \\xff");
    qk_buffer_format(t->to, "\\x{%.*s}", (int)n, digits);
    t->at = digits + n + braces;
    return 0;
}

/* After a backslash. */
static int escape(struct translation *t)
{
    char c = *t->at;
    if (c == 'p' || c == 'P')
        return property(t);
    if (c == 'u' || c == 'x')
        return code_point(t);
    if (c == 's' || c == 'S') {
        const char *set = c == 's' ? SPACES : NOT_SPACES;
        qk_buffer_format(t->to, t->in_class ? "%s" : "[%s]", set);
    } else if (c && (strchr("dDnrtfv", c) || (ispunct((unsigned char)c)) || c == ' ')) {
        qk_buffer_format(t->to, c == 'v' ? "\\x{b}" : "\\%c", c);
    } else {
        char name[3] = {'\\', c, 0};
        return refuse(t, c ? name : "a trailing backslash");
    }
    t->at++;
    return 0;
}

static int bracket(struct translation *t)
{
    qk_buffer_text(t->to, "[");
    t->at++;
    if (*t->at == '^') {
        qk_buffer_text(t->to, "^");
        t->at++;
    }
    if (*t->at == ']')
        return refuse(t, "an empty class []");
    t->in_class = true;
    while (*t->at && *t->at != ']') {
        if (*t->at == '[')
            return refuse(t, "a class within a class");
        if (t->at[0] == '&' && t->at[1] == '&')
            return refuse(t, "&& in a class");
        if (*t->at == '\\') {
            t->at++;
            if (escape(t) != 0)
                return -1;
        } else {
            qk_buffer_add(t->to, t->at++, 1);
        }
    }
    if (!*t->at)
        return refuse(t, "a class without its ]");
    t->in_class = false;
    t->at++;
    qk_buffer_text(t->to, "]");
    return 0;
}

/* "(" and what may follow it. */
static int group(struct translation *t)
{
    static const char *const known[] = {"(?:", "(?i:", "(?-i:", "(?i)", "(?-i)",
                                        "(?=", "(?!",  "(?<=",  "(?<!", "(?>"};
    if (t->at[1] != '?') {
        if (t->at[1] == '*')
            return refuse(t, "(*");
        qk_buffer_text(t->to, "(");
        t->at++;
        return 0;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i]);
        if (strncmp(t->at, known[i], n) == 0) {
            qk_buffer_text(t->to, known[i]);
            t->at += n;
            return 0;
        }
    }
    char name[5] = {0};
    strncpy(name, t->at, 4);
    return refuse(t, name);
}

/* {n}, {n,}, {n,m}; a + behind it means another repetition to Oniguruma. */
static int braces(struct translation *t)
{
    size_t n = strspn(t->at + 1, "0123456789,");
    if (!isdigit((unsigned char)t->at[1]) || t->at[1 + n] != '}')
        return refuse(t, "{ that is no repetition {n,m}");
    if (t->at[n + 2] == '+')
        return refuse(t, "{n,m}+");
    qk_buffer_add(t->to, t->at, n + 2);
    t->at += n + 2;
    return 0;
}

int qk_regex_translate(const char *pattern, struct qk_buffer *to, struct qk_err *err)
{
    struct translation t = {.at = pattern, .to = to, .err = err};
    qk_buffer_text(to, "");
    while (*t.at) {
        int bad = 0;
        if (*t.at == '\\') {
            t.at++;
            bad = escape(&t);
        } else if (*t.at == '[') {
            bad = bracket(&t);
        } else if (*t.at == '(') {
            bad = group(&t);
        } else if (*t.at == '{') {
            bad = braces(&t);
        } else {
            qk_buffer_add(to, t.at++, 1);
        }
        if (bad)
            return -1;
    }
    return 0;
}

struct qk_regex {
    pcre2_code *code;
};

struct qk_regex_work {
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

struct qk_regex *qk_regex_new(const char *pattern, int literal, struct qk_err *err)
{
    struct qk_buffer text = {0};
    if (literal)
        qk_buffer_text(&text, pattern);
    else if (qk_regex_translate(pattern, &text, err) != 0)
        goto failed;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int code;
    PCRE2_SIZE where;
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE);
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)text.at, text.size, options, &code, &where, context);
    pcre2_compile_context_free(context);
    if (!compiled) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(code, why, sizeof why);
        qk_fail(err, "%s", (const char *)why);
        goto failed;
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* without JIT it is only slower */
    qk_buffer_free(&text);
    struct qk_regex *re = qk_alloc(1, sizeof *re);
    re->code = compiled;
    return re;
failed:
    qk_buffer_free(&text);
    qk_fail_in(err, "pattern \"%.200s\": ", pattern);
    return NULL;
}

void qk_regex_free(struct qk_regex *re)
{
    if (re)
        pcre2_code_free(re->code);
    free(re);
}

struct qk_regex_work *qk_regex_work_new(void)
{
    struct qk_regex_work *work = qk_alloc(1, sizeof *work);
    work->match = pcre2_match_data_create(1, NULL);
    work->context = pcre2_match_context_create(NULL);
    work->stack = pcre2_jit_stack_create(32 << 10, 64 << 20, NULL);
    if (work->stack)
        pcre2_jit_stack_assign(work->context, NULL, work->stack);
    return work;
}

void qk_regex_work_free(struct qk_regex_work *work)
{
    if (!work)
        return;
    pcre2_jit_stack_free(work->stack);
    pcre2_match_context_free(work->context);
    pcre2_match_data_free(work->match);
    free(work);
}

int qk_regex_find(const struct qk_regex *re, struct qk_regex_work *work, const char *text, size_t n,
                  size_t from, size_t *start, size_t *end, struct qk_err *err)
{
    int rc = pcre2_match(re->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK, work->match,
                         work->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc < 0) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(rc, why, sizeof why);
        return qk_fail(err, "the tokenizer's pattern cannot be matched: %s", (const char *)why);
    }
    const PCRE2_SIZE *where = pcre2_get_ovector_pointer(work->match);
    *start = where[0];
    *end = where[1];
    return 1;
}
