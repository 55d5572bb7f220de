/* Documents in batches, so that threads can share the work while their order stays.
 *
 * A batch goes through four stages, each document of it in the same order: it is read (one thread),
 * its documents are checked and hashed, those that are wanted are encoded (any number of threads,
 * by units of some ten thousand bytes; a long document is cut into several), and its ids are taken
 * (one thread).
 *
 *     while (qk_batch_read(&b, corpus, &err) ...)
 *         for each unit u: qk_batch_check(&b, u, corpus, seed, work);
 *         qk_batch_checked(&b, &err);
 *         ... set b.items[i].wanted
 *         qk_batch_cut(&b, tokenizer);
 *         for each unit u: qk_batch_encode(&b, u, tokenizer, work);
 *         qk_batch_encoded(&b, &err);
 *         ... qk_batch_ids(&b, i, &room)
 */
#ifndef QK_STUDY_DOCBATCH_H
#define QK_STUDY_DOCBATCH_H

#include "study/corpus/corpus.h"
#include "study/corpus/docset.h"
#include "study/text/bpe.h"
#include "study/text/tokenizer.h"

struct qk_batch_item {
    struct qk_document raw; /* its text is in the batch */
    size_t start, size;     /* of the text, in `text` */
    struct qk_dochash hash;
    bool kept;   /* by the corpus */
    bool wanted; /* set by the user of the batch; only these are encoded */
    size_t first_piece, pieces;
};

/* A document or a part of it, and where its ids are. */
struct qk_batch_piece {
    size_t start, size; /* in `text` */
    size_t unit, first, count;
};

/* What one thread does at a time: items to check, or pieces to encode. */
struct qk_batch_unit {
    size_t first, count;
    struct qk_ids ids;
    bool failed;
    struct qk_err err;
};

struct qk_batch {
    size_t most_bytes; /* a batch ends with the document that reaches this */
    struct qk_buffer text;
    struct qk_batch_item *items;
    size_t count, capacity;
    struct qk_batch_piece *pieces;
    size_t piece_count, piece_capacity;
    struct qk_batch_unit *units;
    size_t unit_count, unit_capacity, units_made;
};

/* Room for checking and encoding, one per thread. */
struct qk_batch_work {
    struct qk_corpus_work corpus;
    struct qk_encode_work encode;
    char apart[128]; /* from the next thread's: no cache line is written by both */
};
void qk_batch_work_free(struct qk_batch_work *work);

/* Fill the batch with the next documents: 1, 0 at the end, -1; it may hold documents with each. */
int qk_batch_read(struct qk_batch *b, struct qk_corpus *c, struct qk_err *err);

void qk_batch_check(struct qk_batch *b, size_t unit, const struct qk_corpus *c, uint64_t seed,
                    struct qk_batch_work *work);
/* When all units are checked: drop what the corpus passes over; the first failure. */
int qk_batch_checked(struct qk_batch *b, struct qk_err *err);

/* Make units of the wanted documents. */
void qk_batch_cut(struct qk_batch *b, const struct qk_tokenizer *t);
void qk_batch_encode(struct qk_batch *b, size_t unit, const struct qk_tokenizer *t,
                     struct qk_batch_work *work);
int qk_batch_encoded(const struct qk_batch *b, struct qk_err *err);

static inline const char *qk_batch_text(const struct qk_batch *b, size_t i)
{
    return b->text.at + b->items[i].start;
}
/* The ids of a piece: [piece->count]. */
static inline const uint32_t *qk_batch_piece_ids(const struct qk_batch *b,
                                                 const struct qk_batch_piece *piece)
{
    return b->units[piece->unit].ids.at + piece->first;
}
/* All ids of a wanted document, put together in `room`. */
void qk_batch_ids(const struct qk_batch *b, size_t i, struct qk_ids *room);
void qk_batch_free(struct qk_batch *b);

#endif
