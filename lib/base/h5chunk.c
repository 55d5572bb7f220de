#include "base/h5chunk.h"

#include <errno.h>
#include <hdf5.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/fletcher.h"
#include "base/h5zstd.h"
#include "base/mem.h"

_Static_assert(sizeof(hid_t) == sizeof(int64_t), "hid_t is passed as int64_t");

enum { BATCH = 32, CHECKSUM = 4 }; /* chunks under way at once; bytes fletcher32 adds */

/* ---- the filters ---- */

static uint32_t fletcher32(const unsigned char *p, size_t n)
{
    struct qk_fletcher s = {0, 0};
    qk_fletcher_add(&s, p, n);
    return qk_fletcher_sum(&s);
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

static const char *const bad_sum = "data error detected by Fletcher32 checksum";
static const char *const bad_size = "a chunk has the wrong size";
static const char *const unreadable = "a chunk cannot be read";

static uint32_t stored_sum(const unsigned char *at)
{
    uint32_t sum = 0;
    for (int k = 0; k < CHECKSUM; k++)
        sum |= (uint32_t)at[k] << 8 * k;
    return sum;
}

static const char *decode(unsigned char *to, size_t bytes, unsigned char *raw, size_t n,
                          unsigned char *scratch, size_t whole, const struct qk_h5_layout *l)
{
    if (n < CHECKSUM)
        return "a chunk is cut short";
    n -= CHECKSUM;
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

/* ---- reading past the library ---- */

enum { PIECE = 1 << 17 }; /* bytes that are read and then summed while they are in the cache */
/* Chunks that are looked up one by one: HDF5 1.10 walks over all of them for each. */
enum { MOST_FOUND = 1024 };

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
 * the chunk has beyond `bytes` is padding. */
static const char *read_plain(int fd, const struct found *chunk, unsigned char *to, size_t bytes,
                              size_t whole, unsigned char *scratch)
{
    struct qk_fletcher s = {0, 0};
    unsigned char sum[CHECKSUM];
    if (chunk->size != whole + CHECKSUM)
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
        at += n;
    }
    if (!read_at(fd, sum, CHECKSUM, chunk->where + whole))
        return unreadable;
    return qk_fletcher_sum(&s) == stored_sum(sum) ? NULL : bad_sum;
}

/* All chunks on all threads: `scratch` of a thread is `each` bytes. */
static const char *read_found(int fd, const struct found *found, const struct qk_h5_layout *l,
                              const struct walk *w, unsigned char *to, size_t raw, size_t each)
{
    const char *reason = NULL;
    const int64_t count = (int64_t)(w->slabs * w->per_slab);
    int64_t first_bad = count;
#pragma omp parallel if (count > 1)
    {
        unsigned char *scratch = qk_alloc(each, 1);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; i++) {
            hsize_t start[4];
            size_t at, bytes;
            const char *bad = NULL;
            locate(l, w, (uint64_t)i, start, &at, &bytes);
            if (l->zstd_level == 0 && bytes % 2 == 0) /* pieces of whole words */
                bad = read_plain(fd, &found[i], to + at, bytes, w->chunk_bytes, scratch);
            else if (!read_at(fd, scratch, found[i].size, found[i].where))
                bad = unreadable;
            else
                bad = decode(to + at, bytes, scratch, found[i].size, scratch + raw, w->chunk_bytes,
                             l);
#pragma omp critical(h5chunk_reason)
            if (bad && i < first_bad) {
                first_bad = i;
                reason = bad;
            }
        }
        free(scratch);
    }
    return reason;
}

/* Where every chunk lies; the largest one's size, or 0 when one is missing or was stored past a
 * filter. */
static size_t find_chunks(struct found *found, hid_t set, const struct qk_h5_layout *l,
                          const struct walk *w)
{
    size_t most = 0;
    for (uint64_t i = 0; i < w->slabs * w->per_slab; i++) {
        hsize_t start[4];
        size_t at, bytes;
        unsigned skipped = 1;
        locate(l, w, i, start, &at, &bytes);
        if (H5Dget_chunk_info_by_coord(set, start, &skipped, &found[i].where, &found[i].size) < 0 ||
            skipped || found[i].where == HADDR_UNDEF || found[i].size == 0 ||
            found[i].size > 2 * w->chunk_bytes + 4096)
            return 0;
        most = found[i].size > most ? found[i].size : most;
    }
    return most;
}

/* 1 when read, 0 when the library has to do it, else -1 and a reason. */
static int read_past(hid_t set, const struct qk_h5_layout *l, const struct walk *w, void *to,
                     const char **reason)
{
    const uint64_t count = w->slabs * w->per_slab;
    int fd = count <= MOST_FOUND ? descriptor(set) : -1;
    if (fd < 0)
        return 0;
    struct found *found = qk_alloc(count, sizeof *found);
    size_t raw = find_chunks(found, set, l, w);
    if (raw)
        *reason =
            read_found(fd, found, l, w, to, raw, raw + (l->zstd_level ? 2 : 0) * w->chunk_bytes);
    free(found);
    return *reason ? -1 : raw != 0;
}

/* ---- reading through it ---- */

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
    *reason = NULL;
    int done = read_past(set, l, &w, to, reason);
    if (done != 0)
        return done < 0 ? -1 : 0;
    size_t raw = largest_chunk(set, l, &w), each = raw + 2 * w.chunk_bytes;
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
                *reason = unreadable;
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
