/* How hard a text is to read, and the outer thirds of a corpus by it.
 *
 * The score of a document is the mean of three standardised measures, none of which grows with its
 * length:
 *   - ln(words per sentence);
 *   - letters per word;
 *   - share of rare words: those outside the QK_FREQUENT_WORDS most frequent ones of the corpus.
 * Standardised: minus the mean, over the standard deviation, of all distinct documents.  `simple`
 * keeps the third of them with the least scores, `complex` the third with the greatest.
 *
 * A word is a run of letters and marks (an apostrophe between two of them belongs to it), compared
 * without regard to ASCII case.  A sentence ends at . ! ? or their CJK forms before something that
 * is neither letter nor digit, and at an empty line.  A document without words is in neither third.
 */
#ifndef QK_STUDY_COMPLEXITY_H
#define QK_STUDY_COMPLEXITY_H

#include "study/corpus/corpus.h"
#include "study/text/bpe_train.h"

/* The original study's rule instead: the mean length in characters of what white space separates,
 * plus 2 for each of them that is one of nine technical words; simple has 5.5 or less, complex 7.0
 * or more.  The count grows with the length of a document, so long ones pass for complex: kept to
 * repeat that study, not to be recommended. */
double qk_complexity_original(const char *text, size_t n); /* 0 without words */

enum { QK_FREQUENT_WORDS = 3000, QK_MEASURES = 3 };

struct qk_complexity {
    struct qk_word_counts words; /* of the corpus, in lower case */
    int64_t rare_below;          /* words that occur less often are rare */
    double mean[QK_MEASURES], sd[QK_MEASURES];
    double quantiles[11];    /* of the score: 0 %, 10 %, ... 100 % */
    double low, high;        /* the borders of the outer thirds */
    bool keep_low;           /* which of them qk_complexity_keeps keeps */
    bool original;           /* by the original's rule: no words, no measures */
    int64_t documents, kept; /* distinct ones with words; of them in that third */
};

/* Read the corpus twice and learn all of it.  Words are counted within `memory` bytes. */
int qk_complexity_learn(struct qk_complexity *c, struct qk_corpus *corpus, bool simple,
                        int64_t memory, uint64_t seed, struct qk_err *err);
/* The same by the original's rule: read once. */
int qk_complexity_learn_original(struct qk_complexity *c, struct qk_corpus *corpus, bool simple,
                                 uint64_t seed, struct qk_err *err);
/* The three measures, not yet standardised; false when the text has no words. */
bool qk_complexity_measure(const struct qk_complexity *c, const char *text, size_t n,
                           double measures[QK_MEASURES]);
/* The score; NAN when the text has no words. */
double qk_complexity_score(const struct qk_complexity *c, const char *text, size_t n);
/* For qk_corpus: whether the text is kept.  `c` is a qk_complexity. */
bool qk_complexity_keeps(const void *c, const char *text, size_t n);
void qk_complexity_free(struct qk_complexity *c);

#endif
