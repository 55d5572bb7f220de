/* What the CUDA operations share: typed arrays, one stream, launches, scratch, first failure.
 *
 * A qk_buf's base is a struct qk_cuda_array on the host, which knows where its numbers lie and how
 * wide they are; an operation asks for them as the type it computes in and never by a cast.
 * All work goes to one stream in order; nothing waits but get and sync.  --profile marks where
 * operations begin and end in the stream, and reads the times at the next wait.
 *
 * Every sum has a fixed shape (blocks of fixed size, partial sums added in order by a second
 * kernel), and no floating-point atomic is used: the same inputs give the same bits on one kind of
 * card.  fp32 is fp32: no TF32.  In bf16, products and activations are bf16, every sum and every
 * statistic float32 (the norm of the gradient: double).
 *
 * Kernels are plain CUDA C++ and launched by function call (cudaLaunchKernelEx), without <<< >>>:
 * so that the same files compile as C++ against tests/emulation.  What only PTX can say is in
 * ptx.cuh.
 */
#ifndef QK_COMPUTE_CUDA_DEVICE_CUH
#define QK_COMPUTE_CUDA_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "compute/cuda/cuda.h"
#include "compute/cuda/ptx.cuh"
#include "compute/cuda/sizes.h"

typedef __nv_bfloat16 bf16;

enum qk_cuda_type { QK_CUDA_F32, QK_CUDA_BF16, QK_CUDA_I32 };

struct qk_cuda_array {
    void *at;     /* device: n numbers of `type` */
    bf16 *narrow; /* parameters of a device that computes in bf16: the same n numbers, rounded */
    enum qk_cuda_type type;
    int64_t n, bytes; /* bytes of both */
};

/* Operations that read tokens. */
enum qk_cuda_reader {
    QK_CUDA_EMBED,
    QK_CUDA_EMBED_BACK,
    QK_CUDA_LOSS,
    QK_CUDA_READERS,
};

enum { QK_CUDA_MARKS = 2048 };

struct qk_lt; /* gemm.cuh */

struct qk_cuda {
    struct qk_device base;
    int index;
    cudaStream_t stream;
    cudaDeviceProp card;
    const char *op;      /* the operation begun last */
    struct {             /* --profile: when operations began and ended, on the card, since a wait */
        cudaEvent_t *at; /* [2 QK_CUDA_MARKS] */
        enum qk_class which[QK_CUDA_MARKS];
        int count;
    } marks;
    bool waited;  /* for all that was asked for */
    int64_t used; /* bytes of arrays and scratch */
    struct {
        void *at;
        size_t bytes;
    } scratch[QK_CUDA_SLOTS];
    struct qk_lt *lt;
    unsigned long long *strays;          /* device: see qk_cuda_strays */
    int64_t vocabulary[QK_CUDA_READERS]; /* by reader, of its last call */
    int64_t plain_products;
    int64_t most_logits;            /* qk_cuda_set_logits; 0: as usual */
    int64_t muon_bytes, muon_tiles; /* qk_cuda_set_muon; 0: as usual */
    int64_t shared;                 /* qk_cuda_set_shared; 0: the card's */
};

static inline struct qk_cuda *qk_cuda_of(struct qk_device *d)
{
    return (struct qk_cuda *)d;
}

/* ---- around an operation ---- */

/* false when an earlier operation failed: the operation then does nothing.  `op` is its name in
 * ops.h. */
