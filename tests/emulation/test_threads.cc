/* Threads of the emulated card meet where they must, in every order, and are told on when they do
 * not. */
#include "dies.h"

static const char *const ORDERS[] = {"forward", "reverse", "shuffle:1", "shuffle:2"};

/* ---- a barrier ---- */

/* Everyone reads what its mirror image wrote. */
static void __global__ mirror(int *out, bool wait)
{
    int *room = (int *)qk_shared();
    room[threadIdx.x] = (int)threadIdx.x;
    if (wait)
        __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = room[blockDim.x - 1 - threadIdx.x];
}

static bool mirrored(const char *order, bool wait)
{
    const int blocks = 3, threads = 70;
    int *out = on_card<int>(blocks * threads), got[210];
    qk_emulation_order(order);
    launch(mirror, blocks, threads, threads * sizeof(int), out, wait);
    take_back(got, out, blocks * threads);
    bool right = true;
    for (int i = 0; i < blocks * threads; i++)
        right = right && got[i] == threads - 1 - i % threads;
    return right;
}

static void test_barrier(void **)
{
    for (const char *order : ORDERS)
        assert_true(mirrored(order, true));
}

static void test_barrier_left_out(void **)
{
    for (const char *order : ORDERS) {
        current_order = order;
        assert_dies("", [] { _exit(mirrored(current_order, false) ? 0 : 1); });
    }
}

static void __global__ some_wait(void)
{
    if (threadIdx.x < 40)
        __syncthreads();
}

static void __global__ wait_apart(void)
{
    if (threadIdx.x < 40)
        __syncthreads();
    else
        __syncthreads();
}

static void test_divergent_barrier(void **)
{
    assert_dies("kernel some_wait, block (0, 0, 0): threads wait for each other forever: "
                "threads 0-39 at __syncthreads (",
                [] { launch(some_wait, 1, 64, 0); });
    assert_dies("threads 40-63 have ended", [] { launch(some_wait, 1, 64, 0); });
    assert_dies("threads meet at different barriers: threads 0-39 at __syncthreads (",
                [] { launch(wait_apart, 1, 64, 0); });
}

static void __global__ count_block(int *out)
{
    const int n = (int)threadIdx.x;
    const int odd = __syncthreads_count(n % 2), all = __syncthreads_and(n < 70);
    const int some = __syncthreads_or(n == 69), none = __syncthreads_or(n == 70);
    out[n] = odd * 1000 + all * 100 + some * 10 + none;
}

static void test_block_votes(void **)
{
    int *out = on_card<int>(70), got[70];
    launch(count_block, 1, 70, 0, out);
    take_back(got, out, 70);
    for (int i = 0; i < 70; i++)
        assert_int_equal(got[i], 35110);
}

/* ---- warps ---- */

static void __global__ shuffles(int *out)
{
    const int lane = (int)threadIdx.x % 32;
    int *mine = out + 8 * threadIdx.x;
    mine[0] = __shfl_sync(~0u, lane, (lane * 5 + 3) % 32);
    mine[1] = __shfl_up_sync(~0u, lane, 3);
    mine[2] = __shfl_down_sync(~0u, lane, 3);
    mine[3] = __shfl_xor_sync(~0u, lane, 17);
    mine[4] = __shfl_up_sync(~0u, lane, 3, 8);
    mine[5] = __shfl_down_sync(~0u, lane, 3, 8);
    mine[6] = __shfl_sync(~0u, lane, 9, 8); /* lane 1 of the segment */
    mine[7] = (int)__shfl_xor_sync(~0u, 1e300 * lane, 1) == 0 ? 1 : 0;
}

static void test_shuffles(void **)
{
    int *out = on_card<int>(64 * 8), got[64 * 8];
    for (const char *order : ORDERS) {
        qk_emulation_order(order);
        launch(shuffles, 1, 64, 0, out);
        take_back(got, out, 64 * 8);
        for (int i = 0; i < 64; i++) {
            const int l = i % 32,
                      expected[7] = {(l * 5 + 3) % 32, l < 3 ? l : l - 3,     l > 28 ? l : l + 3,
                                     l ^ 17,           l % 8 < 3 ? l : l - 3, l % 8 > 4 ? l : l + 3,
                                     l / 8 * 8 + 1};
            for (int k = 0; k < 7; k++)
                assert_int_equal(got[8 * i + k], expected[k]);
        }
    }
}

