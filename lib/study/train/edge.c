#define _GNU_SOURCE
#include "study/train/edge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "compute/device.h"

static void say(const struct qk_edge *e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const struct qk_edge *e, const char *format, ...)
{
    if (!e->o->say)
        return;
    va_list args;
    va_start(args, format);
    char *text = qk_format_args(format, args);
    va_end(args);
    e->o->say(e->o->self, text);
    free(text);
}

/* ---- opening ---- */

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Also that each output has a name of its own: X and X.partial are taken. */
static int check_output(const struct qk_train_options *o, struct qk_err *err)
{
    struct stat st;
    if (strcmp(o->out, "-") == 0)
        return qk_fail(err, "-o -: a checkpoint cannot go to standard output");
    const char *const inputs[] = {o->data, o->from_path, o->config_path};
    const char *const outputs[] = {o->out, o->log, o->timing};
    for (int i = 0; i < 3; i++) {
        const char *out = outputs[i];
        for (int j = 0; out && j < 3; j++)
            if (inputs[j] && same_file(out, inputs[j]))
                return qk_fail(err, "%s: is an input and would be overwritten", out);
        for (int j = 0; out && j < i; j++)
            if (outputs[j] && strcmp(out, outputs[j]) == 0 && strcmp(out, "-") != 0)
                return qk_fail(err, "%s: is asked for as two outputs", out);
        if (out && stat(out, &st) == 0 && S_ISDIR(st.st_mode))
            return qk_fail(err, "%s: is a folder", out);
    }
    return 0;
}

static void note_input(const struct qk_edge *e, const char *path, const char *sha256)
{
    struct qk_provenance *p = e->o->provenance;
    if (!p || p->off)
        return;
    qk_strings_add(&p->paths, path);
    qk_strings_add(&p->hashes, sha256);
}

static int open_data(struct qk_edge *e, struct qk_err *err)
{
    const char *path = e->o->data;
    if (qk_pack_open(&e->pack, path, err) != 0 || qk_sha256_file(path, e->data_sha256, err) != 0)
        return -1;
    note_input(e, path, e->data_sha256);
    return 0;
}

static int check_vocabulary(const struct qk_edge *e, struct qk_err *err)
{
    if (e->pack.vocab_size <= e->config.vocab_size)
        return 0;
    return qk_fail(err,
                   "%s: has a vocabulary of %" PRId64 ", but the model's vocab_size is %" PRId64,
                   e->o->data, e->pack.vocab_size, e->config.vocab_size);
}

static int open_start(struct qk_edge *e, struct qk_err *err)
{
    const struct qk_train_options *o = e->o;
    const char *path = o->from_path;
    char sha256[QK_SHA256_HEX];
    e->eot = -1;
    if (o->config_path) {
        if (qk_edge_config_of_file(o, &e->config, sha256, err) != 0)
            return -1;
        if (strcmp(o->config_path, "-") != 0)
            note_input(e, o->config_path, sha256);
        return 0;
    }
    if (qk_checkpoint_open(&e->source, path, err) != 0 ||
        qk_sha256_file(path, e->from_sha256, err) != 0)
        return -1;
    note_input(e, path, e->from_sha256);
    e->step = e->source.step;
    e->tokens_seen = e->source.tokens_seen;
    return qk_edge_config_of_checkpoint(o, &e->source.config, &e->config, err);
}

/* How many windows of this data were drawn already; moments only if the optimiser is the same. */
static int read_position(struct qk_edge *e, struct qk_err *err)
{
    struct qk_checkpoint *c = &e->source;
    e->with_moments = false;
    e->windows = 0;
    if (!c->file)
        return 0;
    e->with_moments = qk_h5_has(c->file, "/optim") && c->config.optimizer == e->config.optimizer;
    if (qk_h5_has(c->file, "/optim") && !e->with_moments)
        say(e, "the optimiser changes: its moments start at zero");
    if (!qk_h5_has(c->file, "/train")) {
        e->windows = c->tokens_seen / e->config.seq_len;
        return 0;
    }
    char *sha256;
    if (qk_h5_attr_int(c->file, "/train", "windows", &e->windows, err) != 0 ||
        qk_h5_attr_text(c->file, "/train", "data_sha256", &sha256, err) != 0)
        return -1;
    const bool changed = strcmp(sha256, e->data_sha256) != 0;
    free(sha256);
    if (e->windows < 0 || e->windows > INT64_MAX / 2 / c->config.seq_len)
        return qk_fail(err, "%s: /train windows %" PRId64 " is no count", qk_h5_path(c->file),
                       e->windows);
    e->windows = e->windows * c->config.seq_len / e->config.seq_len;
    if (changed) {
        say(e, "%s is not what %s was trained on: reading begins at its first window", e->o->data,
            qk_h5_path(c->file));
        e->windows = 0;
    }
    return 0;
}

