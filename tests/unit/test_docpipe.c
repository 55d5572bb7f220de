/* Batches and the pipe through which all threads read a corpus, and what they rest on: words cut a
 * few at a time and remembered, texts cut into parts, inputs looked at and hashed while read. */
#include "check.h"

#include <unistd.h>

#include "base/sha256.h"
#include "base/textfile.h"
#include "base/threads.h"
#include "study/corpus/docpipe.h"
#include "study/text/added.h"
#include "study/text/bpe_train.h"

static uint64_t draws = 1;

static size_t draw(size_t below)
{
    draws = draws * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(draws >> 33) % below;
}

/* Text of all that could go wrong at a cut. */
static void add_text(struct qk_buffer *to, size_t least)
{
    static const char *const bits[] = {"cat",
                                       "dog's",
                                       " ",
                                       " ",
                                       " ",
                                       "  ",
                                       "\n",
                                       "\t ",
                                       "12",
                                       "3 4",
                                       "we'll",
                                       "\xC3\xA9",
                                       " \xC2\xA0",
                                       "--",
                                       "...",
                                       "'",
                                       "\xCC\x81",
                                       "\xE4\xB8\xAD",
                                       "<|endoftext|>",
                                       "\r\n",
                                       "a quick brown fox",
                                       "\xD9\xA3",
                                       " ",
                                       "antidisestablishmentarianism"};
    for (size_t from = to->size; to->size < from + least;)
        qk_buffer_text(to, bits[draw(sizeof bits / sizeof *bits)]);
}

/* GPT-2's words, behind `digits` stages of Digits. */
static void train(struct qk_tokenizer *t, int digits)
{
    struct qk_word_counts counts = {0};
    struct qk_buffer text = {0};
    add_text(&text, 20000);
    qk_word_counts_add(&counts, text.at, text.size);
    qk_bpe_train(t, &counts, 330, NULL, NULL);
    t->pretoken.count = digits + 1;
    t->pretoken.stages[digits] = t->pretoken.stages[0];
    for (int k = 0; k < digits; k++)
        t->pretoken.stages[k] = (struct qk_pre_stage){.kind = QK_PRE_DIGITS, .individual = true};
    qk_word_counts_free(&counts);
    qk_buffer_free(&text);
}

static void assert_same_ids(const struct qk_ids *a, const struct qk_ids *b)
{
    assert_int_equal(a->count, b->count);
    if (a->count)
        assert_memory_equal(a->at, b->at, a->count * sizeof *a->at);
}

/* Two stages of Digits are one, but too many for the short way. */
static void words_a_few_at_a_time(void **state)
{
    (void)state;
    struct qk_tokenizer few, all;
    struct qk_encode_work few_work = {0}, all_work = {0};
    struct qk_ids a = {0}, b = {0};
    struct qk_buffer text = {0};
    struct qk_err err;
    train(&few, 1);
    draws = 1;
    train(&all, 2);
    assert_true(qk_pretoken_is_plain(&few.pretoken));
    assert_false(qk_pretoken_is_plain(&all.pretoken));
    for (size_t round = 1; round < 400; round++) {
        a.count = b.count = text.size = 0;
        add_text(&text, round);
        char *exact = qk_alloc(text.size, 1); /* nothing behind it may be read */
        memcpy(exact, text.at, text.size);
        assert_works(qk_encode(&few, &few_work, exact, text.size, &a, &err));
        assert_works(qk_encode(&all, &all_work, text.at, text.size, &b, &err));
        assert_same_ids(&a, &b);
        free(exact);
    }
    qk_encode_work_free(&few_work);
    qk_encode_work_free(&all_work);
    qk_tokenizer_free(&few);
    qk_tokenizer_free(&all);
    qk_ids_free(&a);
    qk_ids_free(&b);
    qk_buffer_free(&text);
}

