/* What attention_strip.h offers, for one kind of vector: included by attention_strip.c with WIDTH
 * (floats in a vector), TALL (rows of a register tile, dividing QK_STRIP), NAME (gives every
 * function its own name), LOW and HIGH (the orders that interleave the first and the second halves
 * of two vectors) set.
 *
 * The strides inside a tile are constants, so that a tile reads its first operand where it lies,
 * one number at a time: nothing is packed for it.
 */
typedef float NAME(vector) __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
#ifndef __clang__
typedef int32_t NAME(lanes) __attribute__((vector_size(4 * WIDTH)));
#endif

/* ---- products ---- */

/* c (+)= a b: TALL rows, `across` vectors of columns, all sums in registers while k runs.  a is
 * read at [row][k], or at [k][row] when `turned`.  Inlined with constants for all but n, ldb, ldc
 * and the pointers. */
static inline __attribute__((always_inline)) void
NAME(tile)(const int across, const bool turned, const bool add, int64_t n, const float *a,
           const int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc)
{
    NAME(vector) sum[TALL][2], x[2];
#pragma GCC unroll 16
    for (int i = 0; i < TALL; i++)
        for (int j = 0; j < across; j++)
            sum[i][j] = add ? *(NAME(vector) *)(c + i * ldc + j * WIDTH) : (NAME(vector)){0};
    for (int64_t k = 0; k < n; k++) {
        for (int j = 0; j < across; j++)
            x[j] = *(const NAME(vector) *)(b + k * ldb + j * WIDTH);
#pragma GCC unroll 16
        for (int i = 0; i < TALL; i++)
            for (int j = 0; j < across; j++)
                sum[i][j] += (turned ? a[k * lda + i] : a[i * lda + k]) * x[j];
    }
#pragma GCC unroll 16
    for (int i = 0; i < TALL; i++)
        for (int j = 0; j < across; j++)
            *(NAME(vector) *)(c + i * ldc + j * WIDTH) = sum[i][j];
}

static void NAME(logits)(float *p, const float *x, const float *turned, int64_t hd, int64_t cols)
{
    for (int64_t c = 0; c < cols; c += 2 * WIDTH)
        for (int64_t i = 0; i < QK_STRIP; i += TALL) {
            const float *a = x + i * QK_ROW, *b = turned + c * hd;
            float *to = p + i * QK_LD + c;
            if (cols - c > WIDTH)
                NAME(tile)(2, false, false, hd, a, QK_ROW, b, 2 * WIDTH, to, QK_LD);
            else
                NAME(tile)(1, false, false, hd, a, QK_ROW, b, 2 * WIDTH, to, QK_LD);
        }
}

static void NAME(average)(float *out, const float *p, const float *v, int64_t keys, int64_t width,
                          bool add)
{
    for (int64_t c = 0; c < width; c += 2 * WIDTH)
        for (int64_t i = 0; i < QK_STRIP; i += TALL) {
            const float *a = p + i * QK_LD;
            float *to = out + i * QK_ROW + c;
            if (width - c > WIDTH)
                NAME(tile)(2, false, add, keys, a, QK_LD, v + c, width, to, QK_ROW);
            else
                NAME(tile)(1, false, add, keys, a, QK_LD, v + c, width, to, QK_ROW);
        }
}

static void NAME(spread)(float *out, const float *p, const float *x, int64_t rows, int64_t width)
{
    for (int64_t c = 0; c < width; c += 2 * WIDTH)
        for (int64_t i = 0; i < QK_STRIP; i += TALL) {
            float *to = out + i * width + c;
            if (width - c > WIDTH)
                NAME(tile)(2, true, true, rows, p + i, QK_LD, x + c, QK_ROW, to, width);
            else
                NAME(tile)(1, true, true, rows, p + i, QK_LD, x + c, QK_ROW, to, width);
        }
}

/* ---- keys turned into panels: [2 * WIDTH keys][hd] to [hd][2 * WIDTH keys] ---- */

/* WIDTH x WIDTH numbers: log2(WIDTH) times, the first half of the vectors is interleaved with the
 * second. */
