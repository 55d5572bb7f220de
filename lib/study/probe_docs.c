#include "probe_docs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int check_tokenizer(struct qk_pack *pack, const char *path, const struct qk_tokenizer *t,
                           struct qk_err *err)
{
    struct qk_buffer theirs = {0};
    if (pack->vocab_size != t->vocab_size)
        return qk_fail(err, "%s: its vocabulary of %" PRId64 " is not this tokenizer's of %" PRId64,
                       path, pack->vocab_size, t->vocab_size);
    if (!qk_h5_has(pack->file, "/tokenizer"))
        return 0;
    int failed = qk_pack_tokenizer(pack, &theirs, err);
    if (!failed && (theirs.size != t->json.size || memcmp(theirs.at, t->json.at, theirs.size) != 0))
        failed = qk_fail(err, "%s: its probe batch was made with another tokenizer", path);
    qk_buffer_free(&theirs);
    return failed;
}

static void note_documents(struct qk_probe_docs *p)
{
    int64_t n = p->sequences * p->length, start = 0;
    for (int64_t i = 0; i < n; i++)
        if (p->tokens[i] == p->eot) {
            size_t bytes = (size_t)(i + 1 - start) * sizeof *p->tokens;
            qk_docset_add(&p->whole, qk_dochash(p->tokens + start, bytes, 0));
            start = i + 1;
        }
    p->tail = p->whole.count ? n - start : 0;
}

int qk_probe_docs_read(struct qk_probe_docs *p, const char *path, const struct qk_tokenizer *t,
                       struct qk_err *err)
{
    struct qk_pack pack;
    *p = (struct qk_probe_docs){0};
    if (qk_pack_open(&pack, path, err) != 0)
        return -1;
    p->eot = pack.eot;
    int failed = check_tokenizer(&pack, path, t, err);
    if (!failed)
        failed = qk_pack_probe(&pack, &p->tokens, &p->sequences, &p->length, err);
    qk_pack_close(&pack);
    if (!failed && p->sequences == 0)
        failed = qk_fail(err, "%s: has no probe batch", path);
    if (failed) {
        qk_probe_docs_free(p);
        return -1;
    }
    note_documents(p);
    return 0;
}

bool qk_probe_docs_have(const struct qk_probe_docs *p, const struct qk_ids *ids)
{
    if (p->whole.count == 0 || ids->count == 0)
        return false;
    const int32_t *tail = p->tokens + p->sequences * p->length - p->tail;
    size_t cut = (size_t)p->tail * sizeof *tail;
    if (p->tail > 0 && ids->count >= (size_t)p->tail && memcmp(tail, ids->at, cut) == 0)
        return true;
    return qk_docset_has(&p->whole, qk_dochash(ids->at, ids->count * sizeof *ids->at, 0));
}

void qk_probe_docs_free(struct qk_probe_docs *p)
{
    free(p->tokens);
    qk_docset_free(&p->whole);
    *p = (struct qk_probe_docs){0};
}
