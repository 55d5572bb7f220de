/* The gated feed-forward nonlinearity; squared ReLU is part of its products (matmul.cu). */
#include "compute/cuda/rows.cuh"

enum { THREADS = 256 };

__device__ __forceinline__ float sigmoid(float a)
{
    return 1.0f / (1.0f + expf(-a));
}

/* P numbers per thread, fewer behind the last whole pack. */
template <class T, int P>
static __global__ void __launch_bounds__(THREADS)
    swiglu(T *__restrict__ y, const T *__restrict__ gate, const T *__restrict__ up, int64_t n)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * P;
    if (i + P <= n) {
        float a[P], b[P];
        qk_read<P>(a, gate + i);
        qk_read<P>(b, up + i);
#pragma unroll
        for (int k = 0; k < P; k++)
            a[k] = a[k] * sigmoid(a[k]) * b[k];
        qk_write<P>(y + i, a);
        return;
    }
    for (int64_t k = i; k < n; k++) {
        const float a = qk_wide(gate[k]);
        y[k] = qk_round<T>(a * sigmoid(a) * qk_wide(up[k]));
    }
}

/* In place of (gate, up): their gradients.  silu'(a) = s (1 + a (1 - s)), s = 1/(1 + exp(-a)). */
__device__ __forceinline__ void back_of(float *gate, float *up, float dy)
{
    const float a = *gate, s = sigmoid(a);
    *gate = dy * *up * s * (1.0f + a * (1.0f - s));
    *up = dy * a * s;
}

template <class T, int P>
static __global__ void __launch_bounds__(THREADS)
    swiglu_back(T *__restrict__ dgate, T *__restrict__ dup, const T *__restrict__ dy,
                const T *__restrict__ gate, const T *__restrict__ up, int64_t n)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * P;
    if (i + P <= n) {
        float a[P], b[P], g[P];
        qk_read<P>(a, gate + i);
        qk_read<P>(b, up + i);
        qk_read<P>(g, dy + i);
#pragma unroll
        for (int k = 0; k < P; k++)
            back_of(&a[k], &b[k], g[k]);
        qk_write<P>(dgate + i, a);
        qk_write<P>(dup + i, b);
        return;
    }
    for (int64_t k = i; k < n; k++) {
        float a = qk_wide(gate[k]), b = qk_wide(up[k]);
        back_of(&a, &b, qk_wide(dy[k]));
        dgate[k] = qk_round<T>(a);
        dup[k] = qk_round<T>(b);
    }
}

/* ---- the operations ---- */

static dim3 grid_of(int64_t n, int each)
{
    return dim3((unsigned)qk_cuda_blocks(n, (int64_t)THREADS * each));
}

void qk_cuda_swiglu(struct qk_device *d, struct qk_buf y_, struct qk_buf gate_, struct qk_buf up_,
                    int64_t n)
{
    if (!qk_cuda_begin(d, "swiglu"))
        return;
    qk_cuda_by_type(gate_, [&](auto t) {
        using T = decltype(t);
        constexpr int P = QK_16_BYTES<T>;
        T *y = qk_cuda_at<T>(d, y_);
        const T *gate = qk_cuda_at<T>(d, gate_), *up = qk_cuda_at<T>(d, up_);
        if (qk_cuda_packs<P>(y, 0) && qk_cuda_packs<P>(gate, 0) && qk_cuda_packs<P>(up, 0))
            qk_cuda_launch(d, swiglu<T, P>, grid_of(n, P), THREADS, 0, y, gate, up, n);
        else
            qk_cuda_launch(d, swiglu<T, 1>, grid_of(n, 1), THREADS, 0, y, gate, up, n);
        qk_cuda_end(d, QK_CLASS_ACTIVATION, 20.0 * (double)n, 3.0 * (double)n * sizeof(T));
    });
}

void qk_cuda_swiglu_back(struct qk_device *d, struct qk_buf dgate_, struct qk_buf dup_,
                         struct qk_buf dy_, struct qk_buf gate_, struct qk_buf up_, int64_t n)
{
    if (!qk_cuda_begin(d, "swiglu_back"))
        return;
    qk_cuda_by_type(gate_, [&](auto t) {
        using T = decltype(t);
        constexpr int P = QK_16_BYTES<T>;
        T *dgate = qk_cuda_at<T>(d, dgate_), *dup = qk_cuda_at<T>(d, dup_);
        const T *dy = qk_cuda_at<T>(d, dy_);
        const T *gate = qk_cuda_at<T>(d, gate_), *up = qk_cuda_at<T>(d, up_);
        if (qk_cuda_packs<P>(dgate, 0) && qk_cuda_packs<P>(dup, 0) && qk_cuda_packs<P>(dy, 0) &&
            qk_cuda_packs<P>(gate, 0) && qk_cuda_packs<P>(up, 0))
            qk_cuda_launch(d, swiglu_back<T, P>, grid_of(n, P), THREADS, 0, dgate, dup, dy, gate,
                           up, n);
        else
            qk_cuda_launch(d, swiglu_back<T, 1>, grid_of(n, 1), THREADS, 0, dgate, dup, dy, gate,
                           up, n);
        qk_cuda_end(d, QK_CLASS_ACTIVATION, 26.0 * (double)n, 5.0 * (double)n * sizeof(T));
    });
}
