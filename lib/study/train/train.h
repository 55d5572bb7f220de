/* Training as an edge from checkpoint A to checkpoint B, exactly resumable.
 *
 * A is a config with initial weights or a checkpoint; B appears whole at the end.  On the way
 * B.partial, itself a checkpoint, keeps what is needed to go on: the same edge continues from it
 * after any interruption and ends in the same bytes; another edge refuses it.
 */
#ifndef QK_STUDY_TRAIN_H
#define QK_STUDY_TRAIN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/provenance.h"
#include "compute/ops.h"
#include "study/train/schedule.h"

struct qk_train_options {
    const char *config_path, *from_path; /* one of them */
    const struct qk_strings *sets;       /* key=value, applied to either's config */
    int64_t seed;                        /* -1: the config's */
    const char *data, *out;
    int64_t until, steps; /* tokens or optimiser steps counted from the start; the other is -1 */
    struct qk_points val_at, keys_at; /* all zero: never */
    int64_t val_tokens;               /* -1: the whole split val */
    const char *keys_dir;
    unsigned keys_sites;
    const char *log, *timing; /* NULL: none */
    double autosave_minutes;  /* 0: after every step */
    int64_t micro_batch;      /* 0: automatic */
    bool recompute, weights_only, bf16;
    int zstd;
    const char *tool; /* for the progress line */
    bool quiet;
    struct qk_provenance *provenance;
    void (*say)(void *self, const char *text); /* remarks for people */
    void *self;
    const volatile sig_atomic_t *stop; /* set by a signal: save and leave */
};

/* The config an edge would run with, and its starting point, without opening any data: --plan. */
int qk_train_config(const struct qk_train_options *o, struct qk_config *config, int64_t *step,
                    int64_t *tokens_seen, struct qk_err *err);
/* The last step of an edge that starts at `step` having seen `tokens_seen`. */
int qk_train_last_step(const struct qk_train_options *o, const struct qk_config *config,
                       int64_t step, int64_t tokens_seen, int64_t *last, struct qk_err *err);

enum qk_train_end { QK_TRAIN_DONE, QK_TRAIN_FAILED = -1, QK_TRAIN_STOPPED = 1 };

/* Run the edge. Stopped: the sentence in err says where the same command goes on. */
enum qk_train_end qk_train_run(struct qk_device *d, const struct qk_train_options *o,
                               struct qk_err *err);

#endif
