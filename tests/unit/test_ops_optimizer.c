/* Gradient norm, AdamW, Muon. */
#include "ops_check.h"
#include "plain_muon.h"

/* ---- gradient norm ---- */

struct norm_case {
    int64_t n;
    float clip;
    float *g;
};

static void run_norm(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct norm_case *c = one;
    struct qk_buf g = held(d, c->g, c->n), result = empty(d, 2);
    d->ops->grad_norm(d, result, g, c->n, c->clip);
    take(d, out, result, 2);
    release_all(d, (struct qk_buf[]){g, result}, 2);
}

static void test_grad_norm(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 37, 65536, 200001};
    static const float clips[] = {1, 1e6f, 0, -1};
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t k = 0; k < COUNT(clips); k++) {
            struct norm_case c = {sizes[i], clips[k], normals("g", sizes[i], 3)};
            struct outputs out = run_case(run_norm, &c);
            double *g = widened(c.g, c.n), norm = norm_of(g, c.n);
            assert_close((double)out.at[0], norm, 1e-7);
            double scale = c.clip > 0 ? fmin(1, (double)c.clip / (norm + 1e-6)) : 1;
            assert_close((double)out.at[1], scale, 1e-7);
            free(g);
            free(c.g);
            free(out.at);
        }
}

/* ---- AdamW ---- */

enum { N = 1003, UPDATES = 3 };

static void run_adamw(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct qk_adamw *start = one;
    struct qk_adamw how = *start;
    float *w_ = normals("w", N, 1), scale_ = 0.25f;
    struct qk_buf w = held(d, w_, N), m = empty(d, N), v = empty(d, N), g = empty(d, N);
    struct qk_buf scale = held(d, &scale_, 1);
    for (int t = 1; t <= UPDATES; t++) {
        char name[] = {'g', (char)('0' + t), 0};
        float *g_ = normals(name, N, 1);
        d->ops->put(d, g, g_, N);
        how.bias1 = 1 - pow(how.beta1, t);
        how.bias2 = 1 - pow(how.beta2, t);
        d->ops->adamw(d, w, m, v, g, scale, N, how);
        free(g_);
    }
    take(d, out, w, N);
    take(d, out, m, N);
    take(d, out, v, N);
    free(w_);
    release_all(d, (struct qk_buf[]){w, m, v, g, scale}, 5);
}

static void test_adamw(void **state)
{
    (void)state;
    const struct qk_adamw how = {
        .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.2};
    struct outputs out = run_case(run_adamw, &how);
    float *w_ = normals("w", N, 1);
    double *w = widened(w_, N), m[N] = {0}, v[N] = {0};
    for (int t = 1; t <= UPDATES; t++) {
        char name[] = {'g', (char)('0' + t), 0};
        float *g_ = normals(name, N, 1);
        for (int i = 0; i < N; i++) {
            double g = 0.25 * (double)g_[i];
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            w[i] *= 1 - 0.01 * 0.2;
            w[i] -= 0.01 * (m[i] / (1 - pow(0.9, t))) / (sqrt(v[i] / (1 - pow(0.999, t))) + 1e-8);
        }
        free(g_);
    }
    check_near("w", out.at, w, N, 3e-7);
    check_near("m", out.at + N, m, N, 5e-7);
    check_near("v", out.at + 2 * N, v, N, 5e-7);
    free(w);
    free(w_);
    free(out.at);
}

