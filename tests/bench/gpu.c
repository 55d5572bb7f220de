/* gpu [--device D] [--dtype bf16|fp32] [--seconds S] WHAT ARGUMENT...
 *
 * What a device does at its best, through the tools' own table of operations, and what its peers
 * need to do the same work.  A line per figure: name, shape, rate, unit, seconds of one, with tabs
 * between.
 *
 *   describe                    the device, one line
 *   matmul MxNxK...             y[M,N] = x w^T forward, and the gradients dx and dw, in TFLOP/s
 *   copy BYTES                  between arrays of so many bytes, read and written, in GB/s
 *   attention BxTxHxGxhd...     causal, forward and backward, in TFLOP/s
 *   weights CONFIG.json OUT     initial weights as raw float32; OUT.json says which lie where
 *   tokens PACK.h5 OUT          the train split as raw int32
 *
 * A figure is the median of five blocks; a block repeats the operation and waits once, at its end,
 * and is so long that the wait is less than a percent of it.  Numbers are drawn from a normal
 * distribution: zeros draw less power and are multiplied faster.  Operations of attention are
 * counted as its peers count theirs: forward 2 B T^2 H hd (the causal half of two products),
 * backward 2.5 times that.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/median.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/textfile.h"
#include "base/threads.h"
#include "compute/blas.h"
#include "compute/device.h"
#include "model/config.h"
#include "model/params.h"
#include "study/corpus/tokens.h"

enum { BLOCKS = 5, MOST_SIZES = 5, NUMBERS = 1 << 20, MOST_ARRAYS = 16 };

struct bench {
    struct qk_device *d;
    double seconds; /* of a figure */
    struct qk_buf held[MOST_ARRAYS];
    int count;
};

/* One operation, its sizes, and the arrays it works on. */
struct task {
    const char *name, *unit;
    double per; /* operations or bytes of one, in the unit's thousand millions or so */
    void (*once)(struct qk_device *d, const struct task *t);
    int64_t size[MOST_SIZES];
    struct qk_buf y, x, w, q, k, v, o, lse, d_o, dq, dk, dv;
};

/* ---- arrays ---- */

static struct qk_buf take(struct bench *b, enum qk_role role, int64_t n)
{
    struct qk_buf *a = &b->held[b->count++];
    b->d->ops->alloc(b->d, a, role, n);
    return *a;
}

static struct qk_buf drawn(struct bench *b, enum qk_role role, int64_t n, float scale)
{
    static float numbers[NUMBERS];
    static float drawn_with;
    struct qk_buf a = take(b, role, n);
    if (drawn_with != scale)
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < NUMBERS; i++)
            numbers[i] = scale * (float)qk_rng_normal(1, 2, (uint64_t)i);
    drawn_with = scale;
    for (int64_t at = 0; !qk_is_none(a) && at < n; at += NUMBERS)
        b->d->ops->put(b->d, qk_at(a, at), numbers, n - at < NUMBERS ? n - at : NUMBERS);
    return a;
}

static void give_back(struct bench *b)
{
    while (b->count > 0)
        b->d->ops->release(b->d, b->held[--b->count]);
}

/* ---- taking times ---- */

static int repeat(struct bench *b, const struct task *t, int64_t times, double *seconds,
                  struct qk_err *err)
{
    const double from = qk_now();
    for (int64_t i = 0; i < times; i++)
        t->once(b->d, t);
    const int bad = b->d->ops->sync(b->d, err);
    *seconds = qk_now() - from;
    return bad;
}

static int measure(struct bench *b, const struct task *t, const char *shape, struct qk_err *err)
{
    double block[BLOCKS], one;
    /* Once to choose kernels and touch memory, then to see how long it takes. */
    if (repeat(b, t, 1, &one, err) != 0 || repeat(b, t, 3, &one, err) != 0)
        return -1;
    const double wanted = ceil(b->seconds / BLOCKS / (one / 3));
    const int64_t times = wanted < 1 ? 1 : wanted > 100000 ? 100000 : (int64_t)wanted;
    for (int i = 0; i < BLOCKS; i++)
        if (repeat(b, t, times, &block[i], err) != 0)
            return -1;
    one = qk_median(block, BLOCKS) / (double)times;
    printf("%s\t%s\t%.6g\t%s\t%.6g\n", t->name, shape, t->per / one, t->unit, one);
    fflush(stdout);
    return 0;
}

