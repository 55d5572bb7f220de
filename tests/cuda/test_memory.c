/* The device's memory: arrays of every role in both dtypes, what moves between them and the host,
 * and what happens when there is no room. */
#include "cuda/both.h"

#include "base/progress.h"
#include "compute/device.h"

static const enum qk_role ROLES[] = {QK_ROLE_PARAMETER, QK_ROLE_GRADIENT, QK_ROLE_STATE,
                                     QK_ROLE_ACTIVATION, QK_ROLE_EXACT};

/* Rounded where the device keeps bf16 alone: parameters have their float32 masters. */
static float kept(bool bf16, enum qk_role role, float x)
{
    return bf16 && role == QK_ROLE_ACTIVATION ? both_rounded(x) : x;
}

static void check_role(bool bf16, enum qk_role role, int64_t n)
{
    struct qk_device *d = both_open(bf16);
    struct qk_err err = {{0}};
    float *x = normals("x", n, 1), *y = normals("y", n, 1);
    struct qk_buf a, b;
    d->ops->alloc(d, &a, role, n);
    d->ops->alloc(d, &b, role, n);
    d->ops->get(d, y, a, n);
    assert_works(d->ops->sync(d, &err));
    for (int64_t i = 0; i < n; i++)
        assert_true(y[i] == 0);
    d->ops->put(d, a, x, n);
    d->ops->get(d, y, a, n);
    assert_works(d->ops->sync(d, &err));
    for (int64_t i = 0; i < n; i++)
        assert_true(y[i] == kept(bf16, role, x[i]));
    d->ops->zero(d, a, n);
    d->ops->get(d, y, a, n);
    assert_works(d->ops->sync(d, &err));
    for (int64_t i = 0; i < n; i++)
        assert_true(y[i] == 0);
    release_all(d, (struct qk_buf[]){a, b, QK_NONE}, 3);
    qk_device_close(d);
    free(x);
    free(y);
}

static void test_roles(void **state)
{
    (void)state;
    static const int64_t small[] = {1, 2, 255, 1003}, real[] = {1, 1003, (1 << 24) + 5};
    for (size_t r = 0; r < COUNT(ROLES); r++)
        for (size_t i = 0; i < (both_real() ? COUNT(real) : COUNT(small)); i++) {
            check_role(false, ROLES[r], both_real() ? real[i] : small[i]);
            check_role(true, ROLES[r], both_real() ? real[i] : small[i]);
        }
}

/* To nearest, ties to even; what is not finite stays so. */
static void test_rounding(void **state)
{
    (void)state;
    const float x[] = {1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1.8p-8f, -1 - 0x1p-8f, 0x1.fffffep127f,
                       INFINITY,    -0.0f,       0x1p-133f,     0x1p-140f,    NAN};
    const float want[] = {1,        1 + 0x1p-6f, 1 + 0x1p-7f, -1, INFINITY,
                          INFINITY, -0.0f,       0x1p-133f,   0,  NAN};
    float got[COUNT(x)];
    struct qk_device *d = both_open(true);
    struct qk_err err = {{0}};
    struct qk_buf a = held(d, x, COUNT(x));
    d->ops->get(d, got, a, COUNT(x));
    assert_works(d->ops->sync(d, &err));
    for (size_t i = 0; i < COUNT(x); i++)
        if (isnan(want[i]) ? !isnan(got[i]) : memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%a is kept as %a, expected %a", (double)x[i], (double)got[i],
                     (double)want[i]);
    d->ops->release(d, a);
    qk_device_close(d);
}

