/* The ids of words met before, so that each is merged once: most words of a text are frequent.
 *
 * Words of up to QK_CACHED_BYTES bytes and QK_CACHED_IDS ids are kept, in buckets of two entries,
 * of which the one longer in place gives way.
 */
#ifndef QK_STUDY_WORD_CACHE_H
#define QK_STUDY_WORD_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { QK_CACHED_BYTES = 23, QK_CACHED_IDS = 8 };

/* The bytes of a word, zeros behind them, the size in the last byte. */
struct qk_word_key {
    uint64_t at[3];
};

/* An entry is a cache line. */
struct qk_word_entry {
    struct qk_word_key key; /* size 0: empty */
    uint32_t ids[QK_CACHED_IDS];
    uint64_t count;
};
_Static_assert(sizeof(struct qk_word_entry) == 64, "an entry is a cache line");

struct qk_word_bucket {
    struct qk_word_entry entries[2];
};

struct qk_word_cache {
    struct qk_word_bucket *buckets; /* NULL: not begun */
    size_t mask;                    /* buckets, a power of two, less one */
};

/* Take at most `bytes`, within limits of its own; 0: a usual size.  Nothing when it has begun. */
void qk_word_cache_begin(struct qk_word_cache *c, size_t bytes);
void qk_word_cache_free(struct qk_word_cache *c);

/* Masks for the first n bytes of a key. */
extern const uint64_t qk_word_masks[QK_CACHED_BYTES + 1][3];

/* The key of a word of n <= QK_CACHED_BYTES bytes; bytes up to `end` may be read. */
static inline struct qk_word_key qk_word_key(const char *s, size_t n, const char *end)
{
    struct qk_word_key k;
    if (end - s >= (ptrdiff_t)sizeof k) {
        memcpy(&k, s, sizeof k);
    } else {
        memset(&k, 0, sizeof k);
        memcpy(&k, s, n);
    }
    for (int i = 0; i < 3; i++)
        k.at[i] &= qk_word_masks[n][i];
    k.at[2] |= (uint64_t)n << 56;
    return k;
}

static inline struct qk_word_bucket *qk_word_bucket(const struct qk_word_cache *c,
                                                    const struct qk_word_key *k)
{
    unsigned __int128 m =
        (unsigned __int128)(k->at[0] ^ 0x9E3779B97F4A7C15u) * (k->at[1] ^ 0xD6E8FEB86659FD93u);
    uint64_t h = ((uint64_t)m ^ (uint64_t)(m >> 64) ^ k->at[2]) * 0xA0761D6478BD642Fu;
    return &c->buckets[h >> 32 & c->mask];
}

static inline bool qk_word_is(const struct qk_word_entry *e, const struct qk_word_key *k)
{
    return ((e->key.at[0] ^ k->at[0]) | (e->key.at[1] ^ k->at[1]) | (e->key.at[2] ^ k->at[2])) == 0;
}

/* The entry of the word, NULL when it is not there. */
static inline const struct qk_word_entry *qk_word_find(const struct qk_word_bucket *b,
                                                       const struct qk_word_key *k)
{
    return qk_word_is(&b->entries[0], k)   ? &b->entries[0]
           : qk_word_is(&b->entries[1], k) ? &b->entries[1]
                                           : NULL;
}

/* Enter a word of at most QK_CACHED_IDS ids. */
void qk_word_put(struct qk_word_bucket *b, const struct qk_word_key *k, const uint32_t *ids,
                 size_t count);

#endif
