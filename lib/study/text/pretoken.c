#include "study/text/pretoken.h"

#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/json.h"
#include "study/text/regex.h"
#include "study/text/uchar.h"

const char qk_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static void add_piece(struct qk_pieces *list, const char *at, size_t size)
{
    if (size == 0)
        return;
    if (list->count == list->capacity)
        qk_grow(&list->at, &list->capacity, list->count + 1, sizeof *list->at);
    list->at[list->count++] = (struct qk_piece){at, size};
}

/* ---- GPT-2's pattern by hand ---- */

enum { KIND = QK_LETTER | QK_NUMBER | QK_SPACE };

static const unsigned char ascii_kind[128] = {
    ['\t'] = QK_SPACE, ['\n'] = QK_SPACE, ['\v'] = QK_SPACE, ['\f'] = QK_SPACE, ['\r'] = QK_SPACE,
    [' '] = QK_SPACE,  ['0'] = QK_NUMBER, ['1'] = QK_NUMBER, ['2'] = QK_NUMBER, ['3'] = QK_NUMBER,
    ['4'] = QK_NUMBER, ['5'] = QK_NUMBER, ['6'] = QK_NUMBER, ['7'] = QK_NUMBER, ['8'] = QK_NUMBER,
    ['9'] = QK_NUMBER, ['A'] = QK_LETTER, ['B'] = QK_LETTER, ['C'] = QK_LETTER, ['D'] = QK_LETTER,
    ['E'] = QK_LETTER, ['F'] = QK_LETTER, ['G'] = QK_LETTER, ['H'] = QK_LETTER, ['I'] = QK_LETTER,
    ['J'] = QK_LETTER, ['K'] = QK_LETTER, ['L'] = QK_LETTER, ['M'] = QK_LETTER, ['N'] = QK_LETTER,
    ['O'] = QK_LETTER, ['P'] = QK_LETTER, ['Q'] = QK_LETTER, ['R'] = QK_LETTER, ['S'] = QK_LETTER,
    ['T'] = QK_LETTER, ['U'] = QK_LETTER, ['V'] = QK_LETTER, ['W'] = QK_LETTER, ['X'] = QK_LETTER,
    ['Y'] = QK_LETTER, ['Z'] = QK_LETTER, ['a'] = QK_LETTER, ['b'] = QK_LETTER, ['c'] = QK_LETTER,
    ['d'] = QK_LETTER, ['e'] = QK_LETTER, ['f'] = QK_LETTER, ['g'] = QK_LETTER, ['h'] = QK_LETTER,
    ['i'] = QK_LETTER, ['j'] = QK_LETTER, ['k'] = QK_LETTER, ['l'] = QK_LETTER, ['m'] = QK_LETTER,
    ['n'] = QK_LETTER, ['o'] = QK_LETTER, ['p'] = QK_LETTER, ['q'] = QK_LETTER, ['r'] = QK_LETTER,
    ['s'] = QK_LETTER, ['t'] = QK_LETTER, ['u'] = QK_LETTER, ['v'] = QK_LETTER, ['w'] = QK_LETTER,
    ['x'] = QK_LETTER, ['y'] = QK_LETTER, ['z'] = QK_LETTER,
};

static inline unsigned kind_at(const char *s, size_t n, unsigned *width)
{
    unsigned char c = (unsigned char)*s;
    if (c < 128) {
        *width = 1;
        return ascii_kind[c];
    }
    return qk_uchar_class(qk_uchar_at(s, n, width)) & KIND;
}

/* End of the run of characters of that kind that begins at `from`; *last is the start of its last
 * character. */
static size_t run(const char *s, size_t n, size_t from, unsigned kind, size_t *last)
{
    size_t i = from;
    unsigned width;
    *last = from;
    while (i < n && kind_at(s + i, n - i, &width) == kind) {
        *last = i;
        i += width;
    }
    return i;
}

