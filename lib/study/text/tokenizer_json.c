/* Tokenizer files: reading tokenizer.json and GPT-2's encoder.json with vocab.bpe, writing
 * tokenizer.json. */
#include "study/text/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/textfile.h"
#include "study/text/uchar.h"

enum { MOST_IDS = 1 << 24 };

/* Append the bytes that a spelling stands for; false, with nothing appended, when it has characters
 * outside the byte-level alphabet. */
static bool add_bytes(const char *spelling, size_t n, struct qk_buffer *to)
{
    size_t count = to->size;
    qk_grow(&to->at, &to->capacity, to->size + n + 1, 1);
    for (size_t i = 0; i < n;) {
        unsigned width = 1;
        unsigned char c = (unsigned char)spelling[i];
        int byte =
            c >= '!' && c <= '~' ? c : qk_char_byte(qk_uchar_at(spelling + i, n - i, &width));
        if (byte < 0)
            return false;
        to->at[count++] = (char)byte;
        i += width;
    }
    to->size = count;
    return true;
}

/* The bytes of a spelling into `to`; false when it is none of the byte-level alphabet (`to` then
 * holds the spelling itself). */
static bool spelling_bytes(const char *spelling, size_t n, struct qk_buffer *to)
{
    to->size = 0;
    if (add_bytes(spelling, n, to))
        return true;
    memcpy(to->at, spelling, n);
    to->size = n;
    return false;
}

static int64_t find_spelling(const struct qk_tokenizer *t, const char *spelling, size_t n,
                             struct qk_buffer *room)
{
    bool bytes = spelling_bytes(spelling, n, room);
    return qk_tokenizer_lookup(t, room->at, room->size, !bytes);
}

static int read_vocabulary(struct qk_tokenizer *t, const cJSON *vocab, const char *where,
                           struct qk_err *err)
{
    struct qk_buffer room = {0};
    const cJSON *one;
    int failed = 0;
    if (!cJSON_IsObject(vocab) || !vocab->child)
        return qk_fail(err, "%s: its vocabulary is not an object of tokens", where);
    qk_tokenizer_reserve(t, (size_t)cJSON_GetArraySize(vocab));
    cJSON_ArrayForEach(one, vocab)
    {
        double id = one->valuedouble;
        if (!cJSON_IsNumber(one) || !(id >= 0 && id < MOST_IDS) || id != (double)(uint32_t)id)
            failed = qk_fail(err, "%s: token \"%s\" has no valid id", where, one->string);
        else {
            bool bytes = spelling_bytes(one->string, strlen(one->string), &room);
            if (qk_tokenizer_set(t, (uint32_t)id, room.at, room.size, !bytes) != 0)
                failed = qk_fail(err, "%s: token \"%s\" or its id %.0f is there twice", where,
                                 one->string, id);
        }
        if (failed)
            break;
    }
    qk_buffer_free(&room);
    qk_tokenizer_find_bytes(t);
    return failed;
}

/* Room for spellings, used over and over. */
struct merge_room {
    struct qk_buffer bytes, whole;
    int64_t last; /* the token that the merge before gives */
};

static void free_room(struct merge_room *room)
{
    qk_buffer_free(&room->bytes);
    qk_buffer_free(&room->whole);
}

/* A token of these bytes; most often it is the one behind the last. */
static int64_t find_next(const struct qk_tokenizer *t, const char *bytes, size_t n, int64_t last)
{
    if (last + 1 < t->vocab_size) {
        const struct qk_token *next = &t->tokens[last + 1];
        if (next->known && !next->text && next->size == n &&
            memcmp(t->pool + next->start, bytes, n) == 0)
            return last + 1;
    }
    return qk_tokenizer_lookup(t, bytes, n, false);
}

