/* The single-threaded product, by every kind of vector this processor has, against double loops. */
#include "ops_check.h"

#include "compute/cpu/cpu.h"

enum { GAP = 3 }; /* numbers between the rows of each matrix, which nobody may touch */

struct shape {
    int64_t M, N, K;
};

/* What is done around the product. */
enum { TA = 1, TB = 2, ADD = 4, BASE = 8, GATE = 16, SQUARE_A = 32, SQUARE_B = 64, HOWS = 128 };

static double squared(double x)
{
    return x > 0 ? x * x : 0;
}

static double expected(const struct qk_cpu_product *p, int64_t i, int64_t j, double *size)
{
    double sum = 0;
    for (int64_t k = 0; k < p->K; k++) {
        double a = (double)p->A[p->ta ? k * p->lda + i : i * p->lda + k];
        double b = (double)p->B[p->tb ? j * p->ldb + k : k * p->ldb + j];
        double term = (p->square_a ? squared(a) : a) * (p->square_b ? squared(b) : b);
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

static void check_numbers(const struct qk_cpu_product *p, const float *before, int how)
{
    for (int64_t i = 0; i < p->M; i++)
        for (int64_t j = 0; j < p->ldc; j++) {
            int64_t at = i * p->ldc + j;
            double size = 1e-30, got = (double)p->C[at];
            if (j >= p->N) {
                assert_true(got == (double)before[at]);
                continue;
            }
            double base = how & BASE ? (double)p->base[at] : how & ADD ? (double)before[at] : 0;
            double gate = p->gate ? 2 * fmax(0, (double)p->gate[at]) : 1;
            double want = (0.5 * expected(p, i, j, &size) + base) * gate;
            if (!(fabs(got - want) <= 1e-6 * (size + fabs(base)) * gate))
                fail_msg("%lld x %lld x %lld how %d: [%lld, %lld] = %g, expected %g",
                         (long long)p->M, (long long)p->N, (long long)p->K, how, (long long)i,
                         (long long)j, got, want);
        }
}

static void check_product(struct shape s, int how)
{
    bool ta = how & TA, tb = how & TB;
    int64_t lda = (ta ? s.M : s.K) + GAP, ldb = (tb ? s.K : s.N) + GAP, ldc = s.N + GAP;
    float *a = normals("a", (ta ? s.K : s.M) * lda, 1),
          *b = normals("b", (tb ? s.N : s.K) * ldb, 1);
    float *c = normals("c", s.M * ldc, 1), *before = normals("c", s.M * ldc, 1);
    float *base = normals("base", s.M * ldc, 1), *gate = normals("gate", s.M * ldc, 1);
    const struct qk_cpu_product p = {.ta = ta,
                                     .tb = tb,
                                     .square_a = how & SQUARE_A,
                                     .square_b = how & SQUARE_B,
                                     .M = s.M,
                                     .N = s.N,
                                     .K = s.K,
                                     .alpha = 0.5f,
                                     .A = a,
                                     .lda = lda,
                                     .B = b,
                                     .ldb = ldb,
                                     .base = how & BASE  ? base
                                             : how & ADD ? c
                                                         : NULL,
                                     .gate = how & GATE ? gate : NULL,
                                     .C = c,
                                     .ldc = ldc};
    qk_cpu_gemm(&p);
    check_numbers(&p, before, how);
    float *all[] = {a, b, c, before, base, gate};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

/* BLAS squares nothing (the parallel product does it before), and nobody squares a transpose. */
static bool makes_sense(int how, enum qk_vectors vectors)
{
    if ((how & SQUARE_A && how & TA) || (how & SQUARE_B && how & TB))
        return false;
    return vectors != QK_PLAIN || !(how & (SQUARE_A | SQUARE_B));
}

/* |got - sum of n products| within rounding. */
static void check_sum(const char *what, float got, double scale, const float *a, int64_t step_a,
                      const float *b, int64_t step_b, int64_t n, double old)
{
    double sum = old, size = fabs(old) + 1e-30;
    for (int64_t i = 0; i < n; i++) {
        double term = scale * (double)a[i * step_a] * (double)b[i * step_b];
        sum += term;
        size += fabs(term);
    }
    if (!(fabs((double)got - sum) <= 1e-6 * size))
        fail_msg("%s: %g, not %g", what, (double)got, sum);
}

/* X X^T and X^T X by strips of 64 rows: both triangles. */
static void check_square(int64_t n, int64_t K, bool tall)
{
    int64_t ld = qk_round_up(n, QK_CPU_PANEL), ldx = tall ? n : K;
    float *x = normals("x", n * K, 1), *c = normals("c", n * ld, 1);
    float *packed = normals("p", qk_cpu_pack_room(n, K), 1);
    struct qk_cpu_product p = {.ta = tall, .tb = !tall, .N = n, .K = K, .alpha = 0.5f};
    p.lda = p.ldb = ldx, p.B = x, p.ldc = ld, p.lower = true;
    for (int64_t i = 0; i < n; i += 64)
        qk_cpu_pack(packed, &p, i, qk_min64(i + 64, n));
    qk_cpu_use_packed(&p, packed, 0);
    for (int64_t i = 0; i < n; i += 64) {
        int64_t end = qk_min64(i + 64, n);
        p.M = end - i, p.N = qk_round_up(end, QK_CPU_PANEL), p.first = i;
        p.A = tall ? x + i : x + i * ldx, p.C = c + i * ld;
        qk_cpu_gemm(&p);
        qk_cpu_mirror(i, end, c, ld);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            check_sum("symmetric", c[i * ld + j], 0.5, x + (tall ? i : i * ldx), tall ? ldx : 1,
                      x + (tall ? j : j * ldx), tall ? ldx : 1, K, 0);
    free(x);
    free(c);
    free(packed);
}

static void check_symmetric(void)
{
    for (int tall = 0; tall < 2; tall++) {
        check_square(1, 3, tall);
        check_square(33, 20, tall);
        check_square(128, 40, tall);
        check_square(200, 530, tall);
    }
}

static void check_all(enum qk_vectors vectors)
{
    static const struct shape SHAPES[] = {
        {1, 1, 1},    {2, 3, 5},     {14, 32, 16},  {15, 33, 17},   {6, 16, 8},
        {29, 31, 15}, {128, 64, 32}, {37, 300, 70}, {17, 290, 530}, {40, 40, 1100},
    };
    if (qk_vectors_limit(vectors) != vectors) {
        print_message("this processor lacks the vectors: left out\n");
        skip();
    }
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
        for (int how = 0; how < HOWS; how++)
            if (makes_sense(how, vectors))
                check_product(SHAPES[i], how);
    for (int64_t rows = 1; rows <= 30; rows++) /* every height of a tile */
        check_product((struct shape){rows, 40, 20},
                      (rows % 2 ? TA : 0) | (rows % 3 ? 0 : TB) | (rows % 5 ? 0 : GATE));
    check_symmetric();
}

static void test_blas(void **state)
{
    (void)state;
    check_all(QK_PLAIN);
}

static void test_avx2(void **state)
{
    (void)state;
    check_all(QK_AVX2);
}

static void test_avx512(void **state)
{
    (void)state;
    check_all(QK_AVX512);
}

/* A part of C comes out as the same bytes as within the whole: tiles may be cut anywhere. */
static void test_cut(void **state)
{
    (void)state;
    if (qk_vectors_limit(QK_AVX512) == QK_PLAIN)
        skip(); /* a BLAS promises nothing of the kind */
    enum { M = 50, N = 70, K = 600 };
    float *a = normals("a", M * K, 1), *b = normals("b", N * K, 1);
    float *whole = normals("c", M * N, 1), *part = normals("c", M * N, 1);
    struct qk_cpu_product p = {.tb = true, .M = M, .N = N, .K = K, .alpha = 1};
    p.A = a, p.lda = K, p.B = b, p.ldb = K, p.C = whole, p.ldc = N;
    qk_cpu_gemm(&p);
    for (int64_t i = 0; i < M; i += 9)
        for (int64_t j = 0; j < N; j += 11) {
            p.M = qk_min64(9, M - i), p.N = qk_min64(11, N - j);
            p.A = a + i * K, p.B = b + j * K, p.C = part + i * N + j;
            qk_cpu_gemm(&p);
        }
    assert_memory_equal(whole, part, M * N * sizeof *whole);
    free(a);
    free(b);
    free(whole);
    free(part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blas),
        cmocka_unit_test(test_avx2),
        cmocka_unit_test(test_avx512),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
