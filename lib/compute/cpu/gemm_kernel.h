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

/* Where its sums go, and what becomes of them. */
struct NAME(epilogue) {
    float alpha, *c;
    const float *base, *gate;
    int64_t ld; /* of c, base, gate */
};

/* max(0, x); NaN stays NaN. */
static inline __attribute__((always_inline)) NAME(vector) NAME(positive)(NAME(vector) x)
{
    return (NAME(vector))((NAME(lanes))x & ~(x < 0));
}

/* c = (base + alpha * a b) gate: `rows` rows, two vectors of columns, base and gate as product
 * says. Inlined with constant rows and by_k. */
static inline __attribute__((always_inline)) void NAME(tile)(const int rows, const bool by_k,
                                                             int64_t n, const float *a,
                                                             const float *b,
                                                             const struct NAME(epilogue) * to)
{
    NAME(vector) sum[ROWS][2];
    float *c = to->c;
    const int64_t ld = to->ld;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        __builtin_prefetch(c + i * ld, 1);
        __builtin_prefetch(c + i * ld + 2 * WIDTH - 1, 1);
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
            const int64_t at = i * ld + j * WIDTH;
            NAME(vector) new = to->alpha *sum[i][j];
            if (to->base)
                new += *(const NAME(loose) *)(to->base + at);
            if (to->gate) {
                const NAME(vector) g = *(const NAME(loose) *)(to->gate + at);
                new *= 2 * NAME(positive)(g);
            }
            *(NAME(loose) *)(c + at) = new;
        }
}

typedef void NAME(tile_of)(int64_t n, const float *a, const float *b,
                           const struct NAME(epilogue) * to);

#define TILE(rows)                                                                                 \
    static void NAME(across_##rows)(int64_t n, const float *a, const float *b,                     \
                                    const struct NAME(epilogue) * to)                              \
    {                                                                                              \
        NAME(tile)(rows, false, n, a, b, to);                                                      \
    }                                                                                              \
    static void NAME(down_##rows)(int64_t n, const float *a, const float *b,                       \
                                  const struct NAME(epilogue) * to)                                \
    {                                                                                              \
        NAME(tile)(rows, true, n, a, b, to);                                                       \
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
static int64_t NAME(cut)(int64_t *start, const struct qk_cpu_product *p, int64_t i)
{
    int64_t most = p->ta ? STRIP : 1, count = 0;
    for (start[0] = i; count < most && start[count] < p->M; count++) {
        int64_t left = p->M - start[count];
        start[count + 1] = start[count] + qk_blocks(left, qk_blocks(left, ROWS));
    }
    return count;
}

/* max(0, x)^2 */
static void NAME(square)(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += WIDTH) {
        NAME(loose) *at = (NAME(loose) *)(x + i);
        const NAME(vector) r = NAME(positive)(*at);
        *at = r * r;
    }
}

static void NAME(pack_rows)(const struct qk_cpu_product *p, int64_t i, int64_t rows, int64_t k,
                            int64_t n)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *from = p->A + (i + r) * p->lda + k;
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            packed_a[r * A_STRIDE + c] = from[c];
        if (p->square_a)
            NAME(square)(packed_a + r * A_STRIDE, n);
    }
}

static void NAME(pack_strip)(const struct qk_cpu_product *p, const int64_t *start, int64_t count,
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
static inline __attribute__((always_inline)) void NAME(transpose)(float *to, int64_t to_ld,
                                                                  const float *from, int64_t ld)
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
        *(NAME(loose) *)(to + i * to_ld) = x[i];
}

/* One panel of B^T: columns j .. j+cols, from rows of B. */
static void NAME(pack_turned)(float *to, const struct qk_cpu_product *p, int64_t j, int64_t cols,
                              int64_t k, int64_t n)
{
    const float *from = p->B + j * p->ldb + k;
    int64_t whole = cols == 2 * WIDTH ? n / WIDTH * WIDTH : 0;
    for (int64_t r = 0; r < whole; r += WIDTH)
        for (int64_t c = 0; c < 2 * WIDTH; c += WIDTH)
            NAME(transpose)(to + r * 2 * WIDTH + c, 2 * WIDTH, from + c * p->ldb + r, p->ldb);
    for (int64_t r = whole; r < n; r++)
        for (int64_t c = 0; c < 2 * WIDTH; c++)
            to[r * 2 * WIDTH + c] = c < cols ? from[c * p->ldb + r] : 0;
}

