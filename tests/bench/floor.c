/* floor [--device D] CONFIG.json MICRO PRODUCTS_TFLOPS COPY_GBS
 *
 * What one optimiser step must cost at the least, by class of operation: its operations at the rate
 * of matrix products, or the bytes of every operand read or written once at the rate of copying,
 * whichever takes longer.  Counted, not measured: the model and the optimiser run over a device
 * that computes nothing and counts as the CUDA device does in bf16 (float32 gradients and moments;
 * compute/cuda).  With --device that device computes one step and its own counts are printed.
 * MICRO sequences are taken at once; weights are read again for each such part.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/textfile.h"
#include "base/threads.h"
#include "compute/blas.h"
#include "compute/device.h"
#include "model/optimizer.h"
#include "model/transformer.h"

/* ---- a device that only counts ---- */

/* Bytes of a number by role, which is all there is to an array here. */
static int widths[] = {
    [QK_ROLE_PARAMETER] = 4,  [QK_ROLE_GRADIENT] = 4, [QK_ROLE_STATE] = 4,
    [QK_ROLE_ACTIVATION] = 2, [QK_ROLE_EXACT] = 4,    [QK_ROLE_TOKENS] = 4,
};
enum { NARROW = 2, WIDE = 4, STEPS = 5 }; /* bf16, float32; of Muon's orthogonalisation */

static void count(struct qk_device *d, enum qk_class which, double flops, double bytes)
{
    d->flops[which] += flops;
    d->bytes[which] += bytes;
}

static double width_of(struct qk_buf b)
{
    return *(const int *)b.base;
}

static void null_alloc(struct qk_device *d, struct qk_buf *b, enum qk_role role, int64_t n)
{
    (void)d, (void)n;
    *b = (struct qk_buf){&widths[role], 0};
}

static void null_release(struct qk_device *d, struct qk_buf b)
{
    (void)d, (void)b;
}

static void null_put(struct qk_device *d, struct qk_buf to, const float *from, int64_t n)
{
    (void)to, (void)from;
    count(d, QK_CLASS_MEMORY, 0, WIDE * (double)n);
}

static void null_get(struct qk_device *d, float *to, struct qk_buf from, int64_t n)
{
    (void)from;
    memset(to, 0, (size_t)n * sizeof *to);
    count(d, QK_CLASS_MEMORY, 0, WIDE * (double)n);
}

static void null_put_tokens(struct qk_device *d, struct qk_buf to, const int32_t *from, int64_t n)
{
    (void)to, (void)from;
    count(d, QK_CLASS_MEMORY, 0, WIDE * (double)n);
}

static void null_zero(struct qk_device *d, struct qk_buf b, int64_t n)
{
    count(d, QK_CLASS_MEMORY, 0, width_of(b) * (double)n);
}

static int null_sync(struct qk_device *d, struct qk_err *err)
{
    (void)d, (void)err;
    return 0;
}

static void null_embed(struct qk_device *d, struct qk_buf y, struct qk_buf tokens, struct qk_buf w,
                       float scale, int64_t M, int64_t D, int64_t V)
{
    (void)y, (void)tokens, (void)w, (void)scale, (void)V;
    const double n = (double)M * (double)D;
    count(d, QK_CLASS_EMBED, n, 2 * NARROW * n);
}

static void null_embed_back(struct qk_device *d, struct qk_buf dw, struct qk_buf dy,
                            struct qk_buf tokens, float scale, int64_t M, int64_t D, int64_t V)
{
    (void)dw, (void)dy, (void)tokens, (void)scale, (void)V;
    const double n = (double)M * (double)D;
    count(d, QK_CLASS_EMBED, 2 * n, (NARROW + 2 * WIDE) * n);
}

static void null_rmsnorm(struct qk_device *d, struct qk_buf y, struct qk_buf rstd, struct qk_buf x,
                         struct qk_buf gain, float eps, int64_t M, int64_t N)
{
    (void)y, (void)rstd, (void)x, (void)gain, (void)eps;
    const double n = (double)M * (double)N;
    count(d, QK_CLASS_NORM, 4 * n, 2 * NARROW * n);
}

