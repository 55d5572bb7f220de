/* Numbers from people and files, parsed strictly: empty text, trailing characters, overflow and
 * values out of range are all refused. */
#ifndef QK_BASE_NUM_H
#define QK_BASE_NUM_H

#include <stdint.h>

#include "err.h"

/* A whole number in [least, most]. */
int qk_parse_int(const char *s, int64_t least, int64_t most, int64_t *value, struct qk_err *err);

/* A count: a whole number, or a decimal with suffix K, M or G (10^3, 10^6, 10^9) that comes to a
 * whole number ("1.5M").  Not negative. */
int qk_parse_count(const char *s, int64_t *value, struct qk_err *err);

/* A finite decimal number. */
int qk_parse_real(const char *s, double *value, struct qk_err *err);

/* "1,966,080": digits in groups for people, into `text`; returns text. */
char *qk_group_digits(int64_t value, char text[32]);

/* The text with minus signs (U+2212) where a hyphen stands before a digit and begins a number, as
 * in "= -0.5" or "[-1, 2]"; what is between back quotes stays.  malloc'd. */
char *qk_minus_signs(const char *text);

#endif
