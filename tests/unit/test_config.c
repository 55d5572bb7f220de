/* Every key of a config: defaults, ranges, words, --set, the canonical text. */
#include "unit/check.h"

#include "model/config.h"

#define LEAST                                                                                      \
    "\"vocab_size\":256,\"d_model\":64,\"n_layers\":2,\"n_heads\":4,\"d_ff\":96,\"seq_len\":32,"   \
    "\"muon_lr\":0.02,\"adamw_lr\":0.004,\"batch_size\":4,\"train_tokens\":768"

static void defaults(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config c;
    assert_works(qk_config_from_text(&c, "{" LEAST "}", "x", &err));
    assert_int_equal(c.n_kv_heads, 4);
    assert_int_equal(c.ffn, QK_RELU2);
    assert_int_equal(c.qk_norm, QK_NORM_LEARNED);
    assert_close(c.norm_eps, 1.1920929e-07, 1e-12);
    assert_close(c.rope_base, 10000, 0);
    assert_int_equal(c.rope_style, QK_ROPE_INTERLEAVED);
    assert_close(c.embed_scale, 8, 0);
    assert_true(c.tie_embeddings);
    assert_close(c.init_std, 0.02, 0);
    assert_int_equal(c.optimizer, QK_MUON_ADAMW);
    assert_close(c.muon_momentum, 0.95, 0);
    assert_int_equal(c.muon_orthogonalizer, QK_ORTH_POLAR_EXPRESS);
    assert_int_equal(c.muon_qkvo, QK_QKVO_MERGED);
    assert_close(c.adamw_beta1, 0.9, 0);
    assert_close(c.adamw_beta2, 0.999, 0);
    assert_close(c.adamw_eps, 1e-8, 0);
    assert_close(c.weight_decay, 0.2, 0);
    assert_close(c.qk_gain_weight_decay, 0.2, 0);
    assert_close(c.grad_clip, 1, 0);
    assert_int_equal(c.lr_schedule, QK_LR_CONSTANT);
    assert_int_equal(c.warmup_tokens, 0);
    assert_int_equal(c.grad_accum, 1);
    assert_int_equal(c.seed, 42);
    assert_int_equal(c.data_order, QK_ORDER_SHUFFLE);
    assert_int_equal(c.dtype, QK_DTYPE_FP32);
    assert_int_equal(qk_tokens_per_step(&c), 128);
}

static void canonical_text_reads_back(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config a, b;
    assert_works(qk_config_from_text(&a,
                                     "{" LEAST ",\"ffn\":\"swiglu\",\"qk_norm\":\"scalar\","
                                     "\"muon_qkvo\":\"split\",\"lr_schedule\":\"wsd\","
                                     "\"tie_embeddings\":false,\"n_kv_heads\":2}",
                                     "x", &err));
    assert_int_equal(a.muon_qkvo, QK_QKVO_MATRIX);
    char *text = qk_config_to_text(&a);
    assert_non_null(strstr(text, "\"muon_qkvo\":\"matrix\""));
    assert_non_null(strstr(text, "\"qk_gain_weight_decay\":0.2"));
    assert_works(qk_config_from_text(&b, text, "y", &err));
    assert_null(qk_config_difference(&a, &b));
    b.dtype = QK_DTYPE_BF16;
    assert_string_equal(qk_config_difference(&a, &b), "dtype");
    free(text);
}

