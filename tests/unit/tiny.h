/* A tiny model and a tiny token pack, for tests of everything above the operations. */
#ifndef QK_TESTS_TINY_H
#define QK_TESTS_TINY_H

#include "unit/check.h"

#include <unistd.h>

#include "base/h5.h"
#include "base/rng.h"
#include "compute/device.h"
#include "model/config.h"

#define TINY_CONFIG                                                                                \
    "{\"vocab_size\":61,\"d_model\":16,\"n_layers\":2,\"n_heads\":2,\"n_kv_heads\":1,"             \
    "\"d_ff\":24,\"seq_len\":8,\"muon_lr\":0.02,\"adamw_lr\":0.01,\"batch_size\":2,"               \
    "\"grad_accum\":2,\"train_tokens\":640,\"init_std\":0.1}"

static inline struct qk_config tiny_config(void)
{
    struct qk_err err;
    struct qk_config c;
    assert_works(qk_config_from_text(&c, TINY_CONFIG, "tiny", &err));
    return c;
}

/* Tests of tests/cuda take another one. */
#ifndef QK_TESTS_DEVICE
#define QK_TESTS_DEVICE "cpu"
#endif

static inline struct qk_device *tiny_device(void)
{
    struct qk_err err;
    struct qk_device *d = qk_device_open(QK_TESTS_DEVICE, &err);
    if (!d)
        fail_msg("%s", err.text);
    return d;
}

/* A new folder in which the test works from now on. */
static inline void tiny_folder(void)
{
    char name[] = "/tmp/qk-test-XXXXXX";
    assert_non_null(mkdtemp(name));
    assert_int_equal(chdir(name), 0);
}

static inline void tiny_leave_folder(void)
{
    char name[256];
    assert_non_null(getcwd(name, sizeof name));
    assert_int_equal(strncmp(name, "/tmp/qk-test-", 13), 0);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(remove_tree(name), 0);
}

/* Set-up and tear-down of a group of tests in such a folder, without a device and with one. */
static inline int tiny_begin(void **state)
{
    (void)state;
    tiny_folder();
    return 0;
}

static inline int tiny_end(void **state)
{
    (void)state;
    tiny_leave_folder();
    return 0;
}

static struct qk_device *device; /* of the tests between these two */

static inline int tiny_begin_device(void **state)
{
    device = tiny_device();
    return tiny_begin(state);
}

static inline int tiny_end_device(void **state)
{
    qk_device_close(device);
    return tiny_end(state);
}

static inline void tiny_write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static inline void tiny_split(struct qk_h5 *f, const char *name, int n, uint64_t stream)
{
    struct qk_err err;
    uint16_t tokens[1024];
    char path[64];
    assert_true(n <= 1024);
    for (int i = 0; i < n;
         i++) /* a walk: the next token is near the last, so there is much to learn */
        tokens[i] =
            (uint16_t)((i ? tokens[i - 1] + qk_rng_below(1, stream, (uint64_t)i, 3) : 7) % 61);
    snprintf(path, sizeof path, "/%s/tokens", name);
    assert_works(qk_h5_write(f, path, QK_U16, 1, (int64_t[]){n}, QK_U16, tokens, 1, &err));
    uint64_t docs[2] = {0, (uint64_t)n};
    snprintf(path, sizeof path, "/%s/docs", name);
    assert_works(qk_h5_write(f, path, QK_U64, 1, (int64_t[]){2}, QK_U64, docs, 1, &err));
}

/* train of 601 tokens, val of 101, a probe batch of 3 x 6, a tokenizer of four bytes. */
static inline void tiny_pack(const char *path)
{
    struct qk_err err;
    struct qk_h5 *f = qk_h5_create(path, &err);
    assert_non_null(f);
    assert_works(qk_h5_put_text(f, "/", "kind", "tokens", &err));
    assert_works(qk_h5_put_int(f, "/", "version", 1, &err));
    assert_works(qk_h5_put_int(f, "/", "vocab_size", 61, &err));
    assert_works(qk_h5_put_int(f, "/", "eot", 0, &err));
    tiny_split(f, "train", 601, 1);
    tiny_split(f, "val", 101, 2);
    uint16_t probe[18];
    for (int i = 0; i < 18; i++)
        probe[i] = (uint16_t)(i * 7 % 61);
    assert_works(
        qk_h5_write(f, "/probe/tokens", QK_U16, 2, (int64_t[]){3, 6}, QK_U16, probe, 1, &err));
    assert_works(qk_h5_write(f, "/tokenizer", QK_U8, 1, (int64_t[]){4}, QK_U8, "{  }", 1, &err));
    assert_works(qk_h5_commit(f, &err));
}

static inline void assert_same_file(const char *a, const char *b)
{
    char command[256];
    snprintf(command, sizeof command, "cmp '%s' '%s'", a, b);
    assert_int_equal(system(command), 0);
}

#endif
