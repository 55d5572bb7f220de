/* The random numbers of Python's `random` module, for what was published by them: examples drawn by
 * lm-evaluation-harness are Random(1234).sample(...), one call after another.
 *
 * MT19937 (Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8, 1998), seeded as
 * random.Random(seed) does with a whole number, and sample() as CPython draws since 3.2.
 */
#ifndef QK_STUDY_PYRANDOM_H
#define QK_STUDY_PYRANDOM_H

#include <stdint.h>

struct qk_pyrandom {
    uint32_t state[624];
    int at; /* the next word; 624: none is left */
};

void qk_pyrandom_seed(struct qk_pyrandom *r, uint64_t seed);
/* Uniform in 0 .. bound-1, 1 <= bound < 2^32: _randbelow_with_getrandbits. */
uint32_t qk_pyrandom_below(struct qk_pyrandom *r, uint32_t bound);
/* The indices that sample(range(n), k) gives, k <= n, into chosen[k]. */
void qk_pyrandom_sample(struct qk_pyrandom *r, uint32_t n, uint32_t k, uint32_t *chosen);

#endif
