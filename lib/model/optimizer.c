#include "model/optimizer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "compute/device.h"

enum { MOST_PATH = 96 };

struct qk_optimizer {
    struct qk_device *d;
    const struct qk_params *params;
    const struct qk_config *config;
    struct qk_buf first;  /* [trained]: m of AdamW or Muon's buffer, at the parameter's offset */
    struct qk_buf second; /* v of AdamW, packed: at second_at[parameter] */
    struct qk_buf scale;  /* (norm, clipping factor) */
    int64_t *second_at;
    int64_t updates; /* of AdamW, since the moments were zero */
};

static bool has_moments(const struct qk_param *param)
{
    return param->group == QK_GROUP_ADAMW || param->group == QK_GROUP_ADAMW_QK;
}

int64_t qk_optimizer_state_size(const struct qk_params *params)
{
    int64_t n = params->trained;
    for (int i = 0; i < params->count; i++)
        n += has_moments(&params->at[i]) ? params->at[i].count : 0;
    return n;
}

struct qk_optimizer *qk_optimizer_create(struct qk_device *d, const struct qk_params *params,
                                         const struct qk_config *config, struct qk_err *err)
{
    struct qk_optimizer *o = qk_zalloc(1, sizeof *o);
    *o = (struct qk_optimizer){.d = d, .params = params, .config = config};
    o->second_at = qk_zalloc((size_t)params->count, sizeof *o->second_at);
    int64_t second = 0;
    for (int i = 0; i < params->count; i++)
        if (has_moments(&params->at[i])) {
            o->second_at[i] = second;
            second += params->at[i].count;
        }
    d->ops->alloc(d, &o->first, QK_ROLE_STATE, params->trained);
    d->ops->alloc(d, &o->second, QK_ROLE_STATE, second);
    d->ops->alloc(d, &o->scale, QK_ROLE_EXACT, 2);
    if (d->ops->sync(d, err) == 0)
        return o;
    qk_optimizer_free(o);
    return NULL;
}

void qk_optimizer_free(struct qk_optimizer *o)
{
    if (!o)
        return;
    o->d->ops->release(o->d, o->first);
    o->d->ops->release(o->d, o->second);
    o->d->ops->release(o->d, o->scale);
    free(o->second_at);
    free(o);
}

/* ---- one step ---- */

/* From this tensor to the same one of the next layer: layers lie alike. */
static int64_t layer_stride(const struct qk_optimizer *o, const struct qk_param *param)
{
    const struct qk_param *next = qk_params_find(o->params, param->tensor, 1);
    return next ? next->offset - param->offset : 0;
}

/* The matrices of `rows` rows at `at` in the first layer's part of an arena, and of every layer. */
static void muon(struct qk_optimizer *o, const struct qk_param *param, struct qk_buf weights,
                 struct qk_buf gradients, double factor, int64_t at, int64_t rows)
{
    const struct qk_config *c = o->config;
    const struct qk_muon how = {
        .count = c->n_layers,
        .rows = rows,
        .cols = param->dims[1],
        .stride = layer_stride(o, param),
        .lr = c->muon_lr * factor,
        .momentum = c->muon_momentum,
        .weight_decay = c->muon_weight_decay,
        .orthogonalizer =
            c->muon_orthogonalizer == QK_ORTH_POLAR_EXPRESS ? QK_POLAR_EXPRESS : QK_NEWTON_SCHULZ,
    };
    o->d->ops->muon(o->d, qk_at(weights, at), qk_at(o->first, at), qk_at(gradients, at),
                    qk_at(o->scale, 1), how);
}

/* Called for the first layer: all layers are treated together.  merged: wq, wk, wv, wo are
 * neighbours, so that the stack of them by rows begins at wq. */
