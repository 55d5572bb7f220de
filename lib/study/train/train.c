#include "study/train/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/median.h"
#include "base/mem.h"
#include "base/outfile.h"
#include "base/progress.h"
#include "compute/device.h"
#include "study/eval/eval.h"
#include "study/measure/keys.h"
#include "study/train/edge.h"
#include "study/train/plan.h"
#include "study/train/saver.h"
#include "study/train/trainlog.h"

struct trainer {
    struct qk_device *d;
    const struct qk_train_options *o;
    struct qk_edge edge;
    struct qk_model *model;
    struct qk_optimizer *optimizer;
    struct qk_saver *saver;
    struct qk_split train, val;
    struct qk_order order;
    int64_t micro_batch, val_windows;
    bool recompute;
    int32_t *inputs, *targets; /* of one micro-batch */
    float *nll;
    struct qk_trainlog *log, *timing;
    struct qk_progress progress;
    double flops_per_token;
    double saved_at;      /* when the last partial or the start was */
    int64_t saved_tokens; /* tokens_seen then */
    double *step_seconds; /* of the steps since */
    size_t steps, step_room;
};

static void remark(const struct trainer *t, const char *text)
{
    if (t->o->say)
        t->o->say(t->o->self, text);
}

/* ---- setting up ---- */

static int read_train_split(struct trainer *t, struct qk_err *err)
{
    const struct qk_config *c = &t->edge.config;
    if (qk_split_read(&t->train, &t->edge.pack, "train", err) != 0)
        return -1;
    t->order = (struct qk_order){.seed = (uint64_t)c->seed,
                                 .windows = qk_split_windows(&t->train, c->seq_len),
                                 .shuffle = c->data_order == QK_ORDER_SHUFFLE};
    if (t->order.windows < 1)
        return qk_fail(err, "%s: split train has %" PRId64 " tokens, but one window needs %" PRId64,
                       t->o->data, t->train.count, c->seq_len + 1);
    return 0;
}

static bool watches(const struct qk_points *p)
{
    return p->every > 0 || p->count > 0;
}

static int read_val_split(struct trainer *t, struct qk_err *err)
{
    const int64_t T = t->edge.config.seq_len;
    if (!watches(&t->o->val_at))
        return 0;
    if (qk_split_read(&t->val, &t->edge.pack, "val", err) != 0)
        return -1;
    const int64_t all = qk_split_windows(&t->val, T);
    const int64_t asked = t->o->val_tokens < 0 ? all : t->o->val_tokens / T;
    t->val_windows = asked < all ? asked : all;
    if (t->val_windows < 1)
        return qk_fail(
            err, "%s: not one window of %" PRId64 " tokens fits into what is to be validated on",
            t->o->data, T);
    if (asked > all)
        remark(t, "split val is shorter than --val-tokens: all of it is used");
    return 0;
}

/* The most sequences that fit, or, going on from a partial checkpoint, whether as many as before
 * do; 0 when not. */
static int fit(struct trainer *t, bool train, bool recompute, struct qk_fit *to, struct qk_err *err)
{
    const struct qk_card card = {t->d->memory, t->d->room, true};
    const int64_t before = t->edge.micro_batch;
    if (!before)
        return qk_fit_of(to, &t->edge.config, &card, train, recompute, err);
    if (qk_excess_of(&to->missing, &t->edge.config, &card, before, train, recompute, err) != 0)
        return -1;
    to->micro_batch = to->missing <= 0 ? before : 0;
    return 0;
}

/* On a card --micro-batch auto takes what fits into the memory that is free.  Where not one
 * sequence does, activations are computed twice, which changes no byte of the result, and that is
 * said. */
static int fit_to_card(struct trainer *t, bool train, struct qk_err *err)
{
    const int64_t least = t->edge.micro_batch ? t->edge.micro_batch : 1;
    struct qk_fit found;
    if (fit(t, train, t->recompute, &found, err) != 0)
        return -1;
    if (!found.micro_batch && train && !t->recompute) {
        if (fit(t, train, true, &found, err) != 0)
            return -1;
        t->recompute = found.micro_batch > 0;
        if (t->recompute)
            remark(t, "the card's memory asks for --recompute, which is done");
    }
    t->micro_batch = found.micro_batch;
    if (found.micro_batch)
        return 0;
    return qk_fail(
        err,
        "%s: %s takes %.3f GB more than the %.3f GB of the card's memory that "
        "are free (micro-batch %" PRId64 " of %" PRId64
        " positions); take a shorter seq_len, a smaller model or a card with more memory",
        t->o->out, train ? "training, even with --recompute," : "the model",
        (double)found.missing / 1e9, (double)t->d->room / 1e9, least, t->edge.config.seq_len);
}

