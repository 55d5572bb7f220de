/* Token packs: what is read, windows, orders, refusals. */
#include "unit/tiny.h"

#include "study/corpus/tokens.h"

static void windows_share_their_borders(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_pack p;
    struct qk_split s;
    tiny_pack("t.h5");
    assert_works(qk_pack_open(&p, "t.h5", &err));
    assert_int_equal(p.vocab_size, 61);
    assert_int_equal(p.eot, 0);
    assert_works(qk_split_read(&s, &p, "val", &err));
    assert_int_equal(s.count, 101);
    assert_int_equal(qk_split_windows(&s, 8), 12);
    assert_int_equal(qk_split_windows(&s, 100), 1);
    assert_int_equal(qk_split_windows(&s, 101), 0);
    int32_t inputs[8], targets[8], next[8], ignored[8];
    qk_split_window(&s, 8, 3, inputs, targets);
    qk_split_window(&s, 8, 4, next, ignored);
    for (int t = 0; t < 8; t++) {
        assert_int_equal(inputs[t], s.narrow[24 + t]);
        assert_int_equal(targets[t], s.narrow[25 + t]);
    }
    assert_int_equal(targets[7], next[0]);
    qk_split_free(&s);
    assert_int_equal(qk_split_read(&s, &p, "test", &err), -1);
    assert_string_equal(err.text, "t.h5: there is no split 'test'");
    assert_int_equal(qk_split_read(&s, &p, "a/b", &err), -1);
    int32_t *probe;
    int64_t n, T;
    assert_works(qk_pack_probe(&p, &probe, &n, &T, &err));
    assert_int_equal(n, 3);
    assert_int_equal(T, 6);
    assert_int_equal(probe[17], 17 * 7 % 61);
    free(probe);
    struct qk_buffer text;
    assert_works(qk_pack_tokenizer(&p, &text, &err));
    assert_string_equal(text.at, "{  }");
    qk_buffer_free(&text);
    qk_pack_close(&p);
}

static void orders(void **state)
{
    (void)state;
    struct qk_order o = {.seed = 42, .windows = 10, .shuffle = false};
    for (int64_t n = 0; n < 25; n++)
        assert_int_equal(qk_order_window(&o, n), n % 10);
    o.shuffle = true;
    int64_t first[10], second[10];
    int seen = 0, moved = 0;
    for (int64_t n = 0; n < 10; n++) {
        first[n] = qk_order_window(&o, n);
        seen |= 1 << first[n];
    }
    for (int64_t n = 0; n < 10; n++) {
        second[n] = qk_order_window(&o, 10 + n);
        moved += first[n] != second[n];
    }
    assert_int_equal(seen, 1023);
    assert_true(moved > 3);
    assert_int_equal(qk_order_window(&o, 4), first[4]); /* back in the first epoch */
    qk_order_free(&o);
    struct qk_order other = {.seed = 43, .windows = 10, .shuffle = true};
    int differ = 0;
    for (int64_t n = 0; n < 10; n++)
        differ += qk_order_window(&other, n) != first[n];
    assert_true(differ > 3);
    qk_order_free(&other);
}

struct odd {
    int64_t vocab, eot;
    uint32_t token;
    const char *kind, *sentence;
};

static void write_odd(const struct odd *odd)
{
    struct qk_err err;
    struct qk_h5 *f = qk_h5_create("odd.h5", &err);
    assert_non_null(f);
    assert_works(qk_h5_put_text(f, "/", "kind", odd->kind, &err));
    assert_works(qk_h5_put_int(f, "/", "version", 1, &err));
    assert_works(qk_h5_put_int(f, "/", "vocab_size", odd->vocab, &err));
    assert_works(qk_h5_put_int(f, "/", "eot", odd->eot, &err));
    uint32_t tokens[3] = {1, odd->token, 0};
    assert_works(
        qk_h5_write(f, "/train/tokens", QK_U32, 1, (int64_t[]){3}, QK_U32, tokens, 1, &err));
    assert_works(
        qk_h5_write(f, "/probe/tokens", QK_U32, 2, (int64_t[]){1, 3}, QK_U32, tokens, 1, &err));
    int64_t whole[3] = {1, -1, 2};
    assert_works(
        qk_h5_write(f, "/signed/tokens", QK_I64, 1, (int64_t[]){3}, QK_I64, whole, 1, &err));
    assert_works(
        qk_h5_write(f, "/empty/tokens", QK_U16, 1, (int64_t[]){0}, QK_U16, whole, 1, &err));
    assert_works(qk_h5_commit(f, &err));
}

static void bad_packs_are_refused(void **state)
{
    (void)state;
    static const struct odd at_open[] = {
        {0, -1, 2, "tokens", "odd.h5: vocab_size 0 is no size of a vocabulary"},
        {5, 5, 2, "tokens", "odd.h5: eot 5 is no token of a vocabulary of 5"},
    };
    struct qk_err err;
    struct qk_pack p;
    struct qk_split s;
    for (size_t i = 0; i < sizeof at_open / sizeof *at_open; i++) {
        write_odd(&at_open[i]);
        assert_int_equal(qk_pack_open(&p, "odd.h5", &err), -1);
        assert_string_equal(err.text, at_open[i].sentence);
    }
    write_odd(&(struct odd){5, 0, 2, "checkpoint", ""});
    assert_int_equal(qk_pack_open(&p, "odd.h5", &err), -1);
    write_odd(&(struct odd){100000, 0, 4000000000u, "tokens", ""});
    assert_works(qk_pack_open(&p, "odd.h5", &err));
    assert_int_equal(qk_split_read(&s, &p, "train", &err), -1);
    assert_string_equal(err.text, "odd.h5: /train/tokens holds token 4000000000, but the "
                                  "vocabulary has 100000");
    int32_t *probe;
    int64_t n, T;
    assert_int_equal(qk_pack_probe(&p, &probe, &n, &T, &err), -1);
    assert_int_equal(qk_split_read(&s, &p, "signed", &err), -1);
    assert_string_equal(err.text,
                        "odd.h5: /signed/tokens holds signed numbers, not uint16 or uint32");
    assert_int_equal(qk_split_read(&s, &p, "empty", &err), -1);
    assert_string_equal(err.text, "odd.h5: /empty/tokens is empty");
    qk_pack_close(&p);
    write_odd(&(struct odd){100000, 0, 99999, "tokens", ""});
    assert_works(qk_pack_open(&p, "odd.h5", &err));
    assert_works(qk_split_read(&s, &p, "train", &err));
    assert_int_equal(s.wide[1], 99999);
    qk_split_free(&s);
    qk_pack_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_share_their_borders),
        cmocka_unit_test(orders),
        cmocka_unit_test(bad_packs_are_refused),
    };
    return cmocka_run_group_tests(tests, tiny_begin, tiny_end);
}
