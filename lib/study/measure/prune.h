/* Surgery: take directions away from the keys of a checkpoint, and see what it loses.
 *
 * Of the hd directions of every key head in the layers asked for, r = round(fraction * hd) go:
 *
 *   svd              those along which the calibration keys at pre_norm have least energy: the
 *                    eigenvectors V of their Gram matrix with the r least eigenvalues; the head's
 *                    rows of W_k become W_k - V V^T W_k
 *   gamma            the r dimensions of least |gamma_k|, set to zero in the gain that the heads of
 *                    a layer share; refused where there is no learned gain per dimension
 *   random           r dimensions at random, at the same place: zero in the gain, which a frozen
 *                    norm has too; in the rows of W_k where there is no gain per dimension
 *   random-subspace  V V^T of an orthonormal basis V of a random subspace, as svd
 *
 * RMSNorm comes between W_k and the gain: it makes what a cut of W_k leaves as long as it was
 * before, and does nothing about a cut of the gain.  So the two are not the same dose.
 *
 * The output is a checkpoint without optimiser state that says what was done to it (attribute
 * `pruned`, JSON).  Tensors that are not cut are copied number for number, one at a time; those
 * that are cut are float32.  Nothing is cut with a fraction of 0.
 */
#ifndef QK_STUDY_PRUNE_H
#define QK_STUDY_PRUNE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/progress.h"
#include "base/provenance.h"
#include "model/checkpoint.h"

enum qk_cut { QK_CUT_SVD, QK_CUT_GAMMA, QK_CUT_RANDOM, QK_CUT_RANDOM_SUBSPACE };
#define QK_CUT_NAMES "svd|gamma|random|random-subspace"
/* `name` is one of them. */
enum qk_cut qk_cut_named(const char *name);

struct qk_prune {
    const char *from, *to; /* checkpoints */
    enum qk_cut by;
    double fraction;    /* 0 .. 1 */
    const char *layers; /* "0,3,5", or NULL for all */
    /* What svd takes its directions from: the batch "probe" of a token pack, or the first windows
     * of another split, QK_CALIB_ROWS rows at most.  The others need none (path NULL). */
    const char *calib, *split;
    int64_t seed; /* of the random ones */
    const char *device;
    struct qk_progress progress; /* of the calibration; tool and quiet are the caller's */
    struct qk_provenance *provenance;
};
enum { QK_CALIB_ROWS = 16384 };

/* A split that evaluation is meant for (test) is refused as calibration. */
int qk_prune_run(struct qk_prune *p, struct qk_err *err);

/* What was cut out of a checkpoint already, an object to be deleted; NULL when nothing was.  `path`
 * names the checkpoint in errors. */
int qk_prune_record(struct qk_checkpoint *c, cJSON **record, const char *path, struct qk_err *err);

#endif