/* "8x2048x64" -> sizes, just `count` of them. */
static int read_sizes(int64_t *size, int count, const char *text, struct qk_err *err)
{
    const char *at = text;
    for (int i = 0; i < count; i++) {
        char word[24];
        const size_t n = strcspn(at, "x");
        if (n >= sizeof word || (at[n] == 'x') != (i < count - 1))
            return qk_fail(err, "%s: %d sizes with x between them were expected", text, count);
        memcpy(word, at, n);
        word[n] = 0;
        if (qk_parse_int(word, 1, 1 << 30, &size[i], err) != 0)
            return -1;
        at += n + 1;
    }
    return 0;
}

/* ---- products ---- */

static void forward(struct qk_device *d, const struct task *t)
{
    d->ops->matmul(d, t->y, QK_NONE, t->x, t->w, t->size[0], t->size[1], t->size[2]);
}

static void of_input(struct qk_device *d, const struct task *t)
{
    d->ops->matmul_dx(d, t->dq, t->y, t->w, false, t->size[0], t->size[1], t->size[2]);
}

static void of_weights(struct qk_device *d, const struct task *t)
{
    d->ops->matmul_dw(d, t->dk, t->y, t->x, t->size[0], t->size[1], t->size[2]);
}

static int products(struct bench *b, const char *shape, struct qk_err *err)
{
    static const struct {
        const char *name;
        void (*once)(struct qk_device *d, const struct task *t);
    } ways[] = {{"forward", forward}, {"dx", of_input}, {"dw", of_weights}};
    struct task t = {.unit = "TFLOP/s"};
    if (read_sizes(t.size, 3, shape, err) != 0)
        return -1;
    const int64_t M = t.size[0], N = t.size[1], K = t.size[2];
    t.per = 2e-12 * (double)M * (double)N * (double)K;
    t.x = drawn(b, QK_ROLE_ACTIVATION, M * K, 1);
    t.y = drawn(b, QK_ROLE_ACTIVATION, M * N, 1);
    t.w = drawn(b, QK_ROLE_PARAMETER, N * K, 0.02f);
    t.dq = take(b, QK_ROLE_ACTIVATION, M * K);
    t.dk = take(b, QK_ROLE_GRADIENT, N * K);
    int bad = 0;
    for (int i = 0; !bad && i < 3; i++) {
        t.name = ways[i].name;
        t.once = ways[i].once;
        bad = measure(b, &t, shape, err);
        if (i == 0) /* forward wrote y; gradients are drawn anew */
            t.y = drawn(b, QK_ROLE_ACTIVATION, M * N, 1);
    }
    return bad;
}

/* ---- copying ---- */

static void copy_once(struct qk_device *d, const struct task *t)
{
    d->ops->copy(d, t->y, t->x, t->size[0]);
}

static int copying(struct bench *b, const char *bytes, struct qk_err *err)
{
    struct task t = {.name = "copy", .unit = "GB/s", .once = copy_once};
    if (qk_parse_count(bytes, &t.size[0], err) != 0)
        return -1;
    t.per = 2e-9 * (double)t.size[0];
    t.size[0] /= (int64_t)sizeof(float);
    t.x = drawn(b, QK_ROLE_EXACT, t.size[0], 1);
    t.y = take(b, QK_ROLE_EXACT, t.size[0]);
    return measure(b, &t, bytes, err);
}

/* ---- attention ---- */

static struct qk_attention_shape shape_of(const struct task *t)
{
    return (struct qk_attention_shape){.B = t->size[0],
                                       .T = t->size[1],
                                       .H = t->size[2],
                                       .G = t->size[3],
                                       .hd = t->size[4],
                                       .v_stride = t->size[3] * t->size[4]};
}

