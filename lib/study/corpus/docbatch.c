#include "study/corpus/docbatch.h"

#include <stdlib.h>
#include <string.h>

/* A unit takes a thread a fraction of a millisecond: little is waited for at the end of a stage. */
enum { MOST_DOCUMENTS = 4096, UNIT_BYTES = 1 << 14 };

void qk_batch_work_free(struct qk_batch_work *work)
{
    qk_corpus_work_free(&work->corpus);
    qk_encode_work_free(&work->encode);
}

/* ---- units ---- */

/* A document of many megabytes leaves no more room behind than others. */
static void empty(struct qk_batch *b)
{
    const size_t usual = 2 * (b->most_bytes / UNIT_BYTES + 1);
    for (size_t u = 0; u < b->units_made; u++)
        if (u >= usual || b->units[u].ids.capacity > 2 * UNIT_BYTES)
            qk_ids_free(&b->units[u].ids);
    if (b->text.capacity > 4 * b->most_bytes)
        qk_buffer_free(&b->text);
    b->count = b->text.size = b->unit_count = b->piece_count = 0;
}

static struct qk_batch_unit *add_unit(struct qk_batch *b, size_t first)
{
    if (b->unit_count == b->units_made) {
        qk_grow(&b->units, &b->unit_capacity, b->unit_count + 1, sizeof *b->units);
        b->units[b->units_made++].ids = (struct qk_ids){0};
    }
    struct qk_batch_unit *u = &b->units[b->unit_count++];
    u->first = first;
    u->count = u->ids.count = 0;
    u->failed = false;
    return u;
}

static int first_failure(const struct qk_batch *b, struct qk_err *err)
{
    for (size_t u = 0; u < b->unit_count; u++)
        if (b->units[u].failed) {
            *err = b->units[u].err;
            return -1;
        }
    return 0;
}

/* ---- reading ---- */

int qk_batch_read(struct qk_batch *b, struct qk_corpus *c, struct qk_err *err)
{
    struct qk_batch_unit *unit = NULL;
    struct qk_document d;
    size_t unit_end = 0;
    int got = 1;
    empty(b);
    while (b->count < MOST_DOCUMENTS && b->text.size < b->most_bytes &&
           (got = qk_corpus_raw(c, &d, err)) > 0) {
        if (!unit || b->text.size >= unit_end) {
            unit = add_unit(b, b->count);
            unit_end = b->text.size + UNIT_BYTES;
        }
        unit->count++;
        qk_grow(&b->items, &b->capacity, b->count + 1, sizeof *b->items);
        b->items[b->count++] =
            (struct qk_batch_item){.raw = d, .start = b->text.size, .size = d.size};
        qk_buffer_add(&b->text, d.text, d.size);
    }
    return got;
}

/* ---- checking ---- */

/* The text, which is never longer than the raw one, takes its place. */
static int check_item(struct qk_batch *b, struct qk_batch_item *item, const struct qk_corpus *c,
                      uint64_t seed, struct qk_batch_work *work, struct qk_err *err)
{
    struct qk_document d = item->raw;
    d.text = b->text.at + item->start;
    int kept = qk_corpus_check(c, &work->corpus, &d, err);
    item->kept = kept > 0;
    if (kept <= 0)
        return kept;
    if (d.text != b->text.at + item->start)
        memcpy(b->text.at + item->start, d.text, d.size);
    item->size = d.size;
    item->hash = qk_dochash(d.text, d.size, seed);
    return 0;
}

void qk_batch_check(struct qk_batch *b, size_t unit, const struct qk_corpus *c, uint64_t seed,
                    struct qk_batch_work *work)
{
    struct qk_batch_unit *u = &b->units[unit];
    for (size_t i = u->first; i < u->first + u->count && !u->failed; i++)
        u->failed = check_item(b, &b->items[i], c, seed, work, &u->err) != 0;
}

int qk_batch_checked(struct qk_batch *b, struct qk_err *err)
{
    size_t kept = 0;
    if (first_failure(b, err) != 0)
        return -1;
    for (size_t i = 0; i < b->count; i++)
        if (b->items[i].kept)
            b->items[kept++] = b->items[i];
    b->count = kept;
    return 0;
}

/* ---- encoding ---- */

static void add_piece(struct qk_batch *b, size_t start, size_t size)
{
    qk_grow(&b->pieces, &b->piece_capacity, b->piece_count + 1, sizeof *b->pieces);
    b->pieces[b->piece_count++] = (struct qk_batch_piece){.start = start, .size = size};
}

static void cut_item(struct qk_batch *b, struct qk_batch_item *item, const struct qk_tokenizer *t)
{
    item->first_piece = b->piece_count;
    for (size_t at = 0; at < item->size;) {
        size_t left = item->size - at, n = left;
        if (left > 2 * UNIT_BYTES)
            n = qk_tokenizer_cut(t, b->text.at + item->start + at, left, UNIT_BYTES);
        add_piece(b, item->start + at, n);
        at += n;
    }
    item->pieces = b->piece_count - item->first_piece;
}

void qk_batch_cut(struct qk_batch *b, const struct qk_tokenizer *t)
{
    struct qk_batch_unit *unit = NULL;
    size_t bytes = 0;
    b->unit_count = b->piece_count = 0;
    for (size_t i = 0; i < b->count; i++)
        if (b->items[i].wanted)
            cut_item(b, &b->items[i], t);
    for (size_t k = 0; k < b->piece_count; k++) {
        if (!unit || bytes >= UNIT_BYTES) {
            unit = add_unit(b, k);
            bytes = 0;
        }
        unit->count++;
        bytes += b->pieces[k].size;
        b->pieces[k].unit = b->unit_count - 1;
    }
}

void qk_batch_encode(struct qk_batch *b, size_t unit, const struct qk_tokenizer *t,
                     struct qk_batch_work *work)
{
    struct qk_batch_unit *u = &b->units[unit];
    for (size_t k = u->first; k < u->first + u->count && !u->failed; k++) {
        struct qk_batch_piece *p = &b->pieces[k];
        p->first = u->ids.count;
        u->failed =
            qk_encode(t, &work->encode, b->text.at + p->start, p->size, &u->ids, &u->err) != 0;
        p->count = u->ids.count - p->first;
    }
}

int qk_batch_encoded(const struct qk_batch *b, struct qk_err *err)
{
    return first_failure(b, err);
}

void qk_batch_ids(const struct qk_batch *b, size_t i, struct qk_ids *room)
{
    const struct qk_batch_item *item = &b->items[i];
    room->count = 0;
    for (size_t k = item->first_piece; k < item->first_piece + item->pieces; k++)
        qk_ids_add(room, qk_batch_piece_ids(b, &b->pieces[k]), b->pieces[k].count);
}

void qk_batch_free(struct qk_batch *b)
{
    for (size_t u = 0; u < b->units_made; u++)
        qk_ids_free(&b->units[u].ids);
    free(b->units);
    free(b->pieces);
    free(b->items);
    qk_buffer_free(&b->text);
    *b = (struct qk_batch){0};
}
