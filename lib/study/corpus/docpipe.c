#include "study/corpus/docpipe.h"

#include <omp.h>
#include <stdlib.h>

#include "base/threads.h"

enum { BATCH_BYTES = 2 << 20 };
enum stage { READING, CHECKING, ENCODING, TAKING, STAGES };

struct flow {
    const struct qk_pipe *p;
    struct qk_batch batches[STAGES];
    struct qk_batch *at[STAGES]; /* the batch that is in a stage */
    struct qk_batch_work *work;  /* one per thread */
    int threads;
    int got; /* of the last reading: 1, 0 at the end, -1 */
    struct qk_err read_error;
};

static void begin(struct flow *f, const struct qk_pipe *p)
{
    *f = (struct flow){.p = p, .threads = qk_threads(), .got = 1};
    f->work = qk_zalloc((size_t)f->threads, sizeof *f->work);
    for (int i = 0; i < f->threads; i++)
        f->work[i].encode.cache_bytes = (size_t)p->memory / 16 / (size_t)f->threads;
    for (int s = 0; s < STAGES; s++) {
        f->batches[s].most_bytes =
            p->memory / 64 < BATCH_BYTES ? (size_t)p->memory / 64 : BATCH_BYTES;
        f->at[s] = &f->batches[s];
    }
}

static void end(struct flow *f)
{
    for (int s = 0; s < STAGES; s++)
        qk_batch_free(&f->batches[s]);
    for (int i = 0; i < f->threads; i++)
        qk_batch_work_free(&f->work[i]);
    free(f->work);
}

static size_t bytes_under_way(const struct flow *f)
{
    size_t bytes = 0;
    for (int s = CHECKING; s < STAGES; s++)
        bytes += f->at[s]->text.size;
    return bytes;
}

/* Every batch into the next stage; the one that was taken is to be filled again. */
static void advance(struct flow *f)
{
    struct qk_batch *last = f->at[TAKING];
    for (int s = TAKING; s > READING; s--)
        f->at[s] = f->at[s - 1];
    f->at[READING] = last;
    last->count = last->unit_count = last->text.size = 0;
}

static void read_batch(struct flow *f)
{
    /* large documents one after the other */
    if (f->got > 0 && bytes_under_way(f) <= (size_t)f->p->memory / 32)
        f->got = qk_batch_read(f->at[READING], f->p->corpus, &f->read_error);
}

/* Each batch through its stage. */
static int work_once(struct flow *f, struct qk_err *err)
{
    const struct qk_pipe *p = f->p;
    struct qk_batch *checking = f->at[CHECKING], *encoding = f->at[ENCODING];
    int failed = 0;
    p->mark(p->context, encoding);
    qk_batch_cut(encoding, p->tokenizer);
#pragma omp parallel num_threads(f->threads)
#pragma omp master
    {
#pragma omp task
        read_batch(f);
        for (size_t u = 0; u < encoding->unit_count; u++) {
#pragma omp task
            qk_batch_encode(encoding, u, p->tokenizer, &f->work[omp_get_thread_num()]);
        }
        for (size_t u = 0; u < checking->unit_count; u++) {
#pragma omp task
            qk_batch_check(checking, u, p->corpus, p->seed, &f->work[omp_get_thread_num()]);
        }
        failed = p->take(p->context, f->at[TAKING], err);
    }
    if (failed || qk_batch_encoded(encoding, err) != 0)
        return -1;
    return qk_batch_checked(checking, err);
}

static bool is_dry(const struct flow *f)
{
    bool any = f->got > 0;
    for (int s = READING; s < STAGES; s++)
        any |= f->at[s]->count > 0;
    return !any;
}

int qk_pipe_run(const struct qk_pipe *p, struct qk_err *err)
{
    struct flow f;
    int failed = 0;
    begin(&f, p);
    qk_corpus_rewind(p->corpus);
    while (!failed && !is_dry(&f)) {
        failed = work_once(&f, err);
        advance(&f);
    }
    if (!failed && f.got < 0) { /* what was read before is through */
        *err = f.read_error;
        failed = -1;
    }
    end(&f);
    return failed;
}