/* Several tensors at once are each what it would be by itself; what is between them stays. */
static void test_several_adamw(void **state)
{
    (void)state;
    enum { EACH = 5, STRIDE = 9, STRIDE_V = 6, ALL = EACH + 2 * STRIDE };
    struct qk_err err;
    struct qk_device *d = qk_device_open("cpu", &err);
    float *x = normals("x", ALL, 1), *g_ = normals("g", ALL, 1), scale_ = 0.5f,
          got[2][3][ALL] = {0};
    for (int apart = 0; apart < 2; apart++) {
        struct qk_adamw how = {.lr = 0.1,
                               .beta1 = 0.9,
                               .beta2 = 0.999,
                               .eps = 1e-8,
                               .bias1 = 0.1,
                               .bias2 = 0.001,
                               .more = 2,
                               .stride = STRIDE,
                               .stride_v = STRIDE_V};
        struct qk_buf w = held(d, x, ALL), m = held(d, x, ALL), v = empty(d, ALL);
        struct qk_buf g = held(d, g_, ALL), scale = held(d, &scale_, 1);
        if (!apart)
            d->ops->adamw(d, w, m, v, g, scale, EACH, how);
        how.more = 0;
        for (int k = 0; apart && k < 3; k++)
            d->ops->adamw(d, qk_at(w, k * STRIDE), qk_at(m, k * STRIDE), qk_at(v, k * STRIDE_V),
                          qk_at(g, k * STRIDE), scale, EACH, how);
        d->ops->get(d, got[apart][0], w, ALL);
        d->ops->get(d, got[apart][1], m, ALL);
        d->ops->get(d, got[apart][2], v, ALL);
        release_all(d, (struct qk_buf[]){w, m, v, g, scale}, 5);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    assert_true(got[0][0][EACH] == x[EACH] && got[0][0][STRIDE] != x[STRIDE]);
    qk_device_close(d);
    free(x);
    free(g_);
}

/* ---- Muon ---- */

static const float MUON_SCALE = 0.5f;

static void run_muon(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct qk_muon *how = one;
    int64_t n = how->count * how->stride;
    float *w_ = normals("w", n, 1), *b_ = normals("b", n, 1), *g_ = normals("g", n, 1);
    struct qk_buf w = held(d, w_, n), b = held(d, b_, n), g = held(d, g_, n);
    struct qk_buf scale = held(d, &MUON_SCALE, 1);
    d->ops->muon(d, w, b, g, scale, *how);
    take(d, out, w, n);
    take(d, out, b, n);
    take(d, out, g, n);
    free(w_);
    free(b_);
    free(g_);
    release_all(d, (struct qk_buf[]){w, b, g, scale}, 4);
}

static void check_muon(int64_t count, int64_t rows, int64_t cols, enum qk_orthogonalizer kind)
{
    int64_t size = rows * cols, stride = size + (count > 1 ? 5 : 0), n = count * stride;
    const struct qk_muon how = {count, rows, cols, stride, 0.02, 0.95, 0.1, kind};
    struct outputs out = run_case(run_muon, &how);
    float *w_ = normals("w", n, 1), *b_ = normals("b", n, 1), *g_ = normals("g", n, 1);
    double *w = widened(w_, n), *b = widened(b_, n), *u = qk_alloc((size_t)n, sizeof *u);
    double rate = 0.02 * sqrt(fmax(1, (double)rows / (double)cols));
    for (int64_t c = 0; c < count; c++) { /* what lies between two matrices stays as it is */
        for (int64_t i = c * stride; i < c * stride + size; i++) {
            double g = (double)MUON_SCALE * (double)g_[i];
            b[i] += 0.05 * (g - b[i]);
            u[i] = g + 0.95 * (b[i] - g);
        }
        plain_orthogonalize(u + c * stride, rows, cols, kind);
        for (int64_t i = c * stride; i < c * stride + size; i++)
            w[i] = w[i] * (1 - 0.02 * 0.1) - rate * u[i];
    }
    check_near("w", out.at, w, n, 1e-6);
    check_near("b", out.at + n, b, n, 3e-7);
    assert_memory_equal(out.at + 2 * n, g_, (size_t)n * sizeof *g_);
    free(w_);
    free(b_);
    free(g_);
    free(w);
    free(b);
    free(u);
    free(out.at);
}

static void test_muon(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{1, 1, 1},    {1, 3, 3},    {2, 37, 16}, {3, 16, 37},
                                        {1, 130, 70}, {1, 70, 130}, {4, 32, 64}, {1, 96, 96},
                                        {1, 1, 5},    {2, 5, 1}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        check_muon(shapes[i][0], shapes[i][1], shapes[i][2], QK_POLAR_EXPRESS);
        check_muon(shapes[i][0], shapes[i][1], shapes[i][2], QK_NEWTON_SCHULZ);
    }
}

/* A zero gradient and momentum: no step, no NaN. */
static void test_muon_at_rest(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_device *d = qk_device_open("cpu", &err);
    float *w_ = normals("w", 12, 1), after[12];
    struct qk_buf w = held(d, w_, 12), b = empty(d, 12), g = empty(d, 12);
    struct qk_buf scale = held(d, &MUON_SCALE, 1);
    d->ops->muon(d, w, b, g, scale, (struct qk_muon){1, 3, 4, 12, 0.1, 0.95, 0, QK_POLAR_EXPRESS});
    d->ops->get(d, after, w, 12);
    assert_memory_equal(after, w_, sizeof after);
    free(w_);
    release_all(d, (struct qk_buf[]){w, b, g, scale}, 4);
    qk_device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grad_norm),     cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_several_adamw), cmocka_unit_test(test_muon),
        cmocka_unit_test(test_muon_at_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
