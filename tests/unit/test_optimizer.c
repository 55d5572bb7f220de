/* One and two updates against AdamW and Muon written out in double precision, for every grouping,
 * orthogonaliser and decay; clipping; moments on disk. */
#include "unit/plain_muon.h"
#include "unit/tiny.h"

#include "model/optimizer.h"

enum { MOST = 64 * 64 }; /* elements of a matrix here */

struct trial { /* weights, buffers and gradient in double, over the arena */
    const struct qk_config *c;
    const struct qk_params *p;
    double *w, *m, *v, *g;
    double scale, factor;
    int updates;
};

static void plain_muon(struct trial *t, int64_t at, int rows, int cols)
{
    static double u[MOST];
    const struct qk_config *c = t->c;
    for (int i = 0; i < rows * cols; i++) {
        const double g = t->g[at + i] * t->scale;
        double *b = &t->m[at + i];
        *b += (1 - c->muon_momentum) * (g - *b);
        u[i] = g + c->muon_momentum * (*b - g);
    }
    plain_orthogonalize(u, rows, cols,
                        c->muon_orthogonalizer == QK_ORTH_POLAR_EXPRESS ? QK_POLAR_EXPRESS
                                                                        : QK_NEWTON_SCHULZ);
    const double lr = c->muon_lr * t->factor, ratio = (double)rows / cols;
    for (int i = 0; i < rows * cols; i++)
        t->w[at + i] = t->w[at + i] * (1 - lr * c->muon_weight_decay) -
                       lr * sqrt(ratio > 1 ? ratio : 1) * u[i];
}

static void plain_adamw(struct trial *t, const struct qk_param *p)
{
    const struct qk_config *c = t->c;
    const double lr = c->adamw_lr * t->factor;
    const bool gain = p->tensor == QK_Q_NORM || p->tensor == QK_K_NORM;
    const double wd = gain ? c->qk_gain_weight_decay : c->weight_decay;
    for (int64_t i = p->offset; i < p->offset + p->count; i++) {
        const double g = t->g[i] * t->scale;
        t->m[i] = c->adamw_beta1 * t->m[i] + (1 - c->adamw_beta1) * g;
        t->v[i] = c->adamw_beta2 * t->v[i] + (1 - c->adamw_beta2) * g * g;
        const double m = t->m[i] / (1 - pow(c->adamw_beta1, t->updates));
        const double v = t->v[i] / (1 - pow(c->adamw_beta2, t->updates));
        t->w[i] = t->w[i] * (1 - lr * wd) - lr * m / (sqrt(v) + c->adamw_eps);
    }
}

static void plain_layer_matrix(struct trial *t, const struct qk_param *p)
{
    const int rows = (int)p->dims[0], cols = (int)p->dims[1], hd = (int)qk_head_dim(t->c);
    const bool input = p->tensor == QK_WQ || p->tensor == QK_WK || p->tensor == QK_WV;
    if (t->c->muon_qkvo == QK_QKVO_MERGED && (input || p->tensor == QK_WO)) {
        if (p->tensor == QK_WQ) /* all four, stacked */
            plain_muon(t, p->offset, (int)(2 * t->c->n_heads + 2 * t->c->n_kv_heads) * hd, cols);
    } else if (t->c->muon_qkvo == QK_QKVO_HEAD && input) {
        for (int first = 0; first < rows; first += hd)
            plain_muon(t, p->offset + (int64_t)first * cols, hd, cols);
    } else {
        plain_muon(t, p->offset, rows, cols);
    }
}

static void plain_step(struct trial *t)
{
    double norm = 0;
    for (int64_t i = 0; i < t->p->trained; i++)
        norm += t->g[i] * t->g[i];
    norm = sqrt(norm);
    t->scale = t->c->grad_clip > 0 ? fmin(1, t->c->grad_clip / (norm + 1e-6)) : 1;
    t->updates++;
    for (int i = 0; i < t->p->count; i++) {
        const struct qk_param *p = &t->p->at[i];
        if (p->offset >= t->p->trained)
            continue;
        if (t->c->optimizer == QK_MUON_ADAMW && p->rank == 2 && p->layer >= 0)
            plain_layer_matrix(t, p);
        else
            plain_adamw(t, p);
    }
}