static void __global__ shuffle_doubles(double *out)
{
    double x = 1.0 / (1 + threadIdx.x);
    for (int d = 16; d; d /= 2)
        x += __shfl_xor_sync(~0u, x, d);
    out[threadIdx.x] = x;
}

static void test_shuffled_doubles(void **)
{
    double *out = on_card<double>(32), got[32], sum = 0;
    launch(shuffle_doubles, 1, 32, 0, out);
    take_back(got, out, 32);
    for (int i = 0; i < 32; i++)
        sum += 1.0 / (1 + i);
    for (int i = 0; i < 32; i++)
        assert_true(got[i] == got[0] && fabs(got[i] - sum) < 1e-15 * 10);
}

static void __global__ votes(unsigned *out)
{
    const int lane = (int)threadIdx.x;
    unsigned *mine = out + 8 * lane;
    mine[0] = __ballot_sync(~0u, lane % 3 == 0);
    mine[1] = (unsigned)__any_sync(~0u, lane == 31) * 2 + (unsigned)__any_sync(~0u, lane == 32);
    mine[2] = (unsigned)__all_sync(~0u, lane < 32) * 2 + (unsigned)__all_sync(~0u, lane < 31);
    mine[3] = (unsigned)__reduce_max_sync(~0u, -lane);
    mine[4] = (unsigned)__reduce_min_sync(~0u, -lane);
    mine[5] = __reduce_add_sync(~0u, (unsigned)lane);
    mine[6] = __match_any_sync(~0u, (unsigned)lane % 4);
    if (lane % 2)
        mine[7] = __ballot_sync(0xaaaaaaaau, 1);
    else
        mine[7] = __reduce_xor_sync(0x55555555u, (unsigned)lane);
}

static void test_votes(void **)
{
    unsigned *out = on_card<unsigned>(32 * 8), got[32 * 8];
    for (const char *order : ORDERS) {
        qk_emulation_order(order);
        launch(votes, 1, 32, 0, out);
        take_back(got, out, 32 * 8);
        for (unsigned lane = 0; lane < 32; lane++) {
            const unsigned *g = got + 8 * lane;
            assert_int_equal(g[0], 0x49249249u);
            assert_int_equal(g[1], 2);
            assert_int_equal(g[2], 2);
            assert_int_equal((int)g[3], 0);
            assert_int_equal((int)g[4], -31);
            assert_int_equal(g[5], 496);
            assert_int_equal(g[6], 0x11111111u << lane % 4);
            assert_int_equal(g[7], lane % 2 ? 0xaaaaaaaau : 0);
        }
    }
}

static void __global__ not_all_shuffle(void)
{
    if (threadIdx.x < 20)
        __shfl_xor_sync(~0u, 1, 1);
    else
        __syncthreads();
}

static void __global__ not_in_mask(void)
{
    __ballot_sync(0xfffeu, 1);
}

static void __global__ different_operations(void)
{
    if (threadIdx.x % 2)
        __ballot_sync(~0u, 1);
    else
        __any_sync(~0u, 1);
}

static void __global__ outside_the_mask(void)
{
    if (threadIdx.x < 16)
        __shfl_xor_sync(0xffffu, 1, 16);
}

static void __global__ full_mask(void)
{
    __syncwarp();
}

static void test_wrong_masks(void **)
{
    assert_dies("threads 0-19 at __shfl_xor_sync with mask 0xffffffff",
                [] { launch(not_all_shuffle, 1, 32, 0); });
    assert_dies("threads 20-31 at __syncthreads", [] { launch(not_all_shuffle, 1, 32, 0); });
    assert_dies("thread (0, 0, 0): __ballot_sync with mask 0x0000fffe, in which the caller, lane "
                "0, is not",
                [] { launch(not_in_mask, 1, 32, 0); });
    assert_dies("lanes of one mask meet in different operations",
                [] { launch(different_operations, 1, 32, 0); });
    assert_dies("lane 0 asks for the value of lane 16, which is not in the mask 0x0000ffff",
                [] { launch(outside_the_mask, 1, 32, 0); });
    assert_dies("the warp has 20 threads", [] { launch(full_mask, 1, 20, 0); });
}

