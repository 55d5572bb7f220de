/* The table, memory, the stream, and the first failure. */
#include "compute/cuda/device.cuh"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cuda/gemm.cuh"

enum { THREADS = 256, LEAST_CAPABILITY = 8 };
/* Numbers converted at once on their way between host float32 and device bf16. */
static const int64_t STAGE = 1 << 24;

/* ---- failures and profile ---- */

void qk_cuda_fail(struct qk_device *d, const char *format, ...)
{
    if (d->failure.text[0])
        return;
    va_list args;
    va_start(args, format);
    char text[sizeof d->failure.text];
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    qk_fail(&d->failure, "cuda %s: %s", qk_cuda_of(d)->op, text);
}

bool qk_cuda_works(struct qk_device *d, cudaError_t status)
{
    if (status == cudaSuccess)
        return true;
    qk_cuda_fail(d, "%s", cudaGetErrorString(status));
    cudaGetLastError(); /* forgotten by the runtime: it is kept here */
    return false;
}

unsigned long long *qk_cuda_strays(struct qk_device *d, enum qk_cuda_reader who, int64_t V)
{
    qk_cuda_of(d)->vocabulary[who] = V;
    return qk_cuda_of(d)->strays + who;
}

/* What kernels found in tokens; `strays` holds all ones where nothing was. */
static void tell_strays(struct qk_device *d, const unsigned long long strays[QK_CUDA_READERS])
{
    static const char *const ops[] = {"embed", "embed_back", "loss"};
    for (int who = 0; who < QK_CUDA_READERS; who++) {
        if (strays[who] == ~0ull)
            continue;
        qk_cuda_of(d)->op = ops[who];
        qk_cuda_fail(d, "%s %d at %lld is outside the vocabulary of %lld",
                     who == QK_CUDA_LOSS ? "target" : "token", (int)(uint32_t)strays[who],
                     (long long)(strays[who] >> 32), (long long)qk_cuda_of(d)->vocabulary[who]);
    }
}

/* ---- waiting, and times taken ---- */

/* What the card took for the operations that were marked, now that they are done. */
static void take_times(struct qk_device *d)
{
    struct qk_cuda *c = qk_cuda_of(d);
    for (int i = 0; i < c->marks.count; i++) {
        float ms = 0;
        if (qk_cuda_works(d, cudaEventElapsedTime(&ms, c->marks.at[2 * i], c->marks.at[2 * i + 1])))
            d->seconds[c->marks.which[i]] += 1e-3 * (double)ms;
    }
    c->marks.count = 0;
}

/* Kernels run later than they are asked for, so a failure of one is found by whoever waits. */
static void wait(struct qk_device *d)
{
    unsigned long long strays[QK_CUDA_READERS];
    struct qk_cuda *c = qk_cuda_of(d);
    if (c->waited)
        return;
    cudaError_t status =
        cudaMemcpyAsync(strays, c->strays, sizeof strays, cudaMemcpyDeviceToHost, c->stream);
    if (status == cudaSuccess)
        status = cudaStreamSynchronize(c->stream);
    if (status == cudaSuccess) {
        c->waited = true;
        take_times(d);
        tell_strays(d, strays);
        return;
    }
    qk_cuda_fail(d,
                 "%s (found when waiting; with CUDA_LAUNCH_BLOCKING=1 in the environment where "
                 "it happened)",
                 cudaGetErrorString(status));
    cudaGetLastError();
}

static void mark(struct qk_device *d, int place)
{
    struct qk_cuda *c = qk_cuda_of(d);
    if (!c->marks.at) {
        c->marks.at = (cudaEvent_t *)calloc(2 * QK_CUDA_MARKS, sizeof *c->marks.at);
        for (int i = 0; c->marks.at && i < 2 * QK_CUDA_MARKS; i++)
            if (!qk_cuda_works(d, cudaEventCreate(&c->marks.at[i])))
                return;
    }
    if (c->marks.at)
        qk_cuda_works(d, cudaEventRecord(c->marks.at[place], c->stream));
    else
        qk_cuda_fail(d, "the host is out of memory");
}

