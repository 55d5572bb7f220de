/* Head and cross-entropy in one. */
#include "ops_check.h"

struct one {
    int64_t M, D, V;
    double x_scale;
    float grad_scale;
    bool gradients, best;
    float *x, *w, *dw; /* dw: what was there before */
    int32_t *targets;
};

static void fill(struct one *c)
{
    c->x = normals("x", c->M * c->D, c->x_scale);
    c->w = normals("w", c->V * c->D, 1);
    c->dw = normals("dw", c->V * c->D, 0.01);
    c->targets = tokens_below("targets", c->M, c->V);
    for (int64_t m = 2; m < c->M; m += 5)
        c->targets[m] = -1;
}

static void drop(struct one *c)
{
    free(c->x);
    free(c->w);
    free(c->dw);
    free(c->targets);
}

/* Outputs: nll, then dx and dw, then best as floats. */
static void run(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct one *c = one;
    struct qk_buf x = held(d, c->x, c->M * c->D), w = held(d, c->w, c->V * c->D);
    struct qk_buf targets = held_tokens(d, c->targets, c->M), nll = empty(d, c->M);
    struct qk_buf dx = QK_NONE, dw = QK_NONE, best = QK_NONE;
    if (c->gradients) {
        dx = held(d, c->x, c->M * c->D);
        dw = held(d, c->dw, c->V * c->D);
    }
    if (c->best)
        d->ops->alloc(d, &best, QK_ROLE_TOKENS, c->M);
    d->ops->loss(d, nll, best, dx, dw, x, w, targets, c->grad_scale, c->M, c->D, c->V);
    take(d, out, nll, c->M);
    if (c->gradients) {
        take(d, out, dx, c->M * c->D);
        take(d, out, dw, c->V * c->D);
    }
    if (c->best) {
        int32_t *index = qk_alloc((size_t)c->M, sizeof *index);
        d->ops->get_tokens(d, index, best, c->M);
        for (int64_t m = 0; m < c->M; m++)
            index[m] = index[m] * 2 + 1; /* never a signalling pattern when read as float */
        out->at = qk_realloc(out->at, (size_t)(out->n + c->M), sizeof *out->at);
        for (int64_t m = 0; m < c->M; m++)
            out->at[out->n++] = (float)(index[m] / 2);
        free(index);
    }
    release_all(d, (struct qk_buf[]){x, w, targets, nll, dx, dw, best}, 7);
}

/* nll[m] (and the largest logit's index) by definition; the sum is returned. */
static double reference(const struct one *c, double *nll, int64_t *best, const double *x,
                        const double *w)
{
    double *l = qk_alloc((size_t)c->V, sizeof *l), all = 0;
    for (int64_t m = 0; m < c->M; m++) {
        int64_t top = 0;
        double sum = 0;
        for (int64_t v = 0; v < c->V; v++) {
            l[v] = 0;
            for (int64_t i = 0; i < c->D; i++)
                l[v] += x[m * c->D + i] * w[v * c->D + i];
            top = l[v] > l[top] ? v : top;
        }
        for (int64_t v = 0; v < c->V; v++)
            sum += exp(l[v] - l[top]);
        double cost = c->targets[m] < 0 ? 0 : l[top] + log(sum) - l[c->targets[m]];
        if (nll)
            nll[m] = cost;
        if (best)
            best[m] = top;
        all += cost;
    }
    free(l);
    return all;
}

struct context {
    const struct one *c;
    const double *other;
};

static double loss_of_x(void *context, const double *x)
{
    const struct context *a = context;
    return (double)a->c->grad_scale * reference(a->c, NULL, NULL, x, a->other);
}

static double loss_of_w(void *context, const double *w)
{
    const struct context *a = context;
    return (double)a->c->grad_scale * reference(a->c, NULL, NULL, a->other, w);
}

static void check_case(struct one c)
{
    fill(&c);
    struct outputs out = run_case(run, &c);
    double *x = widened(c.x, c.M * c.D), *w = widened(c.w, c.V * c.D);
    double *nll = qk_alloc((size_t)c.M, sizeof *nll);
    int64_t *best = qk_alloc((size_t)c.M, sizeof *best);
    reference(&c, nll, best, x, w);
    float *at = out.at;
    check_near("nll", at, nll, c.M, 2e-6);
    at += c.M;
    if (c.gradients) {
        struct context of_x = {&c, w}, of_w = {&c, x};
        check_gradient("dx", loss_of_x, &of_x, x, at, c.M * c.D, 1e-5);
        at += c.M * c.D;
        for (int64_t i = 0; i < c.V * c.D; i++)
            at[i] -= c.dw[i];
        check_gradient("dw", loss_of_w, &of_w, w, at, c.V * c.D, 1e-5);
        at += c.V * c.D;
    }
    for (int64_t m = 0; c.best && m < c.M; m++)
        assert_int_equal((int64_t)at[m], best[m]);
    free(x);
    free(w);
    free(nll);
    free(best);
    free(out.at);
    drop(&c);
}

static void test_sizes(void **state)
{
    (void)state;
    check_case((struct one){
        .M = 1, .D = 2, .V = 17, .x_scale = 1, .grad_scale = 1, .gradients = true, .best = true});
    check_case((struct one){
        .M = 37, .D = 16, .V = 255, .x_scale = 1, .grad_scale = 0.125f, .gradients = true});
    check_case((struct one){.M = 70,
                            .D = 37,
                            .V = 1000,
                            .x_scale = 0.3,
                            .grad_scale = 0.01f,
                            .gradients = true,
                            .best = true});
    check_case((struct one){.M = 1100,
                            .D = 6,
                            .V = 300,
                            .x_scale = 1,
                            .grad_scale = 1,
                            .gradients = true,
                            .best = true});
    check_case((struct one){.M = 130, .D = 8, .V = 513, .x_scale = 1, .best = true});
}

/* Logits up to several hundred: blocks of the vocabulary far below the largest one count as 0. */
static void test_large_logits(void **state)
{
    (void)state;
    check_case((struct one){.M = 33,
                            .D = 16,
                            .V = 700,
                            .x_scale = 30,
                            .grad_scale = 1,
                            .gradients = true,
                            .best = true});
}

/* Of equal logits the lowest index wins, across blocks too. */
static void test_best_of_equals(void **state)
{
    (void)state;
    enum { V = 900 };
    struct one c = {.M = 3, .D = 1, .V = V, .x_scale = 1, .best = true};
    fill(&c);
    for (int i = 0; i < V; i++)
        c.w[i] = i == 40 || i == 41 || i == 600 ? 2 : 1;
    c.x[0] = 1;
    c.x[1] = 0; /* all equal */
    c.x[2] = -1;
    struct outputs out = run_case(run, &c);
    assert_true(out.at[3] == 40);
    assert_true(out.at[4] == 0);
    assert_true(out.at[5] == 0);
    free(out.at);
    drop(&c);
}

static void test_bad_target(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_device *d = qk_device_open("cpu", &err);
    struct one c = {.M = 4, .D = 2, .V = 5, .x_scale = 1};
    fill(&c);
    c.targets[3] = 5;
    struct outputs out = {0};
    run(d, &c, &out);
    assert_int_equal(d->ops->sync(d, &err), -1);
    assert_non_null(strstr(err.text, "target 5"));
    qk_device_close(d);
    free(out.at);
    drop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_large_logits),
        cmocka_unit_test(test_best_of_equals),
        cmocka_unit_test(test_bad_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
