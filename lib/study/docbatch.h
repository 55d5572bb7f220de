/* Documents in batches, so that threads can share the work while their order stays. */
#ifndef QK_STUDY_DOCBATCH_H
#define QK_STUDY_DOCBATCH_H

#include "study/bpe.h"
#include "study/corpus.h"
#include "study/docset.h"
#include "study/tokenizer.h"

struct qk_batch_item {
    size_t start, size; /* in `text` */
    struct qk_dochash hash;
    bool wanted; /* set by the user of the batch; only these are encoded */
    struct qk_ids ids;
};

struct qk_batch {
    size_t most_bytes; /* a batch ends with the document that reaches this */
    struct qk_buffer text;
    struct qk_batch_item *items;
    size_t count, capacity;
    struct qk_encode_work *work; /* one per thread */
    int threads;
};

/* Fill the batch with the next documents, hashed with the seed: 1, 0 at the end, -1. */
int qk_batch_read(struct qk_batch *b, struct qk_corpus *c, uint64_t seed, struct qk_err *err);
/* Encode the wanted ones; eot >= 0 is put behind each. */
int qk_batch_encode(struct qk_batch *b, const struct qk_tokenizer *t, int64_t eot,
                    struct qk_err *err);
static inline const char *qk_batch_text(const struct qk_batch *b, size_t i)
{
    return b->text.at + b->items[i].start;
}
void qk_batch_free(struct qk_batch *b);

#endif
