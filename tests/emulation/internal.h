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

/* The running thread's number in its block (running: -1 outside kernels), and how many blocks were
 * begun so far. */
int qk_emulation_thread(void);
int qk_emulation_running(void);
uint64_t qk_emulation_blocks(void);
/* Whose memory that is, neither the card's nor shared, when the running thread may not use it. */
const char *qk_emulation_private(const void *at, bool write);

/* ---- races.cc: nothing happens there unless kernels were compiled for it ---- */

extern bool qk_races_watched;
void *qk_races_take(size_t bytes);
void qk_races_give(void *at, size_t bytes);
void qk_races_launch(uint64_t next_block); /* kernels of one stream are ordered */
void qk_races_block(uint64_t number);
void qk_races_barrier(void);
void qk_races_warp(int first, unsigned mask);
/* The running thread uses bytes; `pc` is where it says so. */
void qk_races_use(const void *at, size_t bytes, bool write, bool atomic, const void *pc);

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
/* Whether `at` lies on its stack. */
bool qk_fiber_holds(const struct qk_fiber *f, const void *at);
/* Whether it lies among what the caller of qk_fiber_run has on its stack. */
bool qk_fiber_caller_holds(const void *at);

#endif
