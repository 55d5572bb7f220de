#include "compute/counter.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compute/cuda/sizes.h"
#include "compute/device.h"
#include "compute/orthogonalize.h"

/* Most slots use little of what they are given. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

struct counter {
    struct qk_device base; /* first: what the operations are given */
    enum qk_counted as;
    int64_t memory;
    struct qk_counts counts;
    int64_t small; /* bytes of arrays that share pieces of memory */
    int64_t slots[QK_CUDA_SLOTS];
    char role[QK_ROLES]; /* an array is the address of its role's */
};

static struct counter *counter_of(struct qk_device *d)
{
    return (struct counter *)d;
}

/* ---- work ---- */

/* Bytes of an activation's number, and of a parameter's as products read it. */
static int64_t width_of(const struct qk_device *d)
{
    return d->bf16 && ((const struct counter *)d)->as == QK_COUNTED_CUDA ? 2 : 4;
}

static enum qk_role role_of(struct qk_device *d, struct qk_buf b)
{
    return qk_is_none(b) ? QK_ROLE_EXACT : (enum qk_role)((char *)b.base - counter_of(d)->role);
}

static void moves(struct qk_device *d, enum qk_class which, enum qk_role role, double bytes)
{
    d->bytes[which] += bytes;
    counter_of(d)->counts.moved[role] += bytes;
}

/* n numbers of activations, all of whose bytes are moved once. */
static void moves_rows(struct qk_device *d, enum qk_class which, double flops, double n)
{
    d->flops[which] += flops;
    moves(d, which, QK_ROLE_ACTIVATION, (double)width_of(d) * n);
}

/* y[M,N] = x[M,K] w[K,N], with so many more arrays like the result. */
static void multiplies(struct qk_device *d, int64_t M, int64_t N, int64_t K, int others)
{
    const double m = (double)M, n = (double)N, k = (double)K;
    moves_rows(d, QK_CLASS_MATMUL, 2 * m * n * k, m * k + (1 + others) * m * n);
    moves(d, QK_CLASS_MATMUL, QK_ROLE_PARAMETER, (double)width_of(d) * k * n);
}

static double numbers_of(const struct qk_head_shape *s)
{
    return (double)(s->B * s->T * s->heads * s->hd);
}

/* So many products of the causal half of T by T, so many arrays like q and like k. */
static void attends(struct qk_device *d, const struct qk_attention_shape *s, double products,
                    double arrays)
{
    const double rows = (double)(s->B * s->T * s->hd), all = rows * (double)s->H;
    moves_rows(d, QK_CLASS_ATTENTION, products * all * (double)s->T,
               arrays * (all + rows * (double)s->G));
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
    b->base = &c->role[role];
    if (c->as == QK_COUNTED_CUDA)
        moves(d, QK_CLASS_MEMORY, role, (double)bytes); /* zeroed */
    c->counts.copies += qk_cuda_copied(role, bf16) ? 2 * qk_cuda_padded(n) : 0;
    if (bytes > QK_CUDA_PIECE / 2)
        c->counts.lost += qk_cuda_lost(bytes);
    else
        c->small += bytes;
}

static void count_release(struct qk_device *d, struct qk_buf b)
{
}

/* Between host and device a number is four bytes; without a card both sides are memory. */
static void passes(struct qk_device *d, struct qk_buf b, int64_t n)
{
    const double sides = counter_of(d)->as == QK_COUNTED_CUDA ? 1 : 2;
    moves(d, QK_CLASS_MEMORY, role_of(d, b), sides * 4 * (double)n);
}

static double bytes_in(struct qk_device *d, struct qk_buf b, int64_t n)
{
    return (double)((role_of(d, b) == QK_ROLE_ACTIVATION ? width_of(d) : 4) * n);
}

static void count_put(struct qk_device *d, struct qk_buf to, const float *from, int64_t n)
{
    passes(d, to, n);
}

static void count_get(struct qk_device *d, float *to, struct qk_buf from, int64_t n)
{
    memset(to, 0, (size_t)n * sizeof *to);
    passes(d, from, n);
}

static void count_put_tokens(struct qk_device *d, struct qk_buf to, const int32_t *from, int64_t n)
{
    passes(d, to, n);
}

static void count_get_tokens(struct qk_device *d, int32_t *to, struct qk_buf from, int64_t n)
{
    memset(to, 0, (size_t)n * sizeof *to);
    passes(d, from, n);
}

static void count_copy(struct qk_device *d, struct qk_buf to, struct qk_buf from, int64_t n)
{
    moves(d, QK_CLASS_MEMORY, role_of(d, to), 2 * bytes_in(d, to, n));
}

static void count_zero(struct qk_device *d, struct qk_buf b, int64_t n)
{
    moves(d, QK_CLASS_MEMORY, role_of(d, b), bytes_in(d, b, n));
}

