#include "study/corpus/tokens.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

static const int64_t MOST_VOCABULARY = INT64_C(1) << 31;
static const int64_t MOST_TOKENS = INT64_C(1) << 40;
enum { MOST_PROBE_TOKENS = 1 << 28, MOST_TOKENIZER = 1 << 28 };

int qk_pack_open(struct qk_pack *p, const char *path, struct qk_err *err)
{
    *p = (struct qk_pack){.file = qk_h5_open(path, err), .eot = -1};
    if (!p->file)
        return -1;
    if (qk_h5_expect(p->file, "tokens", 1, err) != 0 ||
        qk_h5_attr_int(p->file, "/", "vocab_size", &p->vocab_size, err) != 0)
        goto bad;
    if (qk_h5_has_attr(p->file, "/", "eot") &&
        qk_h5_attr_int(p->file, "/", "eot", &p->eot, err) != 0)
        goto bad;
    if (p->vocab_size < 1 || p->vocab_size > MOST_VOCABULARY) {
        qk_fail(err, "%s: vocab_size %" PRId64 " is no size of a vocabulary", path, p->vocab_size);
        goto bad;
    }
    if (p->eot < -1 || p->eot >= p->vocab_size) {
        qk_fail(err, "%s: eot %" PRId64 " is no token of a vocabulary of %" PRId64, path, p->eot,
                p->vocab_size);
        goto bad;
    }
    return 0;
bad:
    qk_pack_close(p);
    return -1;
}

void qk_pack_close(struct qk_pack *p)
{
    qk_h5_close(p->file);
    p->file = NULL;
}

static int read_numbers(struct qk_split *s, struct qk_pack *p, const char *object, bool wide,
                        struct qk_err *err)
{
    if (wide) {
        s->wide = qk_big_alloc((size_t)s->count * sizeof *s->wide);
        return qk_h5_read(p->file, object, QK_U32, s->count, s->wide, err);
    }
    s->narrow = qk_big_alloc((size_t)s->count * sizeof *s->narrow);
    return qk_h5_read(p->file, object, QK_U16, s->count, s->narrow, err);
}

static int64_t largest(const struct qk_split *s)
{
    int64_t most = -1;
    for (int64_t i = 0; i < s->count; i++) {
        int64_t token = s->wide ? s->wide[i] : s->narrow[i];
        most = token > most ? token : most;
    }
    return most;
}

int qk_split_read(struct qk_split *s, struct qk_pack *p, const char *name, struct qk_err *err)
{
    *s = (struct qk_split){0};
    const char *path = qk_h5_path(p->file);
    if (!*name || strlen(name) >= sizeof s->name || strchr(name, '/'))
        return qk_fail(err, "%s: '%.80s' is no name of a split", path, name);
    snprintf(s->name, sizeof s->name, "%s", name);
    char object[80];
    snprintf(object, sizeof object, "/%s/tokens", name);
    if (!qk_h5_has(p->file, object))
        return qk_fail(err, "%s: there is no split '%s'", path, name);
    struct qk_array_info info;
    if (qk_h5_info(p->file, object, &info, err) != 0)
        return -1;
    if (info.is_float || info.rank != 1 || info.count > MOST_TOKENS)
        return qk_fail(err, "%s: %s is no list of tokens", path, object);
    if (info.type == QK_I32 || info.type == QK_I64)
        return qk_fail(err, "%s: %s holds signed numbers, not uint16 or uint32", path, object);
    if (info.count < 1)
        return qk_fail(err, "%s: %s is empty", path, object);
    s->count = info.count;
    bool narrow = info.type == QK_U8 || info.type == QK_U16;
    if (read_numbers(s, p, object, !narrow, err) != 0) {
        qk_split_free(s);
        return -1;
    }
    int64_t most = largest(s);
    if (most >= p->vocab_size) {
        qk_split_free(s);
        return qk_fail(err, "%s: %s holds token %" PRId64 ", but the vocabulary has %" PRId64, path,
                       object, most, p->vocab_size);
    }
    return 0;
}

void qk_split_free(struct qk_split *s)
{
    qk_big_free(s->wide, (size_t)s->count * sizeof *s->wide);
    qk_big_free(s->narrow, (size_t)s->count * sizeof *s->narrow);
    *s = (struct qk_split){0};
}

void qk_split_window(const struct qk_split *s, int64_t T, int64_t i, int32_t *inputs,
                     int32_t *targets)
{
    const int64_t first = i * T;
    for (int64_t t = 0; t <= T; t++) {
        int32_t token = s->wide ? (int32_t)s->wide[first + t] : s->narrow[first + t];
        if (t < T)
            inputs[t] = token;
        if (t > 0)
            targets[t - 1] = token;
    }
}

int64_t qk_order_window(struct qk_order *o, int64_t n)
{
    const int64_t epoch = n / o->windows, within = n % o->windows;
    if (!o->shuffle)
        return within;
    if (!o->permutation) {
        o->permutation = qk_alloc((size_t)o->windows, sizeof *o->permutation);
        o->epoch = -1;
    }
    if (o->epoch != epoch) {
        char name[48];
        snprintf(name, sizeof name, "data order, epoch %" PRId64, epoch);
        qk_rng_permutation(o->seed, qk_rng_stream(name), (uint64_t)o->windows, o->permutation);
        o->epoch = epoch;
    }
    return (int64_t)o->permutation[within];
}

void qk_order_free(struct qk_order *o)
{
    free(o->permutation);
    o->permutation = NULL;
}

int qk_pack_probe(struct qk_pack *p, int32_t **tokens, int64_t *n_seq, int64_t *T,
                  struct qk_err *err)
{
    *tokens = NULL;
    *n_seq = *T = 0;
    const char *path = qk_h5_path(p->file), *object = "/probe/tokens";
    if (!qk_h5_has(p->file, object))
        return 0;
    struct qk_array_info info;
    if (qk_h5_info(p->file, object, &info, err) != 0)
        return -1;
    if (info.is_float || info.rank != 2 || info.count < 1 || info.count > MOST_PROBE_TOKENS)
        return qk_fail(err, "%s: %s is no table of tokens [sequences, positions]", path, object);
    int32_t *to = qk_alloc((size_t)info.count, sizeof *to);
    int bad = qk_h5_read(p->file, object, QK_I32, info.count, to, err);
    for (int64_t i = 0; !bad && i < info.count; i++)
        if (to[i] < 0 || to[i] >= p->vocab_size)
            bad = qk_fail(err, "%s: %s holds token %" PRId32 ", but the vocabulary has %" PRId64,
                          path, object, to[i], p->vocab_size);
    if (bad) {
        free(to);
        return -1;
    }
    *tokens = to;
    *n_seq = info.dims[0];
    *T = info.dims[1];
    return 0;
}

int qk_pack_tokenizer(struct qk_pack *p, struct qk_buffer *to, struct qk_err *err)
{
    *to = (struct qk_buffer){0};
    if (!qk_h5_has(p->file, "/tokenizer"))
        return 0;
    struct qk_array_info info;
    if (qk_h5_info(p->file, "/tokenizer", &info, err) != 0)
        return -1;
    if (info.is_float || info.rank != 1 || info.count > MOST_TOKENIZER)
        return qk_fail(err, "%s: /tokenizer is no text of bytes", qk_h5_path(p->file));
    char *bytes = qk_zalloc((size_t)info.count + 1, 1);
    int bad = qk_h5_read(p->file, "/tokenizer", QK_U8, info.count, bytes, err);
    if (!bad)
        qk_buffer_add(to, bytes, (size_t)info.count);
    free(bytes);
    return bad;
}
