/* The matrix products, plain and through squared ReLU. */
#include "cuda/both.h"

#include "compute/cuda/cuda.h"

enum { NONE, ITSELF, OTHER }; /* what y stands on */

struct product_case {
    int64_t M, N, K;
    int base;
};

static struct qk_buf base_of(struct both *b, const struct product_case *c, struct qk_buf *y)
{
    struct qk_buf before = both_normals(b, QK_ROLE_ACTIVATION, "before", c->M * c->N, 1);
    *y = c->base == ITSELF ? before : both_empty(b, QK_ROLE_ACTIVATION, c->M * c->N);
    return c->base == NONE ? QK_NONE : before;
}

/* Sums of K numbers in float32, of any order; `rounded`: of a result in bf16. */
static void out(struct both *b, const char *what, struct qk_buf buf, int64_t n, int64_t K,
                double rounded)
{
    const double sum = 1e-6 + 2e-7 * sqrt((double)K);
    both_out(b, what, buf, n, sum, sum + rounded);
}

/* cuBLASLt does what is aligned; the runs at other places come later. */
static void check_library(struct both *b, const struct product_case *c)
{
    const bool aligned = c->M % 8 == 0 && c->N % 8 == 0 && c->K % 8 == 0 && b->place == BOTH_EXACT;
    if (b->d->apart && aligned)
        assert_int_equal(qk_cuda_plain_products(b->d), 0);
}

static void run_plain(struct both *b, const void *one)
{
    const struct product_case *c = one;
    const int64_t M = c->M, N = c->N, K = c->K;
    struct qk_buf x = both_normals(b, QK_ROLE_ACTIVATION, "x", M * K, 1);
    struct qk_buf w = both_normals(b, QK_ROLE_PARAMETER, "w", N * K, 1);
    struct qk_buf dy = both_normals(b, QK_ROLE_ACTIVATION, "dy", M * N, 1);
    struct qk_buf dx = both_normals(b, QK_ROLE_ACTIVATION, "dx", M * K, 1);
    struct qk_buf dw = both_normals(b, QK_ROLE_GRADIENT, "dw", N * K, 1);
    struct qk_buf y, base = base_of(b, c, &y);
    b->d->ops->matmul(b->d, y, base, x, w, M, N, K);
    b->d->ops->matmul_dx(b->d, dx, dy, w, c->base != NONE, M, N, K);
    b->d->ops->matmul_dw(b->d, dw, dy, x, M, N, K);
    out(b, "y", y, M * N, K, 0x1p-8);
    out(b, "dx", dx, M * K, N, 0x1p-8);
    out(b, "dw", dw, N * K, M, 0);
    check_library(b, c);
}

/* Squares are rounded to bf16 before they are multiplied: half a unit in the last place each. */
static void run_squares(struct both *b, const void *one)
{
    const struct product_case *c = one;
    const int64_t M = c->M, N = c->N, K = c->K;
    struct qk_buf u = both_normals(b, QK_ROLE_ACTIVATION, "u", M * K, 1);
    struct qk_buf w = both_normals(b, QK_ROLE_PARAMETER, "w", N * K, 1);
    struct qk_buf dy = both_normals(b, QK_ROLE_ACTIVATION, "dy", M * N, 1);
    struct qk_buf du = both_empty(b, QK_ROLE_ACTIVATION, M * K);
    struct qk_buf dw = both_normals(b, QK_ROLE_GRADIENT, "dw", N * K, 1);
    struct qk_buf y, base = base_of(b, c, &y);
    b->d->ops->relu2(b->d, u, M * K);
    b->d->ops->relu2_matmul(b->d, y, base, u, w, M, N, K);
    b->d->ops->relu2_matmul_back(b->d, du, dw, dy, w, u, M, N, K);
    out(b, "y", y, M * N, K, 0x3p-8);
    out(b, "du", du, M * K, N, 0x2p-8);
    out(b, "dw", dw, N * K, M, 0x2p-8);
    check_library(b, c);
}

static const struct product_case small[] = {
    {1, 1, 1, NONE},       {3, 5, 2, ITSELF},      {37, 130, 17, OTHER}, {130, 37, 70, ITSELF},
    {64, 128, 192, OTHER}, {129, 64, 128, ITSELF}, {1, 72, 64, NONE},    {200, 1, 9, OTHER},
};

static const struct product_case real[] = {
    {2048, 8192, 2048, NONE},  {2048, 2048, 8192, OTHER}, {16384, 2048, 512, ITSELF},
    {16384, 512, 2048, OTHER}, {511, 2047, 1023, ITSELF}, {513, 1000, 2050, OTHER},
};

static void test_plain(void **state)
{
    (void)state;
    both_check_all(run_plain, small, real);
}

static void test_squares(void **state)
{
    (void)state;
    both_check_all(run_squares, small, real);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_squares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
