/* Fair learning rates: the rate of least validation loss of each configuration of a sweep.
 *
 *   chosen.json  {CONFIG: {lr: {muon, adamw}, rate, val_loss, rank, edge, side, add[],
 *                 grid: [{rate, lr, val_loss, mean_pr, seeds, added}, ...]}, ...,
 *                 site, config, provenance}
 *
 * The loss is that on the split `select`, which nothing is reported on: evals.select of a
 * results.json, else its last val_loss.  rank is the mean PR at the winning rate; the grid holds it
 * at every rate, for rank moves with the rate as much as with the condition.  A winner at the edge
 * of its grid (edge true, side "low" or "high") is no optimum: `add` are the rates that continue
 * the grid geometrically there.  A run whose loss is not a number (null) does not win.
 */
#ifndef QK_STUDY_PICKLR_H
#define QK_STUDY_PICKLR_H

#include "base/json.h"
#include "base/mem.h"

/* `operands` are "CONFIG:RATE=results.json" words (or an eval.json of task loss); runs of one
 * config and rate with different seeds become their mean.  The caller deletes the result; NULL on
 * failure. */
cJSON *qk_pick_lr(const struct qk_strings *operands, struct qk_err *err);

/* The file name in such a word; NULL with a sentence when it is not one. */
const char *qk_pick_lr_path(const char *operand, struct qk_err *err);

/* Does a member of chosen.json, a configuration that has a grid, have what verdicts and tables read
 * of it?  -1 with a sentence that names it. */
int qk_chosen_check(const cJSON *config, struct qk_err *err);

/* Each of the "CONFIG:RATE" words names a rate that was tried because the winner of the grid before
 * it was at its edge: its point of the grid gets `added`: true. */
int qk_chosen_mark_added(cJSON *chosen, const struct qk_strings *added, struct qk_err *err);

/* How many seeds the rates of chosen.json have, the least of them; 1 where it does not tell. */
int qk_chosen_seeds(const cJSON *chosen);

#endif
