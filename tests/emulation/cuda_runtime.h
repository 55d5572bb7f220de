/* CUDA C++ and its runtime, as much of them as lib/compute/cuda uses, for an ordinary C++ compiler:
 * README.md.  What is not here does not compile; atomics on floating-point numbers are left out on
 * purpose. */
#ifndef QK_TESTS_EMULATION_CUDA_RUNTIME_H
#define QK_TESTS_EMULATION_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CUDART_VERSION 13000

/* ---- the language ---- */

#define __global__
#define __device__
#define __host__
#define __constant__
/* One block runs at a time. */
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#ifndef __restrict__
#define __restrict__ __restrict
#endif

#define QK_VECTOR2(name, type, align)                                                              \
    struct alignas(align) name {                                                                   \
        type x, y;                                                                                 \
    };                                                                                             \
    static inline name make_##name(type x, type y)                                                 \
    {                                                                                              \
        return name{x, y};                                                                         \
    }
#define QK_VECTOR3(name, type)                                                                     \
    struct name {                                                                                  \
        type x, y, z;                                                                              \
    };                                                                                             \
    static inline name make_##name(type x, type y, type z)                                         \
    {                                                                                              \
        return name{x, y, z};                                                                      \
    }
#define QK_VECTOR4(name, type, align)                                                              \
    struct alignas(align) name {                                                                   \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    static inline name make_##name(type x, type y, type z, type w)                                 \
    {                                                                                              \
        return name{x, y, z, w};                                                                   \
    }
QK_VECTOR2(char2, signed char, 2)
QK_VECTOR2(uchar2, unsigned char, 2)
QK_VECTOR2(short2, short, 4)
QK_VECTOR2(ushort2, unsigned short, 4)
QK_VECTOR2(int2, int, 8)
QK_VECTOR2(uint2, unsigned, 8)
QK_VECTOR2(float2, float, 8)
QK_VECTOR2(double2, double, 16)
QK_VECTOR2(longlong2, long long, 16)
QK_VECTOR2(ulonglong2, unsigned long long, 16)
QK_VECTOR3(int3, int)
QK_VECTOR3(uint3, unsigned)
QK_VECTOR3(float3, float)
QK_VECTOR4(uchar4, unsigned char, 4)
QK_VECTOR4(short4, short, 8)
QK_VECTOR4(ushort4, unsigned short, 8)
QK_VECTOR4(int4, int, 16)
QK_VECTOR4(uint4, unsigned, 16)
QK_VECTOR4(float4, float, 16)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

/* Of the thread that runs now. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static const int warpSize = 32;

/* ---- where threads meet ---- */

/* The calling thread waits until all lanes of `mask` (0: all threads of the block) have come to the
 * same operation on the same line; the last to come runs work(each lane's `mine`, mask), with NULL
 * for lanes not in the mask; of a whole block work(every thread's `mine`, number of threads). */
typedef void qk_emulation_work(void **mine, unsigned mask);
void qk_emulation_meet(const char *what, unsigned mask, void *mine, qk_emulation_work *work,
                       const char *file, int line);

#define QK_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()

void __syncthreads(QK_AT);
int __syncthreads_count(int predicate, QK_AT);
int __syncthreads_and(int predicate, QK_AT);
int __syncthreads_or(int predicate, QK_AT);
void __syncwarp(unsigned mask = 0xffffffffu, QK_AT);
unsigned __ballot_sync(unsigned mask, int predicate, QK_AT);
int __all_sync(unsigned mask, int predicate, QK_AT);
int __any_sync(unsigned mask, int predicate, QK_AT);
unsigned __match_any_sync(unsigned mask, unsigned value, QK_AT);
int __reduce_add_sync(unsigned mask, int value, QK_AT);
int __reduce_min_sync(unsigned mask, int value, QK_AT);
int __reduce_max_sync(unsigned mask, int value, QK_AT);
unsigned __reduce_add_sync(unsigned mask, unsigned value, QK_AT);
unsigned __reduce_min_sync(unsigned mask, unsigned value, QK_AT);
unsigned __reduce_max_sync(unsigned mask, unsigned value, QK_AT);
unsigned __reduce_and_sync(unsigned mask, unsigned value, QK_AT);
unsigned __reduce_or_sync(unsigned mask, unsigned value, QK_AT);
unsigned __reduce_xor_sync(unsigned mask, unsigned value, QK_AT);

enum qk_shuffle { QK_SHUFFLE, QK_SHUFFLE_UP, QK_SHUFFLE_DOWN, QK_SHUFFLE_XOR };
uint64_t qk_emulation_shuffle(enum qk_shuffle how, unsigned mask, uint64_t value, int by, int width,
                              const char *file, int line);

template <class T>
static inline T qk_emulation_shuffled(enum qk_shuffle how, unsigned mask, T value, int by,
                                      int width, const char *file, int line)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2);
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = qk_emulation_shuffle(how, mask, bits, by, width, file, line);
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T>
static inline T __shfl_sync(unsigned mask, T value, int from, int width = 32, QK_AT)
{
    return qk_emulation_shuffled(QK_SHUFFLE, mask, value, from, width, file, line);
}

