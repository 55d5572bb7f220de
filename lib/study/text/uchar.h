/* Characters: decoding UTF-8 and asking what a code point is.
 *
 * Classes come from PCRE2's tables, with the letters, marks, numbers, punctuation and symbols that
 * Unicode 15 and 16 added on top, so that an older PCRE2 splits text as newer libraries do.
 */
#ifndef QK_STUDY_UCHAR_H
#define QK_STUDY_UCHAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

enum {
    QK_LETTER = 1, /* \p{L} */
    QK_NUMBER = 2, /* \p{N}: Nd, Nl, No */
    QK_SPACE = 4,  /* White_Space */
    QK_WORD = 8,   /* \w: Alphabetic, marks, decimal digits, connectors, joiners */
};

/* The classes of a code point, a set of QK_ bits.  Tables are filled block by block on first use;
 * any thread may call. */
unsigned qk_uchar_class(uint32_t code);

/* The code point at s, of n > 0 bytes of valid UTF-8; *width is its length in bytes. */
static inline uint32_t qk_uchar_at(const char *text, size_t n, unsigned *width)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80 || n < 2) {
        *width = 1;
        return s[0];
    }
    if (s[0] < 0xE0 || n < 3) {
        *width = 2;
        return (s[0] & 0x1Fu) << 6 | (s[1] & 0x3Fu);
    }
    if (s[0] < 0xF0 || n < 4) {
        *width = 3;
        return (s[0] & 0x0Fu) << 12 | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu);
    }
    *width = 4;
    return (s[0] & 0x07u) << 18 | (s[1] & 0x3Fu) << 12 | (s[2] & 0x3Fu) << 6 | (s[3] & 0x3Fu);
}

/* Write a code point as UTF-8: 1 to 4 bytes; returns how many. */
unsigned qk_uchar_put(uint32_t code, char to[4]);

/* Append text to `to` with every maximal invalid part replaced by U+FFFD, as the Unicode Standard
 * (section 3.9, "substitution of maximal subparts") recommends and Python's errors="replace" does.
 */
void qk_uchar_repair(const char *text, size_t n, struct qk_buffer *to);

/* Ranges "\x{a}-\x{b}..." of what newer Unicode versions added to general category `letter`
 * (L, M, N, P or S), to be put into a character class; "" for others. */
void qk_uchar_additions(char letter, struct qk_buffer *pattern);

#endif
