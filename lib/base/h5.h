/* HDF5 files, the one door to them: nothing else includes the HDF5 headers.
 *
 * Objects are named by path ("/weights/layers/0/wq"); missing groups on the way are made.  Arrays
 * are chunked and carry fletcher32; object times are off, so equal inputs give equal bytes.
 * Numbers convert between any file type and the memory type asked for; bf16 is a custom 16-bit
 * float in the file and float in memory (rounded to nearest, ties to even, when written).
 * Every failure is one sentence "PATH: OBJECT reason"; HDF5's own error stack is silenced.
 *
 * A handle belongs to one thread at a time, and so does the library: HDF5 need not have been built
 * for threads.
 */
#ifndef QK_BASE_H5_H
#define QK_BASE_H5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "mem.h"

enum qk_type {
    QK_U8,
    QK_U16,
    QK_U32,
    QK_U64,
    QK_I32,
    QK_I64,
    QK_F32,
    QK_F64,
    QK_BF16, /* in files only; in memory use QK_F32 */
};
size_t qk_type_size(enum qk_type type);
const char *qk_type_name(enum qk_type type); /* "float32", "uint16", ... */

/* How an array is stored.  All are followed by fletcher32. */
enum { QK_PLAIN = 0 }; /* zstd level 0: no compression; 1..22: shuffle + zstd (filter 32015) */

enum { QK_MOST_DIMS = 4 };

struct qk_array_info {
    bool is_float;     /* else integer */
    enum qk_type type; /* nearest type that holds every value */
    int rank;          /* 0 for a scalar */
    int64_t dims[QK_MOST_DIMS];
    int64_t count; /* product of dims */
};

struct qk_h5; /* an open file, for reading or for writing */

/* ---- reading ---- */

struct qk_h5 *qk_h5_open(const char *path, struct qk_err *err);
void qk_h5_close(struct qk_h5 *file); /* NULL is fine */
const char *qk_h5_path(const struct qk_h5 *file);

bool qk_h5_has(struct qk_h5 *file, const char *object); /* a group or array of that name */
int qk_h5_info(struct qk_h5 *file, const char *object, struct qk_array_info *info,
               struct qk_err *err);
/* Names of the members of a group, sorted by name. */
int qk_h5_members(struct qk_h5 *file, const char *group, struct qk_strings *names,
                  struct qk_err *err);

/* Read the whole array of exactly `count` elements as `type` (not QK_BF16) into `to`. */
int qk_h5_read(struct qk_h5 *file, const char *object, enum qk_type type, int64_t count, void *to,
               struct qk_err *err);
/* The same after checking the shape: rank dims. */
int qk_h5_read_shaped(struct qk_h5 *file, const char *object, enum qk_type type, int rank,
                      const int64_t *dims, void *to, struct qk_err *err);
/* Rows first .. first+count-1 along dimension 0 of an array of that shape, as QK_F32, and whether
 * all of them are finite (each is looked at while it is in the cache).  Only the chunks that hold
 * them are read. */
int qk_h5_read_floats(struct qk_h5 *file, const char *object, int rank, const int64_t *dims,
                      int64_t first, int64_t count, float *to, bool *finite, struct qk_err *err);

/* Attributes of the object ("/" is the file).  Text is malloc'd and must be valid UTF-8. */
bool qk_h5_has_attr(struct qk_h5 *file, const char *object, const char *name);
int qk_h5_attr_text(struct qk_h5 *file, const char *object, const char *name, char **text,
                    struct qk_err *err);
int qk_h5_attr_int(struct qk_h5 *file, const char *object, const char *name, int64_t *value,
                   struct qk_err *err);

/* Check the attributes kind and version ("checkpoint", 1): the first thing a reader does. */
int qk_h5_expect(struct qk_h5 *file, const char *kind, int64_t version, struct qk_err *err);
/* The attribute kind of the file at `path`, malloc'd. */
char *qk_h5_kind(const char *path, struct qk_err *err);

/* ---- writing ---- */

/* Begin a new file; it appears under `path` at qk_h5_commit, whole (outfile.h). "-" is refused. */
struct qk_h5 *qk_h5_create(const char *path, struct qk_err *err);
/* Finish: close, sync, rename.  Frees `file` in any case; on failure the old file stays. */
int qk_h5_commit(struct qk_h5 *file, struct qk_err *err);
void qk_h5_discard(struct qk_h5 *file); /* give up; NULL is fine */

/* Write an array whole.  memory is the type of `from`, stored as `type`: the same one, or QK_F32 ->
 * QK_BF16.  Filters run on all threads; the bytes do not depend on how many. */
int qk_h5_write(struct qk_h5 *file, const char *object, enum qk_type type, int rank,
                const int64_t *dims, enum qk_type memory, const void *from, int zstd_level,
                struct qk_err *err);

/* An array [0] that grows: create once, append, as often as needed. */
int qk_h5_create_growing(struct qk_h5 *file, const char *object, enum qk_type type, int zstd_level,
                         struct qk_err *err);
int qk_h5_append(struct qk_h5 *file, const char *object, enum qk_type type, int64_t count,
                 const void *from, struct qk_err *err);

/* Attributes are created once; strings are variable-length UTF-8, integers int64. */
int qk_h5_put_text(struct qk_h5 *file, const char *object, const char *name, const char *text,
                   struct qk_err *err);
int qk_h5_put_int(struct qk_h5 *file, const char *object, const char *name, int64_t value,
                  struct qk_err *err);
int qk_h5_make_group(struct qk_h5 *file, const char *group, struct qk_err *err);

/* "1.10.8", for --version. */
const char *qk_h5_version(void);

#endif
