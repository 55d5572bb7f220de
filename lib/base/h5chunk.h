/* Whole arrays chunk by chunk, filters applied by all threads: the fast path of h5.c, private to
 * it.
 *
 * HDF5 runs its filter pipeline on one thread and copies every chunk through a cache.  Here chunks
 * are encoded (or decoded) in parallel by the same three filters, shuffle, zstd, fletcher32, and
 * handed over whole in file order, so the bytes in the file do not depend on the threads.
 * Identifiers are HDF5's (hid_t is int64_t), so that HDF5's header stays out of this one.
 */
#ifndef QK_BASE_H5CHUNK_H
#define QK_BASE_H5CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How an array is cut: chunks are contiguous runs of `run` elements of `item` bytes. Along the one
 * dimension that is cut the last chunk is short, and stored padded with zeros. */
struct qk_h5_layout {
    int rank;
    uint64_t dims[4], chunk[4];
    size_t item;
    int zstd_level; /* 0: neither shuffle nor zstd */
};

/* How chunks lie, from the layout: chunk i is rows of one slab. */
struct qk_h5_walk {
    size_t chunk_bytes; /* of a whole chunk */
    size_t row_bytes;   /* one step along the dimension that is cut */
    int cut;            /* that dimension */
    uint64_t per_slab;  /* chunks along it */
    uint64_t slabs;     /* product of the dimensions before it (their chunk size is 1) */
};
struct qk_h5_walk qk_h5_walk_of(const struct qk_h5_layout *layout);
/* Where chunk i starts (coordinates), its first byte in memory, and its bytes without padding. */
void qk_h5_locate(const struct qk_h5_layout *layout, const struct qk_h5_walk *walk, uint64_t i,
                  unsigned long long *start, size_t *first, size_t *bytes);

enum { QK_H5_SUM = 4 }; /* bytes that fletcher32 adds to a chunk */

/* Memory that an open file keeps from one array to the next: fresh memory is slow. */
struct qk_h5_room {
    unsigned char *at;
    size_t bytes;
};
unsigned char *qk_h5_room(struct qk_h5_room *room, size_t bytes); /* contents undefined */
void qk_h5_room_free(struct qk_h5_room *room);

/* Write the array `from` into a new data set: chunks are encoded on all threads while this one
 * writes those before them.  0, or -1 with HDF5's error stack set. */
int qk_h5_write_chunks(int64_t set, const struct qk_h5_layout *layout, const void *from,
                       struct qk_h5_room *room);

/* 1 when the data set is laid out like that (any writer) and `layout` is filled, else 0: then the
 * ordinary path must be taken. */
int qk_h5_chunk_layout(int64_t set, struct qk_h5_layout *layout);
/* What to read, and where to. */
struct qk_h5_want {
    uint64_t first, count; /* rows along dimension 0 */
    void *to;
    bool widen;   /* the array holds bf16, and `to` gets float32 */
    bool *finite; /* unless NULL: told whether all are finite, of float32 in `to` */
};
/* Read those rows from the chunks that hold them.  0, or -1 with *reason set when a chunk is
 * damaged or unreadable, NULL when some chunk was never written or skipped a filter: the ordinary
 * path knows what to do with it. */
int qk_h5_read_chunks(int64_t set, const struct qk_h5_layout *layout, const struct qk_h5_want *want,
                      const char **reason);

#endif
