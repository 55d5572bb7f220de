/* What the operations on rows share: packs in and out of registers, and the second half of sums
 * over rows. */
#ifndef QK_COMPUTE_CUDA_ROWS_CUH
#define QK_COMPUTE_CUDA_ROWS_CUH

#include "compute/cuda/device.cuh"

/* Numbers of T in 16 bytes. */
template <class T> constexpr int QK_16_BYTES = 16 / (int)sizeof(T);

template <int P, class T> __device__ __forceinline__ qk_pack<T, P> qk_load(const T *from)
{
    return *(const qk_pack<T, P> *)from;
}

/* P neighbours as float; `from` is aligned to them, or to 16 bytes where they are more. */
template <int P, class T> __device__ __forceinline__ void qk_read(float *x, const T *from)
{
    constexpr int STEP = P < QK_16_BYTES<T> ? P : QK_16_BYTES<T>;
#pragma unroll
    for (int k = 0; k < P; k += STEP) {
        const qk_pack<T, STEP> pack = qk_load<STEP>(from + k);
#pragma unroll
        for (int i = 0; i < STEP; i++)
            x[k + i] = qk_wide(pack.at[i]);
    }
}

template <int P, class T> __device__ __forceinline__ void qk_write(T *to, const float *x)
{
    constexpr int STEP = P < QK_16_BYTES<T> ? P : QK_16_BYTES<T>;
#pragma unroll
    for (int k = 0; k < P; k += STEP) {
        qk_pack<T, STEP> pack;
#pragma unroll
        for (int i = 0; i < STEP; i++)
            pack.at[i] = qk_round<T>(x[k + i]);
        *(qk_pack<T, STEP> *)(to + k) = pack;
    }
}

/* Columns of a block below: 32 bytes, the least that memory gives; and numbers a thread reads at
 * once. */
enum { QK_ADD_COLUMNS = 8, QK_ADD_AHEAD = 8 };

/* to[i] += partial[0, i] + partial[1, i] + ..., of `count` rows of N.  Few rows of few columns:
 * what it takes is waiting for memory, so that rows are shared by as many threads as there are. */
[[maybe_unused]] static __global__ void __launch_bounds__(1024)
    qk_add_partials(float *to, const float *partial, int64_t count, int64_t N)
{
    __shared__ double room[32][QK_ADD_COLUMNS]; /* a row per warp */
    const int column = threadIdx.x % QK_ADD_COLUMNS, rows = blockDim.x / QK_ADD_COLUMNS;
    const int64_t i = (int64_t)blockIdx.x * QK_ADD_COLUMNS + column;
    double sum = 0;
    for (int64_t k = threadIdx.x / QK_ADD_COLUMNS; k < count; k += QK_ADD_AHEAD * rows) {
        float x[QK_ADD_AHEAD]; /* all on their way before the first is added */
#pragma unroll
        for (int e = 0; e < QK_ADD_AHEAD; e++)
            x[e] = i < N && k + e * rows < count ? partial[(k + e * rows) * N + i] : 0.0f;
#pragma unroll
        for (int e = 0; e < QK_ADD_AHEAD; e++)
            sum += (double)x[e];
    }
    for (int lanes = QK_ADD_COLUMNS; lanes < QK_WARP; lanes *= 2)
        sum += __shfl_xor_sync(QK_ALL_LANES, sum, lanes);
    if (threadIdx.x % QK_WARP < QK_ADD_COLUMNS)
        room[threadIdx.x / QK_WARP][column] = sum;
    __syncthreads();
    if (threadIdx.x >= QK_ADD_COLUMNS || i >= N)
        return;
    for (int w = 1; w < (int)(blockDim.x / QK_WARP); w++)
        sum += room[w][column];
    to[i] += (float)sum;
}

static inline void qk_cuda_add_partials(struct qk_device *d, float *to, const float *partial,
                                        int64_t count, int64_t N)
{
    const int64_t warps = qk_cuda_blocks(count * QK_ADD_COLUMNS, QK_WARP);
    qk_cuda_launch(d, qk_add_partials, dim3((unsigned)qk_cuda_blocks(N, QK_ADD_COLUMNS)),
                   (unsigned)(warps < 1    ? 1
                              : warps < 32 ? warps
                                           : 32) *
                       QK_WARP,
                   0, to, partial, count, N);
}

#endif