static void null_rmsnorm_back(struct qk_device *d, struct qk_buf dx, struct qk_buf dgain,
                              struct qk_buf dy, struct qk_buf x, struct qk_buf gain,
                              struct qk_buf rstd, int64_t M, int64_t N)
{
    (void)dx, (void)dgain, (void)dy, (void)x, (void)gain, (void)rstd;
    const double n = (double)M * (double)N;
    count(d, QK_CLASS_NORM, 9 * n, 4 * NARROW * n);
}

/* [M, N] = [M, K] [K, N], with `others` more arrays like the result, of numbers of `out` bytes. */
static void product(struct qk_device *d, int64_t M, int64_t N, int64_t K, int others, int out)
{
    const double m = (double)M, n = (double)N, k = (double)K;
    count(d, QK_CLASS_MATMUL, 2 * m * n * k, NARROW * (m * k + k * n) + (1 + others) * m * n * out);
}

static void null_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf base, struct qk_buf x,
                        struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    (void)y, (void)x, (void)w;
    product(d, M, N, K, !qk_is_none(base), NARROW);
}

static void null_matmul_dx(struct qk_device *d, struct qk_buf dx, struct qk_buf dy, struct qk_buf w,
                           bool add, int64_t M, int64_t N, int64_t K)
{
    (void)dx, (void)dy, (void)w;
    product(d, M, K, N, add, NARROW);
}

static void null_matmul_dw(struct qk_device *d, struct qk_buf dw, struct qk_buf dy, struct qk_buf x,
                           int64_t M, int64_t N, int64_t K)
{
    (void)dw, (void)dy, (void)x;
    product(d, N, K, M, 1, WIDE);
}

static void null_relu2_matmul_dx(struct qk_device *d, struct qk_buf du, struct qk_buf dy,
                                 struct qk_buf w, struct qk_buf u, int64_t M, int64_t N, int64_t K)
{
    (void)du, (void)dy, (void)w, (void)u;
    product(d, M, K, N, 1, NARROW);
}

static double numbers_of(const struct qk_head_shape *s)
{
    return (double)(s->B * s->T * s->heads * s->hd);
}

static void null_head_prepare(struct qk_device *d, struct qk_buf y, struct qk_buf rstd,
                              struct qk_buf x, struct qk_buf gain, struct qk_buf angles,
                              struct qk_head_shape shape)
{
    (void)y, (void)rstd, (void)x, (void)gain, (void)angles;
    const double n = numbers_of(&shape);
    count(d, QK_CLASS_ROPE, 7 * n, 2 * NARROW * n);
}

static void null_head_prepare_back(struct qk_device *d, struct qk_buf dx, struct qk_buf dgain,
                                   struct qk_buf dy, struct qk_buf x, struct qk_buf gain,
                                   struct qk_buf rstd, struct qk_buf angles,
                                   struct qk_head_shape shape)
{
    (void)dx, (void)dgain, (void)dy, (void)x, (void)gain, (void)rstd, (void)angles;
    const double n = numbers_of(&shape);
    count(d, QK_CLASS_ROPE, 15 * n, 3 * NARROW * n);
}

/* `products` of T T / 2 pairs in each head; so many arrays like q and like k. */
static void attend(struct qk_device *d, const struct qk_attention_shape *s, double products,
                   double arrays)
{
    const double T = (double)s->T, heads = (double)(s->B * s->H), hd = (double)s->hd;
    const double both = (double)(s->H + s->G);
    count(d, QK_CLASS_ATTENTION, products * heads * hd * T * T,
          NARROW * arrays * both * (double)s->B * T * hd);
}

static void null_attention(struct qk_device *d, struct qk_buf o, struct qk_buf lse, struct qk_buf q,
                           struct qk_buf k, struct qk_buf v, struct qk_attention_shape shape)
{
    (void)o, (void)lse, (void)q, (void)k, (void)v;
    attend(d, &shape, 2, 2);
}

static void null_attention_back(struct qk_device *d, struct qk_buf dq, struct qk_buf dk,
                                struct qk_buf dv, struct qk_buf d_o, struct qk_buf o,
                                struct qk_buf lse, struct qk_buf q, struct qk_buf k,
                                struct qk_buf v, struct qk_attention_shape shape)
{
    (void)dq, (void)dk, (void)dv, (void)d_o, (void)o, (void)lse, (void)q, (void)k, (void)v;
    attend(d, &shape, 5, 4);
}