static inline __attribute__((always_inline)) void NAME(turn_square)(float *to, const float *from,
                                                                    int64_t ld)
{
    NAME(vector) x[WIDTH], y[WIDTH];
#pragma GCC unroll 16
    for (int i = 0; i < WIDTH; i++)
        x[i] = *(const NAME(vector) *)(from + i * ld);
#pragma GCC unroll 4
    for (int step = 1; step < WIDTH; step *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH / 2; i++) {
            y[2 * i] = INTERLEAVE(x[i], x[i + WIDTH / 2], LOW);
            y[2 * i + 1] = INTERLEAVE(x[i], x[i + WIDTH / 2], HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; i++)
            x[i] = y[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < WIDTH; i++)
        *(NAME(vector) *)(to + i * 2 * WIDTH) = x[i];
}

/* The last vector of keys is filled up with zeros. */
static void NAME(turn)(float *to, const float *from, int64_t stride, int64_t keys, int64_t hd)
{
    for (int64_t k = 0; k < keys; k += WIDTH) {
        float *panel = to + k / (2 * WIDTH) * (2 * WIDTH * hd) + k % (2 * WIDTH);
        int64_t whole = keys - k >= WIDTH ? hd / WIDTH * WIDTH : 0;
        for (int64_t i = 0; i < whole; i += WIDTH)
            NAME(turn_square)(panel + i * 2 * WIDTH, from + k * stride + i, stride);
        for (int64_t i = whole; i < hd; i++)
            for (int64_t c = 0; c < WIDTH; c++)
                panel[i * 2 * WIDTH + c] = k + c < keys ? from[(k + c) * stride + i] : 0;
    }
}

/* ---- from logits to probabilities: rows are filled up to `whole` vectors, so that no loop has a
 * scalar rest ---- */

/* 2^x for x <= 1: 2^n 2^r with |r| <= 1/2, a polynomial within 1e-7 (least relative error, with
 * 2^0 = 1).  `magic` rounds x to n and leaves n + 126, the exponent of 2^(n-1), in the low bits;
 * the polynomial makes up for the half.  At n = -126, where x stops, that scale is zero: no
 * denormal ever comes out, which would slow the products.  NaN stays NaN. */
static inline __attribute__((always_inline)) float NAME(exp2)(float x)
{
    const float magic = 12582912.0f + 126.0f; /* 1.5 * 2^23: there, floats are whole numbers */
    x = x < -126.0f ? -126.0f : x;
    float shifted = x + magic;
    float r = x - (shifted - magic);
    float twice = 2.652945462614298e-3f;
    twice = twice * r + 1.9343025982379913e-2f;
    twice = twice * r + 1.1101467162370682e-1f;
    twice = twice * r + 4.8044484853744507e-1f;
    twice = twice * r + 1.3862940073013306f;
    twice = twice * r + 2.0f;
    union {
        float f;
        uint32_t bits;
    } scale = {.f = shifted};
    scale.bits <<= 23;
    return twice * scale.f;
}

/* Set what the rows do not see of the keys from .. from+whole to `with`. */
static inline __attribute__((always_inline)) void
NAME(mask)(float *p, float with, const int32_t *seen, int64_t from, int64_t whole)
{
    int32_t all = (int32_t)qk_max64(0, (seen[0] - from) / QK_WIDE * QK_WIDE);
    for (int64_t r = 0; r < QK_STRIP; r++, p += QK_LD) {
        int32_t n = seen[r] - (int32_t)from;
#pragma omp simd
        for (int32_t i = all; i < (int32_t)whole; i++)
            p[i] = i < n ? p[i] : with;
    }
}

/* The largest of `whole` numbers, past NaN.  (As a reduction, this is not vector code in clang.) */
static inline __attribute__((always_inline)) float NAME(largest)(const float *row, int64_t whole)
{
    float most[QK_WIDE];
    for (int j = 0; j < QK_WIDE; j++)
        most[j] = row[j];
    for (int64_t i = QK_WIDE; i < whole; i += QK_WIDE)
#pragma omp simd
        for (int j = 0; j < QK_WIDE; j++)
            most[j] = row[i + j] > most[j] ? row[i + j] : most[j];
#pragma GCC unroll 4
    for (int half = QK_WIDE / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            most[j] = most[half + j] > most[j] ? most[half + j] : most[j];
    return most[0];
}

static void NAME(softmax)(float *p, const int32_t *seen, int64_t from, int64_t cols, float *max,
                          float *sum, float *out, int64_t width)
{
    int64_t whole = qk_round_up(cols, QK_WIDE);
    float most[QK_STRIP], down[QK_STRIP];
    NAME(mask)(p, -INFINITY, seen, from, whole);
    for (int64_t r = 0; r < QK_STRIP; r++)
        most[r] = NAME(largest)(p + r * QK_LD, whole);
#pragma omp simd
    for (int64_t r = 0; r < QK_STRIP; r++) {
        float m = most[r] > max[r] ? most[r] : max[r];
        down[r] = NAME(exp2)(max[r] - m);
        max[r] = m;
        sum[r] *= down[r];
    }
    for (int64_t r = 0; from > 0 && r < QK_STRIP; r++)
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            out[r * QK_ROW + i] *= down[r];
    for (int64_t r = 0; r < QK_STRIP; r++) {
        float *row = p + r * QK_LD, m = max[r], total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < whole; i++) {
            row[i] = NAME(exp2)(row[i] - m);
            total += row[i];
        }
        sum[r] += total;
    }
}

static void NAME(gradient)(float *p, float *dp, const int32_t *seen, int64_t from, int64_t cols,
                           const float *lse, const float *delta)
{
    int64_t whole = qk_round_up(cols, QK_WIDE);
    NAME(mask)(p, -INFINITY, seen, from, whole);
    NAME(mask)(dp, 0, seen, from, whole);
    for (int64_t r = 0; r < QK_STRIP; r++, p += QK_LD, dp += QK_LD) {
        float below = lse[r], mean = delta[r];
#pragma omp simd
        for (int64_t i = 0; i < whole; i++) {
            p[i] = NAME(exp2)(p[i] - below);
            dp[i] = p[i] * (dp[i] - mean);
        }
        for (int64_t i = whole; i < QK_KEYS; i++)
            p[i] = dp[i] = 0;
    }
}

static void NAME(entropy)(float *p, const int32_t *seen, int64_t from, int64_t cols,
                          const float *lse, double *sum, float *max)
{
    int64_t whole = qk_round_up(cols, QK_WIDE);
    NAME(mask)(p, -1e30f, seen, from, whole);
    for (int64_t r = 0; r < QK_STRIP; r++, p += QK_LD) {
        float most = NAME(largest)(p, whole), below = lse[r], total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < whole; i++)
            total += NAME(exp2)(p[i] - below) * (below - p[i]);
        max[r] = most > max[r] ? most : max[r];
        sum[r] += 0.69314718055994531 * (double)total;
    }
}

static const struct qk_attention_strip NAME(strip) = {
    .turn = NAME(turn),
    .logits = NAME(logits),
    .average = NAME(average),
    .spread = NAME(spread),
    .softmax = NAME(softmax),
    .gradient = NAME(gradient),
    .entropy = NAME(entropy),
};

#undef WIDTH
#undef TALL
#undef LOW
#undef HIGH
#undef NAME
