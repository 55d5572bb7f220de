/* Small tables of text cells, printed as Markdown, TSV or aligned text. */
#ifndef QK_STUDY_TABLE_H
#define QK_STUDY_TABLE_H

#include <stdio.h>

#include "base/mem.h"

struct qk_table {
    int columns;
    struct qk_strings cells; /* row by row, header first; a multiple of columns when complete */
};

/* A header of n names, which sets the columns; then cell after cell. */
void qk_table_header(struct qk_table *t, const char *const *names, int n);
void qk_table_cell(struct qk_table *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A number by a format such as "%.2f", or a dash when it is NaN. */
void qk_table_number(struct qk_table *t, const char *format, double value);
int qk_table_rows(const struct qk_table *t);                            /* without the header */
const char *qk_table_at(const struct qk_table *t, int row, int column); /* row -1: the header */
void qk_table_free(struct qk_table *t);

enum qk_table_format { QK_TABLE_MD, QK_TABLE_TSV, QK_TABLE_TEXT };
void qk_table_print(const struct qk_table *t, enum qk_table_format format, FILE *to);

#endif
