/* Operations on rows: embedding, RMSNorm, head_prepare, nonlinearities. */
#include "ops_check.h"

/* ---- embedding ---- */

struct embed_case {
    int64_t M, D, V;
    float *w, *dy;
    int32_t *tokens;
};

static void run_embed(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct embed_case *c = one;
    struct qk_buf w = held(d, c->w, c->V * c->D), dw = held(d, c->w, c->V * c->D);
    struct qk_buf y = empty(d, c->M * c->D), dy = held(d, c->dy, c->M * c->D);
    struct qk_buf tokens = held_tokens(d, c->tokens, c->M);
    d->ops->embed(d, y, tokens, w, 3.5f, c->M, c->D, c->V);
    d->ops->embed_back(d, dw, dy, tokens, 3.5f, c->M, c->D, c->V);
    take(d, out, y, c->M * c->D);
    take(d, out, dw, c->V * c->D);
    release_all(d, (struct qk_buf[]){w, dw, y, dy, tokens}, 5);
}

static void check_embed(int64_t M, int64_t D, int64_t V)
{
    struct embed_case c = {
        M, D, V, normals("w", V * D, 1), normals("dy", M * D, 1), tokens_below("t", M, V)};
    struct outputs out = run_case(run_embed, &c);
    double *dw = widened(c.w, V * D);
    for (int64_t m = 0; m < M; m++)
        for (int64_t i = 0; i < D; i++) {
            assert_true(out.at[m * D + i] == 3.5f * c.w[c.tokens[m] * D + i]);
            dw[c.tokens[m] * D + i] += 3.5 * (double)c.dy[m * D + i];
        }
    check_near("dw", out.at + M * D, dw, V * D, 2e-6);
    free(dw);
    free(c.w);
    free(c.dy);
    free(c.tokens);
    free(out.at);
}

static void test_embed(void **state)
{
    (void)state;
    check_embed(1, 2, 17);
    check_embed(130, 37, 17);
    check_embed(257, 128, 1000);
}

static void test_embed_refuses_foreign_tokens(void **state)
{
    (void)state;
    struct qk_err err;
    for (int i = 0; i < 2; i++) {
        struct qk_device *d = qk_device_open("cpu", &err);
        int32_t tokens[] = {0, 16, i ? -1 : 17};
        struct qk_buf w = empty(d, 34), y = empty(d, 6), t = held_tokens(d, tokens, 3);
        d->ops->embed(d, y, t, w, 1, 3, 2, 17);
        assert_int_equal(d->ops->sync(d, &err), -1);
        assert_non_null(strstr(err.text, i ? "token -1 at 2" : "token 17 at 2"));
        release_all(d, (struct qk_buf[]){w, y, t}, 3);
        qk_device_close(d);
    }
}

/* ---- RMSNorm ---- */

struct norm_case {
    int64_t M, N;
    bool gained;
    float *x, *gain, *dy, *before; /* before: dx and dgain already held something */
};

static void run_norm(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct norm_case *c = one;
    int64_t n = c->M * c->N;
    struct qk_buf x = held(d, c->x, n), gain = c->gained ? held(d, c->gain, c->N) : QK_NONE;
    struct qk_buf y = empty(d, n), rstd = empty(d, c->M), dy = held(d, c->dy, n);
    struct qk_buf dx = held(d, c->before, n);
    struct qk_buf dgain = c->gained ? held(d, c->before, c->N) : QK_NONE;
    d->ops->rmsnorm(d, y, rstd, x, gain, 1e-3f, c->M, c->N);
    d->ops->rmsnorm_back(d, dx, dgain, dy, x, gain, rstd, c->M, c->N);
    take(d, out, y, n);
    take(d, out, rstd, c->M);
    take(d, out, dx, n);
    if (c->gained)
        take(d, out, dgain, c->N);
    release_all(d, (struct qk_buf[]){x, gain, y, rstd, dy, dx, dgain}, 7);
}

static void reference_norm(double *y, double *rstd, const double *x, const double *gain, int64_t M,
                           int64_t N)
{
    for (int64_t m = 0; m < M; m++) {
        double sum = 0;
        for (int64_t i = 0; i < N; i++)
            sum += x[m * N + i] * x[m * N + i];
        double r = 1 / sqrt(sum / (double)N + (double)1e-3f);
        if (rstd)
            rstd[m] = r;
        for (int64_t i = 0; i < N; i++)
            y[m * N + i] = x[m * N + i] * r * (gain ? gain[i] : 1);
    }
}

