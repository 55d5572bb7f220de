/* lib/base without HDF5: numbers, options, random numbers, text files, JSON, hashes, output. */
#include "check.h"

#include <unistd.h>
#include <zstd.h>

#include "base/args.h"
#include "base/json.h"
#include "base/num.h"
#include "base/outfile.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "base/textfile.h"

static void counts(void **state)
{
    (void)state;
    struct qk_err err;
    int64_t v;
    assert_works(qk_parse_count("1966080", &v, &err));
    assert_int_equal(v, 1966080);
    assert_works(qk_parse_count("1.5M", &v, &err));
    assert_int_equal(v, 1500000);
    assert_works(qk_parse_count("2G", &v, &err));
    assert_int_equal(v, 2000000000);
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "-1",
                                      "1k",
                                      "M",
                                      "1.5",
                                      "0.0001K",
                                      "1e6",
                                      "0x10",
                                      "1MM",
                                      "1.2.3M",
                                      "9223372036854775808",
                                      "nan"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(qk_parse_count(bad[i], &v, &err), -1);
    assert_int_equal(qk_parse_int("11", 1, 10, &v, &err), -1);
    assert_string_equal(err.text, "11 is not between 1 and 10");
    double x;
    assert_works(qk_parse_real("-1.5e-3", &x, &err));
    assert_true(x == -1.5e-3);
    static const char *const not_real[] = {"", "inf", "nan", "0x1p3", "1..2", "1e", "1,5", "1e999"};
    for (size_t i = 0; i < sizeof not_real / sizeof *not_real; i++)
        assert_int_equal(qk_parse_real(not_real[i], &x, &err), -1);
    char text[32];
    assert_string_equal(qk_group_digits(-1966080, text), "-1,966,080");
    assert_string_equal(qk_group_digits(100, text), "100");
}

static int parse(struct qk_command *c, struct qk_err *err, int argc, const char **argv)
{
    return qk_args_parse(c, argc, (char **)(uintptr_t)argv, err);
}

static void options(void **state)
{
    (void)state;
    struct qk_err err;
    bool flag = false;
    int64_t n = 3;
    const char *mode = "a", *out = NULL;
    struct qk_option table[] = {
        {"flag", 'f', QK_OPT_FLAG, &flag, NULL, "a flag"},
        {"number", 0, QK_OPT_INT, &n, "N", "a number", .least = 1, .most = 9},
        {"mode", 0, QK_OPT_CHOICE, &mode, NULL, "a choice", .choices = "a|bb"},
        {"out", 'o', QK_OPT_TEXT, &out, "FILE", "output", .content_free = true},
        {0}};
    struct qk_command c = {.tool = "t", .usage = "u", .summary = "s", .tables = {table}};
    assert_works(parse(
        &c, &err, 8, (const char *[]){"t", "x", "-f", "--num=4", "-o", "y", "--mode", "bb", NULL}));
    assert_true(flag && n == 4 && strcmp(mode, "bb") == 0 && strcmp(out, "y") == 0);
    static const char *const canonical[] = {"--flag", "--number", "4", "--mode", "bb", "x"};
    assert_int_equal(c.canonical.count, 6);
    for (int i = 0; i < 6; i++)
        assert_string_equal(c.canonical.at[i], canonical[i]);
    qk_args_free(&c);
    const char *bad[][2] = {{"--number", "0"},  {"--number", "x"}, {"--mode", "b"},
                            {"--nothing", "1"}, {"-z", ""},        {"--out", ""},
                            {"x", "-o"},        {"--flag=1", ""},  {"x", ""}};
    static const char *const sentence[] = {"--number: 0 is not between 1 and 9",
                                           "--number: 'x' is not a whole number",
                                           "--mode: 'b' is not one of a|bb",
                                           "unknown option '--nothing'",
                                           "unknown option '-z'",
                                           "--out: the value is empty",
                                           "option '-o' needs a value",
                                           "option '--flag' takes no value",
                                           "an operand is empty"};
    for (int i = 0; i < 9; i++) {
        struct qk_command again = {.tool = "t", .tables = {table}};
        assert_int_equal(parse(&again, &err, 3, (const char *[]){"t", bad[i][0], bad[i][1], NULL}),
                         -1);
        assert_string_equal(err.text, sentence[i]);
        qk_args_free(&again);
    }
}

/* Known answers of Random123 for philox4x32-10. */
static void random_numbers(void **state)
{
    (void)state;
    assert_true(qk_rng_bits(0, 0, 0) == ((uint64_t)0xe169c58d << 32 | 0x6627e8d5));
    assert_true(qk_rng_bits(~0ull, ~0ull, ~0ull) == ((uint64_t)0x41c83b0e << 32 | 0x408f276d));
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        double x = qk_rng_normal(42, 7, i);
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / 1e5) < 0.01 && fabs(squares / 1e5 - 1) < 0.02);
    uint64_t order[1000], seen = 0;
    qk_rng_permutation(1, 2, 1000, order);
    for (int i = 0; i < 1000; i++)
        seen += order[i];
    assert_int_equal(seen, 499500);
    assert_true(qk_rng_stream("a") != qk_rng_stream("b"));
}

