#include "study/measure/prune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "compute/device.h"
#include "study/corpus/tokens.h"
#include "study/measure/keys.h"
#include "study/measure/spectrum.h"

static const char *const names[] = {"svd", "gamma", "random", "random-subspace"};

struct surgery {
    struct qk_prune *p;
    struct qk_checkpoint from;
    int hd, removed;
    bool in_gain;        /* a cut of dimensions goes to the gain */
    bool *layers;        /* [n_layers] */
    int64_t count;       /* of them */
    struct qk_keys keys; /* svd: Gram matrices at pre_norm */
    char calib_sha256[QK_SHA256_HEX];
};

enum qk_cut qk_cut_named(const char *name)
{
    for (int i = QK_CUT_SVD; i < QK_CUT_RANDOM_SUBSPACE; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum qk_cut)i;
    return QK_CUT_RANDOM_SUBSPACE;
}

/* ---- what is to be done ---- */

static int add_layer(struct surgery *s, const char *word, struct qk_err *err)
{
    char *end;
    const long layer = strtol(word, &end, 10);
    if (end == word || *end || layer < 0 || layer >= s->from.config.n_layers)
        return qk_fail(err, "%s: has no layer '%s': there are 0 to %lld", s->p->from, word,
                       (long long)s->from.config.n_layers - 1);
    s->count += !s->layers[layer];
    s->layers[layer] = true;
    return 0;
}

static int choose_layers(struct surgery *s, struct qk_err *err)
{
    const int64_t L = s->from.config.n_layers;
    s->layers = qk_zalloc((size_t)L, sizeof *s->layers);
    if (!s->p->layers) {
        memset(s->layers, true, (size_t)L * sizeof *s->layers);
        s->count = L;
        return 0;
    }
    struct qk_strings words = {0};
    int bad = 0;
    qk_strings_split(&words, s->p->layers, ',');
    for (size_t i = 0; !bad && i < words.count; i++)
        bad = add_layer(s, words.at[i], err);
    qk_strings_free(&words);
    return bad;
}

static int settle(struct surgery *s, struct qk_err *err)
{
    const struct qk_prune *p = s->p;
    const enum qk_norm_kind norm = s->from.config.qk_norm;
    s->hd = (int)qk_head_dim(&s->from.config);
    s->removed = (int)lround(p->fraction * s->hd);
    if (p->by == QK_CUT_GAMMA && norm != QK_NORM_LEARNED)
        return qk_fail(err,
                       "%s: qk_norm is %s, so keys have no learned gain per dimension to choose "
                       "by: take svd, random or random-subspace",
                       p->from, qk_norm_name(norm));
    s->in_gain = norm == QK_NORM_LEARNED || norm == QK_NORM_FROZEN;
    if (p->by == QK_CUT_SVD && !p->calib)
        return qk_fail(err, "%s: svd needs calibration keys: --calib tokens.h5:probe", p->from);
    if (p->split && strcmp(p->split, "test") == 0)
        return qk_fail(err,
                       "%s: split test is for evaluation and cannot calibrate: take probe or val",
                       p->calib);
    return choose_layers(s, err);
}

/* ---- calibration ---- */

struct batch {
    int32_t *tokens; /* [n_seq, T] */
    int64_t n_seq, T;
};

static int windows_of(struct batch *b, struct qk_pack *pack, const struct qk_prune *p, int64_t T,
                      struct qk_err *err)
{
    struct qk_split split;
    if (qk_split_read(&split, pack, p->split, err) != 0)
        return -1;
    const int64_t all = qk_split_windows(&split, T),
                  most = T < QK_CALIB_ROWS ? QK_CALIB_ROWS / T : 1;
    b->T = T;
    b->n_seq = all < most ? all : most;
    int32_t *targets = qk_alloc((size_t)T, sizeof *targets);
    b->tokens = qk_alloc((size_t)(b->n_seq * T + 1), sizeof *b->tokens);
    for (int64_t i = 0; i < b->n_seq; i++)
        qk_split_window(&split, T, i, b->tokens + i * T, targets);
    free(targets);
    qk_split_free(&split);
    return b->n_seq ? 0
                    : qk_fail(err, "%s: split %s does not hold one window of %lld tokens", p->calib,
                              p->split, (long long)T);
}

