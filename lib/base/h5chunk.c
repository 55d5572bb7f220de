#include "base/h5chunk.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/h5zstd.h"
#include "base/mem.h"

_Static_assert(sizeof(hid_t) == sizeof(int64_t), "hid_t is passed as int64_t");

enum { BATCH = 32, CHECKSUM = 4 }; /* chunks under way at once; bytes fletcher32 adds */

/* ---- the filters ---- */

/* Fletcher's checksum as HDF5 computes it: sums of big-endian 16-bit words modulo 65535, where a
 * sum that is not all zeros is written 65535 rather than 0.  In blocks of 256 words, for n words
 * w_i: b grows by n a + sum (n-i) w_i, a by sum w_i; both fit 32 bits and need no carry between
 * words. */
static uint64_t folded(uint64_t x)
{
    return x ? (x - 1) % 65535 + 1 : 0;
}

static uint32_t fletcher32(const unsigned char *p, size_t n)
{
    enum { WORDS = 256 };
    uint64_t a = 0, b = 0;
    for (size_t words = n / 2; words > 0;) {
        uint32_t count = words < WORDS ? (uint32_t)words : WORDS, sum = 0, weighted = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t w = (uint32_t)p[2 * i] << 8 | p[2 * i + 1];
            sum += w;
            weighted += (count - i) * w;
        }
        b = folded(b + count * a + weighted);
        a = folded(a + sum);
        p += 2 * count;
        words -= count;
    }
    if (n % 2) {
        a = folded(a + ((uint32_t)*p << 8));
        b = folded(b + a);
    }
    return (uint32_t)(b << 16 | a);
}

/* Byte k of every item together.  The common item sizes get loops the compiler can vectorise. */
#define SHUFFLE_ITEMS(size)                                                                        \
    for (size_t i = 0; i < n; i++)                                                                 \
        for (size_t k = 0; k < (size); k++)                                                        \
            to[k * n + i] = from[i * (size) + k];

#define UNSHUFFLE_ITEMS(size)                                                                      \
    for (size_t i = 0; i < n; i++)                                                                 \
        for (size_t k = 0; k < (size); k++)                                                        \
            to[i * (size) + k] = from[k * n + i];

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

/* ---- how chunks lie ---- */

struct walk {
    size_t chunk_bytes; /* of a whole chunk */
    size_t row_bytes;   /* one step along the dimension that is cut */
    int cut;            /* that dimension */
    uint64_t per_slab;  /* chunks along it */
    uint64_t slabs;     /* product of the dimensions before it (their chunk size is 1) */
};

static struct walk walk_of(const struct qk_h5_layout *l)
{
    struct walk w = {.row_bytes = l->item, .slabs = 1};
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

/* Where chunk i starts (coordinates), its first byte in memory, and its bytes without padding. */
static void locate(const struct qk_h5_layout *l, const struct walk *w, uint64_t i, hsize_t *start,
                   size_t *first, size_t *bytes)
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
    uint32_t sum = fletcher32(to, used);
    for (int k = 0; k < CHECKSUM; k++)
        to[used + (size_t)k] = (unsigned char)(sum >> 8 * k);
    return used + CHECKSUM;
}

