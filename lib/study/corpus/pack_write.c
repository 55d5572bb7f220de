#include "study/corpus/pack_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/h5.h"
#include "base/num.h"
#include "study/corpus/docpipe.h"
#include "study/corpus/probe_docs.h"

enum { ZSTD_LEVEL = 1, FLUSH_TOKENS = 1 << 20, FLUSH_DOCUMENTS = 1 << 20 };

/* Tokens and offsets of one split on their way into the file. */
struct split_writer {
    struct qk_h5 *file;
    char *tokens, *docs; /* object names */
    enum qk_type type;
    void *waiting; /* [FLUSH_TOKENS] of that type */
    int64_t count;
    bool full; /* tokens were appended since the last flush */
    uint64_t *offsets;
    size_t offset_count, offset_capacity;
    int64_t written; /* tokens, those waiting included */
};

static int begin_split(struct split_writer *w, struct qk_h5 *file, const char *name,
                       enum qk_type type, struct qk_err *err)
{
    *w = (struct split_writer){.file = file,
                               .tokens = qk_format("/%s/tokens", name),
                               .docs = qk_format("/%s/docs", name),
                               .type = type,
                               .waiting = qk_alloc(FLUSH_TOKENS, qk_type_size(type))};
    qk_grow(&w->offsets, &w->offset_capacity, 1, sizeof *w->offsets);
    w->offsets[w->offset_count++] = 0;
    if (qk_h5_create_growing(file, w->tokens, type, ZSTD_LEVEL, err) != 0)
        return -1;
    return qk_h5_create_growing(file, w->docs, QK_U64, ZSTD_LEVEL, err);
}

static int append_tokens(struct split_writer *w, struct qk_err *err)
{
    int64_t n = w->count;
    w->count = 0;
    return qk_h5_append(w->file, w->tokens, w->type, n, w->waiting, err);
}

static int flush(struct split_writer *w, struct qk_err *err)
{
    size_t n = w->offset_count;
    w->offset_count = 0;
    w->full = false;
    if (append_tokens(w, err) != 0)
        return -1;
    return qk_h5_append(w->file, w->docs, QK_U64, (int64_t)n, w->offsets, err);
}

/* Some ids of a document. */
static int add_ids(struct split_writer *w, const uint32_t *ids, size_t count, struct qk_err *err)
{
    for (size_t at = 0; at < count;) {
        size_t room = (size_t)(FLUSH_TOKENS - w->count), n = count - at < room ? count - at : room;
        if (w->type == QK_U16)
            for (size_t i = 0; i < n; i++)
                ((uint16_t *)w->waiting)[(size_t)w->count + i] = (uint16_t)ids[at + i];
        else
            memcpy((uint32_t *)w->waiting + w->count, ids + at, n * sizeof *ids);
        at += n;
        w->count += (int64_t)n;
        w->written += (int64_t)n;
        if (w->count < FLUSH_TOKENS)
            continue;
        w->full = true;
        if (append_tokens(w, err) != 0)
            return -1;
    }
    return 0;
}

static int end_document(struct split_writer *w, struct qk_err *err)
{
    qk_grow(&w->offsets, &w->offset_capacity, w->offset_count + 1, sizeof *w->offsets);
    w->offsets[w->offset_count++] = (uint64_t)w->written;
    return w->full || w->offset_count >= FLUSH_DOCUMENTS ? flush(w, err) : 0;
}

static int end_split(struct split_writer *w, int failed, struct qk_err *err)
{
    if (!failed)
        failed = flush(w, err);
    free(w->tokens);
    free(w->docs);
    free(w->offsets);
    free(w->waiting);
    return failed;
}

/* ---- first reading: who goes where ---- */

struct run {
    struct qk_packing *p;
    struct qk_selection selection;
    struct qk_probe_docs probe_docs;
    struct qk_docset left_out; /* documents that the copied probe batch holds */
    struct qk_ids ids;         /* of one document */
    int64_t read;              /* documents, in one reading */
    /* second reading */
    struct qk_h5 *file;
    enum qk_type type;
    bool sum_inputs;
    struct qk_docset seen;
    struct split_writer train;
};

static void show(const struct run *r, const char *note)
{
    if (r->p->progress)
        qk_progress_show(r->p->progress, r->read, note);
}

/* All ids of a wanted document, eot behind them. */
static const struct qk_ids *ids_of(struct run *r, const struct qk_batch *b, size_t i)
{
    const uint32_t eot = (uint32_t)r->p->eot;
    qk_batch_ids(b, i, &r->ids);
    if (r->p->end_documents)
        qk_ids_add(&r->ids, &eot, 1);
    return &r->ids;
}

static void mark_candidates(void *context, struct qk_batch *b)
{
    const struct run *r = context;
    for (size_t i = 0; i < b->count; i++)
        b->items[i].wanted = qk_selection_wants(&r->selection, b->items[i].hash);
}

/* Offer the candidates, but for those that the copied probe batch holds: noted for the second
 * reading. */
static int take_candidates(void *context, struct qk_batch *b, struct qk_err *err)
{
    struct run *r = context;
    (void)err;
    for (size_t i = 0; i < b->count; i++) {
        const struct qk_batch_item *item = &b->items[i];
        if (!item->wanted)
            continue;
        const struct qk_ids *ids = ids_of(r, b, i);
        if (qk_probe_docs_have(&r->probe_docs, ids))
            qk_docset_add(&r->left_out, item->hash);
        else
            qk_selection_offer(&r->selection, item->hash, ids, item->size);
    }
    r->read += (int64_t)b->count;
    show(r, "choosing the splits");
    return 0;
}

