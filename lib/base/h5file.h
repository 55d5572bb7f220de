/* What the files of the HDF5 module share; private to lib/base/h5*.c.
 *
 *   h5.c       opening, closing, what is there, errors     h5type.c   number types
 *   h5read.c   arrays, reading                             h5write.c  arrays, writing
 *   h5attr.c   attributes                                  h5zstd.c   the zstd filter
 *   h5chunk.c, h5chunkread.c   arrays on all threads
 */
#ifndef QK_BASE_H5FILE_H
#define QK_BASE_H5FILE_H

#include <hdf5.h>

#include "base/h5.h"
#include "base/h5chunk.h"

struct qk_out;

struct qk_h5 {
    hid_t id;
    char *path;
    struct qk_out *out; /* NULL when reading */
    struct qk_h5_room room;
};

/* Store "PATH: OBJECT what (HDF5's innermost reason)"; OBJECT may be NULL.  Returns -1. */
int qk_h5_fail(struct qk_err *err, const struct qk_h5 *f, const char *object, const char *what);

/* HDF5's type of a number in memory, and in the file. */
hid_t qk_h5_native(enum qk_type type);
hid_t qk_h5_stored(enum qk_type type);
bool qk_type_is_float(enum qk_type type);

/* The nearest of our types that holds every value of an HDF5 type; -1 when it is no number. */
int qk_h5_classify(hid_t type, enum qk_type *nearest);

/* count floats out of 16-bit values, which may lie in the second half of to[count]. */
void qk_bf16_spread(float *to, const void *from, int64_t count);
/* The 16-bit values of floats, rounded to nearest, ties to even; malloc'd. */
uint16_t *qk_bf16_narrow(const float *from, int64_t count);

/* On this thread. */
bool qk_all_finite(const float *values, int64_t count);

/* An existing array, or H5I_INVALID_HID with a sentence; its shape and type. */
hid_t qk_h5_open_array(struct qk_h5 *f, const char *object, struct qk_err *err);
int qk_h5_describe(struct qk_h5 *f, const char *object, hid_t set, struct qk_array_info *info,
                   struct qk_err *err);

#endif
