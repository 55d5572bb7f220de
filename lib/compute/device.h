/* Opening a device: the only place that knows which ones exist. */
#ifndef QK_COMPUTE_DEVICE_H
#define QK_COMPUTE_DEVICE_H

#include "compute/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every device begins with this; the rest is its own. */
struct qk_device {
    const struct qk_ops *ops;
    struct qk_err failure; /* first failure; failure.text[0] == 0 while all is well */
    bool profile;          /* take times; set before the first operation they are wanted of */
    bool bf16;  /* what is allocated from now on is for computing in bf16, where the device
                   can; the model says so from its config */
    bool apart; /* its memory is not the host's */
    int64_t memory, room; /* bytes in all, and those that could be had when it was opened; 0 where
                             nothing counts them */
    /* What it took, and what it must take: operations, and the bytes of every operand once. */
    double seconds[QK_CLASSES], flops[QK_CLASSES], bytes[QK_CLASSES];
};

/* Could there be such a device, here or elsewhere? */
bool qk_device_is_name(const char *name);
/* `name` is auto, cpu, cuda or cuda:N.  auto takes CUDA where it is built in and a card is there.
 * NULL with a sentence when it cannot be had. */
struct qk_device *qk_device_open(const char *name, struct qk_err *err);
void qk_device_close(struct qk_device *d);

/* One line for people: processor, threads, BLAS and its kernels; or the card. */
void qk_device_describe(const struct qk_device *d, char *text, int size);
/* "13.0", of the CUDA toolkit this was built with; NULL without. */
const char *qk_device_cuda_version(void);

#ifdef __cplusplus
}
#endif

#endif
