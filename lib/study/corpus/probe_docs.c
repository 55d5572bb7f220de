#include "study/corpus/probe_docs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_CUT = 16 };

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

static int by_token(const void *a, const void *b)
{
    const struct qk_probe_place *x = a, *y = b;
    if (x->token != y->token)
        return x->token < y->token ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void note_places(struct qk_probe_docs *p)
{
    const int64_t n = p->sequences * p->length;
    for (int64_t i = 0; i < n; i++)
        p->ended |= p->tokens[i] == p->eot;
    p->places = qk_alloc((size_t)n, sizeof *p->places);
    for (int64_t i = 0; i < n; i++)
        if (!p->ended || i == 0 || p->tokens[i - 1] == p->eot)
            p->places[p->place_count++] = (struct qk_probe_place){p->tokens[i], i};
    qsort(p->places, p->place_count, sizeof *p->places, by_token);
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
    note_places(p);
    return 0;
}

/* The first place with that token, or where it would be. */
static size_t first_place(const struct qk_probe_docs *p, int32_t token)
{
    size_t low = 0, high = p->place_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->places[middle].token < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct qk_probe_docs *p, int64_t at, const uint32_t *ids, int64_t count)
{
    const int64_t rest = p->sequences * p->length - at;
    if (memcmp(p->tokens + at, ids, (size_t)(count < rest ? count : rest) * sizeof *ids) != 0)
        return false;
    if (count > rest) /* cut */
        return p->ended || at == 0 || rest >= LEAST_CUT;
    return !p->ended || count == rest || p->tokens[at + count] == p->eot;
}

bool qk_probe_docs_have(const struct qk_probe_docs *p, const struct qk_ids *ids)
{
    int64_t count = (int64_t)ids->count;
    if (count > 0 && ids->at[count - 1] == (uint32_t)p->eot)
        count--;
    if (count == 0)
        return false;
    const int32_t first = (int32_t)ids->at[0];
    for (size_t i = first_place(p, first); i < p->place_count && p->places[i].token == first; i++)
        if (is_at(p, p->places[i].at, ids->at, count))
            return true;
    return false;
}

void qk_probe_docs_free(struct qk_probe_docs *p)
{
    free(p->tokens);
    free(p->places);
    *p = (struct qk_probe_docs){0};
}
