#include "study/gram.h"

#include <string.h>

/* Columns come in panels of 16, [panel][row][column], padded with zeros; one packed copy serves as
 * both operands.  A register tile is ROWS x ACROSS vectors of the Gram matrix: as many sums as the
 * processor's registers hold, and enough of them to hide the latency of an addition. */
#if defined(__AVX512F__)
enum { WIDTH = 8, ROWS = 8, ACROSS = 2 };
#elif defined(__AVX__)
enum { WIDTH = 4, ROWS = 4, ACROSS = 2 };
#else
enum { WIDTH = 2, ROWS = 4, ACROSS = 2 };
#endif

enum { PANEL = 16, TILE_COLS = WIDTH * ACROSS, PANEL_SIZE = QK_GRAM_ROWS * PANEL };

typedef double vector __attribute__((vector_size(8 * WIDTH)));
typedef float loose_floats __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef double loose __attribute__((vector_size(8 * WIDTH), aligned(8), may_alias));

static int panels_of(int d)
{
    return (d + PANEL - 1) / PANEL;
}

size_t qk_gram_room(int d)
{
    return (size_t)panels_of(d) * (PANEL_SIZE + PANEL) + 8; /* sums; 8: to begin at a cache line */
}

static double *aligned(double *p)
{
    return p + (8 - (uintptr_t)p / sizeof *p % 8) % 8;
}

#pragma GCC optimize("fp-contract=fast") /* -std=c11 forbids what changes no bit here */

/* ---- packing ---- */

/* Sixteen columns of one row. */
static void pack_line(double *restrict to, double *restrict sum, const float *restrict x)
{
#pragma GCC unroll 8
    for (int j = 0; j < PANEL; j += WIDTH) {
        vector value = __builtin_convertvector(*(const loose_floats *)(x + j), vector);
        *(vector *)(to + j) = value;
        *(loose *)(sum + j) += value;
    }
}

/* Contiguous rows.  They may lie pages apart: each is read once, whole, and asked for early. */
static void pack_rows(double *to, double *sum, const float *x, int64_t down, int64_t rows, int d)
{
    enum { AHEAD = 16, FLOATS_IN_LINE = 16 };
    const int whole = d / PANEL * PANEL;
    for (int64_t r = 0; r < rows; r++, x += down, to += PANEL) {
        if (r + AHEAD < rows)
            for (int j = 0; j < d; j += FLOATS_IN_LINE)
                __builtin_prefetch(x + AHEAD * down + j);
        double *panel = to;
        for (int j = 0; j < whole; j += PANEL, panel += PANEL_SIZE)
            pack_line(panel, sum + j, x + j);
        for (int j = whole; j < d; j++) {
            panel[j - whole] = (double)x[j];
            sum[j] += (double)x[j];
        }
        if (whole < d)
            memset(panel + d - whole, 0, (size_t)(whole + PANEL - d) * sizeof *panel);
    }
}

/* One panel whose columns lie `across` apart, row after row. */
static void pack_across(double *restrict to, double *restrict sum, const float *restrict x,
                        int64_t down, int64_t across, int64_t rows, int columns)
{
    for (int j = 0; j < PANEL; j++) {
        double total = j < columns ? sum[j] : 0;
        for (int64_t r = 0; r < rows; r++) {
            double value = j < columns ? (double)x[r * down + j * across] : 0;
            to[r * PANEL + j] = value;
            total += value;
        }
        if (j < columns)
            sum[j] = total;
    }
}

static void pack(double *to, double *sum, const float *x, int64_t down, int64_t across,
                 int64_t rows, int d)
{
    if (across == 1)
        pack_rows(to, sum, x, down, rows, d);
    else
        for (int first = 0; first < d; first += PANEL, to += PANEL_SIZE)
            pack_across(to, sum + first, x + first * across, down, across, rows,
                        d - first < PANEL ? d - first : PANEL);
}

/* ---- products ---- */

/* to [ROWS, TILE_COLS] += a^T b, with lines of `to` ld apart. */
static void tile(double *to, int64_t ld, const double *restrict a, const double *restrict b,
                 int64_t rows)
{
    vector sum[ROWS][ACROSS] = {{{0}}};
    for (int64_t k = 0; k < rows; k++) {
        vector line[ACROSS];
#pragma GCC unroll 2
        for (int j = 0; j < ACROSS; j++)
            line[j] = *(const vector *)(b + k * PANEL + j * WIDTH);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
            for (int j = 0; j < ACROSS; j++)
                sum[i][j] += a[k * PANEL + i] * line[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < ACROSS; j++)
            *(loose *)(to + i * ld + j * WIDTH) += sum[i][j];
}

/* A tile that sticks out of the matrix goes by way of a buffer. */
static void edge_tile(double *gram, int d, int row, int column, const double *a, const double *b,
                      int64_t rows)
{
    double all[ROWS * TILE_COLS] = {0};
    tile(all, TILE_COLS, a, b, rows);
    for (int i = 0; i < ROWS && row + i < d; i++)
        for (int j = 0; j < TILE_COLS && column + j < d; j++)
            gram[(row + i) * d + column + j] += all[i * TILE_COLS + j];
}

static void multiply(double *gram, const double *packed, int64_t rows, int d)
{
    for (int column = 0; column < d; column += TILE_COLS) {
        const double *b = packed + column / PANEL * PANEL_SIZE + column % PANEL;
        for (int row = 0; row < d && row < column + TILE_COLS; row += ROWS) {
            const double *a = packed + row / PANEL * PANEL_SIZE + row % PANEL;
            if (row + ROWS <= d && column + TILE_COLS <= d)
                tile(gram + row * d + column, d, a, b, rows);
            else
                edge_tile(gram, d, row, column, a, b, rows);
        }
    }
}

void qk_gram_add(double *gram, double *sum, const float *x, int64_t down, int64_t across,
                 int64_t rows, int d, double *scratch)
{
    double *packed = aligned(scratch), *unwanted = packed + panels_of(d) * PANEL_SIZE;
    memset(unwanted, 0, (size_t)d * sizeof *unwanted);
    for (int64_t first = 0; first < rows; first += QK_GRAM_ROWS) {
        int64_t n = rows - first < QK_GRAM_ROWS ? rows - first : QK_GRAM_ROWS;
        pack(packed, sum ? sum : unwanted, x + first * down, down, across, n, d);
        multiply(gram, packed, n, d);
    }
}

void qk_gram_mirror(double *gram, int d)
{
    for (int i = 0; i < d; i++)
        for (int j = 0; j < i; j++)
            gram[i * d + j] = gram[j * d + i];
}
