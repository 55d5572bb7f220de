#include "docset.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void rounds(struct sip *s, int n)
{
    for (int i = 0; i < n; i++) {
        s->v0 += s->v1;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v2 = rotate(s->v2, 32);
    }
}

struct qk_dochash qk_siphash128(const void *text, size_t n, uint64_t key0, uint64_t key1)
{
    const unsigned char *p = text;
    struct sip s = {key0 ^ 0x736f6d6570736575u, key1 ^ 0x646f72616e646f6du ^ 0xee,
                    key0 ^ 0x6c7967656e657261u, key1 ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)n << 56, m;
    for (size_t i = 0; i + 8 <= n; i += 8) {
        memcpy(&m, p + i, 8); /* little-endian machines */
        s.v3 ^= m;
        rounds(&s, 2);
        s.v0 ^= m;
    }
    for (size_t i = n & ~(size_t)7; i < n; i++)
        last |= (uint64_t)p[i] << 8 * (i & 7);
    s.v3 ^= last;
    rounds(&s, 2);
    s.v0 ^= last;
    s.v2 ^= 0xee;
    rounds(&s, 4);
    struct qk_dochash hash = {.high = s.v0 ^ s.v1 ^ s.v2 ^ s.v3};
    s.v1 ^= 0xdd;
    rounds(&s, 4);
    hash.low = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    return hash;
}

struct qk_dochash qk_dochash(const void *text, size_t n, uint64_t seed)
{
    return qk_siphash128(text, n, seed, 0);
}

/* ---- the set ---- */

static bool is_empty(struct qk_dochash h)
{
    return h.high == 0 && h.low == 0;
}

/* The all-zero hash marks empty slots; the one text in 2^128 that has it shares with hash 1. */
static struct qk_dochash never_empty(struct qk_dochash h)
{
    h.low += is_empty(h);
    return h;
}

static struct qk_dochash *find(struct qk_dochash *slots, size_t size, struct qk_dochash h)
{
    size_t i = (size_t)(((unsigned __int128)h.low * size) >> 64);
    while (!is_empty(slots[i]) && (slots[i].high != h.high || slots[i].low != h.low))
        i = i + 1 < size ? i + 1 : 0;
    return &slots[i];
}

bool qk_docset_add(struct qk_docset *set, struct qk_dochash hash)
{
    hash = never_empty(hash);
    size_t k = hash.high >> 54;
    size_t size = set->part[k].size;
    if (10 * (set->part[k].count + 1) > 9 * size) { /* at most nine tenths full */
        size_t bigger = size + size / 4 + 8;
        struct qk_dochash *slots = qk_zalloc(bigger, sizeof *slots);
        for (size_t i = 0; i < size; i++)
            if (!is_empty(set->part[k].slots[i]))
                *find(slots, bigger, set->part[k].slots[i]) = set->part[k].slots[i];
        free(set->part[k].slots);
        set->part[k].slots = slots;
        set->part[k].size = bigger;
    }
    struct qk_dochash *slot = find(set->part[k].slots, set->part[k].size, hash);
    if (!is_empty(*slot))
        return false;
    *slot = hash;
    set->part[k].count++;
    set->count++;
    return true;
}

bool qk_docset_has(const struct qk_docset *set, struct qk_dochash hash)
{
    hash = never_empty(hash);
    size_t k = hash.high >> 54;
    return set->part[k].size && !is_empty(*find(set->part[k].slots, set->part[k].size, hash));
}

void qk_docset_free(struct qk_docset *set)
{
    for (size_t k = 0; k < QK_DOCSET_PARTS; k++)
        free(set->part[k].slots);
    memset(set, 0, sizeof *set);
}