template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, QK_AT)
{
    return qk_emulation_shuffled(QK_SHUFFLE_UP, mask, value, (int)by, width, file, line);
}

template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, QK_AT)
{
    return qk_emulation_shuffled(QK_SHUFFLE_DOWN, mask, value, (int)by, width, file, line);
}

template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32, QK_AT)
{
    return qk_emulation_shuffled(QK_SHUFFLE_XOR, mask, value, by, width, file, line);
}

/* ---- memory ---- */

template <class T> static inline T __ldg(const T *at)
{
    return *at;
}
template <class T> static inline T __ldcs(const T *at)
{
    return *at;
}
template <class T> static inline T __ldcg(const T *at)
{
    return *at;
}
template <class T> static inline void __stcs(T *at, T value)
{
    *at = value;
}
template <class T> static inline void __stcg(T *at, T value)
{
    *at = value;
}

static inline void __threadfence(void)
{
}
static inline void __threadfence_block(void)
{
}

/* Threads run one at a time and stop only where they meet.  What watches for races (races.cc) is
 * told that this is no plain access. */
void qk_emulation_atomic(const void *at, size_t bytes);
#ifdef __SANITIZE_THREAD__
#define QK_UNWATCHED static __attribute__((no_sanitize_thread, noinline, unused))
#else
#define QK_UNWATCHED static inline
#endif
#define QK_ATOMIC_OP(name, type, step, ...)                                                        \
    QK_UNWATCHED type name(type *at, __VA_ARGS__ type x)                                           \
    {                                                                                              \
        qk_emulation_atomic(at, sizeof *at);                                                       \
        const type was = *at;                                                                      \
        *at = step;                                                                                \
        return was;                                                                                \
    }
#define QK_ATOMIC(type)                                                                            \
    QK_ATOMIC_OP(atomicAdd, type, (type)((unsigned long long)was + (unsigned long long)x), )       \
    QK_ATOMIC_OP(atomicMax, type, was > x ? was : x, )                                             \
    QK_ATOMIC_OP(atomicMin, type, was < x ? was : x, )                                             \
    QK_ATOMIC_OP(atomicExch, type, x, )                                                            \
    QK_ATOMIC_OP(atomicOr, type, was | x, )                                                        \
    QK_ATOMIC_OP(atomicAnd, type, was &x, )                                                        \
    QK_ATOMIC_OP(atomicCAS, type, was == expected ? x : was, type expected, )
QK_ATOMIC(int)
QK_ATOMIC(unsigned)
QK_ATOMIC(unsigned long long)

/* The block's dynamic shared memory (ptx.cuh), and whether bytes lie in shared memory. */
void *qk_emulation_dynamic(void);
bool qk_emulation_is_shared(const void *at, size_t bytes);

/* ---- arithmetic ---- */

template <class To, class From> static inline To qk_emulation_bits(From x)
{
    static_assert(sizeof(To) == sizeof(From));
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}

