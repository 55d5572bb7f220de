#include "complexity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "docset.h"
#include "uchar.h"

enum { LONGEST_WORD = 256 };

/* A walk over the words of a text. */
struct walk {
    const char *text;
    size_t size, at;
    char word[LONGEST_WORD]; /* lower case, cut when longer */
    size_t word_size;
    int64_t letters;     /* of this word */
    bool sentence_ended; /* between the word before and this one */
};

static uint32_t peek(const struct walk *w, size_t at, unsigned *width)
{
    *width = 1;
    return at < w->size ? qk_uchar_at(w->text + at, w->size - at, width) : 0;
}

static bool in_word(uint32_t code)
{
    if (code < 128)
        return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z');
    return (qk_uchar_class(code) & (QK_WORD | QK_NUMBER)) == QK_WORD && code != 0x203F;
}

static bool ends_sentence(uint32_t code)
{
    return code == '.' || code == '!' || code == '?' || code == 0x3002 || code == 0xFF01 ||
           code == 0xFF1F;
}

static bool ends_here(const struct walk *w, uint32_t code, size_t next)
{
    unsigned width;
    uint32_t after = peek(w, next, &width);
    if (code == '\n') /* an empty line */
        return after == '\n' || after == '\r';
    return ends_sentence(code) && (code > 127 || !(qk_uchar_class(after) & (QK_WORD | QK_NUMBER)));
}

/* The next word, or false. */
static bool next_word(struct walk *w)
{
    unsigned width;
    uint32_t code = 0;
    w->sentence_ended = false;
    for (; w->at < w->size; w->at += width) {
        code = peek(w, w->at, &width);
        if (in_word(code))
            break;
        w->sentence_ended |= ends_here(w, code, w->at + width);
    }
    w->word_size = 0;
    w->letters = 0;
    while (w->at < w->size) {
        unsigned after;
        code = peek(w, w->at, &width);
        bool joins = (code == '\'' || code == 0x2019) && in_word(peek(w, w->at + width, &after));
        if (!in_word(code) && !joins)
            break;
        if (w->word_size + width <= LONGEST_WORD) {
            memcpy(w->word + w->word_size, w->text + w->at, width);
            if (code >= 'A' && code <= 'Z')
                w->word[w->word_size] = (char)(code | 0x20);
            w->word_size += width;
        }
        w->letters += !joins;
        w->at += width;
    }
    return w->letters > 0;
}

bool qk_complexity_measure(const struct qk_complexity *c, const char *text, size_t n,
                           double measures[QK_MEASURES])
{
    struct walk w = {.text = text, .size = n};
    int64_t words = 0, letters = 0, rare = 0, sentences = 1;
    while (next_word(&w)) {
        sentences += words > 0 && w.sentence_ended;
        words++;
        letters += w.letters;
        rare += qk_word_counts_of(&c->words, w.word, w.word_size) < c->rare_below;
    }
    if (words == 0)
        return false;
    measures[0] = log((double)words / (double)sentences);
    measures[1] = (double)letters / (double)words;
    measures[2] = (double)rare / (double)words;
    return true;
}

/* As kept for all documents of a corpus; scores come from these, so that they are always the same.
 */
struct measured {
    float at[QK_MEASURES];
};

static struct measured rounded(const double m[QK_MEASURES])
{
    return (struct measured){{(float)m[0], (float)m[1], (float)m[2]}};
}

static double score_of(const struct qk_complexity *c, const struct measured *m)
{
    double score = 0;
    for (int k = 0; k < QK_MEASURES; k++)
        score += c->sd[k] > 0 ? ((double)m->at[k] - c->mean[k]) / c->sd[k] : 0;
    return score / QK_MEASURES;
}

double qk_complexity_score(const struct qk_complexity *c, const char *text, size_t n)
{
    double measures[QK_MEASURES];
    if (!qk_complexity_measure(c, text, n, measures))
        return NAN;
    struct measured m = rounded(measures);
    return score_of(c, &m);
}

bool qk_complexity_keeps(const void *context, const char *text, size_t n)
{
    const struct qk_complexity *c = context;
    double score = qk_complexity_score(c, text, n);
    return c->keep_low ? score <= c->low : score >= c->high;
}