struct norm_context {
    const struct norm_case *c;
    const double *x, *gain;
    bool of_gain;
};

static double norm_loss(void *context, const double *at)
{
    const struct norm_context *a = context;
    int64_t n = a->c->M * a->c->N;
    double *y = qk_alloc((size_t)n, sizeof *y);
    reference_norm(y, NULL, a->of_gain ? a->x : at, a->of_gain ? at : a->gain, a->c->M, a->c->N);
    double sum = dot_of(y, a->c->dy, n);
    free(y);
    return sum;
}

static void check_norm(int64_t M, int64_t N, bool gained)
{
    int64_t n = M * N;
    struct norm_case c = {M,
                          N,
                          gained,
                          normals("x", n, 2),
                          normals("gain", N, 1),
                          normals("dy", n, 1),
                          normals("before", n, 0.1)};
    struct outputs out = run_case(run_norm, &c);
    double *x = widened(c.x, n), *gain = gained ? widened(c.gain, N) : NULL;
    double *y = qk_alloc((size_t)(n + M), sizeof *y);
    reference_norm(y, y + n, x, gain, M, N);
    float *at = out.at;
    check_near("y", at, y, n, 1e-6);
    check_near("rstd", at += n, y + n, M, 1e-6);
    at += M;
    for (int64_t i = 0; i < n; i++)
        at[i] -= c.before[i];
    struct norm_context a = {&c, x, gain, false};
    check_gradient("dx", norm_loss, &a, x, at, n, 2e-6);
    if (gained) {
        at += n;
        for (int64_t i = 0; i < N; i++)
            at[i] -= c.before[i];
        a.of_gain = true;
        check_gradient("dgain", norm_loss, &a, gain, at, N, 2e-6);
    }
    free(x);
    free(gain);
    free(y);
    free(c.x);
    free(c.gain);
    free(c.dy);
    free(c.before);
    free(out.at);
}

static void test_rmsnorm(void **state)
{
    (void)state;
    check_norm(1, 2, true);
    check_norm(3, 37, true);
    check_norm(130, 128, true);
    check_norm(65, 130, false);
    check_norm(1000, 16, true);
}

/* ---- head_prepare ---- */

struct head_case {
    struct qk_head_shape s;
    bool gained;
    float *x, *gain, *dy, *angles;
};

static int64_t dense_size(const struct qk_head_shape *s)
{
    return s->B * s->T * s->heads * s->hd;
}

static int64_t strided_size(const struct qk_head_shape *s)
{
    return s->B * s->T * s->x_stride;
}

/* The table of the contract from (cos, sin) of each pair. */
static float *table_of(const float *angles, const struct qk_head_shape *s)
{
    float *table = qk_alloc((size_t)(s->T * 2 * s->hd), sizeof *table);
    for (int64_t t = 0; t < s->T; t++)
        for (int64_t j = 0; j < s->hd / 2; j++) {
            int64_t p = s->half ? j : 2 * j, q = s->half ? j + s->hd / 2 : 2 * j + 1;
            const float *pair = angles + t * s->hd + 2 * j;
            float *same = table + t * 2 * s->hd, *other = same + s->hd;
            same[p] = same[q] = pair[0];
            other[p] = -pair[1];
            other[q] = pair[1];
        }
    return table;
}

static void run_head(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct head_case *c = one;
    int64_t n = dense_size(&c->s), nx = strided_size(&c->s), rows = c->s.B * c->s.T * c->s.heads;
    struct qk_buf x = held(d, c->x, nx), dx = held(d, c->x, nx), y = empty(d, n);
    struct qk_buf dy = held(d, c->dy, n), rstd = empty(d, rows);
    struct qk_buf gain = c->gained ? held(d, c->gain, c->s.gain_size) : QK_NONE;
    struct qk_buf dgain = c->gained ? held(d, c->gain, c->s.gain_size) : QK_NONE;
    float *table = table_of(c->angles, &c->s);
    struct qk_buf angles = held(d, table, c->s.T * 2 * c->s.hd);
    free(table);
    d->ops->head_prepare(d, y, rstd, x, gain, angles, c->s);
    d->ops->head_prepare_back(d, dx, dgain, dy, x, gain, rstd, angles, c->s);
    take(d, out, y, n);
    take(d, out, dx, nx);
    if (c->gained)
        take(d, out, dgain, c->s.gain_size);
    release_all(d, (struct qk_buf[]){x, dx, y, dy, rstd, gain, dgain, angles}, 8);
}

