/* Pre-tokenisation: cutting text into the words that BPE merges within.
 *
 * The stages of tokenizer.json's pre_tokenizer: Digits, Split (pattern, behaviour, invert) and
 * ByteLevel (GPT-2's pattern, prefix space), alone or in a Sequence that ends with ByteLevel.
 * Words are exactly those of Hugging Face tokenizers; anything else is refused by name.
 */
#ifndef QK_STUDY_PRETOKEN_H
#define QK_STUDY_PRETOKEN_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

struct qk_regex;
struct qk_regex_work;

enum qk_pre_kind { QK_PRE_DIGITS, QK_PRE_SPLIT, QK_PRE_BYTE_LEVEL };

enum qk_pre_behavior {
    QK_PRE_ISOLATED,
    QK_PRE_REMOVED,
    QK_PRE_MERGED_WITH_PREVIOUS,
    QK_PRE_MERGED_WITH_NEXT,
    QK_PRE_CONTIGUOUS,
};

struct qk_pre_stage {
    enum qk_pre_kind kind;
    bool individual;               /* Digits: each digit alone, else runs of them */
    bool add_prefix_space;         /* ByteLevel: a space before a piece that has none */
    bool gpt2;                     /* ByteLevel: use_regex; Split: its pattern is GPT-2's */
    struct qk_regex *pattern;      /* Split */
    enum qk_pre_behavior behavior; /* Split */
    bool invert;                   /* Split: matches and the rest change places */
};

enum { QK_MOST_PRE_STAGES = 8 };

struct qk_pretoken {
    struct qk_pre_stage stages[QK_MOST_PRE_STAGES];
    int count;
};

/* A word: bytes of the text, or of `work` where a space was put in front. */
struct qk_piece {
    const char *at;
    size_t size;
};

struct qk_pieces {
    struct qk_piece *at;
    size_t count, capacity;
};

/* What cutting needs, one per thread, kept from text to text. */
struct qk_pretoken_work {
    struct qk_pieces words; /* the result */
    struct qk_pieces other;
    struct qk_buffer prefixed;
    struct qk_regex_work *regex;
};

/* From the value of "pre_tokenizer"; `where` names the file. */
int qk_pretoken_parse(struct qk_pretoken *p, const cJSON *json, const char *where,
                      struct qk_err *err);
/* GPT-2's: ByteLevel with its pattern, no prefix space. */
void qk_pretoken_gpt2(struct qk_pretoken *p);
void qk_pretoken_free(struct qk_pretoken *p);

/* Cut the text (valid UTF-8) into work->words, valid until the next call or a change of text. */
int qk_pretoken_split(const struct qk_pretoken *p, struct qk_pretoken_work *work, const char *text,
                      size_t n, struct qk_err *err);
void qk_pretoken_work_free(struct qk_pretoken_work *work);

/* Whether the stages are GPT-2's pattern without prefix space, at most behind one of Digits: then
 * the words can be had a few at a time, without lists of them.  {text, text + n, text} starts a
 * walk; qk_pretoken_next gives the next words, at most `most`, 0 at the end. */
struct qk_plain_walk {
    const char *at, *end;
    const char *piece_end; /* of the piece that Digits cut */
};
bool qk_pretoken_is_plain(const struct qk_pretoken *p);
size_t qk_pretoken_next(const struct qk_pretoken *p, struct qk_plain_walk *walk,
                        struct qk_piece *words, size_t most);

/* The pattern of GPT-2, for those who want to name it. */
extern const char qk_gpt2_pattern[];

/* Length of the word at s, of n > 0 bytes, by GPT-2's pattern. */
size_t qk_gpt2_word(const char *s, size_t n);

#endif
