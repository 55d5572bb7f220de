/* The documents in a probe batch taken from another pack, so that they can be kept out of this
 * one.  The batch is documents end to end, the last one cut.  Where it holds end-of-text tokens
 * these tell where a document begins and ends; where it holds none (packed without them, or one
 * long document) a document is looked for at every place. */
#ifndef QK_STUDY_PROBE_DOCS_H
#define QK_STUDY_PROBE_DOCS_H

#include "study/corpus/tokens.h"
#include "study/text/bpe.h"
#include "study/text/tokenizer.h"

struct qk_probe_place {
    int32_t token; /* the one there */
    int64_t at;
};

struct qk_probe_docs {
    int32_t *tokens; /* [sequences * length]: the batch */
    int64_t sequences, length;
    int64_t eot;
    bool ended;                    /* there are end-of-text tokens in it */
    struct qk_probe_place *places; /* where documents may begin, by token, then by place */
    size_t place_count;
};

/* Read the batch of the pack at `path`, which must be made with the same tokenizer: same size, and
 * the same text when both packs hold it. */
int qk_probe_docs_read(struct qk_probe_docs *p, const char *path, const struct qk_tokenizer *t,
                       struct qk_err *err);
/* Whether a document (with or without eot behind it) is in the batch: whole, or its beginning at
 * the batch's end.  Without an eot in the batch a beginning of fewer than 16 tokens is not taken
 * for the document, and a short document that merely occurs within another counts as there. */
bool qk_probe_docs_have(const struct qk_probe_docs *p, const struct qk_ids *ids);
void qk_probe_docs_free(struct qk_probe_docs *p);

#endif
