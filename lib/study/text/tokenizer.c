#include "study/text/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "study/text/added.h"
#include "study/text/uchar.h"

/* ---- the byte-level alphabet ---- */

uint32_t qk_byte_char(unsigned char byte)
{
    /* printable Latin-1 stands for itself, the 68 others follow from U+0100 in order */
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173))
        return byte;
    if (byte <= 32)
        return 256u + byte;
    return byte == 173 ? 256u + 67 : 256u + 33 + (byte - 127u);
}

int qk_char_byte(uint32_t code)
{
    if (code < 256)
        return qk_byte_char((unsigned char)code) == code ? (int)code : -1;
    if (code <= 288)
        return (int)code - 256;
    if (code < 323)
        return (int)code - 289 + 127;
    return code == 323 ? 173 : -1;
}

/* ---- building ---- */

void qk_tokenizer_init(struct qk_tokenizer *t)
{
    memset(t, 0, sizeof *t);
}

static size_t text_hash(const char *bytes, size_t n, bool text)
{
    uint64_t h = 0xCBF29CE484222325u ^ n ^ (uint64_t)text << 32, x;
    for (; n >= 8; bytes += 8, n -= 8) {
        memcpy(&x, bytes, 8);
        h = (h ^ x) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    x = 0;
    for (size_t i = 0; i < n; i++)
        x = x << 8 | (unsigned char)bytes[i];
    h = (h ^ x) * 0xD6E8FEB86659FD93u;
    return (size_t)(h ^ h >> 32);
}

static uint32_t *index_slot(const struct qk_tokenizer *t, const char *bytes, size_t n, bool text)
{
    for (size_t i = text_hash(bytes, n, text);; i++) {
        uint32_t *slot = &t->index[i & t->index_mask];
        if (*slot == 0)
            return slot;
        const struct qk_token *token = &t->tokens[*slot - 1];
        if (token->size == n && token->text == text &&
            memcmp(t->pool + token->start, bytes, n) == 0)
            return slot;
    }
}

int64_t qk_tokenizer_lookup(const struct qk_tokenizer *t, const char *bytes, size_t n, bool text)
{
    return t->index ? (int64_t)*index_slot(t, bytes, n, text) - 1 : -1;
}

static void enlarge_index(struct qk_tokenizer *t, size_t slots)
{
    t->index_mask = slots - 1;
    free(t->index);
    t->index = qk_zalloc(slots, sizeof *t->index);
    for (int64_t id = 0; id < t->vocab_size; id++) {
        const struct qk_token *token = &t->tokens[id];
        if (token->known)
            *index_slot(t, t->pool + token->start, token->size, token->text) = (uint32_t)id + 1;
    }
}

void qk_tokenizer_reserve(struct qk_tokenizer *t, size_t tokens)
{
    size_t slots = t->index ? t->index_mask + 1 : 1024;
    while (slots < 2 * tokens)
        slots *= 2;
    if (!t->index || slots > t->index_mask + 1)
        enlarge_index(t, slots);
}

static void enlarge_ids(struct qk_tokenizer *t, int64_t size)
{
    int64_t room = 1024; /* always the power of two that holds vocab_size */
    while (room < size)
        room *= 2;
    t->tokens = qk_realloc(t->tokens, (size_t)room, sizeof *t->tokens);
    memset(t->tokens + t->vocab_size, 0, (size_t)(size - t->vocab_size) * sizeof *t->tokens);
    t->vocab_size = size;
}

int qk_tokenizer_set(struct qk_tokenizer *t, uint32_t id, const char *bytes, size_t n, bool text)
{
    qk_tokenizer_reserve(t, t->known + 1);
    if (id >= t->vocab_size)
        enlarge_ids(t, (int64_t)id + 1);
    uint32_t *slot = index_slot(t, bytes, n, text);
    if (t->tokens[id].known || *slot)
        return -1;
    *slot = id + 1;
    qk_grow(&t->pool, &t->pool_capacity, t->pool_size + n + 1, 1);
    memcpy(t->pool + t->pool_size, bytes, n);
    t->tokens[id] = (struct qk_token){t->pool_size, (uint32_t)n, true, text};
    t->pool_size += n;
    t->known++;
    return 0;
}

void qk_tokenizer_find_bytes(struct qk_tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        t->byte_id[b] = qk_tokenizer_lookup(t, &byte, 1, false);
    }
}

void qk_tokenizer_add(struct qk_tokenizer *t, const struct qk_added_token *token)
{
    t->added = qk_realloc(t->added, t->added_count + 1, sizeof *t->added);
    struct qk_added_token *copy = &t->added[t->added_count++];
    *copy = *token;
    copy->text = qk_alloc(token->size + 1, 1);
    memcpy(copy->text, token->text, token->size);
    copy->text[token->size] = '\0';
    if (token->id >= t->vocab_size || !t->tokens[token->id].known)
        qk_tokenizer_set(t, token->id, token->text, token->size, true);
}

