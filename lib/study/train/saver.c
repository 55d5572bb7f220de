#include "study/train/saver.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/threads.h"
#include "compute/device.h"

struct qk_saver {
    const struct qk_edge *edge;
    struct qk_device *d;
    struct qk_model *model;
    struct qk_optimizer *optimizer;
    /* What was taken. */
    enum qk_save how;
    int64_t step, tokens_seen, windows;
    struct qk_moments moments;
    const float *weights; /* the arena in `copy`; NULL: on the device */
    float *copy;          /* weights, then moments; kept for the next save */
    size_t copy_bytes;
    bool warned;
    /* The thread that writes it. */
    bool under_way;
    pthread_t thread;
    int threads;
    atomic_bool done;
    int bad;
    struct qk_err err;
};

struct qk_saver *qk_saver_create(struct qk_edge *e, struct qk_device *d, struct qk_model *m,
                                 struct qk_optimizer *optimizer)
{
    struct qk_saver *s = qk_zalloc(1, sizeof *s);
    s->edge = e;
    s->d = d;
    s->model = m;
    s->optimizer = optimizer;
    return s;
}

void qk_saver_free(struct qk_saver *s)
{
    if (!s)
        return;
    qk_saver_wait(s, &(struct qk_err){{0}});
    qk_big_free(s->copy, s->copy_bytes);
    free(s);
}

/* ---- taking ---- */

/* Bytes of the machine's memory that can be had without swapping; 0 when it does not tell. */
static int64_t available(void)
{
    char line[128];
    long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && !kib && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lld", &kib) != 1)
            kib = 0;
    if (f)
        fclose(f);
    return (int64_t)kib * 1024;
}

/* Room for a copy; false where the host has too little memory for one. */
static bool have_room(struct qk_saver *s)
{
    const struct qk_params *p = qk_model_params(s->model);
    const int64_t state = s->optimizer ? qk_optimizer_state_size(p) : 0;
    const int64_t bytes = (p->total + state) * (int64_t)sizeof *s->copy;
    if (s->copy)
        return true;
    const int64_t most = available();
    if (most && bytes > most / 10 * 9) {
        if (!s->warned && s->edge->o->say)
            s->edge->o->say(s->edge->o->self, "the host's memory has no room for a copy of the "
                                              "model: training waits while checkpoints are saved");
        s->warned = true;
        return false;
    }
    s->copy_bytes = (size_t)bytes;
    s->copy = qk_big_alloc(s->copy_bytes);
    return true;
}

static int take(struct qk_saver *s, enum qk_save how, struct qk_err *err)
{
    const struct qk_edge *e = s->edge;
    const struct qk_params *p = qk_model_params(s->model);
    const bool copied = how == QK_SAVE_BEHIND && s->d->apart && have_room(s);
    s->how = how;
    s->step = e->step;
    s->tokens_seen = e->tokens_seen;
    s->windows = e->windows;
    s->weights = copied ? s->copy : NULL;
    s->moments = (struct qk_moments){.copy = copied ? s->copy + p->total : NULL};
    if (copied)
        s->d->ops->get(s->d, s->copy, qk_model_weights(s->model), p->total);
    if (s->optimizer)
        qk_optimizer_take(s->optimizer, &s->moments);
    return s->d->ops->sync(s->d, err);
}

/* ---- writing: with a copy, without touching model, optimiser or device ---- */

static int put_tensor(const struct qk_saver *s, const struct qk_param *param, struct qk_h5 *file,
                      struct qk_err *err)
{
    const bool whole = s->how == QK_SAVE_WHOLE, bf16 = whole && s->edge->o->bf16;
    const int zstd = whole ? s->edge->o->zstd : QK_PLAIN;
    if (s->weights)
        return qk_checkpoint_put(file, param, s->weights + param->offset, bf16, zstd, err);
    float *values = qk_alloc((size_t)param->count, sizeof *values);
    s->d->ops->get(s->d, values, qk_at(qk_model_weights(s->model), param->offset), param->count);
    const int bad =
        s->d->ops->sync(s->d, err) != 0 || qk_checkpoint_put(file, param, values, bf16, zstd, err);
    free(values);
    return bad ? -1 : 0;
}

static int put_weights(const struct qk_saver *s, struct qk_h5 *file, struct qk_err *err)
{
    const struct qk_params *p = qk_model_params(s->model);
    for (int i = 0; i < p->count; i++)
        if (put_tensor(s, &p->at[i], file, err) != 0)
            return -1;
    return 0;
}

static int put_position(const struct qk_saver *s, struct qk_h5 *file, struct qk_err *err)
{
    return qk_h5_make_group(file, "/train", err) != 0 ||
                   qk_h5_put_int(file, "/train", "windows", s->windows, err) != 0 ||
                   qk_h5_put_text(file, "/train", "data_sha256", s->edge->data_sha256, err) != 0
               ? -1
               : 0;
}

static int write_file(const struct qk_saver *s, struct qk_err *err)
{
    const struct qk_edge *e = s->edge;
    const struct qk_train_options *o = e->o;
    const struct qk_checkpoint_head head = {.config = &e->config,
                                            .step = s->step,
                                            .tokens_seen = s->tokens_seen,
                                            .eot = e->eot,
                                            .probe = e->probe,
                                            .n_seq = e->n_seq,
                                            .T = e->T_probe,
                                            .tokenizer = &e->tokenizer,
                                            .pruned = e->pruned};
    const bool partial = s->how != QK_SAVE_WHOLE, state = partial || !(o->weights_only || o->bf16);
    struct qk_h5 *file =
        qk_checkpoint_create(partial ? e->partial : o->out, &head, o->provenance, err);
    if (!file)
        return -1;
    if (put_weights(s, file, err) != 0 ||
        (state && s->optimizer && qk_optimizer_write(s->optimizer, &s->moments, file, err) != 0) ||
        (state && put_position(s, file, err) != 0) ||
        (partial && qk_edge_put_identity(e, file, err) != 0)) {
        qk_h5_discard(file);
        return -1;
    }
    return qk_h5_commit(file, err);
}

/* ---- behind ---- */

static void *write_behind(void *self)
{
    struct qk_saver *s = self;
    qk_threads_set(s->threads); /* OpenMP's number belongs to the thread that asks */
    s->bad = write_file(s, &s->err);
    atomic_store(&s->done, true);
    return NULL;
}

static int start(struct qk_saver *s, struct qk_err *err)
{
    s->threads = qk_threads();
    atomic_store(&s->done, false);
    if (pthread_create(&s->thread, NULL, write_behind, s) != 0)
        return write_file(s, err);
    s->under_way = true;
    return 0;
}

int qk_saver_wait(struct qk_saver *s, struct qk_err *err)
{
    if (!s->under_way)
        return 0;
    pthread_join(s->thread, NULL);
    s->under_way = false;
    if (s->bad)
        *err = s->err;
    return s->bad;
}

int qk_saver_check(struct qk_saver *s, struct qk_err *err)
{
    return s->under_way && atomic_load(&s->done) ? qk_saver_wait(s, err) : 0;
}

int qk_saver_save(struct qk_saver *s, enum qk_save how, struct qk_err *err)
{
    if (qk_saver_wait(s, err) != 0 || take(s, how, err) != 0)
        return -1;
    return s->weights ? start(s, err) : write_file(s, err);
}
