/* The emulated card's memory, launches, fragments, copies and products. */
#include "dies.h"

#include <cublasLt.h>

static const char *const ORDERS[] = {"forward", "reverse", "shuffle:1"};

static uint64_t random_state = 1;

/* In [-1, 1), a number of bf16. */
static float draw(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return __bfloat162float(__float2bfloat16((float)(int32_t)(random_state >> 32) / 2147483648.0f));
}

/* ---- memory ---- */

static void __global__ write_at(float *at, int64_t i)
{
    if (threadIdx.x == 3)
        at[i] = 1;
}

static void __global__ read_at(float *to, const float *at, int64_t i)
{
    if (threadIdx.x == 3)
        *to = at[i];
}

template <class T> static void __global__ write_shared(int64_t i)
{
    if (threadIdx.x == 3)
        ((T *)qk_shared())[i] = T();
}

static void __global__ write_room(float *to, int i)
{
    __shared__ float room[5];
    room[i] = 1;
    *to = room[0];
}

static float *ten(void)
{
    float *at;
    cudaMalloc(&at, 10 * sizeof *at);
    return at;
}

static void test_out_of_bounds(void **)
{
    launch(write_at, 1, 32, 0, on_card<float>(10), 9);
    assert_dies("AddressSanitizer", [] { launch(write_at, 1, 32, 0, ten(), 10); });
    assert_dies("AddressSanitizer", [] { launch(write_at, 1, 32, 0, ten(), -1); });
    assert_dies("AddressSanitizer", [] { launch(read_at, 1, 32, 0, ten(), ten(), 10); });
    assert_dies("kernel write_at, block (0, 0, 0), thread (3, 0, 0)",
                [] { launch(write_at, 1, 32, 0, ten(), 10); });
    assert_dies("AddressSanitizer", [] {
        float *at = ten();
        cudaFree(at);
        launch(write_at, 1, 32, 0, at, 0);
    });
    assert_dies("misaligned", [] { launch(write_at, 1, 32, 0, (float *)((char *)ten() + 2), 0); });
    assert_dies("misaligned",
                [] { launch(write_at, 1, 32, 0, (float *)(void *)((char *)ten() + 2), 0); });
}

static void test_shared_out_of_bounds(void **)
{
    launch(write_shared<float>, 2, 32, 40, 9);
    assert_dies("AddressSanitizer", [] { launch(write_shared<float>, 2, 32, 40, 10); });
    assert_dies("AddressSanitizer", [] { launch(write_shared<float>, 2, 32, 40, -1); });
    assert_dies("AddressSanitizer", [] { launch(write_shared<float>, 2, 32, 0, 0); });
    assert_dies("AddressSanitizer", [] { launch(write_shared<char>, 2, 32, 41, 41); });
    assert_dies("misaligned", [] {
        launch((void (*)(int64_t))[](int64_t) { *(float4 *)((float *)qk_shared() + 1) = {}; }, 1, 1,
               64, 0);
    });
    launch(write_room, 1, 1, 0, on_card<float>(1), 4);
    assert_dies("index 5 out of bounds", [] { launch(write_room, 1, 1, 0, ten(), 5); });
}

static void __global__ copy_shared(float *to)
{
    float *room = (float *)qk_shared();
    to[blockIdx.x * blockDim.x + threadIdx.x] = room[threadIdx.x];
    room[threadIdx.x] = 1;
}

static void test_garbage(void **)
{
    float *at = on_card<float>(64), got[64];
    take_back(got, at, 64);
    for (int i = 0; i < 64; i++)
        assert_true(isnan(got[i]));
    launch(copy_shared, 2, 32, 128, at);
    take_back(got, at, 64);
    for (int i = 0; i < 64; i++)
        assert_true(isnan(got[i]));
}