static int choose_micro_batch(struct trainer *t, bool train, struct qk_err *err)
{
    const struct qk_config *c = &t->edge.config;
    const int64_t all = c->batch_size * c->grad_accum;
    t->recompute = t->o->recompute;
    t->micro_batch = t->o->micro_batch;
    if (!t->micro_batch && t->d->room) {
        if (fit_to_card(t, train, err) != 0)
            return -1;
    } else if (!t->micro_batch) {
        t->micro_batch = qk_micro_batch_auto(c);
    }
    t->micro_batch = t->micro_batch < all ? t->micro_batch : all;
    t->edge.micro_batch = t->micro_batch;
    return 0;
}

static int make_model(struct trainer *t, struct qk_err *err)
{
    struct qk_edge *e = &t->edge;
    const bool train = e->last_step > e->step;
    if (choose_micro_batch(t, train, err) != 0)
        return -1;
    t->model = qk_model_create(t->d, &e->config, t->micro_batch, e->config.seq_len, train,
                               t->recompute, err);
    if (!t->model)
        return -1;
    if (train || e->with_moments) {
        t->optimizer = qk_optimizer_create(t->d, qk_model_params(t->model), &e->config, err);
        if (!t->optimizer)
            return -1;
    }
    const size_t rows = (size_t)(t->micro_batch * e->config.seq_len);
    t->inputs = qk_alloc(rows, sizeof *t->inputs);
    t->targets = qk_alloc(rows, sizeof *t->targets);
    t->nll = qk_alloc(rows, sizeof *t->nll);
    t->flops_per_token = qk_cost_of(&e->config).flops_per_token;
    t->saver = qk_saver_create(e, t->d, t->model, t->optimizer);
    return qk_edge_load(e, t->model, t->optimizer, err);
}

static int open_logs(struct trainer *t, struct qk_err *err)
{
    const struct qk_edge *e = &t->edge;
    const bool whole = e->step > e->first_step;
    if (t->o->log) {
        t->log = e->resumed ? qk_trainlog_resume(t->o->log, e->step, whole, err)
                            : qk_trainlog_begin(t->o->log, err);
        if (!t->log)
            return -1;
    }
    if (t->o->timing) {
        t->timing = e->resumed ? qk_trainlog_resume(t->o->timing, e->step, false, err)
                               : qk_trainlog_begin(t->o->timing, err);
        if (!t->timing)
            return -1;
    }
    if (watches(&t->o->keys_at) && qk_make_folder(t->o->keys_dir, err) != 0)
        return -1;
    return 0;
}

/* ---- looking on the way ---- */

/* The last checkpoint that is good, for sentences; one that is being written counts when it is
 * there. */
static const char *last_good(struct trainer *t)
{
    qk_saver_wait(t->saver, &(struct qk_err){{0}});
    return qk_edge_last_good(&t->edge);
}

static int validate(struct trainer *t, struct qk_loss *loss, struct qk_err *err)
{
    const int64_t T = t->edge.config.seq_len;
    const struct qk_loss_plan plan = {
        .split = &t->val, .T = T, .micro_batch = t->micro_batch, .max_tokens = t->val_windows * T};
    if (qk_eval_loss(loss, t->model, &plan, err) != 0)
        return qk_fail_in(err, "validation at step %" PRId64 " (last good checkpoint: %s): ",
                          t->edge.step, last_good(t));
    if (isfinite(loss->mean))
        return 0;
    return qk_fail(err,
                   "step %" PRId64 ": the validation loss is not finite; last good checkpoint: %s",
                   t->edge.step, last_good(t));
}

