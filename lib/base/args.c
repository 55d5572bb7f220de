#define _GNU_SOURCE
#include "args.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "num.h"

enum { FIRST_LONG = 256, MOST_OPTIONS = 96 };

static bool one_of(const char *word, const char *choices)
{
    size_t n = strlen(word);
    for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strncmp(p, word, n) == 0 && (p[n] == '|' || p[n] == '\0'))
            return n > 0;
    return false;
}

static int store(struct qk_option *o, const char *text, struct qk_err *err)
{
    int bad = 0;
    switch (o->kind) {
    case QK_OPT_FLAG:
        *(bool *)o->value = true;
        break;
    case QK_OPT_INT:
        bad = qk_parse_int(text, o->least || o->most ? o->least : INT64_MIN,
                           o->most ? o->most : INT64_MAX, o->value, err);
        break;
    case QK_OPT_COUNT:
        bad = qk_parse_count(text, o->value, err);
        if (!bad && *(int64_t *)o->value < o->least)
            bad = qk_fail(err, "%s is less than %" PRId64, text, o->least);
        if (!bad && o->most && *(int64_t *)o->value > o->most)
            bad = qk_fail(err, "%s is more than %" PRId64, text, o->most);
        break;
    case QK_OPT_REAL:
        bad = qk_parse_real(text, o->value, err);
        break;
    case QK_OPT_CHOICE:
        if (!one_of(text, o->choices))
            bad = qk_fail(err, "'%.80s' is not one of %s", text, o->choices);
        else
            *(const char **)o->value = text;
        break;
    case QK_OPT_TEXT:
        if (!*text)
            bad = qk_fail(err, "the value is empty");
        *(const char **)o->value = text;
        break;
    case QK_OPT_LIST:
        if (!*text)
            bad = qk_fail(err, "the value is empty");
        qk_strings_add(o->value, text);
        break;
    }
    o->given = true;
    return bad ? qk_fail_in(err, "--%s: ", o->name) : 0;
}

struct lookup {
    struct qk_option *at[MOST_OPTIONS];
    struct option longs[MOST_OPTIONS + 3];
    char shorts[2 * MOST_OPTIONS + 4];
    int count;
};

static void build_lookup(struct qk_command *c, struct lookup *l)
{
    char *s = l->shorts;
    *s++ = ':'; /* report a missing value as ':' */
    for (struct qk_option **table = c->tables; *table; table++) {
        for (struct qk_option *o = *table; o->name && l->count < MOST_OPTIONS; o++) {
            int argument = o->kind == QK_OPT_FLAG ? no_argument : required_argument;
            l->longs[l->count] = (struct option){o->name, argument, NULL, FIRST_LONG + l->count};
            l->at[l->count++] = o;
            if (o->letter) {
                *s++ = o->letter;
                if (argument == required_argument)
                    *s++ = ':';
            }
        }
    }
    *s++ = 'h';
    *s = '\0';
    l->longs[l->count] = (struct option){"help", no_argument, NULL, 'h'};
    l->longs[l->count + 1] = (struct option){"version", no_argument, NULL, FIRST_LONG - 1};
}

static struct qk_option *by_code(const struct lookup *l, int code)
{
    if (code >= FIRST_LONG)
        return l->at[code - FIRST_LONG];
    for (int i = 0; i < l->count; i++)
        if (l->at[i]->letter == code)
            return l->at[i];
    return NULL;
}

static void record(struct qk_command *c, const struct qk_option *o, const char *text)
{
    if (o->content_free)
        return;
    char *name = qk_format("--%s", o->name);
    qk_strings_add(&c->canonical, name);
    free(name);
    if (text)
        qk_strings_add(&c->canonical, text);
}

