#include "docbatch.h"

#include <omp.h>
#include <stdlib.h>

#include "base/threads.h"

enum { MOST_DOCUMENTS = 4096 };

static struct qk_batch_item *add_item(struct qk_batch *b)
{
    if (b->count == b->capacity) {
        size_t old = b->capacity;
        qk_grow(&b->items, &b->capacity, b->count + 1, sizeof *b->items);
        for (size_t i = old; i < b->capacity; i++)
            b->items[i] = (struct qk_batch_item){0};
    }
    return &b->items[b->count++];
}

int qk_batch_read(struct qk_batch *b, struct qk_corpus *c, uint64_t seed, struct qk_err *err)
{
    struct qk_document d;
    int got = 1;
    b->count = 0;
    b->text.size = 0;
    while (b->count < MOST_DOCUMENTS && b->text.size < b->most_bytes &&
           (got = qk_corpus_next(c, &d, err)) > 0) {
        struct qk_batch_item *item = add_item(b);
        item->start = b->text.size;
        item->size = d.size;
        item->wanted = false;
        item->ids.count = 0;
        qk_buffer_add(&b->text, d.text, d.size);
    }
    if (got < 0)
        return -1;
#pragma omp parallel for schedule(dynamic, 16) num_threads(qk_threads())
    for (size_t i = 0; i < b->count; i++)
        b->items[i].hash = qk_dochash(qk_batch_text(b, i), b->items[i].size, seed);
    return b->count > 0;
}

int qk_batch_encode(struct qk_batch *b, const struct qk_tokenizer *t, int64_t eot,
                    struct qk_err *err)
{
    struct qk_err first = {0};
    int failed = 0;
    if (!b->work) {
        b->threads = qk_threads();
        b->work = qk_zalloc((size_t)b->threads, sizeof *b->work);
    }
#pragma omp parallel for schedule(dynamic, 4) num_threads(b->threads)
    for (size_t i = 0; i < b->count; i++) {
        struct qk_batch_item *item = &b->items[i];
        struct qk_err one;
        if (!item->wanted)
            continue;
        item->ids.count = 0;
        int bad = qk_encode(t, &b->work[omp_get_thread_num()], qk_batch_text(b, i), item->size,
                            &item->ids, &one);
        if (eot >= 0)
            qk_ids_add(&item->ids, &(uint32_t){(uint32_t)eot}, 1);
        if (bad)
#pragma omp critical
        {
            failed = 1;
            first = one;
        }
    }
    if (failed)
        *err = first;
    return failed ? -1 : 0;
}

void qk_batch_free(struct qk_batch *b)
{
    for (size_t i = 0; i < b->capacity; i++)
        qk_ids_free(&b->items[i].ids);
    for (int i = 0; i < b->threads; i++)
        qk_encode_work_free(&b->work[i]);
    free(b->work);
    free(b->items);
    qk_buffer_free(&b->text);
    *b = (struct qk_batch){0};
}
