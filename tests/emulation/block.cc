/* Blocks, one after another; their threads as fibers; the places where threads meet; the order in
 * which they get to run. */
#include "internal.h"

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <stdarg.h>
#include <stdio.h>

enum { WARP = 32, MOST_THREADS = 1024, MOST_SHARED = 227 << 10 };
enum state { READY, WAITS, ENDED };
enum order { FORWARD, REVERSE, SHUFFLE };

struct thread {
    struct qk_fiber fiber;
    uint3 index;
    enum state state;
    const char *what; /* it waits for, */
    unsigned mask;    /* with these lanes, 0: with the whole block, */
    void *mine;       /* bringing this, */
    const char *file; /* from here */
    int line;
};

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

static struct thread threads[MOST_THREADS];
static unsigned ready[MOST_THREADS / WARP]; /* lanes that can run, per warp */
static unsigned here[MOST_THREADS / WARP];  /* lanes that wait for others of their warp */
static int count, waiting, ended;           /* of the block's threads; waiting: for the block */
static int current = -1;                    /* the thread that runs */
static const void *running;                 /* its kernel, NULL outside */
static void (*kernel_call)(void *);
static void *kernel_what;
/* Before and behind what a block asked for nothing is accessible. */
alignas(128) static unsigned char dynamic_room[128 + MOST_SHARED + 128];
static unsigned char *const dynamic = dynamic_room + 128;
static size_t dynamic_bytes;
static enum order order;
static uint64_t random_state;
static bool order_known;
static int64_t launches;
static uint64_t blocks_begun;

