/* Learning rate factors against their formulas, and points. */
#include "unit/check.h"

#include "study/train/schedule.h"

static struct qk_config hundred_steps(enum qk_lr_schedule kind, int64_t warmup)
{
    return (struct qk_config){.seq_len = 10,
                              .batch_size = 5,
                              .grad_accum = 2,
                              .train_tokens = 10050,
                              .warmup_tokens = warmup,
                              .lr_schedule = kind};
}

static void factors(void **state)
{
    (void)state;
    static const struct {
        enum qk_lr_schedule kind;
        int64_t warmup, step;
        double factor;
    } cases[] = {
        {QK_LR_CONSTANT, 0, 0, 1},
        {QK_LR_CONSTANT, 0, 1000, 1},
        {QK_LR_CONSTANT, 1099, 0, 0.1},
        {QK_LR_CONSTANT, 1099, 8, 0.9},
        {QK_LR_CONSTANT, 1099, 9, 1},
        {QK_LR_CONSTANT, 1099, 10, 1},
        {QK_LR_COSINE, 0, 0, 1},
        {QK_LR_COSINE, 0, 50, 0.55},
        {QK_LR_COSINE, 0, 25, 0.86819805153394638},
        {QK_LR_COSINE, 0, 100, 0.1},
        {QK_LR_COSINE, 0, 500, 0.1},
        {QK_LR_COSINE, 2000, 19, 1},
        {QK_LR_COSINE, 2000, 20, 1},
        {QK_LR_COSINE, 2000, 60, 0.55},
        {QK_LR_LINEAR, 0, 0, 1},
        {QK_LR_LINEAR, 0, 50, 0.5},
        {QK_LR_LINEAR, 0, 95, 0.1},
        {QK_LR_LINEAR, 5000, 75, 0.5},
        {QK_LR_WSD, 0, 80, 1},
        {QK_LR_WSD, 0, 90, 0.55},
        {QK_LR_WSD, 0, 100, 0.1},
        {QK_LR_WSD, 0, 101, 0.1},
        {QK_LR_COSINE, 99, 0, 1}, /* less than a step: none */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qk_config c = hundred_steps(cases[i].kind, cases[i].warmup);
        assert_close(qk_lr_factor(&c, cases[i].step), cases[i].factor, 1e-12);
    }
}

static void warmup_longer_than_training(void **state)
{
    (void)state;
    struct qk_config c = hundred_steps(QK_LR_COSINE, 100000);
    assert_close(qk_lr_factor(&c, 99), 0.1, 1e-12);
    assert_close(qk_lr_factor(&c, 1000), 1, 1e-12);
}

static void list_of_points(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_points p;
    assert_works(qk_points_parse(&p, "0,1K,2500", &err));
    assert_true(qk_points_at_zero(&p));
    assert_false(qk_points_hit(&p, 0, 999, false));
    assert_true(qk_points_hit(&p, 999, 1000, false));
    assert_true(qk_points_hit(&p, 900, 1300, false));
    assert_false(qk_points_hit(&p, 1000, 1300, true));
    assert_true(qk_points_hit(&p, 1300, 9000, false));
    qk_points_free(&p);
    assert_works(qk_points_parse(&p, "7", &err));
    assert_false(qk_points_at_zero(&p));
    qk_points_free(&p);
}

static void points_at_a_distance(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_points p;
    assert_works(qk_points_parse(&p, "every:1K", &err));
    assert_true(qk_points_at_zero(&p));
    assert_true(qk_points_hit(&p, 900, 1000, false));
    assert_true(qk_points_hit(&p, 900, 3100, false));
    assert_false(qk_points_hit(&p, 1000, 1999, false));
    assert_true(qk_points_hit(&p, 1000, 1999, true));
    qk_points_free(&p);
}

static void no_points(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_points p = {0};
    assert_false(qk_points_at_zero(&p));
    assert_false(qk_points_hit(&p, 0, 100, true));
    static const char *const bad[] = {
        "", "a", "1,", "1,,2", "every:", "every:0", "every:-1", "-5", "1.5", "every:x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(qk_points_parse(&p, bad[i], &err), -1);
}

/* Counted as one by one. */
static void points_are_counted(void **state)
{
    (void)state;
    static const char *const texts[] = {"0,1K,2500", "every:1K", "every:64", "0"};
    for (int i = 0; i < 4; i++)
        for (int64_t steps = 0; steps < 40; steps += 13)
            for (int64_t from = 0; from < 3000; from += 960) {
                struct qk_err err;
                struct qk_points p;
                assert_works(qk_points_parse(&p, texts[i], &err));
                int64_t hits = from == 0 && qk_points_at_zero(&p);
                for (int64_t s = 0; s < steps; s++)
                    hits += qk_points_hit(&p, from + 96 * s, from + 96 * (s + 1), s == steps - 1);
                const int64_t count = qk_points_count(&p, from, 96, steps);
                assert_in_range(count, hits, hits + 1); /* the last step may be counted twice */
                qk_points_free(&p);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors),        cmocka_unit_test(warmup_longer_than_training),
        cmocka_unit_test(list_of_points), cmocka_unit_test(points_at_a_distance),
        cmocka_unit_test(no_points),      cmocka_unit_test(points_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