/* The definition, one head of one row. */
static void reference_head(double *y, const double *x, const double *gain, const float *angles,
                           const struct qk_head_shape *s)
{
    double sum = 0, r = 1, z[128];
    for (int64_t i = 0; i < s->hd; i++)
        sum += x[i] * x[i];
    if (s->normalise)
        r = 1 / sqrt(sum / (double)s->hd + (double)s->eps);
    for (int64_t i = 0; i < s->hd; i++) {
        double g = s->normalise && gain ? gain[s->gain_size == 1 ? 0 : i] : 1;
        y[i] = z[i] = x[i] * r * g;
    }
    for (int64_t j = 0; s->rotate && j < s->hd / 2; j++) {
        int64_t p = s->half ? j : 2 * j, q = s->half ? j + s->hd / 2 : 2 * j + 1;
        double cosine = angles[2 * j], sine = angles[2 * j + 1];
        y[p] = z[p] * cosine - z[q] * sine;
        y[q] = z[q] * cosine + z[p] * sine;
    }
}

static void reference_heads(double *y, const struct head_case *c, const double *x,
                            const double *gain)
{
    const struct qk_head_shape *s = &c->s;
    for (int64_t m = 0; m < s->B * s->T; m++)
        for (int64_t h = 0; h < s->heads; h++)
            reference_head(y + (m * s->heads + h) * s->hd, x + m * s->x_stride + h * s->hd, gain,
                           c->angles + m % s->T * s->hd, s);
}

struct head_context {
    const struct head_case *c;
    const double *x, *gain;
    bool of_gain;
};

static double head_loss(void *context, const double *at)
{
    const struct head_context *a = context;
    int64_t n = dense_size(&a->c->s);
    double *y = qk_alloc((size_t)n, sizeof *y);
    reference_heads(y, a->c, a->of_gain ? a->x : at, a->of_gain ? at : a->gain);
    double sum = dot_of(y, a->c->dy, n);
    free(y);
    return sum;
}

static void fill_angles(float *angles, const struct qk_head_shape *s)
{
    for (int64_t t = 0; t < s->T; t++)
        for (int64_t j = 0; j < s->hd / 2; j++) {
            double turn = (double)t * pow(100, -2.0 * (double)j / (double)s->hd);
            angles[t * s->hd + 2 * j] = (float)cos(turn);
            angles[t * s->hd + 2 * j + 1] = (float)sin(turn);
        }
}

static void forget_foreign(const struct head_case *c, float *dx)
{
    const struct qk_head_shape *s = &c->s;
    for (int64_t m = 0; m < s->B * s->T; m++)
        for (int64_t i = s->heads * s->hd; i < s->x_stride; i++) {
            assert_true(dx[m * s->x_stride + i] == c->x[m * s->x_stride + i]);
            dx[m * s->x_stride + i] = 0;
        }
}

static void check_head(struct qk_head_shape s, bool gained)
{
    int64_t n = dense_size(&s), nx = strided_size(&s);
    struct head_case c = {s,
                          gained,
                          normals("x", nx, 2),
                          normals("gain", s.gain_size, 1),
                          normals("dy", n, 1),
                          qk_alloc((size_t)(s.T * s.hd), sizeof(float))};
    fill_angles(c.angles, &s);
    struct outputs out = run_case(run_head, &c);
    double *x = widened(c.x, nx), *gain = gained ? widened(c.gain, s.gain_size) : NULL;
    double *y = qk_alloc((size_t)n, sizeof *y);
    reference_heads(y, &c, x, gain);
    float *at = out.at;
    check_near("y", at, y, n, 1e-6);
    forget_foreign(&c, at += n);
    struct head_context a = {&c, x, gain, false};
    check_gradient("dx", head_loss, &a, x, at, nx, 2e-6);
    if (gained) {
        at += nx;
        for (int64_t i = 0; i < s.gain_size; i++)
            at[i] -= c.gain[i];
        a.of_gain = true;
        /* one number is a sum of thousands that cancel */
        check_gradient("dgain", head_loss, &a, gain, at, s.gain_size,
                       s.gain_size == 1 ? 1e-5 : 3e-6);
    }
    free(x);
    free(gain);
    free(y);
    free(c.x);
    free(c.gain);
    free(c.dy);
    free(c.angles);
    free(out.at);
}

