#include "compute/counter.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compute/cuda/sizes.h"
#include "compute/device.h"

/* Most slots use little of what they are given. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

struct counter {
    struct qk_device base; /* first: what the operations are given */
    enum qk_counted as;
    int64_t memory;
    struct qk_counts counts;
    int64_t small; /* bytes of arrays that share pieces of memory */
    int64_t slots[QK_CUDA_SLOTS];
};

static struct counter *counter_of(struct qk_device *d)
{
    return (struct counter *)d;
}

/* ---- memory ---- */

static void count_alloc(struct qk_device *d, struct qk_buf *b, enum qk_role role, int64_t n)
{
    struct counter *c = counter_of(d);
    const bool bf16 = c->as == QK_COUNTED_CUDA && d->bf16;
    const int64_t bytes = qk_cuda_array_bytes(role, n, bf16);
    *b = QK_NONE;
    if (d->failure.text[0])
        return;
    if (bytes < 0 || __builtin_add_overflow(c->counts.role[role], bytes, &c->counts.role[role])) {
        qk_fail(&d->failure, "so large a model cannot be counted");
        return;
    }
    b->base = d; /* something that is not none; nobody looks behind it */
    c->counts.copies += qk_cuda_copied(role, bf16) ? 2 * qk_cuda_padded(n) : 0;
    if (bytes > QK_CUDA_PIECE / 2)
        c->counts.lost += qk_cuda_lost(bytes);
    else
        c->small += bytes;
}

static void count_release(struct qk_device *d, struct qk_buf b)
{
}

static void count_put(struct qk_device *d, struct qk_buf to, const float *from, int64_t n)
{
}

static void count_get(struct qk_device *d, float *to, struct qk_buf from, int64_t n)
{
    memset(to, 0, (size_t)n * sizeof *to);
}

static void count_put_tokens(struct qk_device *d, struct qk_buf to, const int32_t *from, int64_t n)
{
}

static void count_get_tokens(struct qk_device *d, int32_t *to, struct qk_buf from, int64_t n)
{
    memset(to, 0, (size_t)n * sizeof *to);
}

static void count_copy(struct qk_device *d, struct qk_buf to, struct qk_buf from, int64_t n)
{
}

static void count_zero(struct qk_device *d, struct qk_buf b, int64_t n)
{
}

static int count_sync(struct qk_device *d, struct qk_err *err)
{
    return d->failure.text[0] ? qk_fail(err, "%s", d->failure.text) : 0;
}

/* ---- scratch ---- */

static void need(struct qk_device *d, enum qk_cuda_slot slot, int64_t bytes)
{
    struct counter *c = counter_of(d);
    if (bytes > c->slots[slot])
        c->slots[slot] = bytes;
}

static int64_t width_of(const struct qk_device *d)
{
    return d->bf16 ? 2 : 4;
}

static void count_embed(struct qk_device *d, struct qk_buf y, struct qk_buf tokens, struct qk_buf w,
                        float scale, int64_t M, int64_t D, int64_t V)
{
}

static void count_embed_back(struct qk_device *d, struct qk_buf dw, struct qk_buf dy,
                             struct qk_buf tokens, float scale, int64_t M, int64_t D, int64_t V)
{
    need(d, QK_CUDA_INDEX, qk_cuda_list_bytes(M, V));
    need(d, QK_CUDA_PARTIAL, qk_cuda_list_partials(M, D));
}

static void count_rmsnorm(struct qk_device *d, struct qk_buf y, struct qk_buf rstd, struct qk_buf x,
                          struct qk_buf gain, float eps, int64_t M, int64_t N)
{
}

static void count_rmsnorm_back(struct qk_device *d, struct qk_buf dx, struct qk_buf dgain,
                               struct qk_buf dy, struct qk_buf x, struct qk_buf gain,
                               struct qk_buf rstd, int64_t M, int64_t N)
{
    need(d, QK_CUDA_PARTIAL, qk_cuda_norm_partials(M, N));
}

static void count_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf base, struct qk_buf x,
                         struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    need(d, QK_CUDA_WORKSPACE, QK_CUDA_LT_ROOM);
}

static void count_matmul_dx(struct qk_device *d, struct qk_buf dx, struct qk_buf dy,
                            struct qk_buf w, bool add, int64_t M, int64_t N, int64_t K)
{
}

static void count_matmul_dw(struct qk_device *d, struct qk_buf dw, struct qk_buf dy,
                            struct qk_buf x, int64_t M, int64_t N, int64_t K)
{
}

static void count_relu2_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf base,
                               struct qk_buf u, struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    const int64_t width = width_of(d);
    const int64_t room = qk_cuda_share(QK_CUDA_SQUARES, counter_of(d)->memory);
    need(d, QK_CUDA_TILES, qk_cuda_square_rows(room, M, K, width) * K * width);
}

static void count_relu2_matmul_dx(struct qk_device *d, struct qk_buf du, struct qk_buf dy,
                                  struct qk_buf w, struct qk_buf u, int64_t M, int64_t N, int64_t K)
{
}