/* ---- B.partial ---- */

static char *points_text(const struct qk_points *p)
{
    if (p->every)
        return qk_format("every:%" PRId64, p->every);
    struct qk_buffer b = {0};
    qk_buffer_text(&b, p->count ? "" : "never");
    for (int i = 0; i < p->count; i++)
        qk_buffer_format(&b, "%s%" PRId64, i ? "," : "", p->at[i]);
    return b.at;
}

static char *watch_text(const struct qk_train_options *o)
{
    char *val = points_text(&o->val_at), *keys = points_text(&o->keys_at);
    char *text = qk_format(
        "val %s of %" PRId64 " tokens; keys %s of sites %u; log %s", val, o->val_tokens, keys,
        o->keys_at.every || o->keys_at.count ? o->keys_sites : 0u, o->log ? "yes" : "no");
    free(val);
    free(keys);
    return text;
}

static int expect_text(struct qk_edge *e, const char *attribute, const char *want, const char *what,
                       struct qk_err *err)
{
    char *have;
    if (qk_h5_attr_text(e->source.file, "/edge", attribute, &have, err) != 0)
        return -1;
    const bool same = strcmp(have, want) == 0;
    free(have);
    if (same)
        return 0;
    return qk_fail(err,
                   "%s: was left by another command (%s differs); give that command again, or "
                   "remove the file to start anew",
                   e->partial, what);
}

static int check_identity(struct qk_edge *e, struct qk_err *err)
{
    int64_t last, first_step, first_tokens;
    struct qk_h5 *file = e->source.file;
    if (!qk_h5_has(file, "/edge"))
        return qk_fail(err, "%s: is no unfinished edge of qk-train", e->partial);
    if (expect_text(e, "from_sha256", e->from_sha256, "the checkpoint to start from", err) ||
        expect_text(e, "data_sha256", e->data_sha256, "the data", err))
        return -1;
    const char *key = qk_config_difference(&e->source.config, &e->config);
    if (key)
        return qk_fail(err,
                       "%s: was left by another command (config key %s differs); give that "
                       "command again, or remove the file to start anew",
                       e->partial, key);
    if (expect_text(e, "watch", e->watch, "what is looked at, or whether there is a log", err) ||
        qk_h5_attr_int(file, "/edge", "last_step", &last, err) ||
        qk_h5_attr_int(file, "/edge", "first_step", &first_step, err) ||
        qk_h5_attr_int(file, "/edge", "first_tokens", &first_tokens, err))
        return -1;
    if (last != e->last_step || first_step != e->first_step || first_tokens != e->first_tokens ||
        e->source.step < first_step || e->source.step > last)
        return qk_fail(err,
                       "%s: was left by another command (it ends at step %" PRId64 ", not %" PRId64
                       "); give that command again, or remove the file to start "
                       "anew",
                       e->partial, last, e->last_step);
    return 0;
}

/* Another device rounds in another way.  A partial that names none is the CPU's. */
static int check_device(struct qk_edge *e, struct qk_err *err)
{
    struct qk_h5 *file = e->source.file;
    char *device = NULL;
    if (qk_h5_has_attr(file, "/edge", "device") &&
        qk_h5_attr_text(file, "/edge", "device", &device, err) != 0)
        return -1;
    const bool same = strcmp(device ? device : "cpu", e->device) == 0;
    int bad = same ? 0
                   : qk_fail(err,
                             "%s: was begun on device %s, and this is %s; go on there (--device), "
                             "or remove the file to start anew",
                             e->partial, device ? device : "cpu", e->device);
    free(device);
    if (!bad && qk_h5_has_attr(file, "/edge", "micro_batch"))
        bad = qk_h5_attr_int(file, "/edge", "micro_batch", &e->micro_batch, err);
    if (!bad && e->micro_batch < 0)
        bad = qk_fail(err, "%s: /edge micro_batch is negative", e->partial);
    return bad;
}

static int open_partial(struct qk_edge *e, struct qk_err *err)
{
    if (access(e->partial, F_OK) != 0)
        return 0;
    qk_checkpoint_close(&e->source);
    if (qk_checkpoint_open(&e->source, e->partial, err) != 0 || check_identity(e, err) != 0 ||
        check_device(e, err) != 0)
        return -1;
    e->resumed = true;
    e->step = e->source.step;
    e->tokens_seen = e->source.tokens_seen;
    return 0;
}

/* ---- what travels along: from the data, else from A ---- */

