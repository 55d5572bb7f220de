/* Races are found, and what is ordered is none.  Compiled to be watched, as the kernels of
 * $(BUILD)/raced are. */
#include "dies.h"

static const char *const ORDERS[] = {"forward", "reverse", "shuffle:1", "shuffle:2"};

enum how { ORDERED, RACING };

/* Every kernel twice: as it should be, in every order, and with what orders it taken away. */
static void both_ways(const char *said, void (*good)(void), void (*bad)(void))
{
    for (const char *order : ORDERS) {
        qk_emulation_order(order);
        good();
        assert_dies(said, bad);
    }
}

static int *numbers(void)
{
    static int *at;
    if (!at)
        cudaMalloc(&at, 4096);
    cudaMemset(at, 0, 4096);
    return at;
}

/* ---- in a block ---- */

static void __global__ sum_into(int *to, enum how how)
{
    int *room = (int *)qk_shared();
    if (threadIdx.x < 8)
        room[threadIdx.x] = 0;
    __syncthreads();
    if (how == ORDERED)
        atomicAdd(&room[threadIdx.x % 8], 1);
    else
        room[threadIdx.x % 8] += 1;
    __syncthreads();
    if (threadIdx.x < 8)
        to[threadIdx.x] = room[threadIdx.x];
}

