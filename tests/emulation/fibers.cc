/* Fibers: a thread of a block has a stack of its own; the switch is a few instructions and no
 * system call.  AddressSanitizer is told of every switch. */
#include "internal.h"

#include <sanitizer/common_interface_defs.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Kernels keep arrays in what would be registers; only touched pages cost memory. */
static const size_t STACK = 256 << 10, GUARD = 4096;

static void *caller_sp, *caller_fake;
static const void *caller_stack;
static size_t caller_size;
static struct qk_fiber *begun;

#if defined __x86_64__ && !defined QK_EMULATION_UCONTEXT

/* Save what a call must keep, and take up where `load` stopped. */
extern "C" void qk_fiber_switch(void **save, void *load);
asm(R"(
    .text
    .globl qk_fiber_switch
    .type qk_fiber_switch, @function
qk_fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size qk_fiber_switch, .-qk_fiber_switch
)");

static void *first_sp(struct qk_fiber *f, void (*entry)(void))
{
    /* six registers, where to go, and what would be the return address: aligned as by a call */
    void **sp = (void **)(f->stack + STACK) - 8;
    for (int i = 0; i < 8; i++)
        sp[i] = NULL;
    sp[6] = (void *)entry;
    return sp;
}

#else

#include <ucontext.h>

/* `sp` is a ucontext: the lowest bytes of the stack hold a fiber's. */
static ucontext_t caller_context;

static void qk_fiber_switch(void **save, void *load)
{
    swapcontext((ucontext_t *)*save, (ucontext_t *)load);
}

static void *first_sp(struct qk_fiber *f, void (*entry)(void))
{
    caller_sp = &caller_context;
    ucontext_t *context = (ucontext_t *)f->stack;
    getcontext(context);
    context->uc_stack.ss_sp = f->stack + sizeof *context;
    context->uc_stack.ss_size = STACK - sizeof *context;
    context->uc_link = NULL;
    makecontext(context, entry, 0);
    return context;
}

#endif

static void entry(void)
{
    struct qk_fiber *f = begun;
    __sanitizer_finish_switch_fiber(NULL, &caller_stack, &caller_size);
    f->body(f->what);
    __sanitizer_start_switch_fiber(NULL, caller_stack, caller_size);
    qk_fiber_switch(&f->sp, caller_sp);
    abort();
}

void qk_fiber_prepare(struct qk_fiber *f, void (*body)(void *), void *what)
{
    if (!f->stack) {
        void *room = mmap(NULL, STACK + GUARD, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (room == MAP_FAILED || mprotect(room, GUARD, PROT_NONE) != 0)
            qk_emulation_fail("no room for the stacks of a block's threads");
        f->stack = (char *)room + GUARD;
    }
    f->body = body;
    f->what = what;
    f->sp = first_sp(f, entry);
}

void qk_fiber_run(struct qk_fiber *f)
{
    begun = f;
    __sanitizer_start_switch_fiber(&caller_fake, f->stack, STACK);
    qk_fiber_switch(&caller_sp, f->sp);
    __sanitizer_finish_switch_fiber(caller_fake, NULL, NULL);
}

void qk_fiber_yield(struct qk_fiber *f)
{
    __sanitizer_start_switch_fiber(&f->fake, caller_stack, caller_size);
    qk_fiber_switch(&f->sp, caller_sp);
    __sanitizer_finish_switch_fiber(f->fake, &caller_stack, &caller_size);
}

bool qk_fiber_holds(const struct qk_fiber *f, const void *at)
{
    return (const char *)at >= f->stack && (const char *)at < f->stack + STACK;
}

bool qk_fiber_caller_holds(const void *at)
{
    return (const char *)at >= (const char *)caller_stack &&
           (const char *)at < (const char *)caller_stack + caller_size;
}
