/* Words: GPT-2's pattern by hand against the same pattern by PCRE2, and the stages. */
#include "check.h"

#include "study/text/pretoken.h"
#include "study/text/regex.h"
#include "study/text/uchar.h"

static void split(const struct qk_pretoken *p, const char *text, size_t n, struct qk_buffer *to)
{
    struct qk_pretoken_work work = {0};
    struct qk_err err;
    assert_works(qk_pretoken_split(p, &work, text, n, &err));
    to->size = 0;
    qk_buffer_text(to, "");
    for (size_t i = 0; i < work.words.count; i++) {
        qk_buffer_text(to, i ? "|" : "");
        qk_buffer_add(to, work.words.at[i].at, work.words.at[i].size);
    }
    qk_pretoken_work_free(&work);
}

static void check_split(const char *json, const char *text, const char *expected)
{
    struct qk_pretoken p;
    struct qk_err err;
    struct qk_buffer seen = {0};
    cJSON *parsed = cJSON_Parse(json);
    assert_non_null(parsed);
    assert_works(qk_pretoken_parse(&p, parsed, "test", &err));
    split(&p, text, strlen(text), &seen);
    assert_string_equal(seen.at, expected);
    qk_buffer_free(&seen);
    qk_pretoken_free(&p);
    cJSON_Delete(parsed);
}

#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define SEQUENCE(first) "{\"type\":\"Sequence\",\"pretokenizers\":[" first "," BYTES "]}"
#define SPLIT(pattern, behavior, invert)                                                           \
    SEQUENCE("{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":\"" behavior                \
             "\",\"invert\":" invert "}")

static void gpt2_words(void **state)
{
    (void)state;
    struct qk_pretoken p;
    struct qk_buffer seen = {0};
    static const char *const cases[][2] = {
        {"Hello world", "Hello| world"},
        {"it's they'll 'tis 'S", "it|'s| they|'ll| '|tis| '|S"},
        {"a  b   c", "a| | b|  | c"},
        {"x\n\n y ", "x|\n\n| y| "},
        {"end  ", "end|  "},
        {"12ab!?3", "12|ab|!?|3"},
        {"a\xC2\xA0\xC2\xA0z", "a|\xC2\xA0|\xC2\xA0|z"},
        {"'", "'"},
        {"'re'r", "'re|'|r"},
        {"\xE2\x85\xA7\xC2\xBD", "\xE2\x85\xA7\xC2\xBD"},
    };
    qk_pretoken_gpt2(&p);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        split(&p, cases[i][0], strlen(cases[i][0]), &seen);
        assert_string_equal(seen.at, cases[i][1]);
    }
    qk_buffer_free(&seen);
}

/* A text of random characters out of awkward kinds. */
static size_t random_text(uint64_t *state, char *text)
{
    static const uint32_t pool[] = {
        'a',    'Z',    '\'',   's',    'l',     'r',    'e',    '0',    '9',  ' ',    ' ',
        '\t',   '\n',   '\r',   '!',    '-',     0x85,   0xA0,   0xE9,   0xB2, 0x301,  0x2003,
        0x2028, 0x3000, 0x6F22, 0x0663, 0x1F600, 0x1C89, 0x180E, 0x200D, 0,    0x11F50};
    size_t n = 0;
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    for (unsigned k = (unsigned)(*state >> 59); k > 0; k--) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        n += qk_uchar_put(pool[(*state >> 33) % (sizeof pool / sizeof *pool)], text + n);
    }
    return n;
}

static void gpt2_by_hand_is_the_pattern(void **unused)
{
    (void)unused;
    struct qk_err err;
    struct qk_regex *re = qk_regex_new(qk_gpt2_pattern, 0, &err);
    struct qk_regex_work *work = qk_regex_work_new();
    uint64_t state = 1;
    char text[200];
    assert_non_null(re);
    for (int round = 0; round < 20000; round++) {
        size_t n = random_text(&state, text), start, end;
        for (size_t i = 0; i < n; i = end) {
            assert_int_equal(qk_regex_find(re, work, text, n, i, &start, &end, &err), 1);
            assert_int_equal(start, i);
            assert_int_equal(qk_gpt2_word(text + i, n - i), end - i);
        }
    }
    qk_regex_work_free(work);
    qk_regex_free(re);
}

static void digits(void **state)
{
    (void)state;
    check_split(SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":true}"), "a12 3b",
                "a|1|2| |3|b");
    check_split(SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":false}"),
                "12a\xC2\xB2\xE2\x85\xA7z", "12|a|\xC2\xB2\xE2\x85\xA7|z");
}

static void prefix_space(void **state)
{
    (void)state;
    check_split("{\"type\":\"ByteLevel\"}", "a b", " a| b");
    check_split("{\"type\":\"ByteLevel\"}", " a b", " a| b");
    check_split(
        "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":"
        "true},{\"type\":\"ByteLevel\",\"add_prefix_space\":true}]}",
        "a12", " a| 1| 2");
}