static void muon_rate_is_needed_by_muon_only(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config c;
    static const char without[] = "{\"vocab_size\":256,\"d_model\":64,\"n_layers\":2,\"n_heads\":4,"
                                  "\"d_ff\":96,\"seq_len\":32,\"adamw_lr\":0.004,\"batch_size\":4,"
                                  "\"train_tokens\":768%s}";
    char text[512];
    snprintf(text, sizeof text, without, "");
    assert_int_equal(qk_config_from_text(&c, text, "x", &err), -1);
    assert_string_equal(err.text, "x: config key muon_lr is missing (optimizer is muon+adamw)");
    snprintf(text, sizeof text, without, ",\"optimizer\":\"adamw\"");
    assert_works(qk_config_from_text(&c, text, "x", &err));
    char *canonical = qk_config_to_text(&c);
    assert_null(strstr(canonical, "muon_lr"));
    assert_works(qk_config_from_text(&c, canonical, "x", &err));
    free(canonical);
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *extra, *sentence;
    } cases[] = {
        {",\"d_modle\":3", "x: unknown config key 'd_modle'"},
        {",\"d_model\":64", "x: config key d_model is given twice"},
        {",\"n_kv_heads\":3", "x: n_heads 4 is no multiple of n_kv_heads 3"},
        {",\"n_kv_heads\":2.5", "x: config key n_kv_heads must be a whole number, not 2.5"},
        {",\"n_kv_heads\":0", "x: config key n_kv_heads is 0, not between 1 and 16384"},
        {",\"qk_norm\":\"gained\"",
         "x: config key qk_norm must be one of learned|frozen|scalar|none"},
        {",\"tie_embeddings\":1", "x: config key tie_embeddings must be true or false"},
        {",\"weight_decay\":\"0.2\"", "x: config key weight_decay must be a number"},
        {",\"seed\":null", "x: config key seed must be a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qk_err err;
        struct qk_config c;
        char text[512];
        snprintf(text, sizeof text, "{" LEAST "%s}", cases[i].extra);
        assert_int_equal(qk_config_from_text(&c, text, "x", &err), -1);
        assert_string_equal(err.text, cases[i].sentence);
    }
}

static void head_dimension(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config c;
    char text[512];
    static const char form[] = "{\"vocab_size\":256,\"d_model\":%d,\"n_layers\":2,\"n_heads\":%d,"
                               "\"d_ff\":96,\"seq_len\":32,\"muon_lr\":1,\"adamw_lr\":0.004,"
                               "\"batch_size\":4,\"train_tokens\":768}";
    static const int bad[][2] = {{65, 4}, {12, 4}, {520, 4}};
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, form, bad[i][0], bad[i][1]);
        assert_int_equal(qk_config_from_text(&c, text, "x", &err), -1);
        assert_non_null(strstr(err.text, "head dimension"));
    }
    snprintf(text, sizeof text, form, 512, 4);
    assert_works(qk_config_from_text(&c, text, "x", &err));
}

static void setting(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config c;
    cJSON *json = qk_json_parse("{" LEAST "}", "x", &err);
    assert_non_null(json);
    assert_works(qk_config_set(json, "train_tokens=1.5M", &err));
    assert_works(qk_config_set(json, "qk_norm=frozen", &err));
    assert_works(qk_config_set(json, "tie_embeddings=false", &err));
    assert_works(qk_config_set(json, "grad_clip=-1", &err));
    assert_works(qk_config_from_json(&c, json, "x", &err));
    assert_int_equal(c.train_tokens, 1500000);
    assert_int_equal(c.qk_norm, QK_NORM_FROZEN);
    assert_false(c.tie_embeddings);
    assert_close(c.grad_clip, -1, 0);
    assert_int_equal(qk_config_set(json, "nothing=1", &err), -1);
    assert_string_equal(err.text, "--set nothing=1: unknown config key");
    assert_int_equal(qk_config_set(json, "seed", &err), -1);
    assert_int_equal(qk_config_set(json, "seed=x", &err), -1);
    assert_int_equal(qk_config_set(json, "tie_embeddings=yes", &err), -1);
    cJSON_Delete(json);
}

static void gain_decay_follows_when_relaxed(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config c;
    assert_works(qk_config_from_text(&c, "{" LEAST "}", "x", &err));
    cJSON *json = qk_config_to_json(&c);
    qk_config_relax(json);
    assert_works(qk_config_set(json, "weight_decay=0.1", &err));
    assert_works(qk_config_from_json(&c, json, "x", &err));
    assert_close(c.qk_gain_weight_decay, 0.1, 0);
    assert_true(qk_config_is_derived("qk_gain_weight_decay=0"));
    assert_false(qk_config_is_derived("weight_decay=0"));
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(canonical_text_reads_back),
        cmocka_unit_test(muon_rate_is_needed_by_muon_only),
        cmocka_unit_test(refusals),
        cmocka_unit_test(head_dimension),
        cmocka_unit_test(setting),
        cmocka_unit_test(gain_decay_follows_when_relaxed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