/* Lanes hand on through shared memory: only a __syncwarp between makes it right. */
static void __global__ pass_on(int *out, bool wait)
{
    int *room = (int *)qk_shared();
    room[threadIdx.x] = (int)threadIdx.x;
    if (wait)
        __syncwarp();
    out[threadIdx.x] = room[(threadIdx.x + 1) % 32] + room[(threadIdx.x + 31) % 32];
}

static bool passed_on(bool wait)
{
    int *out = on_card<int>(32), got[32];
    launch(pass_on, 1, 32, 32 * sizeof(int), out, wait);
    take_back(got, out, 32);
    for (int i = 0; i < 32; i++)
        if (got[i] != (i + 1) % 32 + (i + 31) % 32)
            return false;
    return true;
}

static void test_warp_barrier(void **)
{
    for (const char *order : ORDERS) {
        qk_emulation_order(order);
        assert_true(passed_on(true));
        assert_dies("", [] { _exit(passed_on(false) ? 0 : 1); });
    }
}

/* ---- order and place ---- */

static int visited[64], visits;

static void __global__ visit(void)
{
    visited[visits++] = (int)(blockIdx.x * blockDim.x + threadIdx.x);
}

static void test_orders_differ(void **)
{
    int seen[COUNT(ORDERS)][64];
    for (int i = 0; i < COUNT(ORDERS); i++) {
        visits = 0;
        qk_emulation_order(ORDERS[i]);
        launch(visit, 4, 16, 0);
        assert_int_equal(visits, 64);
        memcpy(seen[i], visited, sizeof visited);
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(seen[i], seen[j], sizeof visited);
    }
    for (int i = 0; i < 64; i++) {
        assert_int_equal(seen[0][i], i);
        assert_int_equal(seen[1][i], 63 - i);
    }
    visits = 0;
    qk_emulation_order(ORDERS[2]);
    launch(visit, 4, 16, 0);
    assert_memory_equal(seen[2], visited, sizeof visited); /* a seed is an order */
    assert_dies("no order is called sideways", [] { qk_emulation_order("sideways"); });
}

static void __global__ places(unsigned *out)
{
    const unsigned in_block = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    out[block * blockDim.x * blockDim.y * blockDim.z + in_block] = 1;
}

static void test_places(void **)
{
    const int n = 2 * 3 * 4 * 5 * 6 * 7;
    unsigned *out = on_card<unsigned>(n), *got = (unsigned *)calloc(n, sizeof *got);
    for (const char *order : ORDERS) {
        qk_emulation_order(order);
        cudaMemset(out, 0, n * sizeof *out);
        launch(places, dim3(2, 3, 4), dim3(5, 6, 7), 0, out);
        take_back(got, out, n);
        for (int i = 0; i < n; i++)
            assert_int_equal(got[i], 1);
    }
    free(got);
}

static void __global__ many_meetings(float *out, int rounds)
{
    float x = (float)threadIdx.x;
    for (int i = 0; i < rounds; i++)
        x += __shfl_xor_sync(~0u, x, 1 + i % 31) * 0.5f;
    out[blockIdx.x * blockDim.x + threadIdx.x] = x;
}

/* Hundreds of thousands of switches; no test asserts a time, but this one shows in the total. */
static void test_many(void **)
{
    float *out = on_card<float>(2048);
    launch(many_meetings, 2, 1024, 0, out, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_barrier, clear_card),
        cmocka_unit_test_teardown(test_barrier_left_out, clear_card),
        cmocka_unit_test_teardown(test_divergent_barrier, clear_card),
        cmocka_unit_test_teardown(test_block_votes, clear_card),
        cmocka_unit_test_teardown(test_shuffles, clear_card),
        cmocka_unit_test_teardown(test_shuffled_doubles, clear_card),
        cmocka_unit_test_teardown(test_votes, clear_card),
        cmocka_unit_test_teardown(test_wrong_masks, clear_card),
        cmocka_unit_test_teardown(test_warp_barrier, clear_card),
        cmocka_unit_test_teardown(test_orders_differ, clear_card),
        cmocka_unit_test_teardown(test_places, clear_card),
        cmocka_unit_test_teardown(test_many, clear_card),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