static void attend(struct qk_device *d, const struct task *t)
{
    d->ops->attention(d, t->o, t->lse, t->q, t->k, t->v, shape_of(t));
}

static void attend_back(struct qk_device *d, const struct task *t)
{
    d->ops->attention_back(d, t->dq, t->dk, t->dv, t->d_o, t->o, t->lse, t->q, t->k, t->v,
                           shape_of(t));
}

static int attention(struct bench *b, const char *shape, struct qk_err *err)
{
    struct task t = {.name = "forward", .unit = "TFLOP/s", .once = attend};
    if (read_sizes(t.size, 5, shape, err) != 0)
        return -1;
    const int64_t M = t.size[0] * t.size[1], H = t.size[2], G = t.size[3], hd = t.size[4];
    if (H % G != 0 || hd % 2 != 0 || hd > 128)
        return qk_fail(err, "%s: BxTxHxGxhd with H a multiple of G, hd even and at most 128",
                       shape);
    t.per = 2e-12 * (double)M * (double)t.size[1] * (double)(H * hd);
    t.q = drawn(b, QK_ROLE_ACTIVATION, M * H * hd, 1);
    t.k = drawn(b, QK_ROLE_ACTIVATION, M * G * hd, 1);
    t.v = drawn(b, QK_ROLE_ACTIVATION, M * G * hd, 1);
    t.d_o = drawn(b, QK_ROLE_ACTIVATION, M * H * hd, 1);
    t.o = take(b, QK_ROLE_ACTIVATION, M * H * hd);
    t.dq = take(b, QK_ROLE_ACTIVATION, M * H * hd);
    t.dk = take(b, QK_ROLE_ACTIVATION, M * G * hd);
    t.dv = take(b, QK_ROLE_ACTIVATION, M * G * hd);
    t.lse = take(b, QK_ROLE_EXACT, M * H);
    if (measure(b, &t, shape, err) != 0)
        return -1;
    t.name = "backward";
    t.once = attend_back;
    t.per *= 2.5;
    return measure(b, &t, shape, err);
}

/* ---- what peers start from ---- */

static int finish_file(FILE *f, const char *path, bool whole, struct qk_err *err)
{
    if (fclose(f) != 0 || !whole)
        return qk_fail(err, "%s: cannot be written", path);
    return 0;
}

static int read_config(struct qk_config *c, const char *path, struct qk_err *err)
{
    struct qk_buffer text = {0};
    int bad = qk_text_slurp(path, &text, err);
    if (!bad)
        bad = qk_config_from_text(c, text.at, path, err);
    qk_buffer_free(&text);
    return bad;
}

static int write_layout(const struct qk_params *p, const char *weights, struct qk_err *err)
{
    char *path = qk_format("%s.json", weights);
    FILE *f = fopen(path, "w");
    int bad = f ? 0 : qk_fail(err, "%s: cannot be written", path);
    for (int i = 0; f && i < p->count; i++)
        fprintf(f, "%s\"%s\":[%" PRId64 ",%" PRId64 ",%" PRId64 "]", i ? ",\n" : "{", p->at[i].name,
                p->at[i].offset, p->at[i].dims[0], p->at[i].rank == 2 ? p->at[i].dims[1] : 0);
    if (f)
        bad = finish_file(f, path, fprintf(f, "}\n") > 0, err);
    free(path);
    return bad;
}