static int read_batch(struct batch *b, struct surgery *s, struct qk_err *err)
{
    const struct qk_prune *p = s->p;
    const struct qk_config *c = &s->from.config;
    struct qk_pack pack;
    if (qk_pack_open(&pack, p->calib, err) != 0)
        return -1;
    int bad = 0;
    if (pack.vocab_size > c->vocab_size)
        bad = qk_fail(err, "%s: has a vocabulary of %lld, but %s one of %lld", p->calib,
                      (long long)pack.vocab_size, p->from, (long long)c->vocab_size);
    else if (strcmp(p->split, "probe") != 0)
        bad = windows_of(b, &pack, p, c->seq_len, err);
    else if (qk_pack_probe(&pack, &b->tokens, &b->n_seq, &b->T, err) != 0)
        bad = -1;
    else if (!b->tokens)
        bad = qk_fail(err, "%s: has no probe batch (/probe/tokens)", p->calib);
    else if (b->T > c->seq_len)
        bad = qk_fail(err,
                      "%s: /probe/tokens has sequences of %lld positions, more than seq_len %lld",
                      p->calib, (long long)b->T, (long long)c->seq_len);
    qk_pack_close(&pack);
    return bad;
}

static int calibrate(struct surgery *s, struct qk_err *err)
{
    struct qk_prune *p = s->p;
    struct batch b = {0};
    if (p->by != QK_CUT_SVD)
        return 0;
    if (qk_sha256_file(p->calib, s->calib_sha256, err) != 0)
        return -1;
    if (s->removed == 0)
        return 0;
    struct qk_device *d = NULL;
    int bad = read_batch(&b, s, err);
    if (!bad && (d = qk_device_open(p->device, err))) {
        const struct qk_keys_plan plan = {.tokens = b.tokens,
                                          .n_seq = b.n_seq,
                                          .T = b.T,
                                          .sites = 1u << QK_SITE_PRE_NORM,
                                          .progress = &p->progress};
        qk_progress_begin(&p->progress, p->progress.tool, "tokens", 0, b.n_seq * b.T,
                          p->progress.quiet);
        bad = qk_keys_stream(&s->keys, d, &s->from, &plan, err);
        qk_progress_end(&p->progress);
    }
    bad = bad || !d;
    qk_device_close(d);
    free(b.tokens);
    return bad ? -1 : 0;
}

/* ---- directions: v [hd, removed], column by column, orthonormal ---- */

static int least_directions(double *v, const struct surgery *s, int layer, int64_t head,
                            struct qk_err *err)
{
    const int d = s->hd;
    const double *gram = s->keys.layers[layer].gram[QK_SITE_PRE_NORM][QK_OF_K] + head * d * d;
    struct qk_spectrum spectrum;
    double *all = qk_alloc((size_t)(d * d), sizeof *all);
    int bad = qk_spectrum_of_gram(&spectrum, all, gram, d, err);
    if (bad)
        qk_fail_in(err, "%s: layer %d, key head %lld: ", s->p->from, layer, (long long)head);
    for (int i = 0; !bad && i < s->removed; i++)
        for (int j = 0; j < d; j++)
            v[i * d + j] = all[j * d + d - s->removed + i];
    free(all);
    return bad;
}

static uint64_t stream_of(const char *what, int layer, int64_t head)
{
    char *name = qk_format("prune/%s/%d/%lld", what, layer, (long long)head);
    const uint64_t stream = qk_rng_stream(name);
    free(name);
    return stream;
}

/* Gram-Schmidt, twice, of normal vectors: the subspace is uniform on all of that dimension. */
static void random_directions(double *v, const struct surgery *s, int layer, int64_t head)
{
    const int d = s->hd;
    const uint64_t stream = stream_of("random-subspace", layer, head);
    for (int i = 0; i < s->removed; i++) {
        double *x = v + i * d;
        for (int j = 0; j < d; j++)
            x[j] = qk_rng_normal((uint64_t)s->p->seed, stream, (uint64_t)(i * d + j));
        for (int k = 0; k < 2 * i; k++) {
            const double *y = v + k % i * d;
            double dot = 0;
            for (int j = 0; j < d; j++)
                dot += x[j] * y[j];
            for (int j = 0; j < d; j++)
                x[j] -= dot * y[j];
        }
        double norm = 0;
        for (int j = 0; j < d; j++)
            norm += x[j] * x[j];
        for (int j = 0; j < d; j++)
            x[j] /= sqrt(norm);
    }
}

/* ---- cuts ---- */