/* The tokens of both parts and of the whole, which may be spelled with any characters. */
static void find_parts(const struct qk_tokenizer *t, const char *left, size_t left_size,
                       const char *right, size_t right_size, struct merge_room *room, int64_t id[3])
{
    struct qk_buffer *bytes = &room->bytes;
    bytes->size = 0;
    if (add_bytes(left, left_size, bytes)) {
        size_t n = bytes->size;
        if (add_bytes(right, right_size, bytes)) {
            id[0] = qk_tokenizer_lookup(t, bytes->at, n, false);
            id[1] = qk_tokenizer_lookup(t, bytes->at + n, bytes->size - n, false);
            id[2] = find_next(t, bytes->at, bytes->size, room->last);
            return;
        }
    }
    id[0] = find_spelling(t, left, left_size, bytes);
    id[1] = find_spelling(t, right, right_size, bytes);
    room->whole.size = 0;
    qk_buffer_add(&room->whole, left, left_size);
    qk_buffer_add(&room->whole, right, right_size);
    id[2] = find_spelling(t, room->whole.at, room->whole.size, bytes);
}

/* Enter a merge, given as two spellings; its ids into `pair`. */
static int put_merge(struct qk_tokenizer *t, uint32_t rank, const char *left, size_t left_size,
                     const char *right, size_t right_size, struct merge_room *room,
                     uint32_t pair[2], const char *where, struct qk_err *err)
{
    int64_t id[3];
    find_parts(t, left, left_size, right, right_size, room, id);
    if (id[0] < 0 || id[1] < 0 || id[2] < 0)
        return qk_fail(err, "%s: merge %u, \"%.*s %.*s\", has parts that are no tokens", where,
                       rank + 1, (int)left_size, left, (int)right_size, right);
    pair[0] = (uint32_t)id[0];
    pair[1] = (uint32_t)id[1];
    room->last = id[2];
    qk_merges_put(&t->merges, pair[0], pair[1], rank, (uint32_t)id[2]);
    return 0;
}

/* "left right" */
static int put_merge_line(struct qk_tokenizer *t, uint32_t rank, const char *line, size_t n,
                          struct merge_room *room, uint32_t pair[2], const char *where,
                          struct qk_err *err)
{
    const char *space = memchr(line, ' ', n);
    size_t left = space ? (size_t)(space - line) : 0;
    if (!space || left == 0 || left + 1 == n || memchr(space + 1, ' ', n - left - 1))
        return qk_fail(err, "%s: merge %u, \"%.*s\", is not two tokens", where, rank + 1, (int)n,
                       line);
    return put_merge(t, rank, line, left, space + 1, n - left - 1, room, pair, where, err);
}

static int read_merges(struct qk_tokenizer *t, const cJSON *merges, const char *where,
                       struct qk_err *err)
{
    struct merge_room room = {.last = -1};
    const cJSON *one;
    uint32_t rank = 0, pair[2];
    int failed = 0;
    if (!cJSON_IsArray(merges))
        return qk_fail(err, "%s: the model has no list of merges", where);
    qk_merges_init(&t->merges, (size_t)t->vocab_size);
    cJSON_ArrayForEach(one, merges)
    {
        const char *left = cJSON_GetStringValue(one->child);
        const char *right = left ? cJSON_GetStringValue(one->child->next) : NULL;
        if (cJSON_IsString(one))
            failed = put_merge_line(t, rank, one->valuestring, strlen(one->valuestring), &room,
                                    pair, where, err);
        else if (left && right && cJSON_GetArraySize(one) == 2)
            failed = put_merge(t, rank, left, strlen(left), right, strlen(right), &room, pair,
                               where, err);
        else
            failed = qk_fail(err, "%s: merge %u is not two tokens", where, rank + 1);
        if (failed)
            break;
        rank++;
    }
    free_room(&room);
    return failed;
}

static bool is_set(const cJSON *object, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    if (cJSON_IsNumber(v))
        return v->valuedouble != 0;
    if (cJSON_IsString(v))
        return v->valuestring[0] != '\0';
    return v && !cJSON_IsNull(v) && !cJSON_IsFalse(v);
}

static bool has_all_bytes(const struct qk_tokenizer *t)
{
    for (int b = 0; b < 256; b++)
        if (t->byte_id[b] < 0)
            return false;
    return true;
}