/* What Hugging Face tokenizers 0.23.3 gives for "-a--b-" cut at "-". */
static void split_behaviors(void **state)
{
    (void)state;
    const char *text = "-a--b-";
    check_split(SPLIT("{\"String\":\"-\"}", "Isolated", "false"), text, "-|a|-|-|b|-");
    check_split(SPLIT("{\"String\":\"-\"}", "Removed", "false"), text, "a|b");
    check_split(SPLIT("{\"String\":\"-\"}", "MergedWithPrevious", "false"), text, "-|a-|-|b-");
    check_split(SPLIT("{\"String\":\"-\"}", "MergedWithNext", "false"), text, "-a|-|-b|-");
    check_split(SPLIT("{\"String\":\"-\"}", "Contiguous", "false"), text, "-|a|--|b|-");
    check_split(SPLIT("{\"String\":\"-\"}", "Removed", "true"), text, "-|-|-|-");
    check_split(SPLIT("{\"String\":\"-\"}", "MergedWithPrevious", "true"), text, "-a|-|-b|-");
    check_split(SPLIT("{\"Regex\":\"x*\"}", "Isolated", "false"), "axxb", "a|xx|b");
    check_split(SPLIT("{\"String\":\".\"}", "Isolated", "false"), "a.b", "a|.|b");
}

static void patterns(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_buffer seen = {0};
    check_split(SPLIT("{\"Regex\":\"(?i:'s)|\\\\p{N}{1,3}|[^\\\\s\\\\p{N}]+|\\\\s+\"}", "Isolated",
                      "false"),
                "a'S 1234\xE3\x80\x80\x78", "a'S| |123|4|\xE3\x80\x80|x");
    check_split(SPLIT("{\"Regex\":\"[^\\\\S\\\\n]+\"}", "Isolated", "false"), "a \t\n b",
                "a| \t|\n| |b");
    check_split(SPLIT("{\"Regex\":\"\\\\s+\"}", "Removed", "false"), "a\xE1\xA0\x8E b",
                "a\xE1\xA0\x8E|b"); /* U+180E is no space any more */
    static const char *const refused[] = {"\\w",    "a{,3}", "a{1}+",    "[[a]]", "[]a]",
                                          "(?x:a)", "\\b",   "\\h",      "[a",    "\\",
                                          "\\xff",  "\\p",   "(*ACCEPT)"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(qk_regex_translate(refused[i], &seen, &err), -1);
        assert_non_null(strstr(err.text, "is not supported in a pattern"));
    }
    assert_null(qk_regex_new("(", 0, &err));
    assert_null(qk_regex_new("\\p{Nowhere}", 0, &err));
    qk_buffer_free(&seen);
}

static void repair(void **state)
{
    (void)state;
#define R "\xEF\xBF\xBD"
    static const char *const cases[][2] = {
        {"plain", "plain"},   {"a\xFF", "a" R},         {"\xC3(", R "("},
        {"\xE2\x82x", R "x"}, {"\xF0\x9F\x98 ", R " "}, {"\xED\xA0\x80", R R R},
        {"\xC0\xAF", R R},    {"\xF5\x80", R R},        {"\xE2\x82\xAC\xE2", "\xE2\x82\xAC" R},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qk_buffer to = {0};
        qk_uchar_repair(cases[i][0], strlen(cases[i][0]), &to);
        assert_string_equal(to.at, cases[i][1]);
        qk_buffer_free(&to);
    }
}

static void classes(void **state)
{
    (void)state;
    assert_int_equal(qk_uchar_class('a'), QK_LETTER | QK_WORD);
    assert_int_equal(qk_uchar_class('_'), QK_WORD);
    assert_int_equal(qk_uchar_class(0x85), QK_SPACE);
    assert_int_equal(qk_uchar_class(0x180E), 0);
    assert_int_equal(qk_uchar_class(0xBD), QK_NUMBER);
    assert_int_equal(qk_uchar_class(0x2167) & (QK_NUMBER | QK_LETTER), QK_NUMBER);
    assert_int_equal(qk_uchar_class(0x1C89), QK_LETTER | QK_WORD); /* Unicode 16 */
    assert_int_equal(qk_uchar_class(0x323AF), QK_LETTER | QK_WORD);
    assert_int_equal(qk_uchar_class(0x110000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_words),      cmocka_unit_test(gpt2_by_hand_is_the_pattern),
        cmocka_unit_test(digits),          cmocka_unit_test(prefix_space),
        cmocka_unit_test(split_behaviors), cmocka_unit_test(patterns),
        cmocka_unit_test(repair),          cmocka_unit_test(classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
