#include "base/h5file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/fletcher.h"
#include "base/mem.h"

#define UNSHUFFLE_ITEMS(size)                                                                      \
    for (size_t i = 0; i < n; i++)                                                                 \
        for (size_t k = 0; k < (size); k++)                                                        \
            to[i * (size) + k] = from[k * n + i];

static void unshuffle(unsigned char *restrict to, const unsigned char *restrict from, size_t bytes,
                      size_t item)
{
    const size_t n = bytes / item;
    if (item == 2) {
        UNSHUFFLE_ITEMS(2)
    } else if (item == 4) {
        UNSHUFFLE_ITEMS(4)
    } else {
        UNSHUFFLE_ITEMS(item)
    }
}

/* ---- the filters, undone ---- */

static uint32_t fletcher32(const unsigned char *p, size_t n)
{
    struct qk_fletcher s = {0, 0};
    qk_fletcher_add(&s, p, n);
    return qk_fletcher_sum(&s);
}

static const char *const bad_sum = "data error detected by Fletcher32 checksum";
static const char *const bad_size = "a chunk has the wrong size";
static const char *const unreadable = "a chunk cannot be read";

static uint32_t stored_sum(const unsigned char *at)
{
    uint32_t sum = 0;
    for (int k = 0; k < QK_H5_SUM; k++)
        sum |= (uint32_t)at[k] << 8 * k;
    return sum;
}

static const char *decode(unsigned char *to, size_t bytes, unsigned char *raw, size_t n,
                          unsigned char *scratch, size_t whole, const struct qk_h5_layout *l)
{
    if (n < QK_H5_SUM)
        return "a chunk is cut short";
    n -= QK_H5_SUM;
    if (fletcher32(raw, n) != stored_sum(raw + n))
        return bad_sum;
    if (l->zstd_level == 0) {
        if (n != whole)
            return bad_size;
        memcpy(to, raw, bytes);
        return NULL;
    }
    if (ZSTD_decompress(scratch, whole, raw, n) != whole)
        return "a chunk cannot be decompressed";
    if (bytes == whole) {
        unshuffle(to, scratch, whole, l->item);
    } else {
        unshuffle(scratch + whole, scratch, whole, l->item);
        memcpy(to, scratch + whole, bytes);
    }
    return NULL;
}

/* ---- a chunk past the library ---- */

enum {
    PIECE = 1 << 17, /* bytes that are read and then summed while they are in the cache */
    BATCH = 16,      /* chunks under way at once, where HDF5 reads them */
    /* To find a chunk HDF5 1.10 walks over all that come before it: steps that are worth while. */
    MOST_STEPS = 1 << 20,
};

struct found {
    haddr_t where;
    hsize_t size;
};

/* The descriptor of a file whose bytes lie as HDF5 addresses them and are all written; -1: of a
 * file that is not so. */
static int descriptor(hid_t set)
{
    unsigned intent = H5F_ACC_RDWR;
    hsize_t userblock = 1;
    int *fd = NULL, got = -1;
    hid_t file = H5Iget_file_id(set);
    if (file < 0)
        return -1;
    hid_t access = H5Fget_access_plist(file), creation = H5Fget_create_plist(file);
    if (H5Fget_intent(file, &intent) >= 0 && intent == H5F_ACC_RDONLY &&
        H5Pget_driver(access) == H5FD_SEC2 && H5Pget_userblock(creation, &userblock) >= 0 &&
        userblock == 0 && H5Fget_vfd_handle(file, access, (void **)&fd) >= 0 && fd)
        got = *fd;
    H5Pclose(access);
    H5Pclose(creation);
    H5Fclose(file);
    return got;
}

