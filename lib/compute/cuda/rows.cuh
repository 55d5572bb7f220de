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

/* to[i] += partial[0, i] + partial[1, i] + ..., of `count` rows of N: as many threads as there are
 * rows, but 32 at most, share a column, and one adds their sums, always in the same order. */
[[maybe_unused]] static __global__ void __launch_bounds__(1024)
    qk_add_partials(float *to, const float *partial, int64_t count, int64_t N)
{
    __shared__ double room[32][33];
    const int64_t i = (int64_t)blockIdx.x * 32 + threadIdx.x;
    double sum = 0;
    for (int64_t k = threadIdx.y; i < N && k < count; k += blockDim.y)
        sum += (double)partial[k * N + i];
    room[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || i >= N)
        return;
    for (int k = 1; k < (int)blockDim.y; k++)
        sum += room[k][threadIdx.x];
    to[i] += (float)sum;
}

static inline void qk_cuda_add_partials(struct qk_device *d, float *to, const float *partial,
                                        int64_t count, int64_t N)
{
    const dim3 block(32, count < 1 ? 1 : count < 32 ? (unsigned)count : 32);
    qk_cuda_launch(d, qk_add_partials, dim3((unsigned)qk_cuda_blocks(N, 32)), block, 0, to, partial,
                   count, N);
}

#endif
