/* The table of operations a device implements: the contract between the model and the hardware.
 *
 * The model is written once over this table (model/transformer.c); the CPU implements it in
 * compute/cpu/, a CUDA device in compute/cuda/.  Pure C: no BLAS, no CUDA in here.
 *
 * Shape letters, everywhere:
 *   B sequences   T positions   M = B*T rows   D model width   V vocabulary   F hidden width
 *   H query heads   G key/value heads (H is a multiple of G)   hd head dimension, even, <= 128
 * Matrices are row-major.  Weights are [out, in]: y = x w^T.
 *
 * Rules of the contract
 *  1. Outputs come first, then what is saved for the backward pass, then inputs, then sizes.
 *     Inputs are never written; outputs never overlap inputs; scratch belongs to the device.
 *  2. Gradients of parameters accumulate (+=); gradients of activations are assigned, unless the
 *     comment says they accumulate.
 *  3. Operations return nothing.  The first failure is kept in the device, later operations do
 *     nothing, and `sync` reports it with the operation's name.  Call sync once a step and before
 *     trusting any `get`.
 *  4. No NULL slots and no "supports" query: a device has all of it or is not offered.
 *  5. Deterministic: reductions have a fixed shape, so results do not depend on the number of
 *     threads or on scheduling.
 *  6. `put` and `get` speak float32 (int32 for tokens); the width kept per role is the device's own
 *     matter.
 */
#ifndef QK_COMPUTE_OPS_H
#define QK_COMPUTE_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Device memory: where it starts and an offset in elements.  Never dereferenced on the host. */
struct qk_buf {
    void *base;
    int64_t at;
};

static inline struct qk_buf qk_at(struct qk_buf buffer, int64_t elements)
{
    buffer.at += elements;
    return buffer;
}

#ifdef __cplusplus
static const struct qk_buf QK_NONE = {0, 0};
#else
#define QK_NONE ((struct qk_buf){0})
#endif
static inline bool qk_is_none(struct qk_buf buffer)
{
    return !buffer.base;
}

enum qk_role {
    QK_ROLE_PARAMETER,  /* weights the model multiplies by */
    QK_ROLE_GRADIENT,   /* of parameters */
    QK_ROLE_STATE,      /* optimiser moments: always float32 */
    QK_ROLE_ACTIVATION, /* may be narrower on a device that computes in bf16 */
    QK_ROLE_EXACT,      /* statistics, losses, scales: always float32 */
    QK_ROLE_TOKENS,     /* int32 */
    QK_ROLES,
};

/* Operation classes for --profile. */
enum qk_class {
    QK_CLASS_EMBED,
    QK_CLASS_NORM,
    QK_CLASS_MATMUL,
    QK_CLASS_ROPE,
    QK_CLASS_ATTENTION,
    QK_CLASS_ACTIVATION,
    QK_CLASS_LOSS,
    QK_CLASS_OPTIMIZER,
    QK_CLASS_MEMORY,
    QK_CLASSES,
};
extern const char *const qk_class_names[QK_CLASSES];

/* Heads in rows: x of M rows, `stride` elements apart, each holding `heads` blocks of hd numbers.
 */
struct qk_head_shape {
    int64_t B, T;
    int64_t heads, hd;
    int64_t x_stride;  /* of the pre-norm side (x, dx): rows may be parts of a wider matrix */
    bool normalise;    /* false: gain and rstd are ignored, only the rotation acts */
    int64_t gain_size; /* hd (a vector shared by the heads), 1 (one number) */
    float eps;
    bool rotate; /* apply RoPE */
    bool half;   /* pairs (j, j + hd/2) instead of (2j, 2j+1) */
};

struct qk_attention_shape {
    int64_t B, T, H, G, hd;
    int64_t v_stride; /* elements between rows of v and of dv; q, k, o are dense */
};

