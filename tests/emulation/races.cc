/* Races: two threads use the same bytes, one of them writes, and nothing orders them.
 *
 * Programs under $(BUILD)/raced have kernels compiled with -fsanitize=thread, whose every load and
 * store calls a function in here (ThreadSanitizer's own library is not linked).  Per two bytes the
 * last write and the last reads are kept, with block, thread and time; time is a count of the
 * barriers in a block.  What happened before the last barrier a thread took part in with another
 * is ordered; also what __syncwarp orders between its lanes.  Shuffles, votes and fragments order
 * nothing.  Blocks of a launch are never ordered, atomics do not race with atomics.
 *
 * The bytes need not come out wrong in any order of threads: sums of several threads into one
 * place, or two blocks into one, are found here only. */
#include "internal.h"

#include <sanitizer/common_interface_defs.h>
#include <stdio.h>
#include <sys/mman.h>

enum { WARP = 32, WARPS = 32, GRANULE = 2 };
static const uint64_t ARENA = (uint64_t)64 << 30;

/* Who used two bytes last. */
struct use {
    uint64_t block : 28; /* counted through the program; 0: nobody */
    uint64_t thread : 10;
    uint64_t
        many : 2; /* readers: one thread, several of its warp, of its block, of several blocks */
    uint64_t time : 23;
    uint64_t atomic : 1;
};
enum { ONE, MANY_OF_WARP, MANY_OF_BLOCK, MANY_BLOCKS };
struct cell {
    struct use write, read;
};

bool qk_races_watched;

static char *arena;
static size_t arena_taken;
static struct cell *arena_cells, *own_cells; /* of the arena; of the program's variables */
static uint64_t block, first_block;          /* that runs; the first of this launch */
static uint64_t now, barrier_at;             /* of the block: time, and that of the last barrier */
static uint64_t warp_at[WARPS], part_at[WARPS];
static uint64_t seen[WARPS * WARP][WARP]; /* per thread: when it last met a lane of its warp */
static bool parts_met;

extern char __executable_start, __data_start, _end;

/* ---- memory of the card ---- */

static void *reserve(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        qk_emulation_fail("no room to watch for races");
    return at;
}

/* ThreadSanitizer's name: every object compiled for it calls this first. */
extern "C" void __tsan_init(void)
{
    if (qk_races_watched)
        return;
    qk_races_watched = true;
    arena = (char *)reserve(ARENA);
    arena_cells = (struct cell *)reserve(ARENA / GRANULE * sizeof(struct cell));
    const size_t own = (size_t)(&_end - &__data_start);
    own_cells = (struct cell *)reserve((own / GRANULE + 1) * sizeof(struct cell));
}

/* Addresses are never given out twice. */
void *qk_races_take(size_t bytes)
{
    const size_t room = (bytes + 255) / 256 * 256 + 256;
    if (room > ARENA - arena_taken)
        return NULL;
    void *at = arena + arena_taken;
    arena_taken += room;
    return at;
}

void qk_races_give(void *at, size_t bytes)
{
    const size_t page = 4096,
                 first = (size_t)((char *)at - arena + (ptrdiff_t)page - 1) / page * page;
    const size_t last = (size_t)((char *)at - arena + (ptrdiff_t)bytes) / page * page;
    if (first >= last)
        return;
    madvise(arena + first, last - first, MADV_DONTNEED);
    madvise(arena_cells + first / GRANULE, (last - first) / GRANULE * sizeof(struct cell),
            MADV_DONTNEED);
}

/* ---- time ---- */

void qk_races_launch(uint64_t next_block)
{
    first_block = next_block;
}

void qk_races_block(uint64_t number)
{
    block = number;
    now = 1;
    barrier_at = 0;
    memset(warp_at, 0, sizeof warp_at);
    memset(part_at, 0, sizeof part_at);
    if (parts_met)
        memset(seen, 0, sizeof seen);
    parts_met = false;
}

void qk_races_barrier(void)
{
    barrier_at = ++now;
}

void qk_races_warp(int first, unsigned mask)
{
    const int warp = first / WARP;
    if (mask == 0xffffffffu) {
        warp_at[warp] = ++now;
        return;
    }
    /* Everyone has now seen what any of them had. */
    parts_met = true;
    part_at[warp] = ++now;
    uint64_t all[WARP] = {};
    for (int lane = 0; lane < WARP; lane++)
        for (int other = 0; other < WARP && mask >> lane & 1; other++)
            all[other] =
                max(mask >> other & 1 ? now : 0, max(all[other], seen[first + lane][other]));
    for (int lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1)
            memcpy(seen[first + lane], all, sizeof all);
}

/* ---- judging ---- */

/* Whether what `u`, of this block, did comes before what `me` does now. */
static bool ordered(const struct use *u, int me)
{
    if (u->time < barrier_at)
        return true;
    const int warp = me / WARP;
    if (u->many == MANY_OF_BLOCK || (int)u->thread / WARP != warp)
        return false;
    if (u->time < warp_at[warp])
        return true;
    if (u->many == MANY_OF_WARP)
        return u->time < part_at[warp]; /* perhaps: the benefit of the doubt */
    return u->time < seen[me][u->thread % WARP];
}

static bool races(const struct use *u, int me, bool global)
{
    if (!u->block)
        return false;
    if (u->block != block || u->many == MANY_BLOCKS)
        return global && u->block >= first_block;
    return (u->many != ONE || (int)u->thread != me) && !ordered(u, me);
}