bool qk_cuda_begin(struct qk_device *d, const char *op);
/* With the floating-point operations that had to be done and the bytes of every operand once. */
void qk_cuda_end(struct qk_device *d, enum qk_class which, double flops, double bytes);
/* Keep the first failure; the sentence begins with the operation's name. */
void qk_cuda_fail(struct qk_device *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Keep a failed call; true when it went well. */
bool qk_cuda_works(struct qk_device *d, cudaError_t status);

/* Bytes that an operation may take at most of this card for scratch that follows its operands. */
static inline int64_t qk_cuda_room(struct qk_device *d, int64_t most)
{
    return qk_cuda_share(most, d->memory);
}

/* Bytes of shared memory of a multiprocessor. */
static inline int64_t qk_cuda_shared(struct qk_device *d)
{
    const struct qk_cuda *c = qk_cuda_of(d);
    return c->shared ? c->shared : (int64_t)c->card.sharedMemPerMultiprocessor;
}

/* Room on the device, 256-byte aligned, contents undefined, valid until the slot is asked for
 * again; NULL, with the failure kept, when it cannot be had. */
void *qk_cuda_scratch(struct qk_device *d, enum qk_cuda_slot slot, int64_t bytes);

/* A token outside the vocabulary of V is found by a kernel, which passes it by and tells the first
 * of them by qk_stray; whoever waits next makes it the failure, a sentence with the token, its
 * place and V. */
unsigned long long *qk_cuda_strays(struct qk_device *d, enum qk_cuda_reader who, int64_t V);

/* ---- arrays ---- */

template <class T> struct qk_cuda_type_of;
template <> struct qk_cuda_type_of<float> {
    static const enum qk_cuda_type value = QK_CUDA_F32;
};
template <> struct qk_cuda_type_of<bf16> {
    static const enum qk_cuda_type value = QK_CUDA_BF16;
};
template <> struct qk_cuda_type_of<int32_t> {
    static const enum qk_cuda_type value = QK_CUDA_I32;
};

static inline const struct qk_cuda_array *qk_cuda_array_of(struct qk_buf b)
{
    return (const struct qk_cuda_array *)b.base;
}

static inline bool qk_cuda_is_bf16(struct qk_buf b)
{
    return !qk_is_none(b) && qk_cuda_array_of(b)->type == QK_CUDA_BF16;
}

/* Numbers of type T on the device; NULL for none.  Of parameters, bf16 are the rounded copies.
 * Asking an array for what it does not hold is a bug in the caller and is kept as a failure. */
template <class T> static T *qk_cuda_at(struct qk_device *d, struct qk_buf b)
{
    if (qk_is_none(b))
        return NULL;
    const struct qk_cuda_array *a = qk_cuda_array_of(b);
    if (a->type == qk_cuda_type_of<T>::value)
        return (T *)a->at + b.at;
    if (qk_cuda_type_of<T>::value == QK_CUDA_BF16 && a->narrow)
        return (T *)a->narrow + b.at;
    qk_cuda_fail(d, "an array holds numbers of another type");
    return NULL;
}

/* The rounded copy of parameters, NULL where there is none. */
static inline bf16 *qk_cuda_narrow(struct qk_buf b)
{
    const struct qk_cuda_array *a = qk_cuda_array_of(b);
    return qk_is_none(b) || !a->narrow ? NULL : a->narrow + b.at;
}

/* what(T()) with T the type of an activation: float or bf16. */
template <class F> static void qk_cuda_by_type(struct qk_buf b, F what)
{
    if (qk_cuda_is_bf16(b))
        what(bf16());
    else
        what(float());
}

/* ---- launches ---- */

static inline int64_t qk_cuda_blocks(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* kernel(args...) over grid x block, `shared` bytes of dynamic shared memory (qk_shared).  An empty
 * grid is no work. */
template <class... Formal, class... Actual>
static void qk_cuda_launch(struct qk_device *d, void (*kernel)(Formal...), dim3 grid, dim3 block,
                           size_t shared, Actual... args)
{
    if (d->failure.text[0] || !grid.x || !grid.y || !grid.z)
        return;
    if (shared > 48 * 1024 &&
        !qk_cuda_works(d, cudaFuncSetAttribute((const void *)kernel,
                                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                                               (int)shared)))
        return;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = qk_cuda_of(d)->stream;
    qk_cuda_works(d, cudaLaunchKernelEx(&config, kernel, static_cast<Formal>(args)...));
}

/* ---- in kernels ---- */

enum { QK_WARP = 32 };
static const unsigned QK_ALL_LANES = 0xffffffffu;

template <class T> __device__ __forceinline__ float qk_wide(T x);
template <> __device__ __forceinline__ float qk_wide(float x)
{
    return x;
}
template <> __device__ __forceinline__ float qk_wide(bf16 x)
{
    return __bfloat162float(x);
}

/* Rounded to nearest, ties to even. */
template <class T> __device__ __forceinline__ T qk_round(float x);
template <> __device__ __forceinline__ float qk_round<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ bf16 qk_round<bf16>(float x)
{
    return __float2bfloat16(x);
}

/* The token at place m, below 2^32, is none; any thread may say so, any number of times. */
__device__ __forceinline__ void qk_stray(unsigned long long *strays, int64_t m, int32_t token)
{
    atomicMin(strays, (unsigned long long)m << 32 | (uint32_t)token);
}

/* N numbers moved as one: 16 bytes at most, where the address allows it. */
template <class T, int N> struct alignas(sizeof(T) * N) qk_pack {
    T at[N];
};

/* Whether rows of `stride` numbers from p on can be read as packs of N. */
template <int N, class T> static inline bool qk_cuda_packs(const T *p, int64_t stride)
{
    return (uintptr_t)p % (sizeof(T) * N) == 0 && stride % N == 0;
}

/* The same sum in every lane, added in the same order whatever the schedule. */
__device__ __forceinline__ float qk_warp_sum(float x)
{
    for (int d = QK_WARP / 2; d; d /= 2)
        x += __shfl_xor_sync(QK_ALL_LANES, x, d);
    return x;
}

__device__ __forceinline__ double qk_warp_sum(double x)
{
    for (int d = QK_WARP / 2; d; d /= 2)
        x += __shfl_xor_sync(QK_ALL_LANES, x, d);
    return x;
}

__device__ __forceinline__ float qk_warp_max(float x)
{
    for (int d = QK_WARP / 2; d; d /= 2)
        x = fmaxf(x, __shfl_xor_sync(QK_ALL_LANES, x, d));
    return x;
}

/* The sum over a block of whole warps, in every thread; `room` is shared, one per warp.  Begins and
 * ends with a barrier, so that `room` may be used again at once. */
template <class T> __device__ __forceinline__ T qk_block_sum(T x, T *room)
{
    const int lane = threadIdx.x % QK_WARP, warp = threadIdx.x / QK_WARP;
    const int warps = blockDim.x / QK_WARP;
    x = qk_warp_sum(x);
    __syncthreads();
    if (lane == 0)
        room[warp] = x;
    __syncthreads();
    T sum = 0;
    for (int w = 0; w < warps; w++)
        sum += room[w];
    return sum;
}

/* ---- the operations; their contracts are in ops.h ---- */

QK_OPS_DECLARE(qk_cuda_)

#endif
