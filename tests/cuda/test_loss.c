/* Head and cross-entropy in one. */
#include "cuda/both.h"

#include "compute/cuda/cuda.h"

struct loss_case {
    int64_t M, D, V;
    double x_scale;
    float grad_scale;
    bool gradients, best;
    int64_t rows; /* whose logits are there at once; 0: as usual */
};

/* Every fifth is none. */
static int32_t *some_targets(int64_t M, int64_t V)
{
    int32_t *t = tokens_below("targets", M, V);
    for (int64_t m = 2; m < M; m += 5)
        t[m] = -1;
    return t;
}

static void cut(struct both *b, const struct loss_case *c)
{
    if (b->d->apart)
        qk_cuda_set_logits(b->d, c->rows * c->V * (int64_t)sizeof(float));
}

/* nll comes from float32 logits in bf16 too, of the same rounded x and w.  dlogits are rounded to
 * bf16, then dx is. */
static void run_loss(struct both *b, const void *one)
{
    const struct loss_case *c = one;
    const int64_t M = c->M, D = c->D, V = c->V;
    int32_t *t = some_targets(M, V);
    struct qk_buf x = both_normals(b, QK_ROLE_ACTIVATION, "x", M * D, c->x_scale);
    struct qk_buf w = both_normals(b, QK_ROLE_PARAMETER, "w", V * D, 1);
    struct qk_buf targets = both_tokens(b, t, M), nll = both_empty(b, QK_ROLE_EXACT, M);
    struct qk_buf dx = QK_NONE, dw = QK_NONE, best = QK_NONE;
    if (c->gradients) {
        dx = both_empty(b, QK_ROLE_ACTIVATION, M * D);
        dw = both_normals(b, QK_ROLE_GRADIENT, "dw", V * D, 0.01);
    }
    if (c->best)
        best = both_tokens(b, t, M);
    cut(b, c);
    b->d->ops->loss(b->d, nll, best, dx, dw, x, w, targets, c->grad_scale, M, D, V);
    both_out(b, "nll", nll, M, 4e-6, 4e-6);
    if (c->gradients) {
        both_out(b, "dx", dx, M * D, 3e-5, 0x3p-8);
        both_out(b, "dw", dw, V * D, 3e-5, 0x2p-8);
    }
    if (c->best)
        both_out_tokens(b, "best", best, M, 1e-3, 1e-3);
    free(t);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct loss_case small[] = {
        {1, 1, 1, 1, 1, true, true, 0},
        {5, 3, 7, 1, 1, true, true, 0},
        {37, 16, 130, 1, 0.125f, true, false, 8},  /* numbers one by one, some chunks */
        {70, 37, 1000, 0.3, 0.01f, true, true, 0}, /* packs */
        {130, 8, 520, 1, 1, true, true, 128},      /* chunks of 128 rows */
        {6, 5, 1031, 1, 1, true, true, 0},         /* more numbers than threads */
        {4, 8, 8200, 1, 1, true, true, 3},         /* more packs than threads */
        {66, 24, 256, 1, 1, false, true, 33},
        {33, 16, 700, 30, 1, true, true, 0}, /* logits of hundreds */
        {33, 16, 701, 3000, 1, false, true, 0},
    };
    static const struct loss_case real[] = {
        {2048, 2048, 49152, 0.02, 1.0f / 2048, true, true, 0},
        {4500, 512, 49152, 0.05, 1.0f / 4500, true, true, 0},
        {1000, 512, 49152, 0.05, 1, false, true, 0},
        {1031, 513, 50257, 0.05, 1, true, true, 200},
    };
    both_check_all(run_loss, small, real);
}

/* Of equal logits the lowest index wins, whichever thread, warp or pack has them. */
struct equal_case {
    int64_t V;
    int32_t first, second;
};

