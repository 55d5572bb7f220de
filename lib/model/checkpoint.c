#include "model/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PATH = 96, MOST_PROBE_TOKENS = 1 << 28, MOST_TOKENIZER = 1 << 28 };

static void weight_path(const struct qk_param *param, char path[MOST_PATH])
{
    snprintf(path, MOST_PATH, "/weights/%s", param->name);
}

/* ---- reading ---- */

static int check_shape(struct qk_checkpoint *c, const struct qk_param *param, struct qk_err *err)
{
    char path[MOST_PATH];
    weight_path(param, path);
    struct qk_array_info info;
    if (qk_h5_info(c->file, path, &info, err) != 0)
        return qk_h5_has(c->file, path)
                   ? -1
                   : qk_fail(err, "%s: %s is missing", qk_h5_path(c->file), path);
    if (!info.is_float)
        return qk_fail(err, "%s: %s holds integers, not floating-point numbers",
                       qk_h5_path(c->file), path);
    bool fits = info.rank == param->rank && info.dims[0] == param->dims[0] &&
                (param->rank == 1 || info.dims[1] == param->dims[1]);
    if (fits)
        return 0;
    char want[64], have[128] = "no dimensions";
    snprintf(want, sizeof want, param->rank == 1 ? "%" PRId64 : "%" PRId64 "x%" PRId64,
             param->dims[0], param->dims[1]);
    for (int i = 0, at = 0; i < info.rank && i < QK_MOST_DIMS; i++)
        at +=
            snprintf(have + at, sizeof have - (size_t)at, "%s%" PRId64, i ? "x" : "", info.dims[i]);
    return qk_fail(err, "%s: %s has shape %s, but the config says %s", qk_h5_path(c->file), path,
                   have, want);
}

/* Every member of the group must be the beginning of a tensor's name. */
static int refuse_strangers(struct qk_checkpoint *c, const char *group, struct qk_err *err)
{
    struct qk_strings names = {0};
    if (qk_h5_members(c->file, group, &names, err) != 0)
        return -1;
    int bad = 0;
    for (size_t i = 0; !bad && i < names.count; i++) {
        char *path = qk_format("%s/%s", group + strlen("/weights"), names.at[i]);
        size_t n = strlen(path + 1);
        bool known = false;
        for (int k = 0; !known && k < c->params.count; k++) {
            const char *name = c->params.at[k].name;
            known = strncmp(name, path + 1, n) == 0 && (name[n] == '\0' || name[n] == '/');
        }
        if (!known)
            bad = qk_fail(err, "%s: /weights%s is no tensor of this config", qk_h5_path(c->file),
                          path);
        free(path);
    }
    qk_strings_free(&names);
    return bad;
}

static int check_table(struct qk_checkpoint *c, struct qk_err *err)
{
    for (int i = 0; i < c->params.count; i++)
        if (check_shape(c, &c->params.at[i], err) != 0)
            return -1;
    if (refuse_strangers(c, "/weights", err) != 0 || refuse_strangers(c, "/weights/layers", err))
        return -1;
    for (int layer = 0; layer < c->config.n_layers; layer++) {
        char group[MOST_PATH];
        snprintf(group, sizeof group, "/weights/layers/%d", layer);
        if (refuse_strangers(c, group, err) != 0)
            return -1;
    }
    return 0;
}

static int read_attributes(struct qk_checkpoint *c, struct qk_err *err)
{
    char *text, *where = qk_format("%s: config", qk_h5_path(c->file));
    int bad = qk_h5_attr_text(c->file, "/", "config", &text, err);
    if (!bad) {
        bad = qk_config_from_text(&c->config, text, where, err);
        free(text);
    }
    free(where);
    if (bad || qk_h5_attr_int(c->file, "/", "step", &c->step, err) != 0 ||
        qk_h5_attr_int(c->file, "/", "tokens_seen", &c->tokens_seen, err) != 0)
        return -1;
    if (c->step < 0 || c->tokens_seen < 0)
        return qk_fail(err, "%s: step %" PRId64 " and tokens_seen %" PRId64 " must not be negative",
                       qk_h5_path(c->file), c->step, c->tokens_seen);
    c->eot = -1;
    if (qk_h5_has_attr(c->file, "/", "eot") && qk_h5_attr_int(c->file, "/", "eot", &c->eot, err))
        return -1;
    if (c->eot < -1 || c->eot >= c->config.vocab_size)
        return qk_fail(err, "%s: eot %" PRId64 " is no token of a vocabulary of %" PRId64,
                       qk_h5_path(c->file), c->eot, c->config.vocab_size);
    return 0;
}

