#include "study/judge/table.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void qk_table_cell(struct qk_table *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = qk_format_args(format, args);
    va_end(args);
    qk_strings_add(&t->cells, text);
    free(text);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored                                                                     \
    "-Wformat-nonliteral" /* the formats are literals of this file's callers */
void qk_table_number(struct qk_table *t, const char *format, double value)
{
    char text[64] = "-";
    if (!isnan(value))
        snprintf(text, sizeof text, format, value);
    qk_strings_add(&t->cells, text);
}
#pragma GCC diagnostic pop

void qk_table_header(struct qk_table *t, const char *const *names, int n)
{
    t->columns = n;
    for (int i = 0; i < n; i++)
        qk_table_cell(t, "%s", names[i]);
}

int qk_table_rows(const struct qk_table *t)
{
    return t->columns > 0 ? (int)(t->cells.count / (size_t)t->columns) - 1 : 0;
}

const char *qk_table_at(const struct qk_table *t, int row, int column)
{
    return t->cells.at[(size_t)(row + 1) * (size_t)t->columns + (size_t)column];
}

void qk_table_free(struct qk_table *t)
{
    qk_strings_free(&t->cells);
    *t = (struct qk_table){0};
}

/* ---- printing ---- */

/* Code points: all our text is one column wide each. */
static int width_of(const char *s)
{
    int width = 0;
    for (; *s != '\0'; s++)
        width += (*s & 0xC0) != 0x80;
    return width;
}

static int column_width(const struct qk_table *t, int column)
{
    int width = 0;
    for (int row = -1; row < qk_table_rows(t); row++) {
        int w = width_of(qk_table_at(t, row, column));
        width = w > width ? w : width;
    }
    return width;
}

static void print_padding(int n, FILE *to)
{
    for (int i = 0; i < n; i++)
        putc(' ', to);
}

/* First column to the left, numbers to the right. */
static void print_text(const struct qk_table *t, FILE *to)
{
    for (int row = -1; row < qk_table_rows(t); row++)
        for (int c = 0; c < t->columns; c++) {
            const char *cell = qk_table_at(t, row, c);
            int pad = column_width(t, c) - width_of(cell);
            bool last = c == t->columns - 1;
            if (c > 0)
                print_padding(pad, to);
            fputs(cell, to);
            if (c == 0 && !last)
                print_padding(pad, to);
            fputs(last ? "\n" : "  ", to);
        }
}

static void print_md_cell(const char *s, FILE *to)
{
    for (; *s != '\0'; s++) {
        if (*s == '|')
            putc('\\', to);
        putc(*s, to);
    }
}

static void print_md(const struct qk_table *t, FILE *to)
{
    for (int row = -1; row < qk_table_rows(t); row++) {
        for (int c = 0; c < t->columns; c++) {
            fputs(c == 0 ? "| " : " | ", to);
            print_md_cell(qk_table_at(t, row, c), to);
        }
        fputs(" |\n", to);
        for (int c = 0; row < 0 && c < t->columns; c++)
            fputs(c == 0 ? "|---" : "|---:", to);
        if (row < 0)
            fputs("|\n", to);
    }
}

static void print_tsv(const struct qk_table *t, FILE *to)
{
    for (int row = -1; row < qk_table_rows(t); row++)
        for (int c = 0; c < t->columns; c++)
            fprintf(to, "%s%c", qk_table_at(t, row, c), c == t->columns - 1 ? '\n' : '\t');
}

void qk_table_print(const struct qk_table *t, enum qk_table_format format, FILE *to)
{
    if (format == QK_TABLE_MD)
        print_md(t, to);
    else if (format == QK_TABLE_TSV)
        print_tsv(t, to);
    else
        print_text(t, to);
}
