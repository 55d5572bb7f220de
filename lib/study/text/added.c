#include "study/text/added.h"

#include <stdlib.h>
#include <string.h>

#include "study/text/uchar.h"

static int by_byte_then_length(const void *a, const void *b)
{
    const struct qk_added_token *const *p = a, *const *q = b;
    unsigned char x = (unsigned char)(*p)->text[0], y = (unsigned char)(*q)->text[0];
    if (x != y)
        return x < y ? -1 : 1;
    if ((*p)->size != (*q)->size)
        return (*p)->size > (*q)->size ? -1 : 1;
    return strcmp((*p)->text, (*q)->text);
}

void qk_added_build(struct qk_added_set *set, const struct qk_added_token *tokens, size_t count,
                    bool normalized)
{
    *set = (struct qk_added_set){.at = qk_alloc(count + 1, sizeof *set->at)};
    for (size_t i = 0; i < count; i++)
        if (tokens[i].normalized == normalized && tokens[i].size > 0)
            set->at[set->count++] = &tokens[i];
    qsort(set->at, set->count, sizeof *set->at, by_byte_then_length);
    for (size_t i = 0; i < set->count; i++)
        set->first[(unsigned char)set->at[i]->text[0] + 1]++;
    for (int b = 0; b < 256; b++)
        set->first[b + 1] += set->first[b];
    if (set->count > 0 && set->at[0]->text[0] == set->at[set->count - 1]->text[0])
        set->begin = set->at[0]->text;
}

void qk_added_free(struct qk_added_set *set)
{
    free(set->at);
    *set = (struct qk_added_set){0};
}

/* The longest token that begins at `at`. */
static const struct qk_added_token *token_at(const struct qk_added_set *set, const char *at,
                                             size_t left)
{
    unsigned char b = (unsigned char)*at;
    for (size_t i = set->first[b]; i < set->first[b + 1]; i++) {
        const struct qk_added_token *t = set->at[i];
        if (t->size <= left && memcmp(t->text, at, t->size) == 0)
            return t;
    }
    return NULL;
}

/* The start of the character that ends before `end` (> 0). */
static size_t step_back(const char *text, size_t end)
{
    size_t i = end - 1;
    while (i > 0 && ((unsigned char)text[i] & 0xC0) == 0x80)
        i--;
    return i;
}

static bool class_before(const struct qk_added_walk *w, size_t end, unsigned bit)
{
    unsigned width;
    size_t i = step_back(w->text, end);
    return qk_uchar_class(qk_uchar_at(w->text + i, end - i, &width)) & bit;
}

static bool class_after(const struct qk_added_walk *w, size_t at, unsigned bit)
{
    unsigned width;
    return qk_uchar_class(qk_uchar_at(w->text + at, w->size - at, &width)) & bit;
}

static bool stands_alone(const struct qk_added_walk *w, size_t start, size_t stop)
{
    return (start == 0 || !class_before(w, start, QK_WORD)) &&
           (stop == w->size || !class_after(w, stop, QK_WORD));
}

static void widen(const struct qk_added_walk *w, const struct qk_added_token *t, size_t *start,
                  size_t *stop)
{
    while (t->lstrip && *start > w->done && class_before(w, *start, QK_SPACE))
        *start = step_back(w->text, *start);
    while (t->rstrip && *stop < w->size && class_after(w, *stop, QK_SPACE)) {
        unsigned width;
        qk_uchar_at(w->text + *stop, w->size - *stop, &width);
        *stop += width;
    }
}

static const struct qk_added_token *find(const struct qk_added_set *set, struct qk_added_walk *w,
                                         size_t *start, size_t *stop)
{
    for (size_t i = w->search; i < w->size; i++) {
        const char *next = set->begin ? memchr(w->text + i, *set->begin, w->size - i) : w->text + i;
        if (!next)
            break;
        i = (size_t)(next - w->text);
        const struct qk_added_token *t = token_at(set, w->text + i, w->size - i);
        if (!t)
            continue;
        w->search = i + t->size;
        *start = i;
        *stop = i + t->size;
        if (!t->single_word || stands_alone(w, *start, *stop)) {
            widen(w, t, start, stop);
            return t;
        }
        i = w->search - 1; /* refused: matching goes on behind it */
    }
    w->search = w->size;
    return NULL;
}

enum qk_added_part qk_added_next(const struct qk_added_set *set, struct qk_added_walk *w,
                                 const char **at, size_t *size, uint32_t *id)
{
    size_t start = w->size, stop;
    if (w->pending) {
        w->pending = false;
        w->done = w->stop;
        *id = w->token;
        return QK_ADDED_TOKEN;
    }
    const struct qk_added_token *t = set->count ? find(set, w, &start, &stop) : NULL;
    if (t) {
        w->pending = true;
        w->token = t->id;
        w->stop = stop;
        if (start <= w->done) /* no text between */
            return qk_added_next(set, w, at, size, id);
    }
    if (w->done >= w->size)
        return QK_ADDED_END;
    *at = w->text + w->done;
    *size = (t ? start : w->size) - w->done;
    if (!t)
        w->done = w->size;
    return QK_ADDED_TEXT;
}
