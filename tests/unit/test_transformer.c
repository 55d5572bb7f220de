/* The whole model against finite differences, for every combination of conditions, and what must
 * not change its numbers. */
#include "unit/plain.h"
#include "unit/tiny.h"

#include "model/transformer.h"

enum { B = 2, T = 8, M = B * T };

struct batch {
    int32_t tokens[M], targets[M];
};

static struct batch make_batch(void)
{
    struct batch b;
    for (int i = 0; i < M; i++) {
        b.tokens[i] = (int32_t)qk_rng_below(3, 1, (uint64_t)i, 61);
        b.targets[i] = (int32_t)qk_rng_below(3, 2, (uint64_t)i, 61);
    }
    b.targets[5] = -1; /* costs nothing */
    return b;
}

static double loss_of(struct qk_model *m, const struct batch *b)
{
    struct qk_err err;
    float nll[M];
    double sum = 0;
    assert_works(qk_model_forward(m, b->tokens, b->targets, B, nll, NULL, NULL, &err));
    for (int i = 0; i < M; i++)
        sum += nll[i];
    return sum / M;
}

static float *fetch(struct qk_device *d, struct qk_buf from, int64_t n)
{
    float *to = qk_alloc((size_t)n, sizeof *to);
    struct qk_err err;
    d->ops->get(d, to, from, n);
    assert_works(d->ops->sync(d, &err));
    return to;
}

/* The loss at weights + h * direction in one tensor. */
static double moved(struct qk_device *d, struct qk_model *m, const struct qk_param *p,
                    const float *w, const double *direction, double h, const struct batch *b)
{
    float *there = qk_alloc((size_t)p->count, sizeof *there);
    for (int64_t i = 0; i < p->count; i++)
        there[i] = (float)(w[i] + h * direction[i]);
    d->ops->put(d, qk_at(qk_model_weights(m), p->offset), there, p->count);
    double loss = loss_of(m, b);
    d->ops->put(d, qk_at(qk_model_weights(m), p->offset), w, p->count);
    free(there);
    return loss;
}

/* Along the gradient itself and along a random direction. */
static void check_tensor(struct qk_device *d, struct qk_model *m, const struct qk_param *p,
                         const float *w, const float *g, const struct batch *b)
{
    double *direction = qk_alloc((size_t)p->count, sizeof *direction);
    double norm = 0;
    for (int64_t i = 0; i < p->count; i++)
        norm += (double)g[i] * g[i];
    norm = sqrt(norm);
    assert_true(norm > 1e-5);
    for (int kind = 0; kind < 2; kind++) {
        double length = 0, expected = 0;
        for (int64_t i = 0; i < p->count; i++) {
            direction[i] = kind ? qk_rng_normal(5, qk_rng_stream(p->name), (uint64_t)i) : g[i];
            length += direction[i] * direction[i];
        }
        for (int64_t i = 0; i < p->count; i++) {
            direction[i] /= sqrt(length);
            expected += direction[i] * g[i];
        }
        /* two central differences, combined so that the h^2 term drops out (Richardson 1911) */
        const double h = 4e-3;
        double wide =
            moved(d, m, p, w, direction, 2 * h, b) - moved(d, m, p, w, direction, -2 * h, b);
        double narrow = moved(d, m, p, w, direction, h, b) - moved(d, m, p, w, direction, -h, b);
        double found = (8 * narrow - wide) / (12 * h);
        if (fabs(found - expected) > 3e-3 * norm + 1e-4)
            fail_msg("%s: slope %.8g, gradient says %.8g (norm %.8g)", p->name, found, expected,
                     norm);
    }
    free(direction);
}

/* Token by token against the plain model. */
static void check_loss(const struct qk_config *c, const struct qk_params *p, const float *w,
                       const struct batch *b, const float *nll)
{
    const struct plain plain = {.c = c, .params = p, .weights = w};
    for (int s = 0; s < B; s++) {
        double expected[T];
        plain_loss(&plain, b->tokens + s * T, b->targets + s * T, T, expected);
        for (int t = 0; t < T; t++)
            if (fabs(nll[s * T + t] - expected[t]) > 2e-5)
                fail_msg("token %d: loss %.8g, expected %.8g", s * T + t, (double)nll[s * T + t],
                         expected[t]);
    }
}