static int dump_keys(struct trainer *t, struct qk_err *err)
{
    struct qk_edge *e = &t->edge;
    const struct qk_keys_plan plan = {
        .tokens = e->probe, .n_seq = e->n_seq, .T = e->T_probe, .sites = t->o->keys_sites};
    struct qk_keys keys;
    if (qk_model_set_length(t->model, e->T_probe, err) != 0 ||
        qk_keys_gather(&keys, t->d, t->model, &e->config, &plan, err) != 0)
        return -1;
    keys.step = e->step;
    keys.tokens_seen = e->tokens_seen;
    char *path = qk_format("%s/keys-%012" PRId64 ".h5", t->o->keys_dir, e->tokens_seen);
    /* HDF5 belongs to one thread at a time (saver.h): of all that a step does only this uses it. */
    int bad =
        qk_saver_wait(t->saver, err) != 0 || qk_keys_write(&keys, path, t->o->provenance, err) != 0;
    free(path);
    qk_keys_free(&keys);
    return bad ? -1 : qk_model_set_length(t->model, e->config.seq_len, err);
}

/* What the points ask for after the step that began at `before` (-1: the very beginning); adds to
 * the log's line. */
static int look(struct trainer *t, int64_t before, cJSON *line, struct qk_err *err)
{
    const struct qk_edge *e = &t->edge;
    const struct qk_points *points[] = {&t->o->val_at, &t->o->keys_at};
    bool due[2];
    for (int i = 0; i < 2; i++)
        due[i] = before < 0
                     ? qk_points_at_zero(points[i])
                     : qk_points_hit(points[i], before, e->tokens_seen, e->step == e->last_step);
    if (due[0]) {
        struct qk_loss loss;
        if (validate(t, &loss, err) != 0)
            return -1;
        qk_json_add_number(line, "val_loss", loss.mean);
        qk_json_add_number(line, "val_tokens", (double)loss.tokens);
    }
    return due[1] ? dump_keys(t, err) : 0;
}

static int add_line(struct trainer *t, cJSON *line, struct qk_err *err)
{
    if (t->log)
        return qk_trainlog_add(t->log, line, err);
    cJSON_Delete(line);
    return 0;
}

static cJSON *begin_line(const struct qk_edge *e)
{
    cJSON *line = cJSON_CreateObject();
    qk_json_add_number(line, "step", (double)e->step);
    qk_json_add_number(line, "tokens_seen", (double)e->tokens_seen);
    return line;
}

static int look_at_start(struct trainer *t, struct qk_err *err)
{
    if (t->edge.resumed || t->edge.tokens_seen > 0)
        return 0;
    cJSON *line = begin_line(&t->edge);
    if (look(t, -1, line, err) != 0) {
        cJSON_Delete(line);
        return -1;
    }
    if (cJSON_GetObjectItemCaseSensitive(line, "val_loss"))
        return add_line(t, line, err);
    cJSON_Delete(line);
    return 0;
}

/* ---- a step ---- */

static int fail_nonfinite_loss(struct trainer *t, struct qk_err *err)
{
    const int64_t L = t->edge.config.n_layers;
    const int layer = qk_model_find_nonfinite(t->model);
    char place[64] = "the final norm and head";
    if (layer < 0)
        snprintf(place, sizeof place, "the embedding");
    else if (layer < L)
        snprintf(place, sizeof place, "layer %d", layer);
    return qk_fail(
        err, "step %" PRId64 ": the loss is not finite, first in %s; last good checkpoint: %s",
        t->edge.step + 1, place, last_good(t));
}

/* The loss was finite: name the first tensor whose gradient is not. */
static int fail_nonfinite_gradient(struct trainer *t, struct qk_err *err)
{
    const struct qk_params *p = qk_model_params(t->model);
    const char *name = "their sum";
    for (int i = 0; i < p->count; i++) {
        if (p->at[i].group == QK_GROUP_FROZEN)
            continue;
        float *g = qk_alloc((size_t)p->at[i].count, sizeof *g);
        t->d->ops->get(t->d, g, qk_at(qk_model_gradients(t->model), p->at[i].offset),
                       p->at[i].count);
        bool finite = true;
        for (int64_t k = 0; finite && k < p->at[i].count; k++)
            finite = isfinite(g[k]);
        free(g);
        if (finite)
            continue;
        name = p->at[i].name;
        break;
    }
    return qk_fail(
        err, "step %" PRId64 ": the gradient is not finite, first in %s; last good checkpoint: %s",
        t->edge.step + 1, name, last_good(t));
}