static int read_model(struct qk_tokenizer *t, const cJSON *model, const char *where,
                      struct qk_err *err)
{
    static const char *const refused[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix", "byte_fallback"};
    if (!cJSON_IsObject(model))
        return qk_fail(err, "%s: it has no model", where);
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(model, "type");
    if (type && (!cJSON_IsString(type) || strcmp(type->valuestring, "BPE") != 0))
        return qk_fail(err, "%s: model type %s is not supported, only BPE is", where,
                       cJSON_IsString(type) ? type->valuestring : "(not text)");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (is_set(model, refused[i]))
            return qk_fail(err, "%s: the model's %s is not supported", where, refused[i]);
    t->ignore_merges = is_set(model, "ignore_merges");
    if (read_vocabulary(t, cJSON_GetObjectItemCaseSensitive(model, "vocab"), where, err) != 0 ||
        read_merges(t, cJSON_GetObjectItemCaseSensitive(model, "merges"), where, err) != 0)
        return -1;
    if (is_set(model, "unk_token") && !has_all_bytes(t)) /* else it is never needed */
        return qk_fail(err, "%s: the model's unk_token is not supported", where);
    return 0;
}

static int read_added(struct qk_tokenizer *t, const cJSON *list, const char *where,
                      struct qk_err *err)
{
    const cJSON *one;
    struct qk_buffer room = {0};
    int failed = 0;
    if (!list || cJSON_IsNull(list))
        return 0;
    cJSON_ArrayForEach(one, list)
    {
        int64_t id;
        const char *text;
        if ((failed = qk_json_int(one, "id", &id, where, err)) != 0 ||
            (failed = qk_json_text(one, "content", &text, where, err)) != 0)
            break;
        int64_t known = find_spelling(t, text, strlen(text), &room);
        if (id < 0 || id >= MOST_IDS || (known >= 0 && known != id)) {
            failed =
                qk_fail(err, "%s: added token \"%s\" has an id that is not its own", where, text);
            break;
        }
        struct qk_buffer copy = {0};
        qk_buffer_text(&copy, text);
        if (copy.size)
            qk_tokenizer_add(t, &(struct qk_added_token){.text = copy.at,
                                                         .size = copy.size,
                                                         .id = (uint32_t)id,
                                                         .special = is_set(one, "special"),
                                                         .single_word = is_set(one, "single_word"),
                                                         .lstrip = is_set(one, "lstrip"),
                                                         .rstrip = is_set(one, "rstrip"),
                                                         .normalized = is_set(one, "normalized")});
        qk_buffer_free(&copy);
    }
    qk_buffer_free(&room);
    return failed;
}

static int read_normalizer(struct qk_tokenizer *t, const cJSON *json, const char *where,
                           struct qk_err *err)
{
    if (!json || cJSON_IsNull(json))
        return 0;
    const char *type;
    if (qk_json_text(json, "type", &type, where, err) != 0)
        return -1;
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *one;
        cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(json, "normalizers"))
        {
            if (read_normalizer(t, one, where, err) != 0)
                return -1;
        }
        return 0;
    }
    if (strcmp(type, "NFC") != 0)
        return qk_fail(err, "%s: normalizer %s is not supported", where, type);
    t->nfc = true;
    return 0;
}

int qk_tokenizer_parse(struct qk_tokenizer *t, const char *text, size_t n, const char *where,
                       struct qk_err *err)
{
    qk_tokenizer_init(t);
    if (memchr(text, '\0', n))
        return qk_fail(err, "%s: malformed JSON: it holds a zero byte", where);
    qk_buffer_add(&t->json, text, n);
    cJSON *json = qk_json_parse(t->json.at, where, err);
    if (!json) {
        qk_tokenizer_free(t);
        return -1;
    }
    int failed =
        read_normalizer(t, cJSON_GetObjectItemCaseSensitive(json, "normalizer"), where, err) != 0 ||
        read_model(t, cJSON_GetObjectItemCaseSensitive(json, "model"), where, err) != 0 ||
        qk_pretoken_parse(&t->pretoken, cJSON_GetObjectItemCaseSensitive(json, "pre_tokenizer"),
                          where, err) != 0 ||
        read_added(t, cJSON_GetObjectItemCaseSensitive(json, "added_tokens"), where, err) != 0;
    cJSON_Delete(json);
    if (failed) {
        qk_tokenizer_free(t);
        return -1;
    }
    qk_tokenizer_finish(t);
    return 0;
}

/* ---- GPT-2's own files ---- */

