#include "study/judge/table.h"

#include <math.h>
#include <stdarg.h>
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

/* ---- the causal study ---- */

static void header(struct qk_table *t, int columns, const char *const *names)
{
    t->columns = columns;
    for (int i = 0; i < columns; i++)
        qk_table_cell(t, "%s", names[i]);
}

static double last_of(const double *series, int points)
{
    int last = qk_results_last(series, points);
    return last < 0 ? NAN : series[last];
}

/* Between seeds, of the last mean PR. */
static double seed_sd(const struct qk_condition *c)
{
    double *pr = qk_alloc((size_t)c->n_seeds, sizeof *pr);
    for (int i = 0; i < c->n_seeds; i++)
        pr[i] = c->seeds[i].mean_pr[c->seeds[i].points - 1];
    double sd = qk_stats_sd(pr, c->n_seeds);
    free(pr);
    return sd;
}

void qk_table_conditions(struct qk_table *t, const struct qk_combined *c)
{
    static const char *const names[] = {"condition", "PR",         "sd of seeds", "% of null",
                                        "least PR",  "at Mtokens", "query PR",    "QK PR",
                                        "train",     "val"};
    header(t, 10, names);
    for (int i = 0; i < c->count; i++) {
        const struct qk_condition *condition = &c->at[i];
        const struct qk_results *r = &condition->mean;
        struct qk_trajectory at;
        qk_trajectory_follow(&at, condition);
        qk_table_cell(t, "%s %s", condition->name, qk_condition_name(condition));
        qk_table_number(t, "%.2f", at.last_pr);
        qk_table_number(t, "%.2f", seed_sd(condition));
        qk_table_number(t, "%.1f", 100 * at.last_pr / r->null_pr);
        qk_table_number(t, "%.2f", at.least_pr);
        qk_table_number(t, "%.4g", at.least_tokens / 1e6);
        qk_table_number(t, "%.2f", last_of(r->q_pr, r->points));
        qk_table_number(t, "%.2f", last_of(r->qk_pr, r->points));
        qk_table_number(t, "%.4f", at.train_loss);
        qk_table_number(t, "%.4f", at.val_loss);
    }
}

static void interval_cell(struct qk_table *t, const char *format, double low, double high)
{
    if (isnan(low)) {
        qk_table_cell(t, "-");
        return;
    }
    struct qk_table ends = {0};
    qk_table_number(&ends, format, low);
    qk_table_number(&ends, format, high);
    qk_table_cell(t, "[%s, %s]", ends.cells.at[0], ends.cells.at[1]);
    qk_table_free(&ends);
}

void qk_table_contrasts(struct qk_table *t, const struct qk_verdict *v)
{
    static const char *const names[] = {"contrast", "ΔPR",     "95 % interval", "sign-flip p",
                                        "Holm p",   "±1 PR",   "second half",   "Δtrain",
                                        "Δval",     "layers >"};
    header(t, 10, names);
    for (int i = 0; i < QK_CONTRASTS; i++) {
        const struct qk_contrast *k = &v->contrast[i];
        qk_table_cell(t, "%c−%c", k->plus, k->minus);
        qk_table_number(t, "%+.2f", k->pr.mean);
        interval_cell(t, "%+.2f", k->pr.low95, k->pr.high95);
        qk_table_number(t, "%.3f", k->pr.p_flip);
        qk_table_number(t, "%.3f", k->p_holm);
        qk_table_cell(t, "%s", k->pr.n < 2 ? "-" : qk_stats_equivalence_name(k->pr.equivalence));
        if (isnan(k->plateau_sd)) /* one point has no jitter to tell */
            qk_table_number(t, "%+.2f", k->plateau_mean);
        else
            qk_table_cell(t, "%+.2f ± %.2f", k->plateau_mean, k->plateau_sd);
        qk_table_number(t, "%+.4f", k->train.mean);
        qk_table_number(t, "%+.4f", k->val.mean);
        qk_table_cell(t, "%d of %d", k->layers_above, v->layers);
    }
}

void qk_table_trajectory(struct qk_table *t, const struct qk_verdict *v)
{
    static const char *const names[] = {"Mtokens", "PR A",    "PR B",  "PR C",  "train A",
                                        "train B", "train C", "val A", "val B", "val C"};
    header(t, 10, names);
    for (int i = 0; i < v->points; i++) {
        qk_table_number(t, "%.4g", v->at[0].condition->mean.tokens[i] / 1e6);
        for (int c = 0; c < 3; c++)
            qk_table_number(t, "%.2f", v->at[c].condition->mean.mean_pr[i]);
        for (int c = 0; c < 3; c++)
            qk_table_number(t, "%.4f", v->at[c].condition->mean.loss[i]);
        for (int c = 0; c < 3; c++)
            qk_table_number(t, "%.4f", v->at[c].condition->mean.val_loss[i]);
    }
}
