/* What the tasks of text are made of: Python's random numbers and text, WikiText's pages and
 * detokeniser, HellaSwag's items, windows and pairs of tokens. */
#include "tiny.h"

#include "study/eval/eval_items.h"
#include "study/eval/hellaswag.h"
#include "study/eval/pyrandom.h"
#include "study/eval/wikitext.h"

/* ---- Python's random, values printed by CPython 3.11 ---- */

static void assert_sample(struct qk_pyrandom *r, uint32_t n, uint32_t k, const uint32_t *expected)
{
    uint32_t chosen[16];
    qk_pyrandom_sample(r, n, k, chosen);
    for (uint32_t i = 0; i < k; i++)
        assert_int_equal(chosen[i], expected[i]);
}

/* r = random.Random(1234); r.sample(range(39905), 11), again, r.sample(range(14), 3), ... */
static void samples(void **state)
{
    struct qk_pyrandom r;
    (void)state;
    qk_pyrandom_seed(&r, 1234);
    assert_sample(
        &r, 39905, 11,
        (uint32_t[]){28883, 7657, 490, 5940, 38156, 2288, 5500, 6450, 23241, 15519, 1142});
    assert_sample(
        &r, 39905, 11,
        (uint32_t[]){2019, 1038, 22681, 31735, 30379, 9735, 5982, 11999, 7498, 958, 32970});
    assert_sample(&r, 14, 3, (uint32_t[]){7, 3, 1});
    assert_sample(&r, 85, 11, (uint32_t[]){69, 59, 8, 76, 11, 65, 74, 5, 34, 71, 82});
    assert_sample(&r, 86, 11, (uint32_t[]){82, 38, 61, 45, 34, 31, 83, 25, 58, 67, 85});
    assert_sample(&r, 22, 5, (uint32_t[]){0, 16, 2, 10, 4});
    assert_sample(&r, 21, 5, (uint32_t[]){15, 12, 5, 1, 2});
    assert_sample(&r, 7, 7, (uint32_t[]){4, 3, 1, 0, 2, 5, 6});
}