static int read_corpus(struct run *r, void (*mark)(void *, struct qk_batch *),
                       int (*take)(void *, struct qk_batch *, struct qk_err *), struct qk_err *err)
{
    r->read = 0;
    return qk_pipe_run(&(struct qk_pipe){.corpus = r->p->corpus,
                                         .tokenizer = r->p->tokenizer,
                                         .seed = r->p->seed,
                                         .memory = r->p->memory,
                                         .context = r,
                                         .mark = mark,
                                         .take = take},
                       err);
}

static int select_documents(struct run *r, struct qk_err *err)
{
    struct qk_packing *p = r->p;
    qk_selection_begin(&r->selection, p->wishes, p->wish_count);
    if (p->wish_count == 0)
        return 0;
    if (read_corpus(r, mark_candidates, take_candidates, err) != 0)
        return -1;
    return qk_selection_assign(&r->selection, p->wishes, p->wish_count, err);
}

/* ---- second reading: train ---- */

/* New documents that nobody took go to train. */
static void mark_train(void *context, struct qk_batch *b)
{
    struct run *r = context;
    struct qk_packing *p = r->p;
    for (size_t i = 0; i < b->count; i++) {
        struct qk_batch_item *item = &b->items[i];
        bool fresh = qk_docset_add(&r->seen, item->hash);
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

static int write_document(struct run *r, const struct qk_batch *b, size_t i, struct qk_err *err)
{
    struct split_writer *w = &r->train;
    const struct qk_batch_piece *pieces = b->pieces + b->items[i].first_piece;
    const uint32_t eot = (uint32_t)r->p->eot;
    int64_t before = w->written;
    if (!w->file && begin_split(w, r->file, "train", r->type, err) != 0)
        return -1; /* begun with its first document: an empty split is left out */
    for (size_t k = 0; k < b->items[i].pieces; k++)
        if (add_ids(w, qk_batch_piece_ids(b, &pieces[k]), pieces[k].count, err) != 0)
            return -1;
    if (r->p->end_documents && add_ids(w, &eot, 1, err) != 0)
        return -1;
    r->p->train_documents++;
    r->p->train_tokens += w->written - before;
    return end_document(w, err);
}

static int take_train(void *context, struct qk_batch *b, struct qk_err *err)
{
    struct run *r = context;
    struct qk_packing *p = r->p;
    for (size_t i = 0; i < b->count; i++) {
        const struct qk_batch_item *item = &b->items[i];
        if (!item->wanted)
            continue;
        if (p->probe_from && qk_probe_docs_have(&r->probe_docs, ids_of(r, b, i))) {
            p->in_probe_from++;
            p->documents--;
            p->bytes -= (int64_t)item->size;
        } else if (write_document(r, b, i, err) != 0) {
            return -1;
        }
    }
    r->read += (int64_t)b->count;
    show(r, "packing");
    return 0;
}

static int write_train(struct run *r, struct qk_err *err)
{
    struct qk_packing *p = r->p;
    int64_t before = r->read;
    p->corpus->sum = r->sum_inputs;
    int failed = read_corpus(r, mark_train, take_train, err);
    if (!failed && before > 0 && before != r->read)
        failed = qk_fail(err, "the inputs changed while they were read");
    return r->train.file ? end_split(&r->train, failed, err) : failed;
}

/* ---- the file ---- */

static int write_split(const struct qk_selection *s, const struct qk_split_wish *w,
                       struct qk_h5 *file, enum qk_type type, struct qk_err *err)
{
    struct split_writer out;
    int failed = begin_split(&out, file, w->name, type, err);
    for (size_t i = w->first; !failed && i < w->first + w->documents; i++)
        failed = add_ids(&out, s->heap[i].ids, s->heap[i].count, err) != 0 ||
                 end_document(&out, err) != 0;
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

static int write_all(struct run *r, struct qk_err *err)
{
    struct qk_packing *p = r->p;
    struct qk_h5 *file = r->file;
    enum qk_type type = r->type;
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
    if (write_train(r, err) != 0)
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

int qk_pack_write(struct qk_packing *p, const char *path, struct qk_provenance *provenance,
                  struct qk_err *err)
{
    struct run r = {.p = p,
                    .type = p->tokenizer->vocab_size > 65536 ? QK_U32 : QK_U16,
                    .sum_inputs = !provenance->off};
    int failed = check_memory(p, err);
    if (!failed && p->probe_from)
        failed = qk_probe_docs_read(&r.probe_docs, p->probe_from, p->tokenizer, err);
    if (!failed)
        failed = select_documents(&r, err);
    if (!failed) {
        r.file = qk_h5_create(path, err);
        failed = !r.file || write_all(&r, err) != 0;
    }
    for (size_t i = 0; !failed && i < p->corpus->sums.count; i++)
        qk_provenance_found(provenance, p->corpus->names.at[i], p->corpus->sums.at[i]);
    if (!failed)
        failed = qk_provenance_to_h5(provenance, r.file, err);
    if (r.file && failed)
        qk_h5_discard(r.file);
    else if (r.file)
        failed = qk_h5_commit(r.file, err);
    qk_selection_free(&r.selection);
    qk_probe_docs_free(&r.probe_docs);
    qk_docset_free(&r.left_out);
    qk_docset_free(&r.seen);
    qk_ids_free(&r.ids);
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