/* w [hd, D] -= V (V^T w), in double. */
static void project(float *w, const double *v, const struct surgery *s, int64_t D)
{
    const int d = s->hd;
    double *along = qk_alloc((size_t)D, sizeof *along);
    double *sum = qk_alloc((size_t)(d * D), sizeof *sum);
    for (int64_t i = 0; i < d * D; i++)
        sum[i] = w[i];
    for (int k = 0; k < s->removed; k++) {
        memset(along, 0, (size_t)D * sizeof *along);
        for (int j = 0; j < d; j++)
            for (int64_t c = 0; c < D; c++)
                along[c] += v[k * d + j] * (double)w[j * D + c];
        for (int j = 0; j < d; j++)
            for (int64_t c = 0; c < D; c++)
                sum[j * D + c] -= v[k * d + j] * along[c];
    }
    for (int64_t i = 0; i < d * D; i++)
        w[i] = (float)sum[i];
    free(sum);
    free(along);
}

/* gone[j]: is dimension j one of `removed` drawn at random? */
static void draw_dimensions(bool *gone, const struct surgery *s, int layer, int64_t head)
{
    uint64_t order[QK_MOST_DIM];
    qk_rng_permutation((uint64_t)s->p->seed, stream_of("random", layer, head), (uint64_t)s->hd,
                       order);
    for (int i = 0; i < s->hd; i++)
        gone[order[i]] = i < s->removed;
}

/* Those of least |gain|; of equal ones the first. */
static void least_gains(bool *gone, const struct surgery *s, const float *gain)
{
    memset(gone, 0, (size_t)s->hd);
    for (int k = 0; k < s->removed; k++) {
        int least = -1;
        for (int j = 0; j < s->hd; j++)
            if (!gone[j] && (least < 0 || fabsf(gain[j]) < fabsf(gain[least])))
                least = j;
        gone[least] = true;
    }
}

static void cut_gain(float *gain, const struct surgery *s, int layer)
{
    bool gone[QK_MOST_DIM];
    if (s->p->by == QK_CUT_GAMMA)
        least_gains(gone, s, gain);
    else
        draw_dimensions(gone, s, layer, 0); /* one gain for all heads of a layer */
    for (int j = 0; j < s->hd; j++)
        if (gone[j])
            gain[j] = 0;
}

static int cut_keys(float *w, const struct surgery *s, int layer, struct qk_err *err)
{
    const int64_t D = s->from.config.d_model, G = s->from.config.n_kv_heads;
    double *v = qk_alloc((size_t)(s->hd * s->hd), sizeof *v);
    int bad = 0;
    for (int64_t head = 0; !bad && head < G; head++) {
        float *block = w + head * s->hd * D;
        bool gone[QK_MOST_DIM] = {false};
        if (s->p->by == QK_CUT_SVD)
            bad = least_directions(v, s, layer, head, err);
        else if (s->p->by == QK_CUT_RANDOM_SUBSPACE)
            random_directions(v, s, layer, head);
        else
            draw_dimensions(gone, s, layer, head);
        if (!bad && s->p->by != QK_CUT_RANDOM)
            project(block, v, s, D);
        for (int j = 0; j < s->hd; j++)
            if (gone[j])
                memset(block + j * D, 0, (size_t)D * sizeof *block);
    }
    free(v);
    return bad;
}

static bool cuts_gain(const struct surgery *s)
{
    return s->p->by == QK_CUT_GAMMA || (s->p->by == QK_CUT_RANDOM && s->in_gain);
}

static bool is_cut(const struct surgery *s, const struct qk_param *param)
{
    return s->removed > 0 && param->layer >= 0 && s->layers[param->layer] &&
           param->tensor == (cuts_gain(s) ? QK_K_NORM : QK_WK);
}

/* ---- the new checkpoint ---- */

static int copy_tensor(struct surgery *s, const struct qk_param *param, struct qk_h5 *to,
                       struct qk_err *err)
{
    char *path = qk_format("/weights/%s", param->name);
    struct qk_array_info info;
    const bool cut = is_cut(s, param);
    float *values = qk_alloc((size_t)param->count, sizeof *values);
    int bad = qk_h5_info(s->from.file, path, &info, err) ||
              qk_checkpoint_weights(&s->from, param, values, err);
    if (!bad && cut && cuts_gain(s))
        cut_gain(values, s, param->layer);
    else if (!bad && cut)
        bad = cut_keys(values, s, param->layer, err);
    if (!bad)
        bad = qk_checkpoint_put(to, param, values, !cut && info.type == QK_BF16, QK_PLAIN, err);
    free(values);
    free(path);
    return bad;
}