static bool read_at(int fd, void *to, size_t bytes, haddr_t from)
{
    for (char *at = to; bytes > 0;) {
        ssize_t n = pread(fd, at, bytes, (off_t)from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        from += (haddr_t)n;
        bytes -= (size_t)n;
    }
    return true;
}

/* A chunk without zstd: straight to its place, each piece summed when it has just been read.  What
 * the chunk has beyond `bytes` is padding.  *finite becomes false when a float is not. */
static const char *read_plain(int fd, const struct found *chunk, unsigned char *to, size_t bytes,
                              size_t whole, unsigned char *scratch, bool *finite)
{
    struct qk_fletcher s = {0, 0};
    unsigned char sum[QK_H5_SUM];
    if (chunk->size != whole + QK_H5_SUM)
        return bad_size;
    for (size_t at = 0; at < whole;) {
        bool inside = at < bytes;
        size_t n = (inside ? bytes : whole) - at;
        unsigned char *piece = inside ? to + at : scratch;
        if (n > PIECE)
            n = PIECE;
        if (!read_at(fd, piece, n, chunk->where + at))
            return unreadable;
        qk_fletcher_add(&s, piece, n);
        if (finite && inside && !qk_all_finite((const float *)(const void *)piece, n / 4))
            *finite = false;
        at += n;
    }
    if (!read_at(fd, sum, QK_H5_SUM, chunk->where + whole))
        return unreadable;
    return qk_fletcher_sum(&s) == stored_sum(sum) ? NULL : bad_sum;
}

/* ---- what is to be read ---- */

/* Bytes of the array that are wanted, and the chunks that hold them. */
struct wanted {
    const struct qk_h5_layout *l;
    struct qk_h5_walk w;
    size_t from, end;      /* bytes of the array in memory order */
    uint64_t first, count; /* chunks */
    unsigned char *to;
    bool widen, look;
};

static uint64_t chunk_with(const struct wanted *k, size_t byte)
{
    const uint64_t row = byte / k->w.row_bytes, rows = k->l->dims[k->w.cut];
    return row / rows * k->w.per_slab + row % rows / k->l->chunk[k->w.cut];
}

static struct wanted wanted_of(const struct qk_h5_layout *l, const struct qk_h5_want *want)
{
    struct wanted k = {.l = l,
                       .w = qk_h5_walk_of(l),
                       .to = want->to,
                       .widen = want->widen,
                       .look = want->finite != NULL};
    size_t row = l->item;
    for (int i = 1; i < l->rank; i++)
        row *= l->dims[i];
    k.from = want->first * row;
    k.end = (want->first + want->count) * row;
    k.first = chunk_with(&k, k.from);
    k.count = chunk_with(&k, k.end - 1) - k.first + 1;
    return k;
}

/* Chunk i of those wanted. */
struct piece {
    hsize_t start[4];
    size_t at, bytes;        /* in the array, without padding */
    size_t from, end;        /* what of that is wanted, in the array */
    unsigned char *straight; /* where all of it goes as it is; NULL when it goes otherwise */
};

static struct piece piece_of(const struct wanted *k, uint64_t i)
{
    struct piece p;
    qk_h5_locate(k->l, &k->w, k->first + i, p.start, &p.at, &p.bytes);
    p.from = p.at > k->from ? p.at : k->from;
    p.end = p.at + p.bytes < k->end ? p.at + p.bytes : k->end;
    const bool whole = p.end - p.from == p.bytes;
    p.straight = whole && !k->widen ? k->to + (p.at - k->from) : NULL;
    return p;
}

/* What is wanted of a chunk at `all`, to its place; whether it is finite, when that is asked. */
static bool keep(const struct wanted *k, const struct piece *p, const unsigned char *all)
{
    const size_t bytes = p->end - p->from, place = p->from - k->from;
    unsigned char *to = k->to + place;
    int64_t floats = (int64_t)(bytes / sizeof(float));
    if (k->widen) {
        to += place;
        floats = (int64_t)(bytes / sizeof(uint16_t));
        qk_bf16_spread((float *)(void *)to, all + (p->from - p->at), floats);
    } else if (!p->straight) {
        memcpy(to, all + (p->from - p->at), bytes);
    }
    return !k->look || qk_all_finite((const float *)(const void *)to, floats);
}

/* A chunk as stored, at raw; scratch of three chunks. */
static const char *decode_piece(const struct wanted *k, const struct piece *p, unsigned char *raw,
                                size_t n, unsigned char *scratch, bool *finite)
{
    const size_t whole = k->w.chunk_bytes;
    unsigned char *to = p->straight ? p->straight : scratch + 2 * whole;
    const char *bad = decode(to, p->bytes, raw, n, scratch, whole, k->l);
    if (!bad && !keep(k, p, to))
        *finite = false;
    return bad;
}

/* ---- reading past the library ---- */

static const char *read_piece(int fd, const struct found *found, const struct wanted *k,
                              const struct piece *p, size_t raw, unsigned char *scratch,
                              bool *finite)
{
    if (k->l->zstd_level == 0 && p->straight && p->bytes % 2 == 0) /* pieces of whole words */
        return read_plain(fd, found, p->straight, p->bytes, k->w.chunk_bytes, scratch,
                          k->look ? finite : NULL);
    if (!read_at(fd, scratch, found->size, found->where))
        return unreadable;
    return decode_piece(k, p, scratch, found->size, scratch + raw, finite);
}

/* All chunks on all threads; `raw` bytes hold the largest as stored. */
static const char *read_found(int fd, const struct found *found, const struct wanted *k, size_t raw,
                              bool *finite)
{
    const char *reason = NULL;
    int64_t first_bad = (int64_t)k->count;
    bool all = true;
#pragma omp parallel if (k->count > 1) reduction(&& : all)
    {
        unsigned char *scratch = qk_alloc(raw + 3 * k->w.chunk_bytes, 1);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < (int64_t)k->count; i++) {
            const struct piece p = piece_of(k, (uint64_t)i);
            const char *bad = read_piece(fd, &found[i], k, &p, raw, scratch, &all);
#pragma omp critical(h5chunk_reason)
            if (bad && i < first_bad) {
                first_bad = i;
                reason = bad;
            }
        }
        free(scratch);
    }
    *finite = all;
    return reason;
}