/* put, get, copy and zero at an offset touch what they were told to and nothing else. */
static void check_offsets(bool bf16, enum qk_role role)
{
    enum { N = 700 };
    const bool copied = !bf16 || role != QK_ROLE_PARAMETER; /* masters with a copy are put */
    struct qk_device *d = both_open(bf16);
    struct qk_err err = {{0}};
    float *x = normals("x", N, 1), *z = normals("z", N, 1), want[N], got[N];
    struct qk_buf a, b;
    d->ops->alloc(d, &a, role, N);
    d->ops->alloc(d, &b, role, N);
    d->ops->put(d, a, x, N);
    d->ops->put(d, b, z, N);
    memcpy(want, x, sizeof want);
    d->ops->put(d, qk_at(a, 3), z, 300);
    memcpy(want + 3, z, 300 * sizeof *z);
    if (copied) {
        d->ops->copy(d, qk_at(a, 350), qk_at(b, 17), 301);
        memcpy(want + 350, z + 17, 301 * sizeof *z);
        d->ops->copy(d, a, b, 0);
    }
    d->ops->zero(d, qk_at(a, 11), 7);
    memset(want + 11, 0, 7 * sizeof *want);
    d->ops->zero(d, a, 0);
    d->ops->put(d, a, z, 0);
    d->ops->get(d, got, qk_at(a, 1), N - 1);
    assert_works(d->ops->sync(d, &err));
    for (int i = 1; i < N; i++)
        if (got[i - 1] != kept(bf16, role, want[i]))
            fail_msg("role %d, %s: [%d] = %g, expected %g", (int)role, bf16 ? "bf16" : "fp32", i,
                     (double)got[i - 1], (double)want[i]);
    release_all(d, (struct qk_buf[]){a, b}, 2);
    qk_device_close(d);
    free(x);
    free(z);
}

static void test_offsets(void **state)
{
    (void)state;
    for (size_t r = 0; r < COUNT(ROLES); r++) {
        check_offsets(false, ROLES[r]);
        check_offsets(true, ROLES[r]);
    }
}

/* Products read the rounded copies: they follow put and zero. */
static void test_rounded_copies(void **state)
{
    (void)state;
    enum { K = 8 };
    struct qk_device *d = both_open(true);
    struct qk_err err = {{0}};
    float one[K] = {1}, w_[K] = {1 + 0x1p-8f + 0x1p-9f}, y_ = 0;
    struct qk_buf w, x = held(d, one, K), y = empty(d, 1);
    d->ops->alloc(d, &w, QK_ROLE_PARAMETER, 2 * K);
    d->ops->put(d, qk_at(w, K), w_, K);
    d->ops->matmul(d, y, QK_NONE, x, qk_at(w, K), 1, 1, K);
    d->ops->get(d, &y_, y, 1);
    assert_works(d->ops->sync(d, &err));
    assert_true(y_ == both_rounded(w_[0]));
    d->ops->zero(d, qk_at(w, K), 1);
    d->ops->matmul(d, y, QK_NONE, x, qk_at(w, K), 1, 1, K);
    d->ops->get(d, &y_, y, 1);
    assert_works(d->ops->sync(d, &err));
    assert_true(y_ == 0);
    release_all(d, (struct qk_buf[]){w, x, y}, 3);
    qk_device_close(d);
}

static void test_tokens(void **state)
{
    (void)state;
    struct qk_device *d = both_open(true);
    struct qk_err err = {{0}};
    const int32_t in[] = {0, -1, INT32_MAX, 65535};
    int32_t out[3], zero = 7;
    struct qk_buf t = held_tokens(d, in, 4), u;
    d->ops->alloc(d, &u, QK_ROLE_TOKENS, 4);
    d->ops->copy(d, u, t, 4);
    d->ops->get_tokens(d, out, qk_at(u, 1), 3);
    d->ops->zero(d, u, 2);
    d->ops->get_tokens(d, &zero, qk_at(u, 1), 1);
    assert_works(d->ops->sync(d, &err));
    assert_memory_equal(out, in + 1, sizeof out);
    assert_int_equal(zero, 0);
    release_all(d, (struct qk_buf[]){t, u}, 2);
    qk_device_close(d);
}

/* An array asked for what it does not hold is a failure with the operation's name, kept through all
 * that follows. */
static void test_first_failure(void **state)
{
    (void)state;
    struct qk_device *d = both_open(true);
    struct qk_err err = {{0}};
    float one = 1, got = 7;
    struct qk_buf a = held(d, &one, 1), e, none;
    d->ops->alloc(d, &e, QK_ROLE_EXACT, 1);
    d->ops->copy(d, e, a, 1);
    d->ops->get(d, &got, a, 1);
    d->ops->alloc(d, &none, QK_ROLE_STATE, -5);
    assert_true(got == 7);
    assert_true(qk_is_none(none));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(d->ops->sync(d, &err), -1);
        assert_string_equal(err.text, "cuda copy: arrays of different kinds");
    }
    release_all(d, (struct qk_buf[]){a, e, none}, 3);
    qk_device_close(d);
}

