/* The matrix products, plain and through squared ReLU, by every kind of vector there is. */
#include "ops_check.h"

#include "compute/cpu/cpu.h"

struct one {
    int64_t M, N, K;
    bool add, itself;
    float *x, *w, *dy, *before;
};

/* Outputs: y, dx, dw plain, then y, du, dw through max(0, x)^2.  y stands on `before` (being it, or
 * beside it), dx when `add`, du never, dw always. */
static void run(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct one *c = one;
    const struct qk_ops *ops = d->ops;
    int64_t M = c->M, N = c->N, K = c->K;
    struct qk_buf x = held(d, c->x, M * K), w = held(d, c->w, N * K), dy = held(d, c->dy, M * N);
    struct qk_buf before = held(d, c->before, M * N);
    for (int through = 0; through < 2; through++) {
        struct qk_buf y = held(d, c->before, M * N), dx = held(d, c->before, M * K);
        struct qk_buf dw = held(d, c->before, N * K), base = c->itself ? y : before;
        base = c->add ? base : QK_NONE;
        if (through) {
            ops->relu2(d, x, M * K);
            ops->relu2_matmul(d, y, base, x, w, M, N, K);
            ops->relu2_matmul_back(d, dx, dw, dy, w, x, M, N, K);
        } else {
            ops->matmul(d, y, base, x, w, M, N, K);
            ops->matmul_dx(d, dx, dy, w, c->add, M, N, K);
            ops->matmul_dw(d, dw, dy, x, M, N, K);
        }
        take(d, out, y, M * N);
        take(d, out, dx, M * K);
        take(d, out, dw, N * K);
        release_all(d, (struct qk_buf[]){y, dx, dw}, 3);
    }
    release_all(d, (struct qk_buf[]){x, w, dy, before}, 4);
}

/* c[i, j] = before + sum_k a[i*ai + k*ak] * b[j*bj + k*bk]; the size of the terms bounds the error.
 */
static void check_product(const char *what, const float *got, const float *before, const float *a,
                          int64_t ai, int64_t ak, const float *b, int64_t bj, int64_t bk, int64_t I,
                          int64_t J, int64_t K)
{
    for (int64_t i = 0; i < I; i++)
        for (int64_t j = 0; j < J; j++) {
            double sum = before ? (double)before[i * J + j] : 0, size = fabs(sum);
            for (int64_t k = 0; k < K; k++) {
                double term = (double)a[i * ai + k * ak] * (double)b[j * bj + k * bk];
                sum += term;
                size += fabs(term);
            }
            if (!(fabs((double)got[i * J + j] - sum) <= 1e-6 * size))
                fail_msg("%s[%lld, %lld] = %g, expected %g", what, (long long)i, (long long)j,
                         (double)got[i * J + j], sum);
        }
}

/* dx through the square: what the gate lets pass, divided by it. */
static void ungate(float *dx, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!(x[i] > 0) && dx[i] != 0)
            fail_msg("du[%lld] = %g where u is not positive", (long long)i, (double)dx[i]);
        dx[i] /= 2 * x[i];
    }
}

static void check_squares(const struct one *c, float *at)
{
    int64_t M = c->M, N = c->N, K = c->K;
    float *f = normals("x", M * K, 1), *du = at + M * N;
    for (int64_t i = 0; i < M * K; i++)
        f[i] = f[i] > 0 ? f[i] * f[i] : 0;
    check_product("y of squares", at, c->add ? c->before : NULL, f, K, 1, c->w, K, 1, M, N, K);
    ungate(du, c->x, M * K);
    for (int64_t i = 0; i < M; i++)
        for (int64_t k = 0; k < K; k++) /* one number at a time, where there is one */
            if (c->x[i * K + k] > 0)
                check_product("du", du + i * K + k, NULL, c->dy + i * N, N, 1, c->w + k, 1, K, 1, 1,
                              N);
    check_product("dw of squares", du + M * K, c->before, c->dy, 1, N, f, 1, K, N, K, M);
    free(f);
}

static void check_sizes(int64_t M, int64_t N, int64_t K, bool add, bool itself)
{
    int64_t most = M * N + M * K + N * K;
    struct one c = {M,
                    N,
                    K,
                    add,
                    itself,
                    normals("x", M * K, 1),
                    normals("w", N * K, 1),
                    normals("dy", M * N, 1),
                    normals("before", most, 1)};
    struct outputs out = run_case(run, &c);
    const float *before = add ? c.before : NULL;
    float *at = out.at;
    check_product("y", at, before, c.x, K, 1, c.w, K, 1, M, N, K);
    at += M * N;
    check_product("dx", at, before, c.dy, N, 1, c.w, 1, K, M, K, N);
    at += M * K;
    check_product("dw", at, c.before, c.dy, 1, N, c.x, 1, K, N, K, M);
    check_squares(&c, at + N * K);
    free(c.x);
    free(c.w);
    free(c.dy);
    free(c.before);
    free(out.at);
}

static void check_vectors(enum qk_vectors vectors)
{
    if (qk_vectors_limit(vectors) != vectors) {
        print_message("this processor lacks the vectors: left out\n");
        skip();
    }
    check_sizes(1, 1, 1, false, false);
    check_sizes(3, 5, 2, true, true);
    check_sizes(37, 130, 17, false, false);
    check_sizes(130, 37, 70, true, false);
    check_sizes(1, 300, 64, false, false);
    check_sizes(1030, 66, 30, true, true);
    check_sizes(2500, 10, 129, true, false);
}

static void test_blas(void **state)
{
    (void)state;
    check_vectors(QK_PLAIN);
}

static void test_avx2(void **state)
{
    (void)state;
    check_vectors(QK_AVX2);
}

static void test_avx512(void **state)
{
    (void)state;
    check_vectors(QK_AVX512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blas),
        cmocka_unit_test(test_avx2),
        cmocka_unit_test(test_avx512),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