static void count_relu2_matmul_dw(struct qk_device *d, struct qk_buf dw, struct qk_buf dy,
                                  struct qk_buf u, int64_t M, int64_t N, int64_t K)
{
    count_relu2_matmul(d, dw, dy, u, dw, M, N, K);
}

static void count_head_prepare(struct qk_device *d, struct qk_buf y, struct qk_buf rstd,
                               struct qk_buf x, struct qk_buf gain, struct qk_buf angles,
                               struct qk_head_shape shape)
{
}

static void count_head_prepare_back(struct qk_device *d, struct qk_buf dx, struct qk_buf dgain,
                                    struct qk_buf dy, struct qk_buf x, struct qk_buf gain,
                                    struct qk_buf rstd, struct qk_buf angles,
                                    struct qk_head_shape shape)
{
}

static void count_attention(struct qk_device *d, struct qk_buf o, struct qk_buf lse,
                            struct qk_buf q, struct qk_buf k, struct qk_buf v,
                            struct qk_attention_shape shape)
{
}

static void count_attention_back(struct qk_device *d, struct qk_buf dq, struct qk_buf dk,
                                 struct qk_buf dv, struct qk_buf d_o, struct qk_buf o,
                                 struct qk_buf lse, struct qk_buf q, struct qk_buf k,
                                 struct qk_buf v, struct qk_attention_shape shape)
{
    need(d, QK_CUDA_ROWS, shape.B * shape.H * shape.T * 4);
}

static void count_attention_stats(struct qk_device *d, struct qk_buf entropy,
                                  struct qk_buf max_logit, struct qk_buf q, struct qk_buf k,
                                  struct qk_buf lse, struct qk_attention_shape shape)
{
}

static void count_swiglu(struct qk_device *d, struct qk_buf y, struct qk_buf gate, struct qk_buf up,
                         int64_t n)
{
}

static void count_swiglu_back(struct qk_device *d, struct qk_buf dgate, struct qk_buf dup,
                              struct qk_buf dy, struct qk_buf gate, struct qk_buf up, int64_t n)
{
}

static void count_loss(struct qk_device *d, struct qk_buf nll, struct qk_buf best, struct qk_buf dx,
                       struct qk_buf dw, struct qk_buf x, struct qk_buf w, struct qk_buf targets,
                       float grad_scale, int64_t M, int64_t D, int64_t V)
{
    const int64_t room = qk_cuda_share(QK_CUDA_LOGITS, counter_of(d)->memory);
    need(d, QK_CUDA_TILES, qk_cuda_logit_rows(room, M, V) * V * 4);
}

static void count_grad_norm(struct qk_device *d, struct qk_buf out, struct qk_buf g, int64_t n,
                            float clip)
{
    need(d, QK_CUDA_PARTIAL, qk_cuda_square_partials(n));
}

static void count_adamw(struct qk_device *d, struct qk_buf w, struct qk_buf m, struct qk_buf v,
                        struct qk_buf g, struct qk_buf scale, int64_t n, struct qk_adamw how)
{
}

static void count_muon(struct qk_device *d, struct qk_buf w, struct qk_buf b, struct qk_buf g,
                       struct qk_buf scale, struct qk_muon how)
{
    const int64_t room = qk_cuda_share(QK_CUDA_MUON, counter_of(d)->memory), width = width_of(d);
    const int64_t count = qk_cuda_muon_count(room, how.count, how.rows, how.cols, width);
    int64_t at[4];
    need(d, QK_CUDA_TILES, qk_cuda_muon_places(at, count, how.rows, how.cols, width));
}

static const struct qk_ops COUNTER_OPS = {.name = "counter",
                                          .alloc = count_alloc,
                                          .release = count_release,
                                          .put = count_put,
                                          .get = count_get,
                                          .put_tokens = count_put_tokens,
                                          .get_tokens = count_get_tokens,
                                          .copy = count_copy,
                                          .zero = count_zero,
                                          .sync = count_sync,
                                          QK_OPS_ENTER(count_)};

/* ---- from outside ---- */

struct qk_device *qk_counter_open(enum qk_counted as, int64_t memory)
{
    struct counter *c = qk_zalloc(1, sizeof *c);
    c->base.ops = &COUNTER_OPS;
    c->as = as;
    c->memory = memory;
    return &c->base;
}

void qk_counter_close(struct qk_device *d)
{
    free(counter_of(d));
}

struct qk_counts qk_counter_counts(const struct qk_device *d)
{
    const struct counter *c = (const struct counter *)d;
    struct qk_counts counts = c->counts;
    if (c->as != QK_COUNTED_CUDA) {
        counts.lost = 0;
        return counts;
    }
    for (int i = 0; i < QK_CUDA_SLOTS; i++) {
        counts.scratch += c->slots[i];
        counts.lost += qk_cuda_lost(c->slots[i]);
    }
    counts.lost += qk_cuda_lost(c->small);
    counts.context = QK_CUDA_CONTEXT;
    counts.later = QK_CUDA_LATER;
    return counts;
}
