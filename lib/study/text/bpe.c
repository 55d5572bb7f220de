#include "study/text/bpe.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void qk_ids_add(struct qk_ids *list, const uint32_t *ids, size_t n)
{
    if (list->count + n > list->capacity)
        qk_grow(&list->at, &list->capacity, list->count + n, sizeof *list->at);
    if (n)
        memcpy(list->at + list->count, ids, n * sizeof *ids);
    list->count += n;
}

void qk_ids_free(struct qk_ids *list)
{
    free(list->at);
    *list = (struct qk_ids){0};
}

/* ---- the table ---- */

static size_t slot_of(const struct qk_merges *m, uint64_t pair)
{
    return (size_t)((pair * 0x9E3779B97F4A7C15u) >> 20) & m->mask;
}

void qk_merges_init(struct qk_merges *m, size_t expected)
{
    size_t size = 16;
    while (size < 2 * expected)
        size *= 2;
    m->slots = qk_alloc(size, sizeof *m->slots);
    for (size_t i = 0; i < size; i++)
        m->slots[i].pair = UINT64_MAX;
    m->mask = size - 1;
    m->count = 0;
}

static struct qk_merge *probe(const struct qk_merges *m, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t i = slot_of(m, pair);
    while (m->slots[i].pair != pair && m->slots[i].pair != UINT64_MAX)
        i = (i + 1) & m->mask;
    return &m->slots[i];
}

static void enlarge(struct qk_merges *m)
{
    struct qk_merges bigger;
    qk_merges_init(&bigger, m->mask + 1);
    for (size_t i = 0; i <= m->mask; i++)
        if (m->slots[i].pair != UINT64_MAX) {
            uint64_t pair = m->slots[i].pair;
            *probe(&bigger, (uint32_t)(pair >> 32), (uint32_t)pair) = m->slots[i];
            bigger.count++;
        }
    free(m->slots);
    *m = bigger;
}

void qk_merges_put(struct qk_merges *m, uint32_t left, uint32_t right, uint32_t rank, uint32_t id)
{
    if (2 * (m->count + 1) > m->mask + 1)
        enlarge(m);
    struct qk_merge *slot = probe(m, left, right);
    m->count += slot->pair == UINT64_MAX;
    *slot = (struct qk_merge){(uint64_t)left << 32 | right, rank, id};
}

const struct qk_merge *qk_merges_find(const struct qk_merges *m, uint32_t left, uint32_t right)
{
    const struct qk_merge *slot = probe(m, left, right);
    return slot->pair == UINT64_MAX ? NULL : slot;
}

void qk_merges_free(struct qk_merges *m)
{
    free(m->slots);
    *m = (struct qk_merges){0};
}

/* ---- merging a word ---- */

enum { NO_RANK = 0xFFFFFFFF, SHORT_WORD = 48 };

static uint32_t rank_of(const struct qk_merges *m, uint32_t left, uint32_t right)
{
    const struct qk_merge *merge = qk_merges_find(m, left, right);
    return merge == NULL ? (uint32_t)NO_RANK : merge->rank;
}

/* Short words: scan for the least rank, close the gap, again. */
static size_t merge_short(const struct qk_merges *m, uint32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_WORD];
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(m, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == NO_RANK)
            break;
        ids[best] = probe(m, ids[best], ids[best + 1])->id;
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        memmove(ranks + best, ranks + best + 1, (n - best - 1) * sizeof *ranks);
        if (best + 1 < n)
            ranks[best] = rank_of(m, ids[best], ids[best + 1]);
        if (best > 0)
            ranks[best - 1] = rank_of(m, ids[best - 1], ids[best]);
    }
    return n;
}

/* Long words: a heap of positions ordered by (rank, position).  Entries are not removed when the
 * rank at their position changes: they carry the rank they were made with and are skipped when it
 * is no longer true. */
struct entry {
    uint32_t rank, at;
};

static bool before(struct entry a, struct entry b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void push(struct qk_bpe_work *w, size_t *count, struct entry e)
{
    qk_grow(&w->heap, &w->heap_capacity, 2 * (*count + 1), sizeof *w->heap);
    struct entry *heap = (struct entry *)w->heap;
    size_t i = (*count)++;
    while (i > 0 && before(e, heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = e;
}

static struct entry pop(struct qk_bpe_work *w, size_t *count)
{
    struct entry *heap = (struct entry *)w->heap;
    struct entry top = heap[0], last = heap[--*count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= *count)
            break;
        if (child + 1 < *count && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], last))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

enum { NONE = 0xFFFFFFFF };

/* The rank of the pair that begins at i has changed. */
static void renew(const struct qk_merges *m, struct qk_bpe_work *w, size_t *count,
                  const uint32_t *ids, uint32_t i)
{
    uint32_t right = w->next[i];
    w->ranks[i] = right == NONE ? (uint32_t)NO_RANK : rank_of(m, ids[i], ids[right]);
    if (w->ranks[i] != NO_RANK)
        push(w, count, (struct entry){w->ranks[i], i});
}

static void reserve(struct qk_bpe_work *w, size_t n)
{
    if (n <= w->capacity)
        return;
    w->capacity = 2 * n;
    w->ranks = qk_realloc(w->ranks, w->capacity, sizeof *w->ranks);
    w->next = qk_realloc(w->next, w->capacity, sizeof *w->next);
    w->previous = qk_realloc(w->previous, w->capacity, sizeof *w->previous);
}

static size_t merge_long(const struct qk_merges *m, struct qk_bpe_work *w, uint32_t *ids, size_t n)
{
    size_t count = 0, left = 0;
    reserve(w, n);
    for (size_t i = 0; i < n; i++) {
        w->next[i] = i + 1 < n ? (uint32_t)i + 1 : (uint32_t)NONE;
        w->previous[i] = i ? (uint32_t)i - 1 : (uint32_t)NONE;
    }
    for (size_t i = 0; i < n; i++)
        renew(m, w, &count, ids, (uint32_t)i);
    while (count) {
        struct entry e = pop(w, &count);
        uint32_t i = e.at, right = w->next[i];
        if (w->ranks[i] != e.rank)
            continue;
        ids[i] = probe(m, ids[i], ids[right])->id;
        w->next[i] = w->next[right];
        w->ranks[right] = NO_RANK;
        if (w->next[i] != NONE)
            w->previous[w->next[i]] = i;
        renew(m, w, &count, ids, i);
        if (w->previous[i] != NONE)
            renew(m, w, &count, ids, w->previous[i]);
    }
    for (uint32_t i = 0; i != NONE; i = w->next[i])
        ids[left++] = ids[i];
    return left;
}

size_t qk_bpe_merge(const struct qk_merges *m, struct qk_bpe_work *w, uint32_t *ids, size_t n)
{
    return n <= SHORT_WORD ? merge_short(m, ids, n) : merge_long(m, w, ids, n);
}

void qk_bpe_work_free(struct qk_bpe_work *w)
{
    free(w->ranks);
    free(w->next);
    free(w->previous);
    free(w->heap);
    *w = (struct qk_bpe_work){0};
}
