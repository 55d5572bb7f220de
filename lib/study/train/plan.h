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

#include "compute/counter.h"
#include "model/config.h"

struct qk_cost {
    int64_t parameters, trained;
    int64_t full_file, weights_file, bf16_file; /* bytes of a checkpoint; bf16 before zstd */
    double flops_per_token, muon_flops_per_step;
    int64_t tokens_per_step;
};

struct qk_cost qk_cost_of(const struct qk_config *c);

/* ---- memory, counted by running a step on a device that counts (compute/counter.h) ---- */

struct qk_run {
    enum qk_counted device;
    int64_t memory; /* bytes of the card; 0: a large one */
    int64_t micro_batch;
    bool train, recompute;
};

struct qk_memory {                                  /* bytes */
    int64_t weights, gradients, state, activations; /* on the CPU all float32 or int32 */
    int64_t copies;                                 /* CUDA, bf16: of the weights */
    int64_t statistics;                             /* CUDA: float32 and int32 among activations */
    int64_t scratch;                                /* CUDA: what operations need for themselves */
    int64_t context; /* CUDA: allowances for context and kernels, and unfilled pieces of memory */
    int64_t opened;  /* CUDA: in context, what is taken once the card is opened */
    int64_t together;
    int64_t host_copy; /* on the host: of what a checkpoint is written behind from */
};

int qk_memory_of(struct qk_memory *to, const struct qk_config *c, const struct qk_run *run,
                 struct qk_err *err);

/* ---- the floor: what one optimiser step must cost, counted in the same way ---- */

struct qk_floor {
    double flops[QK_CLASSES], bytes[QK_CLASSES]; /* by class of operation, every operand once */
    double moved[QK_ROLES];                      /* the same bytes by kind of array */
};

int qk_floor_of(struct qk_floor *to, const struct qk_config *c, const struct qk_run *run,
                struct qk_err *err);

/* What a device can do at best: products in TFLOP/s, bytes read and written in GB/s. */
struct qk_ceilings {
    double tflops, gbs;
};

/* Sequences at once when nobody says, on a device whose memory is the host's: as many as make about
 * 2048 rows, in equal parts of the effective batch.  It depends on the config alone, so that
 * results do too. */
int64_t qk_micro_batch_auto(const struct qk_config *c);
/* And on a card at most: as many as make about 32,768 rows. */
int64_t qk_micro_batch_most(const struct qk_config *c);

/* The most sequences at once that fit on a card, likewise in equal parts. */
struct qk_card {
    int64_t memory, room; /* bytes in all, and those that can be had */
    bool open;            /* its context is there and not in `room` */
};
struct qk_fit {
    int64_t micro_batch; /* 0: not even one does, */
    int64_t missing;     /* and so many bytes are missing */
};
/* By how many bytes so many sequences at once are too much for the card; 0 or less: they fit. */
int qk_excess_of(int64_t *bytes, const struct qk_config *c, const struct qk_card *card,
                 int64_t micro_batch, bool train, bool recompute, struct qk_err *err);
int qk_fit_of(struct qk_fit *fit, const struct qk_config *c, const struct qk_card *card, bool train,
              bool recompute, struct qk_err *err);

/* ---- for people ---- */

struct qk_plan {
    enum qk_counted device;
    int64_t micro_batch; /* 0: what auto takes; on CUDA, where there is memory enough */
    bool recompute;
    int64_t steps;
    double rate, tflops;         /* tokens/s, TFLOP/s; 0 when not given */
    struct qk_ceilings ceilings; /* 0 when not given: on CUDA in bf16 those of an H200 */
};
/* Name, number, and the same for people, by lines. */
int qk_plan_print(FILE *to, const struct qk_config *c, const struct qk_plan *plan,
                  struct qk_err *err);

#endif
