/* The whole model on the device against the CPU, in conditions that between them take every way
 * through it: losses, the gradient of every tensor, two steps of the optimiser; what taps see. */
#include "cuda/both.h"

#include "unit/tiny.h"

#include "model/optimizer.h"
#include "model/transformer.h"

enum { B = 2, STEPS = 2 };

struct model_case {
    const char *words; /* of the config */
    bool recompute;
};

/* TINY_CONFIG with these words set. */
static struct qk_config config_of(const char *words, bool bf16)
{
    struct qk_err err = {{0}};
    struct qk_config c;
    cJSON *json = cJSON_Parse(TINY_CONFIG);
    char *all = qk_format("%s dtype=%s", words, bf16 ? "bf16" : "fp32"), *rest = all;
    for (char *word = strtok_r(rest, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        assert_works(qk_config_set(json, word, &err));
    assert_works(qk_config_from_json(&c, json, words, &err));
    cJSON_Delete(json);
    free(all);
    return c;
}

static int32_t *make_tokens(const struct qk_config *c, const char *name)
{
    return tokens_below(name, B * c->seq_len, c->vocab_size);
}

/* Gains away from 1, so that they matter. */
static void move_gains(struct qk_device *d, struct qk_model *m)
{
    const struct qk_params *p = qk_model_params(m);
    for (int i = 0; i < p->count; i++)
        if (p->at[i].rank == 1 && p->at[i].group != QK_GROUP_FROZEN) {
            float *gain = normals(p->at[i].name, p->at[i].count, 0.3);
            for (int64_t k = 0; k < p->at[i].count; k++)
                gain[k] = both_rounded(gain[k] + 1);
            d->ops->put(d, qk_at(qk_model_weights(m), p->at[i].offset), gain, p->at[i].count);
            free(gain);
        }
}

/* So that the CPU's matrices are what the device multiplies by. */
static void round_weights(struct qk_device *d, struct qk_model *m)
{
    const int64_t n = qk_model_params(m)->total;
    float *w = qk_alloc((size_t)n, sizeof *w);
    d->ops->get(d, w, qk_model_weights(m), n);
    for (int64_t i = 0; i < n; i++)
        w[i] = both_rounded(w[i]);
    d->ops->put(d, qk_model_weights(m), w, n);
    free(w);
}

static struct qk_model *make_model(struct both *b, const struct qk_config *c, bool train,
                                   bool recompute)
{
    struct qk_err err = {{0}};
    struct qk_model *m = qk_model_create(b->d, c, B, c->seq_len, train, recompute, &err);
    if (!m)
        fail_msg("%s", err.text);
    qk_model_initialize(m);
    move_gains(b->d, m);
    if (b->bf16)
        round_weights(b->d, m);
    return m;
}

static void take_nll(struct both *b, const float *nll, int64_t n)
{
    struct both_output *o = both_add_output(b, "nll", n);
    o->tolerance[0] = 2e-6;
    o->tolerance[1] = 1e-2;
    memcpy(b->got + o->at, nll, (size_t)n * sizeof *nll);
}

static void run_training(struct both *b, const void *one)
{
    const struct model_case *a = one;
    struct qk_err err = {{0}};
    const struct qk_config c = config_of(a->words, b->bf16);
    const int64_t M = B * c.seq_len;
    struct qk_model *m = make_model(b, &c, true, a->recompute);
    const struct qk_params *p = qk_model_params(m);
    struct qk_optimizer *o = qk_optimizer_create(b->d, p, &c, &err);
    assert_non_null(o);
    int32_t *tokens = make_tokens(&c, "tokens"), *targets = make_tokens(&c, "targets");
    targets[5] = -1; /* costs nothing */
    float *nll = qk_alloc((size_t)M, sizeof *nll);
    for (int step = 0; step < STEPS; step++) {
        double norm;
        if (qk_model_train(m, tokens, targets, B, 1 / (float)M, nll, &err) != 0)
            fail_msg("%s: %s", a->words, err.text);
        if (!step)
            take_nll(b, nll, M);
        for (int i = 0; !step && i < p->count; i++)
            if (p->at[i].group != QK_GROUP_FROZEN)
                both_out(b, p->at[i].name, qk_at(qk_model_gradients(m), p->at[i].offset),
                         p->at[i].count, 2e-5, 0.1);
        assert_works(
            qk_optimizer_step(o, qk_model_weights(m), qk_model_gradients(m), 1, &norm, &err));
        assert_true(isfinite(norm));
    }
    both_out(b, "weights", qk_model_weights(m), p->total, 1e-3, 0.3);
    free(tokens);
    free(targets);
    free(nll);
    qk_optimizer_free(o);
    qk_model_free(m);
}

/* A large eps: where gradients are rounding, their signs are not compared. */
static const struct model_case REAL[] = {
    {"d_model=512 n_heads=8 n_kv_heads=4 d_ff=2048 vocab_size=49152 seq_len=512 init_std=0.02 "
     "adamw_eps=0.01",
     false},
    {"d_model=512 n_heads=4 n_kv_heads=2 d_ff=1408 vocab_size=49152 seq_len=512 init_std=0.02 "
     "ffn=swiglu qk_norm=none optimizer=adamw tie_embeddings=false rope_style=half "
     "adamw_eps=0.01",
     true},
};

static void test_training(void **state)
{
    (void)state;
    static const struct model_case small[] = {
        {"qk_norm=learned", false},
        {"qk_norm=frozen muon_qkvo=matrix muon_orthogonalizer=newton-schulz seq_len=12", true},
        {"qk_norm=none ffn=swiglu rope_style=half tie_embeddings=false optimizer=adamw", false},
        {"qk_norm=scalar n_kv_heads=2 muon_qkvo=head vocab_size=97 d_ff=37", false},
    };
    both_check_all(run_training, small, REAL);
}

/* ---- what is measured ---- */

struct watched {
    struct both *b;
    const struct qk_config *c;
};

static void keep(struct both *b, const char *what, const float *x, int64_t n, double fp32,
                 double bf16)
{
    struct both_output *o = both_add_output(b, what, n);
    o->tolerance[0] = fp32;
    o->tolerance[1] = bf16;
    memcpy(b->got + o->at, x, (size_t)n * sizeof *x);
}

static void see(void *self, const struct qk_tap_view *view)
{
    const struct watched *w = self;
    const int64_t M = view->B * view->T, hd = qk_head_dim(w->c);
    for (int s = 0; s < QK_SITES; s++) {
        keep(w->b, "queries", view->rows[s][0], M * w->c->n_heads * hd, 3e-6, 2e-2);
        keep(w->b, "keys", view->rows[s][1], M * w->c->n_kv_heads * hd, 3e-6, 2e-2);
    }
    keep(w->b, "entropy", view->entropy, view->B * w->c->n_heads, 5e-6, 2e-2);
    keep(w->b, "max_logit", view->max_logit, view->B * w->c->n_heads, 5e-6, 2e-2);
}

static void run_forward(struct both *b, const void *one)
{
    struct qk_err err = {{0}};
    const struct qk_config c = config_of(((const struct model_case *)one)->words, b->bf16);
    const int64_t M = B * c.seq_len;
    struct qk_model *m = make_model(b, &c, false, false);
    int32_t *tokens = make_tokens(&c, "tokens"), *targets = make_tokens(&c, "targets");
    float *nll = qk_alloc((size_t)M, sizeof *nll);
    struct watched w = {b, &c};
    struct qk_tap tap = {.sites = 7, .see = see, .self = &w};
    assert_works(qk_model_forward(m, tokens, targets, B, nll, NULL, &tap, &err));
    take_nll(b, nll, M);
    assert_works(qk_model_set_length(m, c.seq_len - 3, &err)); /* the causal beginning */
    assert_works(qk_model_forward(m, tokens, targets, 1, nll, NULL, NULL, &err));
    take_nll(b, nll, c.seq_len - 3);
    free(tokens);
    free(targets);
    free(nll);
    qk_model_free(m);
}

static void test_forward(void **state)
{
    (void)state;
    static const struct model_case small[] = {
        {"qk_norm=learned", false},
        {"qk_norm=none ffn=swiglu rope_style=half tie_embeddings=false n_kv_heads=2", false},
    };
    both_check_all(run_forward, small, REAL);
}

/* ---- what must not change a bit, or must be said ---- */

static void recomputing_changes_no_bit(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct both b = {.d = both_open(bf16), .bf16 = bf16};
        struct qk_err err = {{0}};
        const struct qk_config c = config_of("qk_norm=learned", bf16);
        int32_t *tokens = make_tokens(&c, "tokens"), *targets = make_tokens(&c, "targets");
        float *g[2] = {NULL, NULL}, nll[2][2 * 8];
        int64_t n = 0;
        for (int recompute = 0; recompute < 2; recompute++) {
            struct qk_model *m = make_model(&b, &c, true, recompute);
            assert_works(qk_model_train(m, tokens, targets, B, 0.5f, nll[recompute], &err));
            n = qk_model_params(m)->trained;
            g[recompute] = qk_alloc((size_t)n, sizeof **g);
            b.d->ops->get(b.d, g[recompute], qk_model_gradients(m), n);
            assert_works(b.d->ops->sync(b.d, &err));
            qk_model_free(m);
        }
        assert_memory_equal(g[0], g[1], (size_t)n * sizeof **g);
        assert_memory_equal(nll[0], nll[1], sizeof nll[0]);
        free(g[0]);
        free(g[1]);
        free(tokens);
        free(targets);
        qk_device_close(b.d);
    }
}

static void nonfinite_layer_is_found(void **state)
{
    (void)state;
    struct qk_err err = {{0}};
    struct both b = {.d = both_open(false)};
    const struct qk_config c = config_of("qk_norm=learned", false);
    int32_t *tokens = make_tokens(&c, "tokens"), *targets = make_tokens(&c, "targets");
    static const struct {
        enum qk_tensor tensor;
        int layer, found;
    } cases[] = {{QK_EMBED, -1, -1}, {QK_WV, 0, 0}, {QK_W_DOWN, 1, 1}, {QK_FINAL_NORM, -1, 2}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct qk_model *m = make_model(&b, &c, true, false);
        const struct qk_param *p =
            qk_params_find(qk_model_params(m), cases[i].tensor, cases[i].layer);
        float bad[16], nll[2 * 8];
        for (int k = 0; k < 16; k++)
            bad[k] = NAN;
        int64_t row = cases[i].tensor == QK_EMBED ? tokens[3] * 16 : 0;
        b.d->ops->put(b.d, qk_at(qk_model_weights(m), p->offset + row), bad, 16);
        assert_works(qk_model_train(m, tokens, targets, B, 1, nll, &err));
        assert_int_equal(qk_model_find_nonfinite(m), cases[i].found);
        qk_model_free(m);
    }
    free(tokens);
    free(targets);
    qk_device_close(b.d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_forward),
        cmocka_unit_test(recomputing_changes_no_bit),
        cmocka_unit_test(nonfinite_layer_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
