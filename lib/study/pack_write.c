#include "pack_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/h5.h"
#include "base/num.h"
#include "probe_docs.h"

enum { ZSTD_LEVEL = 1, FLUSH_TOKENS = 1 << 20, BATCH_BYTES = 4 << 20 };

/* Tokens and offsets of one split on their way into the file. */
struct split_writer {
    struct qk_h5 *file;
    char *tokens, *docs; /* object names */
    enum qk_type type;
    struct qk_ids waiting;
    uint64_t *offsets;
    size_t offset_count, offset_capacity;
    int64_t written; /* tokens, those waiting included */
    uint16_t *narrow;
};

static int begin_split(struct split_writer *w, struct qk_h5 *file, const char *name,
                       enum qk_type type, struct qk_err *err)
{
    *w = (struct split_writer){.file = file,
                               .tokens = qk_format("/%s/tokens", name),
                               .docs = qk_format("/%s/docs", name),
                               .type = type,
                               .narrow = qk_alloc(FLUSH_TOKENS, sizeof(uint16_t))};
    qk_grow(&w->offsets, &w->offset_capacity, 1, sizeof *w->offsets);
    w->offsets[w->offset_count++] = 0;
    if (qk_h5_create_growing(file, w->tokens, type, ZSTD_LEVEL, err) != 0)
        return -1;
    return qk_h5_create_growing(file, w->docs, QK_U64, ZSTD_LEVEL, err);
}

static int flush_tokens(struct split_writer *w, struct qk_err *err)
{
    for (size_t at = 0; at < w->waiting.count; at += FLUSH_TOKENS) {
        size_t n = w->waiting.count - at < FLUSH_TOKENS ? w->waiting.count - at : FLUSH_TOKENS;
        const void *from = w->waiting.at + at;
        if (w->type == QK_U16) {
            for (size_t i = 0; i < n; i++)
                w->narrow[i] = (uint16_t)w->waiting.at[at + i];
            from = w->narrow;
        }
        if (qk_h5_append(w->file, w->tokens, w->type, (int64_t)n, from, err) != 0)
            return -1;
    }
    w->waiting.count = 0;
    int bad = qk_h5_append(w->file, w->docs, QK_U64, (int64_t)w->offset_count, w->offsets, err);
    w->offset_count = 0;
    return bad;
}

static int add_document(struct split_writer *w, const uint32_t *ids, size_t n, struct qk_err *err)
{
    qk_ids_add(&w->waiting, ids, n);
    w->written += (int64_t)n;
    qk_grow(&w->offsets, &w->offset_capacity, w->offset_count + 1, sizeof *w->offsets);
    w->offsets[w->offset_count++] = (uint64_t)w->written;
    return w->waiting.count >= FLUSH_TOKENS ? flush_tokens(w, err) : 0;
}

static int end_split(struct split_writer *w, int failed, struct qk_err *err)
{
    if (!failed)
        failed = flush_tokens(w, err);
    free(w->tokens);
    free(w->docs);
    free(w->offsets);
    free(w->narrow);
    qk_ids_free(&w->waiting);
    return failed;
}

/* ---- first reading: who goes where ---- */

struct run {
    struct qk_packing *p;
    struct qk_selection selection;
    struct qk_probe_docs probe_docs;
    struct qk_docset left_out; /* documents that the copied probe batch holds */
    struct qk_batch batch;
    int64_t read; /* documents, in one reading */
};

static void show(const struct run *r, const char *note)
{
    if (r->p->progress)
        qk_progress_show(r->p->progress, r->read, note);
}

/* Whether the copied probe batch holds the document; noted for the second reading. */
static bool leave_out(struct run *r, const struct qk_batch_item *item)
{
    if (!qk_probe_docs_have(&r->probe_docs, &item->ids))
        return false;
    qk_docset_add(&r->left_out, item->hash);
    return true;
}

static int select_documents(struct run *r, struct qk_err *err)
{
    struct qk_packing *p = r->p;
    struct qk_batch *b = &r->batch;
    int got;
    qk_selection_begin(&r->selection, p->wishes, p->wish_count);
    if (p->wish_count == 0)
        return 0;
    qk_corpus_rewind(p->corpus);
    while ((got = qk_batch_read(b, p->corpus, p->seed, err)) > 0) {
        for (size_t i = 0; i < b->count; i++)
            b->items[i].wanted = qk_selection_wants(&r->selection, b->items[i].hash);
        if (qk_batch_encode(b, p->tokenizer, p->end_documents ? p->eot : -1, err) != 0)
            return -1;
        for (size_t i = 0; i < b->count; i++)
            if (b->items[i].wanted && !leave_out(r, &b->items[i]))
                qk_selection_offer(&r->selection, b->items[i].hash, &b->items[i].ids,
                                   b->items[i].size);
        r->read += (int64_t)b->count;
        show(r, "choosing the splits");
    }
    return got < 0 ? -1 : qk_selection_assign(&r->selection, p->wishes, p->wish_count, err);
}