static void drop_marks(struct qk_cuda *c)
{
    for (int i = 0; c->marks.at && i < 2 * QK_CUDA_MARKS; i++)
        if (c->marks.at[i])
            cudaEventDestroy(c->marks.at[i]);
    free(c->marks.at);
}

bool qk_cuda_begin(struct qk_device *d, const char *op)
{
    if (d->failure.text[0])
        return false;
    struct qk_cuda *c = qk_cuda_of(d);
    c->op = op;
    c->waited = false;
    if (d->profile)
        mark(d, 2 * c->marks.count);
    return true;
}

void qk_cuda_end(struct qk_device *d, enum qk_class which, double flops, double bytes)
{
    struct qk_cuda *c = qk_cuda_of(d);
    if (!d->profile || d->failure.text[0])
        return;
    mark(d, 2 * c->marks.count + 1);
    c->marks.which[c->marks.count++] = which;
    d->flops[which] += flops;
    d->bytes[which] += bytes;
    if (c->marks.count == QK_CUDA_MARKS)
        wait(d);
}

/* ---- memory ---- */

static const char *remedy(enum qk_role role)
{
    if (role == QK_ROLE_PARAMETER || role == QK_ROLE_GRADIENT || role == QK_ROLE_STATE)
        return "take a card with more memory, or a smaller model";
    return "lower --micro-batch, or give --recompute";
}

/* cudaMalloc, or NULL with the failure kept. */
static void *take(struct qk_device *d, int64_t bytes, enum qk_role role)
{
    static const char *const names[] = {"parameters",  "gradients",  "optimiser state",
                                        "activations", "statistics", "tokens"};
    struct qk_cuda *c = qk_cuda_of(d);
    void *at = NULL;
    if (bytes >= 0) {
        cudaError_t status = cudaMalloc(&at, bytes ? (size_t)bytes : 1);
        if (status == cudaSuccess) {
            c->used += bytes;
            return at;
        }
        cudaGetLastError();
        if (status != cudaErrorMemoryAllocation) {
            qk_cuda_works(d, status);
            return NULL;
        }
    }
    size_t left = 0, all = 0;
    cudaMemGetInfo(&left, &all);
    qk_cuda_fail(d, "%lld MB for %s do not fit: %lld of %lld MB are free; %s",
                 (long long)(bytes / 1000000), names[role], (long long)(left / 1000000),
                 (long long)(all / 1000000), remedy(role));
    return NULL;
}

static void give(struct qk_device *d, void *at, int64_t bytes)
{
    if (!at)
        return;
    cudaFree(at); /* waits for the work that reads it */
    qk_cuda_of(d)->used -= bytes;
}

void *qk_cuda_scratch(struct qk_device *d, enum qk_cuda_slot slot, int64_t bytes)
{
    struct qk_cuda *c = qk_cuda_of(d);
    if (d->failure.text[0])
        return NULL;
    if (c->scratch[slot].at && bytes <= (int64_t)c->scratch[slot].bytes)
        return c->scratch[slot].at;
    give(d, c->scratch[slot].at, (int64_t)c->scratch[slot].bytes);
    c->scratch[slot].at = take(d, bytes, QK_ROLE_ACTIVATION);
    c->scratch[slot].bytes = c->scratch[slot].at ? (size_t)bytes : 0;
    return c->scratch[slot].at;
}

