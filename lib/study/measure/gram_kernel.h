/* The sums for one kind of vector: included by gram.c with WIDTH (doubles in a vector), ROWS (of a
 * register tile; a multiple of WIDTH), NAME (gives every function its own name) set, inside a
 * `#pragma GCC target` that has such vectors.
 *
 * A register tile is ROWS x 2 vectors of the Gram matrix: as many sums as hide the latency of an
 * addition and fit into the registers. */
typedef double NAME(vector) __attribute__((vector_size(8 * WIDTH)));
typedef double NAME(loose) __attribute__((vector_size(8 * WIDTH), aligned(8), may_alias));
typedef float NAME(floats) __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

/* ---- packing ---- */

/* Sixteen columns of n rows, `down` apart; their sums too unless `sum` is NULL. */
static inline __attribute__((always_inline)) void NAME(pack_lines)(double *restrict to,
                                                                   double *restrict sum,
                                                                   const float *restrict x,
                                                                   int64_t down, int n)
{
    NAME(vector) total[PANEL / WIDTH];
#pragma GCC unroll 8
    for (int j = 0; sum && j < PANEL / WIDTH; j++)
        total[j] = *(const NAME(loose) *)(sum + j * WIDTH);
    for (int r = 0; r < n; r++)
#pragma GCC unroll 8
        for (int j = 0; j < PANEL / WIDTH; j++) {
            NAME(vector)
            value = __builtin_convertvector(*(const NAME(floats) *)(x + r * down + j * WIDTH),
                                            NAME(vector));
            *(NAME(vector) *)(to + r * PANEL + j * WIDTH) = value;
            if (sum)
                total[j] += value;
        }
#pragma GCC unroll 8
    for (int j = 0; sum && j < PANEL / WIDTH; j++)
        *(NAME(loose) *)(sum + j * WIDTH) = total[j];
}

/* Contiguous rows.  They may lie pages apart: each is read once, whole, and asked for early. */
static void NAME(pack_rows)(double *to, double *sum, const float *x, int64_t down, int64_t rows,
                            int d)
{
    enum { GROUP = 8, AHEAD = 16 };
    const int whole = d / PANEL * PANEL;
    for (int64_t r = 0; r < rows; r += GROUP, x += GROUP * down, to += GROUP * PANEL) {
        const int n = rows - r < GROUP ? (int)(rows - r) : GROUP;
        for (int i = 0; i < GROUP && r + AHEAD + i < rows; i++)
            for (int j = 0; j < d; j += FLOATS_IN_LINE)
                __builtin_prefetch(x + (AHEAD + i) * down + j);
        double *panel = to;
        for (int j = 0; j < whole; j += PANEL, panel += PANEL_SIZE)
            if (sum)
                NAME(pack_lines)(panel, sum + j, x + j, down, n);
            else
                NAME(pack_lines)(panel, NULL, x + j, down, n);
        if (whole < d)
            pack_across(panel, sum ? sum + whole : NULL, x + whole, down, 1, n, d - whole);
    }
}

/* ---- products ---- */

/* to [ROWS, across vectors] += a^T b, with lines of `to` ld apart.  Inlined with `across` known. */
static inline __attribute__((always_inline)) void NAME(tile)(const int across, double *to,
                                                             int64_t ld, const double *restrict a,
                                                             const double *restrict b, int64_t rows,
                                                             struct ahead *next)
{
    NAME(vector) sum[ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
        sum[i][0] = sum[i][1] = (NAME(vector)){0};
    for (int64_t k = 0; k < rows; k++) {
        NAME(vector) line[2];
        if (k % STEPS_A_LINE == 0)
            ask_for(next);
#pragma GCC unroll 2
        for (int j = 0; j < across; j++)
            line[j] = *(const NAME(vector) *)(b + k * PANEL + j * WIDTH);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
            for (int j = 0; j < across; j++)
                sum[i][j] += a[k * PANEL + i] * line[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < across; j++)
            *(NAME(loose) *)(to + i * ld + j * WIDTH) += sum[i][j];
}

static void NAME(wide_tile)(double *to, int64_t ld, const double *a, const double *b, int64_t rows,
                            struct ahead *next)
{
    NAME(tile)(2, to, ld, a, b, rows, next);
}

static void NAME(narrow_tile)(double *to, int64_t ld, const double *a, const double *b,
                              int64_t rows, struct ahead *next)
{
    NAME(tile)(1, to, ld, a, b, rows, next);
}

/* A tile that sticks out of the matrix goes by way of a buffer. */
static void NAME(edge_tile)(double *gram, int d, int row, int column, const double *a,
                            const double *b, int64_t rows, struct ahead *next)
{
    double all[ROWS * 2 * WIDTH] = {0};
    NAME(wide_tile)(all, 2 * WIDTH, a, b, rows, next);
    for (int i = 0; i < ROWS && row + i < d; i++)
        for (int j = 0; j < 2 * WIDTH && column + j < d; j++)
            gram[(row + i) * d + column + j] += all[i * 2 * WIDTH + j];
}

/* gram += what is packed, while the cache asks for what comes next. */
static void NAME(multiply)(double *gram, const double *packed, int64_t rows, int d,
                           struct ahead *next)
{
    for (int column = 0; column < d; column += 2 * WIDTH) {
        const double *b = packed + column / PANEL * PANEL_SIZE + column % PANEL;
        for (int row = 0; row < d && row < column + 2 * WIDTH; row += ROWS) {
            const double *a = packed + row / PANEL * PANEL_SIZE + row % PANEL;
            if (row + ROWS > d || column + 2 * WIDTH > d)
                NAME(edge_tile)(gram, d, row, column, a, b, rows, next);
            else if (row < column + WIDTH)
                NAME(wide_tile)(gram + row * d + column, d, a, b, rows, next);
            else /* its first vectors are all below the diagonal */
                NAME(narrow_tile)(gram + row * d + column + WIDTH, d, a, b + WIDTH, rows, next);
        }
    }
}
