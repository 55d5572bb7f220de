/* Training a byte-level BPE: GPT-2's words are counted, then the most frequent pair becomes a token
 * until the vocabulary is full (Sennrich, Haddow and Birch 2016).
 *
 * Deterministic: of pairs equally frequent the one with the lower ids (left, then right) is taken.
 * Id 0 is <|endoftext|>, ids 1 to 256 are the bytes in the order of their printable characters
 * (tokenizer.h), the merges follow: what Hugging Face's BpeTrainer gives with that special token
 * and the byte-level alphabet.
 */
#ifndef QK_STUDY_BPE_TRAIN_H
#define QK_STUDY_BPE_TRAIN_H

#include <stdint.h>

#include "study/text/tokenizer.h"

enum { QK_LEAST_BPE = 257 }; /* one special token and 256 bytes */

struct qk_counted_word {
    size_t start; /* in `pool` */
    uint32_t size;
    int64_t count;
};

struct qk_word_counts {
    struct qk_counted_word *words;
    size_t count, capacity;
    char *pool;
    size_t pool_size, pool_capacity;
    uint32_t *index; /* word number + 1 */
    size_t index_mask;
};

/* Count a word; how often it was counted. */
void qk_word_counts_word(struct qk_word_counts *c, const char *word, size_t n);
int64_t qk_word_counts_of(const struct qk_word_counts *c, const char *word, size_t n);
/* Count the words, by GPT-2's pattern, of a text (valid UTF-8). */
void qk_word_counts_add(struct qk_word_counts *c, const char *text, size_t n);
/* Bytes held, to be kept within a budget. */
size_t qk_word_counts_bytes(const struct qk_word_counts *c);
void qk_word_counts_free(struct qk_word_counts *c);

/* Train `t` with at most `vocab_size` >= QK_LEAST_BPE entries: fewer when the text has no pair
 * left. t->json holds its tokenizer.json.  `progress` (may be NULL) is called now and then. */
void qk_bpe_train(struct qk_tokenizer *t, const struct qk_word_counts *counts, int64_t vocab_size,
                  void (*progress)(void *context, int64_t entries), void *context);

#endif
