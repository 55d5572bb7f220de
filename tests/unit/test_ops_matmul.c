/* The three matrix products. */
#include "ops_check.h"

struct one {
    int64_t M, N, K;
    bool add;
    float *x, *w, *dy, *before;
};

/* Outputs: y, dx, dw, each on top of `before` (dw always, the others when `add`). */
static void run(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct one *c = one;
    int64_t M = c->M, N = c->N, K = c->K;
    struct qk_buf x = held(d, c->x, M * K), w = held(d, c->w, N * K), dy = held(d, c->dy, M * N);
    struct qk_buf y = held(d, c->before, M * N), dx = held(d, c->before, M * K);
    struct qk_buf dw = held(d, c->before, N * K);
    d->ops->matmul(d, y, x, w, c->add, M, N, K);
    d->ops->matmul_dx(d, dx, dy, w, c->add, M, N, K);
    d->ops->matmul_dw(d, dw, dy, x, M, N, K);
    take(d, out, y, M * N);
    take(d, out, dx, M * K);
    take(d, out, dw, N * K);
    release_all(d, (struct qk_buf[]){x, w, dy, y, dx, dw}, 6);
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

static void check_sizes(int64_t M, int64_t N, int64_t K, bool add)
{
    int64_t most = M * N + M * K + N * K;
    struct one c = {M,
                    N,
                    K,
                    add,
                    normals("x", M * K, 1),
                    normals("w", N * K, 1),
                    normals("dy", M * N, 1),
                    normals("before", most, 1)};
    struct outputs out = run_case(run, &c);
    const float *before = add ? c.before : NULL, *at = out.at;
    check_product("y", at, before, c.x, K, 1, c.w, K, 1, M, N, K);
    at += M * N;
    check_product("dx", at, before, c.dy, N, 1, c.w, 1, K, M, K, N);
    at += M * K;
    check_product("dw", at, c.before, c.dy, 1, N, c.x, 1, K, N, K, M);
    free(c.x);
    free(c.w);
    free(c.dy);
    free(c.before);
    free(out.at);
}

static void test_sizes(void **state)
{
    (void)state;
    check_sizes(1, 1, 1, false);
    check_sizes(3, 5, 2, true);
    check_sizes(37, 130, 17, false);
    check_sizes(130, 37, 70, true);
    check_sizes(1, 300, 64, false);
    check_sizes(1030, 66, 30, false);
    check_sizes(2500, 10, 129, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
