/* Fletcher's checksum as HDF5's filter fletcher32 computes it: sums of big-endian 16-bit words
 * modulo 65535, where a sum that is not all zeros is written 65535 rather than 0.  HDF5 stores it
 * behind the chunk, little-endian.
 */
#ifndef QK_BASE_FLETCHER_H
#define QK_BASE_FLETCHER_H

#include <stddef.h>
#include <stdint.h>

struct qk_fletcher {
    uint64_t a, b; /* zeros to begin with */
};

/* More bytes; an odd one at the end counts as the first of a word, so only the last call may have
 * one. */
void qk_fletcher_add(struct qk_fletcher *s, const unsigned char *p, size_t bytes);
uint32_t qk_fletcher_sum(const struct qk_fletcher *s);

#endif
