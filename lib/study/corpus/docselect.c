#include "study/corpus/docselect.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"

void qk_selection_begin(struct qk_selection *s, const struct qk_split_wish *wishes, int splits)
{
    *s = (struct qk_selection){.splits = splits};
    for (int i = 0; i < splits; i++)
        s->wished += wishes[i].tokens;
}

bool qk_selection_wants(const struct qk_selection *s, struct qk_dochash hash)
{
    return s->splits > 0 && (!s->bounded || qk_dochash_before(hash, s->bound)) &&
           !qk_docset_has(&s->seen, hash);
}

static void sift_down(struct qk_selection *s, size_t i, struct qk_chosen c)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->count)
            break;
        if (child + 1 < s->count && qk_dochash_before(s->heap[child].hash, s->heap[child + 1].hash))
            child++;
        if (!qk_dochash_before(c.hash, s->heap[child].hash))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = c;
}

/* Give up documents of greatest hash while the others suffice whatever else comes.  A split takes
 * whole documents, so each may hold up to one document more than it wished: hence `largest`. */
static void trim(struct qk_selection *s)
{
    int64_t need = s->wished + s->splits * s->largest;
    while (s->count > 0 && s->tokens - (int64_t)s->heap[0].count >= need) {
        s->bounded = true;
        s->bound = s->heap[0].hash;
        s->tokens -= (int64_t)s->heap[0].count;
        free(s->heap[0].ids);
        struct qk_chosen last = s->heap[--s->count];
        if (s->count > 0)
            sift_down(s, 0, last);
    }
}

void qk_selection_offer(struct qk_selection *s, struct qk_dochash hash, const struct qk_ids *ids,
                        size_t bytes)
{
    if (!qk_selection_wants(s, hash)) /* an earlier one of the same batch may have changed that */
        return;
    qk_docset_add(&s->seen, hash);
    struct qk_chosen c = {hash, qk_alloc(ids->count, sizeof *c.ids), ids->count, bytes};
    if (ids->count)
        memcpy(c.ids, ids->at, ids->count * sizeof *c.ids);
    qk_grow(&s->heap, &s->capacity, s->count + 1, sizeof *s->heap);
    size_t i = s->count++;
    for (; i > 0 && qk_dochash_before(s->heap[(i - 1) / 2].hash, hash); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = c;
    s->tokens += (int64_t)c.count;
    if ((int64_t)c.count > s->largest)
        s->largest = (int64_t)c.count;
    trim(s);
}

static int by_hash(const void *a, const void *b)
{
    const struct qk_chosen *x = a, *y = b;
    return qk_dochash_before(x->hash, y->hash) ? -1 : qk_dochash_before(y->hash, x->hash);
}

int qk_selection_assign(struct qk_selection *s, struct qk_split_wish *wishes, int splits,
                        struct qk_err *err)
{
    size_t next = 0;
    if (s->count)
        qsort(s->heap, s->count, sizeof *s->heap, by_hash);
    for (int i = 0; i < splits; i++) {
        struct qk_split_wish *w = &wishes[i];
        w->first = next;
        w->held = 0;
        while (next < s->count && w->held < w->tokens)
            w->held += (int64_t)s->heap[next++].count;
        w->documents = next - w->first;
        if (w->held < w->tokens) {
            char wished[32], all[32];
            return qk_fail(err, "the inputs hold %s tokens, too few for %s of %s tokens%s",
                           qk_group_digits(s->tokens, all), w->name,
                           qk_group_digits(w->tokens, wished),
                           i > 0 ? " after the splits before it" : "");
        }
    }
    qk_docset_free(&s->seen);
    s->bounded = true; /* from now on: the first hash that was not taken */
    for (size_t i = next; i < s->count; i++)
        free(s->heap[i].ids);
    s->count = next;
    if (next > 0)
        s->bound = s->heap[next - 1].hash;
    return 0;
}

bool qk_selection_took(const struct qk_selection *s, struct qk_dochash hash)
{
    return s->count > 0 && !qk_dochash_before(s->bound, hash);
}

void qk_selection_free(struct qk_selection *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->heap[i].ids);
    free(s->heap);
    qk_docset_free(&s->seen);
    *s = (struct qk_selection){0};
}
