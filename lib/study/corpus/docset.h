/* Sets of documents, by a keyed 128-bit hash: which were seen before, and a random order that
 * depends on nothing but the text and the seed. */
#ifndef QK_STUDY_DOCSET_H
#define QK_STUDY_DOCSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qk_dochash {
    uint64_t high, low;
};

/* SipHash-2-4 with 128 bits of result (Aumasson and Bernstein 2012), key (seed, 0). */
struct qk_dochash qk_dochash(const void *text, size_t n, uint64_t seed);
/* The same with both halves of the key. */
struct qk_dochash qk_siphash128(const void *text, size_t n, uint64_t key0, uint64_t key1);

static inline bool qk_dochash_before(struct qk_dochash a, struct qk_dochash b)
{
    return a.high != b.high ? a.high < b.high : a.low < b.low;
}

/* About 11 bytes per document: small tables by leading bits, each grown by an eighth at a time,
 * which hold 64 bits more.  So 76 bits tell documents apart: of 10^8 distinct ones none is taken
 * for another but with a chance of 10^-7. */
enum { QK_DOCSET_BITS = 12, QK_DOCSET_PARTS = 1 << QK_DOCSET_BITS };
struct qk_docset {
    struct qk_docset_part {
        uint64_t *slots; /* zero: empty */
        size_t size, count;
    } part[QK_DOCSET_PARTS];
    size_t count;
};

/* Add a hash: true when it is new. */
bool qk_docset_add(struct qk_docset *set, struct qk_dochash hash);
bool qk_docset_has(const struct qk_docset *set, struct qk_dochash hash);
void qk_docset_free(struct qk_docset *set);

#endif
