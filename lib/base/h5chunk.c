#include "base/h5chunk.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/fletcher.h"
#include "base/h5zstd.h"
#include "base/mem.h"

_Static_assert(sizeof(hid_t) == sizeof(int64_t), "hid_t is passed as int64_t");

enum { BATCH = 8 }; /* chunks that are encoded while as many others are written */

/* ---- the filters ---- */

/* Byte k of every item together.  The common item sizes get loops the compiler can vectorise. */
#define SHUFFLE_ITEMS(size)                                                                        \
    for (size_t i = 0; i < n; i++)                                                                 \
        for (size_t k = 0; k < (size); k++)                                                        \
            to[k * n + i] = from[i * (size) + k];

static void shuffle(unsigned char *restrict to, const unsigned char *restrict from, size_t bytes,
                    size_t item)
{
    const size_t n = bytes / item;
    if (item == 2) {
        SHUFFLE_ITEMS(2)
    } else if (item == 4) {
        SHUFFLE_ITEMS(4)
    } else {
        SHUFFLE_ITEMS(item)
    }
}

/* ---- how chunks lie ---- */

static bool is_our_pipeline(hid_t list, int *zstd)
{
    int n = H5Pget_nfilters(list);
    static const int with[] = {H5Z_FILTER_SHUFFLE, QK_H5_ZSTD, H5Z_FILTER_FLETCHER32};
    static const int without[] = {H5Z_FILTER_FLETCHER32};
    const int *wanted = n == 3 ? with : without;
    if (n != 3 && n != 1)
        return false;
    for (int i = 0; i < n; i++) {
        unsigned flags;
        size_t none = 0;
        if (H5Pget_filter2(list, (unsigned)i, &flags, &none, NULL, 0, NULL, NULL) != wanted[i])
            return false;
    }
    *zstd = n == 3;
    return true;
}

int qk_h5_chunk_layout(int64_t set, struct qk_h5_layout *l)
{
    *l = (struct qk_h5_layout){0};
    hid_t list = H5Dget_create_plist(set), space = H5Dget_space(set), type = H5Dget_type(set);
    hsize_t dims[H5S_MAX_RANK], chunk[H5S_MAX_RANK];
    int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    bool fits = rank >= 1 && rank <= 4 && H5Pget_layout(list) == H5D_CHUNKED &&
                H5Pget_chunk(list, rank, chunk) == rank && is_our_pipeline(list, &l->zstd_level);
    bool cut = false;
    for (int i = 0; fits && i < rank; i++) {
        fits = dims[i] > 0 && (!cut ? true : chunk[i] == dims[i]);
        cut = cut || chunk[i] != 1;
        l->dims[i] = dims[i];
        l->chunk[i] = chunk[i];
    }
    l->rank = rank;
    l->item = H5Tget_size(type);
    H5Tclose(type);
    H5Sclose(space);
    H5Pclose(list);
    return fits;
}

struct qk_h5_walk qk_h5_walk_of(const struct qk_h5_layout *l)
{
    struct qk_h5_walk w = {.row_bytes = l->item, .slabs = 1};
    while (w.cut < l->rank - 1 && l->chunk[w.cut] == 1)
        w.cut++;
    for (int i = w.cut + 1; i < l->rank; i++)
        w.row_bytes *= l->dims[i];
    for (int i = 0; i < w.cut; i++)
        w.slabs *= l->dims[i];
    w.per_slab = (l->dims[w.cut] + l->chunk[w.cut] - 1) / l->chunk[w.cut];
    w.chunk_bytes = w.row_bytes * l->chunk[w.cut];
    return w;
}

void qk_h5_locate(const struct qk_h5_layout *l, const struct qk_h5_walk *w, uint64_t i,
                  hsize_t *start, size_t *first, size_t *bytes)
{
    uint64_t slab = i / w->per_slab, row = i % w->per_slab * l->chunk[w->cut];
    uint64_t rows = l->dims[w->cut] - row;
    if (rows > l->chunk[w->cut])
        rows = l->chunk[w->cut];
    *first = (slab * l->dims[w->cut] + row) * w->row_bytes;
    *bytes = rows * w->row_bytes;
    for (int d = 0; d < l->rank; d++)
        start[d] = 0;
    start[w->cut] = row;
    for (int d = w->cut - 1; d >= 0; d--) {
        start[d] = slab % l->dims[d];
        slab /= l->dims[d];
    }
}

