/* Log-likelihoods of text under a model, as lm-evaluation-harness (v0.4.13) asks for them.
 *
 *     struct qk_scorer *s = qk_scorer_create(device, &checkpoint, &tokenizer, &err);
 *     struct qk_request r;
 *     qk_request_pair(s, &r, context, continuation, &err);      // encoded and cut
 *     qk_scorer_score(s, &r, 1, &err);                          // r.logp, r.greedy
 *     qk_request_free(&r);
 *
 * A pair is encoded whole and cut by the number of tokens its context has alone; white space at the
 * end of the context belongs to the continuation.  No token is put in front but those of the
 * tokenizer's own template.  Of what is longer than the model's sequence (max_length = seq_len) the
 * last max_length + 1 tokens are kept, the last of which is only predicted.  Without a context the
 * token that ends documents stands in for it.
 */
#ifndef QK_STUDY_SCORER_H
#define QK_STUDY_SCORER_H

#include "model/transformer.h"
#include "study/text/pytext.h"
#include "study/text/tokenizer.h"

struct qk_scorer;

/* The checkpoint's weights are read here; it and the tokenizer must outlive the scorer. */
struct qk_scorer *qk_scorer_create(struct qk_device *d, struct qk_checkpoint *c,
                                   const struct qk_tokenizer *t, struct qk_err *err);
void qk_scorer_free(struct qk_scorer *s); /* NULL is fine */

int64_t qk_scorer_max_length(const struct qk_scorer *s);
/* The token that stands where nothing does: the checkpoint's eot, else the tokenizer's; -1. */
int64_t qk_scorer_prefix(const struct qk_scorer *s);
/* What the tokenizer's template puts in front of every text; -1 for nothing. */
int64_t qk_scorer_bos(const struct qk_scorer *s);

/* A sequence and how many of its last tokens are scored. */
struct qk_request {
    int32_t *tokens; /* owned: count of them, 2 <= count <= max_length + 1 */
    int64_t count, scored;
    int64_t context;  /* tokens of the context, before anything was cut off */
    int64_t cut;      /* tokens left out at the front */
    int64_t unscored; /* of them, tokens of the continuation: lm-eval would refuse the item */
    /* results */
    double logp; /* nats, of all scored tokens together */
    bool greedy; /* each of them was the likeliest */
};
void qk_request_free(struct qk_request *r);

/* The pair; the continuation must have a token.  Text is valid UTF-8. */
int qk_request_pair(struct qk_scorer *s, struct qk_request *r, struct qk_span context,
                    struct qk_span continuation, struct qk_err *err);

/* A long text in windows of max_length, each token scored once: the first window begins with the
 * prefix token, every other with the last token of the one before, and the last window reaches
 * back as far as it can.  Adds to *list (realloc'd) of *count; *tokens is how many are scored. */
int qk_request_rolling(struct qk_scorer *s, struct qk_span text, struct qk_request **list,
                       int64_t *count, int64_t *tokens, struct qk_err *err);

/* Score them, several of like length at once; the order of the list does not change. */
int qk_scorer_score(struct qk_scorer *s, struct qk_request *list, int64_t count,
                    struct qk_err *err);

#endif