static int count_sync(struct qk_device *d, struct qk_err *err)
{
    return d->failure.text[0] ? qk_fail(err, "%s", d->failure.text) : 0;
}

/* ---- scratch and work of the operations ---- */

static void need(struct qk_device *d, enum qk_cuda_slot slot, int64_t bytes)
{
    struct counter *c = counter_of(d);
    if (bytes > c->slots[slot])
        c->slots[slot] = bytes;
}

static void count_embed(struct qk_device *d, struct qk_buf y, struct qk_buf tokens, struct qk_buf w,
                        float scale, int64_t M, int64_t D, int64_t V)
{
    const double n = (double)M * (double)D;
    moves_rows(d, QK_CLASS_EMBED, n, n);
    moves(d, QK_CLASS_EMBED, QK_ROLE_PARAMETER, (double)width_of(d) * n);
}

static void count_embed_back(struct qk_device *d, struct qk_buf dw, struct qk_buf dy,
                             struct qk_buf tokens, float scale, int64_t M, int64_t D, int64_t V)
{
    need(d, QK_CUDA_INDEX, qk_cuda_list_bytes(M, V));
    need(d, QK_CUDA_PARTIAL, qk_cuda_list_partials(M, D));
    const double n = (double)M * (double)D;
    moves_rows(d, QK_CLASS_EMBED, 2 * n, n);
    moves(d, QK_CLASS_EMBED, QK_ROLE_GRADIENT, 2 * 4 * n);
}

static void count_rmsnorm(struct qk_device *d, struct qk_buf y, struct qk_buf rstd, struct qk_buf x,
                          struct qk_buf gain, float eps, int64_t M, int64_t N)
{
    const double n = (double)M * (double)N;
    moves_rows(d, QK_CLASS_NORM, 4 * n, 2 * n);
}

static void count_rmsnorm_back(struct qk_device *d, struct qk_buf dx, struct qk_buf dgain,
                               struct qk_buf dy, struct qk_buf x, struct qk_buf gain,
                               struct qk_buf rstd, int64_t M, int64_t N)
{
    need(d, QK_CUDA_PARTIAL, qk_cuda_norm_partials(M, N));
    const double n = (double)M * (double)N;
    moves_rows(d, QK_CLASS_NORM, 9 * n, 4 * n);
}

static void count_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf base, struct qk_buf x,
                         struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    need(d, QK_CUDA_WORKSPACE, QK_CUDA_LT_ROOM);
    multiplies(d, M, N, K, !qk_is_none(base));
}

static void count_matmul_dx(struct qk_device *d, struct qk_buf dx, struct qk_buf dy,
                            struct qk_buf w, bool add, int64_t M, int64_t N, int64_t K)
{
    multiplies(d, M, K, N, add);
}

static void count_matmul_dw(struct qk_device *d, struct qk_buf dw, struct qk_buf dy,
                            struct qk_buf x, int64_t M, int64_t N, int64_t K)
{
    const double m = (double)M, n = (double)N, k = (double)K;
    moves_rows(d, QK_CLASS_MATMUL, 2 * m * n * k, m * (n + k));
    moves(d, QK_CLASS_MATMUL, QK_ROLE_GRADIENT, 2 * 4 * n * k);
}

/* A part of the products beside it: their operands are counted there. */
static void count_relu2(struct qk_device *d, struct qk_buf u, int64_t n)
{
}

static void count_relu2_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf base,
                               struct qk_buf u, struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    multiplies(d, M, N, K, !qk_is_none(base));
}

static void count_relu2_matmul_back(struct qk_device *d, struct qk_buf du, struct qk_buf dw,
                                    struct qk_buf dy, struct qk_buf w, struct qk_buf u, int64_t M,
                                    int64_t N, int64_t K)
{
    multiplies(d, M, K, N, 1);
    count_matmul_dw(d, dw, dy, u, M, N, K);
}

static void count_head_prepare(struct qk_device *d, struct qk_buf y, struct qk_buf rstd,
                               struct qk_buf x, struct qk_buf gain, struct qk_buf angles,
                               struct qk_head_shape shape)
{
    moves_rows(d, QK_CLASS_ROPE, 7 * numbers_of(&shape), 2 * numbers_of(&shape));
}

static void count_head_prepare_back(struct qk_device *d, struct qk_buf dx, struct qk_buf dgain,
                                    struct qk_buf dy, struct qk_buf x, struct qk_buf gain,
                                    struct qk_buf rstd, struct qk_buf angles,
                                    struct qk_head_shape shape)
{
    moves_rows(d, QK_CLASS_ROPE, 15 * numbers_of(&shape), 3 * numbers_of(&shape));
}

static void count_attention(struct qk_device *d, struct qk_buf o, struct qk_buf lse,
                            struct qk_buf q, struct qk_buf k, struct qk_buf v,
                            struct qk_attention_shape shape)
{
    attends(d, &shape, 2, 2);
}

