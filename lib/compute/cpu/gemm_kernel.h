/* The product for one kind of vector: included by gemm.c with WIDTH (floats in a vector), ROWS
 * (most rows of a register tile), NAME (gives every function its own name) set, inside a
 * `#pragma GCC target` that has such vectors.
 *
 * A register tile is ROWS x 2 vectors of C: all sums stay in registers while k runs.  The block of
 * A lies row by row, A_STRIDE apart (A not transposed), or k by k, A_GROUP apart (transposed), so
 * that packing it is plain copying; B lies in panels [k][2 * WIDTH], padded with zeros.
 */
typedef float NAME(vector) __attribute__((vector_size(4 * WIDTH)));
typedef float NAME(loose) __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t NAME(lanes) __attribute__((vector_size(4 * WIDTH)));

/* ---- the register tile ---- */

/* c (+)= alpha * a b: `rows` rows, two vectors of columns.  Inlined with constant rows and by_k. */
static inline __attribute__((always_inline)) void NAME(tile)(const int rows, const bool by_k,
                                                             int64_t n, const float *a,
                                                             const float *b, float alpha, bool add,
                                                             float *c, int64_t ldc)
{
    NAME(vector) sum[ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        __builtin_prefetch(c + i * ldc, 1);
        __builtin_prefetch(c + i * ldc + 2 * WIDTH - 1, 1);
        sum[i][0] = sum[i][1] = (NAME(vector)){0};
    }
    for (int64_t k = 0; k < n; k++) {
        NAME(vector) b0 = *(const NAME(loose) *)(b + k * 2 * WIDTH);
        NAME(vector) b1 = *(const NAME(loose) *)(b + k * 2 * WIDTH + WIDTH);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            float x = by_k ? a[k * A_GROUP + i] : a[i * A_STRIDE + k];
            sum[i][0] += x * b0;
            sum[i][1] += x * b1;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++) {
            NAME(loose) *to = (NAME(loose) *)(c + i * ldc + j * WIDTH);
            NAME(vector) new = alpha *sum[i][j];
            if (add)
                new += *to;
            *to = new;
        }
}

typedef void NAME(tile_of)(int64_t n, const float *a, const float *b, float alpha, bool add,
                           float *c, int64_t ldc);

#define TILE(rows)                                                                                 \
    static void NAME(across_##rows)(int64_t n, const float *a, const float *b, float alpha,        \
                                    bool add, float *c, int64_t ldc)                               \
    {                                                                                              \
        NAME(tile)(rows, false, n, a, b, alpha, add, c, ldc);                                      \
    }                                                                                              \
    static void NAME(down_##rows)(int64_t n, const float *a, const float *b, float alpha,          \
                                  bool add, float *c, int64_t ldc)                                 \
    {                                                                                              \
        NAME(tile)(rows, true, n, a, b, alpha, add, c, ldc);                                       \
    }
#define BOTH(rows)                                                                                 \
    {                                                                                              \
        NAME(across_##rows), NAME(down_##rows)                                                     \
    }
/* clang-format off */
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if ROWS > 6
TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12) TILE(13) TILE(14)
#endif
static NAME(tile_of) *const NAME(tiles)[ROWS][2] = {
    BOTH(1), BOTH(2), BOTH(3), BOTH(4), BOTH(5), BOTH(6),
#if ROWS > 6
    BOTH(7), BOTH(8), BOTH(9), BOTH(10), BOTH(11), BOTH(12), BOTH(13), BOTH(14),
#endif
};
/* clang-format on */
#undef TILE
#undef BOTH

/* ---- packing ---- */

/* The heights of the next tiles from row i on, all about equal: tile t has rows start[t] ..
 * start[t+1].  A transposed A is packed for several tiles at once, as its rows are long. */
static int64_t NAME(cut)(int64_t *start, const struct product *p, int64_t i)
{
    int64_t most = p->ta ? STRIP : 1, count = 0;
    for (start[0] = i; count < most && start[count] < p->M; count++) {
        int64_t left = p->M - start[count];
        start[count + 1] = start[count] + qk_blocks(left, qk_blocks(left, ROWS));
    }
    return count;
}

static void NAME(pack_rows)(const struct product *p, int64_t i, int64_t rows, int64_t k, int64_t n)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *from = p->A + (i + r) * p->lda + k;
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            packed_a[r * A_STRIDE + c] = from[c];
    }
}

static void NAME(pack_strip)(const struct product *p, const int64_t *start, int64_t count,
                             int64_t k, int64_t n)
{
    int64_t easy =
        count; /* tiles where A_GROUP numbers can be read: what is too much is not used */
    while (easy > 0 && start[easy - 1] + A_GROUP > p->M)
        easy--;
    for (int64_t r = 0; r < n; r++) {
        const float *from = p->A + (k + r) * p->lda;
        float *to = packed_a + r * A_GROUP;
        for (int64_t t = 0; t < easy; t++)
            memcpy(to + t * A_TILE, from + start[t], A_GROUP * sizeof *to);
        for (int64_t t = easy; t < count; t++)
            for (int64_t c = start[t]; c < start[t + 1]; c++)
                to[t * A_TILE + c - start[t]] = from[c];
    }
}

/* WIDTH x WIDTH numbers turned over: log2(WIDTH) times, the first half of the vectors is
 * interleaved with the second. */