static void check_cuts(int digits)
{
    struct qk_tokenizer t;
    struct qk_encode_work work = {0};
    struct qk_ids whole = {0}, parts = {0};
    struct qk_buffer text = {0};
    struct qk_err err;
    int cuts = 0;
    train(&t, digits);
    for (int round = 0; round < 60; round++) {
        whole.count = text.size = 0;
        add_text(&text, 50 + draw(100));
        assert_works(qk_encode(&t, &work, text.at, text.size, &whole, &err));
        for (size_t at = 0; at < text.size; at++) {
            size_t cut = qk_tokenizer_cut(&t, text.at, text.size, at);
            assert_true(cut >= at && cut > 0 && cut <= text.size);
            cuts += cut < text.size;
            parts.count = 0;
            assert_works(qk_encode(&t, &work, text.at, cut, &parts, &err));
            assert_works(qk_encode(&t, &work, text.at + cut, text.size - cut, &parts, &err));
            assert_same_ids(&whole, &parts);
        }
    }
    assert_true(cuts > 1000);
    t.added[0].lstrip = true; /* may take the space before it */
    qk_added_free(&t.before);
    qk_added_free(&t.after);
    qk_tokenizer_finish(&t);
    assert_int_equal(qk_tokenizer_cut(&t, text.at, text.size, 1), text.size);
    qk_encode_work_free(&work);
    qk_tokenizer_free(&t);
    qk_ids_free(&whole);
    qk_ids_free(&parts);
    qk_buffer_free(&text);
}

static void cuts(void **state)
{
    (void)state;
    check_cuts(0);
    check_cuts(1);
}

/* ---- the pipe ---- */

enum { DOCUMENTS = 400, MEMORY = 4000000 };

/* What went through it. */
struct seen {
    struct qk_ids ids;
    struct qk_ids room;
    size_t documents;
};

static void want_two_of_three(void *context, struct qk_batch *b)
{
    (void)context;
    for (size_t i = 0; i < b->count; i++)
        b->items[i].wanted = b->items[i].hash.low % 3 > 0;
}

static int take(void *context, struct qk_batch *b, struct qk_err *err)
{
    struct seen *s = context;
    for (size_t i = 0; i < b->count; i++) {
        s->documents++;
        if (!b->items[i].wanted)
            continue;
        qk_batch_ids(b, i, &s->room);
        qk_ids_add(&s->ids, s->room.at, s->room.count);
    }
    return s->documents > 10 * DOCUMENTS ? qk_fail(err, "too many") : 0;
}

/* JSON lines of documents: short ones and one of 300,000 bytes; `bad` lines are no JSON. */
static char *write_corpus(const char *bad)
{
    char path[] = "/tmp/qk-pipe-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    struct qk_buffer text = {0};
    for (int i = 0; i < DOCUMENTS; i++) {
        text.size = 0;
        add_text(&text, i == 200 ? 300000 : 1 + draw(2000));
        if (bad && i % 150 == 149) {
            fprintf(f, "%s%d\n", bad, i);
            continue;
        }
        fprintf(f, "{\"n\": %d, \"text\": \"", i);
        for (size_t k = 0; k < text.size; k++)
            if ((unsigned char)text.at[k] < 0x20)
                fprintf(f, "\\u%04x", text.at[k]);
            else
                putc(text.at[k], f);
        fprintf(f, "\"}\n");
    }
    assert_int_equal(fclose(f), 0);
    qk_buffer_free(&text);
    return qk_strdup(path);
}

static void open_corpus(struct qk_corpus *c, const char *path)
{
    struct qk_corpus_options o = {
        .format = QK_FORMAT_JSONL, .field = "text", .most_bytes = MEMORY / 8};
    struct qk_strings paths = {0};
    struct qk_err err;
    qk_strings_add(&paths, path);
    assert_works(qk_corpus_open(c, &o, &paths, &err));
    qk_strings_free(&paths);
}

/* One document after the other. */
static void read_plainly(struct qk_corpus *c, const struct qk_tokenizer *t, struct seen *s)
{
    struct qk_encode_work work = {0};
    struct qk_document d;
    struct qk_err err;
    qk_corpus_rewind(c);
    while (qk_corpus_next(c, &d, &err) > 0) {
        s->documents++;
        if (qk_dochash(d.text, d.size, 5).low % 3 > 0)
            assert_works(qk_encode(t, &work, d.text, d.size, &s->ids, &err));
    }
    qk_encode_work_free(&work);
}

static bool keeps(const void *context, const char *text, size_t n)
{
    (void)context;
    return n % 5 > 0 || text[0] == ' ';
}