static inline unsigned __float_as_uint(float x)
{
    return qk_emulation_bits<unsigned>(x);
}
static inline int __float_as_int(float x)
{
    return qk_emulation_bits<int>(x);
}
static inline float __uint_as_float(unsigned x)
{
    return qk_emulation_bits<float>(x);
}
static inline float __int_as_float(int x)
{
    return qk_emulation_bits<float>(x);
}
static inline long long __double_as_longlong(double x)
{
    return qk_emulation_bits<long long>(x);
}
static inline double __longlong_as_double(long long x)
{
    return qk_emulation_bits<double>(x);
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline int __clzll(long long x)
{
    return x ? __builtin_clzll((unsigned long long)x) : 64;
}
static inline unsigned __umulhi(unsigned x, unsigned y)
{
    return (unsigned)((unsigned long long)x * y >> 32);
}
static inline float rsqrtf(float x)
{
    return 1 / sqrtf(x);
}
static inline double rsqrt(double x)
{
    return 1 / sqrt(x);
}
/* glibc declares these names for itself. */
#define __expf expf
#define __logf logf
#define __log2f log2f
static inline float __fdividef(float x, float y)
{
    return x / y;
}
static inline float fdividef(float x, float y)
{
    return x / y;
}
static inline float __fdiv_rn(float x, float y)
{
    return x / y;
}
static inline float __frcp_rn(float x)
{
    return 1 / x;
}
static inline float __fsqrt_rn(float x)
{
    return sqrtf(x);
}
static inline float __fmaf_rn(float x, float y, float z)
{
    return fmaf(x, y, z);
}
static inline float __fadd_rn(float x, float y)
{
    return x + y;
}
static inline float __fmul_rn(float x, float y)
{
    return x * y;
}
static inline float __saturatef(float x)
{
    return fminf(fmaxf(x, 0), 1);
}

#define QK_MIN_MAX(type)                                                                           \
    static inline type min(type x, type y)                                                         \
    {                                                                                              \
        return x < y ? x : y;                                                                      \
    }                                                                                              \
    static inline type max(type x, type y)                                                         \
    {                                                                                              \
        return x > y ? x : y;                                                                      \
    }
QK_MIN_MAX(int)
QK_MIN_MAX(unsigned)
QK_MIN_MAX(long)
QK_MIN_MAX(unsigned long)
QK_MIN_MAX(long long)
QK_MIN_MAX(unsigned long long)
static inline float min(float x, float y)
{
    return fminf(x, y);
}
static inline float max(float x, float y)
{
    return fmaxf(x, y);
}
static inline double min(double x, double y)
{
    return fmin(x, y);
}
static inline double max(double x, double y)
{
    return fmax(x, y);
}

/* ---- the runtime ---- */

enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidMemcpyDirection = 21,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorNotReady = 600,
    cudaErrorNotSupported = 801,
};
typedef enum cudaError cudaError_t;

enum cudaMemcpyKind {
    cudaMemcpyHostToHost = 0,
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4,
};
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9,
};
enum {
    cudaStreamDefault = 0,
    cudaStreamNonBlocking = 1,
    cudaEventDefault = 0,
    cudaEventBlockingSync = 1,
    cudaEventDisableTiming = 2,
    cudaHostAllocDefault = 0,
    cudaHostAllocPortable = 1,
};

typedef struct qk_emulation_stream *cudaStream_t;
typedef struct qk_emulation_event *cudaEvent_t;

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    size_t sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
    int regsPerBlock, warpSize, maxThreadsPerBlock, maxThreadsPerMultiProcessor;
    int maxThreadsDim[3], maxGridSize[3];
    int major, minor, multiProcessorCount;
    int l2CacheSize, memoryBusWidth, ECCEnabled, integrated, asyncEngineCount;
};

struct cudaLaunchAttribute {
    int id;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaMemGetInfo(size_t *left, size_t *all);

const char *cudaGetErrorString(cudaError_t status);
const char *cudaGetErrorName(cudaError_t status);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);

cudaError_t cudaMalloc(void **at, size_t bytes);
cudaError_t cudaFree(void *at);
cudaError_t cudaMallocHost(void **at, size_t bytes);
cudaError_t cudaHostAlloc(void **at, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *at);
template <class T> static inline cudaError_t cudaMalloc(T **at, size_t bytes)
{
    return cudaMalloc((void **)(void *)at, bytes);
}
template <class T> static inline cudaError_t cudaMallocHost(T **at, size_t bytes)
{
    return cudaMallocHost((void **)(void *)at, bytes);
}
template <class T> static inline cudaError_t cudaHostAlloc(T **at, size_t bytes, unsigned flags)
{
    return cudaHostAlloc((void **)(void *)at, bytes, flags);
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = NULL);
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream = NULL);
cudaError_t cudaMemset(void *at, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream = NULL);

cudaError_t cudaStreamCreate(cudaStream_t *stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = NULL);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to);

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute what, int value);

cudaError_t qk_emulation_launch(const cudaLaunchConfig_t *config, const void *kernel,
                                void (*call)(void *), void *what);

template <class... Formal, class... Actual>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config,
                                             void (*kernel)(Formal...), Actual &&...args)
{
    auto body = [&] { kernel(static_cast<Formal>(args)...); };
    return qk_emulation_launch(
        config, (const void *)kernel, [](void *what) { (*(decltype(body) *)what)(); }, &body);
}

#endif