static int take_travellers(struct qk_edge *e, struct qk_err *err)
{
    if (qk_pack_probe(&e->pack, &e->probe, &e->n_seq, &e->T_probe, err) != 0 ||
        qk_pack_tokenizer(&e->pack, &e->tokenizer, err) != 0)
        return -1;
    e->eot = e->pack.eot;
    if (!e->source.file)
        return 0;
    if (e->eot < 0)
        e->eot = e->source.eot;
    if (!e->probe && qk_checkpoint_probe(&e->source, &e->probe, &e->n_seq, &e->T_probe, err) != 0)
        return -1;
    if (!e->tokenizer.size && qk_checkpoint_tokenizer(&e->source, &e->tokenizer, err) != 0)
        return -1;
    return qk_checkpoint_pruned(&e->source, &e->pruned, err);
}

static int check_keys(const struct qk_edge *e, struct qk_err *err)
{
    if (!e->o->keys_at.every && !e->o->keys_at.count)
        return 0;
    if (!e->probe)
        return qk_fail(err, "%s: has no probe batch, which --keys-at needs", e->o->data);
    if (e->T_probe > e->config.seq_len)
        return qk_fail(err,
                       "%s: /probe/tokens has sequences of %" PRId64
                       " positions, more than the model's seq_len %" PRId64,
                       e->o->data, e->T_probe, e->config.seq_len);
    return 0;
}

static int open_all(struct qk_edge *e, struct qk_err *err)
{
    const struct qk_train_options *o = e->o;
    if (check_output(o, err) != 0 || open_start(e, err) != 0 || open_data(e, err) != 0 ||
        check_vocabulary(e, err) != 0)
        return -1;
    e->first_step = e->step;
    e->first_tokens = e->tokens_seen;
    if (qk_train_last_step(o, &e->config, e->step, e->tokens_seen, &e->last_step, err) != 0 ||
        open_partial(e, err) != 0 || read_position(e, err) != 0 || take_travellers(e, err) != 0 ||
        check_keys(e, err) != 0)
        return -1;
    if (e->resumed) {
        char count[32];
        say(e, "going on from %s, step %" PRId64 ", %s tokens", e->partial, e->step,
            qk_group_digits(e->tokens_seen, count));
    } else if (e->source.file && !e->with_moments && e->step > 0) {
        say(e, "%s holds no optimiser state that fits: moments start at zero", o->from_path);
    }
    return qk_edge_check_space(e, err);
}

int qk_edge_open(struct qk_edge *e, const struct qk_device *d, const struct qk_train_options *o,
                 struct qk_err *err)
{
    *e = (struct qk_edge){.o = o, .device = d->ops->name};
    e->partial = qk_format("%s.partial", o->out);
    e->watch = watch_text(o);
    if (open_all(e, err) == 0)
        return 0;
    qk_edge_close(e);
    return -1;
}

void qk_edge_close(struct qk_edge *e)
{
    if (e->source.file)
        qk_checkpoint_close(&e->source);
    qk_pack_close(&e->pack);
    free(e->partial);
    free(e->watch);
    free(e->probe);
    qk_buffer_free(&e->tokenizer);
    free(e->pruned);
    *e = (struct qk_edge){0};
}

int qk_edge_load(struct qk_edge *e, struct qk_model *m, struct qk_optimizer *optimizer,
                 struct qk_err *err)
{
    if (!e->source.file) {
        qk_model_initialize(m);
        return 0;
    }
    int bad = qk_model_load(m, &e->source, err);
    if (!bad && optimizer && e->with_moments)
        bad = qk_optimizer_read(optimizer, e->source.file, err);
    qk_checkpoint_close(&e->source);
    return bad;
}

int qk_edge_put_identity(const struct qk_edge *e, struct qk_h5 *file, struct qk_err *err)
{
    return qk_h5_make_group(file, "/edge", err) != 0 ||
                   qk_h5_put_text(file, "/edge", "from_sha256", e->from_sha256, err) != 0 ||
                   qk_h5_put_text(file, "/edge", "data_sha256", e->data_sha256, err) != 0 ||
                   qk_h5_put_text(file, "/edge", "watch", e->watch, err) != 0 ||
                   qk_h5_put_int(file, "/edge", "first_step", e->first_step, err) != 0 ||
                   qk_h5_put_int(file, "/edge", "first_tokens", e->first_tokens, err) != 0 ||
                   qk_h5_put_int(file, "/edge", "last_step", e->last_step, err) != 0 ||
                   (strcmp(e->device, "cpu") != 0 &&
                    (qk_h5_put_text(file, "/edge", "device", e->device, err) != 0 ||
                     qk_h5_put_int(file, "/edge", "micro_batch", e->micro_batch, err) != 0))
               ? -1
               : 0;
}

const char *qk_edge_last_good(const struct qk_edge *e)
{
    if (access(e->partial, F_OK) == 0)
        return e->partial;
    return e->o->from_path ? e->o->from_path : "none";
}
