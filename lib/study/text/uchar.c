#include "study/text/uchar.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

struct range {
    uint32_t first, last;
};

/* What Unicode 15.0, 15.1 and 16.0 added to each general category since 14.0, the version of
 * PCRE2 10.40 to 10.42.  With a newer PCRE2 they are there twice, harmlessly. */
static const struct range letters[] = {
    {0x1c89, 0x1c8a},   {0xa7cb, 0xa7cd},   {0xa7da, 0xa7dc},   {0x105c0, 0x105f3},
    {0x10d4a, 0x10d65}, {0x10d6f, 0x10d85}, {0x10ec2, 0x10ec4}, {0x1123f, 0x11240},
    {0x11380, 0x11389}, {0x1138b, 0x1138b}, {0x1138e, 0x1138e}, {0x11390, 0x113b5},
    {0x113b7, 0x113b7}, {0x113d1, 0x113d1}, {0x113d3, 0x113d3}, {0x11bc0, 0x11be0},
    {0x11f02, 0x11f02}, {0x11f04, 0x11f10}, {0x11f12, 0x11f33}, {0x1342f, 0x1342f},
    {0x13441, 0x13446}, {0x13460, 0x143fa}, {0x16100, 0x1611d}, {0x16d40, 0x16d6c},
    {0x18cff, 0x18cff}, {0x1b132, 0x1b132}, {0x1b155, 0x1b155}, {0x1df25, 0x1df2a},
    {0x1e030, 0x1e06d}, {0x1e4d0, 0x1e4eb}, {0x1e5d0, 0x1e5ed}, {0x1e5f0, 0x1e5f0},
    {0x2b739, 0x2b739}, {0x2ebf0, 0x2ee5d}, {0x31350, 0x323af}, {0, 0}};
static const struct range numbers[] = {{0x10d40, 0x10d49},
                                       {0x116d0, 0x116e3},
                                       {0x11bf0, 0x11bf9},
                                       {0x11f50, 0x11f59},
                                       {0x16130, 0x16139},
                                       {0x16d70, 0x16d79},
                                       {0x1ccf0, 0x1ccf9},
                                       {0x1d2c0, 0x1d2d3},
                                       {0x1e4f0, 0x1e4f9},
                                       {0x1e5f1, 0x1e5fa},
                                       {0, 0}};
static const struct range marks[] = {{0x897, 0x897},
                                     {0xcf3, 0xcf3},
                                     {0xece, 0xece},
                                     {0x10d69, 0x10d6d},
                                     {0x10efc, 0x10eff},
                                     {0x11241, 0x11241},
                                     {0x113b8, 0x113c0},
                                     {0x113c2, 0x113c2},
                                     {0x113c5, 0x113c5},
                                     {0x113c7, 0x113ca},
                                     {0x113cc, 0x113d0},
                                     {0x113d2, 0x113d2},
                                     {0x113e1, 0x113e2},
                                     {0x11f00, 0x11f01},
                                     {0x11f03, 0x11f03},
                                     {0x11f34, 0x11f3a},
                                     {0x11f3e, 0x11f42},
                                     {0x11f5a, 0x11f5a},
                                     {0x13440, 0x13440},
                                     {0x13447, 0x13455},
                                     {0x1611e, 0x1612f},
                                     {0x1e08f, 0x1e08f},
                                     {0x1e4ec, 0x1e4ef},
                                     {0x1e5ee, 0x1e5ef},
                                     {0, 0}};
static const struct range punctuation[] = {{0x1b4e, 0x1b4f},
                                           {0x1b7f, 0x1b7f},
                                           {0x10d6e, 0x10d6e},
                                           {0x113d4, 0x113d5},
                                           {0x113d7, 0x113d8},
                                           {0x11b00, 0x11b09},
                                           {0x11be1, 0x11be1},
                                           {0x11f43, 0x11f4f},
                                           {0x16d6d, 0x16d6f},
                                           {0x1e5ff, 0x1e5ff},
                                           {0, 0}};
static const struct range symbols[] = {{0x2427, 0x2429},   {0x2ffc, 0x2fff},
                                       {0x31e4, 0x31e5},   {0x31ef, 0x31ef},
                                       {0x10d8e, 0x10d8f}, {0x1cc00, 0x1ccef},
                                       {0x1cd00, 0x1ceb3}, {0x1f6dc, 0x1f6dc},
                                       {0x1f774, 0x1f776}, {0x1f77b, 0x1f77f},
                                       {0x1f7d9, 0x1f7d9}, {0x1f8b2, 0x1f8bb},
                                       {0x1f8c0, 0x1f8c1}, {0x1fa75, 0x1fa77},
                                       {0x1fa87, 0x1fa89}, {0x1fa8f, 0x1fa8f},
                                       {0x1faad, 0x1faaf}, {0x1fabb, 0x1fabf},
                                       {0x1fac6, 0x1fac6}, {0x1face, 0x1facf},
                                       {0x1fada, 0x1fadc}, {0x1fadf, 0x1fadf},
                                       {0x1fae8, 0x1fae9}, {0x1faf7, 0x1faf8},
                                       {0x1fbcb, 0x1fbef}, {0, 0}};

