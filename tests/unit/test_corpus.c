/* Documents out of plain text and JSON lines, their hashes, and who takes which. */
#include "check.h"

#include "study/corpus/corpus.h"
#include "study/corpus/docselect.h"
#include "study/corpus/docset.h"
#include "study/text/jsonl.h"

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* All documents as "line:text|line:text", read twice over. */
static void check_documents(const char *name, const char *text,
                            const struct qk_corpus_options *options, const char *expected)
{
    char path[] = "/tmp/qk-corpus-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    fclose(fdopen(fd, "w"));
    char *full = qk_format("%s%s", path, name);
    struct qk_strings paths = {0};
    struct qk_corpus c;
    struct qk_document d;
    struct qk_buffer seen = {0};
    struct qk_err err = {{0}};
    write_file(full, text);
    qk_strings_add(&paths, full);
    assert_works(qk_corpus_open(&c, options, &paths, &err));
    for (int twice = 0; twice < 2; twice++) {
        int got;
        seen.size = 0;
        qk_buffer_text(&seen, "");
        qk_corpus_rewind(&c);
        while ((got = qk_corpus_next(&c, &d, &err)) > 0) {
            qk_buffer_format(&seen, "%s%d:", seen.size ? "|" : "", (int)d.line);
            qk_buffer_add(&seen, d.text, d.size);
        }
        if (got < 0)
            qk_buffer_format(&seen, "!%s", err.text + strlen(full));
        assert_string_equal(seen.at, expected);
    }
    qk_corpus_close(&c);
    qk_buffer_free(&seen);
    qk_strings_free(&paths);
    remove(full);
    remove(path);
    free(full);
}

static void plain_text(void **state)
{
    (void)state;
    struct qk_corpus_options o = {.field = "text", .most_bytes = 1000};
    check_documents("", "one", &o, "1:one");
    check_documents("", "\n\none\ntwo\n\nthree\n\n\nfour\n", &o, "3:one\ntwo\n\nthree|9:four");
    check_documents("", "a\r\n\r\n\r\nb\r\n\r\nc\r\n", &o, "1:a|4:b\r\n\r\nc");
    check_documents("", "a\n \n\nb", &o, "1:a\n \n\nb"); /* a line with a space is no blank line */
    check_documents("", "a\n\n\n\n\n\nb\n\n\n\n", &o, "1:a|7:b");
    check_documents("", "\n\n", &o, "!: holds no text");
    check_documents("", "a\n\n\nb\xFFz", &o,
                    "1:a!: line 4 is not valid UTF-8 (byte 6 of the text)");
    o.whole = true;
    check_documents("", "\na\n\n\nb\n", &o, "1:\na\n\n\nb\n");
    o.repair = true;
    check_documents("", "a\xFF", &o, "1:a\xEF\xBF\xBD");
}

static void separated_text(void **state)
{
    (void)state;
    struct qk_corpus_options o = {
        .field = "text", .most_bytes = 1000, .separator = "<>", .separator_size = 2};
    check_documents("", "a<>b\n\n\nc<>", &o, "1:a|1:b\n\n\nc");
    check_documents("", "<><>\na\n<>\n\nb", &o, "2:a|5:b");
    check_documents("", "a<<>b<", &o, "1:a<|1:b<");
    check_documents("", "<>\n<>", &o, "!: holds no text");
}

static void json_lines(void **state)
{
    (void)state;
    struct qk_corpus_options o = {.field = "text", .most_bytes = 1000};
    const char *two = "{\"text\":\"a\\nb\"}\n\n{\"n\":[1,{}],\"text\":\" c\"}";
    check_documents(".jsonl", two, &o, "1:a\nb|3: c");
    check_documents("", two, &o, "1:a\nb|3: c"); /* told by its first line */
    check_documents(".txt", "{\"text\":\"a\"}", &o, "1:{\"text\":\"a\"}");
    check_documents(".jsonl", "{\"text\":\"a\"}\n{", &o,
                    "1:a!: line 2: malformed JSON at column 2");
    o.format = QK_FORMAT_TEXT;
    check_documents(".jsonl", "{\"text\":\"a\"}", &o, "1:{\"text\":\"a\"}");
}

static void check_json(const char *line, const char *expected)
{
    struct qk_buffer to = {0};
    struct qk_err err;
    if (qk_jsonl_text(line, strlen(line), "t", &to, &err) == 0)
        assert_string_equal(to.at ? to.at : "", expected);
    else
        assert_string_equal(err.text, expected);
    qk_buffer_free(&to);
}