/* NFC of text, malloc'd by utf8proc; NULL when memory ran out or the text is invalid. */
static char *nfc(const char *text, size_t n, size_t *size)
{
    utf8proc_uint8_t *to = NULL;
    utf8proc_ssize_t k = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &to,
                                      (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    *size = k < 0 ? 0 : (size_t)k;
    return k < 0 ? NULL : (char *)to;
}

void qk_tokenizer_finish(struct qk_tokenizer *t)
{
    for (size_t i = 0; t->nfc && i < t->added_count; i++) {
        struct qk_added_token *a = &t->added[i];
        if (!a->normalized)
            continue;
        size_t size;
        char *text = nfc(a->text, a->size, &size);
        if (text) {
            free(a->text);
            a->text = text;
            a->size = size;
        }
    }
    t->cuttable = qk_pretoken_is_plain(&t->pretoken) && !t->nfc;
    for (size_t i = 0; i < t->added_count; i++) {
        const struct qk_added_token *a = &t->added[i];
        t->cuttable &= !a->lstrip && !a->rstrip && !memchr(a->text, ' ', a->size);
    }
    qk_added_build(&t->before, t->added, t->added_count, false);
    qk_added_build(&t->after, t->added, t->added_count, true);
}

void qk_tokenizer_free(struct qk_tokenizer *t)
{
    for (size_t i = 0; i < t->added_count; i++)
        free(t->added[i].text);
    free(t->added);
    qk_added_free(&t->before);
    qk_added_free(&t->after);
    free(t->pool);
    free(t->tokens);
    free(t->index);
    qk_merges_free(&t->merges);
    qk_pretoken_free(&t->pretoken);
    qk_buffer_free(&t->json);
    memset(t, 0, sizeof *t);
}

int64_t qk_tokenizer_find(const struct qk_tokenizer *t, const char *bytes, size_t n)
{
    for (size_t i = 0; i < t->added_count; i++)
        if (t->added[i].size == n && memcmp(t->added[i].text, bytes, n) == 0)
            return t->added[i].id;
    int64_t id = qk_tokenizer_lookup(t, bytes, n, false);
    return id >= 0 ? id : qk_tokenizer_lookup(t, bytes, n, true);
}

int64_t qk_tokenizer_eot(const struct qk_tokenizer *t, const char *name)
{
    static const char *const usual[] = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"};
    if (name)
        return qk_tokenizer_find(t, name, strlen(name));
    int64_t id = -1;
    for (size_t i = 0; id < 0 && i < sizeof usual / sizeof *usual; i++)
        id = qk_tokenizer_find(t, usual[i], strlen(usual[i]));
    return id;
}

/* ---- encoding ---- */

/* The ids of a word, without the cache, into work->word. */
static void merge_word(const struct qk_tokenizer *t, struct qk_encode_work *work, const char *s,
                       size_t n)
{
    struct qk_ids *word = &work->word;
    word->count = 0;
    if (t->ignore_merges) {
        int64_t id = qk_tokenizer_lookup(t, s, n, false);
        if (id >= 0) {
            qk_ids_add(word, &(uint32_t){(uint32_t)id}, 1);
            return;
        }
    }
    if (word->capacity < n)
        qk_grow(&word->at, &word->capacity, n, sizeof *word->at);
    for (size_t i = 0; i < n; i++) {
        int64_t id = t->byte_id[(unsigned char)s[i]];
        word->at[word->count] = (uint32_t)id;
        word->count += id >= 0;
    }
    word->count = qk_bpe_merge(&t->merges, &work->bpe, word->at, word->count);
}

/* A word that is not in the bucket, nor anywhere when there is none. */
static void encode_new(const struct qk_tokenizer *t, struct qk_encode_work *work, const char *s,
                       size_t n, const struct qk_word_key *key, struct qk_word_bucket *bucket,
                       struct qk_ids *ids)
{
    merge_word(t, work, s, n);
    qk_ids_add(ids, work->word.at, work->word.count);
    if (bucket && work->word.count <= QK_CACHED_IDS)
        qk_word_put(bucket, key, work->word.at, work->word.count);
}

/* Words under way: their buckets are fetched from memory while others are looked up. */
enum { WORDS = 16 };

struct words {
    const char *at[WORDS];
    size_t size[WORDS];
    struct qk_word_key key[WORDS];
    struct qk_word_bucket *bucket[WORDS]; /* NULL: too long for the cache */
};

static void look_up(const struct qk_tokenizer *t, struct qk_encode_work *work, struct words *w,
                    size_t count, struct qk_ids *ids)
{
    if (ids->capacity < ids->count + WORDS * QK_CACHED_IDS)
        qk_grow(&ids->at, &ids->capacity, ids->count + WORDS * QK_CACHED_IDS, sizeof *ids->at);
    for (size_t i = 0; i < count; i++) {
        const struct qk_word_entry *e =
            w->bucket[i] ? qk_word_find(w->bucket[i], &w->key[i]) : NULL;
        if (e && ids->count + QK_CACHED_IDS <= ids->capacity) {
            memcpy(ids->at + ids->count, e->ids, sizeof e->ids); /* a fixed size is fastest */
            ids->count += e->count;
        } else if (e) {
            qk_ids_add(ids, e->ids, e->count);
        } else {
            encode_new(t, work, w->at[i], w->size[i], &w->key[i], w->bucket[i], ids);
        }
    }
}

static inline void add_word(const struct qk_encode_work *work, struct words *w, size_t i,
                            const char *s, size_t n, const char *end)
{
    w->at[i] = s;
    w->size[i] = n;
    w->bucket[i] = NULL;
    if (n > QK_CACHED_BYTES)
        return;
    w->key[i] = qk_word_key(s, n, end);
    w->bucket[i] = qk_word_bucket(&work->cache, &w->key[i]);
    __builtin_prefetch(w->bucket[i]);
}

static int encode_plain(const struct qk_tokenizer *t, struct qk_encode_work *work, const char *text,
                        size_t n, struct qk_ids *ids, struct qk_err *err)
{
    struct words w;
    if (qk_pretoken_is_plain(&t->pretoken)) {
        struct qk_plain_walk walk = {text, text + n, text};
        struct qk_piece pieces[WORDS];
        size_t count;
        while ((count = qk_pretoken_next(&t->pretoken, &walk, pieces, WORDS)) > 0) {
            for (size_t i = 0; i < count; i++)
                add_word(work, &w, i, pieces[i].at, pieces[i].size, text + n);
            look_up(t, work, &w, count, ids);
        }
        return 0;
    }
    if (qk_pretoken_split(&t->pretoken, &work->pretoken, text, n, err) != 0)
        return -1;
    const struct qk_pieces *words = &work->pretoken.words;
    for (size_t first = 0; first < words->count; first += WORDS) {
        size_t count = words->count - first < WORDS ? words->count - first : WORDS;
        for (size_t i = 0; i < count; i++) {
            const struct qk_piece *p = &words->at[first + i];
            add_word(work, &w, i, p->at, p->size, p->at + p->size);
        }
        look_up(t, work, &w, count, ids);
    }
    return 0;
}

static bool is_ascii(const char *text, size_t n)
{
    unsigned char any = 0;
    for (size_t i = 0; i < n; i++)
        any |= (unsigned char)text[i];
    return any < 128;
}

/* Text without tokens of the first kind: normalise, cut at those of the second kind. */
static int encode_normalized(const struct qk_tokenizer *t, struct qk_encode_work *work,
                             const char *text, size_t n, struct qk_ids *ids, struct qk_err *err)
{
    char *composed = NULL;
    if (t->nfc && !is_ascii(text, n)) {
        composed = nfc(text, n, &n);
        if (!composed)
            return qk_fail(err, "the text cannot be normalised to NFC");
        text = composed;
    }
    struct qk_added_walk walk = {.text = text, .size = n};
    enum qk_added_part part;
    uint32_t id;
    int failed = 0;
    while (!failed && (part = qk_added_next(&t->after, &walk, &text, &n, &id)) != QK_ADDED_END) {
        if (part == QK_ADDED_TOKEN)
            qk_ids_add(ids, &id, 1);
        else
            failed = encode_plain(t, work, text, n, ids, err);
    }
    free(composed);
    return failed;
}

int qk_encode(const struct qk_tokenizer *t, struct qk_encode_work *work, const char *text, size_t n,
              struct qk_ids *ids, struct qk_err *err)
{
    qk_word_cache_begin(&work->cache, work->cache_bytes);
    struct qk_added_walk walk = {.text = text, .size = n};
    enum qk_added_part part;
    uint32_t id;
    while ((part = qk_added_next(&t->before, &walk, &text, &n, &id)) != QK_ADDED_END) {
        if (part == QK_ADDED_TOKEN)
            qk_ids_add(ids, &id, 1);
        else if (encode_normalized(t, work, text, n, ids, err) != 0)
            return -1;
    }
    return 0;
}

size_t qk_tokenizer_cut(const struct qk_tokenizer *t, const char *text, size_t n, size_t at)
{
    /* GPT-2's pattern has no match with a space behind anything but spaces, and looks ahead only */
    for (size_t i = at > 0 ? at : 1; t->cuttable && i < n; i++)
        if (text[i] == ' ' && text[i - 1] > ' ' && text[i - 1] < 127)
            return i;
    return n;
}

void qk_encode_work_free(struct qk_encode_work *work)
{
    qk_pretoken_work_free(&work->pretoken);
    qk_bpe_work_free(&work->bpe);
    qk_ids_free(&work->word);
    qk_word_cache_free(&work->cache);
    *work = (struct qk_encode_work){0};
}

int qk_decode(const struct qk_tokenizer *t, const uint32_t *ids, size_t n, struct qk_buffer *to,
              struct qk_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= t->vocab_size || !t->tokens[ids[i]].known)
            return qk_fail(err, "%u is not the id of a token", ids[i]);
        qk_buffer_add(to, t->pool + t->tokens[ids[i]].start, t->tokens[ids[i]].size);
    }
    return 0;
}
