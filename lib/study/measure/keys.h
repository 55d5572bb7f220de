/* Key statistics: everything qk-probe measures from, gathered from activations on the probe batch
 * or read back from a keys dump; the same numbers either way (lib/FORMAT.md, "keys dump").
 *
 * Gram matrices and means are sums in double precision of float32 activations, taken over blocks
 * of fixed size in (sequence, position) order: the same bits for any number of threads.
 */
#ifndef QK_STUDY_KEYS_H
#define QK_STUDY_KEYS_H

#include "base/progress.h"
#include "base/provenance.h"
#include "model/transformer.h"

enum qk_what { QK_OF_Q, QK_OF_K };         /* index of [2] arrays below */
extern const char *const qk_what_names[2]; /* "q", "k" */

/* Bits of `sites`: 1 << QK_SITE_..., and this one for the weight blocks. */
enum { QK_SITE_WEIGHT = QK_SITES, QK_ALL_SITES = (1 << (QK_SITES + 1)) - 1 };

struct qk_keys_layer {
    /* [site][what]; the last site is "weight" (Gram of the weight block, W W^T: no mean, no rows).
     * NULL where absent.  gram [heads, hd, hd], mean [heads, hd] */
    double *gram[QK_SITES + 1][2], *mean[QK_SITES][2];
    float *rows[QK_SITES][2]; /* [heads, n, hd]; with `full` only */
    double *entropy;          /* [H]: nats, mean over (sequence, position); NULL without a batch */
    double *max_logit;        /* [H]; NULL without a batch */
    double *gain[2];          /* gain_size numbers; NULL when there is no norm */
};

struct qk_keys {
    struct qk_config config;
    int64_t step, tokens_seen;
    int64_t rows;       /* n of every activation site: sequences * (positions - skip_first) */
    int64_t sequences;  /* of the batch; 0 without one */
    int64_t positions;  /* of each sequence: T */
    int64_t skip_first; /* positions left out at the start of each sequence */
    unsigned sites;     /* those present */
    bool full;
    bool dumped;                  /* read from a keys dump */
    struct qk_keys_layer *layers; /* [n_layers] */
};

static inline int64_t qk_keys_heads(const struct qk_config *c, enum qk_what what)
{
    return what == QK_OF_Q ? c->n_heads : c->n_kv_heads;
}
/* 0 for none, 1 for scalar, hd otherwise. */
int64_t qk_keys_gains(const struct qk_config *c);

/* Where the time went, in seconds: reading the file, the forward pass, Gram matrices.  Added to. */
struct qk_keys_times {
    double read, run, sum;
};

/* What to gather, and from which tokens [n_seq, T]. */
struct qk_keys_plan {
    const int32_t *tokens; /* NULL: no batch, so only weights and gains */
    int64_t n_seq, T;      /* T is what the model was made for */
    unsigned sites;
    int64_t skip_first;           /* entropy and max_logit still see every position */
    bool full;                    /* keep the rows too */
    struct qk_progress *progress; /* in tokens of this batch; may be NULL */
    struct qk_keys_times *times;  /* of qk_keys_stream; may be NULL */
};

/* Run the model `m` of device `d` over the batch, one sequence at a time (so that the numbers are
 * the same whatever micro-batch the model was made for), and gather into *k, which is overwritten:
 * free it first if it holds something.  step and tokens_seen are the caller's. */
int qk_keys_gather(struct qk_keys *k, struct qk_device *d, struct qk_model *m,
                   const struct qk_config *c, const struct qk_keys_plan *plan, struct qk_err *err);
/* The same numbers from a checkpoint, which stays in its file but for one layer (model/stream.h).
 * Without tokens: weights and gains alone, and no device is needed. */
int qk_keys_stream(struct qk_keys *k, struct qk_device *d, struct qk_checkpoint *c,
                   const struct qk_keys_plan *plan, struct qk_err *err);
void qk_keys_free(struct qk_keys *k);

/* A keys dump; its bytes, before compression. */
int64_t qk_keys_bytes(const struct qk_config *c, unsigned sites);
int qk_keys_write(const struct qk_keys *k, const char *path, const struct qk_provenance *p,
                  struct qk_err *err);
int qk_keys_read(struct qk_keys *k, const char *path, struct qk_err *err);

/* Either kind of file.  What a checkpoint needs besides is here; a dump must have been made with
 * what is asked. */
struct qk_keys_loader {
    const char *batch; /* token pack whose probe batch to use; NULL: the checkpoint's own */
    unsigned sites;
    int64_t skip_first;
    bool full;
    const char *device_name;
    struct qk_device *device;    /* opened at the first checkpoint; the caller closes it */
    struct qk_progress progress; /* begun by qk_keys_load; tool and quiet are the caller's */
    struct qk_keys_times times;  /* of the last qk_keys_load */
};
/* Without any probe batch a checkpoint gives its weights alone: k->sites tells. */
int qk_keys_load(struct qk_keys *k, const char *path, struct qk_keys_loader *how,
                 struct qk_err *err);

/* With rows kept: Gram matrices and means anew, without the first positions of each sequence. */
int qk_keys_skip(struct qk_keys *k, int64_t skip_first, struct qk_err *err);

/* "pre_norm,weight" or "all" -> bits. */
int qk_keys_sites(const char *text, unsigned *sites, struct qk_err *err);

#endif
