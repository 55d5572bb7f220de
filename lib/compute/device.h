/* Opening a device: the only place that knows which ones exist. */
#ifndef QK_COMPUTE_DEVICE_H
#define QK_COMPUTE_DEVICE_H

#include "compute/ops.h"

/* Every device begins with this; the rest is its own. */
struct qk_device {
    const struct qk_ops *ops;
    struct qk_err failure; /* first failure; failure.text[0] == 0 while all is well */
    bool profile;          /* take times (waits after every operation) */
    /* What it took, and what it must take: operations, and the bytes of every operand once. */
    double seconds[QK_CLASSES], flops[QK_CLASSES], bytes[QK_CLASSES];
};

/* `name` is auto, cpu, cuda or cuda:N.  auto takes CUDA where it is built in and a card is there.
 * NULL with a sentence when it cannot be had. */
struct qk_device *qk_device_open(const char *name, struct qk_err *err);
void qk_device_close(struct qk_device *d);

/* One line for people: processor, threads, BLAS and its kernels. */
void qk_device_describe(const struct qk_device *d, char *text, int size);

#endif