static void count_attention_back(struct qk_device *d, struct qk_buf dq, struct qk_buf dk,
                                 struct qk_buf dv, struct qk_buf d_o, struct qk_buf o,
                                 struct qk_buf lse, struct qk_buf q, struct qk_buf k,
                                 struct qk_buf v, struct qk_attention_shape shape)
{
    need(d, QK_CUDA_ROWS, shape.B * shape.H * shape.T * 4);
    attends(d, &shape, 5, 4);
}

static void count_attention_stats(struct qk_device *d, struct qk_buf entropy,
                                  struct qk_buf max_logit, struct qk_buf q, struct qk_buf k,
                                  struct qk_buf lse, struct qk_attention_shape shape)
{
    attends(d, &shape, 1, 1);
}

static void count_swiglu(struct qk_device *d, struct qk_buf y, struct qk_buf gate, struct qk_buf up,
                         int64_t n)
{
    moves_rows(d, QK_CLASS_ACTIVATION, 20 * (double)n, 3 * (double)n);
}

static void count_swiglu_back(struct qk_device *d, struct qk_buf dgate, struct qk_buf dup,
                              struct qk_buf dy, struct qk_buf gate, struct qk_buf up, int64_t n)
{
    moves_rows(d, QK_CLASS_ACTIVATION, 26 * (double)n, 5 * (double)n);
}

static void count_loss(struct qk_device *d, struct qk_buf nll, struct qk_buf best, struct qk_buf dx,
                       struct qk_buf dw, struct qk_buf x, struct qk_buf w, struct qk_buf targets,
                       float grad_scale, int64_t M, int64_t D, int64_t V)
{
    const int64_t room = qk_cuda_share(QK_CUDA_LOGITS, counter_of(d)->memory);
    need(d, QK_CUDA_TILES, qk_cuda_logit_rows(room, M, V) * V * 4);
    const double in = (double)M * (double)D, head = (double)V * (double)D;
    const bool back = !qk_is_none(dx);
    moves_rows(d, QK_CLASS_LOSS, (back ? 6 : 2) * in * (double)V, (back ? 2 : 1) * in);
    moves(d, QK_CLASS_LOSS, QK_ROLE_PARAMETER, (double)width_of(d) * head);
    if (back)
        moves(d, QK_CLASS_LOSS, QK_ROLE_GRADIENT, 2 * 4 * head);
}

static void count_grad_norm(struct qk_device *d, struct qk_buf out, struct qk_buf g, int64_t n,
                            float clip)
{
    need(d, QK_CUDA_PARTIAL, qk_cuda_square_partials(n));
    d->flops[QK_CLASS_OPTIMIZER] += 2 * (double)n;
    moves(d, QK_CLASS_OPTIMIZER, QK_ROLE_GRADIENT, 4 * (double)n);
}

/* n weights read and written, and their copies, with the moments; arrays: weights and moments. */
static void updates(struct qk_device *d, double flops, int arrays, double n)
{
    d->flops[QK_CLASS_OPTIMIZER] += flops;
    moves(d, QK_CLASS_OPTIMIZER, QK_ROLE_PARAMETER, (8 + (width_of(d) < 4 ? 2 : 0)) * n);
    moves(d, QK_CLASS_OPTIMIZER, QK_ROLE_STATE, (arrays - 1) * 2 * 4 * n);
    moves(d, QK_CLASS_OPTIMIZER, QK_ROLE_GRADIENT, 4 * n);
}

static void count_adamw(struct qk_device *d, struct qk_buf w, struct qk_buf m, struct qk_buf v,
                        struct qk_buf g, struct qk_buf scale, int64_t n, struct qk_adamw how)
{
    const double all = (double)n * (double)(how.more + 1);
    updates(d, 14 * all, 3, all);
}

static void count_muon(struct qk_device *d, struct qk_buf w, struct qk_buf b, struct qk_buf g,
                       struct qk_buf scale, struct qk_muon how)
{
    const int64_t room = qk_cuda_share(QK_CUDA_MUON, counter_of(d)->memory), width = width_of(d);
    const int64_t count = qk_cuda_muon_count(room, how.count, how.rows, how.cols, width);
    int64_t at[4];
    need(d, QK_CUDA_TILES, qk_cuda_muon_places(at, count, how.rows, how.cols, width));
    const double small = (double)(how.rows < how.cols ? how.rows : how.cols);
    const double size = (double)how.rows * (double)how.cols, matrices = (double)how.count;
    updates(d, QK_ORTHOGONALIZE_STEPS * matrices * (small * small * small + 3 * small * size), 2,
            matrices * size);
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

void qk_counter_start(struct qk_device *d)
{
    memset(d->flops, 0, sizeof d->flops);
    memset(d->bytes, 0, sizeof d->bytes);
    memset(counter_of(d)->counts.moved, 0, sizeof counter_of(d)->counts.moved);
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