static int count_words(struct qk_complexity *c, struct qk_corpus *corpus, int64_t memory,
                       uint64_t seed, struct qk_err *err)
{
    struct qk_docset seen = {0};
    struct qk_document d;
    int got;
    qk_corpus_rewind(corpus);
    while ((got = qk_corpus_next(corpus, &d, err)) > 0) {
        struct walk w = {.text = d.text, .size = d.size};
        if (!qk_docset_add(&seen, qk_dochash(d.text, d.size, seed)))
            continue;
        while (next_word(&w)) /* once memory is full, words not met yet stay rare */
            if ((int64_t)qk_word_counts_bytes(&c->words) <= memory ||
                qk_word_counts_of(&c->words, w.word, w.word_size) > 0)
                qk_word_counts_word(&c->words, w.word, w.word_size);
    }
    qk_docset_free(&seen);
    return got;
}

static int downwards(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* How often the last of the frequent words occurs; words of that count are all frequent. */
static void find_rare(struct qk_complexity *c)
{
    size_t n = c->words.count;
    c->rare_below = 0;
    if (n <= QK_FREQUENT_WORDS)
        return;
    int64_t *counts = qk_alloc(n, sizeof *counts);
    for (size_t i = 0; i < n; i++)
        counts[i] = c->words.words[i].count;
    qsort(counts, n, sizeof *counts, downwards);
    c->rare_below = counts[QK_FREQUENT_WORDS - 1];
    free(counts);
}

static int measure_all(struct qk_complexity *c, struct qk_corpus *corpus, uint64_t seed,
                       struct measured **all, struct qk_err *err)
{
    struct qk_docset seen = {0};
    struct qk_document d;
    double m[QK_MEASURES];
    size_t capacity = 0, count = 0;
    int got;
    qk_corpus_rewind(corpus);
    while ((got = qk_corpus_next(corpus, &d, err)) > 0) {
        if (!qk_docset_add(&seen, qk_dochash(d.text, d.size, seed)) ||
            !qk_complexity_measure(c, d.text, d.size, m))
            continue;
        qk_grow(all, &capacity, count + 1, sizeof **all);
        (*all)[count++] = rounded(m);
    }
    qk_docset_free(&seen);
    c->documents = (int64_t)count;
    return got;
}

static void standardise(struct qk_complexity *c, const struct measured *all)
{
    double n = (double)c->documents;
    for (int k = 0; k < QK_MEASURES; k++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < c->documents; i++)
            sum += (double)all[i].at[k];
        c->mean[k] = sum / n;
        for (int64_t i = 0; i < c->documents; i++)
            squares += ((double)all[i].at[k] - c->mean[k]) * ((double)all[i].at[k] - c->mean[k]);
        c->sd[k] = sqrt(squares / n);
    }
}

static int upwards(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Scores of all documents, sorted: deciles, borders, and how many are kept (more than a third when
 * scores at the border are equal). */
static void find_borders(struct qk_complexity *c, const struct measured *all)
{
    size_t n = (size_t)c->documents, third = n / 3;
    double *scores = qk_alloc(n, sizeof *scores);
    for (size_t i = 0; i < n; i++)
        scores[i] = score_of(c, &all[i]);
    qsort(scores, n, sizeof *scores, upwards);
    for (size_t k = 0; k <= 10; k++)
        c->quantiles[k] = scores[(n - 1) * k / 10];
    c->low = scores[third - 1];
    c->high = scores[n - third];
    for (size_t i = 0; i < n; i++)
        c->kept += c->keep_low ? scores[i] <= c->low : scores[i] >= c->high;
    free(scores);
}

int qk_complexity_learn(struct qk_complexity *c, struct qk_corpus *corpus, bool simple,
                        int64_t memory, uint64_t seed, struct qk_err *err)
{
    struct measured *all = NULL;
    *c = (struct qk_complexity){.keep_low = simple};
    int bad = count_words(c, corpus, memory, seed, err);
    find_rare(c);
    if (!bad)
        bad = measure_all(c, corpus, seed, &all, err);
    if (!bad && c->documents < 3)
        bad = qk_fail(err, "--filter needs three documents with words or more, and there are %d",
                      (int)c->documents);
    if (!bad) {
        standardise(c, all);
        find_borders(c, all);
    }
    free(all);
    if (bad)
        qk_complexity_free(c);
    return bad ? -1 : 0;
}

void qk_complexity_free(struct qk_complexity *c)
{
    qk_word_counts_free(&c->words);
    *c = (struct qk_complexity){0};
}