/* Settings are double: 1 - 0.999f is off by a part in 80,000, 1 - 0.999 is not. */
struct qk_adamw {
    double lr, beta1, beta2, eps, weight_decay;
    double bias1, bias2; /* 1 - beta1^t, 1 - beta2^t with t updates since the moments were zero */
    int64_t more;        /* further tensors of as many numbers, each */
    int64_t stride, stride_v; /* so far behind the one before: in w, m and g, and in v */
};

enum qk_orthogonalizer { QK_POLAR_EXPRESS, QK_NEWTON_SCHULZ };

struct qk_muon {
    int64_t count, rows, cols; /* `count` matrices [rows, cols], */
    int64_t stride;            /* which begin this many numbers apart, each dense */
    double lr, momentum, weight_decay;
    enum qk_orthogonalizer orthogonalizer;
};

struct qk_device; /* device.h */

struct qk_ops {
    const char *name; /* "cpu", "cuda" */

    /* ---- memory ---- */
    /* n zeroed elements; on failure *b is none and the failure is kept. */
    void (*alloc)(struct qk_device *d, struct qk_buf *b, enum qk_role role, int64_t n);
    void (*release)(struct qk_device *d, struct qk_buf b); /* as returned by alloc; none is fine */
    void (*put)(struct qk_device *d, struct qk_buf to, const float *from, int64_t n);
    void (*get)(struct qk_device *d, float *to, struct qk_buf from, int64_t n); /* waits */
    void (*put_tokens)(struct qk_device *d, struct qk_buf to, const int32_t *from, int64_t n);
    void (*get_tokens)(struct qk_device *d, int32_t *to, struct qk_buf from, int64_t n);
    void (*copy)(struct qk_device *d, struct qk_buf to, struct qk_buf from, int64_t n);
    void (*zero)(struct qk_device *d, struct qk_buf b, int64_t n);
    /* Wait for everything; 0, or -1 with the first failure. */
    int (*sync)(struct qk_device *d, struct qk_err *err);

    /* ---- embedding: y[m] = scale * w[tokens[m]] ---- */
    void (*embed)(struct qk_device *d, struct qk_buf y, struct qk_buf tokens, struct qk_buf w,
                  float scale, int64_t M, int64_t D, int64_t V);
    void (*embed_back)(struct qk_device *d, struct qk_buf dw, struct qk_buf dy,
                       struct qk_buf tokens, float scale, int64_t M, int64_t D, int64_t V);

    /* ---- RMSNorm over rows of N: y = x * rstd * gain, rstd = 1/sqrt(mean(x^2) + eps)
     * (Zhang and Sennrich 2019).  rstd [M] is saved. ---- */
    void (*rmsnorm)(struct qk_device *d, struct qk_buf y, struct qk_buf rstd, struct qk_buf x,
                    struct qk_buf gain, float eps, int64_t M, int64_t N);
    /* dx ACCUMULATES (it joins the residual stream's gradient); dgain [N] accumulates. */
    void (*rmsnorm_back)(struct qk_device *d, struct qk_buf dx, struct qk_buf dgain,
                         struct qk_buf dy, struct qk_buf x, struct qk_buf gain, struct qk_buf rstd,
                         int64_t M, int64_t N);

