/* Products as Muon and the loss ask for them: every transpose and type, batches, gaps between rows,
 * a C that is not D, odd places; by cuBLASLt and by the kernel that stands in for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

extern "C" {
#include <cmocka.h>
#include "base/mem.h"
#include "base/rng.h"
}

#include "unit/check.h"

#include "compute/cuda/gemm.cuh"

typedef void product(struct qk_device *d, const struct qk_cuda_product *p);

struct gemm_case {
    int64_t M, N, K, count;
    float alpha, beta;
    bool apart;        /* C is not D */
    int64_t gap, lead; /* numbers between rows, before the first */
};

/* `n` numbers of a type on the device and the same numbers on the host. */
struct numbers {
    struct qk_buf buf;
    float *host;
    void *at;
    int64_t n;
};

static struct numbers made(struct qk_device *d, enum qk_cuda_type type, const char *name, int64_t n,
                           int64_t lead)
{
    struct numbers x = {QK_NONE, (float *)qk_alloc((size_t)(n + lead), sizeof(float)), NULL, n};
    for (int64_t i = 0; i < n + lead; i++)
        x.host[i] = (float)qk_rng_normal(3, qk_rng_stream(name), (uint64_t)i);
    d->bf16 = type == QK_CUDA_BF16;
    d->ops->alloc(d, &x.buf, d->bf16 ? QK_ROLE_ACTIVATION : QK_ROLE_EXACT, n + lead);
    d->ops->put(d, x.buf, x.host, n + lead);
    d->ops->get(d, x.host, x.buf, n + lead); /* as rounded */
    x.at = d->bf16 ? (void *)(qk_cuda_at<bf16>(d, x.buf) + lead)
                   : (void *)(qk_cuda_at<float>(d, x.buf) + lead);
    x.host += lead;
    return x;
}

static void drop(struct qk_device *d, struct numbers *x, int64_t lead)
{
    d->ops->release(d, x->buf);
    free(x->host - lead);
}

static double entry(const struct numbers *x, bool turned, int64_t ld, int64_t first, int64_t i,
                    int64_t j)
{
    return (double)x->host[first + (turned ? j * ld + i : i * ld + j)];
}

/* Every number of D: those of the product, and those between its rows, which stay. */
static void compare(const struct qk_cuda_product *p, const struct numbers *a,
                    const struct numbers *b, const struct numbers *c, const struct numbers *before,
                    const float *got)
{
    const double rounding = p->out == QK_CUDA_BF16 ? 0x1p-8 : 0;
    for (int64_t at = 0; at < p->count * p->stride_c; at++) {
        const int64_t z = at / p->stride_c, in = at % p->stride_c, i = in / p->ldc, j = in % p->ldc;
        double want = (double)before->host[at], size = 0;
        if (i < p->M && j < p->N) {
            want = p->beta != 0 ? (double)p->beta * (double)c->host[at] : 0;
            size = fabs(want);
            for (int64_t k = 0; k < p->K; k++) {
                const double term = (double)p->alpha *
                                    entry(a, p->ta, p->lda, z * p->stride_a, i, k) *
                                    entry(b, p->tb, p->ldb, z * p->stride_b, k, j);
                want += term;
                size += fabs(term);
            }
        }
        if (!(fabs((double)got[at] - want) <= 1e-6 * size + rounding * fabs(want)))
            fail_msg("%s%s [%lld, %lld, %lld] at %lld: %g, expected %g", p->ta ? "t" : "n",
                     p->tb ? "t" : "n", (long long)p->M, (long long)p->N, (long long)p->K,
                     (long long)at, (double)got[at], want);
    }
}

static void check_one(struct qk_device *d, product *multiply, const struct gemm_case *c, bool ta,
                      bool tb, enum qk_cuda_type in, enum qk_cuda_type out)
{
    struct qk_err err = {{0}};
    struct qk_cuda_product p = {};
    p.ta = ta, p.tb = tb, p.M = c->M, p.N = c->N, p.K = c->K, p.count = c->count;
    p.alpha = c->alpha, p.beta = c->beta, p.in = in, p.out = out;
    p.lda = (ta ? c->M : c->K) + c->gap, p.ldb = (tb ? c->K : c->N) + c->gap, p.ldc = c->N + c->gap;
    p.stride_a = (ta ? c->K : c->M) * p.lda + 1, p.stride_b = (tb ? c->N : c->K) * p.ldb + 2;
    p.stride_c = c->M * p.ldc + 3;
    struct numbers a = made(d, in, "a", c->count * p.stride_a, c->lead);
    struct numbers b = made(d, in, "b", c->count * p.stride_b, c->lead);
    struct numbers other = made(d, out, "c", c->count * p.stride_c, c->lead);
    struct numbers result = made(d, out, "d", c->count * p.stride_c, c->lead);
    p.A = a.at, p.B = b.at, p.D = result.at;
    p.C = c->beta == 0 ? NULL : c->apart ? other.at : result.at;
    float *got = (float *)qk_alloc((size_t)result.n, sizeof *got);
    assert_true(qk_cuda_begin(d, "product"));
    multiply(d, &p);
    d->ops->get(d, got, qk_at(result.buf, c->lead), result.n);
    assert_works(d->ops->sync(d, &err));
    compare(&p, &a, &b, c->apart ? &other : &result, &result, got);
    free(got);
    for (struct numbers *each[] = {&a, &b, &other, &result, NULL}, **x = each; *x; x++)
        drop(d, *x, c->lead);
}