static void muon_step(struct qk_optimizer *o, const struct qk_param *param, struct qk_buf weights,
                      struct qk_buf gradients, double factor)
{
    const struct qk_config *c = o->config;
    const int64_t hd = qk_head_dim(c), rows = param->dims[0], at = param->offset;
    const bool per_head =
        param->tensor == QK_WQ || param->tensor == QK_WK || param->tensor == QK_WV;
    const bool projection = per_head || param->tensor == QK_WO;
    if (projection && c->muon_qkvo == QK_QKVO_MERGED) {
        const int64_t stacked = 2 * (c->n_heads + c->n_kv_heads) * hd;
        if (param->tensor == QK_WQ)
            muon(o, param, weights, gradients, factor, at, stacked);
    } else if (per_head && c->muon_qkvo == QK_QKVO_HEAD) {
        for (int64_t row = 0; row < rows; row += hd)
            muon(o, param, weights, gradients, factor, at + row * param->dims[1], hd);
    } else {
        muon(o, param, weights, gradients, factor, at, rows);
    }
}

/* Called for the first layer: the same tensor of all layers is treated at once. */
static void adamw_step(struct qk_optimizer *o, int i, struct qk_buf weights,
                       struct qk_buf gradients, double factor)
{
    const struct qk_config *c = o->config;
    const struct qk_param *param = &o->params->at[i];
    const bool gain = param->group == QK_GROUP_ADAMW_QK;
    const struct qk_param *next =
        param->layer == 0 ? qk_params_find(o->params, param->tensor, 1) : NULL;
    const struct qk_adamw how = {
        .lr = c->adamw_lr * factor,
        .beta1 = c->adamw_beta1,
        .beta2 = c->adamw_beta2,
        .eps = c->adamw_eps,
        .weight_decay = gain ? c->qk_gain_weight_decay : c->weight_decay,
        .bias1 = 1 - pow(c->adamw_beta1, (double)o->updates),
        .bias2 = 1 - pow(c->adamw_beta2, (double)o->updates),
        .more = next ? c->n_layers - 1 : 0,
        .stride = next ? next->offset - param->offset : 0,
        .stride_v = next ? o->second_at[next - o->params->at] - o->second_at[i] : 0,
    };
    o->d->ops->adamw(o->d, qk_at(weights, param->offset), qk_at(o->first, param->offset),
                     qk_at(o->second, o->second_at[i]), qk_at(gradients, param->offset),
                     qk_at(o->scale, 1), param->count, how);
}

int qk_optimizer_step(struct qk_optimizer *o, struct qk_buf weights, struct qk_buf gradients,
                      double factor, double *norm, struct qk_err *err)
{
    const struct qk_ops *ops = o->d->ops;
    float value;
    ops->grad_norm(o->d, o->scale, gradients, o->params->trained, (float)o->config->grad_clip);
    ops->get(o->d, &value, o->scale, 1);
    if (ops->sync(o->d, err) != 0)
        return -1;
    *norm = value;
    if (!isfinite(value))
        return 0;
    o->updates++;
    for (int i = 0; i < o->params->count; i++) {
        const struct qk_param *param = &o->params->at[i];
        if (param->layer > 0)
            continue; /* with the first */
        if (param->group == QK_GROUP_MUON)
            muon_step(o, param, weights, gradients, factor);
        else if (has_moments(param))
            adamw_step(o, i, weights, gradients, factor);
    }
    ops->zero(o->d, gradients, o->params->trained);
    return 0; /* not waited for: the host goes on; whoever syncs next hears of a failure */
}

/* ---- in checkpoints ---- */

/* The moments of one tensor: where they are, on the device and in a copy of the state (which is
 * `first`, then `second`), and what they are called. */
struct moment {
    const char *letter;
    struct qk_buf at;
    int64_t offset;
};

static int moments_of(const struct qk_optimizer *o, int i, struct moment to[2])
{
    const struct qk_param *param = &o->params->at[i];
    const int64_t at = param->offset, second = o->second_at[i];
    if (param->group == QK_GROUP_MUON) {
        to[0] = (struct moment){"b", qk_at(o->first, at), at};
        return 1;
    }
    if (!has_moments(param))
        return 0;
    to[0] = (struct moment){"m", qk_at(o->first, at), at};
    to[1] = (struct moment){"v", qk_at(o->second, second), o->params->trained + second};
    return 2;
}

