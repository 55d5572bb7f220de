#include "study/corpus/complexity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/corpus/docset.h"
#include "study/text/uchar.h"

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

/* ---- the original's rule ---- */

static bool is_technical(const char *word, size_t n)
{
    static const char *const words[] = {"theorem",   "equation",   "analysis",
                                        "synthesis", "quantum",    "biological",
                                        "algorithm", "hypothesis", "infrastructure"};
    char lower[16];
    if (n >= sizeof lower)
        return false;
    for (size_t i = 0; i < n; i++)
        lower[i] = word[i] >= 'A' && word[i] <= 'Z' ? (char)(word[i] | 0x20) : word[i];
    lower[n] = '\0';
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(lower, words[i]) == 0)
            return true;
    return false;
}

/* As Python's str.split sees it: White_Space, and four control characters. */
static bool separates(uint32_t code)
{
    return (code >= 0x1C && code <= 0x1F) || qk_uchar_class(code) & QK_SPACE;
}

double qk_complexity_original(const char *text, size_t n)
{
    int64_t words = 0, characters = 0, technical = 0;
    size_t from = 0; /* where the word began that ends at `at` */
    unsigned width = 1;
    for (size_t at = 0; at <= n; at += width) {
        if (at < n && !separates(qk_uchar_at(text + at, n - at, &width))) {
            characters++;
            continue;
        }
        words += at > from;
        technical += is_technical(text + from, at - from);
        from = at + width;
    }
    return words ? (double)characters / (double)words + 2.0 * (double)technical : 0;
}

/* ---- scores ---- */

double qk_complexity_score(const struct qk_complexity *c, const char *text, size_t n)
{
    if (c->original)
        return qk_complexity_original(text, n);
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
    if (c->original && score == 0) /* no words */
        return false;
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

/* From the scores of all documents: deciles, borders, and how many are kept (more than a third when
 * scores at the border are equal).  They are sorted. */
static void find_borders(struct qk_complexity *c, double *scores)
{
    size_t n = (size_t)c->documents, third = n / 3;
    qsort(scores, n, sizeof *scores, upwards);
    for (size_t k = 0; k <= 10; k++)
        c->quantiles[k] = scores[(n - 1) * k / 10];
    c->low = c->original ? 5.5 : scores[third - 1];
    c->high = c->original ? 7.0 : scores[n - third];
    for (size_t i = 0; i < n; i++)
        c->kept += c->keep_low ? scores[i] <= c->low : scores[i] >= c->high;
}

static void score_all(struct qk_complexity *c, const struct measured *all)
{
    double *scores = qk_alloc((size_t)c->documents, sizeof *scores);
    for (int64_t i = 0; i < c->documents; i++)
        scores[i] = score_of(c, &all[i]);
    find_borders(c, scores);
    free(scores);
}

static int check_count(const struct qk_complexity *c, struct qk_err *err)
{
    return c->documents >= 3
               ? 0
               : qk_fail(err, "--filter needs three documents with words or more, and there are %d",
                         (int)c->documents);
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
    if (!bad)
        bad = check_count(c, err);
    if (!bad) {
        standardise(c, all);
        score_all(c, all);
    }
    free(all);
    if (bad)
        qk_complexity_free(c);
    return bad ? -1 : 0;
}

int qk_complexity_learn_original(struct qk_complexity *c, struct qk_corpus *corpus, bool simple,
                                 uint64_t seed, struct qk_err *err)
{
    struct qk_docset seen = {0};
    struct qk_document d;
    double *scores = NULL;
    size_t capacity = 0;
    int got;
    *c = (struct qk_complexity){.keep_low = simple, .original = true};
    qk_corpus_rewind(corpus);
    while ((got = qk_corpus_next(corpus, &d, err)) > 0) {
        const double score = qk_complexity_original(d.text, d.size);
        if (score == 0 || !qk_docset_add(&seen, qk_dochash(d.text, d.size, seed)))
            continue;
        qk_grow(&scores, &capacity, (size_t)c->documents + 1, sizeof *scores);
        scores[c->documents++] = score;
    }
    qk_docset_free(&seen);
    int bad = got || check_count(c, err);
    if (!bad)
        find_borders(c, scores);
    free(scores);
    return bad ? -1 : 0;
}

void qk_complexity_free(struct qk_complexity *c)
{
    qk_word_counts_free(&c->words);
    *c = (struct qk_complexity){0};
}
