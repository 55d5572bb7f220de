/* The model as one reads it in a paper: loops in double precision over host arrays, no operation of
 * lib/compute.  Weights come as a list by tensor and layer. */
#ifndef QK_TESTS_PLAIN_H
#define QK_TESTS_PLAIN_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/params.h"

struct plain {
    const struct qk_config *c;
    const struct qk_params *params;
    const float *weights; /* arena of params.h */
};

static inline const float *plain_weight(const struct plain *p, enum qk_tensor tensor, int layer)
{
    const struct qk_param *param = qk_params_find(p->params, tensor, layer);
    return param ? p->weights + param->offset : NULL;
}

static inline double *plain_zeros(int64_t n)
{
    return qk_zalloc((size_t)n, sizeof(double));
}

/* y[r] += sum_c w[r, c] x[c] */
static inline void plain_apply(double *y, const float *w, const double *x, int64_t rows,
                               int64_t cols)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            y[r] += (double)w[r * cols + c] * x[c];
}

static inline void plain_norm(double *y, const double *x, const float *gain, int64_t gain_size,
                              double eps, int64_t n)
{
    double mean = 0;
    for (int64_t i = 0; i < n; i++)
        mean += x[i] * x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] / sqrt(mean + eps) * (double)gain[gain_size == 1 ? 0 : i];
}

static inline void plain_rotate(double *x, int64_t t, const struct qk_config *c)
{
    const int64_t hd = qk_head_dim(c);
    for (int64_t j = 0; j < hd / 2; j++) {
        const int64_t a = c->rope_style == QK_ROPE_HALF ? j : 2 * j;
        const int64_t b = c->rope_style == QK_ROPE_HALF ? j + hd / 2 : 2 * j + 1;
        const double angle = (double)t / pow(c->rope_base, 2.0 * (double)j / (double)hd);
        const double xa = x[a], xb = x[b];
        x[a] = xa * cos(angle) - xb * sin(angle);
        x[b] = xa * sin(angle) + xb * cos(angle);
    }
}

/* Heads of one projection at every position: [T, heads, hd], normalised and rotated. */
static inline double *plain_heads(const struct plain *p, const double *h, int64_t T, int layer,
                                  enum qk_tensor w, enum qk_tensor norm, int64_t heads)
{
    const struct qk_config *c = p->c;
    const int64_t D = c->d_model, hd = qk_head_dim(c);
    double *out = plain_zeros(T * heads * hd);
    const float *gain = plain_weight(p, norm, layer);
    for (int64_t t = 0; t < T; t++) {
        plain_apply(out + t * heads * hd, plain_weight(p, w, layer), h + t * D, heads * hd, D);
        for (int64_t i = 0; i < heads && w != QK_WV; i++) {
            double *head = out + (t * heads + i) * hd;
            if (gain)
                plain_norm(head, head, gain, c->qk_norm == QK_NORM_SCALAR ? 1 : hd, c->norm_eps,
                           hd);
            plain_rotate(head, t, c);
        }
    }
    return out;
}

static inline void plain_attention(const struct plain *p, double *x, int64_t T, int layer)
{
    const struct qk_config *c = p->c;
    const int64_t D = c->d_model, H = c->n_heads, G = c->n_kv_heads, hd = qk_head_dim(c);
    double *h = plain_zeros(T * D), *o = plain_zeros(T * D), *s = plain_zeros(T);
    for (int64_t t = 0; t < T; t++)
        plain_norm(h + t * D, x + t * D, plain_weight(p, QK_ATTN_NORM, layer), D, c->norm_eps, D);
    double *q = plain_heads(p, h, T, layer, QK_WQ, QK_Q_NORM, H);
    double *k = plain_heads(p, h, T, layer, QK_WK, QK_K_NORM, G);
    double *v = plain_heads(p, h, T, layer, QK_WV, QK_TENSORS, G);
    for (int64_t i = 0; i < H; i++)
        for (int64_t t = 0; t < T; t++) {
            double sum = 0;
            for (int64_t u = 0; u <= t; u++) {
                double dot = 0;
                for (int64_t j = 0; j < hd; j++)
                    dot += q[(t * H + i) * hd + j] * k[(u * G + i / (H / G)) * hd + j];
                sum += s[u] = exp(dot / sqrt((double)hd));
            }
            for (int64_t u = 0; u <= t; u++)
                for (int64_t j = 0; j < hd; j++)
                    o[(t * H + i) * hd + j] += s[u] / sum * v[(u * G + i / (H / G)) * hd + j];
        }
    for (int64_t t = 0; t < T; t++)
        plain_apply(x + t * D, plain_weight(p, QK_WO, layer), o + t * D, D, D);
    free(h);
    free(o);
    free(s);
    free(q);
    free(k);
    free(v);
}

static inline void plain_feed_forward(const struct plain *p, double *x, int layer)
{
    const struct qk_config *c = p->c;
    const int64_t D = c->d_model, F = c->d_ff;
    double *h = plain_zeros(D), *u = plain_zeros(F), *g = plain_zeros(F);
    plain_norm(h, x, plain_weight(p, QK_FFN_NORM, layer), D, c->norm_eps, D);
    plain_apply(u, plain_weight(p, QK_W_UP, layer), h, F, D);
    if (c->ffn == QK_SWIGLU)
        plain_apply(g, plain_weight(p, QK_W_GATE, layer), h, F, D);
    for (int64_t i = 0; i < F; i++)
        u[i] = c->ffn == QK_SWIGLU ? u[i] * g[i] / (1 + exp(-g[i])) : u[i] > 0 ? u[i] * u[i] : 0;
    plain_apply(x, plain_weight(p, QK_W_DOWN, layer), u, D, F);
    free(h);
    free(u);
    free(g);
}

/* nll[t] of `targets` after one sequence of T tokens. */
static inline void plain_loss(const struct plain *p, const int32_t *tokens, const int32_t *targets,
                              int64_t T, double *nll)
{
    const struct qk_config *c = p->c;
    const int64_t D = c->d_model, V = c->vocab_size;
    double *x = plain_zeros(T * D), *h = plain_zeros(D);
    for (int64_t i = 0; i < T * D; i++)
        x[i] = c->embed_scale * (double)plain_weight(p, QK_EMBED, -1)[tokens[i / D] * D + i % D];
    for (int layer = 0; layer < c->n_layers; layer++) {
        plain_attention(p, x, T, layer);
        for (int64_t t = 0; t < T; t++)
            plain_feed_forward(p, x + t * D, layer);
    }
    for (int64_t t = 0; t < T; t++) {
        double *logits = plain_zeros(V), sum = 0;
        plain_norm(h, x + t * D, plain_weight(p, QK_FINAL_NORM, -1), D, c->norm_eps, D);
        plain_apply(logits, plain_weight(p, c->tie_embeddings ? QK_EMBED : QK_HEAD, -1), h, V, D);
        for (int64_t v = 0; v < V; v++)
            sum += exp(logits[v]);
        nll[t] = targets[t] < 0 ? 0 : log(sum) - logits[targets[t]];
        free(logits);
    }
    free(x);
    free(h);
}

#endif
