/* What the parts of the emulation share. */
#ifndef QK_TESTS_EMULATION_INTERNAL_H
#define QK_TESTS_EMULATION_INTERNAL_H

#include <cuda_runtime.h>

#include "emulation.h"

/* Every failure ends the program: one sentence that begins with the kernel, block and thread where
 * one is running. */
[[noreturn]] void qk_emulation_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Run every block of the grid; arguments were checked. */
void qk_emulation_grid(const cudaLaunchConfig_t *config, const void *kernel, void (*call)(void *),
                       void *what);

/* The running thread's number in its block, and how many blocks were begun so far. */
int qk_emulation_thread(void);
uint64_t qk_emulation_blocks(void);

/* ---- fibers.cc: stacks and the switch between them ---- */

struct qk_fiber {
    void *sp;    /* where it stopped */
    void *fake;  /* AddressSanitizer's */
    char *stack; /* lowest address */
    void (*body)(void *);
    void *what;
};

/* A fiber that will begin with body(what) when first run; its stack is made once.  `body` ends by
 * returning. */
void qk_fiber_prepare(struct qk_fiber *f, void (*body)(void *), void *what);
/* From the caller's own stack: run `f` until it yields or ends. */
void qk_fiber_run(struct qk_fiber *f);
/* From within a fiber: back to who ran it. */
void qk_fiber_yield(struct qk_fiber *f);

#endif
