/* One reading of a corpus by all threads, in document order.
 *
 * Four batches are under way at once, one in each stage: while documents of one are encoded, the
 * next is checked, the one after it is read and decompressed, and ids of the one before are taken.
 * What one thread alone can do (reading, taking) so goes on beside what all share, and threads wait
 * for each other once per batch.  Batches do not depend on the number of threads.
 */
#ifndef QK_STUDY_DOCPIPE_H
#define QK_STUDY_DOCPIPE_H

#include "study/corpus/docbatch.h"

struct qk_pipe {
    struct qk_corpus *corpus; /* one that does not repair */
    const struct qk_tokenizer *tokenizer;
    uint64_t seed;  /* of the hashes */
    int64_t memory; /* bytes: batches hold a small part of it, or else one document */
    void *context;
    /* Say which documents are wanted; called once per batch, in order. */
    void (*mark)(void *context, struct qk_batch *b);
    /* Take the ids; in order, on the calling thread, while others are at work on other batches. */
    int (*take)(void *context, struct qk_batch *b, struct qk_err *err);
};

/* From the start of the corpus to its end. A failure is the first one in document order. */
int qk_pipe_run(const struct qk_pipe *p, struct qk_err *err);

#endif
