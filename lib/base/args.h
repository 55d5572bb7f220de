/* Command lines: options are a table, and parsing, --help and provenance all come from it.
 *
 *     struct settings s = {.level = 3};                      // defaults live in the values
 *     struct qk_option options[] = {
 *         {"level", 0, QK_OPT_INT, &s.level, "N", "how hard to try", .least = 1, .most = 9},
 *         {0}};
 *     struct qk_command command = {.tool = "qk-x", .usage = "[options] INPUT... -o OUT",
 *                                  .summary = "...", .tables = {options, standard, NULL}};
 *     if (qk_args_parse(&command, argc, argv, &err) != 0) -> usage error, exit 2
 */
#ifndef QK_BASE_ARGS_H
#define QK_BASE_ARGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"
#include "mem.h"

enum qk_opt_kind {
    QK_OPT_FLAG,   /* bool *: presence sets true */
    QK_OPT_INT,    /* int64_t *: whole number in [least, most] (both 0: any) */
    QK_OPT_COUNT,  /* int64_t *: count with K, M, G in [least, most] (most 0: any) */
    QK_OPT_REAL,   /* double *: finite number */
    QK_OPT_TEXT,   /* const char **: points into argv */
    QK_OPT_CHOICE, /* const char **: one of `choices`, "a|b|c" */
    QK_OPT_LIST,   /* struct qk_strings *: may be given again; each adds one */
};

struct qk_option {
    const char *name; /* long name; NULL ends the table */
    char letter;      /* short form or 0 */
    enum qk_opt_kind kind;
    void *value;         /* holds the default until parsed */
    const char *metavar; /* "N", "FILE"; NULL for flags; choices shows itself */
    const char *help;    /* one line; the default is printed behind it */
    const char *choices;
    int64_t least, most;
    bool content_free;    /* cannot change what is written: left out of provenance */
    const char *heading;  /* printed above this option in --help */
    bool given;           /* set by the parser */
    const char *fallback; /* printed as the default instead of the value; "": none is */
};

enum { QK_MOST_TABLES = 4 };

struct qk_command {
    const char *tool;                             /* "qk-probe" */
    const char *usage;                            /* "[options] FILE..." */
    const char *summary;                          /* what it does, a sentence or two */
    struct qk_option *tables[QK_MOST_TABLES + 1]; /* ends with NULL */
    /* results of parsing */
    struct qk_strings operands; /* what is left, in order */
    struct qk_strings
        canonical;      /* --name, value pairs that can change the content, then operands */
    bool help, version; /* -h/--help or --version was given: nothing else was checked */
};

/* 0, or -1 with a sentence (misuse: print it and exit 2). */
int qk_args_parse(struct qk_command *command, int argc, char **argv, struct qk_err *err);

/* The --help page: usage, summary, every option with its default. */
void qk_args_help(const struct qk_command *command, FILE *to);

/* The option named `name`, or NULL. */
struct qk_option *qk_args_find(struct qk_command *command, const char *name);

void qk_args_free(struct qk_command *command);

#endif
