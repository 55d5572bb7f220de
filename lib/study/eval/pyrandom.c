#include "study/eval/pyrandom.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { N = 624, M = 397 };

static void fill(struct qk_pyrandom *r)
{
    uint32_t *s = r->state;
    for (int i = 0; i < N; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % N] & 0x7fffffffu);
        s[i] = s[(i + M) % N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    r->at = 0;
}

static uint32_t next_word(struct qk_pyrandom *r)
{
    if (r->at == N)
        fill(r);
    uint32_t y = r->state[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static void init_word(struct qk_pyrandom *r, uint32_t seed)
{
    r->state[0] = seed;
    for (uint32_t i = 1; i < N; i++)
        r->state[i] = 1812433253u * (r->state[i - 1] ^ (r->state[i - 1] >> 30)) + i;
    r->at = N;
}

/* init_by_array of mt19937ar.c; the key is the seed in words of 32 bits, lowest first. */
void qk_pyrandom_seed(struct qk_pyrandom *r, uint64_t seed)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t words = key[1] ? 2 : 1;
    uint32_t *s = r->state, i = 1, j = 0;
    init_word(r, 19650218u);
    for (int k = N; k > 0; k--) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1664525u)) + key[j] + j;
        j = (j + 1) % words;
        if (++i == N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    for (int k = N - 1; k > 0; k--) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i == N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    s[0] = 0x80000000u;
}

uint32_t qk_pyrandom_below(struct qk_pyrandom *r, uint32_t bound)
{
    int bits = 0;
    while (bits < 32 && bound >> bits)
        bits++;
    uint32_t drawn;
    do
        drawn = next_word(r) >> (32 - bits);
    while (drawn >= bound);
    return drawn;
}

/* From here on CPython's list of all indices would be larger than a set of the chosen ones. */
static uint64_t set_size(uint32_t k)
{
    uint64_t size = 21, power = 1;
    if (k <= 5)
        return size;
    while (power < (uint64_t)k * 3) /* 4 ** ceil(log(3 k, 4)) */
        power *= 4;
    return size + power;
}

static void sample_from_pool(struct qk_pyrandom *r, uint32_t n, uint32_t k, uint32_t *chosen)
{
    uint32_t *pool = qk_alloc(n, sizeof *pool);
    for (uint32_t i = 0; i < n; i++)
        pool[i] = i;
    for (uint32_t i = 0; i < k; i++) {
        uint32_t j = qk_pyrandom_below(r, n - i);
        chosen[i] = pool[j];
        pool[j] = pool[n - i - 1];
    }
    free(pool);
}

static bool is_among(const uint32_t *chosen, uint32_t count, uint32_t index)
{
    for (uint32_t i = 0; i < count; i++)
        if (chosen[i] == index)
            return true;
    return false;
}

void qk_pyrandom_sample(struct qk_pyrandom *r, uint32_t n, uint32_t k, uint32_t *chosen)
{
    if (n <= set_size(k)) {
        sample_from_pool(r, n, k, chosen);
        return;
    }
    for (uint32_t i = 0; i < k; i++) {
        do
            chosen[i] = qk_pyrandom_below(r, n);
        while (is_among(chosen, i, chosen[i]));
    }
}