static void hashes(void **state)
{
    (void)state;
    char hex[QK_SHA256_HEX];
    qk_sha256_bytes("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void utf8(void **state)
{
    (void)state;
    assert_int_equal(qk_utf8_check("plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 17), 0);
    assert_int_equal(qk_utf8_check("abc\xff", 4), 4);
    assert_int_equal(qk_utf8_check("\xc0\x80", 2), 1);
    assert_int_equal(qk_utf8_check("\xed\xa0\x80", 3), 1);
    assert_int_equal(qk_utf8_check("a\xe2\x82", 3), 2);
    assert_int_equal(qk_utf8_check("0123456789abcdef\x80", 17), 17);
}

static void text_files(void **state)
{
    (void)state;
    struct qk_err err;
    char packed[256];
    const char text[] = "one\ntwo\n\nfour";
    size_t n = ZSTD_compress(packed, sizeof packed, text, sizeof text - 1, 1);
    FILE *file = fopen("test_base.zst", "wb");
    fwrite(packed, 1, n, file);
    fclose(file);
    struct qk_textfile *f = qk_text_open("test_base.zst", &err);
    assert_non_null(f);
    static const char *const lines[] = {"one", "two", "", "four"};
    const char *line;
    size_t length;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(qk_text_line(f, &line, &length, &err), 1);
        assert_int_equal(length, strlen(lines[i]));
        assert_memory_equal(line, lines[i], length);
    }
    assert_int_equal(qk_text_line(f, &line, &length, &err), 0);
    qk_text_close(f);
    assert_int_equal(truncate("test_base.zst", (off_t)n - 3), 0);
    struct qk_buffer whole = {0};
    assert_int_equal(qk_text_slurp("test_base.zst", &whole, &err), -1);
    assert_string_equal(err.text, "test_base.zst: the compressed data is truncated");
    qk_buffer_free(&whole);
    unlink("test_base.zst");
}

static void json(void **state)
{
    (void)state;
    struct qk_err err;
    assert_null(qk_json_parse("{\"a\": 1,\n }", "f.json", &err));
    assert_string_equal(err.text, "f.json: malformed JSON at line 2");
    assert_null(qk_json_parse("{} {}", "f.json", &err));
    assert_null(qk_json_parse(" ", "f.json", &err));
    assert_string_equal(err.text, "f.json: is empty, expected JSON");
    cJSON *o = qk_json_parse("{\"a\": 1.5}", "f.json", &err);
    int64_t n;
    assert_int_equal(qk_json_int(o, "a", &n, "f.json", &err), -1);
    assert_string_equal(err.text, "f.json: 'a' is not a whole number");
    qk_json_add_number(o, "b", NAN);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(o, "b")));
    cJSON_Delete(o);
}

static void outputs(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_out *out = qk_out_open("test_base.txt", &err), *second;
    assert_non_null(out);
    second = qk_out_open("test_base.txt", &err);
    assert_null(second);
    assert_string_equal(err.text, "test_base.txt: is being written already");
    fputs("whole\n", qk_out_stream(out));
    assert_int_equal(access("test_base.txt", F_OK), -1);
    assert_works(qk_out_commit(out, &err));
    assert_int_equal(access("test_base.txt", F_OK), 0);
    assert_int_equal(access("test_base.txt.tmp", F_OK), -1);
    out = qk_out_open("test_base.txt", &err);
    fputs("other\n", qk_out_stream(out));
    qk_out_discard(out);
    struct qk_buffer text = {0};
    assert_works(qk_text_slurp("test_base.txt", &text, &err));
    assert_string_equal(text.at, "whole\n");
    qk_buffer_free(&text);
    unlink("test_base.txt");
    assert_null(qk_out_open("no/such/folder/x", &err));
}

static void minus_signs(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"-0.5", "−0.5"},
        {"B−C = -3.70, [-1.5, -0.2] (-4)", "B−C = −3.70, [−1.5, −0.2] (−4)"},
        {"A-1 2024-05 1e-05 - --5 sign-flip", "A-1 2024-05 1e-05 - --5 sign-flip"},
        {"say `x -1` or -1", "say `x -1` or −1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = qk_minus_signs(cases[i][0]);
        assert_string_equal(text, cases[i][1]);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts), cmocka_unit_test(options), cmocka_unit_test(random_numbers),
        cmocka_unit_test(hashes), cmocka_unit_test(utf8),    cmocka_unit_test(text_files),
        cmocka_unit_test(json),   cmocka_unit_test(outputs), cmocka_unit_test(minus_signs),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
