/* Key statistics: everything qk-probe measures from, gathered from activations on the probe batch
 * or read back from a keys dump; the same numbers either way (lib/FORMAT.md, "keys").
 *
 * Gram matrices and means are sums in double precision of float32 activations.
 */
#ifndef QK_STUDY_KEYS_H
#define QK_STUDY_KEYS_H

#include "base/provenance.h"
#include "model/transformer.h"

enum qk_what { QK_OF_Q, QK_OF_K }; /* index of [2] arrays below */

struct qk_keys_layer {
    /* [site][what]; the last site is "weight" (Gram of the weight block W W^T, no mean, no rows).
     * NULL where absent.  gram [heads, hd, hd], mean [heads, hd] */
    double *gram[QK_SITES + 1][2], *mean[QK_SITES][2];
    float *rows[QK_SITES][2]; /* [heads, n, hd]; with `full` only */
    double *entropy;   /* [H]: nats, mean over (sequence, position) */
    double *max_logit; /* [H] */
    double *gain[2];   /* gain_size numbers; NULL when there is no norm */
};

struct qk_keys {
    struct qk_config config;
    int64_t step, tokens_seen;
    int64_t rows;        /* n of every activation site */
    int64_t sequences;   /* of the batch; rows = sequences * (T - skip_first) */
    unsigned sites;      /* bit per qk_site; bit QK_SITES for weight */
    bool full;
    struct qk_keys_layer *layers; /* [n_layers] */
};

/* Run the model over tokens [n_seq, T] and gather.  `skip_first` leaves out that many positions at
 * the start of each sequence (entropy and max_logit still see all). */
int qk_keys_gather(struct qk_keys *k, struct qk_model *m, const struct qk_config *c,
                   const int32_t *tokens, int64_t n_seq, int64_t T, int64_t micro_batch,
                   unsigned sites, int64_t skip_first, bool full, struct qk_err *err);
void qk_keys_free(struct qk_keys *k);

/* A keys dump. */
int qk_keys_write(const struct qk_keys *k, const char *path, const struct qk_provenance *p,
                  struct qk_err *err);
int qk_keys_read(struct qk_keys *k, const char *path, struct qk_err *err);

/* "pre_norm,weight" or "all" -> bits. */
int qk_keys_sites(const char *text, unsigned *sites, struct qk_err *err);

#endif
