/* A small model for tests of what is measured in it. */
#ifndef QK_TESTS_KEYS_CHECK_H
#define QK_TESTS_KEYS_CHECK_H

#include <unistd.h>

#include "check.h"
#include "compute/device.h"
#include "model/transformer.h"

static inline struct qk_config small_config(void)
{
    return (struct qk_config){.vocab_size = 40,
                              .d_model = 32,
                              .n_layers = 2,
                              .n_heads = 4,
                              .n_kv_heads = 2,
                              .d_ff = 24,
                              .norm_eps = 1.1920929e-07,
                              .rope_base = 10000,
                              .embed_scale = 5,
                              .tie_embeddings = true,
                              .seq_len = 300, /* more than one block of the sums */
                              .init_std = 0.5,
                              .muon_lr = 0.01,
                              .adamw_lr = 0.01,
                              .adamw_eps = 1e-8,
                              .batch_size = 1,
                              .grad_accum = 1,
                              .train_tokens = 1000,
                              .seed = 3};
}

/* n tokens that repeat unevenly. */
static inline int32_t *some_tokens(int64_t n, int32_t vocabulary)
{
    int32_t *tokens = qk_alloc((size_t)n, sizeof *tokens);
    for (int64_t i = 0; i < n; i++)
        tokens[i] = (int32_t)((i * i + i / 7) % vocabulary);
    return tokens;
}

/* A checkpoint with fresh weights and a probe batch [n_seq, T] (none when n_seq is 0). */
static inline int write_checkpoint(const char *path, const struct qk_config *c, int64_t n_seq,
                                   int64_t T, struct qk_err *err)
{
    int32_t *tokens = n_seq ? some_tokens(n_seq * T, (int32_t)c->vocab_size) : NULL;
    struct qk_checkpoint_head head = {.config = c,
                                      .step = 12,
                                      .tokens_seen = 3456,
                                      .eot = -1,
                                      .probe = tokens,
                                      .n_seq = n_seq,
                                      .T = T};
    struct qk_params params;
    struct qk_h5 *file = qk_checkpoint_create(path, &head, NULL, err);
    int bad = !file;
    qk_params_layout(&params, c);
    for (int i = 0; !bad && i < params.count; i++) {
        float *w = qk_alloc((size_t)params.at[i].count, sizeof *w);
        qk_param_initialize(&params.at[i], c, w);
        for (int64_t j = 0; !params.at[i].random && j < params.at[i].count; j++)
            w[j] += 0.03125f * (float)(j % 5); /* gains that are not all 1 */
        bad = qk_checkpoint_put(file, &params.at[i], w, false, 0, err);
        free(w);
    }
    qk_params_free(&params);
    free(tokens);
    if (!bad)
        return qk_h5_commit(file, err);
    qk_h5_discard(file);
    return -1;
}

/* A name in a folder of this test's own; the folder is removed by remove_folder. */
static inline const char *in_folder(const char *name)
{
    static char folder[64], paths[8][128];
    static int next;
    if (!*folder) {
        snprintf(folder, sizeof folder, "/tmp/qk-test-XXXXXX");
        if (!mkdtemp(folder))
            abort();
    }
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%.60s/%.60s", folder, name);
    return path;
}

static inline int remove_folder(void **state)
{
    (void)state;
    return remove_tree(in_folder(""));
}

#endif
