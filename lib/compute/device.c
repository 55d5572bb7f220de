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

#ifdef QK_WITH_CUDA
#include "compute/cuda/cuda.h"
#else
/* A program without CUDA says so in the same places. */
static int qk_cuda_count(void)
{
    return 0;
}

static struct qk_device *qk_cuda_open(int index, struct qk_err *err)
{
    (void)index;
    return qk_fail_null(err, "device cuda: this program was built without CUDA; take cpu");
}

static void qk_cuda_close(struct qk_device *d)
{
    (void)d;
}

static void qk_cuda_describe(const struct qk_device *d, char *text, int size)
{
    (void)d;
    (void)text;
    (void)size;
}

static const char *qk_cuda_version(void)
{
    return NULL;
}
#endif

/* The card that "cuda" (0) or "cuda:N" names, -1 when it names none. */
static int card_of(const char *name)
{
    if (strcmp(name, "cuda") == 0)
        return 0;
    if (strncmp(name, "cuda:", strlen("cuda:")) != 0)
        return -1;
    const char *digits = name + strlen("cuda:");
    if (!*digits || strlen(digits) > 3 || strspn(digits, "0123456789") != strlen(digits))
        return -1;
    int card = 0;
    for (; *digits; digits++)
        card = 10 * card + (*digits - '0');
    return card;
}

bool qk_device_is_name(const char *name)
{
    return strcmp(name, "auto") == 0 || strcmp(name, "cpu") == 0 || card_of(name) >= 0;
}

struct qk_device *qk_device_open(const char *name, struct qk_err *err)
{
    if (strcmp(name, "auto") == 0)
        name = qk_cuda_count() > 0 ? "cuda" : "cpu";
    if (strcmp(name, "cpu") == 0)
        return qk_cpu_open();
    if (card_of(name) >= 0)
        return qk_cuda_open(card_of(name), err);
    return qk_fail_null(err, "device %s is not known: take auto, cpu, cuda or cuda:N", name);
}

static bool is_cuda(const struct qk_device *d)
{
    return strcmp(d->ops->name, "cuda") == 0;
}

void qk_device_close(struct qk_device *d)
{
    if (!d)
        return;
    if (is_cuda(d))
        qk_cuda_close(d);
    else
        qk_cpu_close(d);
}

void qk_device_describe(const struct qk_device *d, char *text, int size)
{
    if (is_cuda(d))
        qk_cuda_describe(d, text, size);
    else
        qk_cpu_describe(text, size);
}

const char *qk_device_cuda_version(void)
{
    return qk_cuda_version();
}