static const struct range *additions_of(char letter)
{
    static const struct range none[] = {{0, 0}};
    switch (letter) {
    case 'L':
        return letters;
    case 'M':
        return marks;
    case 'N':
        return numbers;
    case 'P':
        return punctuation;
    case 'S':
        return symbols;
    default:
        return none;
    }
}

void qk_uchar_additions(char letter, struct qk_buffer *pattern)
{
    for (const struct range *r = additions_of(letter); r->last; r++)
        qk_buffer_format(pattern, "\\x{%x}-\\x{%x}", r->first, r->last);
}

/* ---- class tables, a block of 256 code points at a time ---- */

enum { BLOCK = 256, BLOCKS = 0x110000 / BLOCK };
static unsigned char *blocks[BLOCKS];

static const struct {
    unsigned bit;
    const char *pattern;
    const char *additions;
} classes[] = {
    {QK_LETTER, "\\p{L}", "L"},
    {QK_NUMBER, "\\p{N}", "N"},
    {QK_SPACE,
     "[\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
     "\\x{205f}\\x{3000}]",
     ""},
    {QK_WORD, "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]", "LMN"},
};

unsigned qk_uchar_put(uint32_t code, char to[4])
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xC0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xE0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3F));
        to[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3F));
    to[2] = (char)(0x80 | (code >> 6 & 0x3F));
    to[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

static void add_matches(unsigned char *block, uint32_t first, const char *pattern, unsigned bit)
{
    int code;
    PCRE2_SIZE where;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP, &code, &where, NULL);
    if (!re)
        abort(); /* the patterns are ours */
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    for (uint32_t i = 0; i < BLOCK; i++) {
        uint32_t point = first + i;
        char s[4];
        if (point >= 0xD800 && point < 0xE000)
            continue;
        unsigned n = qk_uchar_put(point, s);
        if (pcre2_match(re, (PCRE2_SPTR)s, n, 0, PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, match,
                        NULL) >= 0)
            block[i] = (unsigned char)(block[i] | bit);
    }
    pcre2_match_data_free(match);
    pcre2_code_free(re);
}

static void add_newer(unsigned char *block, uint32_t first, char letter, unsigned bit)
{
    for (const struct range *r = additions_of(letter); r->last; r++)
        for (uint32_t point = r->first; point <= r->last; point++)
            if (point >= first && point - first < BLOCK)
                block[point - first] = (unsigned char)(block[point - first] | bit);
}

static const unsigned char *fill_block(uint32_t index)
{
    unsigned char *block = qk_zalloc(BLOCK, 1);
    for (size_t k = 0; k < sizeof classes / sizeof *classes; k++) {
        add_matches(block, index * BLOCK, classes[k].pattern, classes[k].bit);
        for (const char *a = classes[k].additions; *a; a++)
            add_newer(block, index * BLOCK, *a, classes[k].bit);
    }
    unsigned char *expected = NULL;
    if (__atomic_compare_exchange_n(&blocks[index], &expected, block, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return block;
    free(block); /* another thread was first; both filled it alike */
    return expected;
}

unsigned qk_uchar_class(uint32_t code)
{
    uint32_t index = code / BLOCK;
    if (index >= BLOCKS)
        return 0;
    const unsigned char *block = __atomic_load_n(&blocks[index], __ATOMIC_ACQUIRE);
    if (!block)
        block = fill_block(index);
    return block[code % BLOCK];
}

/* ---- invalid UTF-8 ---- */

/* The allowed range of the second byte after lead byte c, and the length of the sequence (0: not
 * a lead byte); Unicode Standard, table 3-7. */
static unsigned lead(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (c >= 0xC2 && c <= 0xDF)
        return 2;
    if (c >= 0xE0 && c <= 0xEF) {
        if (c == 0xE0)
            *low = 0xA0;
        if (c == 0xED)
            *high = 0x9F;
        return 3;
    }
    if (c >= 0xF0 && c <= 0xF4) {
        if (c == 0xF0)
            *low = 0x90;
        if (c == 0xF4)
            *high = 0x8F;
        return 4;
    }
    return 0;
}

/* Length of the sequence at s, or minus the length of the maximal invalid part. */
static int sequence(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return 1;
    unsigned char low, high;
    unsigned length = lead(s[0], &low, &high);
    if (!length)
        return -1;
    for (unsigned i = 1; i < length; i++) {
        if (i >= n || s[i] < low || s[i] > high)
            return -(int)i;
        low = 0x80;
        high = 0xBF;
    }
    return (int)length;
}

void qk_uchar_repair(const char *text, size_t n, struct qk_buffer *to)
{
    size_t from = 0, i = 0;
    while (i < n) {
        int k = sequence((const unsigned char *)text + i, n - i);
        if (k > 0) {
            i += (size_t)k;
            continue;
        }
        qk_buffer_add(to, text + from, i - from);
        qk_buffer_add(to, "\xEF\xBF\xBD", 3);
        i += (size_t)-k;
        from = i;
    }
    qk_buffer_add(to, text + from, n - from);
}
