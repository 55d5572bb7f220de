/* What the plan counts is what the device is asked for: arrays to the byte, scratch with little to
 * spare, on large cards and on small ones; and the work of a step, class by class. */
#include "cuda/both.h"

#include "unit/tiny.h"

#include "compute/cuda/cuda.h"
#include "model/optimizer.h"
#include "model/transformer.h"
#include "study/train/plan.h"

extern void qk_emulation_memory(int64_t bytes) __attribute__((weak));

/* So that on a card of 96 MB logits and Muon's matrices are cut. */
#define WIDE                                                                                       \
    "{\"vocab_size\":3000,\"d_model\":64,\"n_layers\":6,\"n_heads\":2,\"n_kv_heads\":1,"           \
    "\"d_ff\":1088,\"seq_len\":64,\"muon_lr\":0.02,\"adamw_lr\":0.01,\"batch_size\":2,"            \
    "\"grad_accum\":2,\"train_tokens\":640"

static struct qk_config config_of(const char *more)
{
    struct qk_err err;
    struct qk_config c;
    char text[600];
    snprintf(text, sizeof text, WIDE "%s}", more);
    if (qk_config_from_text(&c, text, "wide", &err) != 0)
        fail_msg("%s", err.text);
    return c;
}

struct trial {
    const char *more;
    int64_t B;
    bool recompute;
};

static const struct trial trials[] = {
    {",\"dtype\":\"bf16\"", 2, false},
    {",\"dtype\":\"fp32\"", 1, false},
    {",\"dtype\":\"bf16\",\"ffn\":\"swiglu\",\"tie_embeddings\":false", 1, true},
    {",\"dtype\":\"bf16\",\"qk_norm\":\"frozen\",\"muon_qkvo\":\"head\"", 3, true},
    {",\"dtype\":\"fp32\",\"qk_norm\":\"none\",\"optimizer\":\"adamw\"", 1, true},
};

/* A step as training takes it, of `all` sequences in parts of B; its work alone is in d's counts.
 */
static void train(struct qk_device *d, struct qk_model *m, struct qk_optimizer *o,
                  const struct qk_config *c, int64_t B)
{
    struct qk_err err;
    const int64_t rows = B * c->seq_len, all = c->batch_size * c->grad_accum;
    int32_t *tokens = tokens_below("tokens", rows, c->vocab_size);
    float *nll = qk_alloc((size_t)rows, sizeof *nll);
    double norm;
    qk_model_initialize(m);
    memset(d->flops, 0, sizeof d->flops);
    memset(d->bytes, 0, sizeof d->bytes);
    memset(d->seconds, 0, sizeof d->seconds);
    for (int64_t s = 0; s < all; s += B)
        if (qk_model_train(m, tokens, tokens, all - s < B ? all - s : B, 1.0f / (float)rows, nll,
                           &err) != 0)
            fail_msg("%s", err.text);
    if (qk_optimizer_step(o, qk_model_weights(m), qk_model_gradients(m), 1, &norm, &err) != 0 ||
        d->ops->sync(d, &err) != 0)
        fail_msg("%s", err.text);
    free(tokens);
    free(nll);
}

static int64_t arrays_of(const struct qk_memory *m)
{
    return m->weights + m->copies + m->gradients + m->state + m->activations + m->statistics;
}

/* Operations and bytes to the last one; and a time for what took any. */
static void check_work(const struct qk_device *d, const struct qk_floor *floor)
{
    for (int i = 0; i < QK_CLASSES; i++) {
        if (d->flops[i] != floor->flops[i] || d->bytes[i] != floor->bytes[i])
            fail_msg("%s: %.0f operations, %.0f counted; %.0f bytes, %.0f counted",
                     qk_class_names[i], d->flops[i], floor->flops[i], d->bytes[i], floor->bytes[i]);
        assert_int_equal(d->seconds[i] > 0, d->bytes[i] > 0);
    }
}

static void check(const struct trial *t)
{
    struct qk_err err;
    struct qk_memory memory;
    struct qk_floor floor;
    const struct qk_config c = config_of(t->more);
    struct qk_device *d = both_open(false);
    const struct qk_run run = {QK_COUNTED_CUDA, d->memory, t->B, true, t->recompute};
    assert_works(qk_memory_of(&memory, &c, &run, &err));
    assert_works(qk_floor_of(&floor, &c, &run, &err));
    d->profile = true;
    struct qk_model *m = qk_model_create(d, &c, t->B, c.seq_len, true, t->recompute, &err);
    struct qk_optimizer *o = m ? qk_optimizer_create(d, qk_model_params(m), &c, &err) : NULL;
    if (!o)
        fail_msg("%s", err.text);
    assert_int_equal(qk_cuda_used(d), arrays_of(&memory));
    train(d, m, o, &c, t->B);
    check_work(d, &floor);
    const int64_t scratch = qk_cuda_used(d) - arrays_of(&memory);
    if (scratch > memory.scratch || scratch < memory.scratch - memory.scratch / 64)
        fail_msg("%s: %lld bytes of scratch, %lld counted", t->more, (long long)scratch,
                 (long long)memory.scratch);
    qk_optimizer_free(o);
    qk_model_free(m);
    qk_device_close(d);
}

static void plan_is_what_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++)
        check(&trials[i]);
}

static void and_on_a_small_card(void **state)
{
    (void)state;
    if (!both_emulated())
        skip();
    qk_emulation_memory(96 << 20);
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++)
        check(&trials[i]);
    qk_emulation_memory(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_is_what_is_taken),
        cmocka_unit_test(and_on_a_small_card),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
