#include "study/text/bpe_train.h"

#include <stdlib.h>
#include <string.h>

/* ---- counting words ---- */

static size_t hash_word(const char *s, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001B3u;
    return (size_t)(h ^ h >> 31);
}

/* Slots of the hash tables at first: powers of two. */
enum { WORD_SLOTS = 1 << 12, PAIR_SLOTS = 1 << 16 };

static uint32_t *word_slot(const struct qk_word_counts *c, const char *s, size_t n)
{
    for (size_t i = hash_word(s, n);; i++) {
        uint32_t *slot = &c->index[i & c->index_mask];
        if (*slot == 0)
            return slot;
        const struct qk_counted_word *w = &c->words[*slot - 1];
        if (w->size == n && memcmp(c->pool + w->start, s, n) == 0)
            return slot;
    }
}

static void enlarge_words(struct qk_word_counts *c)
{
    c->index_mask = c->index ? 2 * c->index_mask + 1 : WORD_SLOTS - 1;
    free(c->index);
    c->index = qk_zalloc(c->index_mask + 1, sizeof *c->index);
    for (size_t i = 0; i < c->count; i++)
        *word_slot(c, c->pool + c->words[i].start, c->words[i].size) = (uint32_t)i + 1;
}

void qk_word_counts_word(struct qk_word_counts *c, const char *s, size_t n)
{
    if (!c->index || 2 * (c->count + 1) > c->index_mask)
        enlarge_words(c);
    uint32_t *slot = word_slot(c, s, n);
    if (*slot == 0) {
        qk_grow(&c->words, &c->capacity, c->count + 1, sizeof *c->words);
        qk_grow(&c->pool, &c->pool_capacity, c->pool_size + n, 1);
        memcpy(c->pool + c->pool_size, s, n);
        c->words[c->count] = (struct qk_counted_word){c->pool_size, (uint32_t)n, 0};
        c->pool_size += n;
        *slot = (uint32_t)++c->count;
    }
    c->words[*slot - 1].count++;
}

int64_t qk_word_counts_of(const struct qk_word_counts *c, const char *word, size_t n)
{
    uint32_t number = c->index ? *word_slot(c, word, n) : 0;
    return number ? c->words[number - 1].count : 0;
}

void qk_word_counts_add(struct qk_word_counts *c, const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t k = qk_gpt2_word(text + i, n - i);
        qk_word_counts_word(c, text + i, k);
        i += k;
    }
}

size_t qk_word_counts_bytes(const struct qk_word_counts *c)
{
    return c->capacity * sizeof *c->words + c->pool_capacity +
           (c->index ? (c->index_mask + 1) * sizeof *c->index : 0);
}

void qk_word_counts_free(struct qk_word_counts *c)
{
    free(c->words);
    free(c->pool);
    free(c->index);
    *c = (struct qk_word_counts){0};
}

/* ---- pairs ---- */

struct pair {
    uint64_t key; /* left << 32 | right */
    int64_t count;
    uint32_t *words; /* those it may occur in; never fewer */
    size_t word_count, word_capacity;
    bool touched, merged;
};

struct candidate {
    int64_t count; /* of the pair when it was pushed: never less than its true count now */
    uint64_t key;
    uint32_t pair;
};

struct training {
    struct qk_tokenizer *t;
    uint32_t *symbols; /* all words, end to end */
    size_t *start;     /* [words]: where a word begins in symbols */
    uint32_t *length;  /* [words] */
    int64_t *weight;   /* [words]: how often the word occurs */
    struct pair *pairs;
    size_t pair_count, pair_capacity;
    uint32_t *index; /* pair number + 1 */
    size_t index_mask;
    struct candidate *heap;
    size_t heap_count, heap_capacity;
    uint32_t *touched;
    size_t touched_count, touched_capacity;
    uint32_t (*merges)[2];
    size_t merge_count, merge_capacity;
};

static uint32_t *pair_slot(const struct training *g, uint64_t key)
{
    for (size_t i = (size_t)((key * 0x9E3779B97F4A7C15u) >> 20);; i++) {
        uint32_t *slot = &g->index[i & g->index_mask];
        if (*slot == 0 || g->pairs[*slot - 1].key == key)
            return slot;
    }
}