static struct qk_buf put(const double *values, int64_t n, enum qk_role role)
{
    struct qk_buf b;
    float *narrow = qk_alloc((size_t)n, sizeof *narrow);
    for (int64_t i = 0; i < n; i++)
        narrow[i] = (float)values[i];
    device->ops->alloc(device, &b, role, n);
    device->ops->put(device, b, narrow, n);
    free(narrow);
    return b;
}

static float *get(struct qk_buf b, int64_t n)
{
    float *to = qk_alloc((size_t)n, sizeof *to);
    device->ops->get(device, to, b, n);
    return to;
}

/* As float32 holds it, so that both sides start from the same numbers. */
static double draw(uint64_t stream, int64_t i, double scale)
{
    return (float)(scale * qk_rng_normal(4, stream, (uint64_t)i));
}

static void two_steps(const struct qk_config *c, double gradient)
{
    struct qk_err err;
    struct qk_params p;
    qk_params_layout(&p, c);
    const size_t n = (size_t)p.total;
    struct trial t = {.c = c,
                      .p = &p,
                      .factor = 0.5,
                      .w = qk_zalloc(n, 8),
                      .m = qk_zalloc(n, 8),
                      .v = qk_zalloc(n, 8),
                      .g = qk_zalloc(n, 8)};
    for (int64_t i = 0; i < p.total; i++)
        t.w[i] = draw(1, i, 0.3);
    struct qk_buf w = put(t.w, p.total, QK_ROLE_PARAMETER);
    struct qk_optimizer *o = qk_optimizer_create(device, &p, c, &err);
    assert_non_null(o);
    for (int step = 0; step < 2; step++) {
        double norm, expected = 0;
        for (int64_t i = 0; i < p.trained; i++) {
            t.g[i] = draw(2 + (uint64_t)step, i, gradient);
            expected += t.g[i] * t.g[i];
        }
        struct qk_buf g = put(t.g, p.trained, QK_ROLE_GRADIENT);
        plain_step(&t);
        assert_works(qk_optimizer_step(o, w, g, t.factor, &norm, &err));
        assert_close(norm, sqrt(expected), 1e-6);
        float *zero = get(g, p.trained);
        for (int64_t i = 0; i < p.trained; i++)
            assert_true(zero[i] == 0);
        free(zero);
        device->ops->release(device, g);
    }
    float *have = get(w, p.total);
    for (int i = 0; i < p.count; i++)
        for (int64_t k = p.at[i].offset; k < p.at[i].offset + p.at[i].count; k++)
            if (fabs(have[k] - t.w[k]) > 2e-6)
                fail_msg("%s: %.9g, expected %.9g", p.at[i].name, (double)have[k], t.w[k]);
    free(have);
    free(t.w);
    free(t.m);
    free(t.v);
    free(t.g);
    device->ops->release(device, w);
    qk_optimizer_free(o);
    qk_params_free(&p);
}

static void updates_are_as_written_out(void **state)
{
    (void)state;
    for (int kind = 0; kind < 12; kind++) {
        struct qk_config c = tiny_config();
        c.muon_qkvo = (enum qk_qkvo)(kind % 3);
        c.muon_orthogonalizer = kind / 3 & 1 ? QK_ORTH_NEWTON_SCHULZ : QK_ORTH_POLAR_EXPRESS;
        c.muon_weight_decay = kind < 6 ? 0 : 0.1;
        c.qk_gain_weight_decay = kind < 6 ? 0.2 : 0;
        c.qk_norm = (enum qk_norm_kind)(kind & 3);
        c.ffn = kind & 1 ? QK_SWIGLU : QK_RELU2;
        c.tie_embeddings = kind & 2;
        c.optimizer = kind == 11 ? QK_ADAMW : QK_MUON_ADAMW;
        c.grad_clip = kind == 7 ? 0 : 1;
        two_steps(&c, kind == 8 ? 1e-4 : 0.3); /* clipped, and not */
    }
}

/* ---- what the device is told ---- */

static struct qk_adamw told;

static void listen(struct qk_device *d, struct qk_buf w, struct qk_buf m, struct qk_buf v,
                   struct qk_buf g, struct qk_buf scale, int64_t n, struct qk_adamw how)
{
    (void)d, (void)w, (void)m, (void)v, (void)g, (void)scale, (void)n;
    told = how;
}

