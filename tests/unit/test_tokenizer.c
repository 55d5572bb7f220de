/* Merging, added tokens, the byte-level alphabet, and training. */
#include "check.h"

#include "study/text/bpe.h"
#include "study/text/bpe_train.h"
#include "study/text/tokenizer.h"

static void alphabet(void **state)
{
    (void)state;
    assert_int_equal(qk_byte_char(' '), 0x120);
    assert_int_equal(qk_byte_char('\n'), 0x10A);
    assert_int_equal(qk_byte_char('!'), '!');
    assert_int_equal(qk_byte_char(0x7F), 0x121);
    assert_int_equal(qk_byte_char(0xAD), 0x143);
    for (int b = 0; b < 256; b++)
        assert_int_equal(qk_char_byte(qk_byte_char((unsigned char)b)), b);
    assert_int_equal(qk_char_byte(0x20), -1);
    assert_int_equal(qk_char_byte(0xAD), -1);
    assert_int_equal(qk_char_byte(0x144), -1);
}

/* The definition: merge the leftmost pair of least rank, again and again. */
static size_t merge_plainly(const struct qk_merges *m, uint32_t *ids, size_t n)
{
    for (;;) {
        const struct qk_merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const struct qk_merge *one = qk_merges_find(m, ids[i], ids[i + 1]);
            if (one && (!best || one->rank < best->rank)) {
                best = one;
                at = i;
            }
        }
        if (!best)
            return n;
        ids[at] = best->id;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void merging(void **unused)
{
    (void)unused;
    struct qk_merges m;
    struct qk_bpe_work work = {0};
    uint32_t state = 7, a[400], b[400];
    qk_merges_init(&m, 4); /* it has to grow */
    for (uint32_t k = 0; k < 300; k++) {
        state = state * 1664525 + 1013904223;
        uint32_t left = (state >> 8) % (4 + k), right = (state >> 20) % (4 + k);
        if (!qk_merges_find(&m, left, right))
            qk_merges_put(&m, left, right, k, 4 + k);
    }
    for (int round = 0; round < 300; round++) {
        size_t n = (size_t)round + 1;
        for (size_t i = 0; i < n; i++) {
            state = state * 1664525 + 1013904223;
            a[i] = b[i] = state >> 30;
        }
        size_t left = qk_bpe_merge(&m, &work, a, n);
        assert_int_equal(left, merge_plainly(&m, b, n));
        assert_memory_equal(a, b, left * sizeof *a);
    }
    qk_bpe_work_free(&work);
    qk_merges_free(&m);
}

static const char json[] =
    "{\"added_tokens\":["
    "{\"id\":0,\"content\":\"<e>\",\"special\":true},"
    "{\"id\":9,\"content\":\"<ee>\",\"lstrip\":true,\"rstrip\":true},"
    "{\"id\":10,\"content\":\"cat\",\"single_word\":true,\"normalized\":true}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
    "\"model\":{\"type\":\"BPE\",\"ignore_merges\":%s,"
    "\"vocab\":{\"<e>\":0,\"a\":1,\"b\":2,\"c\":3,\"\\u0120\":4,\"ab\":5,\"abc\":6,\"t\":7,\"bc\":"
    "8},"
    "\"merges\":[\"a b\",[\"b\",\"c\"]]}}";

static void check_ids(const struct qk_tokenizer *t, const char *text, size_t n,
                      const char *expected)
{
    struct qk_encode_work work = {0};
    struct qk_ids ids = {0};
    struct qk_buffer seen = {0};
    struct qk_err err;
    for (int twice = 0; twice < 2; twice++) { /* the second time from the cache */
        ids.count = seen.size = 0;
        assert_works(qk_encode(t, &work, text, n, &ids, &err));
        qk_buffer_text(&seen, "");
        for (size_t i = 0; i < ids.count; i++)
            qk_buffer_format(&seen, i ? " %u" : "%u", ids.at[i]);
        assert_string_equal(seen.at, expected);
    }
    qk_buffer_free(&seen);
    qk_ids_free(&ids);
    qk_encode_work_free(&work);
}

static void open_json(struct qk_tokenizer *t, const char *ignore_merges)
{
    struct qk_err err;
    struct qk_buffer text = {0};
    const char *mark = strstr(json, "%s");
    qk_buffer_add(&text, json, (size_t)(mark - json));
    qk_buffer_text(&text, ignore_merges);
    qk_buffer_text(&text, mark + 2);
    assert_works(qk_tokenizer_parse(t, text.at, text.size, "test", &err));
    qk_buffer_free(&text);
}

static void encoding(void **state)
{
    (void)state;
    struct qk_tokenizer t;
    open_json(&t, "false");
    assert_int_equal(t.vocab_size, 11);
    assert_int_equal(qk_tokenizer_find(&t, "<ee>", 4), 9);
    assert_int_equal(qk_tokenizer_find(&t, "ab", 2), 5);
    assert_int_equal(qk_tokenizer_find(&t, "zz", 2), -1);
    assert_int_equal(qk_tokenizer_eot(&t, NULL), -1);
    assert_int_equal(qk_tokenizer_eot(&t, "<e>"), 0);
    check_ids(&t, "", 0, "");
    check_ids(&t, "abc bc", 6, "5 3 4 8");
    check_ids(&t, "xazbx", 5, "5"); /* bytes without a token vanish, and their neighbours meet */
    check_ids(&t, "a<e>b", 5, "1 0 2");
    check_ids(&t, "a <ee>  b<ee", 12, "1 9 2");
    check_ids(&t, "cat cats acat", 13, "10 4 3 1 7 4 1 3 1 7");
    check_ids(&t, "cat", 3, "10");
    qk_tokenizer_free(&t);
    open_json(&t, "true");
    check_ids(&t, "abc abc", 7, "6 4 5 3"); /* the word " abc" is no token */
    qk_tokenizer_free(&t);
}

static void decoding(void **state)
{
    (void)state;
    struct qk_tokenizer t;
    struct qk_err err;
    struct qk_buffer text = {0};
    const uint32_t ids[] = {6, 4, 9, 0, 10}, bad[] = {11};
    open_json(&t, "false");
    assert_works(qk_decode(&t, ids, 5, &text, &err));
    assert_string_equal(text.at, "abc <ee><e>cat");
    assert_int_equal(qk_decode(&t, bad, 1, &text, &err), -1);
    assert_string_equal(err.text, "11 is not the id of a token");
    qk_buffer_free(&text);
    qk_tokenizer_free(&t);
}

static void train(struct qk_tokenizer *t, const char *text, int64_t size)
{
    struct qk_word_counts counts = {0};
    qk_word_counts_add(&counts, text, strlen(text));
    qk_bpe_train(t, &counts, size, NULL, NULL);
    qk_word_counts_free(&counts);
}

static const char *token(const struct qk_tokenizer *t, uint32_t id)
{
    static char text[64];
    snprintf(text, sizeof text, "%.*s", (int)t->tokens[id].size, t->pool + t->tokens[id].start);
    return text;
}

static void training(void **state)
{
    (void)state;
    struct qk_tokenizer t;
    /* " x" and "xy" occur 4 and 3 times; "ab" and "cd" tie at 2 and the lower ids win */
    train(&t, "ab ab cd cd xy xy xy x", 262);
    assert_int_equal(t.vocab_size, 262);
    assert_string_equal(token(&t, 0), "<|endoftext|>");
    assert_string_equal(token(&t, 1), "!");
    assert_string_equal(token(&t, 257), " x");
    assert_string_equal(token(&t, 258), " xy");
    assert_string_equal(token(&t, 259), "ab");
    assert_string_equal(token(&t, 260), "cd");
    assert_string_equal(token(&t, 261), " cd");
    check_ids(&t, " xy<|endoftext|>ab", 18, "258 0 259");
    qk_tokenizer_free(&t);
}

/* Overlaps: in "aaaa" the pair aa is merged from the left. */
static void training_on_repeats(void **state)
{
    (void)state;
    struct qk_tokenizer t;
    train(&t, "aaaaa", 300);
    assert_int_equal(t.vocab_size, 260); /* aa; aa aa a: the pair of lower ids; then the rest */
    assert_string_equal(token(&t, 258), "aaa");
    assert_string_equal(token(&t, 259), "aaaaa");
    qk_tokenizer_free(&t);
}

static void written_json_reads_back(void **state)
{
    (void)state;
    struct qk_tokenizer t, back;
    struct qk_err err;
    train(&t, "the cat\n\tsat \"on\" the \\ mat \x01 \xC3\xA9t\xC3\xA9 the cat sat", 290);
    assert_works(qk_tokenizer_parse(&back, t.json.at, t.json.size, "test", &err));
    assert_int_equal(back.vocab_size, t.vocab_size);
    for (uint32_t id = 0; id < 290; id++) {
        assert_int_equal(back.tokens[id].size, t.tokens[id].size);
        assert_memory_equal(back.pool + back.tokens[id].start, t.pool + t.tokens[id].start,
                            t.tokens[id].size);
    }
    struct qk_encode_work w1 = {0}, w2 = {0};
    struct qk_ids a = {0}, b = {0};
    const char text[] = " the cat sat \xC3\xA9t\xC3\xA9\\\"<|endoftext|>x";
    assert_works(qk_encode(&t, &w1, text, strlen(text), &a, &err));
    assert_works(qk_encode(&back, &w2, text, strlen(text), &b, &err));
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.at, b.at, a.count * sizeof *a.at);
    qk_ids_free(&a);
    qk_ids_free(&b);
    qk_encode_work_free(&w1);
    qk_encode_work_free(&w2);
    qk_tokenizer_free(&t);
    qk_tokenizer_free(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alphabet),
        cmocka_unit_test(merging),
        cmocka_unit_test(encoding),
        cmocka_unit_test(decoding),
        cmocka_unit_test(training),
        cmocka_unit_test(training_on_repeats),
        cmocka_unit_test(written_json_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