static void null_swiglu(struct qk_device *d, struct qk_buf y, struct qk_buf gate, struct qk_buf up,
                        int64_t n)
{
    (void)y, (void)gate, (void)up;
    count(d, QK_CLASS_ACTIVATION, 20 * (double)n, 3 * NARROW * (double)n);
}

static void null_swiglu_back(struct qk_device *d, struct qk_buf dgate, struct qk_buf dup,
                             struct qk_buf dy, struct qk_buf gate, struct qk_buf up, int64_t n)
{
    (void)dgate, (void)dup, (void)dy, (void)gate, (void)up;
    count(d, QK_CLASS_ACTIVATION, 26 * (double)n, 5 * NARROW * (double)n);
}

static void null_loss(struct qk_device *d, struct qk_buf nll, struct qk_buf best, struct qk_buf dx,
                      struct qk_buf dw, struct qk_buf x, struct qk_buf w, struct qk_buf targets,
                      float grad_scale, int64_t M, int64_t D, int64_t V)
{
    (void)nll, (void)best, (void)dx, (void)dw, (void)x, (void)w, (void)targets, (void)grad_scale;
    const double in = (double)M * (double)D, head = (double)V * (double)D;
    count(d, QK_CLASS_LOSS, 6 * in * (double)V, 2 * NARROW * in + (NARROW + 2 * WIDE) * head);
}

static void null_grad_norm(struct qk_device *d, struct qk_buf out, struct qk_buf g, int64_t n,
                           float clip)
{
    (void)out, (void)g, (void)clip;
    count(d, QK_CLASS_OPTIMIZER, 2 * (double)n, WIDE * (double)n);
}

static void null_adamw(struct qk_device *d, struct qk_buf w, struct qk_buf m, struct qk_buf v,
                       struct qk_buf g, struct qk_buf scale, int64_t n, struct qk_adamw how)
{
    (void)w, (void)m, (void)v, (void)g, (void)scale, (void)how;
    count(d, QK_CLASS_OPTIMIZER, 14 * (double)n, (7 * WIDE + NARROW) * (double)n);
}

static void null_muon(struct qk_device *d, struct qk_buf w, struct qk_buf b, struct qk_buf g,
                      struct qk_buf scale, struct qk_muon how)
{
    (void)w, (void)b, (void)g, (void)scale;
    const double s = (double)(how.rows < how.cols ? how.rows : how.cols);
    const double size = (double)how.rows * (double)how.cols, matrices = (double)how.count;
    count(d, QK_CLASS_OPTIMIZER, STEPS * matrices * (s * s * s + 3 * s * size),
          (5 * WIDE + NARROW) * matrices * size);
}

static const struct qk_ops NULL_OPS = {
    .name = "null",
    .alloc = null_alloc,
    .release = null_release,
    .put = null_put,
    .get = null_get,
    .put_tokens = null_put_tokens,
    .zero = null_zero,
    .sync = null_sync,
    .embed = null_embed,
    .embed_back = null_embed_back,
    .rmsnorm = null_rmsnorm,
    .rmsnorm_back = null_rmsnorm_back,
    .matmul = null_matmul,
    .matmul_dx = null_matmul_dx,
    .matmul_dw = null_matmul_dw,
    .relu2_matmul = null_matmul,
    .relu2_matmul_dx = null_relu2_matmul_dx,
    .relu2_matmul_dw = null_matmul_dw,
    .head_prepare = null_head_prepare,
    .head_prepare_back = null_head_prepare_back,
    .attention = null_attention,
    .attention_back = null_attention_back,
    .swiglu = null_swiglu,
    .swiglu_back = null_swiglu_back,
    .loss = null_loss,
    .grad_norm = null_grad_norm,
    .adamw = null_adamw,
    .muon = null_muon,
};

/* ---- a step ---- */