int qk_checkpoint_open(struct qk_checkpoint *c, const char *path, struct qk_err *err)
{
    *c = (struct qk_checkpoint){.file = qk_h5_open(path, err)};
    if (!c->file)
        return -1;
    if (qk_h5_expect(c->file, "checkpoint", 1, err) == 0 && read_attributes(c, err) == 0) {
        qk_params_layout(&c->params, &c->config);
        if (check_table(c, err) == 0)
            return 0;
    }
    qk_checkpoint_close(c);
    return -1;
}

void qk_checkpoint_close(struct qk_checkpoint *c)
{
    qk_params_free(&c->params);
    qk_h5_close(c->file);
    c->file = NULL;
}

static int check_finite(struct qk_checkpoint *c, const char *path, bool finite, const float *values,
                        int64_t count, int64_t first, struct qk_err *err)
{
    for (int64_t i = 0; !finite && i < count; i++)
        if (!isfinite(values[i]))
            return qk_fail(err, "%s: %s holds a number that is not finite (element %" PRId64 ")",
                           qk_h5_path(c->file), path, first + i);
    return 0;
}

int qk_checkpoint_weights(struct qk_checkpoint *c, const struct qk_param *param, float *to,
                          struct qk_err *err)
{
    char path[MOST_PATH];
    bool finite;
    weight_path(param, path);
    if (qk_h5_read_floats(c->file, path, param->rank, param->dims, 0, param->dims[0], to, &finite,
                          err) != 0)
        return -1;
    return check_finite(c, path, finite, to, param->count, 0, err);
}

int qk_checkpoint_rows(struct qk_checkpoint *c, const struct qk_param *param, int64_t first,
                       int64_t count, float *to, struct qk_err *err)
{
    char path[MOST_PATH];
    bool finite;
    const int64_t cols = param->dims[1];
    weight_path(param, path);
    if (qk_h5_read_floats(c->file, path, param->rank, param->dims, first, count, to, &finite,
                          err) != 0)
        return -1;
    return check_finite(c, path, finite, to, count * cols, first * cols, err);
}

static int check_probe(const struct qk_checkpoint *c, const int32_t *tokens, int64_t count,
                       struct qk_err *err)
{
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= c->config.vocab_size)
            return qk_fail(err,
                           "%s: /probe/tokens holds token %" PRId32
                           ", but the vocabulary ends at %" PRId64,
                           qk_h5_path(c->file), tokens[i], c->config.vocab_size);
    return 0;
}

int qk_checkpoint_probe(struct qk_checkpoint *c, int32_t **tokens, int64_t *n_seq, int64_t *T,
                        struct qk_err *err)
{
    *tokens = NULL;
    *n_seq = *T = 0;
    if (!qk_h5_has(c->file, "/probe/tokens"))
        return 0;
    struct qk_array_info info;
    if (qk_h5_info(c->file, "/probe/tokens", &info, err) != 0)
        return -1;
    if (info.is_float || info.rank != 2 || info.count < 1 || info.count > MOST_PROBE_TOKENS)
        return qk_fail(err, "%s: /probe/tokens is no table of tokens [sequences, positions]",
                       qk_h5_path(c->file));
    *tokens = qk_alloc((size_t)info.count, sizeof **tokens);
    if (qk_h5_read(c->file, "/probe/tokens", QK_I32, info.count, *tokens, err) != 0 ||
        check_probe(c, *tokens, info.count, err) != 0) {
        free(*tokens);
        *tokens = NULL;
        return -1;
    }
    *n_seq = info.dims[0];
    *T = info.dims[1];
    return 0;
}