static int write_weights(const char *config, const char *path, struct qk_err *err)
{
    struct qk_config c;
    struct qk_params p;
    if (read_config(&c, config, err) != 0)
        return -1;
    FILE *f = fopen(path, "wb");
    if (!f)
        return qk_fail(err, "%s: cannot be written", path);
    qk_params_layout(&p, &c);
    bool whole = true;
    int64_t written = 0;
    for (int i = 0; whole && i < p.count; i++) { /* one after the other: the arena's order */
        float *numbers = qk_alloc((size_t)p.at[i].count, sizeof *numbers);
        qk_param_initialize(&p.at[i], &c, numbers);
        whole = written == p.at[i].offset &&
                fwrite(numbers, sizeof *numbers, (size_t)p.at[i].count, f) == (size_t)p.at[i].count;
        written += p.at[i].count;
        free(numbers);
    }
    int bad = finish_file(f, path, whole, err);
    if (!bad)
        bad = write_layout(&p, path, err);
    qk_params_free(&p);
    return bad;
}

static int write_tokens(const char *from, const char *path, struct qk_err *err)
{
    struct qk_pack pack;
    struct qk_split split;
    if (qk_pack_open(&pack, from, err) != 0)
        return -1;
    int bad = qk_split_read(&split, &pack, "train", err);
    qk_pack_close(&pack);
    if (bad)
        return -1;
    FILE *f = fopen(path, "wb");
    bool whole = f;
    for (int64_t i = 0; whole && i < split.count; i++) {
        const int32_t token = split.wide ? (int32_t)split.wide[i] : split.narrow[i];
        whole = fwrite(&token, sizeof token, 1, f) == 1;
    }
    bad = f ? finish_file(f, path, whole, err) : qk_fail(err, "%s: cannot be written", path);
    qk_split_free(&split);
    return bad;
}

/* ---- the command ---- */

static int on_device(struct bench *b, char **what, struct qk_err *err)
{
    static const struct {
        const char *name;
        int (*each)(struct bench *b, const char *shape, struct qk_err *err);
    } kinds[] = {{"matmul", products}, {"copy", copying}, {"attention", attention}};
    if (strcmp(what[0], "describe") == 0) {
        char text[256];
        qk_device_describe(b->d, text, sizeof text);
        puts(text);
        return 0;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(what[0], kinds[i].name) != 0)
            continue;
        int bad = 0;
        for (char **shape = what + 1; !bad && *shape; shape++) {
            bad = kinds[i].each(b, *shape, err);
            give_back(b);
        }
        return bad;
    }
    return qk_fail(err, "%s is nothing that can be measured", what[0]);
}

static int run(const char *device, bool bf16, double seconds, char **what, struct qk_err *err)
{
    const bool two = what[1] && what[2] && !what[3];
    if (two && strcmp(what[0], "weights") == 0)
        return write_weights(what[1], what[2], err);
    if (two && strcmp(what[0], "tokens") == 0)
        return write_tokens(what[1], what[2], err);
    struct bench b = {.d = qk_device_open(device, err), .seconds = seconds};
    if (!b.d)
        return -1;
    b.d->bf16 = bf16;
    const int bad = on_device(&b, what, err);
    qk_device_close(b.d);
    return bad;
}

int main(int argc, char **argv)
{
    const char *warning = qk_blas_start(argv), *device = "auto";
    double seconds = 0.5;
    bool bf16 = true;
    struct qk_err err = {{0}};
    if (warning)
        fprintf(stderr, "gpu: %s\n", warning);
    qk_threads_set(0);
    char **at = argv + 1;
    for (; at + 1 < argv + argc && strncmp(at[0], "--", 2) == 0; at += 2) {
        if (strcmp(at[0], "--device") == 0)
            device = at[1];
        else if (strcmp(at[0], "--dtype") == 0)
            bf16 = strcmp(at[1], "bf16") == 0;
        else if (strcmp(at[0], "--seconds") != 0 || qk_parse_real(at[1], &seconds, &err) != 0)
            break;
    }
    if (!*at || strncmp(*at, "--", 2) == 0) {
        fprintf(stderr, "usage: gpu [--device D] [--dtype bf16|fp32] [--seconds S] "
                        "describe|matmul|copy|attention|weights|tokens ARGUMENT...\n");
        return 2;
    }
    if (run(device, bf16, seconds, at, &err) == 0 && fflush(stdout) == 0)
        return 0;
    fprintf(stderr, "gpu: %s\n", err.text);
    return 1;
}