/* Gradients of the whole batch, in micro-batches; *loss is its mean. */
static int accumulate(struct trainer *t, double *loss, struct qk_err *err)
{
    const struct qk_config *c = &t->edge.config;
    const int64_t T = c->seq_len, all = c->batch_size * c->grad_accum;
    const float scale = (float)(1.0 / (double)qk_tokens_per_step(c));
    double sum = 0;
    for (int64_t s = 0; s < all; s += t->micro_batch) {
        const int64_t B = all - s < t->micro_batch ? all - s : t->micro_batch;
        for (int64_t b = 0; b < B; b++)
            qk_split_window(&t->train, T, qk_order_window(&t->order, t->edge.windows + s + b),
                            t->inputs + b * T, t->targets + b * T);
        if (qk_model_train(t->model, t->inputs, t->targets, B, scale, t->nll, err) != 0)
            return -1;
        for (int64_t i = 0; i < B * T; i++)
            sum += t->nll[i];
        if (!isfinite(sum))
            return fail_nonfinite_loss(t, err);
    }
    *loss = sum / (double)qk_tokens_per_step(c);
    return 0;
}

static cJSON *step_line(const struct trainer *t, double loss, double norm, double factor)
{
    const struct qk_config *c = &t->edge.config;
    cJSON *line = begin_line(&t->edge);
    qk_json_add_number(line, "loss", loss);
    qk_json_add_number(line, "grad_norm", norm);
    cJSON *lr = cJSON_AddObjectToObject(line, "lr");
    qk_json_add_number(lr, "muon", c->optimizer == QK_MUON_ADAMW ? c->muon_lr * factor : NAN);
    qk_json_add_number(lr, "adamw", c->adamw_lr * factor);
    return line;
}

static void show_step(struct trainer *t, double loss)
{
    char note[96];
    const int64_t seen = t->edge.tokens_seen;
    const double seconds = qk_now() - t->progress.started;
    snprintf(note, sizeof note, "loss %.4f, %.4g GFLOP/s", loss,
             (double)(seen - t->progress.first) * t->flops_per_token / seconds / 1e9);
    qk_progress_show(&t->progress, seen, note);
}

static int one_step(struct trainer *t, struct qk_err *err)
{
    struct qk_edge *e = &t->edge;
    const double factor = qk_lr_factor(&e->config, e->step), start = qk_now();
    double loss = 0, norm = 0;
    if (accumulate(t, &loss, err) != 0 ||
        qk_optimizer_step(t->optimizer, qk_model_weights(t->model), qk_model_gradients(t->model),
                          factor, &norm, err) != 0)
        return -1;
    if (!isfinite(norm))
        return fail_nonfinite_gradient(t, err);
    qk_grow(&t->step_seconds, &t->step_room, t->steps + 1, sizeof *t->step_seconds);
    t->step_seconds[t->steps++] = qk_now() - start;
    const int64_t before = e->tokens_seen;
    e->step++;
    e->tokens_seen += qk_tokens_per_step(&e->config);
    e->windows += e->config.batch_size * e->config.grad_accum;
    cJSON *line = step_line(t, loss, norm, factor);
    if (look(t, before, line, err) != 0) {
        cJSON_Delete(line);
        return -1;
    }
    if (add_line(t, line, err) != 0)
        return -1;
    show_step(t, loss);
    return 0;
}

/* ---- the edge ---- */

/* The median step, NaN without any: unlike the sum it leaves out what happens once, as first touch
 * of memory. */
static double take_step_seconds(struct trainer *t)
{
    const double median = qk_median(t->step_seconds, t->steps);
    t->steps = 0;
    return median;
}

static int add_timing(struct trainer *t, struct qk_err *err)
{
    const double now = qk_now(), seconds = now - t->saved_at, step = take_step_seconds(t);
    const int64_t tokens = t->edge.tokens_seen - t->saved_tokens;
    t->saved_at = now;
    t->saved_tokens = t->edge.tokens_seen;
    if (!t->timing)
        return 0;
    cJSON *line = cJSON_CreateObject();
    qk_json_add_number(line, "step", (double)t->edge.step);
    qk_json_add_number(line, "tokens", (double)tokens);
    qk_json_add_number(line, "elapsed_s", seconds);
    qk_json_add_number(line, "tokens_per_s", seconds > 0 ? (double)tokens / seconds : NAN);
    qk_json_add_number(line, "step_s", step);
    return qk_trainlog_add(t->timing, line, err);
}

