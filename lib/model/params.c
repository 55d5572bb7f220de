#include "model/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

/* The order of a layer's tensors in the arena and in every walk over them. */
static const struct {
    enum qk_tensor tensor;
    const char *name;
} layer_tensors[] = {
    {QK_ATTN_NORM, "attn_norm"},
    {QK_WQ, "wq"},
    {QK_WK, "wk"},
    {QK_WV, "wv"},
    {QK_WO, "wo"},
    {QK_Q_NORM, "q_norm"},
    {QK_K_NORM, "k_norm"},
    {QK_FFN_NORM, "ffn_norm"},
    {QK_W_GATE, "w_gate"},
    {QK_W_UP, "w_up"},
    {QK_W_DOWN, "w_down"},
};
enum { LAYER_TENSORS = sizeof layer_tensors / sizeof *layer_tensors };

struct shape {
    int rank; /* 0: the model has no such tensor */
    int64_t rows, cols;
};

static struct shape shape_of(enum qk_tensor tensor, const struct qk_config *c)
{
    const int64_t hd = qk_head_dim(c), q = c->n_heads * hd, kv = c->n_kv_heads * hd;
    switch (tensor) {
    case QK_EMBED:
        return (struct shape){2, c->vocab_size, c->d_model};
    case QK_HEAD:
        return (struct shape){c->tie_embeddings ? 0 : 2, c->vocab_size, c->d_model};
    case QK_ATTN_NORM:
    case QK_FFN_NORM:
    case QK_FINAL_NORM:
        return (struct shape){1, c->d_model, 1};
    case QK_WQ:
        return (struct shape){2, q, c->d_model};
    case QK_WK:
    case QK_WV:
        return (struct shape){2, kv, c->d_model};
    case QK_WO:
        return (struct shape){2, c->d_model, q};
    case QK_Q_NORM:
    case QK_K_NORM:
        return (struct shape){c->qk_norm != QK_NORM_NONE, c->qk_norm == QK_NORM_SCALAR ? 1 : hd, 1};
    case QK_W_GATE:
        return (struct shape){c->ffn == QK_SWIGLU ? 2 : 0, c->d_ff, c->d_model};
    case QK_W_UP:
        return (struct shape){2, c->d_ff, c->d_model};
    case QK_W_DOWN:
        return (struct shape){2, c->d_model, c->d_ff};
    default:
        return (struct shape){0, 0, 0};
    }
}

static enum qk_group group_of(enum qk_tensor tensor, int rank, const struct qk_config *c)
{
    if (tensor == QK_Q_NORM || tensor == QK_K_NORM)
        return c->qk_norm == QK_NORM_FROZEN ? QK_GROUP_FROZEN : QK_GROUP_ADAMW_QK;
    if (rank == 2 && tensor != QK_EMBED && tensor != QK_HEAD && c->optimizer == QK_MUON_ADAMW)
        return QK_GROUP_MUON;
    return QK_GROUP_ADAMW;
}

static void add(struct qk_params *p, enum qk_tensor tensor, int layer, const char *name,
                const struct qk_config *c)
{
    struct shape shape = shape_of(tensor, c);
    if (!shape.rank)
        return;
    struct qk_param *param = &p->at[p->count++];
    *param = (struct qk_param){.tensor = tensor,
                               .layer = layer,
                               .rank = shape.rank,
                               .dims = {shape.rows, shape.cols},
                               .count = shape.rows * shape.cols,
                               .random = shape.rank == 2,
                               .group = group_of(tensor, shape.rank, c)};
    if (layer < 0)
        snprintf(param->name, sizeof param->name, "%s", name);
    else
        snprintf(param->name, sizeof param->name, "layers/%d/%s", layer, name);
}

/* Where a tensor lies: 0 trained arrays, 1 trained numbers, 2 what is frozen. */
static int part_of(const struct qk_param *param)
{
    return param->group == QK_GROUP_FROZEN ? 2 : param->count == 1 ? 1 : 0;
}

static int64_t place(struct qk_params *p, int part, int64_t offset)
{
    for (int i = 0; i < p->count; i++) {
        if (part_of(&p->at[i]) != part)
            continue;
        p->at[i].offset = offset;
        offset += p->at[i].count;
    }
    return offset;
}

void qk_params_layout(struct qk_params *p, const struct qk_config *c)
{
    *p = (struct qk_params){0};
    p->at = qk_zalloc((size_t)(3 + c->n_layers * LAYER_TENSORS), sizeof *p->at);
    add(p, QK_EMBED, -1, "embed", c);
    for (int layer = 0; layer < c->n_layers; layer++)
        for (int i = 0; i < LAYER_TENSORS; i++)
            add(p, layer_tensors[i].tensor, layer, layer_tensors[i].name, c);
    add(p, QK_FINAL_NORM, -1, "final_norm", c);
    add(p, QK_HEAD, -1, "head", c);
    p->trained = place(p, 1, place(p, 0, 0));
    p->total = place(p, 2, p->trained);
}

void qk_params_free(struct qk_params *p)
{
    free(p->at);
    *p = (struct qk_params){0};
}

const struct qk_param *qk_params_find(const struct qk_params *p, enum qk_tensor tensor, int layer)
{
    for (int i = 0; i < p->count; i++)
        if (p->at[i].tensor == tensor && p->at[i].layer == layer)
            return &p->at[i];
    return NULL;
}

void qk_param_initialize(const struct qk_param *param, const struct qk_config *c, float *to)
{
    if (!param->random) {
        for (int64_t i = 0; i < param->count; i++)
            to[i] = 1.0f;
        return;
    }
    const uint64_t seed = (uint64_t)c->seed, stream = qk_rng_stream(param->name);
    const double std = c->init_std;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < param->count; i++)
        to[i] = (float)(std * qk_rng_normal(seed, stream, (uint64_t)i));
}
