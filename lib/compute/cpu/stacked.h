/* The rows of queries that read one key head, stacked.
 *
 * The R = H/G query heads that share a key head are stacked position by position: stacked row r is
 * head r % R of the group at position r / R, and sees the keys 0 .. r / R.  So one product with the
 * keys serves them all.  A block is some QK_ROWS of these rows; sequence b and key head g together
 * are number n = b * G + g.
 */
#ifndef QK_COMPUTE_CPU_STACKED_H
#define QK_COMPUTE_CPU_STACKED_H

#include "compute/cpu/attention_strip.h"
#include "compute/ops.h"

enum { QK_ROWS = 4 * QK_STRIP };

/* Behind the last row come, up to a whole strip, rows that see what it sees and that nobody reads.
 */
struct qk_stacked {
    const struct qk_attention_shape *s;
    int64_t first, rows;
    int64_t at[QK_ROWS], lse_at[QK_ROWS]; /* where a row lies in [B, T, H, hd] and in [B, H, T] */
    int32_t seen[QK_ROWS];                /* how many keys it sees */
};

/* Rows first .. of number n, before end. */
void qk_stacked_at(struct qk_stacked *k, const struct qk_attention_shape *s, int64_t n,
                   int64_t first, int64_t end);

/* The first row that sees this key; a row of the block, or behind it. */
int64_t qk_stacked_first(const struct qk_stacked *k, int64_t key);
/* How many keys the strip at row r sees; all of the block. */
int64_t qk_stacked_strip_seen(const struct qk_stacked *k, int64_t r);
int64_t qk_stacked_seen(const struct qk_stacked *k);

/* to [rows, QK_ROW] = scale * the block's rows of from [B, T, H, hd]; zeros up to a whole strip. */
void qk_stacked_gather(float *to, const float *from, float scale, const struct qk_stacked *k);
/* The block's rows of to = scale * from, or += when `add`. */
void qk_stacked_scatter(float *to, const float *from, float scale, bool add,
                        const struct qk_stacked *k);

/* What will be wanted next comes from afar: it is asked for a few rows at a time while a block
 * computes.  First rows of block `next`, then of keys.  Both lists may end early with a NULL. */
struct qk_ahead {
    const struct qk_stacked *next;
    const float *stacked[4]; /* [B, T, H, hd] */
    int64_t row;             /* how far it is */
    const float *keys[4];    /* [count, stride], hd numbers of each row */
    int64_t stride[4];
    int64_t key, count;
};

void qk_ahead_ask(struct qk_ahead *f, int64_t rows);

#endif
