/* Checkpoints: what is written is read, and what does not fit is refused in a sentence. */
#include "unit/tiny.h"

#include "model/checkpoint.h"

struct spoil {                /* one thing wrong with a checkpoint */
    const char *skip, *extra; /* tensor left out; tensor that should not be there */
    const char *reshape;      /* tensor written with a row less */
    const char *poison;       /* tensor with a NaN */
    int64_t eot, step;
    int32_t probe_token;
    const char *config; /* instead of the real one */
};
static const struct spoil sound = {.eot = 3, .step = 7, .probe_token = 5};

static int write_weights(struct qk_h5 *f, const struct qk_params *p, const struct qk_config *c,
                         const struct spoil *s, bool bf16, struct qk_err *err)
{
    for (int i = 0; i < p->count; i++) {
        struct qk_param param = p->at[i];
        float w[61 * 16];
        qk_param_initialize(&param, c, w);
        if (s->skip && strcmp(param.name, s->skip) == 0)
            continue;
        if (s->poison && strcmp(param.name, s->poison) == 0)
            w[3] = INFINITY;
        if (s->reshape && strcmp(param.name, s->reshape) == 0)
            param.dims[0]--;
        if (qk_checkpoint_put(f, &param, w, bf16, 0, err) != 0)
            return -1;
    }
    if (s->extra) {
        float one = 1;
        return qk_h5_write(f, s->extra, QK_F32, 1, (int64_t[]){1}, QK_F32, &one, 0, err);
    }
    return 0;
}

static void write_it(const struct spoil *s, bool bf16)
{
    struct qk_err err;
    struct qk_config c = tiny_config();
    struct qk_params p;
    qk_params_layout(&p, &c);
    int32_t probe[6] = {1, 2, 3, s->probe_token, 60, 0};
    char words[] = "{\"model\":1}";
    struct qk_buffer tokenizer = {.at = words, .size = sizeof words - 1};
    struct qk_checkpoint_head head = {.config = &c,
                                      .step = s->step,
                                      .tokens_seen = 224,
                                      .eot = s->eot,
                                      .probe = probe,
                                      .n_seq = 2,
                                      .T = 3,
                                      .tokenizer = &tokenizer};
    struct qk_h5 *f;
    if (s->config) { /* by hand, as a stranger would */
        f = qk_h5_create("c.h5", &err);
        assert_non_null(f);
        assert_works(qk_h5_put_text(f, "/", "kind", "checkpoint", &err));
        assert_works(qk_h5_put_int(f, "/", "version", 1, &err));
        assert_works(qk_h5_put_text(f, "/", "config", s->config, &err));
        assert_works(qk_h5_put_int(f, "/", "step", 7, &err));
        assert_works(qk_h5_put_int(f, "/", "tokens_seen", 224, &err));
    } else {
        f = qk_checkpoint_create("c.h5", &head, NULL, &err);
        assert_non_null(f);
    }
    assert_works(write_weights(f, &p, &c, s, bf16, &err));
    assert_works(qk_h5_commit(f, &err));
    qk_params_free(&p);
}

static void round_trip(void **state)
{
    (void)state;
    struct qk_err err;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        write_it(&sound, bf16);
        struct qk_checkpoint c;
        struct qk_config expected = tiny_config();
        assert_works(qk_checkpoint_open(&c, "c.h5", &err));
        assert_null(qk_config_difference(&c.config, &expected));
        assert_int_equal(c.step, 7);
        assert_int_equal(c.tokens_seen, 224);
        assert_int_equal(c.eot, 3);
        for (int i = 0; i < c.params.count; i++) {
            float have[61 * 16], want[61 * 16];
            qk_param_initialize(&c.params.at[i], &expected, want);
            assert_works(qk_checkpoint_weights(&c, &c.params.at[i], have, &err));
            for (int64_t k = 0; k < c.params.at[i].count; k++)
                if (bf16)
                    assert_close(have[k], want[k], 1.0 / 256);
                else
                    assert_true(have[k] == want[k]);
        }
        int32_t *probe;
        int64_t n, T;
        assert_works(qk_checkpoint_probe(&c, &probe, &n, &T, &err));
        assert_int_equal(n, 2);
        assert_int_equal(T, 3);
        assert_int_equal(probe[4], 60);
        free(probe);
        struct qk_buffer text;
        assert_works(qk_checkpoint_tokenizer(&c, &text, &err));
        assert_string_equal(text.at, "{\"model\":1}");
        qk_buffer_free(&text);
        qk_checkpoint_close(&c);
    }
}

