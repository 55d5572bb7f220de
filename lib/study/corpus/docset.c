#include "study/corpus/docset.h"

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

/* What a slot holds of a hash. Zero marks empty slots: it shares with one. */
static uint64_t rest_of(struct qk_dochash h)
{
    return h.low ? h.low : 1;
}

static uint64_t *find(uint64_t *slots, size_t size, uint64_t rest)
{
    size_t i = (size_t)(((unsigned __int128)rest * size) >> 64);
    while (slots[i] && slots[i] != rest)
        i = i + 1 < size ? i + 1 : 0;
    return &slots[i];
}

bool qk_docset_add(struct qk_docset *set, struct qk_dochash hash)
{
    uint64_t rest = rest_of(hash);
    struct qk_docset_part *part = &set->part[hash.high >> (64 - QK_DOCSET_BITS)];
    if (10 * (part->count + 1) > 9 * part->size) { /* at most nine tenths full */
        size_t bigger = part->size + part->size / 8 + 8;
        uint64_t *slots = qk_zalloc(bigger, sizeof *slots);
        for (size_t i = 0; i < part->size; i++)
            if (part->slots[i])
                *find(slots, bigger, part->slots[i]) = part->slots[i];
        free(part->slots);
        part->slots = slots;
        part->size = bigger;
    }
    uint64_t *slot = find(part->slots, part->size, rest);
    if (*slot)
        return false;
    *slot = rest;
    part->count++;
    set->count++;
    return true;
}

bool qk_docset_has(const struct qk_docset *set, struct qk_dochash hash)
{
    const struct qk_docset_part *part = &set->part[hash.high >> (64 - QK_DOCSET_BITS)];
    return part->size && *find(part->slots, part->size, rest_of(hash));
}

void qk_docset_free(struct qk_docset *set)
{
    for (size_t k = 0; k < QK_DOCSET_PARTS; k++)
        free(set->part[k].slots);
    memset(set, 0, sizeof *set);
}
