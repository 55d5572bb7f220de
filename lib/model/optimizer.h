/* Who is updated how: Muon for 2-D weights but embed and head, AdamW for everything else; and the
 * moments, on the device and in checkpoints.
 *
 *   /optim              attribute adamw_updates: since the moments were zero
 *   /optim/NAME/m, /v   AdamW moments of the tensor /weights/NAME, its shape, float32
 *   /optim/NAME/b       Muon's momentum buffer
 */
#ifndef QK_MODEL_OPTIMIZER_H
#define QK_MODEL_OPTIMIZER_H

#include "base/h5.h"
#include "compute/ops.h"
#include "model/params.h"

struct qk_optimizer;

/* Moments start at zero.  `config` and `params` must outlive the optimiser. */
struct qk_optimizer *qk_optimizer_create(struct qk_device *d, const struct qk_params *params,
                                         const struct qk_config *config, struct qk_err *err);
void qk_optimizer_free(struct qk_optimizer *o);

/* One update of `weights` from `gradients` (arenas of params.h), which are zero afterwards.  The
 * learning rates of the config are multiplied by `factor`.  *norm: of all trained gradients before
 * clipping; when it is not finite nothing is updated (and that is no failure).  A failure of the
 * update itself is told by the next sync. */
int qk_optimizer_step(struct qk_optimizer *o, struct qk_buf weights, struct qk_buf gradients,
                      double factor, double *norm, struct qk_err *err);

/* The state at one moment, for a checkpoint.  Without a copy its numbers are still on the device
 * and must be written before the next step. */
struct qk_moments {
    int64_t updates;
    float *copy; /* room of qk_optimizer_state_size numbers on the host, the caller's; or NULL */
};
/* Fill *to; to->copy, where there is one, once the device has been waited for. */
void qk_optimizer_take(struct qk_optimizer *o, struct qk_moments *to);

/* Nothing is written before the first update: no /optim means zero moments.  With a copy the
 * device is not touched: another thread may use it meanwhile. */
int qk_optimizer_write(struct qk_optimizer *o, const struct qk_moments *taken, struct qk_h5 *file,
                       struct qk_err *err);
int qk_optimizer_read(struct qk_optimizer *o, struct qk_h5 *file, struct qk_err *err);

/* Floats of state: twice the AdamW parameters and once the Muon ones. */
int64_t qk_optimizer_state_size(const struct qk_params *params);

#endif
