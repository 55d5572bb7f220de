/* Arrays cut from large mappings. */
#include "check.h"

#include "compute/cpu/slab.h"

enum { MANY = 100, BYTES = 1 << 20 };

static void test_arrays_are_apart_and_zero(void **state)
{
    (void)state;
    struct qk_slabs slabs = {0};
    unsigned char *at[MANY];
    for (int i = 0; i < MANY; i++) {
        at[i] = qk_slabs_take(&slabs, BYTES + (size_t)i);
        assert_true((uintptr_t)at[i] % 64 == 0);
        assert_true(at[i][0] == 0 && at[i][BYTES + i - 1] == 0);
        memset(at[i], i + 1, BYTES + (size_t)i);
    }
    for (int i = 0; i < MANY; i++)
        assert_true(at[i][0] == i + 1 && at[i][BYTES + i - 1] == i + 1);
    for (int i = 0; i < MANY; i++) /* out of order */
        qk_slabs_give(&slabs, at[(i * 37) % MANY]);
    assert_null(slabs.newest);
}

/* One larger than a mapping has its own, and leaves the others theirs. */
static void test_large(void **state)
{
    (void)state;
    struct qk_slabs slabs = {0};
    char *small = qk_slabs_take(&slabs, 100), *large = qk_slabs_take(&slabs, (size_t)100 << 20);
    char *next = qk_slabs_take(&slabs, 100), *nothing = qk_slabs_take(&slabs, 0);
    large[(100 << 20) - 1] = 1;
    assert_true(next > small && next - small <= 256);
    qk_slabs_give(&slabs, large);
    qk_slabs_give(&slabs, nothing);
    qk_slabs_give(&slabs, NULL);
    small[0] = next[0] = 1;
    qk_slabs_give(&slabs, small);
    assert_true(next[0] == 1);
    qk_slabs_give(&slabs, next);
    assert_null(slabs.newest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays_are_apart_and_zero),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
