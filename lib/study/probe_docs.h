/* The documents in a probe batch taken from another pack, so that they can be kept out of this
 * one: whole ones by their tokens, and the last, cut one by what is left of it. */
#ifndef QK_STUDY_PROBE_DOCS_H
#define QK_STUDY_PROBE_DOCS_H

#include "study/bpe.h"
#include "study/docset.h"
#include "study/tokenizer.h"
#include "study/tokens.h"

struct qk_probe_docs {
    int32_t *tokens; /* [sequences * length]: the batch */
    int64_t sequences, length;
    int64_t eot;
    int64_t tail; /* tokens of the cut document at the end of the batch */
    struct qk_docset whole;
};

/* Read the batch of the pack at `path`, which must be made with the same tokenizer: same size, and
 * the same text when both packs hold it. */
int qk_probe_docs_read(struct qk_probe_docs *p, const char *path, const struct qk_tokenizer *t,
                       struct qk_err *err);
/* Whether a document (its ids end with eot) is in the batch.  Without an eot in the batch it cannot
 * be told, and the answer is no. */
bool qk_probe_docs_have(const struct qk_probe_docs *p, const struct qk_ids *ids);
void qk_probe_docs_free(struct qk_probe_docs *p);

#endif
