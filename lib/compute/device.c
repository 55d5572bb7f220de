#include "compute/device.h"

#include <string.h>

#include "compute/cpu/cpu.h"

const char *const qk_class_names[QK_CLASSES] = {
    [QK_CLASS_EMBED] = "embed",         [QK_CLASS_NORM] = "norm",
    [QK_CLASS_MATMUL] = "matmul",       [QK_CLASS_ROPE] = "rope",
    [QK_CLASS_ATTENTION] = "attention", [QK_CLASS_ACTIVATION] = "activation",
    [QK_CLASS_LOSS] = "loss",           [QK_CLASS_OPTIMIZER] = "optimizer",
    [QK_CLASS_MEMORY] = "memory",
};

/* "cuda", or "cuda:" and digits. */
static bool names_cuda(const char *name)
{
    if (strncmp(name, "cuda", 4) != 0)
        return false;
    if (!name[4])
        return true;
    const char *digits = name + 5;
    return name[4] == ':' && *digits && strspn(digits, "0123456789") == strlen(digits);
}

struct qk_device *qk_device_open(const char *name, struct qk_err *err)
{
    if (strcmp(name, "cpu") == 0 || strcmp(name, "auto") == 0)
        return qk_cpu_open();
    if (names_cuda(name))
        return qk_fail_null(err, "device %s: this program was built without CUDA; take cpu", name);
    return qk_fail_null(err, "device %s is not known: take auto, cpu, cuda or cuda:N", name);
}

void qk_device_close(struct qk_device *d)
{
    if (d)
        qk_cpu_close(d);
}

void qk_device_describe(const struct qk_device *d, char *text, int size)
{
    (void)d; /* there is one kind so far */
    qk_cpu_describe(text, size);
}