/* r = random.Random(seed); r._randbelow(n) */
static void bounds(void **state)
{
    struct qk_pyrandom r;
    (void)state;
    static const uint32_t wide[] = {1654615998, 1806341205, 173879092, 1112038970, 2087043557};
    qk_pyrandom_seed(&r, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(qk_pyrandom_below(&r, 0x80000005u), wide[i]);
    static const uint32_t thousand[] = {391, 380, 844, 767, 332};
    qk_pyrandom_seed(&r, (UINT64_C(1) << 40) + 77);
    for (int i = 0; i < 5; i++)
        assert_int_equal(qk_pyrandom_below(&r, 1000), thousand[i]);
    qk_pyrandom_seed(&r, 1234); /* behind the first 624 words */
    for (int i = 0; i < 700; i++)
        qk_pyrandom_below(&r, 0x80000005u);
    assert_int_equal(qk_pyrandom_below(&r, 1000000000), 482678655);
}

/* ---- Python's text ---- */

static void assert_span(struct qk_span p, const char *expected)
{
    if (p.size != strlen(expected) || memcmp(p.at, expected, p.size) != 0)
        fail_msg("'%.*s', expected '%s'", (int)p.size, p.at, expected);
}

static void strips(void **state)
{
    (void)state;
    assert_span(qk_py_strip(qk_span_of(" \t\n\x0b\x0c\r\x1c\x1d\x1e\x1f a b \xc2\xa0")), "a b");
    assert_span(qk_py_strip(qk_span_of("\xe3\x80\x80x\xe2\x80\xa8\xe1\x9a\x80")), "x");
    assert_span(qk_py_strip(qk_span_of("\xe2\x80\x8bx\xef\xbb\xbf")), "\xe2\x80\x8bx\xef\xbb\xbf");
    assert_span(qk_py_rstrip(qk_span_of(" a ")), " a");
    assert_span(qk_py_lstrip(qk_span_of(" a ")), "a ");
    assert_span(qk_py_strip(qk_span_of(" \n ")), "");
    assert_span(qk_py_strip(qk_span_of("")), "");
    assert_int_equal(qk_py_length(qk_span_of("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")), 4);
    assert_int_equal(qk_py_split_count(qk_span_of(" a  b\xc2\xa0\n c ")), 5);
    assert_int_equal(qk_py_split_count(qk_span_of("")), 1);
    assert_int_equal(qk_py_split_count(qk_span_of("a")), 1);
}

static void assert_replaced(const char *text, const char *from, const char *to,
                            const char *expected)
{
    struct qk_buffer b = {0};
    qk_buffer_text(&b, text);
    qk_py_replace(&b, from, to);
    assert_string_equal(b.at, expected);
    assert_int_equal(b.size, strlen(expected));
    qk_buffer_free(&b);
}

static void replacements(void **state)
{
    (void)state;
    assert_replaced("a    b", "  ", " ", "a  b"); /* one pass */
    assert_replaced("aaaa", "aa", "a", "aa");
    assert_replaced("x , y , , z", " , ", ", ", "x, y, , z");
    assert_replaced("ab", "abc", "x", "ab");
    assert_replaced("", "a", "x", "");
    assert_replaced("aab", "ab", "", "a");
}

static void assert_capital(const char *text, const char *expected)
{
    struct qk_buffer b = {0};
    qk_buffer_text(&b, "");
    qk_py_capitalize(qk_span_of(text), &b);
    assert_string_equal(b.at, expected);
    qk_buffer_free(&b);
}

static void capitals(void **state)
{
    (void)state;
    assert_capital("", "");
    assert_capital("he", "He");
    assert_capital("HE TAKES", "He takes");
    assert_capital("\xc3\xa9T\xc3\x89 1A", "\xc3\x89t\xc3\xa9 1a");
    assert_capital("x\nY", "X\ny");
    assert_capital("\xd0\x94\xd0\x90", "\xd0\x94\xd0\xb0");
    assert_capital("\u03b9\u0394", "\u0399\u03b4");
    assert_capital("\u03bcM", "\u039cm");
    assert_capital("\u0131\u015f", "I\u015f");
    assert_capital("\u00dfA", "Ssa");
    assert_capital("\u03b8", "\u0398");
}

/* ---- WikiText ---- */

static void pages(void **state)
{
    static const char *const expected[] = {"before", " = A = \n = = B = = \n text = x ",
                                           " = C D = \n = = = E = = = \n"};
    struct qk_buffer text = {0};
    struct qk_span page;
    size_t at = 0, count = 0;
    (void)state;
    qk_buffer_text(&text,
                   "before\r\n = A = \r\n = = B = = \n text = x \r = C D = \n = = = E = = = \n");
    assert_true(qk_wikitext_line_ends(&text));
    assert_false(qk_wikitext_line_ends(&text));
    for (; qk_wikitext_page(&text, &at, &page); count++)
        assert_span(page, expected[count]);
    assert_int_equal(count, 3);
    text.size = 0;
    qk_buffer_text(&text, " \n \n = A = \nx");
    at = 0;
    assert_true(qk_wikitext_page(&text, &at, &page));
    assert_span(page, " = A = \nx");
    assert_false(qk_wikitext_page(&text, &at, &page));
    text.size = 0;
    qk_buffer_text(&text, " \n \n");
    at = 0;
    assert_false(qk_wikitext_page(&text, &at, &page));
    qk_buffer_free(&text);
}

static void assert_detokenized(const char *text, const char *expected)
{
    struct qk_buffer b = {0};
    qk_wikitext_detokenize(qk_span_of(text), &b);
    assert_string_equal(b.at, expected);
    qk_buffer_free(&b);
}

/* Results of wikitext_detokenizer. */
static void detokenizer(void **state)
{
    (void)state;
    assert_detokenized("1 @,@ 602 . 3 @.@ 5 well @-@ known", "1,602. 3.5 well-known");
    assert_detokenized("a : b ; c . d ! e ? f , g .", "a: b; c. d! e? f, g .");
    assert_detokenized("x ( a ( b ) c ) [  d ] { e\n} ( f", "x (a ( b) c ) [d] {e} ( f");
    assert_detokenized("say \" a b \" and \" c", "say \"a b\" and \" c");
    assert_detokenized("it 's the boys ' ball ' here", "it's the boys' ball ' here");
    assert_detokenized("/' 3/ 12 \xc2\xb0 N E", "/'[0-9]/ 12\xc2\xb0N E");
    assert_detokenized(" = = = = A = = = \n B \n", " ==== A ===\nB\n");
    assert_detokenized("a N b", "a 1 b");
    assert_detokenized("(\xc2\xa0x )", "(x)");
}

/* ---- HellaSwag ---- */

static void preprocess(void **state)
{
    static const char *const cases[][2] = {{"  a [title] b [step] c  ", "a. b c"},
                                           {"x [a\nb] y]", "x [a\nb] y]"},
                                           {"[a] [b]   c", "  c"},
                                           {"a    b", "a  b"},
                                           {"[title] x", " x"},
                                           {"", ""},
                                           {"a [ b ] ] c [", "a ] c ["}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qk_buffer b = {0};
        qk_buffer_text(&b, cases[i][0]);
        qk_hellaswag_preprocess(&b);
        assert_string_equal(b.at, cases[i][1]);
        qk_buffer_free(&b);
    }
}

static void both_forms(void **state)
{
    struct qk_err err;
    struct qk_hellaswag h;
    (void)state;
    cJSON *json = cJSON_Parse(
        "{\"activity_label\":\"A b\",\"ctx_a\":\"C.  D [x]\",\"ctx_b\":\"HE\",\"label\":\"1\","
        "\"endings\":[\" x [title] y\",\"z\"]}");
    assert_works(qk_hellaswag_read(&h, json, &err));
    assert_string_equal(h.query, "A b: C. D He");
    assert_string_equal(h.endings[0], "x. y");
    assert_int_equal(h.gold, 1);
    assert_false(h.plain);
    qk_hellaswag_free(&h);
    cJSON_Delete(json);
    json = cJSON_Parse(
        "{\"query\":\" a  b\",\"ctx\":\"b\",\"label\":0,\"endings\":[\"x [y]\",\"z\"]}");
    assert_works(qk_hellaswag_read(&h, json, &err));
    assert_string_equal(h.query, " a  b");
    assert_string_equal(h.endings[0], "x [y]");
    assert_true(h.plain);
    qk_hellaswag_free(&h);
    cJSON_Delete(json);
}

/* ---- numbers ---- */

static void ratios(void **state)
{
    static const double a[] = {-10, -30, -26}, b[] = {4, 10, 8};
    struct qk_column x = {0}, y = {0};
    double error;
    (void)state;
    for (int i = 0; i < 3; i++) {
        qk_column_add(&x, a[i]);
        qk_column_add(&y, b[i]);
    }
    assert_close(qk_column_ratio(&x, &y, &error), -3.0, 1e-15);
    assert_close(error, sqrt(1.5 * (4 + 0 + 4)) / 22, 1e-15);
    assert_close(qk_column_mean(&x), -22, 1e-15);
    assert_close(qk_column_error(&x), sqrt((144 + 64 + 16) / 2.0 / 3), 1e-15);
    qk_column_free(&x);
    qk_column_free(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples),      cmocka_unit_test(bounds),     cmocka_unit_test(strips),
        cmocka_unit_test(replacements), cmocka_unit_test(capitals),   cmocka_unit_test(pages),
        cmocka_unit_test(detokenizer),  cmocka_unit_test(preprocess), cmocka_unit_test(both_forms),
        cmocka_unit_test(ratios)};
    return cmocka_run_group_tests_name("eval_text", tests, NULL, NULL);
}
