/* Device memory, failures, opening, the profile. */
#include "ops_check.h"

static struct qk_device *open_cpu(void)
{
    struct qk_err err;
    struct qk_device *d = qk_device_open("cpu", &err);
    assert_non_null(d);
    return d;
}

static void test_open(void **state)
{
    (void)state;
    struct qk_err err;
    assert_int_equal(setenv("CUDA_VISIBLE_DEVICES", "", 1), 0); /* a card would be taken */
    struct qk_device *d = qk_device_open("auto", &err);
    assert_non_null(d);
    assert_string_equal(d->ops->name, "cpu");
    char text[256];
    qk_device_describe(d, text, sizeof text);
    assert_int_equal(strncmp(text, "cpu: ", 5), 0);
    assert_non_null(strstr(text, "thread"));
    qk_device_describe(d, text, 8);
    assert_int_equal(strlen(text), 7);
    qk_device_close(d);
    qk_device_close(NULL);
}

static void test_refused_names(void **state)
{
    (void)state;
    static const char *const names[] = {"", "gpu", "CPU", "cpu:0", "cudax", "cuda:", "cuda:x"};
    struct qk_err err;
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_null(qk_device_open(names[i], &err));
        assert_non_null(strstr(err.text, "is not known"));
    }
}

static void test_class_names(void **state)
{
    (void)state;
    for (int i = 0; i < QK_CLASSES; i++)
        assert_true(qk_class_names[i] && *qk_class_names[i]);
}

static void test_put_get_copy_zero(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct qk_device *d = open_cpu();
    struct qk_err err;
    float *x = normals("x", N, 1), y[N];
    struct qk_buf a = empty(d, N), b = held(d, x, N);
    d->ops->get(d, y, a, N);
    for (int i = 0; i < N; i++)
        assert_true(y[i] == 0);
    d->ops->copy(d, qk_at(a, 10), qk_at(b, 20), 500);
    d->ops->zero(d, qk_at(a, 12), 3);
    d->ops->get(d, y, a, N);
    for (int i = 0; i < N; i++)
        assert_true(y[i] == (i >= 10 && i < 510 && !(i >= 12 && i < 15) ? x[i + 10] : 0));
    assert_works(d->ops->sync(d, &err));
    free(x);
    release_all(d, (struct qk_buf[]){a, b, QK_NONE}, 3);
    qk_device_close(d);
}

static void test_tokens(void **state)
{
    (void)state;
    struct qk_device *d = open_cpu();
    int32_t in[] = {0, -1, INT32_MAX, 65535}, out[3];
    struct qk_buf t = held_tokens(d, in, 4);
    d->ops->get_tokens(d, out, qk_at(t, 1), 3);
    assert_memory_equal(out, in + 1, sizeof out);
    d->ops->release(d, t);
    qk_device_close(d);
}

/* What does not fit is kept as the first failure; what follows does nothing. */
static void test_first_failure(void **state)
{
    (void)state;
    struct qk_device *d = open_cpu();
    struct qk_err err;
    float one = 1, got = 7;
    struct qk_buf a = held(d, &one, 1), b, c;
    d->ops->alloc(d, &b, QK_ROLE_STATE, INT64_MAX / 2);
    assert_true(qk_is_none(b));
    d->ops->zero(d, a, 1);
    d->ops->get(d, &got, a, 1);
    assert_true(got == 7);
    d->ops->alloc(d, &c, QK_ROLE_STATE, 1);
    assert_true(qk_is_none(c));
    d->ops->alloc(d, &c, QK_ROLE_STATE, -5);
    assert_int_equal(d->ops->sync(d, &err), -1);
    assert_non_null(strstr(err.text, "4611686018427387903 numbers"));
    assert_int_equal(d->ops->sync(d, &err), -1);
    d->ops->release(d, a);
    qk_device_close(d);
}

static void test_profile(void **state)
{
    (void)state;
    struct qk_device *d = open_cpu();
    float *x = normals("x", 64 * 64, 1);
    struct qk_buf a = held(d, x, 64 * 64), b = empty(d, 64 * 64);
    d->ops->matmul(d, b, QK_NONE, a, a, 64, 64, 64);
    assert_true(d->flops[QK_CLASS_MATMUL] == 0);
    d->profile = true;
    d->ops->matmul(d, b, QK_NONE, a, a, 64, 64, 64);
    assert_true(d->flops[QK_CLASS_MATMUL] == 2.0 * 64 * 64 * 64);
    assert_true(d->bytes[QK_CLASS_MATMUL] == 3.0 * 64 * 64 * sizeof(float));
    assert_true(d->seconds[QK_CLASS_MATMUL] > 0);
    assert_true(d->seconds[QK_CLASS_LOSS] == 0);
    free(x);
    release_all(d, (struct qk_buf[]){a, b}, 2);
    qk_device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),        cmocka_unit_test(test_refused_names),
        cmocka_unit_test(test_class_names), cmocka_unit_test(test_put_get_copy_zero),
        cmocka_unit_test(test_tokens),      cmocka_unit_test(test_first_failure),
        cmocka_unit_test(test_profile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