void qk_optimizer_take(struct qk_optimizer *o, struct qk_moments *to)
{
    const int64_t first = o->params->trained;
    to->updates = o->updates;
    if (!to->copy || !o->updates)
        return;
    o->d->ops->get(o->d, to->copy, o->first, first);
    o->d->ops->get(o->d, to->copy + first, o->second, qk_optimizer_state_size(o->params) - first);
}

static int write_moment(struct qk_optimizer *o, const struct qk_param *param,
                        const struct moment *moment, const float *copy, struct qk_h5 *file,
                        struct qk_err *err)
{
    char path[MOST_PATH];
    snprintf(path, sizeof path, "/optim/%s/%s", param->name, moment->letter);
    if (copy)
        return qk_h5_write(file, path, QK_F32, param->rank, param->dims, QK_F32,
                           copy + moment->offset, QK_PLAIN, err);
    float *values = qk_alloc((size_t)param->count, sizeof *values);
    o->d->ops->get(o->d, values, moment->at, param->count);
    int bad =
        o->d->ops->sync(o->d, err) != 0 || qk_h5_write(file, path, QK_F32, param->rank, param->dims,
                                                       QK_F32, values, QK_PLAIN, err) != 0;
    free(values);
    return bad ? -1 : 0;
}

static int read_moment(struct qk_optimizer *o, const struct qk_param *param,
                       const struct moment *moment, struct qk_h5 *file, struct qk_err *err)
{
    char path[MOST_PATH];
    snprintf(path, sizeof path, "/optim/%s/%s", param->name, moment->letter);
    float *values = qk_alloc((size_t)param->count, sizeof *values);
    int bad = qk_h5_read_shaped(file, path, QK_F32, param->rank, param->dims, values, err);
    for (int64_t k = 0; !bad && k < param->count; k++)
        if (!isfinite(values[k]) || (*moment->letter == 'v' && values[k] < 0))
            bad = qk_fail(
                err, "%s: %s holds %s (element %" PRId64 ")", qk_h5_path(file), path,
                isfinite(values[k]) ? "a negative mean square" : "a number that is not finite", k);
    if (!bad) {
        o->d->ops->put(o->d, moment->at, values, param->count);
        bad = o->d->ops->sync(o->d, err);
    }
    free(values);
    return bad;
}

int qk_optimizer_write(struct qk_optimizer *o, const struct qk_moments *taken, struct qk_h5 *file,
                       struct qk_err *err)
{
    if (taken->updates == 0) /* all zero, as they are where there is no /optim */
        return 0;
    if (qk_h5_make_group(file, "/optim", err) != 0 ||
        qk_h5_put_int(file, "/optim", "adamw_updates", taken->updates, err) != 0)
        return -1;
    for (int i = 0; i < o->params->count; i++) {
        struct moment moments[2];
        int n = moments_of(o, i, moments);
        for (int k = 0; k < n; k++)
            if (write_moment(o, &o->params->at[i], &moments[k], taken->copy, file, err) != 0)
                return -1;
    }
    return 0;
}

int qk_optimizer_read(struct qk_optimizer *o, struct qk_h5 *file, struct qk_err *err)
{
    if (qk_h5_attr_int(file, "/optim", "adamw_updates", &o->updates, err) != 0)
        return -1;
    if (o->updates < 0)
        return qk_fail(err, "%s: /optim adamw_updates is negative", qk_h5_path(file));
    for (int i = 0; i < o->params->count; i++) {
        struct moment moments[2];
        int n = moments_of(o, i, moments);
        for (int k = 0; k < n; k++)
            if (read_moment(o, &o->params->at[i], &moments[k], file, err) != 0)
                return -1;
    }
    return 0;
}