static void refused(const struct spoil *s, const char *sentence)
{
    struct qk_err err;
    struct qk_checkpoint c;
    write_it(s, false);
    assert_int_equal(qk_checkpoint_open(&c, "c.h5", &err), -1);
    assert_string_equal(err.text, sentence);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct spoil s = sound;
    s.skip = "layers/1/wk";
    refused(&s, "c.h5: /weights/layers/1/wk is missing");
    s = sound;
    s.reshape = "layers/0/w_up";
    refused(&s, "c.h5: /weights/layers/0/w_up has shape 23x16, but the config says 24x16");
    s = sound;
    s.extra = "/weights/layers/0/w_gate";
    refused(&s, "c.h5: /weights/layers/0/w_gate is no tensor of this config");
    s.extra = "/weights/layers/2/wq";
    refused(&s, "c.h5: /weights/layers/2 is no tensor of this config");
    s = sound;
    s.eot = 61;
    refused(&s, "c.h5: eot 61 is no token of a vocabulary of 61");
    s = sound;
    s.step = -1;
    refused(&s, "c.h5: step -1 and tokens_seen 224 must not be negative");
    s = sound;
    s.config = "{\"vocab_size\": ";
    write_it(&s, false);
    struct qk_err err;
    struct qk_checkpoint c;
    assert_int_equal(qk_checkpoint_open(&c, "c.h5", &err), -1);
    assert_non_null(strstr(err.text, "c.h5: config"));
}

static void numbers_are_checked_when_read(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_checkpoint c;
    struct spoil s = sound;
    s.poison = "layers/0/wo";
    s.probe_token = 61;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        write_it(&s, bf16);
        assert_works(qk_checkpoint_open(&c, "c.h5", &err));
        float w[61 * 16];
        const struct qk_param *wo = qk_params_find(&c.params, QK_WO, 0);
        static const char said[] = "c.h5: /weights/layers/0/wo holds a number that is not finite "
                                   "(element 3)";
        assert_int_equal(qk_checkpoint_weights(&c, wo, w, &err), -1);
        assert_string_equal(err.text, said);
        assert_int_equal(qk_checkpoint_rows(&c, wo, 0, 2, w, &err), -1);
        assert_string_equal(err.text, said);
        assert_works(qk_checkpoint_rows(&c, wo, 1, 2, w, &err)); /* it is in row 0 */
        int32_t *probe;
        int64_t n, T;
        assert_int_equal(qk_checkpoint_probe(&c, &probe, &n, &T, &err), -1);
        assert_string_equal(err.text,
                            "c.h5: /probe/tokens holds token 61, but the vocabulary ends at 61");
        qk_checkpoint_close(&c);
    }
}

static void a_plain_one_made_by_hand_is_read(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_checkpoint c;
    struct spoil s = sound;
    s.config = TINY_CONFIG; /* no probe, no tokenizer, no eot */
    write_it(&s, false);
    assert_works(qk_checkpoint_open(&c, "c.h5", &err));
    assert_int_equal(c.eot, -1);
    int32_t *probe;
    int64_t n, T;
    struct qk_buffer text;
    assert_works(qk_checkpoint_probe(&c, &probe, &n, &T, &err));
    assert_works(qk_checkpoint_tokenizer(&c, &text, &err));
    assert_true(!probe && n == 0 && text.size == 0);
    qk_checkpoint_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(numbers_are_checked_when_read),
        cmocka_unit_test(a_plain_one_made_by_hand_is_read),
    };
    return cmocka_run_group_tests(tests, tiny_begin, tiny_end);
}
