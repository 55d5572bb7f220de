#include "study/measure/gram.h"

#include <string.h>

#include "base/vectors.h"

/* Columns come in panels of 16, [panel][row][column], padded with zeros; one packed copy serves as
 * both operands of the product. */
enum { PANEL = 16, PANEL_SIZE = QK_GRAM_ROWS * PANEL, FLOATS_IN_LINE = 16, STEPS_A_LINE = 8 };

static int panels_of(int d)
{
    return (d + PANEL - 1) / PANEL;
}

size_t qk_gram_room(int d)
{
    return (size_t)panels_of(d) * PANEL_SIZE + 8; /* 8: to begin at a cache line */
}

static double *aligned(double *p)
{
    return p + (8 - (uintptr_t)p / sizeof *p % 8) % 8;
}

/* One panel whose columns lie `across` apart, row after row. */
static void pack_across(double *restrict to, double *restrict sum, const float *restrict x,
                        int64_t down, int64_t across, int64_t rows, int columns)
{
    for (int j = 0; j < PANEL; j++) {
        double total = sum && j < columns ? sum[j] : 0;
        for (int64_t r = 0; r < rows; r++) {
            double value = j < columns ? (double)x[r * down + j * across] : 0;
            to[r * PANEL + j] = value;
            total += value;
        }
        if (sum && j < columns)
            sum[j] = total;
    }
}

/* Rows that will be packed next: the products ask the cache for them line by line, so that reading
 * from memory hides behind the arithmetic. */
struct ahead {
    const float *row;
    int64_t down, left; /* from one row to the next, rows left */
    int d, at;          /* columns, the one to ask for next */
};

static inline void ask_for(struct ahead *next)
{
    if (next->left <= 0)
        return;
    __builtin_prefetch(next->row + next->at, 0, 2);
    next->at += FLOATS_IN_LINE;
    if (next->at >= next->d) {
        next->at = 0;
        next->row += next->down;
        next->left--;
    }
}

/* ---- by kind of vector ---- */

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast") /* -std=c11 forbids what changes no bit here */

#define NAME(name) JOIN(plain, name)
#define WIDTH 2
#define ROWS 4
#include "study/measure/gram_kernel.h"
#undef NAME
#undef WIDTH
#undef ROWS

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define NAME(name) JOIN(avx2, name)
#define WIDTH 4
#define ROWS 4
#include "study/measure/gram_kernel.h"
#undef NAME
#undef WIDTH
#undef ROWS
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,fma")
#define NAME(name) JOIN(avx512, name)
#define WIDTH 8
#define ROWS 8
#include "study/measure/gram_kernel.h"
#undef NAME
#undef WIDTH
#undef ROWS
#pragma GCC pop_options

#endif

#pragma GCC pop_options

struct kernel {
    void (*pack_rows)(double *to, double *sum, const float *x, int64_t down, int64_t rows, int d);
    void (*multiply)(double *gram, const double *packed, int64_t rows, int d, struct ahead *next);
};

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

static const struct kernel kernels[] = {{plain_pack_rows, plain_multiply},
                                        {avx2_pack_rows, avx2_multiply},
                                        {avx512_pack_rows, avx512_multiply}};

#else

static const struct kernel kernels[] = {{plain_pack_rows, plain_multiply}};

#endif

/* ---- all of it ---- */

static void pack(const struct kernel *with, double *to, double *sum, const float *x, int64_t down,
                 int64_t across, int64_t rows, int d)
{
    if (across == 1)
        with->pack_rows(to, sum, x, down, rows, d);
    else
        for (int first = 0; first < d; first += PANEL, to += PANEL_SIZE)
            pack_across(to, sum ? sum + first : NULL, x + first * across, down, across, rows,
                        d - first < PANEL ? d - first : PANEL);
}

void qk_gram_add(double *gram, double *sum, const float *x, int64_t down, int64_t across,
                 int64_t rows, int d, double *scratch)
{
    const struct kernel *with = &kernels[qk_vectors()];
    double *packed = aligned(scratch);
    for (int64_t first = 0; first < rows; first += QK_GRAM_ROWS) {
        const int64_t left = rows - first, n = left < QK_GRAM_ROWS ? left : QK_GRAM_ROWS;
        struct ahead next = {.row = x + (first + n) * down, .down = down, .d = d};
        if (across == 1)
            next.left = left - n < QK_GRAM_ROWS ? left - n : QK_GRAM_ROWS;
        pack(with, packed, sum, x + first * down, down, across, n, d);
        with->multiply(gram, packed, n, d, &next);
    }
}

void qk_gram_mirror(double *gram, int d)
{
    for (int i = 0; i < d; i++)
        for (int j = 0; j < i; j++)
            gram[i * d + j] = gram[j * d + i];
}
