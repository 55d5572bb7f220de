/* Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011).
 *
 * A value is a pure function of (seed, stream, index): no state to save, the same on every device
 * and thread count.  A stream is a name's hash, so two tensors never share numbers.
 */
#ifndef QK_BASE_RNG_H
#define QK_BASE_RNG_H

#include <stdint.h>

/* The stream of a name (64-bit FNV-1a). */
uint64_t qk_rng_stream(const char *name);

/* 64 random bits. */
uint64_t qk_rng_bits(uint64_t seed, uint64_t stream, uint64_t index);
/* Uniform in [0, 1), 53 bits. */
double qk_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index);
/* Uniform in 0 .. bound-1, without bias to 2^-64 * bound. */
uint64_t qk_rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t bound);
/* Standard normal (Box and Muller 1958, one value per index). */
double qk_rng_normal(uint64_t seed, uint64_t stream, uint64_t index);

/* order[] = a permutation of 0 .. n-1 (Fisher and Yates, drawn from the stream). */
void qk_rng_permutation(uint64_t seed, uint64_t stream, uint64_t n, uint64_t *order);

#endif