/* Merges of vocab.bpe, in order, into t and *pairs (malloc'd). */
static int read_bpe_lines(struct qk_tokenizer *t, const char *path, uint32_t (**pairs)[2],
                          size_t *count, struct qk_err *err)
{
    struct qk_textfile *f = qk_text_open(path, err);
    if (!f)
        return -1;
    struct merge_room room = {.last = -1};
    const char *line;
    size_t n, capacity = 0, number = 0;
    int got;
    qk_merges_init(&t->merges, (size_t)t->vocab_size);
    while ((got = qk_text_line(f, &line, &n, err)) > 0) {
        if (number++ == 0 && n >= 9 && memcmp(line, "#version:", 9) == 0)
            continue;
        if (n == 0)
            continue;
        if (qk_utf8_check(line, n)) {
            got = qk_fail(err, "%s: line %zu is not valid UTF-8", path, number);
            break;
        }
        qk_grow(pairs, &capacity, *count + 1, sizeof **pairs);
        if (put_merge_line(t, (uint32_t)*count, line, n, &room, (*pairs)[*count], path, err) != 0) {
            got = -1;
            break;
        }
        ++*count;
    }
    free_room(&room);
    qk_text_close(f);
    return got < 0 ? -1 : 0;
}

static int read_gpt2(struct qk_tokenizer *t, const char *encoder, const char *bpe,
                     struct qk_err *err)
{
    qk_tokenizer_init(t);
    cJSON *vocab = qk_json_read(encoder, err);
    if (!vocab)
        return -1;
    uint32_t(*pairs)[2] = NULL;
    size_t count = 0;
    int failed = read_vocabulary(t, vocab, encoder, err) != 0 ||
                 read_bpe_lines(t, bpe, &pairs, &count, err) != 0;
    cJSON_Delete(vocab);
    if (!failed) {
        char eot[] = "<|endoftext|>";
        int64_t id = qk_tokenizer_lookup(t, eot, strlen(eot), false);
        qk_pretoken_gpt2(&t->pretoken);
        if (id >= 0)
            qk_tokenizer_add(
                t, &(struct qk_added_token){
                       .text = eot, .size = strlen(eot), .id = (uint32_t)id, .special = true});
        qk_tokenizer_finish(t);
        qk_tokenizer_write_json(t, (const uint32_t(*)[2])pairs, count);
    }
    free(pairs);
    if (failed)
        qk_tokenizer_free(t);
    return failed ? -1 : 0;
}

static int read_file(struct qk_tokenizer *t, const char *path, struct qk_err *err)
{
    struct qk_buffer text = {0};
    int failed = qk_text_slurp(path, &text, err) != 0 ||
                 qk_tokenizer_parse(t, text.at ? text.at : "", text.size, path, err) != 0;
    qk_buffer_free(&text);
    return failed ? -1 : 0;
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

int qk_tokenizer_read(struct qk_tokenizer *t, const char *path, struct qk_err *err)
{
    struct stat st;
    qk_tokenizer_init(t);
    if (strcmp(path, "-") == 0)
        return read_file(t, path, err);
    if (stat(path, &st) != 0)
        return qk_fail_errno(err, "%s", path);
    if (!S_ISDIR(st.st_mode))
        return read_file(t, path, err);
    char *json = qk_format("%s/tokenizer.json", path);
    char *encoder = qk_format("%s/encoder.json", path), *bpe = qk_format("%s/vocab.bpe", path);
    int failed;
    if (is_file(json))
        failed = read_file(t, json, err);
    else if (is_file(encoder) && is_file(bpe))
        failed = read_gpt2(t, encoder, bpe, err);
    else
        failed =
            qk_fail(err, "%s: has neither tokenizer.json nor encoder.json with vocab.bpe", path);
    free(json);
    free(encoder);
    free(bpe);
    return failed;
}

/* ---- writing ---- */

/* Text within a JSON string. */
static void write_characters(struct qk_buffer *to, const char *s, size_t n)
{
    size_t plain = 0; /* from here on to i */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        qk_buffer_add(to, s + plain, i - plain);
        qk_buffer_format(to, c < 0x20 ? "\\u%04x" : "\\%c", c);
        plain = i + 1;
    }
    qk_buffer_add(to, s + plain, n - plain);
}

/* The spellings of all bytes within a JSON string. */
struct alphabet {
    struct {
        unsigned char size;
        char at[7];
    } byte[256];
};

