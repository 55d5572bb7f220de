/* The zstd filter of HDF5 (registered id 32015), as h5.c registers it in this process and as the
 * plugin for other programs is built from the same source.
 *
 * cd_values[0] is the level; absent means 3, out of 1..22 is brought inside.  A chunk is one zstd
 * frame, or several one after the other; the frame need not carry its size. */
#ifndef QK_BASE_H5ZSTD_H
#define QK_BASE_H5ZSTD_H

#include <stddef.h>

enum { QK_H5_ZSTD = 32015 };

/* From now on a chunk that decompresses to fewer bytes is damaged: HDF5 itself does not look, and
 * would read behind its end.  0: any size is fine. */
void qk_h5_zstd_expect(size_t bytes);

/* The H5Z_class2_t to give to H5Zregister. */
const void *qk_h5_zstd_class(void);

#endif