int qk_h5_write_chunks(int64_t set, const struct qk_h5_layout *l, const void *from)
{
    struct walk w = walk_of(l);
    size_t room = l->zstd_level > 0 ? ZSTD_compressBound(w.chunk_bytes) : w.chunk_bytes;
    size_t scratch = l->zstd_level > 0 ? 2 * w.chunk_bytes : 0;
    size_t each = room + CHECKSUM + scratch;
    uint64_t count = w.slabs * w.per_slab;
    int batch = count < BATCH ? (int)count : BATCH, bad = 0;
    unsigned char *memory = qk_alloc((size_t)batch, each);
    size_t used[BATCH];
    for (uint64_t first = 0; first < count && !bad; first += BATCH) {
        int n = count - first < BATCH ? (int)(count - first) : BATCH;
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < n; i++) {
            hsize_t start[4];
            size_t at, bytes;
            unsigned char *to = memory + (size_t)i * each;
            locate(l, &w, first + (uint64_t)i, start, &at, &bytes);
            used[i] = encode(to, room, to + room + CHECKSUM, (const char *)from + at, bytes,
                             w.chunk_bytes, l);
        }
        for (int i = 0; i < n && !bad; i++) {
            hsize_t start[4];
            size_t at, bytes;
            locate(l, &w, first + (uint64_t)i, start, &at, &bytes);
            bad = used[i] == 0 || H5Dwrite_chunk(set, H5P_DEFAULT, 0, start, used[i],
                                                 memory + (size_t)i * each) < 0;
        }
    }
    free(memory);
    return bad ? -1 : 0;
}

/* ---- reading ---- */

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

static const char *decode(unsigned char *to, size_t bytes, unsigned char *raw, size_t n,
                          unsigned char *scratch, size_t whole, const struct qk_h5_layout *l)
{
    if (n < CHECKSUM)
        return "a chunk is cut short";
    n -= CHECKSUM;
    uint32_t sum = 0;
    for (int k = 0; k < CHECKSUM; k++)
        sum |= (uint32_t)raw[n + (size_t)k] << 8 * k;
    if (fletcher32(raw, n) != sum)
        return "data error detected by Fletcher32 checksum";
    if (l->zstd_level == 0) {
        if (n != whole)
            return "a chunk has the wrong size";
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

/* Room for the largest chunk as stored; 0 when one is missing or was stored past a filter. */
static size_t largest_chunk(hid_t set, const struct qk_h5_layout *l, const struct walk *w)
{
    size_t most = 0;
    for (uint64_t i = 0; i < w->slabs * w->per_slab; i++) {
        hsize_t start[4], n = 0;
        size_t at, bytes;
        locate(l, w, i, start, &at, &bytes);
        if (H5Dget_chunk_storage_size(set, start, &n) < 0 || n == 0 ||
            n > 2 * w->chunk_bytes + 4096)
            return 0;
        most = n > most ? n : most;
    }
    return most;
}

int qk_h5_read_chunks(int64_t set, const struct qk_h5_layout *l, void *to, const char **reason)
{
    struct walk w = walk_of(l);
    size_t raw = largest_chunk(set, l, &w), each = raw + 2 * w.chunk_bytes;
    *reason = NULL;
    if (!raw)
        return -1;
    uint64_t count = w.slabs * w.per_slab;
    int batch = count < BATCH ? (int)count : BATCH;
    unsigned char *memory = qk_alloc((size_t)batch, each);
    for (uint64_t first = 0; first < count && !*reason; first += BATCH) {
        int n = count - first < BATCH ? (int)(count - first) : BATCH;
        size_t at[BATCH], bytes[BATCH];
        hsize_t start[4], stored[BATCH];
        const char *bad[BATCH] = {0};
        for (int i = 0; i < n && !*reason; i++) {
            uint32_t skipped = 0;
            locate(l, &w, first + (uint64_t)i, start, &at[i], &bytes[i]);
            if (H5Dget_chunk_storage_size(set, start, &stored[i]) < 0 ||
                H5Dread_chunk(set, H5P_DEFAULT, start, &skipped, memory + (size_t)i * each) < 0 ||
                skipped)
                *reason = "a chunk cannot be read";
        }
        if (*reason)
            break;
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < n; i++) {
            unsigned char *at_raw = memory + (size_t)i * each;
            bad[i] = decode((unsigned char *)to + at[i], bytes[i], at_raw, stored[i], at_raw + raw,
                            w.chunk_bytes, l);
        }
        for (int i = 0; i < n; i++)
            *reason = *reason ? *reason : bad[i];
    }
    free(memory);
    return *reason ? -1 : 0;
}
