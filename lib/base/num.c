#include "num.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

int qk_parse_int(const char *s, int64_t least, int64_t most, int64_t *value, struct qk_err *err)
{
    char *end;
    errno = 0;
    long long v = isspace((unsigned char)*s) ? 0 : strtoll(s, &end, 10);
    if (!*s || isspace((unsigned char)*s) || *end || errno)
        return qk_fail(err, "'%.80s' is not a whole number", s);
    if (v < least || v > most)
        return qk_fail(err, "%s is not between %" PRId64 " and %" PRId64, s, least, most);
    *value = v;
    return 0;
}

static double suffix_factor(char c)
{
    switch (c) {
    case 'K':
        return 1e3;
    case 'M':
        return 1e6;
    case 'G':
        return 1e9;
    default:
        return 0;
    }
}

int qk_parse_count(const char *s, int64_t *value, struct qk_err *err)
{
    size_t n = strlen(s);
    double factor = n > 1 ? suffix_factor(s[n - 1]) : 0;
    if (factor == 0) {
        if (qk_parse_int(s, 0, INT64_MAX, value, err) != 0)
            return qk_fail(err, "'%.80s' is not a count (a whole number, or one with K, M or G)",
                           s);
        return 0;
    }
    if (n >= 40 || strspn(s, "0123456789.") != n - 1)
        return qk_fail(err, "'%.80s' is not a count (a whole number, or one with K, M or G)", s);
    char digits[40], *end;
    memcpy(digits, s, n - 1);
    digits[n - 1] = '\0';
    double v = strtod(digits, &end) * factor;
    if (v > 9e15)
        return qk_fail(err, "'%.80s' is too large a count", s);
    if (*end || end == digits || fabs(v - nearbyint(v)) > 1e-6)
        return qk_fail(err, "'%.80s' does not come to a whole number", s);
    *value = (int64_t)nearbyint(v);
    return 0;
}

int qk_parse_real(const char *s, double *value, struct qk_err *err)
{
    char *end;
    errno = 0;
    if (!*s || strspn(s, "0123456789+-.eE") != strlen(s))
        return qk_fail(err, "'%.80s' is not a number", s);
    double v = strtod(s, &end);
    if (*end || end == s || !isfinite(v))
        return qk_fail(err, "'%.80s' is not a number", s);
    *value = v;
    return 0;
}

char *qk_group_digits(int64_t value, char text[32])
{
    char plain[24];
    int n = snprintf(plain, sizeof plain, "%" PRId64, value), out = 0;
    for (int i = 0; i < n; i++) {
        if (i > (plain[0] == '-') && (n - i) % 3 == 0)
            text[out++] = ',';
        text[out++] = plain[i];
    }
    text[out] = '\0';
    return text;
}

char *qk_minus_signs(const char *text)
{
    struct qk_buffer to = {0};
    bool code = false;
    qk_buffer_text(&to, "");
    for (const char *s = text; *s != '\0'; s++) {
        code ^= *s == '`';
        const bool begins = s == text || strchr(" [(=\n", s[-1]) != NULL;
        if (*s == '-' && begins && s[1] >= '0' && s[1] <= '9' && !code)
            qk_buffer_text(&to, "−");
        else
            qk_buffer_add(&to, s, 1);
    }
    return to.at;
}
