/* The parameters of a model as one table: name, shape, initialiser, optimiser group.  Everything
 * that walks over the weights (initialisation, optimiser, checkpoint, plan) derives from it.
 *
 * All weights lie in one arena of floats in table order.  Trained ones come first, so that the
 * gradients are one dense arena of `trained` floats; frozen gains follow.  Trained gains that are
 * one number (qk_norm scalar) come behind all other trained ones: between matrices they would move
 * these off the 16 bytes that matrix units want.  Within a layer wq, wk,
 * wv, wo are neighbours: stacked by rows they are the [H hd + 2 G hd + D, D] matrix that the
 * merged Muon group orthogonalises, and wq, wk, wv one projection matrix.
 */
#ifndef QK_MODEL_PARAMS_H
#define QK_MODEL_PARAMS_H

#include "model/config.h"

enum qk_tensor {
    QK_EMBED,
    QK_ATTN_NORM,
    QK_WQ,
    QK_WK,
    QK_WV,
    QK_WO,
    QK_Q_NORM,
    QK_K_NORM,
    QK_FFN_NORM,
    QK_W_GATE,
    QK_W_UP,
    QK_W_DOWN,
    QK_FINAL_NORM,
    QK_HEAD,
    QK_TENSORS,
};

enum qk_group {
    QK_GROUP_MUON,     /* 2-D weights but embed and head, when the optimiser has Muon */
    QK_GROUP_ADAMW,    /* everything else that is trained */
    QK_GROUP_ADAMW_QK, /* q_norm and k_norm gains: their own weight decay */
    QK_GROUP_FROZEN,   /* gains that stay 1 */
};

struct qk_param {
    char name[48]; /* "embed", "layers/3/wq": the path below /weights */
    enum qk_tensor tensor;
    int layer;             /* -1 outside layers */
    int rank;              /* 1 or 2 */
    int64_t dims[2];       /* rows, cols; dims[1] is 1 for vectors */
    int64_t count, offset; /* floats; place in the arena */
    bool random;           /* N(0, init_std^2); else ones */
    enum qk_group group;
};

struct qk_params {
    struct qk_param *at;
    int count;
    int64_t trained; /* floats that have a gradient: offsets 0 .. trained-1 */
    int64_t total;
};

void qk_params_layout(struct qk_params *p, const struct qk_config *c);
void qk_params_free(struct qk_params *p);
/* The entry of that tensor in that layer (-1 outside layers), or NULL where the model has none. */
const struct qk_param *qk_params_find(const struct qk_params *p, enum qk_tensor tensor, int layer);

/* Initial weights of one tensor: a pure function of (seed, name, index). */
void qk_param_initialize(const struct qk_param *param, const struct qk_config *c, float *to);

#endif