static void check_model(struct qk_device *d, struct qk_config *c)
{
    struct qk_err err;
    struct qk_model *m = qk_model_create(d, c, B, T, true, false, &err);
    assert_non_null(m);
    qk_model_initialize(m);
    const struct qk_params *p = qk_model_params(m);
    const struct batch b = make_batch();
    /* gains away from 1, so that they matter */
    for (int i = 0; i < p->count; i++)
        if (p->at[i].rank == 1 && p->at[i].group != QK_GROUP_FROZEN) {
            float gain[64];
            for (int64_t k = 0; k < p->at[i].count; k++)
                gain[k] = 1.0f + 0.3f * (float)qk_rng_normal(9, (uint64_t)i, (uint64_t)k);
            d->ops->put(d, qk_at(qk_model_weights(m), p->at[i].offset), gain, p->at[i].count);
        }
    float nll[M];
    assert_works(qk_model_train(m, b.tokens, b.targets, B, 1.0f / M, nll, &err));
    float *w = fetch(d, qk_model_weights(m), p->total);
    float *g = fetch(d, qk_model_gradients(m), p->trained);
    check_loss(c, p, w, &b, nll);
    for (int i = 0; i < p->count; i++)
        if (p->at[i].group != QK_GROUP_FROZEN)
            check_tensor(d, m, &p->at[i], w + p->at[i].offset, g + p->at[i].offset, &b);
    free(w);
    free(g);
    qk_model_free(m);
}

static void losses_and_gradients_of_every_combination(void **state)
{
    (void)state;
    struct qk_device *d = tiny_device();
    for (int kind = 0; kind < 32; kind++) {
        struct qk_config c = tiny_config();
        c.init_std = 0.3;
        c.embed_scale = 2;
        c.qk_norm = (enum qk_norm_kind)(kind & 3);
        c.ffn = kind & 4 ? QK_SWIGLU : QK_RELU2;
        c.rope_style = kind & 8 ? QK_ROPE_HALF : QK_ROPE_INTERLEAVED;
        c.tie_embeddings = kind & 16;
        check_model(d, &c);
    }
    qk_device_close(d);
}

static void recomputing_changes_no_bit(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_device *d = tiny_device();
    struct qk_config c = tiny_config();
    const struct batch b = make_batch();
    float *g[2], nll[2][M];
    int64_t n = 0;
    for (int recompute = 0; recompute < 2; recompute++) {
        struct qk_model *m = qk_model_create(d, &c, B, T, true, recompute, &err);
        assert_non_null(m);
        qk_model_initialize(m);
        assert_works(qk_model_train(m, b.tokens, b.targets, B, 0.5f, nll[recompute], &err));
        n = qk_model_params(m)->trained;
        g[recompute] = fetch(d, qk_model_gradients(m), n);
        qk_model_free(m);
    }
    assert_memory_equal(g[0], g[1], (size_t)n * sizeof **g);
    assert_memory_equal(nll[0], nll[1], sizeof nll[0]);
    assert_true(nll[0][5] == 0);
    free(g[0]);
    free(g[1]);
    qk_device_close(d);
}

static void sequences_do_not_see_each_other(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_device *d = tiny_device();
    struct qk_config c = tiny_config();
    const struct batch b = make_batch();
    struct qk_model *m = qk_model_create(d, &c, B, T, false, false, &err);
    assert_non_null(m);
    qk_model_initialize(m);
    float both[M], one[T];
    int32_t best[M];
    assert_works(qk_model_forward(m, b.tokens, b.targets, B, both, best, NULL, &err));
    assert_works(qk_model_forward(m, b.tokens + T, b.targets + T, 1, one, NULL, NULL, &err));
    for (int t = 0; t < T; t++) {
        assert_close(one[t], both[T + t], 1e-5);
        assert_in_range(best[t], 0, 60);
    }
    /* causal: a shorter sequence has the same beginning */
    float shorter[5];
    assert_works(qk_model_set_length(m, 5, &err));
    assert_works(qk_model_forward(m, b.tokens, b.targets, 1, shorter, NULL, NULL, &err));
    for (int t = 0; t < 5; t++)
        assert_close(shorter[t], both[t], 1e-5);
    assert_int_equal(qk_model_set_length(m, T + 1, &err), -1);
    qk_model_free(m);
    qk_device_close(d);
}