/* Where every chunk lies; the largest one's size, or 0 when one is missing or was stored past a
 * filter. */
static size_t find_chunks(struct found *found, hid_t set, const struct wanted *k)
{
    size_t most = 0;
    for (uint64_t i = 0; i < k->count; i++) {
        const struct piece p = piece_of(k, i);
        unsigned skipped = 1;
        if (H5Dget_chunk_info_by_coord(set, p.start, &skipped, &found[i].where, &found[i].size) <
                0 ||
            skipped || found[i].where == HADDR_UNDEF || found[i].size == 0 ||
            found[i].size > 2 * k->w.chunk_bytes + 4096)
            return 0;
        most = found[i].size > most ? found[i].size : most;
    }
    return most;
}

/* 1 when read, 0 when the library has to do it, else -1 and a reason. */
static int read_past(hid_t set, const struct wanted *k, bool *finite, const char **reason)
{
    const uint64_t all = k->w.slabs * k->w.per_slab;
    int fd = k->count <= MOST_STEPS / all ? descriptor(set) : -1;
    if (fd < 0)
        return 0;
    struct found *found = qk_alloc(k->count, sizeof *found);
    const size_t raw = find_chunks(found, set, k);
    if (raw)
        *reason = read_found(fd, found, k, raw, finite);
    free(found);
    return *reason ? -1 : raw != 0;
}

/* ---- reading through it ---- */

/* Room for the largest chunk as stored; 0 when one is missing or was stored past a filter. */
static size_t largest_chunk(hid_t set, const struct wanted *k)
{
    size_t most = 0;
    for (uint64_t i = 0; i < k->count; i++) {
        const struct piece p = piece_of(k, i);
        hsize_t n = 0;
        if (H5Dget_chunk_storage_size(set, p.start, &n) < 0 || n == 0 ||
            n > 2 * k->w.chunk_bytes + 4096)
            return 0;
        most = n > most ? n : most;
    }
    return most;
}

/* Up to BATCH chunks from the i-th on: fetched one by one, decoded on all threads. */
static const char *read_batch(hid_t set, const struct wanted *k, uint64_t i, size_t raw,
                              unsigned char *memory, bool *finite)
{
    const size_t each = raw + 3 * k->w.chunk_bytes;
    const int n = k->count - i < BATCH ? (int)(k->count - i) : BATCH;
    hsize_t stored[BATCH];
    const char *bad[BATCH] = {0}, *reason = NULL;
    bool all = true;
    for (int b = 0; b < n; b++) {
        const struct piece p = piece_of(k, i + (uint64_t)b);
        uint32_t skipped = 0;
        if (H5Dget_chunk_storage_size(set, p.start, &stored[b]) < 0 ||
            H5Dread_chunk(set, H5P_DEFAULT, p.start, &skipped, memory + (size_t)b * each) < 0 ||
            skipped)
            return unreadable;
    }
#pragma omp parallel for schedule(dynamic) reduction(&& : all)
    for (int b = 0; b < n; b++) {
        const struct piece p = piece_of(k, i + (uint64_t)b);
        unsigned char *at = memory + (size_t)b * each;
        bad[b] = decode_piece(k, &p, at, stored[b], at + raw, &all);
    }
    *finite = *finite && all;
    for (int b = 0; b < n; b++)
        reason = reason ? reason : bad[b];
    return reason;
}

int qk_h5_read_chunks(int64_t set, const struct qk_h5_layout *l, const struct qk_h5_want *want,
                      const char **reason)
{
    const struct wanted k = wanted_of(l, want);
    bool finite = true;
    *reason = NULL;
    int done = read_past(set, &k, &finite, reason);
    if (done == 0) {
        const size_t raw = largest_chunk(set, &k);
        if (!raw)
            return -1;
        const uint64_t batch = k.count < BATCH ? k.count : BATCH;
        unsigned char *memory = qk_alloc(batch, raw + 3 * k.w.chunk_bytes);
        for (uint64_t i = 0; i < k.count && !*reason; i += BATCH)
            *reason = read_batch(set, &k, i, raw, memory, &finite);
        free(memory);
    }
    if (want->finite)
        *want->finite = finite;
    return *reason ? -1 : 0;
}