static void test_room(void **)
{
    void *at = NULL, *other = NULL;
    size_t left = 0, all = 0;
    qk_emulation_memory(1000);
    assert_int_equal(cudaMalloc(&at, 600), cudaSuccess);
    assert_int_equal((uintptr_t)at % 256, 0);
    assert_int_equal(cudaMalloc(&other, 600), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_null(other);
    assert_int_equal(cudaMemGetInfo(&left, &all), cudaSuccess);
    assert_int_equal(left, 400);
    assert_int_equal(all, 1000);
    assert_int_equal(cudaFree(at), cudaSuccess);
    assert_int_equal(cudaMemGetInfo(&left, &all), cudaSuccess);
    assert_int_equal(left, 1000);
    assert_int_equal(cudaFree((void *)&left), cudaErrorInvalidValue);
    qk_emulation_memory(0);
    cudaGetLastError();
}

static void test_copies(void **)
{
    char host[200] = "there and back", *pinned = NULL, *at = on_card<char>(100);
    assert_int_equal(cudaMemcpy(at, host, 100, cudaMemcpyHostToDevice), cudaSuccess);
    assert_int_equal(cudaMallocHost(&pinned, 100), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(pinned, at, 100, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    assert_memory_equal(pinned, host, 100);
    assert_int_equal(cudaFreeHost(pinned), cudaSuccess);
    assert_int_equal(cudaMemcpy(at, host, 101, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(at, host, 100, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(host, host + 100, 100, cudaMemcpyDeviceToHost),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(at + 50, 0, 51), cudaErrorInvalidValue);
    cudaGetLastError();
}

/* ---- launches ---- */

static void __global__ nothing(void)
{
}

static void test_launch_limits(void **)
{
    assert_int_equal(try_launch(nothing, 1, 1024, 0), cudaSuccess);
    assert_int_equal(try_launch(nothing, 1, 1025, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(try_launch(nothing, 1, dim3(32, 33), 0), cudaErrorInvalidConfiguration);
    assert_int_equal(try_launch(nothing, 0, 1, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(try_launch(nothing, dim3(1, 65536), 1, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(try_launch(nothing, dim3(65536), 1, 0), cudaSuccess);
    assert_int_equal(try_launch(nothing, 1, 1, 48 << 10), cudaSuccess);
    assert_int_equal(try_launch(nothing, 1, 1, (48 << 10) + 1), cudaErrorInvalidValue);
    const void *kernel = (const void *)nothing;
    const cudaFuncAttribute most = cudaFuncAttributeMaxDynamicSharedMemorySize;
    assert_int_equal(cudaFuncSetAttribute(kernel, most, (227 << 10) + 1), cudaErrorInvalidValue);
    assert_int_equal(cudaFuncSetAttribute(kernel, most, 227 << 10), cudaSuccess);
    assert_int_equal(try_launch(nothing, 1, 1, 227 << 10), cudaSuccess);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
}

/* ---- bf16 ---- */

static void test_bf16(void **)
{
    static const struct {
        float from;
        unsigned short to;
    } cases[] = {{1, 0x3f80},        {1.00390625f, 0x3f80}, {1.01171875f, 0x3f82}, {-0.0f, 0x8000},
                 {INFINITY, 0x7f80}, {3.4e38f, 0x7f80},     {NAN, 0x7fff},         {1e-40f, 0x0001},
                 {1.005f, 0x3f81},   {-INFINITY, 0xff80}};
    for (int i = 0; i < COUNT(cases); i++)
        assert_int_equal(__bfloat16_as_ushort(__float2bfloat16(cases[i].from)), cases[i].to);
    const __nv_bfloat162 pair = __floats2bfloat162_rn(1, 2);
    assert_int_equal(alignof(__nv_bfloat162), 4);
    assert_true(__low2float(pair) == 1 && __high2float(pair) == 2);
    assert_int_equal(qk_emulation_bits<unsigned>(pair), 0x40003f80);
}

/* ---- fragments: places are said here once more, as in the PTX ISA's pictures ---- */

static unsigned pair_of(const float *x, int stride)
{
    return (unsigned)__bfloat16_as_ushort(__float2bfloat16(x[0])) |
           (unsigned)__bfloat16_as_ushort(__float2bfloat16(x[stride])) << 16;
}

static void __global__ multiply(float *d, const float *a, const float *b, int warps)
{
    const int lane = (int)threadIdx.x % 32, group = lane >> 2, in_group = lane & 3;
    unsigned fa[4], fb[2];
    float fd[4];
    for (int i = 0; i < 4; i++) {
        const int row = i == 0 || i == 2 ? group : group + 8;
        const int col = in_group * 2 + (i >= 2 ? 8 : 0);
        fa[i] = pair_of(a + row * 16 + col, 1);
    }
    for (int i = 0; i < 2; i++)
        fb[i] = pair_of(b + (in_group * 2 + (i ? 8 : 0)) * 8 + group, 8);
    for (int i = 0; i < 4; i++)
        fd[i] = d[(group + (i >= 2 ? 8 : 0)) * 8 + in_group * 2 + (i & 1)];
    __syncthreads();
    qk_mma(fd, fa, fb);
    if ((int)threadIdx.x / 32 == warps - 1)
        for (int i = 0; i < 4; i++)
            d[(group + (i >= 2 ? 8 : 0)) * 8 + in_group * 2 + (i & 1)] = fd[i];
}

static void test_mma(void **)
{
    float a[16 * 16], b[16 * 8], d[16 * 8], got[16 * 8];
    float *on_a = on_card<float>(256), *on_b = on_card<float>(128), *on_d = on_card<float>(128);
    for (const char *order : ORDERS) {
        for (int i = 0; i < 256; i++)
            a[i] = draw();
        for (int i = 0; i < 128; i++)
            b[i] = draw(), d[i] = draw();
        put_there(on_a, a, 256), put_there(on_b, b, 128), put_there(on_d, d, 128);
        qk_emulation_order(order);
        launch(multiply, 1, 64, 0, on_d, on_a, on_b, 2);
        take_back(got, on_d, 128);
        for (int m = 0; m < 16; m++)
            for (int n = 0; n < 8; n++) {
                double sum = (double)d[m * 8 + n];
                for (int k = 0; k < 16; k++)
                    sum += (double)a[m * 16 + k] * (double)b[k * 8 + n];
                assert_true(fabs(sum - (double)got[m * 8 + n]) < 1e-5);
            }
    }
}

/* Four matrices of numbers that say where they are: 64 i + 8 row + column. */
static void __global__ load_fragments(unsigned *to, bool transposed)
{
    unsigned short *room = (unsigned short *)qk_shared();
    for (int i = (int)threadIdx.x; i < 256; i += 32)
        room[i] = (unsigned short)i;
    __syncthreads();
    unsigned r[4];
    if (transposed)
        qk_ldmatrix_transposed(r, room + 8 * threadIdx.x);
    else
        qk_ldmatrix(r, room + 8 * threadIdx.x);
    for (int i = 0; i < 4; i++)
        to[4 * threadIdx.x + i] = r[i];
}

static void __global__ load_badly(unsigned *to, int how)
{
    unsigned short *room = (unsigned short *)qk_shared();
    unsigned r[4];
    unsigned short local[16];
    qk_ldmatrix(r, how == 0   ? room + 4
                   : how == 1 ? (unsigned short *)((uintptr_t)local & ~15ul)
                              : room + 8 * threadIdx.x);
    *to = r[0];
}

static void test_ldmatrix(void **)
{
    unsigned *to = on_card<unsigned>(128), got[128];
    for (int transposed = 0; transposed < 2; transposed++) {
        launch(load_fragments, 1, 32, 512, to, transposed);
        take_back(got, to, 128);
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned i = 0; i < 4; i++) {
                const unsigned at = lane / 4, pair = 2 * (lane % 4);
                const unsigned low = 64 * i + (transposed ? 8 * pair + at : 8 * at + pair);
                const unsigned high = low + (transposed ? 8 : 1);
                assert_int_equal(got[4 * lane + i], low | high << 16);
            }
    }
    assert_dies("not a multiple of 16",
                [] { launch(load_badly, 1, 32, 512, (unsigned *)ten(), 0); });
    assert_dies("outside shared memory",
                [] { launch(load_badly, 1, 32, 512, (unsigned *)ten(), 1); });
    assert_dies("AddressSanitizer", [] { launch(load_badly, 1, 32, 500, (unsigned *)ten(), 2); });
}

/* ---- copies that arrive later ---- */

/* Two groups of two; `waits` says after which wait what is read. */
static void __global__ copies(float *to, const float *from, int waits)
{
    float *room = (float *)qk_shared() + 16 * threadIdx.x;
    const float *mine = from + 16 * threadIdx.x;
    qk_copy_16(room, mine, true);
    qk_copy_16(room + 4, mine + 4, false);
    qk_copy_commit();
    qk_copy_16(room + 8, mine + 8, true);
    qk_copy_16(room + 12, mine + 12, true);
    qk_copy_commit();
    if (waits == 1)
        qk_copy_wait<1>();
    if (waits == 2)
        qk_copy_wait<0>();
    for (int i = 0; i < 16; i++)
        to[16 * threadIdx.x + i] = room[i];
}

static void test_deferred_copies(void **)
{
    float *from = on_card<float>(512), *to = on_card<float>(512), given[512], got[512];
    for (int i = 0; i < 512; i++)
        given[i] = (float)(i + 1);
    put_there(from, given, 512);
    for (int waits = 0; waits < 3; waits++) {
        launch(copies, 1, 32, 2048, to, from, waits);
        take_back(got, to, 512);
        for (int i = 0; i < 512; i++) {
            const bool here = i % 16 < 8 ? waits >= 1 : waits == 2;
            if (here)
                assert_true(got[i] == (i % 16 / 4 == 1 ? 0.0f : given[i]));
            else
                assert_true(isnan(got[i]));
        }
    }
    assert_dies("AddressSanitizer", [] {
        launch((void (*)(float *))[](float *at) { qk_copy_16(qk_shared(), at + 8, true); }, 1, 1,
               16, ten());
    });
    assert_dies("a copy of 16 bytes from an address that is not a multiple of 16", [] {
        launch((void (*)(float *))[](float *at) { qk_copy_16(qk_shared(), at + 1, true); }, 1, 1,
               16, ten());
    });
    assert_dies("a copy to outside shared memory", [] {
        launch((void (*)(float *))[](float *at) { qk_copy_16(at, at + 4, true); }, 1, 1, 16, ten());
    });
}

/* ---- products ---- */

struct product {
    cublasLtHandle_t lt;
    cublasLtMatmulDesc_t what;
    cublasLtMatrixLayout_t a, b, c;
};

static struct product product_of(int transa, int transb, cudaDataType in, cudaDataType out, int m,
                                 int n, int k, int ld, int batch)
{
    struct product p = {};
    cublasLtCreate(&p.lt);
    cublasLtMatmulDescCreate(&p.what, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(p.what, CUBLASLT_MATMUL_DESC_TRANSA, &transa, sizeof transa);
    cublasLtMatmulDescSetAttribute(p.what, CUBLASLT_MATMUL_DESC_TRANSB, &transb, sizeof transb);
    cublasLtMatrixLayoutCreate(&p.a, in, (uint64_t)(transa ? k : m), (uint64_t)(transa ? m : k),
                               ld);
    cublasLtMatrixLayoutCreate(&p.b, in, (uint64_t)(transb ? n : k), (uint64_t)(transb ? k : n),
                               ld);
    cublasLtMatrixLayoutCreate(&p.c, out, (uint64_t)m, (uint64_t)n, ld);
    const int64_t stride = ld * ld;
    const cublasLtMatrixLayout_t all[] = {p.a, p.b, p.c};
    for (cublasLtMatrixLayout_t layout : all) {
        cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
                                         sizeof batch);
        cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                         &stride, sizeof stride);
    }
    return p;
}

static void done_with(struct product *p)
{
    cublasLtMatrixLayoutDestroy(p->a);
    cublasLtMatrixLayoutDestroy(p->b);
    cublasLtMatrixLayoutDestroy(p->c);
    cublasLtMatmulDescDestroy(p->what);
    cublasLtDestroy(p->lt);
}

enum { M = 5, N = 7, K = 11, LD = 13, BATCH = 3, ALL = LD * LD * BATCH };

static void check_product(int transa, int transb, bool narrow_in, bool narrow_out, float beta)
{
    const cudaDataType types[] = {CUDA_R_32F, CUDA_R_16BF};
    struct product p =
        product_of(transa, transb, types[narrow_in], types[narrow_out], M, N, K, LD, BATCH);
    float wide[2][ALL], was[ALL], got[ALL];
    __nv_bfloat16 narrow[2][ALL], back[ALL];
    void *at[3];
    for (int x = 0; x < 2; x++) {
        for (int i = 0; i < ALL; i++)
            wide[x][i] = draw(), narrow[x][i] = __float2bfloat16(wide[x][i]);
        cudaMalloc(&at[x], ALL * 4);
        cudaMemcpy(at[x], narrow_in ? (void *)narrow[x] : wide[x], ALL * (narrow_in ? 2 : 4),
                   cudaMemcpyHostToDevice);
    }
    for (int i = 0; i < ALL; i++)
        was[i] = draw(), back[i] = __float2bfloat16(was[i]);
    cudaMalloc(&at[2], ALL * 4);
    cudaMemcpy(at[2], narrow_out ? (void *)back : was, ALL * (narrow_out ? 2 : 4),
               cudaMemcpyHostToDevice);
    const float alpha = 0.5f;
    assert_int_equal(cublasLtMatmul(p.lt, p.what, &alpha, at[0], p.a, at[1], p.b, &beta, at[2], p.c,
                                    at[2], p.c, NULL, NULL, 0, NULL),
                     CUBLAS_STATUS_SUCCESS);
    cudaMemcpy(narrow_out ? (void *)back : got, at[2], ALL * (narrow_out ? 2 : 4),
               cudaMemcpyDeviceToHost);
    for (int i = 0; i < ALL; i++) {
        const int z = i / LD / LD, row = i % LD, col = i / LD % LD;
        double expected = (double)was[i],
               number = (double)(narrow_out ? __bfloat162float(back[i]) : got[i]);
        if (row < M && col < N) {
            expected *= (double)beta;
            for (int k = 0; k < K; k++)
                expected += 0.5 *
                            (double)wide[0][z * LD * LD + (transa ? row * LD + k : k * LD + row)] *
                            (double)wide[1][z * LD * LD + (transb ? k * LD + col : col * LD + k)];
        }
        if (fabs(number - expected) > (narrow_out ? fabs(expected) / 250 : 1e-5))
            fail_msg("%d %d %d %d %g: %g, expected %g", transa, transb, narrow_in, narrow_out,
                     (double)beta, number, expected);
    }
    for (int x = 0; x < 3; x++)
        cudaFree(at[x]);
    done_with(&p);
}

static void test_products(void **)
{
    for (int i = 0; i < 4; i++) {
        check_product(i & 1, i & 2 ? 1 : 0, false, false, 0);
        check_product(i & 1, i & 2 ? 1 : 0, true, false, 1);
        check_product(i & 1, i & 2 ? 1 : 0, true, true, 0.5f);
    }
}

static cublasStatus_t offered(struct product *p, uint32_t alignment,
                              cublasLtMatmulHeuristicResult_t *offer)
{
    cublasLtMatmulPreference_t wish;
    cublasLtMatmulPreferenceCreate(&wish);
    for (int i = CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
         i <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES; i++)
        cublasLtMatmulPreferenceSetAttribute(wish, (cublasLtMatmulPreferenceAttributes_t)i,
                                             &alignment, sizeof alignment);
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(p->lt, p->what, p->a, p->b, p->c,
                                                                 p->c, wish, 1, offer, &count);
    assert_int_equal(count, status == CUBLAS_STATUS_SUCCESS);
    cublasLtMatmulPreferenceDestroy(wish);
    return status;
}

static void test_products_refused(void **)
{
    cublasLtMatmulHeuristicResult_t offer;
    struct product p = product_of(0, 0, CUDA_R_32F, CUDA_R_32F, 4, 4, 4, 4, 1);
    float *at = on_card<float>(64);
    cudaMemset(at, 0, 256);
    const float one = 1, zero = 0;
    assert_int_equal(offered(&p, 16, &offer), CUBLAS_STATUS_SUCCESS);
    const cublasStatus_t good = cublasLtMatmul(p.lt, p.what, &one, at, p.a, at + 16, p.b, &zero, at,
                                               p.c, at + 32, p.c, &offer.algo, NULL, 0, NULL);
    assert_int_equal(good, CUBLAS_STATUS_SUCCESS);
    const cublasStatus_t bad = cublasLtMatmul(p.lt, p.what, &one, at + 1, p.a, at + 17, p.b, &zero,
                                              at, p.c, at + 33, p.c, &offer.algo, NULL, 0, NULL);
    assert_int_equal(bad, CUBLAS_STATUS_INVALID_VALUE); /* aligned to 16 was promised */
    const int64_t short_ld = 3;
    cublasLtMatrixLayoutSetAttribute(p.a, CUBLASLT_MATRIX_LAYOUT_LD, &short_ld, sizeof short_ld);
    assert_int_equal(offered(&p, 16, &offer), CUBLAS_STATUS_INVALID_VALUE);
    done_with(&p);
    p = product_of(0, 0, CUDA_R_32F, CUDA_R_32F, 4, 4, 4, 4, 1);
    const uint64_t rows = 3;
    cublasLtMatrixLayoutSetAttribute(p.b, CUBLASLT_MATRIX_LAYOUT_ROWS, &rows, sizeof rows);
    assert_int_equal(offered(&p, 16, &offer), CUBLAS_STATUS_INVALID_VALUE);
    done_with(&p);
    p = product_of(0, 0, CUDA_R_16BF, CUDA_R_16BF, 4, 4, 4, 4, 1);
    assert_int_equal(offered(&p, 2, &offer), CUBLAS_STATUS_NOT_SUPPORTED);
    assert_int_equal(offered(&p, 4, &offer), CUBLAS_STATUS_SUCCESS);
    done_with(&p);
    assert_dies("AddressSanitizer", [] {
        const float by = 1;
        struct product q = product_of(0, 0, CUDA_R_32F, CUDA_R_32F, 4, 4, 4, 4, 1);
        cublasLtMatmul(q.lt, q.what, &by, ten(), q.a, ten(), q.b, &by, ten(), q.c, ten(), q.c, NULL,
                       NULL, 0, NULL);
    });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_out_of_bounds, clear_card),
        cmocka_unit_test_teardown(test_shared_out_of_bounds, clear_card),
        cmocka_unit_test_teardown(test_garbage, clear_card),
        cmocka_unit_test_teardown(test_room, clear_card),
        cmocka_unit_test_teardown(test_copies, clear_card),
        cmocka_unit_test_teardown(test_launch_limits, clear_card),
        cmocka_unit_test_teardown(test_bf16, clear_card),
        cmocka_unit_test_teardown(test_mma, clear_card),
        cmocka_unit_test_teardown(test_ldmatrix, clear_card),
        cmocka_unit_test_teardown(test_deferred_copies, clear_card),
        cmocka_unit_test_teardown(test_products, clear_card),
        cmocka_unit_test_teardown(test_products_refused, clear_card),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