static void cuda_alloc(struct qk_device *d, struct qk_buf *b, enum qk_role role, int64_t n)
{
    *b = QK_NONE;
    if (!qk_cuda_begin(d, "alloc"))
        return;
    const int64_t bytes = qk_cuda_array_bytes(role, n, d->bf16);
    void *at = take(d, bytes, role);
    if (!at || !qk_cuda_works(d, cudaMemsetAsync(at, 0, (size_t)bytes, qk_cuda_of(d)->stream)))
        return;
    struct qk_cuda_array *a = (struct qk_cuda_array *)calloc(1, sizeof *a);
    if (!a) {
        give(d, at, bytes);
        qk_cuda_fail(d, "the host is out of memory");
        return;
    }
    a->at = at;
    a->narrow = qk_cuda_copied(role, d->bf16) ? (bf16 *)((float *)at + qk_cuda_padded(n)) : NULL;
    a->type = role == QK_ROLE_TOKENS            ? QK_CUDA_I32
              : qk_cuda_narrowed(role, d->bf16) ? QK_CUDA_BF16
                                                : QK_CUDA_F32;
    a->n = n;
    a->bytes = bytes;
    b->base = a;
    qk_cuda_end(d, QK_CLASS_MEMORY, 0, (double)bytes);
}

static void cuda_release(struct qk_device *d, struct qk_buf b)
{
    if (qk_is_none(b))
        return;
    struct qk_cuda_array *a = (struct qk_cuda_array *)b.base;
    give(d, a->at, a->bytes);
    free(a);
}

/* ---- moving ---- */

static __global__ void __launch_bounds__(THREADS)
    narrow_kernel(bf16 *to, const float *from, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n)
        to[i] = qk_round<bf16>(from[i]);
}

static __global__ void __launch_bounds__(THREADS)
    widen_kernel(float *to, const bf16 *from, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n)
        to[i] = qk_wide(from[i]);
}

static dim3 grid_of(int64_t n)
{
    return dim3((unsigned)qk_cuda_blocks(n, THREADS));
}

static void move(struct qk_device *d, void *to, const void *from, int64_t n, cudaMemcpyKind kind)
{
    if (!d->failure.text[0] && n > 0)
        qk_cuda_works(d, cudaMemcpyAsync(to, from, (size_t)n * 4, kind, qk_cuda_of(d)->stream));
}

static int64_t piece(int64_t n, int64_t at)
{
    return n - at < STAGE ? n - at : STAGE;
}

static void cuda_put(struct qk_device *d, struct qk_buf to, const float *from, int64_t n)
{
    if (!qk_cuda_begin(d, "put"))
        return;
    if (qk_cuda_is_bf16(to)) {
        bf16 *at = qk_cuda_at<bf16>(d, to);
        for (int64_t i = 0; i < n; i += STAGE) {
            float *stage =
                (float *)qk_cuda_scratch(d, QK_CUDA_TILES, piece(n, 0) * (int64_t)sizeof(float));
            move(d, stage, from + i, piece(n, i), cudaMemcpyHostToDevice);
            qk_cuda_launch(d, narrow_kernel, grid_of(piece(n, i)), THREADS, 0, at + i, stage,
                           piece(n, i));
        }
    } else {
        float *at = qk_cuda_at<float>(d, to);
        move(d, at, from, n, cudaMemcpyHostToDevice);
        if (qk_cuda_narrow(to))
            qk_cuda_launch(d, narrow_kernel, grid_of(n), THREADS, 0, qk_cuda_narrow(to), at, n);
    }
    qk_cuda_end(d, QK_CLASS_MEMORY, 0, (double)n * 4);
}

static void cuda_get(struct qk_device *d, float *to, struct qk_buf from, int64_t n)
{
    if (!qk_cuda_begin(d, "get"))
        return;
    if (qk_cuda_is_bf16(from)) {
        const bf16 *at = qk_cuda_at<bf16>(d, from);
        for (int64_t i = 0; i < n; i += STAGE) {
            float *stage =
                (float *)qk_cuda_scratch(d, QK_CUDA_TILES, piece(n, 0) * (int64_t)sizeof(float));
            qk_cuda_launch(d, widen_kernel, grid_of(piece(n, i)), THREADS, 0, stage, at + i,
                           piece(n, i));
            move(d, to + i, stage, piece(n, i), cudaMemcpyDeviceToHost);
        }
    } else {
        move(d, to, qk_cuda_at<float>(d, from), n, cudaMemcpyDeviceToHost);
    }
    qk_cuda_end(d, QK_CLASS_MEMORY, 0, (double)n * 4);
    wait(d);
}