int qk_checkpoint_tokenizer(struct qk_checkpoint *c, struct qk_buffer *to, struct qk_err *err)
{
    *to = (struct qk_buffer){0};
    if (!qk_h5_has(c->file, "/tokenizer"))
        return 0;
    struct qk_array_info info;
    if (qk_h5_info(c->file, "/tokenizer", &info, err) != 0)
        return -1;
    if (info.is_float || info.rank != 1 || info.count > MOST_TOKENIZER)
        return qk_fail(err, "%s: /tokenizer is no text of bytes", qk_h5_path(c->file));
    char *bytes = qk_zalloc((size_t)info.count + 1, 1);
    int bad = qk_h5_read(c->file, "/tokenizer", QK_U8, info.count, bytes, err);
    if (!bad)
        qk_buffer_add(to, bytes, (size_t)info.count);
    free(bytes);
    return bad;
}

int qk_checkpoint_pruned(struct qk_checkpoint *c, char **text, struct qk_err *err)
{
    *text = NULL;
    if (!qk_h5_has_attr(c->file, "/", "pruned"))
        return 0;
    return qk_h5_attr_text(c->file, "/", "pruned", text, err);
}

/* ---- writing ---- */

static int put_attributes(struct qk_h5 *file, const struct qk_checkpoint_head *head,
                          struct qk_err *err)
{
    char *config = qk_config_to_text(head->config);
    int bad = qk_h5_put_text(file, "/", "kind", "checkpoint", err) != 0 ||
              qk_h5_put_int(file, "/", "version", 1, err) != 0 ||
              qk_h5_put_text(file, "/", "config", config, err) != 0 ||
              qk_h5_put_int(file, "/", "step", head->step, err) != 0 ||
              qk_h5_put_int(file, "/", "tokens_seen", head->tokens_seen, err) != 0 ||
              (head->eot >= 0 && qk_h5_put_int(file, "/", "eot", head->eot, err) != 0) ||
              (head->pruned && qk_h5_put_text(file, "/", "pruned", head->pruned, err) != 0);
    free(config);
    return bad ? -1 : 0;
}

static int put_probe(struct qk_h5 *file, const struct qk_checkpoint_head *head, struct qk_err *err)
{
    if (!head->probe)
        return 0;
    const int64_t dims[] = {head->n_seq, head->T};
    const size_t count = (size_t)(head->n_seq * head->T);
    if (head->config->vocab_size > 65536) {
        uint32_t *wide = qk_alloc(count, sizeof *wide);
        for (size_t i = 0; i < count; i++)
            wide[i] = (uint32_t)head->probe[i];
        int bad = qk_h5_write(file, "/probe/tokens", QK_U32, 2, dims, QK_U32, wide, 1, err);
        free(wide);
        return bad;
    }
    uint16_t *narrow = qk_alloc(count, sizeof *narrow);
    for (size_t i = 0; i < count; i++)
        narrow[i] = (uint16_t)head->probe[i];
    int bad = qk_h5_write(file, "/probe/tokens", QK_U16, 2, dims, QK_U16, narrow, 1, err);
    free(narrow);
    return bad;
}

static int put_tokenizer(struct qk_h5 *file, const struct qk_checkpoint_head *head,
                         struct qk_err *err)
{
    if (!head->tokenizer || !head->tokenizer->size)
        return 0;
    const int64_t dims[] = {(int64_t)head->tokenizer->size};
    return qk_h5_write(file, "/tokenizer", QK_U8, 1, dims, QK_U8, head->tokenizer->at, 1, err);
}

struct qk_h5 *qk_checkpoint_create(const char *path, const struct qk_checkpoint_head *head,
                                   const struct qk_provenance *p, struct qk_err *err)
{
    struct qk_h5 *file = qk_h5_create(path, err);
    if (!file)
        return NULL;
    if (put_attributes(file, head, err) == 0 && put_probe(file, head, err) == 0 &&
        put_tokenizer(file, head, err) == 0 && (!p || qk_provenance_to_h5(p, file, err) == 0))
        return file;
    qk_h5_discard(file);
    return NULL;
}

int qk_checkpoint_put(struct qk_h5 *file, const struct qk_param *param, const float *from,
                      bool bf16, int zstd, struct qk_err *err)
{
    char path[MOST_PATH];
    weight_path(param, path);
    return qk_h5_write(file, path, bf16 ? QK_BF16 : QK_F32, param->rank, param->dims, QK_F32, from,
                       bf16 && !zstd ? 1 : zstd, err);
}