static uint32_t pair_number(struct training *g, uint32_t left, uint32_t right)
{
    uint64_t key = (uint64_t)left << 32 | right;
    if (!g->index || 2 * (g->pair_count + 1) > g->index_mask) {
        g->index_mask = g->index ? 2 * g->index_mask + 1 : PAIR_SLOTS - 1;
        free(g->index);
        g->index = qk_zalloc(g->index_mask + 1, sizeof *g->index);
        for (size_t i = 0; i < g->pair_count; i++)
            *pair_slot(g, g->pairs[i].key) = (uint32_t)i + 1;
    }
    uint32_t *slot = pair_slot(g, key);
    if (*slot == 0) {
        qk_grow(&g->pairs, &g->pair_capacity, g->pair_count + 1, sizeof *g->pairs);
        g->pairs[g->pair_count] = (struct pair){.key = key};
        *slot = (uint32_t)++g->pair_count;
    }
    return *slot - 1;
}

/* More of the pair in a word: remembered, to be pushed when the merge is through. */
static void gain(struct training *g, uint32_t left, uint32_t right, uint32_t word)
{
    uint32_t number = pair_number(g, left, right);
    struct pair *p = &g->pairs[number];
    p->count += g->weight[word];
    if (p->word_count == 0 || p->words[p->word_count - 1] != word) {
        qk_grow(&p->words, &p->word_capacity, p->word_count + 1, sizeof *p->words);
        p->words[p->word_count++] = word;
    }
    if (!p->touched) {
        p->touched = true;
        qk_grow(&g->touched, &g->touched_capacity, g->touched_count + 1, sizeof *g->touched);
        g->touched[g->touched_count++] = number;
    }
}

static void lose(struct training *g, uint32_t left, uint32_t right, uint32_t word)
{
    g->pairs[pair_number(g, left, right)].count -= g->weight[word];
}

/* ---- the heap: most frequent first, then least ids ---- */

static bool before(struct candidate a, struct candidate b)
{
    return a.count != b.count ? a.count > b.count : a.key < b.key;
}

static void push(struct training *g, uint32_t number)
{
    struct candidate c = {g->pairs[number].count, g->pairs[number].key, number};
    qk_grow(&g->heap, &g->heap_capacity, g->heap_count + 1, sizeof *g->heap);
    size_t i = g->heap_count++;
    for (; i > 0 && before(c, g->heap[(i - 1) / 2]); i = (i - 1) / 2)
        g->heap[i] = g->heap[(i - 1) / 2];
    g->heap[i] = c;
}

static struct candidate pop(struct training *g)
{
    struct candidate top = g->heap[0], last = g->heap[--g->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= g->heap_count)
            break;
        if (child + 1 < g->heap_count && before(g->heap[child + 1], g->heap[child]))
            child++;
        if (!before(g->heap[child], last))
            break;
        g->heap[i] = g->heap[child];
        i = child;
    }
    g->heap[i] = last;
    return top;
}

static void push_touched(struct training *g)
{
    for (size_t i = 0; i < g->touched_count; i++) {
        struct pair *p = &g->pairs[g->touched[i]];
        p->touched = false;
        if (p->count > 0)
            push(g, g->touched[i]);
    }
    g->touched_count = 0;
}

/* ---- merging ---- */

/* Every left,right of a word becomes `id`, from the left. */
static void merge_in_word(struct training *g, uint32_t word, uint32_t left, uint32_t right,
                          uint32_t id)
{
    uint32_t *s = g->symbols + g->start[word], n = g->length[word], to = 0;
    for (uint32_t i = 0; i < n;) {
        if (i + 1 == n || s[i] != left || s[i + 1] != right) {
            s[to++] = s[i++];
            continue;
        }
        if (to > 0) {
            lose(g, s[to - 1], left, word);
            gain(g, s[to - 1], id, word);
        }
        if (i + 2 < n) {
            lose(g, right, s[i + 2], word);
            gain(g, id, s[i + 2], word);
        }
        s[to++] = id;
        i += 2;
    }
    g->length[word] = to;
}

/* The id of the two tokens' bytes together, a new one when there is none. */
static uint32_t joined_id(struct qk_tokenizer *t, uint32_t left, uint32_t right)
{
    const struct qk_token *a = &t->tokens[left], *b = &t->tokens[right];
    size_t n = a->size + b->size;
    char *bytes = qk_alloc(n, 1);
    memcpy(bytes, t->pool + a->start, a->size);
    memcpy(bytes + a->size, t->pool + b->start, b->size);
    int64_t id = qk_tokenizer_lookup(t, bytes, n, false);
    if (id < 0) {
        id = t->vocab_size;
        qk_tokenizer_set(t, (uint32_t)id, bytes, n, false);
    }
    free(bytes);
    return (uint32_t)id;
}