/* The log first: a checkpoint never runs ahead of it. */
static int save_partial(struct trainer *t, enum qk_save how, struct qk_err *err)
{
    if ((t->log && qk_trainlog_sync(t->log, err) != 0) || qk_saver_save(t->saver, how, err) != 0)
        return -1;
    return add_timing(t, err);
}

static int finish(struct trainer *t, struct qk_err *err)
{
    if (qk_saver_wait(t->saver, err) != 0 || add_timing(t, err) != 0 ||
        (t->log && qk_trainlog_publish(t->log, err) != 0) ||
        (t->timing && qk_trainlog_publish(t->timing, err) != 0) ||
        qk_saver_save(t->saver, QK_SAVE_WHOLE, err) != 0)
        return -1;
    unlink(t->edge.partial);
    char *leftover = qk_format("%s.tmp", t->edge.partial); /* of a run that was killed saving it */
    unlink(leftover);
    free(leftover);
    return 0;
}

static enum qk_train_end run_steps(struct trainer *t, struct qk_err *err)
{
    struct qk_edge *e = &t->edge;
    while (e->step < e->last_step) {
        if (t->o->stop && *t->o->stop) {
            if (save_partial(t, QK_SAVE_PARTIAL, err) != 0)
                return QK_TRAIN_FAILED;
            qk_fail(err, "stopped after step %" PRId64 "; the same command goes on from %s",
                    e->step, e->partial);
            return QK_TRAIN_STOPPED;
        }
        if (one_step(t, err) != 0 || qk_saver_check(t->saver, err) != 0)
            return QK_TRAIN_FAILED;
        if (e->step < e->last_step && qk_now() - t->saved_at >= 60 * t->o->autosave_minutes &&
            save_partial(t, QK_SAVE_BEHIND, err) != 0)
            return QK_TRAIN_FAILED;
    }
    return finish(t, err) == 0 ? QK_TRAIN_DONE : QK_TRAIN_FAILED;
}

static enum qk_train_end run(struct trainer *t, struct qk_err *err)
{
    struct qk_edge *e = &t->edge;
    if (qk_edge_open(e, t->d, t->o, err) != 0)
        return QK_TRAIN_FAILED;
    if (e->config.dtype == QK_DTYPE_BF16 && strcmp(t->d->ops->name, "cpu") == 0)
        remark(t, "dtype bf16: this device computes in fp32, where it is faster and more exact");
    t->saved_at = qk_now();
    t->saved_tokens = e->tokens_seen;
    if ((e->last_step > e->step && read_train_split(t, err) != 0) || read_val_split(t, err) != 0 ||
        make_model(t, err) != 0 || open_logs(t, err) != 0)
        return QK_TRAIN_FAILED;
    const int64_t end = e->tokens_seen + (e->last_step - e->step) * qk_tokens_per_step(&e->config);
    qk_progress_begin(&t->progress, t->o->tool, "tokens", e->tokens_seen, end, t->o->quiet);
    if (look_at_start(t, err) != 0)
        return QK_TRAIN_FAILED;
    return run_steps(t, err);
}

enum qk_train_end qk_train_run(struct qk_device *d, const struct qk_train_options *o,
                               struct qk_err *err)
{
    struct trainer *t = qk_zalloc(1, sizeof *t);
    t->d = d;
    t->o = o;
    enum qk_train_end end = run(t, err);
    qk_progress_end(&t->progress);
    qk_saver_free(t->saver);
    /* Without a partial checkpoint nothing can go on from the partial log. */
    const bool over =
        end == QK_TRAIN_DONE || (t->edge.partial && access(t->edge.partial, F_OK) != 0);
    qk_trainlog_close(t->log, over);
    qk_trainlog_close(t->timing, over);
    qk_optimizer_free(t->optimizer);
    qk_model_free(t->model);
    qk_split_free(&t->train);
    qk_split_free(&t->val);
    qk_order_free(&t->order);
    free(t->inputs);
    free(t->targets);
    free(t->nll);
    free(t->step_seconds);
    qk_edge_close(&t->edge);
    free(t);
    return end;
}
