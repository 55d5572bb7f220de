/* Byte-level BPE tokenizers: text to ids and back, id for id as Hugging Face tokenizers does it.
 *
 *     struct qk_tokenizer t;
 *     if (qk_tokenizer_read(&t, "tokenizer.json", &err) != 0) ...
 *     struct qk_encode_work work = {0};                 // one per thread
 *     qk_encode(&t, &work, text, n, &ids, &err);        // appends to ids
 *
 * Text is cut at added tokens first, normalised (NFC, when the file asks for it), cut into words
 * (pretoken.h), and each word merged (bpe.h).  Byte values without a token of their own are
 * dropped silently, as Hugging Face does.  Post-processors (begin-of-text templates), padding and
 * truncation of tokenizer.json have no part in encoding here.
 */
#ifndef QK_STUDY_TOKENIZER_H
#define QK_STUDY_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "study/text/bpe.h"
#include "study/text/pretoken.h"
#include "study/text/word_cache.h"

/* A token matched in the text before anything else is done to it. */
struct qk_added_token {
    char *text; /* owned */
    size_t size;
    uint32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
};

/* Added tokens grouped by their first byte, longest first. */
struct qk_added_set {
    const struct qk_added_token **at; /* sorted by (first byte, size descending) */
    size_t count;
    size_t first[257]; /* those that begin with byte b: first[b] .. first[b+1]-1 */
    const char *begin; /* the one byte with which all begin; NULL when they differ */
};

struct qk_token {
    size_t start; /* in `pool` */
    uint32_t size;
    bool known; /* false: a hole among the ids */
    bool text;  /* its text is no byte-level spelling: bytes as they stand in the file */
};

struct qk_tokenizer {
    int64_t vocab_size; /* largest id + 1 */
    char *pool;         /* the bytes of all tokens */
    size_t pool_size, pool_capacity;
    struct qk_token *tokens; /* [vocab_size] */
    uint32_t *index;         /* hash of (text, bytes) -> id + 1; 0 empty */
    size_t index_mask, known;
    int64_t byte_id[256]; /* -1: no token */
    struct qk_merges merges;
    bool ignore_merges; /* a word that is a token is taken whole */
    bool nfc;
    struct qk_pretoken pretoken;
    bool cuttable; /* text may be encoded in parts (qk_tokenizer_cut) */
    struct qk_added_token *added;
    size_t added_count;
    struct qk_added_set before, after; /* matched before and after normalisation */
    struct qk_buffer json;             /* the tokenizer.json, to be embedded */
};

/* A tokenizer.json, or a folder with tokenizer.json or with encoder.json and vocab.bpe (GPT-2's
 * own files).  What is not supported is refused by name. */
int qk_tokenizer_read(struct qk_tokenizer *t, const char *path, struct qk_err *err);
/* The text of a tokenizer.json. */
int qk_tokenizer_parse(struct qk_tokenizer *t, const char *text, size_t n, const char *where,
                       struct qk_err *err);
void qk_tokenizer_free(struct qk_tokenizer *t);

/* The id of an added token, or else of a token of these bytes; -1 when there is none. */
int64_t qk_tokenizer_find(const struct qk_tokenizer *t, const char *bytes, size_t n);
/* The id of the token that ends a document: `name` when given, else the first there is of
 * <|endoftext|>, <|end_of_text|>, </s>, <eos>; -1 when there is none. */
int64_t qk_tokenizer_eot(const struct qk_tokenizer *t, const char *name);

/* What encoding needs, one per thread, kept from text to text. */
struct qk_encode_work {
    struct qk_pretoken_work pretoken;
    struct qk_bpe_work bpe;
    struct qk_ids word;
    struct qk_word_cache cache;
    size_t cache_bytes; /* for it; 0: a usual size.  May be set at first */
};
void qk_encode_work_free(struct qk_encode_work *work);

/* Append the ids of text (valid UTF-8). */
int qk_encode(const struct qk_tokenizer *t, struct qk_encode_work *work, const char *text, size_t n,
              struct qk_ids *ids, struct qk_err *err);

/* Where a text of n > at bytes may be cut so that its parts, encoded one by one, give the ids of
 * the whole: the first such place at `at` or later, n when there is none. */
size_t qk_tokenizer_cut(const struct qk_tokenizer *t, const char *text, size_t n, size_t at);

/* Append the bytes of the ids, special tokens included; an id without a token is an error. */
int qk_decode(const struct qk_tokenizer *t, const uint32_t *ids, size_t n, struct qk_buffer *to,
              struct qk_err *err);

/* The byte-level alphabet of GPT-2: every byte as a printable character. */
uint32_t qk_byte_char(unsigned char byte);
int qk_char_byte(uint32_t code); /* -1: not in the alphabet */

/* ---- building one (tokenizer_json.c, bpe_train.c) ---- */

/* Zero it; no token yet. */
void qk_tokenizer_init(struct qk_tokenizer *t);
/* Make room for so many tokens at once. */
void qk_tokenizer_reserve(struct qk_tokenizer *t, size_t tokens);
/* Set token `id`; -1 when that id is taken or the token has another id. */
int qk_tokenizer_set(struct qk_tokenizer *t, uint32_t id, const char *bytes, size_t n, bool text);
/* The tokens of the model are set: find those of single bytes. */
void qk_tokenizer_find_bytes(struct qk_tokenizer *t);
/* The id of a model token; -1 when there is none. */
int64_t qk_tokenizer_lookup(const struct qk_tokenizer *t, const char *bytes, size_t n, bool text);
/* Add an added token (after qk_tokenizer_find_bytes); `text` is copied. */
void qk_tokenizer_add(struct qk_tokenizer *t, const struct qk_added_token *token);
/* All added tokens are there. */
void qk_tokenizer_finish(struct qk_tokenizer *t);

/* A tokenizer.json for one with GPT-2's pre-tokeniser, into t->json.  merges[i] = {left, right}. */
void qk_tokenizer_write_json(struct qk_tokenizer *t, const uint32_t (*merges)[2], size_t count);

#endif