static void begin_alphabet(struct alphabet *a)
{
    for (int b = 0; b < 256; b++) {
        char *at = a->byte[b].at;
        size_t n = 0;
        if (b == '"' || b == '\\')
            at[n++] = '\\';
        a->byte[b].size = (unsigned char)(n + qk_uchar_put(qk_byte_char((unsigned char)b), at + n));
    }
}

/* The spelling of a token, without quotes: byte-level unless the token is kept as text. */
static void write_token(const struct qk_tokenizer *t, const struct alphabet *a, uint32_t id,
                        struct qk_buffer *to)
{
    const struct qk_token *token = &t->tokens[id];
    const char *bytes = t->pool + token->start;
    if (token->text) {
        write_characters(to, bytes, token->size);
        return;
    }
    qk_grow(&to->at, &to->capacity, to->size + sizeof a->byte->at * ((size_t)token->size + 1), 1);
    char *end = to->at + to->size;
    for (uint32_t i = 0; i < token->size; i++) {
        unsigned char b = (unsigned char)bytes[i];
        memcpy(end, a->byte[b].at, sizeof a->byte[b].at);
        end += a->byte[b].size;
    }
    *end = '\0';
    to->size = (size_t)(end - to->at);
}

static void write_added(const struct qk_tokenizer *t, struct qk_buffer *to)
{
    static const char *const truth[] = {"false", "true"};
    qk_buffer_text(to, "  \"added_tokens\": [");
    for (size_t i = 0; i < t->added_count; i++) {
        const struct qk_added_token *a = &t->added[i];
        qk_buffer_format(to, "%s\n    {\"id\": %u, \"content\": ", i ? "," : "", a->id);
        qk_buffer_text(to, "\"");
        write_characters(to, a->text, a->size);
        qk_buffer_text(to, "\"");
        qk_buffer_format(to,
                         ", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, "
                         "\"normalized\": %s, \"special\": %s}",
                         truth[a->single_word], truth[a->lstrip], truth[a->rstrip],
                         truth[a->normalized], truth[a->special]);
    }
    qk_buffer_text(to, "\n  ],\n");
}

static void write_number(struct qk_buffer *to, int64_t number)
{
    char digits[24], *at = digits + sizeof digits;
    do
        *--at = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    qk_buffer_add(to, at, (size_t)(digits + sizeof digits - at));
}

static void write_vocabulary(const struct qk_tokenizer *t, const struct alphabet *a,
                             struct qk_buffer *to)
{
    const char *before = "\n      \"";
    qk_buffer_text(to, "    \"vocab\": {");
    for (int64_t id = 0; id < t->vocab_size; id++) {
        if (!t->tokens[id].known)
            continue;
        qk_buffer_text(to, before);
        write_token(t, a, (uint32_t)id, to);
        qk_buffer_text(to, "\": ");
        write_number(to, id);
        before = ",\n      \"";
    }
    qk_buffer_text(to, "\n    },\n");
}

void qk_tokenizer_write_json(struct qk_tokenizer *t, const uint32_t (*merges)[2], size_t count)
{
    struct qk_buffer *to = &t->json;
    struct alphabet a = {0};
    begin_alphabet(&a);
    qk_buffer_free(to);
    qk_buffer_text(to,
                   "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    write_added(t, to);
    qk_buffer_text(to,
                   "  \"normalizer\": null,\n"
                   "  \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                   "\"trim_offsets\": true, \"use_regex\": true},\n"
                   "  \"post_processor\": null,\n"
                   "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                   "\"trim_offsets\": true, \"use_regex\": true},\n"
                   "  \"model\": {\n"
                   "    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
                   "    \"continuing_subword_prefix\": null,\n"
                   "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
                   "    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n");
    write_vocabulary(t, &a, to);
    qk_buffer_text(to, "    \"merges\": [");
    for (size_t i = 0; i < count; i++) {
        qk_buffer_text(to, i ? ",\n      \"" : "\n      \"");
        write_token(t, &a, merges[i][0], to);
        qk_buffer_text(to, " ");
        write_token(t, &a, merges[i][1], to);
        qk_buffer_text(to, "\"");
    }
    qk_buffer_text(to, "\n    ]\n  }\n}\n");
}
