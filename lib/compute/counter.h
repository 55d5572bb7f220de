/* A device that holds nothing and computes nothing: it counts the memory it is asked for, and the
 * work.
 *
 * A model that is made and stepped on it tells what it takes of a real device of that kind, so that
 * a plan needs neither the memory nor a card, and cannot say other than what models do.  What is
 * got from it is zeros.  Work is counted as a real device counts it for --profile: flops and bytes
 * of struct qk_device, operations and the bytes of every operand read or written once.
 */
#ifndef QK_COMPUTE_COUNTER_H
#define QK_COMPUTE_COUNTER_H

#include "compute/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

enum qk_counted { QK_COUNTED_CPU, QK_COUNTED_CUDA };

/* Bytes.  Of the CPU only arrays are counted; the rest is of a card. */
struct qk_counts {
    int64_t role[QK_ROLES]; /* arrays */
    int64_t copies;         /* in role[QK_ROLE_PARAMETER]: bf16 beside float32 */
    int64_t scratch;        /* what operations need for themselves */
    int64_t context, later; /* allowances: for what is there once it is opened, and loaded later */
    int64_t lost; /* arrays and scratch come in pieces of memory, the last of each unfilled */
    double moved[QK_ROLES]; /* the bytes of all operations, by the kind of array */
};

/* `memory`: bytes of the card, on which some scratch depends; 0: a large one. */
struct qk_device *qk_counter_open(enum qk_counted as, int64_t memory);
void qk_counter_close(struct qk_device *d);

/* Of memory the most there was at once, with nothing released. */
struct qk_counts qk_counter_counts(const struct qk_device *d);
/* Work is counted from now on. */
void qk_counter_start(struct qk_device *d);

#ifdef __cplusplus
}
#endif

#endif