    /* ---- matrix products: y[M,N] = base + x[M,K] w[N,K]^T; base [M,N]: none, y itself or
     * another ---- */
    void (*matmul)(struct qk_device *d, struct qk_buf y, struct qk_buf base, struct qk_buf x,
                   struct qk_buf w, int64_t M, int64_t N, int64_t K);
    /* dx[M,K] = dy w, or += when `add` */
    void (*matmul_dx)(struct qk_device *d, struct qk_buf dx, struct qk_buf dy, struct qk_buf w,
                      bool add, int64_t M, int64_t N, int64_t K);
    void (*matmul_dw)(struct qk_device *d, struct qk_buf dw, struct qk_buf dy, struct qk_buf x,
                      int64_t M, int64_t N, int64_t K); /* dw[N,K] += dy^T x */
    /* The same with x = max(0, u)^2 (So et al. 2021): y = base + x w^T, and back dw += dy^T x and
     * du = (dy w) * 2 max(0, u).  Both take what relu2 made of u [n], in place: u itself where x is
     * made on the way, or x, whose root tells the derivative. */
    void (*relu2)(struct qk_device *d, struct qk_buf u, int64_t n);
    void (*relu2_matmul)(struct qk_device *d, struct qk_buf y, struct qk_buf base, struct qk_buf u,
                         struct qk_buf w, int64_t M, int64_t N, int64_t K);
    void (*relu2_matmul_back)(struct qk_device *d, struct qk_buf du, struct qk_buf dw,
                              struct qk_buf dy, struct qk_buf w, struct qk_buf u, int64_t M,
                              int64_t N, int64_t K);

    /* ---- what happens to a query or key head before attention ----
     * y[m, h] = rotate(gain * x[m, h] * rstd[m, h]); position = m mod T.  y is dense
     * [M, heads*hd]; rstd [M, heads] is saved.  gain none: no gain (QK-Norm frozen at 1 passes a
     * gain of ones).  angles [T, 2, hd] holds the rotation (RoPE: Su et al. 2021) number by
     * number: rotate(z)[i] = z[i] angles[t, 0, i] + z[partner of i] angles[t, 1, i], that is the
     * cosine, and the sine, negative for the first of a pair. */
    void (*head_prepare)(struct qk_device *d, struct qk_buf y, struct qk_buf rstd, struct qk_buf x,
                         struct qk_buf gain, struct qk_buf angles, struct qk_head_shape shape);
    /* dx is strided like x; dgain [gain_size] accumulates, none to skip. */
    void (*head_prepare_back)(struct qk_device *d, struct qk_buf dx, struct qk_buf dgain,
                              struct qk_buf dy, struct qk_buf x, struct qk_buf gain,
                              struct qk_buf rstd, struct qk_buf angles, struct qk_head_shape shape);

    /* ---- causal grouped-query attention, scale 1/sqrt(hd) ----
     * o[b,t,h] = sum_{s<=t} softmax_s(q.k_s / sqrt(hd)) v_s, with key head h / (H/G).  Saved: o and
     * lse [B, H, T] = log sum exp of the scaled logits.  No T x T array exists. */
    void (*attention)(struct qk_device *d, struct qk_buf o, struct qk_buf lse, struct qk_buf q,
                      struct qk_buf k, struct qk_buf v, struct qk_attention_shape shape);
    void (*attention_back)(struct qk_device *d, struct qk_buf dq, struct qk_buf dk,
                           struct qk_buf dv, struct qk_buf d_o, struct qk_buf o, struct qk_buf lse,
                           struct qk_buf q, struct qk_buf k, struct qk_buf v,
                           struct qk_attention_shape shape);
    /* entropy [B, H]: sum over positions of -sum_s p ln p (nats); max_logit [B, H]: largest scaled
     * logit over causal pairs. */
    void (*attention_stats)(struct qk_device *d, struct qk_buf entropy, struct qk_buf max_logit,
                            struct qk_buf q, struct qk_buf k, struct qk_buf lse,
                            struct qk_attention_shape shape);

    /* ---- the gated feed-forward nonlinearity, over n numbers ---- */
    void (*swiglu)(struct qk_device *d, struct qk_buf y, struct qk_buf gate, struct qk_buf up,
                   int64_t n); /* silu(gate) * up (Shazeer 2020) */
    void (*swiglu_back)(struct qk_device *d, struct qk_buf dgate, struct qk_buf dup,
                        struct qk_buf dy, struct qk_buf gate, struct qk_buf up, int64_t n);