/* ---- order ---- */

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t draw(void)
{
    uint64_t x = random_state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void qk_emulation_order(const char *text)
{
    static const char SEEDED[] = "shuffle:";
    if (!text)
        text = getenv("QK_EMULATION_ORDER");
    if (!text || !*text)
        text = "forward";
    char *end = NULL;
    if (strncmp(text, SEEDED, sizeof SEEDED - 1) == 0)
        random_state = strtoull(text + sizeof SEEDED - 1, &end, 10);
    const bool seeded = end && !*end && end > text + sizeof SEEDED - 1;
    if (!seeded && strcmp(text, "forward") != 0 && strcmp(text, "reverse") != 0)
        qk_emulation_fail("no order is called %s: take forward, reverse or shuffle:SEED", text);
    order = seeded ? SHUFFLE : *text == 'r' ? REVERSE : FORWARD;
    order_known = true;
}

/* One of the bits of `set`. */
static int pick(unsigned set)
{
    if (order == FORWARD)
        return __builtin_ctz(set);
    if (order == REVERSE)
        return 31 - __builtin_clz(set);
    for (int skip = (int)(draw() % (unsigned)__popc(set)); skip; skip--)
        set &= set - 1;
    return __builtin_ctz(set);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    return b ? gcd(b, a % b) : a;
}

/* ---- words ---- */

/* Without its arguments, the kernel's name fits on a line. */
static const char *kernel_name(const void *kernel)
{
    static char text[512];
    __sanitizer_symbolize_pc((void *)((uintptr_t)kernel + 1), "%f", text, sizeof text);
    int depth = 0; /* a template's arguments have parentheses of their own */
    for (char *c = text; *c; c++) {
        depth += (*c == '<') - (*c == '>');
        if (*c == '(' && !depth && c != text) {
            *c = 0;
            break;
        }
    }
    return text;
}

/* "kernel K, block B, thread T: ", of what runs now. */
static void say_where(void)
{
    if (!running)
        return;
    fprintf(stderr, "kernel %s, block (%u, %u, %u)", kernel_name(running), blockIdx.x, blockIdx.y,
            blockIdx.z);
    if (current >= 0) {
        const uint3 t = threads[current].index;
        fprintf(stderr, ", thread (%u, %u, %u)", t.x, t.y, t.z);
    }
    fprintf(stderr, ": ");
}

void qk_emulation_fail(const char *format, ...)
{
    fflush(stdout);
    fprintf(stderr, "emulation: ");
    say_where();
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    abort();
}

/* The sanitizers call these when they find something. */
extern "C" void __asan_on_error(void)
{
    fprintf(stderr, "\nemulation: ");
    say_where();
    fprintf(stderr, "AddressSanitizer found an access that is not allowed\n");
}

extern "C" void __ubsan_on_report(void)
{
    fprintf(stderr, "emulation: ");
    say_where();
    fprintf(stderr, "undefined behaviour was found\n");
}

static bool alike(const struct thread *a, const struct thread *b)
{
    if (a->state != b->state || a->state != WAITS)
        return a->state == b->state;
    return a->what == b->what && a->mask == b->mask && a->line == b->line &&
           (a->file == b->file || strcmp(a->file, b->file) == 0);
}

/* "threads 0-15 wait at __syncthreads (file:line); threads 16-31 have ended" */
static void tell(char *text, size_t size, int from, int to)
{
    size_t n = 0;
    int groups = 0;
    for (int i = from, j; i < to && n < size && groups < 8; i = j, groups++) {
        for (j = i + 1; j < to && alike(&threads[i], &threads[j]); j++)
            ;
        const struct thread *t = &threads[i];
        n += (size_t)snprintf(text + n, size - n, j - i > 1 ? "%sthreads %d-%d " : "%sthread %d ",
                              i > from ? "; " : "", i, j - 1);
        if (n < size && t->state == ENDED)
            n += (size_t)snprintf(text + n, size - n, j - i > 1 ? "have ended" : "has ended");
        else if (n < size && t->mask)
            n += (size_t)snprintf(text + n, size - n, "at %s with mask 0x%08x (%s:%d)", t->what,
                                  t->mask, t->file, t->line);
        else if (n < size)
            n += (size_t)snprintf(text + n, size - n, "at %s (%s:%d)", t->what, t->file, t->line);
    }
}

[[noreturn]] static void fail_waiting(const char *why, int from, int to)
{
    static char text[4096];
    tell(text, sizeof text, from, to);
    current = -1;
    qk_emulation_fail("%s: %s", why, text);
}

/* ---- meeting ---- */

int qk_emulation_thread(void)
{
    if (current < 0)
        qk_emulation_fail("an instruction of the card outside a kernel");
    return current;
}

int qk_emulation_running(void)
{
    return current;
}

const char *qk_emulation_private(const void *at, bool write)
{
    if (qk_fiber_holds(&threads[current].fiber, at) || (!write && qk_fiber_caller_holds(at)))
        return NULL;
    for (int i = 0; i < count; i++)
        if (qk_fiber_holds(&threads[i].fiber, at))
            return "a variable of another thread";
    return "memory of the host";
}

uint64_t qk_emulation_blocks(void)
{
    return blocks_begun;
}

/* Whether every lane of `mask` waits with this very mask. */
static bool warp_is_here(int first, unsigned mask)
{
    if (mask & ~here[first / WARP])
        return false;
    for (int lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1 && threads[first + lane].mask != mask)
            return false;
    return true;
}

static void release(int first, unsigned mask)
{
    for (int lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1)
            threads[first + lane].state = READY;
    ready[first / WARP] |= mask;
    here[first / WARP] &= ~mask;
}

static unsigned lanes_of(int warp)
{
    const int lanes = count - warp * WARP;
    return lanes >= WARP ? ~0u : (1u << lanes) - 1;
}

static void meet_warp(struct thread *t, qk_emulation_work *work)
{
    const int first = current / WARP * WARP;
    const unsigned mask = t->mask;
    if (!(mask >> current % WARP & 1))
        qk_emulation_fail("%s with mask 0x%08x, in which the caller, lane %d, is not (%s:%d)",
                          t->what, mask, current % WARP, t->file, t->line);
    if (mask & ~lanes_of(first / WARP))
        qk_emulation_fail("%s with mask 0x%08x; the warp has %d threads (%s:%d)", t->what, mask,
                          count - first, t->file, t->line);
    here[first / WARP] |= 1u << current % WARP;
    if (!warp_is_here(first, mask))
        return;
    void *mine[WARP] = {};
    for (int lane = 0; lane < WARP; lane++) {
        if (!(mask >> lane & 1))
            continue;
        if (!alike(&threads[first + lane], t))
            fail_waiting("lanes of one mask meet in different operations", first,
                         min(first + WARP, count));
        mine[lane] = threads[first + lane].mine;
    }
    if (work)
        work(mine, mask);
    else /* __syncwarp: the only one that orders memory */
        qk_races_warp(first, mask);
    release(first, mask);
}

static void meet_block(struct thread *t, qk_emulation_work *work)
{
    if (++waiting < count)
        return;
    waiting = 0;
    static void *mine[MOST_THREADS];
    for (int i = 0; i < count; i++) {
        if (!alike(&threads[i], t))
            fail_waiting("threads meet at different barriers", 0, count);
        mine[i] = threads[i].mine;
    }
    if (work)
        work(mine, (unsigned)count);
    qk_races_barrier();
    for (int warp = 0; warp * WARP < count; warp++)
        release(warp * WARP, lanes_of(warp));
}

void qk_emulation_meet(const char *what, unsigned mask, void *mine, qk_emulation_work *work,
                       const char *file, int line)
{
    if (current < 0)
        qk_emulation_fail("%s outside a kernel (%s:%d)", what, file, line);
    struct thread *t = &threads[current];
    t->state = WAITS;
    t->what = what;
    t->mask = mask;
    t->mine = mine;
    t->file = file;
    t->line = line;
    if (mask)
        meet_warp(t, work);
    else
        meet_block(t, work);
    qk_fiber_yield(&t->fiber);
}

/* ---- running ---- */

static void thread_body(void *what)
{
    struct thread *t = (struct thread *)what;
    kernel_call(kernel_what);
    t->state = ENDED;
    ended++;
}

static void run_thread(int i)
{
    struct thread *t = &threads[i];
    ready[i / WARP] &= ~(1u << i % WARP);
    current = i;
    threadIdx = t->index;
    qk_fiber_run(&t->fiber);
    current = -1;
}

/* A warp runs until all its lanes wait for other warps or have ended: the warps are as far apart as
 * barriers allow.  Shuffled: now and then another gets its turn earlier. */
static void run_warp(int warp)
{
    while (ready[warp]) {
        run_thread(warp * WARP + pick(ready[warp]));
        if (order == SHUFFLE && draw() % 64 == 0)
            return;
    }
}

static void run_threads(void)
{
    while (ended < count) {
        unsigned warps = 0;
        for (int warp = 0; warp * WARP < count; warp++)
            warps |= ready[warp] ? 1u << warp : 0;
        if (!warps)
            fail_waiting("threads wait for each other forever", 0, count);
        if (order == SHUFFLE) {
            run_warp(pick(warps));
            continue;
        }
        for (; warps; warps &= ~(1u << pick(warps)))
            run_warp(pick(warps));
    }
}

static void run_block(uint64_t number)
{
    const dim3 grid = gridDim, size = blockDim;
    blockIdx.x = (unsigned)(number % grid.x);
    blockIdx.y = (unsigned)(number / grid.x % grid.y);
    blockIdx.z = (unsigned)(number / grid.x / grid.y);
    memset(dynamic, 0xff, dynamic_bytes);
    waiting = ended = 0;
    qk_races_block(++blocks_begun);
    for (int i = 0; i < count; i++) {
        struct thread *t = &threads[i];
        t->index.x = (unsigned)i % size.x;
        t->index.y = (unsigned)i / size.x % size.y;
        t->index.z = (unsigned)i / size.x / size.y;
        t->state = READY;
        qk_fiber_prepare(&t->fiber, thread_body, t);
    }
    for (int warp = 0; warp * WARP < count; warp++)
        ready[warp] = lanes_of(warp), here[warp] = 0;
    run_threads();
}

/* Every kernel's name, once, at the end of the file QK_EMULATION_LOG: tests/cuda/kernels. */
static void note(const void *kernel)
{
    static const char *const path = getenv("QK_EMULATION_LOG");
    static const void *seen[512];
    static int count_seen;
    for (int i = 0; i < count_seen; i++)
        if (seen[i] == kernel)
            return;
    FILE *file = path && count_seen < 512 ? fopen(path, "a") : NULL;
    if (!file)
        return;
    seen[count_seen++] = kernel;
    fprintf(file, "%s\n", kernel_name(kernel));
    fclose(file);
}

void qk_emulation_grid(const cudaLaunchConfig_t *config, const void *kernel, void (*call)(void *),
                       void *what)
{
    if (!order_known)
        qk_emulation_order(NULL);
    launches++;
    note(kernel);
    running = kernel;
    qk_races_launch(blocks_begun + 1);
    kernel_call = call;
    kernel_what = what;
    gridDim = config->gridDim;
    blockDim = config->blockDim;
    count = (int)(config->blockDim.x * config->blockDim.y * config->blockDim.z);
    dynamic_bytes = config->dynamicSmemBytes;
    __asan_poison_memory_region(dynamic_room, sizeof dynamic_room);
    __asan_unpoison_memory_region(dynamic, dynamic_bytes);
    static const bool trace = getenv("QK_EMULATION_TRACE") != NULL;
    if (trace)
        fprintf(stderr, "emulation: kernel %s, grid (%u, %u, %u), block (%u, %u, %u), %zu bytes\n",
                kernel_name(kernel), config->gridDim.x, config->gridDim.y, config->gridDim.z,
                config->blockDim.x, config->blockDim.y, config->blockDim.z, dynamic_bytes);
    const uint64_t blocks = (uint64_t)config->gridDim.x * config->gridDim.y * config->gridDim.z;
    uint64_t at = order == REVERSE ? blocks - 1 : order == SHUFFLE ? draw() % blocks : 0;
    uint64_t step = order == REVERSE ? blocks - 1 : 1;
    if (order == SHUFFLE)
        for (step = 1 + draw() % blocks; gcd(step, blocks) != 1;)
            step = 1 + draw() % blocks;
    for (uint64_t i = 0; i < blocks; i++, at = (at + step) % blocks)
        run_block(at);
    __asan_poison_memory_region(dynamic_room, sizeof dynamic_room);
    running = NULL;
}

int64_t qk_emulation_launches(void)
{
    return launches;
}

void *qk_emulation_dynamic(void)
{
    if (current < 0)
        qk_emulation_fail("shared memory outside a kernel");
    return dynamic;
}

bool qk_emulation_is_shared(const void *at, size_t bytes)
{
    extern char __data_start, _end; /* the program's own variables: what was declared __shared__ */
    const char *p = (const char *)at;
    return p >= &__data_start && p + bytes <= &_end;
}