static size_t contraction(const char *s, size_t n)
{
    if (n < 2 || s[0] != '\'')
        return 0;
    switch (s[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd':
        return 2;
    case 'r':
    case 'v':
        return n > 2 && s[2] == 'e' ? 3 : 0;
    case 'l':
        return n > 2 && s[2] == 'l' ? 3 : 0;
    default:
        return 0;
    }
}

/* Where the ASCII letters that begin at `from` end. */
static inline size_t ascii_letters(const char *s, size_t n, size_t from)
{
    size_t i = from;
#ifdef __SSE2__
    for (; i + 16 <= n; i += 16) { /* no branch that depends on the length of a usual word */
        const __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(s + i));
        const __m128i place =
            _mm_sub_epi8(_mm_or_si128(c, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
        const __m128i letter = _mm_cmpeq_epi8(_mm_min_epu8(place, _mm_set1_epi8(25)), place);
        unsigned others = ~(unsigned)_mm_movemask_epi8(letter) & 0xFFFF;
        if (others)
            return i + (size_t)__builtin_ctz(others);
    }
#endif
    while (i < n && (unsigned char)s[i] < 128 && ascii_kind[(unsigned char)s[i]] == QK_LETTER)
        i++;
    return i;
}

static inline size_t gpt2_word(const char *s, size_t n)
{
    unsigned width;
    size_t last, i = s[0] == ' ' && n > 1;
    size_t letters = ascii_letters(s, n, i);
    if (letters > i && (letters == n || (unsigned char)s[letters] < 128))
        return letters;
    unsigned kind = kind_at(s + i, n - i, &width);
    if (kind != QK_SPACE) {
        size_t short_word = i ? 0 : contraction(s, n);
        return short_word ? short_word : run(s, n, i, kind, &last);
    }
    /* \s+(?!\S)|\s+ : all but the last space when a word follows, but at least one */
    i = run(s, n, 0, QK_SPACE, &last);
    return i == n || last == 0 ? i : last;
}

size_t qk_gpt2_word(const char *s, size_t n)
{
    return gpt2_word(s, n);
}

static void split_gpt2(const char *s, size_t n, struct qk_pieces *out)
{
    for (size_t i = 0; i < n;) {
        size_t k = gpt2_word(s + i, n - i);
        add_piece(out, s + i, k);
        i += k;
    }
}

/* ---- Digits ---- */

static void split_digits(const char *s, size_t n, bool individual, struct qk_pieces *out)
{
    size_t start = 0;
    bool in_number = false;
    for (size_t i = 0; i < n;) {
        unsigned width;
        bool number = kind_at(s + i, n - i, &width) == QK_NUMBER;
        if (number != in_number || (number && individual)) {
            add_piece(out, s + start, i - start);
            start = i;
        }
        in_number = number;
        i += width;
    }
    add_piece(out, s + start, n - start);
}

/* The length of the first piece. */
static size_t digits_piece(const char *s, size_t n, bool individual)
{
    unsigned width;
    bool number = kind_at(s, n, &width) == QK_NUMBER;
    size_t i = width;
    if (number && individual)
        return i;
    while (i < n && (kind_at(s + i, n - i, &width) == QK_NUMBER) == number)
        i += width;
    return i;
}

/* ---- words a few at a time ---- */

static bool has_digits(const struct qk_pretoken *p)
{
    return p->count == 2;
}

bool qk_pretoken_is_plain(const struct qk_pretoken *p)
{
    const struct qk_pre_stage *last = &p->stages[p->count > 0 ? p->count - 1 : 0];
    if (p->count < 1 || p->count > 2 || !last->gpt2 || last->add_prefix_space)
        return false;
    return p->count == 1 || p->stages[0].kind == QK_PRE_DIGITS;
}

size_t qk_pretoken_next(const struct qk_pretoken *p, struct qk_plain_walk *walk,
                        struct qk_piece *words, size_t most)
{
    size_t count = 0;
    const char *at = walk->at;
    while (count < most && at < walk->end) {
        if (at == walk->piece_end) {
            size_t n = (size_t)(walk->end - at);
            walk->piece_end =
                at + (has_digits(p) ? digits_piece(at, n, p->stages[0].individual) : n);
        }
        size_t n = gpt2_word(at, (size_t)(walk->piece_end - at));
        words[count++] = (struct qk_piece){at, n};
        at += n;
    }
    walk->at = at;
    return count;
}

/* ---- Split ---- */

/* One part of the text between two cuts, as the behaviours see it. */
struct joiner {
    struct qk_pieces *out;
    enum qk_pre_behavior behavior;
    const char *held; /* a piece that may still grow, NULL for none */
    size_t held_size;
    bool held_match, before_match;
};

static void flush(struct joiner *j)
{
    if (j->held)
        add_piece(j->out, j->held, j->held_size);
    j->held = NULL;
}

static void hold(struct joiner *j, const char *at, size_t size, bool match)
{
    flush(j);
    j->held = at;
    j->held_size = size;
    j->held_match = match;
}

/* Parts come in order, gaps (match false) and matches, without empty gaps. */
static void join(struct joiner *j, const char *at, size_t size, bool match)
{
    switch (j->behavior) {
    case QK_PRE_ISOLATED:
        add_piece(j->out, at, size);
        return;
    case QK_PRE_REMOVED:
        if (!match)
            add_piece(j->out, at, size);
        return;
    case QK_PRE_CONTIGUOUS:
        if (j->held && match == j->held_match)
            j->held_size += size;
        else
            hold(j, at, size, match);
        return;
    case QK_PRE_MERGED_WITH_PREVIOUS:
        if (match && !j->before_match && j->held)
            j->held_size += size;
        else
            hold(j, at, size, match);
        j->before_match = match;
        return;
    case QK_PRE_MERGED_WITH_NEXT: /* of several matches in a row only the last joins what follows */
        if (!match && j->held && j->held_match)
            j->held_size += size;
        else
            hold(j, at, size, match);
        j->held_match = match;
        return;
    }
}

static int split_pattern(const struct qk_pre_stage *stage, struct qk_regex_work *work,
                         const char *s, size_t n, struct qk_pieces *out, struct qk_err *err)
{
    struct joiner j = {.out = out, .behavior = stage->behavior};
    size_t from = 0, done = 0, last_end = 0, start, end;
    bool any = false;
    while (from <= n) {
        int found = qk_regex_find(stage->pattern, work, s, n, from, &start, &end, err);
        if (found < 0)
            return -1;
        if (!found)
            break;
        if (start == end && any && start == last_end) { /* an empty match right behind a match */
            unsigned width = 1;
            if (from < n)
                qk_uchar_at(s + from, n - from, &width);
            from += width;
            continue;
        }
        if (start > done)
            join(&j, s + done, start - done, stage->invert);
        join(&j, s + start, end - start, !stage->invert);
        any = true;
        done = from = last_end = end;
    }
    if (done < n)
        join(&j, s + done, n - done, stage->invert);
    flush(&j);
    return 0;
}

/* ---- all stages ---- */

/* Every piece with a space in front that has none, in one buffer of known size. */
static void prefix_spaces(struct qk_pieces *list, struct qk_buffer *room)
{
    size_t need = 0;
    for (size_t i = 0; i < list->count; i++)
        need += list->at[i].size + 1;
    qk_grow(&room->at, &room->capacity, need, 1);
    char *to = room->at;
    for (size_t i = 0; i < list->count; i++) {
        struct qk_piece *p = &list->at[i];
        char *start = to;
        if (p->at[0] != ' ')
            *to++ = ' ';
        memcpy(to, p->at, p->size);
        to += p->size;
        *p = (struct qk_piece){start, (size_t)(to - start)};
    }
}

static int run_stage(const struct qk_pre_stage *stage, struct qk_regex_work *regex,
                     const struct qk_piece *p, struct qk_pieces *out, struct qk_err *err)
{
    if (stage->kind == QK_PRE_DIGITS)
        split_digits(p->at, p->size, stage->individual, out);
    else if (stage->gpt2)
        split_gpt2(p->at, p->size, out);
    else if (stage->kind == QK_PRE_SPLIT)
        return split_pattern(stage, regex, p->at, p->size, out, err);
    else
        add_piece(out, p->at, p->size);
    return 0;
}

int qk_pretoken_split(const struct qk_pretoken *p, struct qk_pretoken_work *work, const char *text,
                      size_t n, struct qk_err *err)
{
    struct qk_pieces *from = &work->words, *to = &work->other;
    if (!work->regex)
        work->regex = qk_regex_work_new();
    from->count = 0;
    add_piece(from, text, n);
    for (int k = 0; k < p->count; k++) {
        const struct qk_pre_stage *stage = &p->stages[k];
        if (stage->add_prefix_space)
            prefix_spaces(from, &work->prefixed);
        to->count = 0;
        for (size_t i = 0; i < from->count; i++)
            if (run_stage(stage, work->regex, &from->at[i], to, err) != 0)
                return -1;
        struct qk_pieces swap = *from;
        *from = *to;
        *to = swap;
    }
    return 0;
}

void qk_pretoken_work_free(struct qk_pretoken_work *work)
{
    free(work->words.at);
    free(work->other.at);
    qk_buffer_free(&work->prefixed);
    qk_regex_work_free(work->regex);
    memset(work, 0, sizeof *work);
}

void qk_pretoken_gpt2(struct qk_pretoken *p)
{
    *p = (struct qk_pretoken){.count = 1, .stages = {{.kind = QK_PRE_BYTE_LEVEL, .gpt2 = true}}};
}

void qk_pretoken_free(struct qk_pretoken *p)
{
    for (int i = 0; i < p->count; i++)
        qk_regex_free(p->stages[i].pattern);
    p->count = 0;
}

/* ---- reading tokenizer.json ---- */

static int read_bool(const cJSON *json, const char *key, bool fallback, bool *value,
                     const char *where, struct qk_err *err)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(json, key);
    *value = v ? cJSON_IsTrue(v) : fallback;
    if (v && !cJSON_IsBool(v))
        return qk_fail(err, "%s: pre_tokenizer: \"%s\" is not true or false", where, key);
    return 0;
}

static int read_behavior(const cJSON *json, enum qk_pre_behavior *behavior, const char *where,
                         struct qk_err *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name;
    if (qk_json_text(json, "behavior", &name, where, err) != 0)
        return -1;
    for (int i = 0; i < 5; i++)
        if (strcmp(name, names[i]) == 0) {
            *behavior = (enum qk_pre_behavior)i;
            return 0;
        }
    return qk_fail(err, "%s: pre_tokenizer Split: behavior \"%s\" is not supported", where, name);
}

static int read_split(struct qk_pre_stage *stage, const cJSON *json, const char *where,
                      struct qk_err *err)
{
    stage->kind = QK_PRE_SPLIT;
    const cJSON *pattern = cJSON_GetObjectItemCaseSensitive(json, "pattern");
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(pattern, "String");
    const cJSON *regex = cJSON_GetObjectItemCaseSensitive(pattern, "Regex");
    const char *s = cJSON_GetStringValue(text ? text : regex);
    if (!s)
        return qk_fail(err, "%s: pre_tokenizer Split: its pattern is neither Regex nor String",
                       where);
    if (read_behavior(json, &stage->behavior, where, err) != 0 ||
        read_bool(json, "invert", false, &stage->invert, where, err) != 0)
        return -1;
    stage->gpt2 = regex && !stage->invert && stage->behavior == QK_PRE_ISOLATED &&
                  strcmp(s, qk_gpt2_pattern) == 0;
    stage->pattern = qk_regex_new(s, text != NULL, err);
    if (!stage->pattern)
        return qk_fail_in(err, "%s: pre_tokenizer Split: ", where);
    return 0;
}

static int read_stage(struct qk_pretoken *p, const cJSON *json, const char *where,
                      struct qk_err *err)
{
    const char *type;
    if (qk_json_text(json, "type", &type, where, err) != 0)
        return qk_fail_in(err, "%s: pre_tokenizer: ", where);
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "pretokenizers"), *one;
        if (!cJSON_IsArray(list))
            return qk_fail(err, "%s: pre_tokenizer Sequence has no \"pretokenizers\"", where);
        cJSON_ArrayForEach(one, list) if (read_stage(p, one, where, err) != 0) return -1;
        return 0;
    }
    if (p->count > 0 && p->stages[p->count - 1].kind == QK_PRE_BYTE_LEVEL)
        return qk_fail(err, "%s: pre_tokenizer %s behind ByteLevel is not supported", where, type);
    if (p->count == QK_MOST_PRE_STAGES)
        return qk_fail(err, "%s: more than %d pre_tokenizers are not supported", where,
                       QK_MOST_PRE_STAGES);
    struct qk_pre_stage *stage = &p->stages[p->count++];
    *stage = (struct qk_pre_stage){0};
    if (strcmp(type, "Split") == 0)
        return read_split(stage, json, where, err);
    if (strcmp(type, "Digits") == 0) {
        stage->kind = QK_PRE_DIGITS;
        return read_bool(json, "individual_digits", false, &stage->individual, where, err);
    }
    if (strcmp(type, "ByteLevel") == 0) {
        stage->kind = QK_PRE_BYTE_LEVEL;
        if (read_bool(json, "add_prefix_space", true, &stage->add_prefix_space, where, err) != 0)
            return -1;
        return read_bool(json, "use_regex", true, &stage->gpt2, where, err);
    }
    return qk_fail(err, "%s: pre_tokenizer %s is not supported", where, type);
}

int qk_pretoken_parse(struct qk_pretoken *p, const cJSON *json, const char *where,
                      struct qk_err *err)
{
    p->count = 0;
    if (!json || cJSON_IsNull(json))
        return qk_fail(err, "%s: it has no pre_tokenizer, so it is not a byte-level tokenizer",
                       where);
    if (read_stage(p, json, where, err) == 0) {
        if (p->count > 0 && p->stages[p->count - 1].kind == QK_PRE_BYTE_LEVEL)
            return 0;
        qk_fail(err, "%s: its pre_tokenizer has no ByteLevel: only byte-level BPE is supported",
                where);
    }
    qk_pretoken_free(p);
    return -1;
}