    /* ---- head and cross-entropy in one: logits x w^T are never stored whole ----
     * nll[m] = -log softmax(x[m] w^T)[target[m]] in nats; a negative target costs 0 and gives no
     * gradient.  best [M] (int32; none to skip) = the largest logit's index, the lowest of equals.
     * With dx given: dx = grad_scale * d sum(nll)/dx and dw += grad_scale * d sum(nll)/dw. */
    void (*loss)(struct qk_device *d, struct qk_buf nll, struct qk_buf best, struct qk_buf dx,
                 struct qk_buf dw, struct qk_buf x, struct qk_buf w, struct qk_buf targets,
                 float grad_scale, int64_t M, int64_t D, int64_t V);

    /* ---- optimisers ----
     * out[0] = norm of g[n]; out[1] = min(1, clip/(norm + 1e-6)), or 1 when clip <= 0.  Summed in
     * double.  The steps below multiply every gradient by scale[0]. */
    void (*grad_norm)(struct qk_device *d, struct qk_buf out, struct qk_buf g, int64_t n,
                      float clip);
    /* Loshchilov and Hutter 2019: w *= 1 - lr*wd, then w -= lr * m^/(sqrt(v^) + eps). */
    void (*adamw)(struct qk_device *d, struct qk_buf w, struct qk_buf m, struct qk_buf v,
                  struct qk_buf g, struct qk_buf scale, int64_t n, struct qk_adamw how);
    /* Jordan 2024, with Polar Express (Amsel et al. 2025) or Newton-Schulz: b = lerp(b, g, 1-mu),
     * u = lerp(g, b, mu), orthogonalised; w = w(1 - lr*wd) - lr*sqrt(max(1, rows/cols)) u. */
    void (*muon)(struct qk_device *d, struct qk_buf w, struct qk_buf b, struct qk_buf g,
                 struct qk_buf scale, struct qk_muon how);
};

#ifdef __cplusplus
}
#endif

/* The same list for those who fill the table: every operation but memory and sync.  A device
 * PREFIX declares them all by QK_OPS_DECLARE(PREFIX) and enters them by QK_OPS_ENTER(PREFIX). */
#define QK_OPS_EACH(X, prefix)                                                                     \
    X(prefix, embed)                                                                               \
    X(prefix, embed_back)                                                                          \
    X(prefix, rmsnorm)                                                                             \
    X(prefix, rmsnorm_back)                                                                        \
    X(prefix, matmul)                                                                              \
    X(prefix, matmul_dx)                                                                           \
    X(prefix, matmul_dw)                                                                           \
    X(prefix, relu2)                                                                               \
    X(prefix, relu2_matmul)                                                                        \
    X(prefix, relu2_matmul_back)                                                                   \
    X(prefix, head_prepare)                                                                        \
    X(prefix, head_prepare_back)                                                                   \
    X(prefix, attention)                                                                           \
    X(prefix, attention_back)                                                                      \
    X(prefix, attention_stats)                                                                     \
    X(prefix, swiglu)                                                                              \
    X(prefix, swiglu_back)                                                                         \
    X(prefix, loss)                                                                                \
    X(prefix, grad_norm)                                                                           \
    X(prefix, adamw)                                                                               \
    X(prefix, muon)
#define QK_OPS_DECLARE_ONE(prefix, op) QK_OPS_TYPE(op) prefix##op;
#define QK_OPS_ENTER_ONE(prefix, op) .op = prefix##op,
#ifdef __cplusplus
template <class F> struct qk_pointed;
template <class F> struct qk_pointed<F *> {
    typedef F type;
};
#define QK_OPS_TYPE(op) qk_pointed<decltype(qk_ops::op)>::type
#else
#define QK_OPS_TYPE(op) __typeof__(*((struct qk_ops *)0)->op)
#endif
#define QK_OPS_DECLARE(prefix) QK_OPS_EACH(QK_OPS_DECLARE_ONE, prefix)
#define QK_OPS_ENTER(prefix) QK_OPS_EACH(QK_OPS_ENTER_ONE, prefix)

#endif
