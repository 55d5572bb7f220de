/* What every tool shares: the standard options with one meaning everywhere, how it ends, and the
 * lines it prints.  A tool parses, opens, calls lib/, closes; it does no arithmetic.
 *
 *     int main(int argc, char **argv)
 *     {
 *         struct qk_tool tool = {.command = {...}};
 *         qk_tool_start(&tool, argc, argv);        // help, version, usage errors end here
 *         ...
 *         return qk_tool_end(&tool, failed, &err);
 *     }
 */
#ifndef QK_TOOLS_COMMON_H
#define QK_TOOLS_COMMON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/args.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/provenance.h"

/* Which of the standard options a tool offers. */
enum {
    QK_TOOL_OUT = 1,     /* -o FILE */
    QK_TOOL_DEVICE = 2,  /* --device auto|cpu|cuda[:N] */
    QK_TOOL_THREADS = 4, /* --threads N */
    QK_TOOL_SEED = 8,    /* --seed N */
};

struct qk_tool {
    struct qk_command command;         /* tool, usage, summary, tables[0]: filled by the tool */
    unsigned standard;                 /* QK_TOOL_* */
    const char *seed_fallback;         /* in words, where it is not 42 */
    int least_operands, most_operands; /* most < 0: any number */
    bool no_blas;                      /* a tool that never multiplies matrices */
    /* values of the standard options */
    const char *out;    /* NULL when not given */
    const char *device; /* "auto" */
    int64_t threads;    /* 0: all */
    int64_t seed;       /* 42 */
    bool seed_given, no_provenance, quiet, verbose;
    struct qk_provenance provenance;
    struct qk_option options[10]; /* the standard table, built by qk_tool_start */
};

/* Parse; print help or version and exit 0; print a usage error and exit 2; set threads, signals
 * and the BLAS kernels; begin provenance. */
void qk_tool_start(struct qk_tool *tool, int argc, char **argv);

/* Misuse found after parsing: one sentence and the usage line on stderr, exit 2. */
_Noreturn void qk_tool_misuse(const struct qk_tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Failure: "qk-probe: sentence" on stderr after flushing stdout; returns 1. */
int qk_tool_fail(const struct qk_tool *tool, const struct qk_err *err);

/* A remark for people, on stderr, silenced by -q.  qk_tool_detail only with -v. */
void qk_tool_say(const struct qk_tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void qk_tool_detail(const struct qk_tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Close stdout and check it, free: 0, or 1 when stdout could not be written. */
int qk_tool_done(struct qk_tool *tool);

/* The end of main: qk_tool_done, or when `bad` free and qk_tool_fail. */
int qk_tool_end(struct qk_tool *tool, int bad, const struct qk_err *err);

/* Where the result goes: -o, else "-" for stdout; and the whole text of it written there. */
const char *qk_tool_target(const struct qk_tool *tool);
int qk_tool_write(const struct qk_tool *tool, const struct qk_buffer *text, struct qk_err *err);

#endif
