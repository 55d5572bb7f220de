#include "base/fletcher.h"

/* In blocks of n words w_i, a grows by sum w_i and b by n a + sum (n-i) w_i, which need no carry
 * between words.  A residue of 0 is 65535 unless all was zeros. */
static uint64_t folded(uint64_t x)
{
    return x ? (x - 1) % 65535 + 1 : 0;
}

/* Words on their own: what is left of a chunk, or all of it on a big-endian processor. */
static void add_words(struct qk_fletcher *s, const unsigned char *p, size_t words)
{
    enum { WORDS = 256 };
    while (words > 0) {
        uint32_t count = words < WORDS ? (uint32_t)words : WORDS, sum = 0, weighted = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t w = (uint32_t)p[2 * i] << 8 | p[2 * i + 1];
            sum += w;
            weighted += (count - i) * w;
        }
        s->b = folded(s->b + count * s->a + weighted);
        s->a = folded(s->a + sum);
        p += 2 * count;
        words -= count;
    }
}

enum { LANES = 4, VECTORS = 2, STEPS = 256, STEP_WORDS = 2 * LANES * VECTORS };
typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));
typedef uint32_t loose_lanes __attribute__((vector_size(4 * LANES), aligned(1), may_alias));

/* `steps` <= STEPS times 16 words, word l of every step in a lane of its own: a_l sums its words
 * and b_l the sums, so that sum (n-i) w_i = sum over l of 16 b_l - l a_l.  Words are read
 * little-endian: swapping the bytes of a word multiplies it by 256 modulo 65535, so the totals are
 * swapped. */
static void add_steps(struct qk_fletcher *s, const unsigned char *p, size_t steps)
{
    lanes a[2 * VECTORS] = {{0}}, b[2 * VECTORS] = {{0}};
    for (size_t i = 0; i < steps; i++, p += 2 * STEP_WORDS)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            lanes pair = *(const loose_lanes *)(p + v * (int)sizeof(lanes));
            a[2 * v] += pair & 0xffff;
            a[2 * v + 1] += pair >> 16;
            b[2 * v] += a[2 * v];
            b[2 * v + 1] += a[2 * v + 1];
        }
    uint64_t sum = 0, weighted = 0;
    for (uint64_t l = 0; l < STEP_WORDS; l++) {
        uint64_t v = l / (2 * (uint64_t)LANES) * 2 + l % 2, lane = l / 2 % LANES;
        sum += a[v][lane];
        weighted += STEP_WORDS * (uint64_t)b[v][lane] - l * a[v][lane];
    }
    s->b = folded(s->b + steps * STEP_WORDS * s->a + folded(256 * folded(weighted)));
    s->a = folded(s->a + folded(256 * folded(sum)));
}

void qk_fletcher_add(struct qk_fletcher *s, const unsigned char *p, size_t bytes)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (size_t steps = bytes / (2 * STEP_WORDS); steps > 0;) {
        size_t n = steps < STEPS ? steps : STEPS;
        add_steps(s, p, n);
        p += n * 2 * STEP_WORDS;
        bytes -= n * 2 * STEP_WORDS;
        steps -= n;
    }
#endif
    add_words(s, p, bytes / 2);
    if (bytes % 2)
        add_words(s, (const unsigned char[]){p[bytes - 1], 0}, 1);
}

uint32_t qk_fletcher_sum(const struct qk_fletcher *s)
{
    return (uint32_t)(s->b << 16 | s->a);
}
