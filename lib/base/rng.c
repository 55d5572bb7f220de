#include "base/rng.h"

#include <math.h>

uint64_t qk_rng_stream(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

/* Philox4x32-10: counter (index, stream), key seed. */
uint64_t qk_rng_bits(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (uint64_t)c1 << 32 | c0;
}

double qk_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    return (double)(qk_rng_bits(seed, stream, index) >> 11) * 0x1p-53;
}

uint64_t qk_rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t bound)
{
    return (uint64_t)((unsigned __int128)qk_rng_bits(seed, stream, index) * bound >> 64);
}

double qk_rng_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint64_t bits = qk_rng_bits(seed, stream, index);
    /* 32 bits each: radius from (0, 1], angle from [0, 1) turns; tails reach 6.6 sigma. */
    double u = ((double)(bits >> 32) + 1.0) * 0x1p-32, turn = (double)(uint32_t)bits * 0x1p-32;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * turn);
}

void qk_rng_permutation(uint64_t seed, uint64_t stream, uint64_t n, uint64_t *order)
{
    for (uint64_t i = 0; i < n; i++)
        order[i] = i;
    for (uint64_t i = n; i > 1; i--) {
        uint64_t j = qk_rng_below(seed, stream, i, i), keep = order[i - 1];
        order[i - 1] = order[j];
        order[j] = keep;
    }
}
