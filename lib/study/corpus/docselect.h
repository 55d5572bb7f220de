/* Which documents the named splits and the probe batch take: those of least hash(text, seed),
 * whole, one split after the other, until each holds its count.
 *
 * Found in one reading: a heap keeps the documents of least hash, with their tokens, as many as the
 * splits can need.
 */
#ifndef QK_STUDY_DOCSELECT_H
#define QK_STUDY_DOCSELECT_H

#include "study/corpus/docset.h"
#include "study/corpus/docbatch.h"

struct qk_split_wish {
    char name[64];
    int64_t tokens;
    /* result: documents first .. first+documents-1 of the selection */
    size_t first, documents;
    int64_t held;
};

struct qk_chosen {
    struct qk_dochash hash;
    uint32_t *ids;
    size_t count, bytes;
};

struct qk_selection {
    struct qk_chosen *heap; /* greatest hash first; after qk_selection_assign sorted, least first */
    size_t count, capacity;
    int64_t tokens, largest, wished; /* held; longest document; sum of the wishes */
    int splits;
    bool bounded; /* documents at or above `bound` were given up */
    struct qk_dochash bound;
    struct qk_docset seen;
};

void qk_selection_begin(struct qk_selection *s, const struct qk_split_wish *wishes, int splits);
/* Whether the document could be chosen as things stand (and was not seen before). */
bool qk_selection_wants(const struct qk_selection *s, struct qk_dochash hash);
/* Offer a document that was encoded. */
void qk_selection_offer(struct qk_selection *s, struct qk_dochash hash, const struct qk_ids *ids,
                        size_t bytes);
/* All documents were offered: give them to the wishes.  Fails when they do not suffice. */
int qk_selection_assign(struct qk_selection *s, struct qk_split_wish *wishes, int splits,
                        struct qk_err *err);
/* After that: whether a document is taken. */
bool qk_selection_took(const struct qk_selection *s, struct qk_dochash hash);
void qk_selection_free(struct qk_selection *s);

#endif