/* One device for all, so that a plan is not taken for another's.  By cuBLASLt unless an address is
 * odd. */
static void check_all(product *multiply)
{
    static const struct gemm_case cases[] = {
        {1, 1, 1, 1, 1, 0, false, 0, 0},    {5, 7, 3, 3, 0.5f, 0, false, 2, 1},
        {5, 7, 3, 2, 0.5f, 0, false, 1, 2}, {64, 64, 32, 2, 1, 1, false, 0, 0},
        {64, 64, 32, 1, 1, 1, true, 0, 4},  {33, 31, 65, 2, -2, 0.25f, true, 8, 8},
        {100, 1, 40, 1, 1, -1, true, 1, 3}, {40, 70, 33, 4, 1.5f, 2, false, 0, 2},
    };
    static const enum qk_cuda_type types[][2] = {
        {QK_CUDA_F32, QK_CUDA_F32}, {QK_CUDA_BF16, QK_CUDA_F32}, {QK_CUDA_BF16, QK_CUDA_BF16}};
    struct qk_err err = {{0}};
    struct qk_device *d = qk_device_open("cuda", &err);
    if (!d)
        fail_msg("%s", err.text);
    for (const struct gemm_case &c : cases)
        for (int turn = 0; turn < 4; turn++)
            for (const auto &type : types) {
                const int64_t before = qk_cuda_plain_products(d);
                check_one(d, multiply, &c, turn & 1, turn & 2, type[0], type[1]);
                const bool odd = type[0] == QK_CUDA_BF16 && c.lead % 2;
                assert_int_equal(qk_cuda_plain_products(d) - before,
                                 multiply == qk_cuda_gemm && odd);
            }
    qk_device_close(d);
}

static void test_library(void **)
{
    check_all(qk_cuda_gemm);
}

static void test_plain(void **)
{
    check_all(qk_cuda_gemm_plain);
}

/* More shapes than are remembered, twice; then one that was forgotten. */
static void test_many_shapes(void **)
{
    struct qk_err err = {{0}};
    struct qk_device *d = qk_device_open("cuda", &err);
    assert_non_null(d);
    struct numbers x = made(d, QK_CUDA_F32, "x", 300, 0), y = made(d, QK_CUDA_F32, "y", 1, 0);
    struct qk_cuda_product p = {};
    p.tb = true, p.M = p.N = p.count = 1, p.alpha = 1, p.A = p.B = x.at, p.D = y.at, p.ldc = 1;
    double sum = 0;
    for (int64_t k = 1; k <= 600; k++) {
        p.K = p.lda = p.ldb = (k - 1) % 300 + 1;
        float got = 0;
        assert_true(qk_cuda_begin(d, "product"));
        qk_cuda_gemm(d, &p);
        d->ops->get(d, &got, y.buf, 1);
        sum = p.K == 1 ? 0 : sum;
        sum += (double)x.host[p.K - 1] * (double)x.host[p.K - 1];
        assert_close((double)got, sum, 1e-6);
    }
    assert_works(d->ops->sync(d, &err));
    drop(d, &x, 0);
    drop(d, &y, 0);
    qk_device_close(d);
}

/* Nothing to do is done; a sum of nothing is nothing; what cannot be is said. */
static void test_edges(void **)
{
    struct qk_err err = {{0}};
    struct qk_device *d = qk_device_open("cuda", &err);
    assert_non_null(d);
    struct numbers y = made(d, QK_CUDA_F32, "y", 4, 0);
    struct qk_cuda_product p = {};
    p.M = p.N = 2, p.count = 1, p.alpha = 1, p.beta = 0.5f, p.C = p.D = y.at, p.ldc = 2;
    p.lda = p.ldb = 2, p.A = p.B = y.at;
    float got[4];
    assert_true(qk_cuda_begin(d, "product"));
    qk_cuda_gemm(d, &p);
    p.M = 0, p.K = 2;
    qk_cuda_gemm(d, &p);
    d->ops->get(d, got, y.buf, 4);
    assert_works(d->ops->sync(d, &err));
    for (int i = 0; i < 4; i++)
        assert_true(got[i] == 0.5f * y.host[i]);
    p.M = 2, p.out = QK_CUDA_BF16;
    assert_true(qk_cuda_begin(d, "product"));
    qk_cuda_gemm(d, &p);
    assert_int_equal(d->ops->sync(d, &err), -1);
    assert_string_equal(err.text, "cuda product: no product has numbers of these types");
    drop(d, &y, 0);
    qk_device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_library),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_many_shapes),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