/* ---- memory that is kept ---- */

unsigned char *qk_h5_room(struct qk_h5_room *room, size_t bytes)
{
    if (bytes > room->bytes) {
        qk_h5_room_free(room);
        room->at = qk_big_alloc(bytes);
        room->bytes = bytes;
    }
    return room->at;
}

void qk_h5_room_free(struct qk_h5_room *room)
{
    qk_big_free(room->at, room->bytes);
    *room = (struct qk_h5_room){0};
}

/* ---- writing ---- */

static size_t encode(unsigned char *to, size_t room, unsigned char *scratch, const void *from,
                     size_t bytes, size_t whole, const struct qk_h5_layout *l)
{
    unsigned char *plain = l->zstd_level > 0 ? scratch : to;
    memcpy(plain, from, bytes);
    memset(plain + bytes, 0, whole - bytes);
    size_t used = whole;
    if (l->zstd_level > 0) {
        shuffle(scratch + whole, plain, whole, l->item);
        used = ZSTD_compress(to, room, scratch + whole, whole, l->zstd_level);
        if (ZSTD_isError(used))
            return 0;
    }
    struct qk_fletcher s = {0, 0};
    qk_fletcher_add(&s, to, used);
    const uint32_t sum = qk_fletcher_sum(&s);
    for (int k = 0; k < QK_H5_SUM; k++)
        to[used + (size_t)k] = (unsigned char)(sum >> 8 * k);
    return used + QK_H5_SUM;
}

/* One array on its way: two batches of chunks, one being encoded while the other is written. */
struct writing {
    hid_t set;
    const struct qk_h5_layout *l;
    struct qk_h5_walk w;
    const unsigned char *from;
    uint64_t count;
    size_t room, each;     /* of an encoded chunk, and with its scratch */
    unsigned char *memory; /* [2 * BATCH] times `each` */
    size_t used[2 * BATCH];
};

static void encode_chunk(struct writing *c, uint64_t i)
{
    const uint64_t slot = i % (2 * BATCH);
    unsigned char *to = c->memory + slot * c->each;
    hsize_t start[4];
    size_t at, bytes;
    qk_h5_locate(c->l, &c->w, i, start, &at, &bytes);
    c->used[slot] =
        encode(to, c->room, to + c->room + QK_H5_SUM, c->from + at, bytes, c->w.chunk_bytes, c->l);
}

static int put_chunks(const struct writing *c, uint64_t first, uint64_t end)
{
    int bad = 0;
    for (uint64_t i = first; i < end && !bad; i++) {
        const uint64_t slot = i % (2 * BATCH);
        hsize_t start[4];
        size_t at, bytes;
        qk_h5_locate(c->l, &c->w, i, start, &at, &bytes);
        bad = c->used[slot] == 0 || H5Dwrite_chunk(c->set, H5P_DEFAULT, 0, start, c->used[slot],
                                                   c->memory + slot * c->each) < 0;
    }
    return bad ? -1 : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int qk_h5_write_chunks(int64_t set, const struct qk_h5_layout *l, const void *from,
                       struct qk_h5_room *room)
{
    struct writing c = {.set = set, .l = l, .w = qk_h5_walk_of(l), .from = from};
    const size_t whole = c.w.chunk_bytes;
    c.count = c.w.slabs * c.w.per_slab;
    c.room = l->zstd_level > 0 ? ZSTD_compressBound(whole) : whole;
    c.each = c.room + QK_H5_SUM + (l->zstd_level > 0 ? 2 * whole : 0);
    c.memory = qk_h5_room(room, least(c.count, 2 * BATCH) * c.each);
    int bad = 0;
#pragma omp parallel if (c.count > 1)
    for (uint64_t first = 0; first < c.count + BATCH; first += BATCH) {
        const uint64_t end = least(first + BATCH, c.count);
        /* only this one thread speaks with HDF5, and in the order of the file */
#pragma omp master
        if (first > 0 && !bad)
            bad = put_chunks(&c, first - BATCH, least(first, c.count));
#pragma omp for schedule(dynamic)
        for (uint64_t i = first; i < end; i++)
            encode_chunk(&c, i);
    }
    return bad;
}