/* ---- second reading: train ---- */

/* Which documents of the batch go to train: new ones that nobody took. */
static void mark_batch(struct run *r, struct qk_docset *seen)
{
    struct qk_packing *p = r->p;
    for (size_t i = 0; i < r->batch.count; i++) {
        struct qk_batch_item *item = &r->batch.items[i];
        bool fresh = qk_docset_add(seen, item->hash);
        item->wanted = false;
        if (!fresh) {
            p->duplicates++;
        } else if (qk_docset_has(&r->left_out, item->hash)) {
            p->in_probe_from++;
        } else {
            p->documents++;
            p->bytes += (int64_t)item->size;
            item->wanted = !qk_selection_took(&r->selection, item->hash);
        }
    }
}

static int write_batch(struct run *r, struct split_writer *train, struct qk_h5 *file,
                       enum qk_type type, struct qk_err *err)
{
    struct qk_packing *p = r->p;
    for (size_t i = 0; i < r->batch.count; i++) {
        const struct qk_batch_item *item = &r->batch.items[i];
        if (!item->wanted)
            continue;
        if (qk_probe_docs_have(&r->probe_docs, &item->ids)) {
            p->in_probe_from++;
            p->documents--;
            p->bytes -= (int64_t)item->size;
            continue;
        }
        if (!train->file && begin_split(train, file, "train", type, err) != 0)
            return -1; /* begun with its first document: an empty split is left out */
        p->train_documents++;
        p->train_tokens += (int64_t)item->ids.count;
        if (add_document(train, item->ids.at, item->ids.count, err) != 0)
            return -1;
    }
    return 0;
}

static int write_train(struct run *r, struct qk_h5 *file, enum qk_type type, struct qk_err *err)
{
    struct qk_packing *p = r->p;
    struct split_writer train = {0};
    struct qk_docset seen = {0};
    int got, failed = 0;
    int64_t before = r->read, eot = p->end_documents ? p->eot : -1;
    r->read = 0;
    qk_corpus_rewind(p->corpus);
    while (!failed && (got = qk_batch_read(&r->batch, p->corpus, p->seed, err)) != 0) {
        if (got > 0)
            mark_batch(r, &seen);
        failed = got < 0 || qk_batch_encode(&r->batch, p->tokenizer, eot, err) != 0 ||
                 write_batch(r, &train, file, type, err) != 0;
        r->read += (int64_t)r->batch.count;
        show(r, "packing");
    }
    qk_docset_free(&seen);
    if (!failed && before > 0 && before != r->read)
        failed = qk_fail(err, "the inputs changed while they were read");
    return train.file ? end_split(&train, failed, err) : failed;
}

/* ---- the file ---- */

static int write_split(const struct qk_selection *s, const struct qk_split_wish *w,
                       struct qk_h5 *file, enum qk_type type, struct qk_err *err)
{
    struct split_writer out;
    int failed = begin_split(&out, file, w->name, type, err);
    for (size_t i = w->first; !failed && i < w->first + w->documents; i++)
        failed = add_document(&out, s->heap[i].ids, s->heap[i].count, err);
    return end_split(&out, failed, err);
}

/* ids[sequences * length] as /probe/tokens. */
static int write_probe(struct qk_h5 *file, enum qk_type type, int64_t sequences, int64_t length,
                       const uint32_t *ids, struct qk_err *err)
{
    int64_t n = sequences * length, dims[] = {sequences, length};
    uint16_t *narrow = NULL;
    if (type == QK_U16) {
        narrow = qk_alloc((size_t)n, sizeof *narrow);
        for (int64_t i = 0; i < n; i++)
            narrow[i] = (uint16_t)ids[i];
    }
    const void *from = narrow ? (const void *)narrow : ids;
    int bad = qk_h5_write(file, "/probe/tokens", type, 2, dims, type, from, ZSTD_LEVEL, err);
    free(narrow);
    return bad;
}