static inline __attribute__((always_inline)) void NAME(transpose)(float *to, const float *from,
                                                                  int64_t ld)
{
    const NAME(lanes) low = NAME(LOW), high = NAME(HIGH);
    NAME(vector) x[WIDTH], y[WIDTH];
#pragma GCC unroll 16
    for (int i = 0; i < WIDTH; i++)
        x[i] = *(const NAME(loose) *)(from + i * ld);
#pragma GCC unroll 4
    for (int step = 1; step < WIDTH; step *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH / 2; i++) {
            y[2 * i] = __builtin_shuffle(x[i], x[i + WIDTH / 2], low);
            y[2 * i + 1] = __builtin_shuffle(x[i], x[i + WIDTH / 2], high);
        }
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; i++)
            x[i] = y[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < WIDTH; i++)
        *(NAME(loose) *)(to + i * 2 * WIDTH) = x[i];
}

/* One panel of B^T: columns j .. j+cols, from rows of B. */
static void NAME(pack_turned)(float *to, const struct product *p, int64_t j, int64_t cols,
                              int64_t k, int64_t n)
{
    const float *from = p->B + j * p->ldb + k;
    int64_t whole = cols == 2 * WIDTH ? n / WIDTH * WIDTH : 0;
    for (int64_t r = 0; r < whole; r += WIDTH)
        for (int64_t c = 0; c < 2 * WIDTH; c += WIDTH)
            NAME(transpose)(to + r * 2 * WIDTH + c, from + c * p->ldb + r, p->ldb);
    for (int64_t r = whole; r < n; r++)
        for (int64_t c = 0; c < 2 * WIDTH; c++)
            to[r * 2 * WIDTH + c] = c < cols ? from[c * p->ldb + r] : 0;
}

static void NAME(pack_panel)(float *to, const struct product *p, int64_t j, int64_t k, int64_t n)
{
    int64_t cols = qk_min64(2 * WIDTH, p->N - j);
    if (p->tb) {
        NAME(pack_turned)(to, p, j, cols, k, n);
        return;
    }
    const float *from = p->B + k * p->ldb + j;
    if (cols == 2 * WIDTH) {
        for (int64_t r = 0; r < n; r++)
            memcpy(to + r * 2 * WIDTH, from + r * p->ldb, 2 * WIDTH * sizeof *to);
        return;
    }
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < 2 * WIDTH; c++)
            to[r * 2 * WIDTH + c] = c < cols ? from[r * p->ldb + c] : 0;
}

/* ---- the product ---- */

/* A tile of fewer columns: the product of a whole one, kept aside. */
static void NAME(narrow)(NAME(tile_of) * tile, int64_t n, const float *a, const float *b,
                         float alpha, bool add, float *c, int64_t ldc, int64_t rows, int64_t cols)
{
    float whole[ROWS * 2 * WIDTH] = {0};
    for (int64_t r = 0; add && r < rows; r++)
        memcpy(whole + r * 2 * WIDTH, c + r * ldc, (size_t)cols * sizeof *c);
    tile(n, a, b, alpha, add, whole, 2 * WIDTH);
    for (int64_t r = 0; r < rows; r++)
        memcpy(c + r * ldc, whole + r * 2 * WIDTH, (size_t)cols * sizeof *c);
}

/* Rows i .. i+rows, columns j .. end of C, with packed A at a; B's panels lie `panel` apart at b0.
 */
static void NAME(row_of_tiles)(const struct product *p, const float *a, const float *b0,
                               int64_t panel, int64_t i, int64_t rows, int64_t j, int64_t end,
                               int64_t n, bool add)
{
    NAME(tile_of) *tile = NAME(tiles)[rows - 1][p->ta];
    for (int64_t c = j; c < end; c += 2 * WIDTH) {
        const float *b = b0 + (c - j) * panel;
        float *to = p->C + i * p->ldc + c;
        if (c + 2 * WIDTH <= end)
            tile(n, a, b, p->alpha, add, to, p->ldc);
        else
            NAME(narrow)(tile, n, a, b, p->alpha, add, to, p->ldc, rows, end - c);
    }
}

/* All rows of these columns; of a triangle, only what counts. */
static void NAME(columns)(const struct product *p, int64_t j, int64_t end, int64_t k, int64_t n)
{
    const float *b = p->panels ? p->panels + j * p->depth + k * 2 * WIDTH : packed_b;
    int64_t panel = p->panels ? p->depth : n;
    int64_t start[STRIP + 1], count;
    for (int64_t i = 0; i < p->M; i = start[count]) {
        count = NAME(cut)(start, p, i);
        int64_t skip = first_k(p, i, k, n);
        if (p->ta)
            NAME(pack_strip)(p, start, count, k + skip, n - skip);
        else
            NAME(pack_rows)(p, i, start[1] - i, k, last_k(p, start[1], k, n));
        for (int64_t t = 0; t < count; t++) {
            int64_t from = first_k(p, start[t], k, n), to = last_k(p, start[t + 1], k, n);
            if (from < to)
                NAME(row_of_tiles)
            (p, packed_a + t * A_TILE + (from - skip) * A_GROUP, b + from * 2 * WIDTH, panel,
             start[t], start[t + 1] - start[t], j,
             qk_min64(end, qk_round_up(last_column(p, start[t + 1]), 2 * WIDTH)), to - from,
             p->add || k > 0);
        }
    }
}

/* Columns from .. end of B, k .. k+n, as panels. */
static void NAME(pack)(float *to, const struct product *p, int64_t from, int64_t end, int64_t k,
                       int64_t n)
{
    for (int64_t c = from; c < end; c += 2 * WIDTH)
        NAME(pack_panel)(to + (c - from) * n, p, c, k, n);
}

static void NAME(product)(const struct product *p)
{
    for (int64_t j = 0; j < p->N; j += COLS)
        for (int64_t k = 0; k < p->K; k += DEPTH) {
            int64_t end = qk_min64(j + COLS, p->N), n = qk_min64(DEPTH, p->K - k);
            if (!p->panels)
                NAME(pack)(packed_b, p, j, end, k, n);
            NAME(columns)(p, j, end, k, n);
        }
}

#undef WIDTH
#undef ROWS
