/* What a training run costs, from its config alone.
 *
 * FLOPs follow one convention: a multiplication and an addition count two; forward and backward of
 * matrix products 6 per weight and token (the head included, embedding look-up not); attention 6 L
 * (H hd) T per token, which is its causal half; Muon per step, apart.
 */
#ifndef QK_STUDY_PLAN_H
#define QK_STUDY_PLAN_H

#include <stdbool.h>
#include <stdio.h>

#include "model/config.h"

struct qk_cost {
    int64_t parameters, trained;
    int64_t weight_bytes, gradient_bytes, state_bytes, activation_bytes; /* float32 */
    int64_t full_file, weights_file, bf16_file; /* bytes of a checkpoint; bf16 before zstd */
    double flops_per_token, muon_flops_per_step;
    int64_t tokens_per_step;
};

struct qk_cost qk_cost_of(const struct qk_config *c, int64_t micro_batch, bool recompute);

/* Sequences at once when nobody says: as many as make about 2048 rows, in equal parts of the
 * effective batch.  It depends on the config alone, so that results do too. */
int64_t qk_micro_batch_auto(const struct qk_config *c);

/* Print the plan of `steps` optimiser steps: name, number, and the same for people.  `rate` in
 * tokens/s and `tflops` in TFLOP/s are 0 when not given. */
void qk_plan_print(FILE *to, const struct qk_config *c, int64_t micro_batch, bool recompute,
                   int64_t steps, double rate, double tflops);

#endif