static void merge_pair(struct training *g, uint32_t number)
{
    struct pair p = g->pairs[number]; /* the table may move below */
    uint32_t left = (uint32_t)(p.key >> 32), right = (uint32_t)p.key;
    uint32_t id = joined_id(g->t, left, right);
    if (!p.merged) {
        qk_grow(&g->merges, &g->merge_capacity, g->merge_count + 1, sizeof *g->merges);
        g->merges[g->merge_count][0] = left;
        g->merges[g->merge_count][1] = right;
        qk_merges_put(&g->t->merges, left, right, (uint32_t)g->merge_count++, id);
    }
    g->pairs[number].words = NULL;
    g->pairs[number].word_count = g->pairs[number].word_capacity = 0;
    for (size_t i = 0; i < p.word_count; i++)
        merge_in_word(g, p.words[i], left, right, id);
    free(p.words);
    g->pairs[number].count = 0; /* none is left, whatever overlaps were counted off */
    g->pairs[number].merged = true;
    push_touched(g);
}

static void begin_words(struct training *g, const struct qk_word_counts *c)
{
    size_t total = 0;
    g->symbols = qk_alloc(c->pool_size, sizeof *g->symbols);
    g->start = qk_alloc(c->count, sizeof *g->start);
    g->length = qk_alloc(c->count, sizeof *g->length);
    g->weight = qk_alloc(c->count, sizeof *g->weight);
    for (size_t w = 0; w < c->count; w++) {
        const struct qk_counted_word *word = &c->words[w];
        g->start[w] = total;
        g->length[w] = word->size;
        g->weight[w] = word->count;
        for (uint32_t i = 0; i < word->size; i++) {
            unsigned char byte = (unsigned char)c->pool[word->start + i];
            g->symbols[total++] = (uint32_t)g->t->byte_id[byte];
        }
        const uint32_t *s = g->symbols + g->start[w];
        for (uint32_t i = 0; i + 1 < word->size; i++)
            gain(g, s[i], s[i + 1], (uint32_t)w);
    }
    push_touched(g);
}

/* Ids 0 to 256. */
static void begin_alphabet(struct qk_tokenizer *t)
{
    static const char eot[] = "<|endoftext|>";
    uint32_t id = 0;
    qk_tokenizer_init(t);
    qk_tokenizer_set(t, id++, eot, strlen(eot), false);
    for (uint32_t code = 0; code < 324; code++)
        if (qk_char_byte(code) >= 0) {
            char byte = (char)qk_char_byte(code);
            qk_tokenizer_set(t, id++, &byte, 1, false);
        }
    qk_tokenizer_find_bytes(t);
    char text[sizeof eot];
    memcpy(text, eot, sizeof eot);
    qk_tokenizer_add(
        t, &(struct qk_added_token){.text = text, .size = strlen(eot), .id = 0, .special = true});
    qk_pretoken_gpt2(&t->pretoken);
}

static void free_training(struct training *g)
{
    for (size_t i = 0; i < g->pair_count; i++)
        free(g->pairs[i].words);
    free(g->pairs);
    free(g->symbols);
    free(g->start);
    free(g->length);
    free(g->weight);
    free(g->index);
    free(g->heap);
    free(g->touched);
    free(g->merges);
}

void qk_bpe_train(struct qk_tokenizer *t, const struct qk_word_counts *counts, int64_t vocab_size,
                  void (*progress)(void *context, int64_t entries), void *context)
{
    struct training g = {.t = t};
    begin_alphabet(t);
    qk_merges_init(&t->merges, (size_t)vocab_size);
    begin_words(&g, counts);
    while (t->vocab_size < vocab_size && g.heap_count > 0) {
        struct candidate c = pop(&g);
        int64_t count = g.pairs[c.pair].count;
        if (c.count != count) { /* it has lost occurrences since */
            if (count > 0)
                push(&g, c.pair);
            continue;
        }
        merge_pair(&g, c.pair);
        if (progress && t->vocab_size % 256 == 0)
            progress(context, t->vocab_size);
    }
    qk_tokenizer_finish(t);
    qk_tokenizer_write_json(t, (const uint32_t(*)[2])g.merges, g.merge_count);
    free_training(&g);
}