static void cuda_put_tokens(struct qk_device *d, struct qk_buf to, const int32_t *from, int64_t n)
{
    if (!qk_cuda_begin(d, "put_tokens"))
        return;
    move(d, qk_cuda_at<int32_t>(d, to), from, n, cudaMemcpyHostToDevice);
    qk_cuda_end(d, QK_CLASS_MEMORY, 0, (double)n * 4);
}

static void cuda_get_tokens(struct qk_device *d, int32_t *to, struct qk_buf from, int64_t n)
{
    if (!qk_cuda_begin(d, "get_tokens"))
        return;
    move(d, to, qk_cuda_at<int32_t>(d, from), n, cudaMemcpyDeviceToHost);
    qk_cuda_end(d, QK_CLASS_MEMORY, 0, (double)n * 4);
    wait(d);
}

/* Where the numbers of an array lie and how many bytes each has. */
static char *bytes_of(struct qk_buf b, size_t *width)
{
    const struct qk_cuda_array *a = qk_cuda_array_of(b);
    *width = a->type == QK_CUDA_BF16 ? 2 : 4;
    return (char *)a->at + (size_t)b.at * *width;
}

static void cuda_copy(struct qk_device *d, struct qk_buf to, struct qk_buf from, int64_t n)
{
    if (!qk_cuda_begin(d, "copy"))
        return;
    size_t wide_to, wide_from;
    char *t = bytes_of(to, &wide_to), *f = bytes_of(from, &wide_from);
    if (wide_to != wide_from || qk_cuda_narrow(to))
        qk_cuda_fail(d, "arrays of different kinds");
    else if (n > 0)
        qk_cuda_works(d, cudaMemcpyAsync(t, f, (size_t)n * wide_to, cudaMemcpyDeviceToDevice,
                                         qk_cuda_of(d)->stream));
    qk_cuda_end(d, QK_CLASS_MEMORY, 0, 2 * (double)n * (double)wide_to);
}

static void cuda_zero(struct qk_device *d, struct qk_buf b, int64_t n)
{
    if (!qk_cuda_begin(d, "zero"))
        return;
    size_t width;
    char *at = bytes_of(b, &width);
    cudaStream_t stream = qk_cuda_of(d)->stream;
    if (n > 0 && qk_cuda_works(d, cudaMemsetAsync(at, 0, (size_t)n * width, stream)) &&
        qk_cuda_narrow(b))
        qk_cuda_works(d, cudaMemsetAsync(qk_cuda_narrow(b), 0, (size_t)n * 2, stream));
    qk_cuda_end(d, QK_CLASS_MEMORY, 0, (double)n * (double)width);
}

static int cuda_sync(struct qk_device *d, struct qk_err *err)
{
    if (!d->failure.text[0])
        wait(d);
    return d->failure.text[0] ? qk_fail(err, "%s", d->failure.text) : 0;
}

/* ---- the table ---- */

static const struct qk_ops CUDA_OPS = {.name = "cuda",
                                       .alloc = cuda_alloc,
                                       .release = cuda_release,
                                       .put = cuda_put,
                                       .get = cuda_get,
                                       .put_tokens = cuda_put_tokens,
                                       .get_tokens = cuda_get_tokens,
                                       .copy = cuda_copy,
                                       .zero = cuda_zero,
                                       .sync = cuda_sync,
                                       QK_OPS_ENTER(qk_cuda_)};

/* ---- opening ---- */

static bool fits(int index, cudaDeviceProp *card)
{
    return cudaGetDeviceProperties(card, index) == cudaSuccess && card->major >= LEAST_CAPABILITY;
}

int qk_cuda_count(void)
{
    int all = 0, good = 0;
    cudaDeviceProp card;
    if (cudaGetDeviceCount(&all) != cudaSuccess)
        all = 0;
    cudaGetLastError();
    for (int i = 0; i < all; i++)
        good += fits(i, &card);
    return good;
}