static void test_sums_into_one_place(void **)
{
    both_ways(
        "a race: it ", [] { launch(sum_into, 1, 64, 32, numbers(), ORDERED); },
        [] { launch(sum_into, 1, 64, 32, numbers(), RACING); });
    int *at = numbers(), got[8];
    launch(sum_into, 1, 64, 32, at, ORDERED);
    take_back(got, at, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(got[i], 8);
}

/* A tile is read by all and then overwritten: a barrier is needed on both sides. */
static void __global__ tiles(int *to, const int *from, int left_out)
{
    __shared__ int tile[64];
    const int i = (int)threadIdx.x;
    int sum = 0;
    for (int step = 0; step < 3; step++) {
        tile[i] = from[64 * step + i];
        if (left_out != 1)
            __syncthreads();
        sum += tile[63 - i];
        if (left_out != 2)
            __syncthreads();
    }
    to[256 + i] = sum;
}

static void test_barriers(void **)
{
    for (const char *order : ORDERS) {
        qk_emulation_order(order);
        launch(tiles, 1, 64, 0, numbers(), numbers(), 0);
        assert_dies("of shared memory at",
                    [] { launch(tiles, 1, 64, 0, numbers(), numbers(), 1); });
        assert_dies("of shared memory at",
                    [] { launch(tiles, 1, 64, 0, numbers(), numbers(), 2); });
    }
}

/* ---- in a warp ---- */

static void __global__ pass_on(int *to, enum how how)
{
    int *room = (int *)qk_shared();
    const int lane = (int)threadIdx.x % 32, first = (int)threadIdx.x - lane;
    room[threadIdx.x] = lane;
    if (how == ORDERED)
        __syncwarp();
    else
        __shfl_xor_sync(~0u, 1, 1); /* meets, and orders no memory */
    to[threadIdx.x] = room[first + (lane + 5) % 32];
}

static void test_warps(void **)
{
    both_ways(
        "a race: it ", [] { launch(pass_on, 1, 64, 256, numbers(), ORDERED); },
        [] { launch(pass_on, 1, 64, 256, numbers(), RACING); });
}

/* Halves of a warp hand on to themselves; and one lane of each to the other half. */
static void __global__ halves(int *to, enum how how)
{
    int *room = (int *)qk_shared();
    const int lane = (int)threadIdx.x;
    const unsigned half = lane < 16 ? 0xffffu : 0xffff0000u;
    room[lane] = lane;
    __syncwarp(half);
    int sum = room[lane ^ 7];
    if (lane == 0 || lane == 16)
        __syncwarp(0x10001u);
    if (how == ORDERED) /* its own half, and by lanes 0 and 16 the other */
        __syncwarp(half);
    sum += room[lane ^ 16];
    to[lane] = sum;
}

static void test_parts_of_warps(void **)
{
    both_ways(
        "a race: it ", [] { launch(halves, 1, 32, 128, numbers(), ORDERED); },
        [] { launch(halves, 1, 32, 128, numbers(), RACING); });
}

/* ---- between blocks ---- */

static void __global__ blocks_write(int *to, enum how how)
{
    to[how == ORDERED ? blockIdx.x : 7] = 1;
}

static void __global__ blocks_read(int *to, enum how how)
{
    to[how == ORDERED ? blockIdx.x : 7 + blockIdx.x] = to[how == ORDERED ? 100 : 7];
}

static void __global__ blocks_add(int *to, enum how how)
{
    if (how == ORDERED)
        atomicAdd(to, 1);
    else
        *to += 1;
}

static void __global__ blocks_add_and_read(int *to, enum how how)
{
    if (how == ORDERED)
        to[1 + blockIdx.x] = atomicAdd(to, 1);
    else if (blockIdx.x == 0)
        atomicAdd(to, 1);
    else
        to[1] = *to;
}

static void test_blocks(void **)
{
    const char *said = "of global memory at";
    both_ways(
        said, [] { launch(blocks_write, 3, 1, 0, numbers(), ORDERED); },
        [] { launch(blocks_write, 3, 1, 0, numbers(), RACING); });
    both_ways(
        said, [] { launch(blocks_read, 3, 1, 0, numbers(), ORDERED); },
        [] { launch(blocks_read, 3, 1, 0, numbers(), RACING); });
    both_ways(
        said, [] { launch(blocks_add, 3, 1, 0, numbers(), ORDERED); },
        [] { launch(blocks_add, 3, 1, 0, numbers(), RACING); });
    both_ways(
        said, [] { launch(blocks_add_and_read, 3, 1, 0, numbers(), ORDERED); },
        [] { launch(blocks_add_and_read, 2, 1, 0, numbers(), RACING); });
}

/* What one launch wrote the next may read. */
static void test_launches(void **)
{
    int *at = numbers();
    for (int i = 0; i < 3; i++) {
        launch(blocks_write, 3, 1, 0, at, ORDERED);
        launch(blocks_read, 3, 1, 0, at, ORDERED);
    }
}

/* Neighbours of two bytes are not one place. */
static void __global__ neighbours(unsigned short *to)
{
    to[blockIdx.x * blockDim.x + threadIdx.x] = 1;
}

static void test_neighbours(void **)
{
    launch(neighbours, 3, 33, 0, (unsigned short *)numbers());
}

/* ---- copies and fragments ---- */

static void __global__ copy_and_load(int *to, const int *from, enum how how)
{
    char *room = (char *)qk_shared();
    qk_copy_16(room + 16 * threadIdx.x, from + 4 * threadIdx.x, true);
    qk_copy_commit();
    qk_copy_wait<0>();
    if (how == ORDERED)
        __syncthreads();
    unsigned r[4];
    qk_ldmatrix(r, room + 16 * ((threadIdx.x + 1) % 32));
    to[512 + threadIdx.x] = (int)(r[0] + r[1] + r[2] + r[3]);
}

static void test_copies(void **)
{
    both_ways(
        "a race: it ", [] { launch(copy_and_load, 1, 32, 512, numbers(), numbers(), ORDERED); },
        [] { launch(copy_and_load, 1, 32, 512, numbers(), numbers(), RACING); });
}

/* ---- whose memory ---- */

static void __global__ write_there(int *to)
{
    *to = 1;
}

static void __global__ hand_out(int *to)
{
    int mine = 1;
    int **room = (int **)qk_shared();
    if (threadIdx.x == 0)
        *room = &mine;
    __syncthreads();
    to[threadIdx.x] = threadIdx.x ? **room : 0;
    __syncthreads();
    mine++;
}

static void test_whose_memory(void **)
{
    assert_dies("it writes memory of the host at", [] {
        int *at = (int *)malloc(sizeof *at);
        launch(write_there, 1, 1, 0, at);
    });
    assert_dies("it writes memory of the host at", [] {
        int local;
        launch(write_there, 1, 1, 0, &local);
    });
    assert_dies("it reads a variable of another thread",
                [] { launch(hand_out, 1, 2, 8, numbers()); });
    assert_dies("the host uses memory of the card at", [] { *numbers() = 1; });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_sums_into_one_place, clear_card),
        cmocka_unit_test_teardown(test_barriers, clear_card),
        cmocka_unit_test_teardown(test_warps, clear_card),
        cmocka_unit_test_teardown(test_parts_of_warps, clear_card),
        cmocka_unit_test_teardown(test_blocks, clear_card),
        cmocka_unit_test_teardown(test_launches, clear_card),
        cmocka_unit_test_teardown(test_neighbours, clear_card),
        cmocka_unit_test_teardown(test_copies, clear_card),
        cmocka_unit_test_teardown(test_whose_memory, clear_card),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