static void json_text(void **state)
{
    (void)state;
    check_json("{\"t\":\"x\"}", "x");
    check_json(" { \"a\" : -1.5e+3 , \"t\" : \"x\" } ", "x");
    check_json("{\"t\":1,\"t\":\"last\"}", "last");
    check_json("{\"t\":\"x\",\"t\":1}", "'t' is not text");
    check_json("{\"\\u0074\":\"x\"}", "x");
    check_json("{\"t\":\"\\u00e9\\ud83d\\ude00\\/\\b\\\"\\\\\"}",
               "\xC3\xA9\xF0\x9F\x98\x80/\b\"\\");
    check_json("{\"a\":{\"t\":\"inner\"}}", "has no key 't'");
    check_json("{}", "has no key 't'");
    check_json("[]", "not a JSON object");
    check_json("{\"t\":\"\\ude00\"}", "malformed JSON at column 13");
    check_json("{\"t\":\"x\"}}", "malformed JSON at column 10");
    check_json("{\"t\":\"x\",}", "malformed JSON at column 10");
    check_json("{\"t\":.5}", "malformed JSON at column 6");
    check_json("{\"t\":nul}", "malformed JSON at column 6");
    check_json("{\"t\":\"\\q\"}", "malformed JSON at column 9");
    check_json("{\"t\":\"open", "malformed JSON at column 11");
    check_json("x", "malformed JSON at column 1");
    for (int n = 0; n < 40; n++) { /* what ends a run of plain bytes, wherever it stands */
        char line[256], expected[256], xs[64] = {0};
        memset(xs, 'x', (size_t)n);
        snprintf(line, sizeof line, "{\"t\":\"%s\\n%s\xC3\xA9\x7F%s\"}", xs, xs, xs);
        snprintf(expected, sizeof expected, "%s\n%s\xC3\xA9\x7F%s", xs, xs, xs);
        check_json(line, expected);
        snprintf(line, sizeof line, "{\"t\":\"%s\x1F%s\"}", xs, xs);
        snprintf(expected, sizeof expected, "malformed JSON at column %d", n + 7);
        check_json(line, expected);
    }
}

/* The first vectors of the reference implementation's vectors.h, key 00 01 .. 0f. */
static void siphash(void **state)
{
    (void)state;
    const unsigned char text[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    const uint64_t key0 = 0x0706050403020100u, key1 = 0x0f0e0d0c0b0a0908u;
    struct qk_dochash h = qk_siphash128(text, 0, key0, key1);
    assert_true(h.high == 0xe6a825ba047f81a3u && h.low == 0x930255c71472f66du);
    h = qk_siphash128(text, 1, key0, key1);
    assert_true(h.high == 0x44af996bd8c187dau && h.low == 0x45fc229b11597634u);
    h = qk_siphash128(text, 9, key0, key1); /* by a transcription of the paper into Python */
    assert_true(h.high == 0xabbad90a06994426u && h.low == 0xed716dbb028b7fc4u);
}

static void set_of_hashes(void **state)
{
    (void)state;
    struct qk_docset set = {0};
    for (uint64_t i = 0; i < 50000; i++)
        assert_true(qk_docset_add(&set, qk_dochash(&i, sizeof i, 1)));
    for (uint64_t i = 0; i < 50000; i++)
        assert_false(qk_docset_add(&set, qk_dochash(&i, sizeof i, 1)));
    uint64_t other = 50000;
    assert_false(qk_docset_has(&set, qk_dochash(&other, sizeof other, 1)));
    assert_true(qk_docset_add(&set, (struct qk_dochash){0, 0}));
    assert_false(qk_docset_add(&set, (struct qk_dochash){0, 0}));
    assert_int_equal(set.count, 50001);
    qk_docset_free(&set);
}

enum { DOCUMENTS = 3000 };

static int by_hash(const void *a, const void *b)
{
    const struct qk_dochash *x = a, *y = b;
    return qk_dochash_before(*x, *y) ? -1 : qk_dochash_before(*y, *x);
}

/* Against the definition: sort all by hash, give them out. */
static void selection(void **state)
{
    (void)state;
    struct qk_split_wish wishes[] = {
        {.name = "a", .tokens = 500}, {.name = "b", .tokens = 1}, {.name = "c", .tokens = 900}};
    struct qk_dochash hashes[DOCUMENTS];
    uint32_t room[200] = {0};
    struct qk_selection s;
    struct qk_err err;
    size_t kept = 0;
    qk_selection_begin(&s, wishes, 3);
    for (uint64_t i = 0; i < DOCUMENTS; i++) {
        hashes[i] = qk_dochash(&i, sizeof i, 5);
        /* lengths by hash, long ones late */
        struct qk_ids ids = {.at = room, .count = 1 + hashes[i].low % (i < 2000 ? 20 : 200)};
        qk_selection_offer(&s, hashes[i], &ids, 1);
        qk_selection_offer(&s, hashes[i], &ids, 1); /* a duplicate */
        if (s.count > kept)
            kept = s.count;
    }
    assert_true(kept < DOCUMENTS / 4); /* it did not keep all */
    assert_works(qk_selection_assign(&s, wishes, 3, &err));
    uint64_t length[DOCUMENTS];
    qsort(hashes, DOCUMENTS, sizeof *hashes, by_hash);
    for (uint64_t i = 0; i < DOCUMENTS; i++) { /* which document it was tells its length */
        struct qk_dochash h = qk_dochash(&i, sizeof i, 5);
        struct qk_dochash *at = bsearch(&h, hashes, DOCUMENTS, sizeof h, by_hash);
        length[at - hashes] = 1 + h.low % (i < 2000 ? 20 : 200);
    }
    size_t next = 0;
    for (int w = 0; w < 3; w++) {
        int64_t held = 0;
        assert_int_equal(wishes[w].first, next);
        while (held < wishes[w].tokens) {
            assert_int_equal(s.heap[next].count, length[next]);
            held += (int64_t)length[next++];
        }
        assert_int_equal(wishes[w].held, held);
        assert_int_equal(wishes[w].documents, next - wishes[w].first);
    }
    assert_true(qk_selection_took(&s, hashes[next - 1]));
    assert_false(qk_selection_took(&s, hashes[next]));
    qk_selection_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text), cmocka_unit_test(separated_text),
        cmocka_unit_test(json_lines), cmocka_unit_test(json_text),
        cmocka_unit_test(siphash),    cmocka_unit_test(set_of_hashes),
        cmocka_unit_test(selection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
