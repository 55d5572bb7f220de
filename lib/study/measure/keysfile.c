/* Keys dumps: struct qk_keys <-> HDF5 (lib/FORMAT.md, "keys dump"). */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/h5.h"
#include "base/mem.h"
#include "study/measure/keys.h"

enum { PATH_LENGTH = 96, ZSTD_LEVEL = 1 };

static const char *const gain_names[2] = {"q_norm", "k_norm"};
static const char *const gain_aliases[2] = {"gamma_q", "gamma_k"};

/* ---- writing ---- */

static int put(struct qk_h5 *f, const char *object, int rank, const int64_t *dims,
               const double *from, struct qk_err *err)
{
    return from ? qk_h5_write(f, object, QK_F64, rank, dims, QK_F64, from, ZSTD_LEVEL, err) : 0;
}

static int put_site(struct qk_h5 *f, const struct qk_keys *k, int64_t l, int site, int what,
                    struct qk_err *err)
{
    const struct qk_keys_layer *layer = &k->layers[l];
    int64_t hd = qk_head_dim(&k->config), heads = qk_keys_heads(&k->config, what);
    char group[PATH_LENGTH], object[PATH_LENGTH + 8];
    if (!layer->gram[site][what])
        return 0;
    snprintf(group, sizeof group, "/layers/%" PRId64 "/%s/%s", l, qk_site_names[site],
             qk_what_names[what]);
    snprintf(object, sizeof object, "%s/gram", group);
    if (put(f, object, 3, (int64_t[]){heads, hd, hd}, layer->gram[site][what], err) != 0)
        return -1;
    if (site == QK_SITE_WEIGHT)
        return 0;
    if (qk_h5_put_int(f, group, "rows", k->rows, err) != 0)
        return -1;
    snprintf(object, sizeof object, "%s/mean", group);
    if (put(f, object, 2, (int64_t[]){heads, hd}, layer->mean[site][what], err) != 0)
        return -1;
    if (!layer->rows[site][what])
        return 0;
    snprintf(object, sizeof object, "%s/rows", group);
    return qk_h5_write(f, object, QK_F32, 3, (int64_t[]){heads, k->rows, hd}, QK_F32,
                       layer->rows[site][what], ZSTD_LEVEL, err);
}

static int put_layer(struct qk_h5 *f, const struct qk_keys *k, int64_t l, struct qk_err *err)
{
    const struct qk_keys_layer *layer = &k->layers[l];
    int64_t gains = qk_keys_gains(&k->config), H = k->config.n_heads;
    char object[PATH_LENGTH];
    for (int i = 0; i < (QK_SITES + 1) * 2; i++)
        if (put_site(f, k, l, i / 2, i % 2, err) != 0)
            return -1;
    snprintf(object, sizeof object, "/layers/%" PRId64 "/entropy", l);
    if (put(f, object, 1, &H, layer->entropy, err) != 0)
        return -1;
    snprintf(object, sizeof object, "/layers/%" PRId64 "/max_logit", l);
    if (put(f, object, 1, &H, layer->max_logit, err) != 0)
        return -1;
    for (int what = 0; what < 2; what++) {
        snprintf(object, sizeof object, "/layers/%" PRId64 "/%s", l, gain_names[what]);
        if (put(f, object, 1, &gains, layer->gain[what], err) != 0)
            return -1;
    }
    return 0;
}

static int put_attributes(struct qk_h5 *f, const struct qk_keys *k, struct qk_err *err)
{
    char *config = qk_config_to_text(&k->config);
    int bad = qk_h5_put_text(f, "/", "kind", "keys", err) ||
              qk_h5_put_int(f, "/", "version", 1, err) ||
              qk_h5_put_text(f, "/", "config", config, err) ||
              qk_h5_put_int(f, "/", "step", k->step, err) ||
              qk_h5_put_int(f, "/", "tokens_seen", k->tokens_seen, err) ||
              qk_h5_put_int(f, "/", "rows", k->rows, err) ||
              qk_h5_put_int(f, "/", "sequences", k->sequences, err) ||
              qk_h5_put_int(f, "/", "positions", k->positions, err) ||
              qk_h5_put_int(f, "/", "skip_first", k->skip_first, err);
    free(config);
    return bad ? -1 : 0;
}

int64_t qk_keys_bytes(const struct qk_config *c, unsigned sites)
{
    const int64_t hd = qk_head_dim(c), heads = c->n_heads + c->n_kv_heads;
    int64_t numbers = 2 * c->n_heads + 2 * qk_keys_gains(c);
    for (int site = 0; site <= QK_SITES; site++)
        if (sites & 1u << site)
            numbers += heads * hd * (hd + (site != QK_SITE_WEIGHT));
    return c->n_layers * numbers * (int64_t)sizeof(double);
}

int qk_keys_write(const struct qk_keys *k, const char *path, const struct qk_provenance *p,
                  struct qk_err *err)
{
    struct qk_h5 *f = qk_h5_create(path, err);
    if (!f)
        return -1;
    int bad = put_attributes(f, k, err) || (p && qk_provenance_to_h5(p, f, err));
    for (int64_t l = 0; !bad && l < k->config.n_layers; l++)
        bad = put_layer(f, k, l, err);
    if (!bad)
        return qk_h5_commit(f, err);
    qk_h5_discard(f);
    return -1;
}