/* 1 - (float)0.999 is off by a part in 80,000: settings stay double all the way. */
static void settings_reach_the_device_unrounded(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config c = tiny_config();
    struct qk_params p;
    c.optimizer = QK_ADAMW;
    c.adamw_lr = 0.003;
    qk_params_layout(&p, &c);
    static struct qk_ops spy;
    const struct qk_ops *real = device->ops;
    double norm;
    struct qk_buf w, g;
    spy = *real;
    spy.adamw = listen;
    real->alloc(device, &w, QK_ROLE_PARAMETER, p.total);
    real->alloc(device, &g, QK_ROLE_GRADIENT, p.trained);
    struct qk_optimizer *o = qk_optimizer_create(device, &p, &c, &err);
    assert_non_null(o);
    device->ops = &spy;
    for (int update = 1; update <= 3; update++) {
        assert_works(qk_optimizer_step(o, w, g, 0.7, &norm, &err));
        assert_true(told.lr == c.adamw_lr * 0.7);
        assert_true(told.beta1 == c.adamw_beta1 && told.beta2 == c.adamw_beta2);
        assert_true(told.eps == c.adamw_eps && told.weight_decay == c.weight_decay);
        assert_true(told.bias1 == 1 - pow(c.adamw_beta1, update));
        assert_true(told.bias2 == 1 - pow(c.adamw_beta2, update));
    }
    device->ops = real;
    real->release(device, w);
    real->release(device, g);
    qk_optimizer_free(o);
    qk_params_free(&p);
}

static void nonfinite_gradients_change_nothing(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config c = tiny_config();
    struct qk_params p;
    qk_params_layout(&p, &c);
    double *g = qk_zalloc((size_t)p.total, sizeof *g), norm;
    g[7] = NAN;
    struct qk_buf w = put(g, p.total, QK_ROLE_PARAMETER);
    struct qk_buf gradients = put(g, p.trained, QK_ROLE_GRADIENT);
    struct qk_optimizer *o = qk_optimizer_create(device, &p, &c, &err);
    assert_non_null(o);
    device->ops->zero(device, w, p.total);
    assert_works(qk_optimizer_step(o, w, gradients, 1, &norm, &err));
    assert_false(isfinite(norm));
    float *have = get(w, p.total);
    for (int64_t i = 0; i < p.total; i++)
        assert_true(have[i] == 0);
    free(have);
    free(g);
    device->ops->release(device, w);
    device->ops->release(device, gradients);
    qk_optimizer_free(o);
    qk_params_free(&p);
}

static void spoilt_moments_are_refused(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config c = tiny_config();
    struct qk_params p;
    qk_params_layout(&p, &c);
    struct qk_optimizer *o = qk_optimizer_create(device, &p, &c, &err);
    assert_non_null(o);
    struct qk_h5 *f = qk_h5_create("o.h5", &err);
    float embed[61 * 16] = {0};
    assert_non_null(f);
    assert_works(qk_h5_make_group(f, "/optim", &err));
    assert_works(qk_h5_put_int(f, "/optim", "adamw_updates", 3, &err));
    const int64_t dims[] = {61, 16};
    assert_works(qk_h5_write(f, "/optim/embed/m", QK_F32, 2, dims, QK_F32, embed, 0, &err));
    embed[5] = -1;
    assert_works(qk_h5_write(f, "/optim/embed/v", QK_F32, 2, dims, QK_F32, embed, 0, &err));
    assert_works(qk_h5_commit(f, &err));
    f = qk_h5_open("o.h5", &err);
    assert_int_equal(qk_optimizer_read(o, f, &err), -1);
    assert_string_equal(err.text, "o.h5: /optim/embed/v holds a negative mean square (element 5)");
    qk_h5_close(f);
    qk_optimizer_free(o);
    qk_params_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_are_as_written_out),
        cmocka_unit_test(settings_reach_the_device_unrounded),
        cmocka_unit_test(nonfinite_gradients_change_nothing),
        cmocka_unit_test(spoilt_moments_are_refused),
    };
    return cmocka_run_group_tests(tests, tiny_begin_device, tiny_end_device);
}