/* What does not fit is told in one sentence that says what to lower. */
static void check_no_room(enum qk_role role, int64_t n, const char *what, const char *remedy)
{
    struct qk_device *d = both_open(false);
    struct qk_err err = {{0}};
    struct qk_buf a;
    d->ops->alloc(d, &a, role, n);
    assert_true(qk_is_none(a));
    assert_int_equal(d->ops->sync(d, &err), -1);
    if (strncmp(err.text, "cuda alloc: ", 12) != 0 || !strstr(err.text, what) ||
        !strstr(err.text, "do not fit") || !strstr(err.text, remedy) || strchr(err.text, '\n'))
        fail_msg("%s", err.text);
    qk_device_close(d);
}

static void test_no_room(void **state)
{
    (void)state;
    check_no_room(QK_ROLE_ACTIVATION, (int64_t)1 << 40, "for activations", "lower --micro-batch");
    check_no_room(QK_ROLE_STATE, (int64_t)1 << 40, "for optimiser state", "a smaller model");
    check_no_room(QK_ROLE_PARAMETER, INT64_MAX / 2, "for parameters", "a smaller model");
}

/* What was released can be had again: more than the card holds, a piece at a time. */
static void test_release(void **state)
{
    (void)state;
    if (both_emulated())
        qk_emulation_memory(1 << 20);
    struct qk_device *d = both_open(false);
    struct qk_err err = {{0}};
    const int64_t n = d->room / 4 / 2;
    assert_true(d->room > 0);
    for (int i = 0; i < 4; i++) {
        struct qk_buf a;
        d->ops->alloc(d, &a, QK_ROLE_STATE, n);
        d->ops->release(d, a);
    }
    assert_works(d->ops->sync(d, &err));
    qk_device_close(d);
    if (both_emulated())
        qk_emulation_memory(0);
}

static void test_describe(void **state)
{
    (void)state;
    struct qk_device *d = both_open(false);
    char text[256];
    qk_device_describe(d, text, sizeof text);
    assert_int_equal(strncmp(text, "cuda:0: ", 8), 0);
    assert_true(d->apart);
    qk_device_describe(d, text, 8);
    assert_int_equal(strlen(text), 7);
    qk_device_close(d);
}

static void test_no_such_card(void **state)
{
    (void)state;
    struct qk_err err = {{0}};
    qk_device_close(both_open(false));
    assert_null(qk_device_open("cuda:99", &err));
    assert_int_equal(strncmp(err.text, "device cuda:99: the machine has cards 0 to ", 43), 0);
}

/* Times, operations and bytes by class. */
static void test_profile(void **state)
{
    (void)state;
    enum { N = 64 };
    struct qk_device *d = both_open(false);
    struct qk_err err = {{0}};
    float *x = normals("x", N * N, 1);
    struct qk_buf a = held(d, x, N * N), b = empty(d, N * N);
    d->ops->matmul(d, b, QK_NONE, a, a, N, N, N);
    assert_true(d->flops[QK_CLASS_MATMUL] == 0);
    d->profile = true;
    d->ops->matmul(d, b, QK_NONE, a, a, N, N, N);
    assert_works(d->ops->sync(d, &err));
    assert_true(d->flops[QK_CLASS_MATMUL] == 2.0 * N * N * N);
    assert_true(d->bytes[QK_CLASS_MATMUL] == 3.0 * N * N * sizeof(float));
    assert_true(d->seconds[QK_CLASS_MATMUL] > 0);
    assert_true(d->seconds[QK_CLASS_LOSS] == 0);
    /* More operations than are marked between two waits: each counts once. */
    const double from = qk_now();
    memset(d->seconds, 0, sizeof d->seconds);
    memset(d->bytes, 0, sizeof d->bytes);
    for (int i = 0; i < 5000; i++)
        d->ops->zero(d, b, N);
    assert_works(d->ops->sync(d, &err));
    assert_works(d->ops->sync(d, &err));
    assert_true(d->bytes[QK_CLASS_MEMORY] == 5000.0 * N * sizeof(float));
    assert_true(d->seconds[QK_CLASS_MEMORY] > 0);
    assert_true(d->seconds[QK_CLASS_MEMORY] <= 1.01 * (qk_now() - from));
    free(x);
    release_all(d, (struct qk_buf[]){a, b}, 2);
    qk_device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roles),    cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_offsets),  cmocka_unit_test(test_rounded_copies),
        cmocka_unit_test(test_tokens),   cmocka_unit_test(test_first_failure),
        cmocka_unit_test(test_no_room),  cmocka_unit_test(test_release),
        cmocka_unit_test(test_describe), cmocka_unit_test(test_no_such_card),
        cmocka_unit_test(test_profile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
