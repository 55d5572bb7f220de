/* Making a token pack (tokens.h5) from documents.
 *
 * Exact duplicates are dropped: the first one counts.  Named splits and the probe batch take
 * documents by hash (docselect.h), train keeps the rest in input order; so the inputs are read
 * twice when anything but train is asked for.  Same inputs, options and seed give the same bytes.
 */
#ifndef QK_STUDY_PACK_WRITE_H
#define QK_STUDY_PACK_WRITE_H

#include "base/progress.h"
#include "base/provenance.h"
#include "study/corpus/corpus.h"
#include "study/corpus/docselect.h"
#include "study/text/bpe_train.h"
#include "study/text/tokenizer.h"

struct qk_packing {
    /* given */
    struct qk_corpus *corpus;
    const struct qk_tokenizer *tokenizer;
    int64_t eot;                  /* id, -1 when the tokenizer has none */
    bool end_documents;           /* put eot behind each document */
    struct qk_split_wish *wishes; /* named splits and probe, in order */
    int wish_count, probe;        /* which wish is the probe; -1 */
    int64_t probe_sequences, probe_length;
    const char *probe_from; /* a pack whose probe batch is copied; NULL */
    uint64_t seed;
    int64_t memory; /* bytes */
    struct qk_progress *progress;
    /* result */
    int64_t documents, duplicates, bytes, tokens;
    int64_t in_probe_from; /* documents left out because the copied probe batch holds them */
    int64_t train_documents, train_tokens;
};

/* Write the pack to `path`.  Inputs that provenance expects are hashed on the way. */
int qk_pack_write(struct qk_packing *p, const char *path, struct qk_provenance *provenance,
                  struct qk_err *err);

/* Count the words of the distinct documents, within `memory` bytes; *documents says how many were
 * used, *all whether that was all of them. */
int qk_pack_count_words(struct qk_corpus *corpus, struct qk_word_counts *counts, int64_t memory,
                        uint64_t seed, int64_t *documents, bool *all, struct qk_err *err);

#endif
