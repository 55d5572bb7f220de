/* The CUDA device, as C sees it: opened, described and closed by compute/device.c.  Built only
 * where a CUDA toolkit is found (QK_WITH_CUDA). */
#ifndef QK_COMPUTE_CUDA_H
#define QK_COMPUTE_CUDA_H

#include "compute/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Cards that can be used: compute capability 8.0 and up; 0 without a driver. */
int qk_cuda_count(void);

/* Card `index`; NULL with a sentence. */
struct qk_device *qk_cuda_open(int index, struct qk_err *err);
void qk_cuda_close(struct qk_device *d);
void qk_cuda_describe(const struct qk_device *d, char *text, int size);

/* Bytes of scratch at once for the loss's logits, 0: as usual. Tests make them few, so that small
 * arrays are cut into chunks. */
void qk_cuda_set_logits(struct qk_device *d, int64_t bytes);
/* Muon's: bytes of scratch at once, and the tiles that the first row of blocks of a symmetric
 * product must have for it to be cut into such rows. */
void qk_cuda_set_muon(struct qk_device *d, int64_t most_bytes, int64_t least_tiles);
/* Bytes of shared memory of a multiprocessor, 0: the card's. */
void qk_cuda_set_shared(struct qk_device *d, int64_t bytes);

/* Products so far that cuBLASLt had no algorithm for, and that a slow kernel did: none where
 * numbers are aligned to 16 bytes, or something is wrong. */
int64_t qk_cuda_plain_products(const struct qk_device *d);
/* Bytes of arrays and scratch now. */
int64_t qk_cuda_used(const struct qk_device *d);

/* "13.0", of the toolkit this was built with. */
const char *qk_cuda_version(void);

#ifdef __cplusplus
}
#endif

#endif