static int look_at_card(struct qk_cuda *c, struct qk_err *err)
{
    int count = 0, driver = 0;
    cudaDriverGetVersion(&driver); /* 0 without one; the count's error then speaks of an old one */
    cudaError_t status = cudaGetDeviceCount(&count);
    cudaGetLastError();
    if (status != cudaSuccess || count == 0)
        return qk_fail(err, "device cuda: no NVIDIA card can be used here (%s)",
                       !driver  ? "there is no driver"
                       : status ? cudaGetErrorString(status)
                                : "the driver knows of none");
    if (c->index >= count)
        return qk_fail(err, "device cuda:%d: the machine has cards 0 to %d", c->index, count - 1);
    if (!fits(c->index, &c->card))
        return qk_fail(err, "device cuda:%d: %s has compute capability %d.%d; 8.0 is needed",
                       c->index, c->card.name, c->card.major, c->card.minor);
    return 0;
}

static int start(struct qk_cuda *c, struct qk_err *err)
{
    cudaError_t status = cudaSetDevice(c->index);
    if (status == cudaSuccess)
        status = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);
    if (status == cudaSuccess)
        status = cudaMalloc((void **)&c->strays, QK_CUDA_READERS * sizeof *c->strays);
    if (status == cudaSuccess)
        status = cudaMemsetAsync(c->strays, 0xff, QK_CUDA_READERS * sizeof *c->strays, c->stream);
    size_t left = 0, all = 0;
    if (status == cudaSuccess)
        status = cudaMemGetInfo(&left, &all);
    c->base.memory = (int64_t)c->card.totalGlobalMem;
    c->base.room = (int64_t)left;
    return status == cudaSuccess
               ? 0
               : qk_fail(err, "device cuda:%d: %s", c->index, cudaGetErrorString(status));
}

struct qk_device *qk_cuda_open(int index, struct qk_err *err)
{
    struct qk_cuda *c = (struct qk_cuda *)calloc(1, sizeof *c);
    if (!c) {
        qk_fail(err, "device cuda: the host is out of memory");
        return NULL;
    }
    c->base.ops = &CUDA_OPS;
    c->base.apart = true;
    c->index = index;
    c->op = "open";
    if (look_at_card(c, err) == 0 && start(c, err) == 0 && qk_cuda_gemm_open(&c->base, err) == 0)
        return &c->base;
    qk_cuda_close(&c->base);
    return NULL;
}

void qk_cuda_close(struct qk_device *d)
{
    struct qk_cuda *c = qk_cuda_of(d);
    if (c->lt)
        qk_cuda_gemm_close(d);
    for (int i = 0; i < QK_CUDA_SLOTS; i++)
        give(d, c->scratch[i].at, (int64_t)c->scratch[i].bytes);
    cudaFree(c->strays);
    drop_marks(c);
    if (c->stream)
        cudaStreamDestroy(c->stream);
    free(c);
}

void qk_cuda_set_logits(struct qk_device *d, int64_t bytes)
{
    qk_cuda_of(d)->most_logits = bytes;
}

void qk_cuda_set_shared(struct qk_device *d, int64_t bytes)
{
    qk_cuda_of(d)->shared = bytes;
}

int64_t qk_cuda_used(const struct qk_device *d)
{
    return ((const struct qk_cuda *)d)->used;
}

const char *qk_cuda_version(void)
{
    static char text[16];
    snprintf(text, sizeof text, "%d.%d", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    return text;
}

void qk_cuda_describe(const struct qk_device *d, char *text, int size)
{
    const struct qk_cuda *c = (const struct qk_cuda *)d;
    int driver = 0;
    cudaDriverGetVersion(&driver);
    snprintf(text, (size_t)size,
             "cuda:%d: %s, compute capability %d.%d, %d multiprocessors, %lld MB, CUDA %s, "
             "driver for CUDA %d.%d",
             c->index, c->card.name, c->card.major, c->card.minor, c->card.multiProcessorCount,
             (long long)(c->card.totalGlobalMem / 1000000), qk_cuda_version(), driver / 1000,
             driver % 1000 / 10);
}