static void run_equals(struct both *b, const void *one)
{
    const struct equal_case *c = one;
    enum { M = 3 };
    const float x_[M] = {1, 0, -1};
    const int32_t t[M] = {0, (int32_t)c->V - 1, -1};
    float *w_ = qk_alloc((size_t)c->V, sizeof *w_);
    for (int64_t i = 0; i < c->V; i++)
        w_[i] = i == c->first || i == c->second ? 2 : 1;
    struct qk_buf x = both_in(b, QK_ROLE_ACTIVATION, x_, M);
    struct qk_buf w = both_in(b, QK_ROLE_PARAMETER, w_, c->V);
    struct qk_buf targets = both_tokens(b, t, M), best = both_tokens(b, t, M);
    struct qk_buf nll = both_empty(b, QK_ROLE_EXACT, M);
    b->d->ops->loss(b->d, nll, best, QK_NONE, QK_NONE, x, w, targets, 1, M, 1, c->V);
    both_out(b, "nll", nll, M, 4e-6, 4e-6);
    both_out_tokens(b, "best", best, M, 0, 0);
    free(w_);
}

static void test_best_of_equals(void **state)
{
    (void)state;
    static const struct equal_case cases[] = {
        {7, 2, 6},      {900, 40, 41},    {904, 40, 47},    {904, 47, 48},
        {904, 15, 896}, {1003, 600, 601}, {1003, 31, 1000}, {8200, 9, 8199},
    };
    both_check_all(run_equals, cases, cases);
}

/* Logits past what float32 holds give no number, and no failure. */
static void run_infinite(struct both *b, const void *one)
{
    const struct loss_case *c = one;
    const int32_t t[] = {0, 1, 2};
    const float x_[] = {0x1p127f, -0x1p127f, 1};
    float *w_ = normals("w", c->V, 1);
    w_[3] = 64;
    struct qk_buf x = both_in(b, QK_ROLE_ACTIVATION, x_, 3);
    struct qk_buf w = both_in(b, QK_ROLE_PARAMETER, w_, c->V);
    struct qk_buf targets = both_tokens(b, t, 3), nll = both_empty(b, QK_ROLE_EXACT, 3);
    b->d->ops->loss(b->d, nll, QK_NONE, QK_NONE, QK_NONE, x, w, targets, 1, 3, 1, c->V);
    both_out(b, "nll", nll, 3, 4e-6, 4e-6);
    free(w_);
}

static void test_infinite(void **state)
{
    (void)state;
    static const struct loss_case cases[] = {{.V = 9}, {.V = 304}};
    both_check_all(run_infinite, cases, cases);
}

/* The first target outside the vocabulary is named, counted from the first row of all chunks. */
static void test_bad_target(void **state)
{
    (void)state;
    enum { M = 10, D = 2, V = 5 };
    struct qk_device *d = both_open(false);
    struct qk_err err = {{0}};
    float *x_ = normals("x", M * D, 1), *w_ = normals("w", V * D, 1);
    int32_t t[M] = {0, 4, -1, 3, 2, 1, 0, 5, 1000, -7};
    struct qk_buf x = held(d, x_, M * D), nll, w, targets = held_tokens(d, t, M);
    d->ops->alloc(d, &w, QK_ROLE_PARAMETER, V * D);
    d->ops->alloc(d, &nll, QK_ROLE_EXACT, M);
    d->ops->put(d, w, w_, V * D);
    qk_cuda_set_logits(d, 3 * V * (int64_t)sizeof(float));
    d->ops->loss(d, nll, QK_NONE, QK_NONE, QK_NONE, x, w, targets, 1, 7, D, V);
    assert_works(d->ops->sync(d, &err));
    d->ops->loss(d, nll, QK_NONE, QK_NONE, QK_NONE, x, w, targets, 1, M, D, V);
    assert_int_equal(d->ops->sync(d, &err), -1);
    assert_string_equal(err.text, "cuda loss: target 5 at 7 is outside the vocabulary of 5");
    release_all(d, (struct qk_buf[]){x, nll, w, targets}, 4);
    qk_device_close(d);
    free(x_);
    free(w_);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_best_of_equals),
        cmocka_unit_test(test_infinite),
        cmocka_unit_test(test_bad_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