static void see(void *self, const struct qk_tap_view *view)
{
    double *sums = self;
    assert_int_equal(view->B, B);
    assert_int_equal(view->T, T);
    for (int s = 0; s < QK_SITES; s++)
        for (int r = 0; r < M * 16; r++)
            sums[view->layer * QK_SITES + s] += fabs((double)view->rows[s][0][r]);
    for (int h = 0; h < B * 2; h++)
        assert_true(view->entropy[h] >= 0 && isfinite(view->max_logit[h]));
}

static void taps_see_the_three_sites(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_device *d = tiny_device();
    const struct batch b = make_batch();
    for (int kind = 0; kind < 4; kind++) {
        struct qk_config c = tiny_config();
        c.qk_norm = (enum qk_norm_kind)kind;
        struct qk_model *m = qk_model_create(d, &c, B, T, false, false, &err);
        assert_non_null(m);
        qk_model_initialize(m);
        double sums[2 * QK_SITES] = {0};
        struct qk_tap tap = {.sites = 7, .see = see, .self = sums};
        assert_works(qk_model_forward(m, b.tokens, NULL, B, NULL, NULL, &tap, &err));
        for (int l = 0; l < 2; l++) {
            const double *s = sums + l * QK_SITES;
            assert_true(s[0] > 0);
            assert_int_equal(s[QK_SITE_PRE_NORM] == s[QK_SITE_POST_NORM],
                             c.qk_norm == QK_NORM_NONE);
            assert_true(s[QK_SITE_POST_NORM] != s[QK_SITE_POST_ROPE]);
        }
        qk_model_free(m);
    }
    qk_device_close(d);
}

static void nonfinite_layer_is_found(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_device *d = tiny_device();
    struct qk_config c = tiny_config();
    const struct batch b = make_batch();
    static const struct {
        enum qk_tensor tensor;
        int layer, found;
    } cases[] = {{QK_EMBED, -1, -1}, {QK_WV, 0, 0}, {QK_W_DOWN, 1, 1}, {QK_FINAL_NORM, -1, 2}};
    for (int i = 0; i < 4; i++) {
        struct qk_model *m = qk_model_create(d, &c, B, T, true, false, &err);
        assert_non_null(m);
        qk_model_initialize(m);
        const struct qk_param *p =
            qk_params_find(qk_model_params(m), cases[i].tensor, cases[i].layer);
        float bad[16];
        for (int k = 0; k < 16; k++)
            bad[k] = NAN;
        int64_t row = p->rank == 2 && p->tensor == QK_EMBED ? b.tokens[3] * 16 : 0;
        d->ops->put(d, qk_at(qk_model_weights(m), p->offset + row), bad, 16);
        float nll[M];
        assert_works(qk_model_train(m, b.tokens, b.targets, B, 1, nll, &err));
        assert_int_equal(qk_model_find_nonfinite(m), cases[i].found);
        qk_model_free(m);
    }
    qk_device_close(d);
}

static void bad_batches_are_refused(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_device *d = tiny_device();
    struct qk_config c = tiny_config();
    struct batch b = make_batch();
    assert_null(qk_model_create(d, &c, 1, T + 1, false, false, &err));
    struct qk_model *m = qk_model_create(d, &c, 1, T, false, false, &err);
    assert_non_null(m);
    float nll[M];
    assert_int_equal(qk_model_forward(m, b.tokens, b.targets, 2, nll, NULL, NULL, &err), -1);
    b.tokens[2] = 61;
    assert_int_equal(qk_model_forward(m, b.tokens, b.targets, 1, nll, NULL, NULL, &err), -1);
    assert_string_equal(err.text, "token 61 is outside the vocabulary of 61");
    qk_model_free(m);
    qk_device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_gradients_of_every_combination),
        cmocka_unit_test(recomputing_changes_no_bit),
        cmocka_unit_test(sequences_do_not_see_each_other),
        cmocka_unit_test(taps_see_the_three_sites),
        cmocka_unit_test(nonfinite_layer_is_found),
        cmocka_unit_test(bad_batches_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