/* ---- reading ---- */

static int check_finite(struct qk_h5 *f, const char *object, enum qk_type type, int64_t count,
                        const void *values, struct qk_err *err)
{
    const double *wide = values;
    const float *narrow = values;
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(type == QK_F64 ? wide[i] : (double)narrow[i]))
            return qk_fail(err, "%s: %s holds a number that is not finite (element %" PRId64 ")",
                           qk_h5_path(f), object, i);
    return 0;
}

/* A sum of x x^T: symmetric, and no square is negative. */
static int check_gram(struct qk_h5 *f, const char *object, const double *gram, int64_t heads,
                      int64_t hd, struct qk_err *err)
{
    for (int64_t h = 0; h < heads; h++, gram += hd * hd)
        for (int64_t i = 0; i < hd * hd; i++) {
            const int64_t row = i / hd, col = i % hd;
            const double size = sqrt(fabs(gram[row * hd + row] * gram[col * hd + col]));
            if (gram[row * hd + row] < 0 || fabs(gram[i] - gram[col * hd + row]) > 1e-6 * size)
                return qk_fail(err, "%s: %s is no Gram matrix (head %" PRId64 ": %s)",
                               qk_h5_path(f), object, h,
                               gram[row * hd + row] < 0 ? "a square is negative" : "not symmetric");
        }
    return 0;
}

/* An array that may be absent (*to stays NULL); its shape is checked before memory is taken. */
static int get(struct qk_h5 *f, const char *object, enum qk_type type, int rank,
               const int64_t *dims, void *to, struct qk_err *err)
{
    struct qk_array_info info;
    void *values = NULL;
    if (!qk_h5_has(f, object))
        return 0;
    if (qk_h5_info(f, object, &info, err) != 0)
        return -1;
    if (info.rank == rank && memcmp(info.dims, dims, (size_t)rank * sizeof *dims) == 0)
        values = qk_alloc((size_t)info.count, qk_type_size(type));
    /* with another shape this says so, and touches no memory */
    if (qk_h5_read_shaped(f, object, type, rank, dims, values, err) != 0 ||
        check_finite(f, object, type, info.count, values, err) != 0) {
        free(values);
        return -1;
    }
    memcpy(to, &values, sizeof values);
    return 0;
}

/* 1 when the object has the attribute rows and it fits, 0 without one. */
static int get_rows_at(struct qk_h5 *f, struct qk_keys *k, const char *object, struct qk_err *err)
{
    int64_t rows;
    if (!qk_h5_has_attr(f, object, "rows"))
        return 0;
    if (qk_h5_attr_int(f, object, "rows", &rows, err) != 0)
        return -1;
    if (rows < 1)
        return qk_fail(err, "%s: %s has attribute rows = %" PRId64 ", expected at least 1",
                       qk_h5_path(f), object, rows);
    if (k->rows && rows != k->rows)
        return qk_fail(err, "%s: %s has attribute rows = %" PRId64 ", elsewhere it is %" PRId64,
                       qk_h5_path(f), object, rows, k->rows);
    k->rows = rows;
    return 1;
}

/* The number of rows, wherever a writer may have put it: on the arrays of a site, on their group,
 * or on one of those above it. */
static int get_rows(struct qk_h5 *f, struct qk_keys *k, const char *group, struct qk_err *err)
{
    char object[PATH_LENGTH + 8];
    snprintf(object, sizeof object, "%s/gram", group);
    int got = get_rows_at(f, k, object, err);
    snprintf(object, sizeof object, "%s/mean", group);
    while (got == 0 && *object) {
        got = get_rows_at(f, k, object, err);
        *strrchr(object, '/') = '\0';
    }
    if (got == 0)
        got = get_rows_at(f, k, "/", err);
    if (got == 0)
        return qk_fail(err, "%s: %s has no attribute rows", qk_h5_path(f), group);
    return got < 0 ? -1 : 0;
}

static int get_site(struct qk_h5 *f, struct qk_keys *k, int64_t l, int site, int what,
                    struct qk_err *err)
{
    struct qk_keys_layer *layer = &k->layers[l];
    int64_t hd = qk_head_dim(&k->config), heads = qk_keys_heads(&k->config, what);
    char group[PATH_LENGTH], object[PATH_LENGTH + 8];
    snprintf(group, sizeof group, "/layers/%" PRId64 "/%s/%s", l, qk_site_names[site],
             qk_what_names[what]);
    snprintf(object, sizeof object, "%s/gram", group);
    if (get(f, object, QK_F64, 3, (int64_t[]){heads, hd, hd}, &layer->gram[site][what], err) != 0)
        return -1;
    bool there = layer->gram[site][what];
    if (there && check_gram(f, object, layer->gram[site][what], heads, hd, err) != 0)
        return -1;
    if (l > 0 && there != !!k->layers[0].gram[site][what])
        return qk_fail(err, "%s: %s is %s here but not in layer 0", qk_h5_path(f), object,
                       there ? "there" : "missing");
    if (there)
        k->sites |= 1u << site;
    if (!there || site == QK_SITE_WEIGHT)
        return 0;
    if (get_rows(f, k, group, err) != 0)
        return -1;
    snprintf(object, sizeof object, "%s/mean", group);
    if (get(f, object, QK_F64, 2, (int64_t[]){heads, hd}, &layer->mean[site][what], err) != 0)
        return -1;
    snprintf(object, sizeof object, "%s/rows", group);
    if (get(f, object, QK_F32, 3, (int64_t[]){heads, k->rows, hd}, &layer->rows[site][what], err))
        return -1;
    k->full |= layer->rows[site][what] != NULL;
    return 0;
}

