/* What lanes of a warp do together, and barriers. */
#include "internal.h"

/* ---- barriers ---- */

void __syncthreads(const char *file, int line)
{
    qk_emulation_meet("__syncthreads", 0, NULL, NULL, file, line);
}

void __syncwarp(unsigned mask, const char *file, int line)
{
    if (!mask)
        qk_emulation_fail("__syncwarp of no lanes (%s:%d)", file, line);
    qk_emulation_meet("__syncwarp", mask, NULL, NULL, file, line);
}

struct vote {
    int predicate, yes, all;
};

static void count_block(void **mine, unsigned threads)
{
    int yes = 0;
    for (unsigned i = 0; i < threads; i++)
        yes += ((struct vote *)mine[i])->predicate != 0;
    for (unsigned i = 0; i < threads; i++) {
        ((struct vote *)mine[i])->yes = yes;
        ((struct vote *)mine[i])->all = (int)threads;
    }
}

int __syncthreads_count(int predicate, const char *file, int line)
{
    struct vote v = {predicate, 0, 0};
    qk_emulation_meet("__syncthreads_count", 0, &v, count_block, file, line);
    return v.yes;
}

int __syncthreads_and(int predicate, const char *file, int line)
{
    struct vote v = {predicate, 0, 0};
    qk_emulation_meet("__syncthreads_and", 0, &v, count_block, file, line);
    return v.yes == v.all;
}

int __syncthreads_or(int predicate, const char *file, int line)
{
    struct vote v = {predicate, 0, 0};
    qk_emulation_meet("__syncthreads_or", 0, &v, count_block, file, line);
    return v.yes > 0;
}

/* ---- votes and reductions ---- */

/* Every lane gets all lanes' values. */
struct exchange {
    uint64_t value;
    uint64_t all[32];
};

static void exchange_all(void **mine, unsigned mask)
{
    for (int to = 0; to < 32; to++)
        for (int from = 0; from < 32; from++)
            if (mask >> to & mask >> from & 1)
                ((struct exchange *)mine[to])->all[from] = ((struct exchange *)mine[from])->value;
}

static struct exchange exchanged(const char *what, unsigned mask, uint64_t value, const char *file,
                                 int line)
{
    struct exchange e = {value, {}};
    if (!mask)
        qk_emulation_fail("%s of no lanes (%s:%d)", what, file, line);
    qk_emulation_meet(what, mask, &e, exchange_all, file, line);
    return e;
}

unsigned __ballot_sync(unsigned mask, int predicate, const char *file, int line)
{
    const struct exchange e = exchanged("__ballot_sync", mask, predicate != 0, file, line);
    unsigned set = 0;
    for (int lane = 0; lane < 32; lane++)
        set |= (unsigned)e.all[lane] << lane;
    return set;
}

int __all_sync(unsigned mask, int predicate, const char *file, int line)
{
    const struct exchange e = exchanged("__all_sync", mask, predicate != 0, file, line);
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1 && !e.all[lane])
            return 0;
    return 1;
}

int __any_sync(unsigned mask, int predicate, const char *file, int line)
{
    const struct exchange e = exchanged("__any_sync", mask, predicate != 0, file, line);
    for (int lane = 0; lane < 32; lane++)
        if (e.all[lane])
            return 1;
    return 0;
}

unsigned __match_any_sync(unsigned mask, unsigned value, const char *file, int line)
{
    const struct exchange e = exchanged("__match_any_sync", mask, value, file, line);
    unsigned set = 0;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1 && e.all[lane] == value)
            set |= 1u << lane;
    return set;
}

#define REDUCE(name, type, step)                                                                   \
    type name(unsigned mask, type value, const char *file, int line)                               \
    {                                                                                              \
        const struct exchange e = exchanged(#name, mask, (unsigned)value, file, line);             \
        type x = 0;                                                                                \
        bool first = true;                                                                         \
        for (int lane = 0; lane < 32; lane++) {                                                    \
            if (!(mask >> lane & 1))                                                               \
                continue;                                                                          \
            const type y = (type)(unsigned)e.all[lane];                                            \
            x = first ? y : (type)(step);                                                          \
            first = false;                                                                         \
        }                                                                                          \
        return x;                                                                                  \
    }
REDUCE(__reduce_add_sync, int, (unsigned)x + (unsigned)y)
REDUCE(__reduce_min_sync, int, x < y ? x : y)
REDUCE(__reduce_max_sync, int, x > y ? x : y)
REDUCE(__reduce_add_sync, unsigned, x + y)
REDUCE(__reduce_min_sync, unsigned, x < y ? x : y)
REDUCE(__reduce_max_sync, unsigned, x > y ? x : y)
REDUCE(__reduce_and_sync, unsigned, x &y)
REDUCE(__reduce_or_sync, unsigned, x | y)
REDUCE(__reduce_xor_sync, unsigned, x ^ y)

/* ---- shuffles ---- */

struct shuffle {
    uint64_t value, result;
    int by, width;
    enum qk_shuffle how;
    const char *file;
    int line;
};

/* PTX ISA, shfl.sync: segments of `width` lanes; outside its segment a lane keeps its own. */
static int source_of(const struct shuffle *s, int lane)
{
    const int first = lane & ~(s->width - 1), last = first + s->width - 1;
    switch (s->how) {
    case QK_SHUFFLE:
        return first + (s->by & (s->width - 1));
    case QK_SHUFFLE_UP:
        return lane - (s->by & 31) < first ? lane : lane - (s->by & 31);
    case QK_SHUFFLE_DOWN:
        return lane + (s->by & 31) > last ? lane : lane + (s->by & 31);
    default: /* lanes of earlier segments can be reached, of later ones not */
        return (lane ^ (s->by & 31)) > last ? lane : lane ^ (s->by & 31);
    }
}

static void shuffle_all(void **mine, unsigned mask)
{
    for (int lane = 0; lane < 32; lane++) {
        if (!(mask >> lane & 1))
            continue;
        struct shuffle *s = (struct shuffle *)mine[lane];
        const int from = source_of(s, lane);
        if (!(mask >> from & 1))
            qk_emulation_fail("lane %d asks for the value of lane %d, which is not in the mask "
                              "0x%08x (%s:%d)",
                              lane, from, mask, s->file, s->line);
        s->result = ((struct shuffle *)mine[from])->value;
    }
}

uint64_t qk_emulation_shuffle(enum qk_shuffle how, unsigned mask, uint64_t value, int by, int width,
                              const char *file, int line)
{
    static const char *const names[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync",
                                        "__shfl_xor_sync"};
    if (width < 1 || width > 32 || width & (width - 1))
        qk_emulation_fail("%s in segments of %d lanes (%s:%d)", names[how], width, file, line);
    if (!mask)
        qk_emulation_fail("%s of no lanes (%s:%d)", names[how], file, line);
    struct shuffle s = {value, 0, by, width, how, file, line};
    qk_emulation_meet(names[how], mask, &s, shuffle_all, file, line);
    return s.result;
}

/* ---- atomics ---- */

void qk_emulation_atomic(const void *at, size_t bytes)
{
    qk_races_use(at, bytes, true, true, __builtin_return_address(0));
}
