/* Token packs: reading, windows, and the deterministic order of batches.
 *
 * Window i of a split is tokens[i*T .. i*T+T]: inputs the first T, targets the last T; there are
 * floor((N-1)/T) of them.
 */
#ifndef QK_STUDY_TOKENS_H
#define QK_STUDY_TOKENS_H

#include "base/h5.h"

struct qk_pack {
    struct qk_h5 *file;
    int64_t vocab_size, eot; /* eot -1 when absent */
};

int qk_pack_open(struct qk_pack *p, const char *path, struct qk_err *err);
void qk_pack_close(struct qk_pack *p);

/* A split held in memory, checked against the vocabulary. */
struct qk_split {
    int64_t count;  /* tokens */
    uint32_t *wide; /* when the file has uint32 tokens, else NULL */
    uint16_t *narrow;
    char name[64];
};
int qk_split_read(struct qk_split *s, struct qk_pack *p, const char *name, struct qk_err *err);
void qk_split_free(struct qk_split *s);

static inline int64_t qk_split_windows(const struct qk_split *s, int64_t T)
{
    return s->count > 0 ? (s->count - 1) / T : 0;
}
/* Inputs and targets [T] of window i. */
void qk_split_window(const struct qk_split *s, int64_t T, int64_t i, int32_t *inputs,
                     int32_t *targets);

/* The n-th window drawn in training: sequential, or by a seeded permutation per epoch; epochs
 * repeat.  A pure function of its arguments; the permutation of one epoch is kept. */
struct qk_order {
    uint64_t seed;
    int64_t windows;
    bool shuffle;
    int64_t epoch; /* of `permutation`; -1 when none is held */
    uint64_t *permutation;
};
int64_t qk_order_window(struct qk_order *o, int64_t n);
void qk_order_free(struct qk_order *o);

/* /probe/tokens: n_seq x T, malloc'd, checked; *n_seq 0 when the pack has none. */
int qk_pack_probe(struct qk_pack *p, int32_t **tokens, int64_t *n_seq, int64_t *T,
                  struct qk_err *err);
/* The text of tokenizer.json: size 0 when the pack has none. */
int qk_pack_tokenizer(struct qk_pack *p, struct qk_buffer *to, struct qk_err *err);

#endif
