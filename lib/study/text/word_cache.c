#include "study/text/word_cache.h"

#include "base/mem.h"

#define ALL UINT64_MAX
#define FIRST(n) (((uint64_t)1 << 8 * (n)) - 1)

const uint64_t qk_word_masks[QK_CACHED_BYTES + 1][3] = {
    {0},
    {FIRST(1)},
    {FIRST(2)},
    {FIRST(3)},
    {FIRST(4)},
    {FIRST(5)},
    {FIRST(6)},
    {FIRST(7)},
    {ALL},
    {ALL, FIRST(1)},
    {ALL, FIRST(2)},
    {ALL, FIRST(3)},
    {ALL, FIRST(4)},
    {ALL, FIRST(5)},
    {ALL, FIRST(6)},
    {ALL, FIRST(7)},
    {ALL, ALL},
    {ALL, ALL, FIRST(1)},
    {ALL, ALL, FIRST(2)},
    {ALL, ALL, FIRST(3)},
    {ALL, ALL, FIRST(4)},
    {ALL, ALL, FIRST(5)},
    {ALL, ALL, FIRST(6)},
    {ALL, ALL, FIRST(7)},
};

enum { LEAST_BYTES = 1 << 18, USUAL_BYTES = 1 << 22, MOST_BYTES = 1 << 24 };

void qk_word_cache_begin(struct qk_word_cache *c, size_t bytes)
{
    size_t size = LEAST_BYTES, most = bytes ? bytes : USUAL_BYTES;
    if (c->buckets)
        return;
    while (2 * size <= most && 2 * size <= MOST_BYTES)
        size *= 2;
    c->buckets = qk_big_alloc(size);
    c->mask = size / sizeof *c->buckets - 1;
}

void qk_word_cache_free(struct qk_word_cache *c)
{
    qk_big_free(c->buckets, (c->mask + 1) * sizeof *c->buckets);
    *c = (struct qk_word_cache){0};
}

void qk_word_put(struct qk_word_bucket *b, const struct qk_word_key *k, const uint32_t *ids,
                 size_t count)
{
    b->entries[1] = b->entries[0];
    struct qk_word_entry *e = &b->entries[0];
    e->key = *k;
    e->count = count;
    memset(e->ids, 0, sizeof e->ids);
    if (count)
        memcpy(e->ids, ids, count * sizeof *ids);
}
