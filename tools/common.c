#define PCRE2_CODE_UNIT_WIDTH 8
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pcre2.h>
#include <zstd.h>

#include "base/h5.h"
#include "base/outfile.h"
#include "base/threads.h"
#include "compute/blas.h"
#include "compute/device.h"

static void standard_table(struct qk_tool *t)
{
    struct qk_option *o = t->options;
    const struct qk_option offered[] = {
        /* in the order of the bits QK_TOOL_* */
        {"output", 'o', QK_OPT_TEXT, &t->out, "FILE", "where the result goes",
         .content_free = true},
        {"device", 0, QK_OPT_TEXT, &t->device, "DEVICE", "auto, cpu, cuda or cuda:N"},
        {"threads", 0, QK_OPT_INT, &t->threads, "N", "processors to use, 0 for all", .most = 4096,
         .content_free = true},
        {"seed", 0, QK_OPT_INT, &t->seed, "N", "seed of every random choice", .most = INT64_MAX,
         .fallback = t->seed_fallback},
    };
    for (size_t i = 0; i < sizeof offered / sizeof *offered; i++)
        if (t->standard & 1u << i)
            *o++ = offered[i];
    *o++ = (struct qk_option){"no-provenance",     0,    QK_OPT_FLAG,
                              &t->no_provenance,   NULL, "leave out how the output was made",
                              .content_free = true};
    *o++ = (struct qk_option){"quiet",
                              'q',
                              QK_OPT_FLAG,
                              &t->quiet,
                              NULL,
                              "no progress and no remarks",
                              .content_free = true};
    *o++ = (struct qk_option){"verbose",           'v',  QK_OPT_FLAG,
                              &t->verbose,         NULL, "say more on standard error",
                              .content_free = true};
    *o = (struct qk_option){0};
    t->options[0].heading = "Common options";
}

static void print_version(const struct qk_tool *t)
{
    char pcre[64], blas[200];
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    qk_blas_describe(blas, sizeof blas);
    const char *cuda = qk_device_cuda_version();
    printf("%s %s\ncompiler: %s, flags: %s\nBLAS: %s\nHDF5: %s\nzstd: %s\nPCRE2: %s\nCUDA: %s\n",
           t->command.tool, QK_VERSION, __VERSION__, QK_BUILD_FLAGS, blas, qk_h5_version(),
           ZSTD_versionString(), pcre, cuda ? cuda : "not built in");
}

static int finish_stdout(const struct qk_tool *t)
{
    if (fflush(stdout) == 0 && !ferror(stdout) && fclose(stdout) == 0)
        return 0;
    fprintf(stderr, "%s: standard output cannot be written: %s\n", t->command.tool,
            strerror(errno));
    return 1;
}

/* A tool started without stdin, stdout or stderr must not get a file of its own under their
 * numbers: each is opened the wrong way round, so that using it fails. */
static void fill_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(1);
}

void qk_tool_start(struct qk_tool *t, int argc, char **argv)
{
    fill_standard_streams();
    const char *warning = t->no_blas ? NULL : qk_blas_start(argv);
    struct qk_err err;
    t->device = "auto";
    t->seed = 42;
    standard_table(t);
    int tables = 0;
    while (t->command.tables[tables])
        tables++;
    t->command.tables[tables] = t->options;
    if (qk_args_parse(&t->command, argc, argv, &err) != 0)
        qk_tool_misuse(t, "%s", err.text);
    if (t->command.help || t->command.version) {
        if (t->command.help)
            qk_args_help(&t->command, stdout);
        else
            print_version(t);
        exit(finish_stdout(t));
    }
    int operands = (int)t->command.operands.count;
    if (operands < t->least_operands)
        qk_tool_misuse(t, operands == 0 ? "no input given" : "too few inputs");
    if (t->most_operands >= 0 && operands > t->most_operands)
        qk_tool_misuse(t, "unexpected '%s'", t->command.operands.at[t->most_operands]);
    if (t->standard & QK_TOOL_DEVICE && !qk_device_is_name(t->device))
        qk_tool_misuse(t, "--device: '%s' is none of auto, cpu, cuda or cuda:N", t->device);
    struct qk_option *seed = qk_args_find(&t->command, "seed");
    t->seed_given = seed && seed->given;
    qk_threads_set((int)t->threads);
    qk_out_catch_signals();
    qk_provenance_begin(&t->provenance, &t->command, t->no_provenance);
    if (warning)
        qk_tool_say(t, "%s", warning);
}

void qk_tool_misuse(const struct qk_tool *t, const char *format, ...)
{
    fflush(stdout);
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", t->command.tool);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nUsage: %s %s\n", t->command.tool, t->command.usage);
    exit(2);
}

int qk_tool_fail(const struct qk_tool *t, const struct qk_err *err)
{
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", t->command.tool, err->text);
    return 1;
}

static void say(const struct qk_tool *t, const char *format, va_list args)
{
    fflush(stdout);
    fprintf(stderr, "%s: ", t->command.tool);
    vfprintf(stderr, format, args);
    putc('\n', stderr);
}

void qk_tool_say(const struct qk_tool *t, const char *format, ...)
{
    if (t->quiet)
        return;
    va_list args;
    va_start(args, format);
    say(t, format, args);
    va_end(args);
}

void qk_tool_detail(const struct qk_tool *t, const char *format, ...)
{
    if (t->quiet || !t->verbose)
        return;
    va_list args;
    va_start(args, format);
    say(t, format, args);
    va_end(args);
}

static void free_tool(struct qk_tool *t)
{
    qk_provenance_free(&t->provenance);
    qk_args_free(&t->command);
}

int qk_tool_done(struct qk_tool *t)
{
    free_tool(t);
    return finish_stdout(t);
}

int qk_tool_end(struct qk_tool *t, int bad, const struct qk_err *err)
{
    if (!bad)
        return qk_tool_done(t);
    free_tool(t);
    return qk_tool_fail(t, err);
}

const char *qk_tool_target(const struct qk_tool *t)
{
    return t->out ? t->out : "-";
}

int qk_tool_write(const struct qk_tool *t, const struct qk_buffer *text, struct qk_err *err)
{
    struct qk_out *out = qk_out_open(qk_tool_target(t), err);
    if (!out)
        return -1;
    fwrite(text->at, 1, text->size, qk_out_stream(out));
    return qk_out_commit(out, err);
}