static cJSON *layers_json(const struct surgery *s)
{
    cJSON *list = cJSON_CreateArray();
    for (int64_t l = 0; l < s->from.config.n_layers; l++)
        if (s->layers[l])
            cJSON_AddItemToArray(list, cJSON_CreateNumber((double)l));
    return list;
}

int qk_prune_record(struct qk_checkpoint *c, cJSON **record, const char *path, struct qk_err *err)
{
    char *text;
    *record = NULL;
    if (qk_checkpoint_pruned(c, &text, err) != 0)
        return -1;
    if (!text)
        return 0;
    char *where = qk_format("%s: attribute 'pruned'", path);
    *record = qk_json_parse(text, where, err);
    int bad = *record ? 0 : -1;
    if (!bad && !cJSON_IsObject(*record)) {
        bad = qk_fail(err, "%s: is not a JSON object", where);
        cJSON_Delete(*record);
        *record = NULL;
    }
    free(where);
    free(text);
    return bad;
}

static cJSON *calibration_json(const struct surgery *s)
{
    if (s->p->by != QK_CUT_SVD)
        return cJSON_CreateNull();
    cJSON *calib = cJSON_CreateObject();
    cJSON_AddStringToObject(calib, "path", s->p->calib);
    cJSON_AddStringToObject(calib, "sha256", s->calib_sha256);
    cJSON_AddStringToObject(calib, "split", s->p->split);
    qk_json_add_number(calib, "rows", (double)s->keys.rows);
    return calib;
}

/* What was done, and what had been done before: JSON, the caller's; NULL on failure. */
static char *record(struct surgery *s, struct qk_err *err)
{
    const struct qk_prune *p = s->p;
    const bool random = p->by == QK_CUT_RANDOM || p->by == QK_CUT_RANDOM_SUBSPACE;
    cJSON *before;
    if (qk_prune_record(&s->from, &before, p->from, err) != 0)
        return NULL;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "by", names[p->by]);
    qk_json_add_number(json, "fraction", p->fraction);
    qk_json_add_number(json, "removed", s->removed);
    qk_json_add_number(json, "kept_rank", s->hd - s->removed);
    cJSON_AddStringToObject(json, "where", cuts_gain(s) ? "k_norm" : "wk");
    cJSON_AddItemToObject(json, "layers", layers_json(s));
    cJSON_AddItemToObject(json, "seed",
                          random ? cJSON_CreateNumber((double)p->seed) : cJSON_CreateNull());
    cJSON_AddItemToObject(json, "calibration", calibration_json(s));
    if (before)
        cJSON_AddItemToObject(json, "before", before);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return text;
}

static int write_pruned(struct surgery *s, struct qk_err *err)
{
    struct qk_checkpoint *c = &s->from;
    struct qk_checkpoint_head head = {
        .config = &c->config, .step = c->step, .tokens_seen = c->tokens_seen, .eot = c->eot};
    int32_t *probe = NULL;
    struct qk_buffer tokenizer = {0};
    char *pruned = record(s, err);
    struct qk_h5 *to = NULL;
    if (pruned && qk_checkpoint_probe(c, &probe, &head.n_seq, &head.T, err) == 0 &&
        qk_checkpoint_tokenizer(c, &tokenizer, err) == 0) {
        head.probe = probe;
        head.tokenizer = &tokenizer;
        head.pruned = pruned;
        to = qk_checkpoint_create(s->p->to, &head, s->p->provenance, err);
    }
    int bad = !to;
    for (int i = 0; !bad && i < c->params.count; i++)
        bad = copy_tensor(s, &c->params.at[i], to, err);
    free(probe);
    free(pruned);
    qk_buffer_free(&tokenizer);
    if (!bad)
        return qk_h5_commit(to, err);
    qk_h5_discard(to);
    return -1;
}

int qk_prune_run(struct qk_prune *p, struct qk_err *err)
{
    struct surgery s = {.p = p};
    if (qk_checkpoint_open(&s.from, p->from, err) != 0)
        return -1;
    int bad = settle(&s, err) || calibrate(&s, err) || write_pruned(&s, err);
    qk_keys_free(&s.keys);
    qk_checkpoint_close(&s.from);
    free(s.layers);
    return bad ? -1 : 0;
}