/* After getopt said '?': what was wrong with `word`. */
static int refuse(const struct lookup *l, const char *word, struct qk_err *err)
{
    if (word[0] == '-' && word[1] != '-' && optopt)
        return qk_fail(err, "unknown option '-%c'", optopt);
    const size_t n = strcspn(word, "=");
    int matches = 0;
    for (int i = 0; l->longs[i].name; i++)
        matches += n > 2 && strncmp(l->longs[i].name, word + 2, n - 2) == 0;
    if (matches > 1 && !optopt)
        return qk_fail(err, "option '%s' is ambiguous", word);
    if (matches)
        return qk_fail(err, "option '%.*s' takes no value", (int)n, word);
    return qk_fail(err, "unknown option '%s'", word);
}

int qk_args_parse(struct qk_command *command, int argc, char **argv, struct qk_err *err)
{
    struct lookup lookup = {0};
    build_lookup(command, &lookup);
    opterr = 0;
    optind = 0; /* a full restart, so that tests can parse twice */
    int code;
    while ((code = getopt_long(argc, argv, lookup.shorts, lookup.longs, NULL)) != -1) {
        if (code == 'h' || code == FIRST_LONG - 1) {
            *(code == 'h' ? &command->help : &command->version) = true;
            return 0;
        }
        if (code == ':')
            return qk_fail(err, "option '%s' needs a value", argv[optind - 1]);
        struct qk_option *o = code == '?' ? NULL : by_code(&lookup, code);
        if (!o)
            return refuse(&lookup, argv[optind - 1], err);
        if (store(o, optarg, err) != 0)
            return -1;
        record(command, o, optarg);
    }
    for (int i = optind; i < argc; i++) {
        if (!*argv[i])
            return qk_fail(err, "an operand is empty");
        qk_strings_add(&command->operands, argv[i]);
        qk_strings_add(&command->canonical, argv[i]);
    }
    return 0;
}

static void print_default(const struct qk_option *o, FILE *to)
{
    const char *text;
    if (o->fallback) {
        fprintf(to, *o->fallback ? " [%s]" : "%s", o->fallback);
        return;
    }
    switch (o->kind) {
    case QK_OPT_INT:
    case QK_OPT_COUNT:
        fprintf(to, " [%" PRId64 "]", *(const int64_t *)o->value);
        break;
    case QK_OPT_REAL:
        fprintf(to, " [%g]", *(const double *)o->value);
        break;
    case QK_OPT_TEXT:
    case QK_OPT_CHOICE:
        text = *(const char *const *)o->value;
        if (text)
            fprintf(to, " [%s]", text);
        break;
    case QK_OPT_FLAG:
    case QK_OPT_LIST:
        break;
    }
}

static void print_option(const struct qk_option *o, FILE *to)
{
    if (o->heading)
        fprintf(to, "\n%s:\n", o->heading);
    char left[128];
    const char *value = o->choices ? o->choices : o->metavar;
    int n = snprintf(left, sizeof left, "  %c%c%s --%s%s%s", o->letter ? '-' : ' ',
                     o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name, value ? " " : "",
                     value ? value : "");
    if (n > 32)
        fprintf(to, "%s\n%34s%s", left, "", o->help);
    else
        fprintf(to, "%-34s%s", left, o->help);
    print_default(o, to);
    putc('\n', to);
}

void qk_args_help(const struct qk_command *command, FILE *to)
{
    fprintf(to, "Usage: %s %s\n%s\n", command->tool, command->usage, command->summary);
    for (struct qk_option *const *table = command->tables; *table; table++)
        for (const struct qk_option *o = *table; o->name; o++)
            print_option(o, to);
    fprintf(to, "  %-32s%s\n  %-32s%s\n", "-h, --help", "show this help", "    --version",
            "tell version, compiler and libraries");
}

struct qk_option *qk_args_find(struct qk_command *command, const char *name)
{
    for (struct qk_option **table = command->tables; *table; table++)
        for (struct qk_option *o = *table; o->name; o++)
            if (strcmp(o->name, name) == 0)
                return o;
    return NULL;
}

void qk_args_free(struct qk_command *command)
{
    qk_strings_free(&command->operands);
    qk_strings_free(&command->canonical);
}
