/* Key statistics from whatever file is given: a checkpoint is run, a dump is read. */
#include <stdlib.h>
#include <string.h>

#include "base/h5.h"
#include "base/mem.h"
#include "compute/device.h"
#include "study/corpus/tokens.h"
#include "study/measure/keys.h"

struct batch {
    int32_t *tokens; /* [n_seq, T]; NULL when there is none */
    int64_t n_seq, T;
};

static int pack_batch(struct batch *b, const char *path, int64_t vocabulary, struct qk_err *err)
{
    struct qk_pack pack;
    if (qk_pack_open(&pack, path, err) != 0)
        return -1;
    int bad = qk_pack_probe(&pack, &b->tokens, &b->n_seq, &b->T, err);
    qk_pack_close(&pack);
    if (!bad && !b->tokens)
        bad = qk_fail(err, "%s: has no probe batch (/probe/tokens)", path);
    for (int64_t i = 0; !bad && i < b->n_seq * b->T; i++)
        if (b->tokens[i] >= vocabulary)
            bad = qk_fail(err, "%s: /probe/tokens holds token %d, but the model has %lld", path,
                          (int)b->tokens[i], (long long)vocabulary);
    return bad;
}

static int find_batch(struct batch *b, struct qk_checkpoint *c, const char *path,
                      const struct qk_keys_loader *how, struct qk_err *err)
{
    *b = (struct batch){0};
    if (how->sites == 1u << QK_SITE_WEIGHT)
        return 0;
    if (how->batch ? pack_batch(b, how->batch, c->config.vocab_size, err)
                   : qk_checkpoint_probe(c, &b->tokens, &b->n_seq, &b->T, err))
        return -1;
    if (b->tokens && b->T > c->config.seq_len)
        return qk_fail(err,
                       "%s: sequences of %lld positions in the probe batch%s%s are too long for a "
                       "model of seq_len %lld",
                       path, (long long)b->T, how->batch ? " of " : "",
                       how->batch ? how->batch : "", (long long)c->config.seq_len);
    if (b->tokens && how->skip_first >= b->T)
        return qk_fail(err, "%s: sequences have only %lld positions, so none is left after %lld",
                       path, (long long)b->T, (long long)how->skip_first);
    return 0;
}

static int run(struct qk_keys *k, struct qk_checkpoint *c, const struct batch *b,
               struct qk_keys_loader *how, struct qk_err *err)
{
    struct qk_keys_plan plan = {.tokens = b->tokens,
                                .n_seq = b->n_seq,
                                .T = b->T,
                                .sites = how->sites,
                                .skip_first = how->skip_first,
                                .full = how->full,
                                .progress = &how->progress,
                                .times = &how->times};
    if (!b->tokens)
        return qk_keys_stream(k, NULL, c, &plan, err);
    if (!how->device && !(how->device = qk_device_open(how->device_name, err)))
        return -1;
    qk_progress_begin(&how->progress, how->progress.tool, "tokens", 0, b->n_seq * b->T,
                      how->progress.quiet);
    int bad = qk_keys_stream(k, how->device, c, &plan, err);
    qk_progress_end(&how->progress);
    return bad;
}

static int load_checkpoint(struct qk_keys *k, const char *path, struct qk_keys_loader *how,
                           struct qk_err *err)
{
    struct qk_checkpoint c;
    struct batch b;
    if (qk_checkpoint_open(&c, path, err) != 0)
        return -1;
    int bad = find_batch(&b, &c, path, how, err) || run(k, &c, &b, how, err) ? -1 : 0;
    free(b.tokens);
    qk_checkpoint_close(&c);
    return bad;
}

static int load_dump(struct qk_keys *k, const char *path, struct qk_keys_loader *how,
                     struct qk_err *err)
{
    const double start = qk_now();
    if (how->batch)
        return qk_fail(err, "%s: is a keys dump: a batch can only be given to a checkpoint", path);
    if (qk_keys_read(k, path, err) != 0)
        return -1;
    how->times.read = qk_now() - start;
    if (how->skip_first == 0 || qk_keys_skip(k, how->skip_first, err) == 0)
        return 0;
    qk_keys_free(k);
    return qk_fail_in(err, "%s: ", path);
}

int qk_keys_load(struct qk_keys *k, const char *path, struct qk_keys_loader *how,
                 struct qk_err *err)
{
    *k = (struct qk_keys){0};
    how->times = (struct qk_keys_times){0};
    char *kind = qk_h5_kind(path, err);
    if (!kind)
        return -1;
    int bad;
    if (strcmp(kind, "checkpoint") == 0)
        bad = load_checkpoint(k, path, how, err);
    else if (strcmp(kind, "keys") == 0)
        bad = load_dump(k, path, how, err);
    else
        bad = qk_fail(err, "%s: is a %.40s file, expected checkpoint or keys", path, kind);
    free(kind);
    return bad;
}
