/* The config an edge runs with, and where it ends. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/textfile.h"
#include "study/train/edge.h"

static int apply_sets(const struct qk_train_options *o, cJSON *json, struct qk_err *err)
{
    for (int derived = 0; derived < 2; derived++)
        for (size_t i = 0; o->sets && i < o->sets->count; i++)
            if (qk_config_is_derived(o->sets->at[i]) == derived &&
                qk_config_set(json, o->sets->at[i], err) != 0)
                return -1;
    if (o->seed < 0)
        return 0;
    char *seed = qk_format("seed=%" PRId64, o->seed);
    int bad = qk_config_set(json, seed, err);
    free(seed);
    return bad;
}

/* Read once, so that it may come through a pipe; the hash is of what was read. */
int qk_edge_config_of_file(const struct qk_train_options *o, struct qk_config *config,
                           char sha256[QK_SHA256_HEX], struct qk_err *err)
{
    struct qk_buffer text = {0};
    cJSON *json = NULL;
    int bad = qk_text_slurp(o->config_path, &text, err);
    if (!bad) {
        qk_sha256_bytes(text.at, text.size, sha256);
        json = qk_json_parse_bytes(&text, o->config_path, err);
    }
    qk_buffer_free(&text);
    if (!json)
        return -1;
    if (!cJSON_IsObject(json))
        bad = qk_fail(err, "%s: the config is not a JSON object", o->config_path);
    if (bad || apply_sets(o, json, err) != 0 ||
        qk_config_from_json(config, json, o->config_path, err) != 0)
        bad = -1;
    cJSON_Delete(json);
    return bad;
}

/* Shape and meaning of the weights cannot change under way. */
static const char *changed_architecture(const struct qk_config *a, const struct qk_config *b)
{
    struct qk_config c = *b;
    c.vocab_size = a->vocab_size;
    c.d_model = a->d_model;
    c.n_layers = a->n_layers;
    c.n_heads = a->n_heads;
    c.n_kv_heads = a->n_kv_heads;
    c.d_ff = a->d_ff;
    c.ffn = a->ffn;
    c.qk_norm = a->qk_norm;
    c.tie_embeddings = a->tie_embeddings;
    return qk_config_difference(&c, b);
}

int qk_edge_config_of_checkpoint(const struct qk_train_options *o, const struct qk_config *from,
                                 struct qk_config *config, struct qk_err *err)
{
    cJSON *json = qk_config_to_json(from);
    qk_config_relax(json);
    char *where = qk_format("%s: config", o->from_path);
    int bad = apply_sets(o, json, err) != 0 || qk_config_from_json(config, json, where, err) != 0;
    free(where);
    cJSON_Delete(json);
    if (bad)
        return -1;
    const char *key = changed_architecture(from, config);
    return key ? qk_fail(err, "%s: --set cannot change %s of weights that are there", o->from_path,
                         key)
               : 0;
}

int qk_train_config(const struct qk_train_options *o, struct qk_config *config, int64_t *step,
                    int64_t *tokens_seen, struct qk_err *err)
{
    *step = *tokens_seen = 0;
    char sha256[QK_SHA256_HEX];
    if (o->config_path)
        return qk_edge_config_of_file(o, config, sha256, err);
    struct qk_checkpoint from;
    if (qk_checkpoint_open(&from, o->from_path, err) != 0)
        return -1;
    *step = from.step;
    *tokens_seen = from.tokens_seen;
    int bad = qk_edge_config_of_checkpoint(o, &from.config, config, err);
    qk_checkpoint_close(&from);
    return bad;
}

int qk_train_last_step(const struct qk_train_options *o, const struct qk_config *config,
                       int64_t step, int64_t tokens_seen, int64_t *last, struct qk_err *err)
{
    const int64_t each = qk_tokens_per_step(config);
    const char *from = o->from_path ? o->from_path : o->config_path;
    if (o->steps >= 0) {
        *last = o->steps;
        if (o->steps < step)
            return qk_fail(err, "%s: is at step %" PRId64 ", already beyond step %" PRId64, from,
                           step, o->steps);
    } else {
        const int64_t missing = o->until - tokens_seen;
        *last = step + (missing > 0 ? (missing - 1) / each + 1 : 0);
        if (missing <= -each)
            return qk_fail(
                err, "%s: has seen %" PRId64 " tokens, already beyond the %" PRId64 " asked for",
                from, tokens_seen, o->until);
    }
    if (*last - step > INT64_MAX / 4 / each)
        return qk_fail(err, "%s: so many tokens cannot be counted", from);
    return 0;
}