[[noreturn]] static void tell(const struct use *u, bool wrote, const char *does, const void *at,
                              size_t bytes, bool global, const void *pc)
{
    char other[64], where[256];
    if (u->many == MANY_BLOCKS || (u->block != block && u->many != ONE))
        snprintf(other, sizeof other, "other blocks");
    else if (u->block != block)
        snprintf(other, sizeof other, "thread %d of the block begun %lld blocks before",
                 (int)u->thread, (long long)(block - u->block));
    else
        snprintf(other, sizeof other, u->many == ONE ? "thread %d" : "threads beside thread %d",
                 (int)u->thread);
    __sanitizer_symbolize_pc((void *)((uintptr_t)pc - 1), "%s:%l", where, sizeof where);
    qk_emulation_fail("a race: it %s %zu bytes of %s memory at %p that %s %s, and nothing orders "
                      "the two (%s)",
                      does, bytes, global ? "global" : "shared", at, other,
                      wrote ? "wrote" : "read", where);
}

static struct use remembered(const struct use *u, int me, bool global)
{
    struct use mine = {block, (uint64_t)me, ONE, now, 0};
    if (!u->block || (!global && u->block != block) || u->block < first_block)
        return mine;
    if (u->block != block || u->many == MANY_BLOCKS)
        mine.many = MANY_BLOCKS;
    else if (u->many == ONE ? (int)u->thread != me : true)
        if (!ordered(u, me))
            mine.many = u->many == MANY_OF_BLOCK || (int)u->thread / WARP != me / WARP
                            ? MANY_OF_BLOCK
                            : MANY_OF_WARP;
    return mine;
}

static void use_cell(struct cell *c, int me, const void *at, size_t bytes, bool write, bool atomic,
                     bool global, const void *pc)
{
    const char *does = atomic ? "changes" : write ? "writes" : "reads";
    if (!(atomic && c->write.atomic) && races(&c->write, me, global))
        tell(&c->write, true, does, at, bytes, global, pc);
    if (write && races(&c->read, me, global))
        tell(&c->read, false, does, at, bytes, global, pc);
    if (write)
        c->write = (struct use){block, (uint64_t)me, ONE, now, atomic};
    else
        c->read = remembered(&c->read, me, global);
}

/* Memory that is nobody's to share: its own stack, what arguments are copied from. */
static void judge_other(const void *at, bool write, const void *pc)
{
    if (!write && (char *)at >= &__executable_start && (char *)at < &__data_start)
        return; /* constants */
    const char *why = qk_emulation_private(at, write);
    if (!why)
        return;
    char where[256];
    __sanitizer_symbolize_pc((void *)((uintptr_t)pc - 1), "%s:%l", where, sizeof where);
    qk_emulation_fail("it %s %s at %p (%s)", write ? "writes" : "reads", why, at, where);
}

void qk_races_use(const void *at, size_t bytes, bool write, bool atomic, const void *pc)
{
    if (!qk_races_watched)
        return;
    const uintptr_t a = (uintptr_t)at, base = (uintptr_t)arena, own = (uintptr_t)&__data_start;
    const bool global = a - base < ARENA;
    const int me = qk_emulation_running();
    if (me < 0) {
        if (global)
            qk_emulation_fail("the host uses memory of the card at %p", at);
        return;
    }
    if (!global && a - own >= (uintptr_t)(&_end - &__data_start)) {
        judge_other(at, write, pc);
        return;
    }
    struct cell *cells = global ? arena_cells : own_cells;
    const uintptr_t from = (a - (global ? base : own)) / GRANULE;
    const uintptr_t to = (a + bytes - 1 - (global ? base : own)) / GRANULE;
    for (uintptr_t i = from; i <= to; i++)
        use_cell(&cells[i], me, at, bytes, write, atomic, global, pc);
}

int qk_emulation_watched(void)
{
    return qk_races_watched;
}

/* ---- what the compiler calls ---- */

#define HERE __builtin_return_address(0)
#define QK_WATCH(name, size)                                                                       \
    extern "C" void __tsan_read##name(void *at)                                                    \
    {                                                                                              \
        qk_races_use(at, size, false, false, HERE);                                                \
    }                                                                                              \
    extern "C" void __tsan_write##name(void *at)                                                   \
    {                                                                                              \
        qk_races_use(at, size, true, false, HERE);                                                 \
    }                                                                                              \
    extern "C" void __tsan_unaligned_read##name(void *at)                                          \
    {                                                                                              \
        qk_races_use(at, size, false, false, HERE);                                                \
    }                                                                                              \
    extern "C" void __tsan_unaligned_write##name(void *at)                                         \
    {                                                                                              \
        qk_races_use(at, size, true, false, HERE);                                                 \
    }
QK_WATCH(1, 1)
QK_WATCH(2, 2)
QK_WATCH(4, 4)
QK_WATCH(8, 8)
QK_WATCH(16, 16)

extern "C" void __tsan_read_range(void *at, size_t bytes)
{
    qk_races_use(at, bytes, false, false, HERE);
}

extern "C" void __tsan_write_range(void *at, size_t bytes)
{
    qk_races_use(at, bytes, true, false, HERE);
}

extern "C" void __tsan_func_entry(void *)
{
}

extern "C" void __tsan_func_exit(void)
{
}

extern "C" void __tsan_vptr_update(void **, void *)
{
}
