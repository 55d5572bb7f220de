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
    for (int i = 0; i < rows; i++)
        sum[i][0] = sum[i][1] = (NAME(vector)){0};
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

static void NAME(pack_a)(float *to, const struct product *p, int64_t i, int64_t rows, int64_t k,
                         int64_t n)
{
    if (!p->ta) {
        for (int64_t r = 0; r < rows; r++)
            memcpy(to + r * A_STRIDE, p->A + (i + r) * p->lda + k, (size_t)n * sizeof *to);
        return;
    }
    const float *from = p->A + k * p->lda + i;
    if (i + A_GROUP <= p->M) /* a fixed size is one move; what is too much is not used */
        for (int64_t r = 0; r < n; r++)
            memcpy(to + r * A_GROUP, from + r * p->lda, A_GROUP * sizeof *to);
    else
        for (int64_t r = 0; r < n; r++)
            for (int64_t c = 0; c < rows; c++)
                to[r * A_GROUP + c] = from[r * p->lda + c];
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
static void NAME(narrow)(NAME(tile_of) * tile, int64_t n, const float *b, float alpha, bool add,
                         float *c, int64_t ldc, int64_t rows, int64_t cols)
{
    float whole[ROWS * 2 * WIDTH] = {0};
    for (int64_t r = 0; add && r < rows; r++)
        memcpy(whole + r * 2 * WIDTH, c + r * ldc, (size_t)cols * sizeof *c);
    tile(n, packed_a, b, alpha, add, whole, 2 * WIDTH);
    for (int64_t r = 0; r < rows; r++)
        memcpy(c + r * ldc, whole + r * 2 * WIDTH, (size_t)cols * sizeof *c);
}

/* All rows, columns j .. end of C, with the packed block of B. */
static void NAME(rows_of_tiles)(const struct product *p, int64_t j, int64_t end, int64_t k,
                                int64_t n)
{
    bool add = p->add || k > 0;
    int64_t rows;
    for (int64_t i = 0; i < p->M; i += rows) {
        rows = qk_blocks(p->M - i, qk_blocks(p->M - i, ROWS)); /* all about equally high */
        NAME(tile_of) *tile = NAME(tiles)[rows - 1][p->ta];
        NAME(pack_a)(packed_a, p, i, rows, k, n);
        for (int64_t c = j; c < end; c += 2 * WIDTH) {
            const float *b = packed_b + (c - j) * n;
            float *to = p->C + i * p->ldc + c;
            if (c + 2 * WIDTH <= end)
                tile(n, packed_a, b, p->alpha, add, to, p->ldc);
            else
                NAME(narrow)(tile, n, b, p->alpha, add, to, p->ldc, rows, end - c);
        }
    }
}

static void NAME(product)(const struct product *p)
{
    for (int64_t j = 0; j < p->N; j += COLS)
        for (int64_t k = 0; k < p->K; k += DEPTH) {
            int64_t end = qk_min64(j + COLS, p->N), n = qk_min64(DEPTH, p->K - k);
            for (int64_t c = j; c < end; c += 2 * WIDTH)
                NAME(pack_panel)(packed_b + (c - j) * n, p, c, k, n);
            NAME(rows_of_tiles)(p, j, end, k, n);
        }
}

#undef WIDTH
#undef ROWS
