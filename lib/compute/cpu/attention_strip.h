/* Attention's arithmetic, strip by strip, in the widest vectors of this processor.
 *
 * Everything happens to QK_STRIP rows at a time, or to QK_STRIP keys: few enough that their logits
 * stay in the first-level cache between the steps.  Arrays of queries, of gradients and of outputs
 * have rows QK_ROW apart, logits and probabilities QK_LD; keys, values and the sums of their
 * gradients lie densely, [keys, width], width being hd filled up with zeros to whole vectors.
 * Pointers are to floats that begin a cache line.
 *
 * Row r of a strip sees the keys below seen[r], which do not fall.  Logits are to base 2, that is,
 * times log2(e).
 */
#ifndef QK_COMPUTE_CPU_ATTENTION_STRIP_H
#define QK_COMPUTE_CPU_ATTENTION_STRIP_H

#include <stdbool.h>
#include <stdint.h>

enum {
    QK_STRIP = 12,          /* rows: whole register tiles of any vector */
    QK_KEYS = 8 * QK_STRIP, /* keys of a block: whole strips, whole panels, whole vectors */
    QK_SPAN = 3 * QK_KEYS,  /* most keys at once */
    QK_WIDE = 16,           /* the longest vector */
    QK_ROW = 128 + 16,      /* the largest hd; not a power of two: rows would share cache sets */
    QK_LD = QK_SPAN + 16,
};

struct qk_attention_strip {
    /* The order in which `logits` reads keys (or values): `keys` rows of hd, `stride` apart, turned
     * into panels.  Keys from k on, k a multiple of QK_KEYS, begin at to + k * hd. */
    void (*turn)(float *to, const float *from, int64_t stride, int64_t keys, int64_t hd);

    /* p [QK_STRIP, cols] = x [QK_STRIP, hd] times turned keys; p is written to whole vectors. */
    void (*logits)(float *p, const float *x, const float *turned, int64_t hd, int64_t cols);

    /* Logits of the keys from .. from+cols to probabilities 2^(l - max), zero where a row does not
     * see the key.  Where a row's maximum rises, its sum and its `out` so far are scaled down; out
     * is not looked at when from is 0. */
    void (*softmax)(float *p, const int32_t *seen, int64_t from, int64_t cols, float *max,
                    float *sum, float *out, int64_t width);

    /* out [QK_STRIP, width] = p [QK_STRIP, keys] v [keys, width], or += when `add`. */
    void (*average)(float *out, const float *p, const float *v, int64_t keys, int64_t width,
                    bool add);

    /* p from logits to probabilities 2^(l - lse), dp from their gradient to that of the natural
     * logits, p (dp - delta); both zero where a row does not see the key, up to QK_KEYS. */
    void (*gradient)(float *p, float *dp, const int32_t *seen, int64_t from, int64_t cols,
                     const float *lse, const float *delta);

    /* out [QK_STRIP keys, width] += p [rows, QK_STRIP]^T x [rows, width]. */
    void (*spread)(float *out, const float *p, const float *x, int64_t rows, int64_t width);

    /* sum[r] += -sum p ln p with p = 2^(l - lse), max[r] raised to the largest logit.  The logits
     * are overwritten. */
    void (*entropy)(float *p, const int32_t *seen, int64_t from, int64_t cols, const float *lse,
                    double *sum, float *max);
};

/* By the vectors that matrix products use (qk_vectors). */
const struct qk_attention_strip *qk_attention_strip(void);

#endif
