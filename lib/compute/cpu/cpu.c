#include "compute/cpu/cpu.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "compute/blas.h"
#include "compute/cpu/slab.h"

enum { HEADER = 64 }; /* bytes in front of every array: their number; keeps the alignment */

struct cpu {
    struct qk_device base; /* first: what the operations are given */
    int64_t used, limit;   /* bytes */
    struct qk_slabs slabs;
    struct {
        float *at;
        size_t bytes;
    } scratch[QK_CPU_SLOTS];
};

static struct cpu *cpu_of(struct qk_device *d)
{
    return (struct cpu *)d;
}

/* ---- failures and profile ---- */

void qk_cpu_fail(struct qk_device *d, const char *format, ...)
{
    if (d->failure.text[0])
        return;
    va_list args;
    va_start(args, format);
    char text[sizeof d->failure.text];
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    qk_fail(&d->failure, "%s", text);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool qk_cpu_begin(const struct qk_device *d, double *start)
{
    *start = d->profile ? now() : 0;
    return !d->failure.text[0];
}

void qk_cpu_end(struct qk_device *d, enum qk_class class, double start, double flops,
                double numbers)
{
    if (!d->profile)
        return;
    d->seconds[class] += now() - start;
    d->flops[class] += flops;
    d->bytes[class] += numbers * (double)sizeof(float);
}

/* ---- memory ---- */

/* n floats in bytes, or -1 when they are more than what is left of the machine's memory. */
static int64_t bytes_that_fit(const struct cpu *c, int64_t n)
{
    int64_t bytes;
    if (n < 0 || __builtin_mul_overflow(n, (int64_t)sizeof(float), &bytes))
        return -1;
    return bytes <= c->limit - c->used ? bytes : -1;
}

static void cpu_alloc(struct qk_device *d, struct qk_buf *b, enum qk_role role, int64_t n)
{
    (void)role; /* float32 and int32: all roles are four bytes wide here */
    *b = QK_NONE;
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    struct cpu *c = cpu_of(d);
    int64_t bytes = bytes_that_fit(c, n);
    if (bytes < 0) {
        qk_cpu_fail(d, "cpu alloc: %lld numbers do not fit: %lld of %lld MB are left", (long long)n,
                    (long long)((c->limit - c->used) / 1000000), (long long)(c->limit / 1000000));
        return;
    }
    char *p = qk_slabs_take(&c->slabs, (size_t)bytes + HEADER);
    memcpy(p, &bytes, sizeof bytes);
    c->used += bytes;
    *b = (struct qk_buf){p + HEADER, 0};
    qk_cpu_end(d, QK_CLASS_MEMORY, start, 0, 0);
}

static void cpu_release(struct qk_device *d, struct qk_buf b)
{
    if (qk_is_none(b))
        return;
    char *p = (char *)b.base - HEADER;
    int64_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    cpu_of(d)->used -= bytes;
    qk_slabs_give(&cpu_of(d)->slabs, p);
}

float *qk_cpu_scratch(struct qk_device *d, enum qk_cpu_slot slot, int64_t n)
{
    struct cpu *c = cpu_of(d);
    int64_t bytes = bytes_that_fit(c, n);
    if (bytes < 0) {
        qk_cpu_fail(d, "cpu: scratch of %lld numbers does not fit in memory", (long long)n);
        return NULL;
    }
    if ((size_t)bytes > c->scratch[slot].bytes || !c->scratch[slot].at) {
        qk_big_free(c->scratch[slot].at, c->scratch[slot].bytes);
        c->scratch[slot].bytes = (size_t)(bytes + bytes / 8);
        c->scratch[slot].at = qk_big_alloc(c->scratch[slot].bytes);
    }
    return c->scratch[slot].at;
}

static void move(struct qk_device *d, void *to, const void *from, int64_t n)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    memcpy(to, from, (size_t)n * sizeof(float));
    qk_cpu_end(d, QK_CLASS_MEMORY, start, 0, 2 * (double)n);
}

static void cpu_put(struct qk_device *d, struct qk_buf to, const float *from, int64_t n)
{
    move(d, qk_cpu_out(to), from, n);
}

static void cpu_get(struct qk_device *d, float *to, struct qk_buf from, int64_t n)
{
    move(d, to, qk_cpu_in(from), n);
}

static void cpu_put_tokens(struct qk_device *d, struct qk_buf to, const int32_t *from, int64_t n)
{
    move(d, qk_cpu_tokens(to), from, n);
}

static void cpu_get_tokens(struct qk_device *d, int32_t *to, struct qk_buf from, int64_t n)
{
    move(d, to, qk_cpu_tokens(from), n);
}

static void cpu_copy(struct qk_device *d, struct qk_buf to, struct qk_buf from, int64_t n)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float *t = qk_cpu_out(to);
    const float *f = qk_cpu_in(from);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++)
        t[i] = f[i];
    qk_cpu_end(d, QK_CLASS_MEMORY, start, 0, 2 * (double)n);
}

static void cpu_zero(struct qk_device *d, struct qk_buf b, int64_t n)
{
    double start;
    if (!qk_cpu_begin(d, &start))
        return;
    float *p = qk_cpu_out(b);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++)
        p[i] = 0;
    qk_cpu_end(d, QK_CLASS_MEMORY, start, 0, (double)n);
}

static int cpu_sync(struct qk_device *d, struct qk_err *err)
{
    return d->failure.text[0] ? qk_fail(err, "%s", d->failure.text) : 0;
}

/* ---- the table ---- */

static const struct qk_ops CPU_OPS = {.name = "cpu",
                                      .alloc = cpu_alloc,
                                      .release = cpu_release,
                                      .put = cpu_put,
                                      .get = cpu_get,
                                      .put_tokens = cpu_put_tokens,
                                      .get_tokens = cpu_get_tokens,
                                      .copy = cpu_copy,
                                      .zero = cpu_zero,
                                      .sync = cpu_sync,
                                      QK_OPS_ENTER(qk_cpu_)};

struct qk_device *qk_cpu_open(void)
{
    struct cpu *c = qk_zalloc(1, sizeof *c);
    c->base.ops = &CPU_OPS;
    c->limit = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    return &c->base;
}

void qk_cpu_close(struct qk_device *d)
{
    struct cpu *c = cpu_of(d);
    for (int i = 0; i < QK_CPU_SLOTS; i++)
        qk_big_free(c->scratch[i].at, c->scratch[i].bytes);
    free(c);
}

static void processor_name(char *name, size_t size)
{
    snprintf(name, size, "processor of unknown name");
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f)
        return;
    char line[256];
    while (fgets(line, sizeof line, f)) {
        const char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (colon && colon[1]) {
            snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    fclose(f);
}

void qk_cpu_describe(char *text, int size)
{
    if (size <= 0)
        return;
    char processor[128], blas[128];
    processor_name(processor, sizeof processor);
    qk_blas_describe(blas, sizeof blas);
    static const char *const products[] = {"", ", AVX2 products", ", AVX-512 products"};
    int threads = omp_get_max_threads();
    snprintf(text, (size_t)size, "cpu: %s, %d thread%s%s, %s", processor, threads,
             threads == 1 ? "" : "s", products[qk_vectors()], blas);
}