static void NAME(pack_straight)(float *to, const struct qk_cpu_product *p, int64_t j, int64_t cols,
                                int64_t k, int64_t n)
{
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

static void NAME(pack_panel)(float *to, const struct qk_cpu_product *p, int64_t j, int64_t k,
                             int64_t n)
{
    int64_t cols = qk_min64(2 * WIDTH, p->N - j);
    if (p->tb)
        NAME(pack_turned)(to, p, j, cols, k, n);
    else
        NAME(pack_straight)(to, p, j, cols, k, n);
    if (p->square_b)
        NAME(square)(to, n * 2 * WIDTH);
}

/* ---- the product ---- */

/* A tile of fewer columns: the product of a whole one, kept aside. */
static void NAME(narrow)(NAME(tile_of) * tile, int64_t n, const float *a, const float *b,
                         const struct NAME(epilogue) * to, int64_t rows, int64_t cols)
{
    float whole[3][ROWS * 2 * WIDTH] = {0};
    struct NAME(epilogue) aside = *to;
    aside.c = whole[0];
    aside.base = to->base ? whole[1] : NULL;
    aside.gate = to->gate ? whole[2] : NULL;
    aside.ld = 2 * WIDTH;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < cols; i++) {
            whole[1][r * aside.ld + i] = to->base ? to->base[r * to->ld + i] : 0;
            whole[2][r * aside.ld + i] = to->gate ? to->gate[r * to->ld + i] : 0;
        }
    tile(n, a, b, &aside);
    for (int64_t r = 0; r < rows; r++)
        memcpy(to->c + r * to->ld, whole[0] + r * aside.ld, (size_t)cols * sizeof *to->c);
}

/* Rows i .. i+rows, columns j .. end of C, with packed A at a; B's panels lie `panel` apart at b0.
 * The sum begins or goes on, and ends or will go on. */
static void NAME(row_of_tiles)(const struct qk_cpu_product *p, const float *a, const float *b0,
                               int64_t panel, int64_t i, int64_t rows, int64_t j, int64_t end,
                               int64_t n, bool begins, bool ends)
{
    NAME(tile_of) *tile = NAME(tiles)[rows - 1][p->ta];
    for (int64_t c = j; c < end; c += 2 * WIDTH) {
        const float *b = b0 + (c - j) * panel, *base = begins ? p->base : p->C;
        const int64_t at = i * p->ldc + c;
        const struct NAME(epilogue) to = {.alpha = p->alpha,
                                          .c = p->C + at,
                                          .base = base ? base + at : NULL,
                                          .gate = ends && p->gate ? p->gate + at : NULL,
                                          .ld = p->ldc};
        if (c + 2 * WIDTH <= end)
            tile(n, a, b, &to);
        else
            NAME(narrow)(tile, n, a, b, &to, rows, end - c);
    }
}

/* All rows of these columns; of a lower triangle, only what counts. */
static void NAME(columns)(const struct qk_cpu_product *p, int64_t j, int64_t end, int64_t k,
                          int64_t n)
{
    const float *b = p->panels ? p->panels + j * p->K + k * 2 * WIDTH : packed_b;
    int64_t start[STRIP + 1], count;
    for (int64_t i = 0; i < p->M; i = start[count]) {
        count = NAME(cut)(start, p, i);
        if (p->ta)
            NAME(pack_strip)(p, start, count, k, n);
        else
            NAME(pack_rows)(p, i, start[1] - i, k, n);
        for (int64_t t = 0; t < count; t++) {
            int64_t last = p->lower ? qk_round_up(p->first + start[t + 1], 2 * WIDTH) : end;
            NAME(row_of_tiles)
            (p, packed_a + t * A_TILE, b, p->panels ? p->K : n, start[t], start[t + 1] - start[t],
             j, qk_min64(end, last), n, k == 0, k + n == p->K);
        }
    }
}

/* Columns from .. end of B, k .. k+n, as panels. */
static void NAME(pack)(float *to, const struct qk_cpu_product *p, int64_t from, int64_t end,
                       int64_t k, int64_t n)
{
    for (int64_t c = from; c < end; c += 2 * WIDTH)
        NAME(pack_panel)(to + (c - from) * n, p, c, k, n);
}

static void NAME(product)(const struct qk_cpu_product *p)
{
    const int64_t cols = columns_at_once(p->K);
    for (int64_t j = 0; j < p->N; j += cols)
        for (int64_t k = 0; k < p->K; k += DEPTH) {
            int64_t end = qk_min64(j + cols, p->N), n = qk_min64(DEPTH, p->K - k);
            if (!p->panels)
                NAME(pack)(packed_b, p, j, end, k, n);
            NAME(columns)(p, j, end, k, n);
        }
}

/* Rows from .. end of a symmetric C: by squares of a vector's side, the last on the diagonal. */
static void NAME(mirror)(int64_t from, int64_t end, float *C, int64_t ldc)
{
    for (int64_t i = from; i < end; i += WIDTH) {
        const int64_t whole = i + WIDTH <= end ? i / WIDTH * WIDTH : 0;
        for (int64_t j = 0; j < whole; j += WIDTH)
            NAME(transpose)(C + j * ldc + i, ldc, C + i * ldc + j, ldc);
        mirror_plainly(i, qk_min64(i + WIDTH, end), whole, C, ldc);
    }
}

#undef WIDTH
#undef ROWS