static void test_head_prepare(void **state)
{
    (void)state;
    /* B, T, heads, hd, stride, normalise, gain_size, eps, rotate, half */
    check_head((struct qk_head_shape){1, 1, 1, 2, 2, true, 2, 1e-3f, true, false}, true);
    check_head((struct qk_head_shape){2, 3, 2, 6, 20, true, 6, 1e-3f, true, true}, true);
    check_head((struct qk_head_shape){2, 37, 3, 16, 48, true, 1, 1e-3f, true, false}, true);
    check_head((struct qk_head_shape){1, 130, 2, 64, 200, true, 64, 1e-6f, true, true}, true);
    check_head((struct qk_head_shape){3, 17, 4, 32, 128, true, 1, 1e-6f, false, false}, true);
    check_head((struct qk_head_shape){1, 37, 2, 128, 256, true, 128, 1e-6f, true, false}, false);
    check_head((struct qk_head_shape){2, 19, 2, 6, 13, false, 6, 1e-6f, true, true}, false);
    check_head((struct qk_head_shape){2, 19, 2, 6, 13, false, 6, 1e-6f, true, false}, false);
    check_head((struct qk_head_shape){1, 5, 1, 16, 16, false, 16, 1e-6f, false, false}, false);
}

/* Without normalisation a gain that is passed all the same is ignored, and gets no gradient. */
static void test_head_prepare_ignores_gain(void **state)
{
    (void)state;
    struct qk_head_shape s = {1, 2, 1, 4, 4, false, 4, 1e-6f, false, false};
    struct head_case c = {s,
                          true,
                          normals("x", 8, 1),
                          normals("gain", 4, 1),
                          normals("dy", 8, 1),
                          normals("angles", 8, 1)};
    struct outputs out = run_case(run_head, &c);
    assert_memory_equal(out.at, c.x, 8 * sizeof(float));
    assert_memory_equal(out.at + 8, c.dy, 8 * sizeof(float));
    assert_memory_equal(out.at + 16, c.gain, 4 * sizeof(float));
    free(c.x);
    free(c.gain);
    free(c.dy);
    free(c.angles);
    free(out.at);
}

/* ---- the gated nonlinearity ---- */

struct flat_case {
    int64_t n;
    float *a, *b, *dy;
};

static void run_flat(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct flat_case *c = one;
    int64_t n = c->n;
    struct qk_buf a = held(d, c->a, n), b = held(d, c->b, n), dy = held(d, c->dy, n);
    struct qk_buf y = empty(d, n), da = held(d, c->a, n), db = held(d, c->a, n);
    d->ops->swiglu(d, y, a, b, n);
    d->ops->swiglu_back(d, da, db, dy, a, b, n);
    take(d, out, y, n);
    take(d, out, da, n);
    take(d, out, db, n);
    release_all(d, (struct qk_buf[]){a, b, dy, y, da, db}, 6);
}

static void check_flat(int64_t n)
{
    struct flat_case c = {n, normals("a", n, 3), normals("b", n, 1), normals("dy", n, 1)};
    c.a[0] = 0;
    if (n > 4) {
        c.a[1] = -200; /* exp(200) is not a float: silu is 0 there */
        c.a[2] = 200;
        c.a[3] = -88.9f;
    }
    struct outputs out = run_case(run_flat, &c);
    for (int64_t i = 0; i < n; i++) {
        double a = c.a[i], b = c.b[i], dy = c.dy[i], s = 1 / (1 + exp(-a));
        double expected[] = {a * s * b, dy * b * s * (1 + a * (1 - s)), dy * a * s};
        for (int k = 0; k < 3; k++)
            if (!(fabs((double)out.at[k * n + i] - expected[k]) <= 2e-6 * fabs(expected[k]) + 2e-7))
                fail_msg("output %d at %g: %g, expected %g", k, a, (double)out.at[k * n + i],
                         expected[k]);
    }
    free(c.a);
    free(c.b);
    free(c.dy);
    free(out.at);
}

static void test_nonlinearities(void **state)
{
    (void)state;
    check_flat(1);
    check_flat(37);
    check_flat(100003);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),          cmocka_unit_test(test_embed_refuses_foreign_tokens),
        cmocka_unit_test(test_rmsnorm),        cmocka_unit_test(test_head_prepare),
        cmocka_unit_test(test_nonlinearities), cmocka_unit_test(test_head_prepare_ignores_gain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