static void same_as_one_after_the_other(void **state)
{
    (void)state;
    struct qk_tokenizer t;
    struct qk_corpus c;
    struct seen want = {0};
    struct qk_err err;
    char hex[QK_SHA256_HEX], *path = write_corpus(NULL);
    train(&t, 1);
    open_corpus(&c, path);
    c.keeps = keeps;
    read_plainly(&c, &t, &want);
    assert_true(want.documents < DOCUMENTS);
    c.sum = true;
    for (int threads = 1; threads < 6; threads++) {
        struct seen s = {0};
        struct qk_pipe pipe = {
            &c, &t, 5, threads == 1 ? 1000000000 : MEMORY, &s, want_two_of_three, take};
        qk_threads_set(threads);
        assert_works(qk_pipe_run(&pipe, &err));
        assert_int_equal(s.documents, want.documents);
        assert_same_ids(&s.ids, &want.ids);
        assert_works(qk_sha256_file(path, hex, &err));
        assert_int_equal(c.sums.count, 1);
        assert_string_equal(c.sums.at[0], hex);
        qk_ids_free(&s.ids);
        qk_ids_free(&s.room);
    }
    qk_threads_set(0);
    qk_corpus_close(&c);
    qk_tokenizer_free(&t);
    qk_ids_free(&want.ids);
    remove(path);
    free(path);
}

static void the_first_failure(void **state)
{
    (void)state;
    struct qk_tokenizer t;
    struct qk_corpus c;
    struct qk_err err;
    char *path = write_corpus("oh ");
    train(&t, 0);
    open_corpus(&c, path);
    for (int threads = 1; threads < 4; threads++) {
        struct seen s = {0};
        struct qk_pipe pipe = {&c, &t, 5, 100000000, &s, want_two_of_three, take};
        qk_threads_set(threads);
        assert_int_equal(qk_pipe_run(&pipe, &err), -1);
        assert_non_null(strstr(err.text, ": line 150: malformed JSON at column 1"));
        qk_ids_free(&s.ids);
        qk_ids_free(&s.room);
    }
    /* what cannot be read comes behind what was read before it */
    FILE *f = fopen(path, "w");
    fprintf(f, "{\"text\": \"a\"}\noh\n{\"text\": \"%0*d\"}\n", MEMORY, 1);
    assert_int_equal(fclose(f), 0);
    struct seen s = {0};
    struct qk_pipe pipe = {&c, &t, 5, MEMORY, &s, want_two_of_three, take};
    assert_int_equal(qk_pipe_run(&pipe, &err), -1);
    assert_non_null(strstr(err.text, ": line 2: malformed JSON at column 1"));
    f = fopen(path, "w");
    fprintf(f, "{\"text\": \"a\"}\n{\"text\": \"%0*d\"}\n", MEMORY, 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(qk_pipe_run(&pipe, &err), -1);
    assert_non_null(strstr(err.text, ": the document at line 2 is larger than 500000 bytes"));
    assert_int_equal(s.documents, 1);
    qk_ids_free(&s.ids);
    qk_ids_free(&s.room);
    qk_threads_set(0);
    qk_corpus_close(&c);
    qk_tokenizer_free(&t);
    remove(path);
    free(path);
}

/* ---- text files ---- */

static void looking_ahead(void **state)
{
    (void)state;
    char path[] = "/tmp/qk-pipe-XXXXXX", bytes[8];
    struct qk_err err;
    const char *line;
    size_t n;
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    fprintf(file, "\n\nfirst\nsecond\n%0*d\nlast", 400000, 1);
    assert_int_equal(fclose(file), 0);
    struct qk_textfile *f = qk_text_open(path, &err);
    assert_non_null(f);
    qk_text_limit(f, 1000);
    assert_int_equal(qk_text_peek(f, &line, &n, &err), 1);
    assert_int_equal(n, 5);
    assert_memory_equal(line, "first", 5);
    assert_int_equal(qk_text_read(f, bytes, 1, &err), 1); /* nothing was taken */
    assert_int_equal(bytes[0], '\n');
    for (int i = 0; i < 3; i++)
        assert_int_equal(qk_text_line(f, &line, &n, &err), 1);
    assert_memory_equal(line, "second", n);
    assert_int_equal(qk_text_line(f, &line, &n, &err), QK_LINE_TOO_LONG);
    assert_true(n < 200000);
    qk_text_close(f);
    remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_a_few_at_a_time),
        cmocka_unit_test(cuts),
        cmocka_unit_test(same_as_one_after_the_other),
        cmocka_unit_test(the_first_failure),
        cmocka_unit_test(looking_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