static int get_layer(struct qk_h5 *f, struct qk_keys *k, int64_t l, struct qk_err *err)
{
    struct qk_keys_layer *layer = &k->layers[l];
    int64_t gains = qk_keys_gains(&k->config), H = k->config.n_heads;
    char object[PATH_LENGTH];
    for (int i = 0; i < (QK_SITES + 1) * 2; i++)
        if (get_site(f, k, l, i / 2, i % 2, err) != 0)
            return -1;
    snprintf(object, sizeof object, "/layers/%" PRId64 "/entropy", l);
    if (get(f, object, QK_F64, 1, &H, &layer->entropy, err) != 0)
        return -1;
    snprintf(object, sizeof object, "/layers/%" PRId64 "/max_logit", l);
    if (get(f, object, QK_F64, 1, &H, &layer->max_logit, err) != 0)
        return -1;
    for (int what = 0; gains > 0 && what < 2; what++) {
        snprintf(object, sizeof object, "/layers/%" PRId64 "/%s", l, gain_names[what]);
        if (!qk_h5_has(f, object))
            snprintf(object, sizeof object, "/layers/%" PRId64 "/%s", l, gain_aliases[what]);
        if (get(f, object, QK_F64, 1, &gains, &layer->gain[what], err) != 0)
            return -1;
    }
    return 0;
}

static int get_attributes(struct qk_h5 *f, struct qk_keys *k, struct qk_err *err)
{
    char *config = NULL;
    if (qk_h5_expect(f, "keys", 1, err) != 0 ||
        qk_h5_attr_text(f, "/", "config", &config, err) != 0)
        return -1;
    int bad = qk_config_from_text(&k->config, config, qk_h5_path(f), err) ||
              qk_h5_attr_int(f, "/", "step", &k->step, err) ||
              qk_h5_attr_int(f, "/", "tokens_seen", &k->tokens_seen, err);
    free(config);
    if (!bad && qk_h5_has_attr(f, "/", "positions"))
        bad = qk_h5_attr_int(f, "/", "sequences", &k->sequences, err) ||
              qk_h5_attr_int(f, "/", "positions", &k->positions, err) ||
              qk_h5_attr_int(f, "/", "skip_first", &k->skip_first, err);
    return bad ? -1 : 0;
}

/* Dumps that do not say how their rows are cut: sequences of config's seq_len, where that fits. */
static int settle_positions(struct qk_h5 *f, struct qk_keys *k, struct qk_err *err)
{
    if (k->positions == 0 && k->rows > 0 && k->rows % k->config.seq_len == 0) {
        k->positions = k->config.seq_len;
        k->sequences = k->rows / k->positions;
    }
    if (k->positions < 0 || k->sequences < 0 || k->skip_first < 0 ||
        (k->rows > 0 && k->positions > 0 &&
         (k->skip_first >= k->positions || k->rows % (k->positions - k->skip_first) != 0 ||
          k->rows / (k->positions - k->skip_first) != k->sequences)))
        return qk_fail(
            err, "%s: attributes sequences, positions and skip_first do not make %" PRId64 " rows",
            qk_h5_path(f), k->rows);
    return 0;
}

int qk_keys_read(struct qk_keys *k, const char *path, struct qk_err *err)
{
    *k = (struct qk_keys){.dumped = true};
    struct qk_h5 *f = qk_h5_open(path, err);
    if (!f)
        return -1;
    int bad = get_attributes(f, k, err);
    if (!bad) {
        char last[PATH_LENGTH];
        snprintf(last, sizeof last, "/layers/%" PRId64, k->config.n_layers - 1);
        bad = qk_h5_has(f, last) ? 0 : qk_fail(err, "%s: has no %s", path, last);
    }
    if (!bad)
        k->layers = qk_zalloc((size_t)k->config.n_layers, sizeof *k->layers);
    for (int64_t l = 0; !bad && l < k->config.n_layers; l++)
        bad = get_layer(f, k, l, err);
    if (!bad && k->sites == 0)
        bad = qk_fail(err, "%s: holds no Gram matrix", path);
    if (!bad)
        bad = settle_positions(f, k, err);
    qk_h5_close(f);
    if (bad)
        qk_keys_free(k);
    return bad ? -1 : 0;
}
