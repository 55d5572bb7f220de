/* The measures of a text, and the thirds of a corpus. */
#include "check.h"

#include "study/corpus/complexity.h"

static void check_measures(const char *text, double words_per_sentence, double letters)
{
    struct qk_complexity c = {0};
    double m[QK_MEASURES];
    assert_true(qk_complexity_measure(&c, text, strlen(text), m));
    assert_close(exp(m[0]), words_per_sentence, 1e-12);
    assert_close(m[1], letters, 1e-12);
}

static void measures(void **state)
{
    (void)state;
    check_measures("word", 1, 4);
    check_measures("One two. Three four!", 2, 15.0 / 4);
    check_measures("One two? (Three.) \"Four.\"", 4.0 / 3, 15.0 / 4);
    check_measures("It isn't 3.14 or v1.2", 4, (2 + 4 + 2 + 1) / 4.0); /* digits are no words */
    check_measures("a line\nof text\n\nanother one", 3, (1 + 4 + 2 + 4 + 7 + 3) / 6.0);
    check_measures("... Ready... steady.", 1, 5.5);
    check_measures("\xE6\xBC\xA2\xE5\xAD\x97\xE3\x80\x82\xE4\xBB\xAE\xE5\x90\x8D", 1, 2);
    struct qk_complexity c = {0};
    double m[QK_MEASURES];
    assert_false(qk_complexity_measure(&c, "12 + 3 = 15.", 12, m));
    assert_true(isnan(qk_complexity_score(&c, "12", 2)));
}

static void rare_words(void **state)
{
    (void)state;
    struct qk_complexity c = {.rare_below = 2};
    double m[QK_MEASURES];
    qk_word_counts_word(&c.words, "the", 3);
    qk_word_counts_word(&c.words, "the", 3);
    qk_word_counts_word(&c.words, "cat", 3);
    assert_true(qk_complexity_measure(&c, "The cat THE zebra", 17, m));
    assert_close(m[2], 0.5, 1e-12);
    qk_complexity_free(&c);
}

enum { DOCUMENTS = 30 };

/* Document i has sentences of i + 1 words; every second one is twice as long, which must not
 * matter. */
static void write_corpus(const char *path)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int i = 0; i < DOCUMENTS; i++)
        for (int twice = 0; twice <= i % 2; twice++) {
            for (int w = 0; w <= i; w++)
                fprintf(f, "%s", w ? " word" : "word");
            fprintf(f, "%s", twice == i % 2 ? ".\n\n\n" : ". ");
        }
    assert_int_equal(fclose(f), 0);
}

static void thirds(void **state)
{
    (void)state;
    char path[] = "/tmp/qk-complexity-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    fclose(fdopen(fd, "w"));
    write_corpus(path);
    struct qk_strings paths = {0};
    struct qk_corpus_options o = {.field = "text", .most_bytes = 100000};
    qk_strings_add(&paths, path);
    for (int simple = 0; simple < 2; simple++) {
        struct qk_complexity c;
        struct qk_corpus corpus;
        struct qk_document d;
        struct qk_err err;
        int kept = 0;
        assert_works(qk_corpus_open(&corpus, &o, &paths, &err));
        assert_works(qk_complexity_learn(&c, &corpus, simple, 1000000, 1, &err));
        assert_int_equal(c.documents, DOCUMENTS);
        assert_int_equal(c.kept, DOCUMENTS / 3);
        assert_close(c.mean[1], 4, 1e-6);
        corpus.keeps = qk_complexity_keeps;
        corpus.keeps_context = &c;
        qk_corpus_rewind(&corpus);
        while (qk_corpus_next(&corpus, &d, &err) == 1) {
            int i = (int)d.line / 3;
            assert_true(simple ? i < DOCUMENTS / 3 : i >= DOCUMENTS - DOCUMENTS / 3);
            kept++;
        }
        assert_int_equal(kept, DOCUMENTS / 3);
        qk_corpus_close(&corpus);
        qk_complexity_free(&c);
    }
    qk_strings_free(&paths);
    remove(path);
}

static double original(const char *text)
{
    return qk_complexity_original(text, strlen(text));
}

/* Values of the original's estimate_complexity in Python. */
static void original_rule(void **state)
{
    (void)state;
    assert_close(original("a bb ccc"), 2, 1e-15);
    assert_close(original("  The Theorem,\nthe theorem "), 7.25, 1e-15);
    assert_close(original("Quantum ALGORITHM of infrastructure"), 8 + 6, 1e-15);
    assert_close(original("na\xc3\xafve caf\xc3\xa9\xe2\x80\x83"
                          "x"),
                 10.0 / 3, 1e-15);
    assert_close(original("a\x1f"
                          "b c"),
                 1, 1e-15);
    assert_true(original("") == 0);
    assert_true(original(" \n ") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures),
        cmocka_unit_test(rare_words),
        cmocka_unit_test(thirds),
        cmocka_unit_test(original_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