static int step(struct qk_model *m, struct qk_optimizer *o, const struct qk_config *c,
                int64_t micro, struct qk_err *err)
{
    const size_t rows = (size_t)(micro * c->seq_len);
    int32_t *tokens = qk_zalloc(rows, sizeof *tokens);
    float *nll = qk_alloc(rows, sizeof *nll);
    const int64_t all = c->batch_size * c->grad_accum;
    const float scale = (float)(1.0 / (double)qk_tokens_per_step(c));
    double norm;
    int bad = 0;
    for (int64_t s = 0; !bad && s < all; s += micro)
        bad = qk_model_train(m, tokens, tokens, all - s < micro ? all - s : micro, scale, nll, err);
    if (!bad)
        bad = qk_optimizer_step(o, qk_model_weights(m), qk_model_gradients(m), 1, &norm, err);
    free(tokens);
    free(nll);
    return bad;
}

static int count_step(struct qk_device *d, const struct qk_config *c, int64_t micro,
                      struct qk_err *err)
{
    struct qk_model *m = qk_model_create(d, c, micro, c->seq_len, true, false, err);
    struct qk_optimizer *o = m ? qk_optimizer_create(d, qk_model_params(m), c, err) : NULL;
    int bad = o ? 0 : -1;
    if (!bad) {
        memset(d->flops, 0, sizeof d->flops);
        memset(d->bytes, 0, sizeof d->bytes);
        bad = step(m, o, c, micro, err);
    }
    qk_optimizer_free(o);
    qk_model_free(m);
    return bad;
}

/* In milliseconds. */
static double at_rate(double amount, double per_second)
{
    return 1e3 * amount / per_second;
}

static void print(const struct qk_device *d, double tflops, double gbs)
{
    double whole = 0, flops = 0, bytes = 0;
    printf("| class | GFLOP | GB | ms of operations | ms of bytes | floor, ms |\n"
           "|---|---:|---:|---:|---:|---:|\n");
    for (int i = 0; i < QK_CLASSES; i++) {
        const double a = at_rate(d->flops[i], 1e12 * tflops), b = at_rate(d->bytes[i], 1e9 * gbs);
        printf("| %s | %.6g | %.6g | %.3f | %.3f | %.3f |\n", qk_class_names[i], d->flops[i] / 1e9,
               d->bytes[i] / 1e9, a, b, a > b ? a : b);
        whole += a > b ? a : b;
        flops += d->flops[i];
        bytes += d->bytes[i];
    }
    printf("| together | %.6g | %.6g | %.3f | %.3f | %.3f |\n", flops / 1e9, bytes / 1e9,
           at_rate(flops, 1e12 * tflops), at_rate(bytes, 1e9 * gbs), whole);
}

static int run(const char *device, char **words, struct qk_err *err)
{
    struct qk_device null = {.ops = &NULL_OPS}, *d = &null;
    struct qk_buffer text = {0};
    struct qk_config c;
    int64_t micro;
    double tflops, gbs;
    if (qk_parse_int(words[1], 1, 1 << 20, &micro, err) != 0 ||
        qk_parse_real(words[2], &tflops, err) != 0 || qk_parse_real(words[3], &gbs, err) != 0)
        return -1;
    int bad = qk_text_slurp(words[0], &text, err) != 0 ||
              qk_config_from_text(&c, text.at, words[0], err) != 0;
    qk_buffer_free(&text);
    if (bad || (device && !(d = qk_device_open(device, err))))
        return -1;
    d->profile = true;
    bad = count_step(d, &c, micro, err);
    if (!bad)
        print(d, tflops, gbs);
    if (device)
        qk_device_close(d);
    return bad;
}

int main(int argc, char **argv)
{
    struct qk_err err = {{0}};
    const char *warning = qk_blas_start(argv);
    const char *device = argc > 2 && strcmp(argv[1], "--device") == 0 ? argv[2] : NULL;
    char **words = argv + (device ? 3 : 1);
    if (warning && device)
        fprintf(stderr, "floor: %s\n", warning);
    qk_threads_set(0);
    if (argc != (device ? 7 : 5)) {
        fprintf(stderr, "usage: floor [--device D] CONFIG.json MICRO PRODUCTS_TFLOPS COPY_GBS\n");
        return 2;
    }
    if (run(device, words, &err) == 0)
        return 0;
    fprintf(stderr, "floor: %s\n", err.text);
    return 1;
}