static int write_chosen_probe(struct qk_packing *p, const struct qk_selection *s,
                              struct qk_h5 *file, enum qk_type type, struct qk_err *err)
{
    const struct qk_split_wish *w = &p->wishes[p->probe];
    struct qk_ids all = {0};
    for (size_t i = w->first; i < w->first + w->documents; i++)
        qk_ids_add(&all, s->heap[i].ids, s->heap[i].count);
    int bad = write_probe(file, type, p->probe_sequences, p->probe_length, all.at, err);
    qk_ids_free(&all);
    return bad;
}

static int write_head(const struct qk_packing *p, struct qk_h5 *file, struct qk_err *err)
{
    const struct qk_tokenizer *t = p->tokenizer;
    int64_t size = (int64_t)t->json.size;
    if (qk_h5_put_text(file, "/", "kind", "tokens", err) != 0 ||
        qk_h5_put_int(file, "/", "version", 1, err) != 0 ||
        qk_h5_put_int(file, "/", "vocab_size", t->vocab_size, err) != 0)
        return -1;
    if (p->eot >= 0 && qk_h5_put_int(file, "/", "eot", p->eot, err) != 0)
        return -1;
    return qk_h5_write(file, "/tokenizer", QK_U8, 1, &size, QK_U8, t->json.at, ZSTD_LEVEL, err);
}

static int write_all(struct run *r, struct qk_h5 *file, struct qk_err *err)
{
    struct qk_packing *p = r->p;
    enum qk_type type = p->tokenizer->vocab_size > 65536 ? QK_U32 : QK_U16;
    if (write_head(p, file, err) != 0)
        return -1;
    for (int i = 0; i < p->wish_count; i++) {
        if (i == p->probe ? write_chosen_probe(p, &r->selection, file, type, err) != 0
                          : write_split(&r->selection, &p->wishes[i], file, type, err) != 0)
            return -1;
        p->tokens += i == p->probe ? p->probe_sequences * p->probe_length : p->wishes[i].held;
    }
    if (p->probe_from && write_probe(file, type, r->probe_docs.sequences, r->probe_docs.length,
                                     (const uint32_t *)r->probe_docs.tokens, err) != 0)
        return -1;
    if (write_train(r, file, type, err) != 0)
        return -1;
    p->tokens += p->train_tokens;
    return 0;
}

static int check_memory(const struct qk_packing *p, struct qk_err *err)
{
    int64_t wished = 0;
    char tokens[32], bytes[32];
    for (int i = 0; i < p->wish_count; i++)
        if (__builtin_add_overflow(wished, p->wishes[i].tokens, &wished))
            wished = INT64_MAX / 8;
    if (wished <= p->memory / 8)
        return 0;
    return qk_fail(err, "splits and probe of %s tokens need --memory %s or more",
                   qk_group_digits(wished, tokens), qk_group_digits(8 * wished, bytes));
}

int qk_pack_write(struct qk_packing *p, const char *path, const struct qk_provenance *provenance,
                  struct qk_err *err)
{
    struct run r = {.p = p};
    struct qk_h5 *file = NULL;
    int failed = check_memory(p, err);
    r.batch.most_bytes = p->memory / 64 < BATCH_BYTES ? (size_t)p->memory / 64 : BATCH_BYTES;
    if (!failed && p->probe_from)
        failed = qk_probe_docs_read(&r.probe_docs, p->probe_from, p->tokenizer, err);
    if (!failed)
        failed = select_documents(&r, err);
    if (!failed) {
        file = qk_h5_create(path, err);
        failed = !file || write_all(&r, file, err) != 0 ||
                 qk_provenance_to_h5(provenance, file, err) != 0;
    }
    if (file && failed)
        qk_h5_discard(file);
    else if (file)
        failed = qk_h5_commit(file, err);
    qk_batch_free(&r.batch);
    qk_selection_free(&r.selection);
    qk_probe_docs_free(&r.probe_docs);
    qk_docset_free(&r.left_out);
    return failed ? -1 : 0;
}

int qk_pack_count_words(struct qk_corpus *corpus, struct qk_word_counts *counts, int64_t memory,
                        uint64_t seed, int64_t *documents, bool *all, struct qk_err *err)
{
    struct qk_docset seen = {0};
    struct qk_document d;
    int got;
    *documents = 0;
    *all = true;
    qk_corpus_rewind(corpus);
    while ((got = qk_corpus_next(corpus, &d, err)) > 0) {
        if (!qk_docset_add(&seen, qk_dochash(d.text, d.size, seed)))
            continue;
        if ((int64_t)qk_word_counts_bytes(counts) > memory) {
            *all = false;
            break;
        }
        qk_word_counts_add(counts, d.text, d.size);
        ++*documents;
    }
    qk_docset_free(&seen);
    return got < 0 ? -1 : 0;
}
