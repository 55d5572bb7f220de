/* Byte-pair merges: the table of pairs and the merging of one word.
 *
 * A word begins as one token per byte; as long as two neighbours form a pair of the table, the
 * pair of least rank (leftmost of equals) becomes one token.
 */
#ifndef QK_STUDY_BPE_H
#define QK_STUDY_BPE_H

#include <stddef.h>
#include <stdint.h>

/* A list of token ids that grows. */
struct qk_ids {
    uint32_t *at;
    size_t count, capacity;
};
void qk_ids_add(struct qk_ids *list, const uint32_t *ids, size_t n);
void qk_ids_free(struct qk_ids *list);

struct qk_merge {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: empty slot */
    uint32_t rank, id;
};

struct qk_merges {
    struct qk_merge *slots; /* open addressing, at most half full */
    size_t mask, count;
};
void qk_merges_init(struct qk_merges *m, size_t expected);
/* Add or replace a pair. */
void qk_merges_put(struct qk_merges *m, uint32_t left, uint32_t right, uint32_t rank, uint32_t id);
/* The merge of a pair, until the next put; NULL for none. */
const struct qk_merge *qk_merges_find(const struct qk_merges *m, uint32_t left, uint32_t right);
void qk_merges_free(struct qk_merges *m);

/* Room for merging, one per thread. */
struct qk_bpe_work {
    uint32_t *ranks, *next, *previous, *heap;
    size_t capacity, heap_capacity;
};
void qk_bpe_work_free(struct qk_bpe_work *w);

/* Merge ids[0..n) in place; returns how many are left. */
size_t qk_bpe_merge(const struct qk_merges *m, struct qk_bpe_work *w, uint32_t *ids, size_t n);

#endif
