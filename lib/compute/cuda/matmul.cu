/* Matrix products, and those of max(0, u)^2, which takes u's place: cuBLASLt has no such epilogue.
 */
#include "compute/cuda/gemm.cuh"

enum { THREADS = 256 };

/* ---- squares and their gate ---- */

/* In place x = max(0, u)^2; or du, the gradient of x, becomes that of u: times 2 max(0, u), which
 * is the root of x (that of a rounded square is off by half as much as the square).  NaN stays NaN.
 */
template <bool BACK> __device__ __forceinline__ float relu2_of(float at, float x)
{
    if (BACK)
        return at * (2 * sqrtf(x));
    const float r = at < 0 ? 0 : at;
    return r * r;
}

/* A thread per pack of N; the last one number by number. */
template <class T, int N, bool BACK>
static __global__ void __launch_bounds__(THREADS)
    relu2_kernel(T *__restrict__ to, const T *__restrict__ x, int64_t n)
{
    typedef qk_pack<T, N> pack;
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (at + N <= n) {
        pack p = *(const pack *)(to + at);
        const pack xs = BACK ? *(const pack *)(x + at) : p;
#pragma unroll
        for (int k = 0; k < N; k++)
            p.at[k] = qk_round<T>(relu2_of<BACK>(qk_wide(p.at[k]), qk_wide(xs.at[k])));
        *(pack *)(to + at) = p;
        return;
    }
    for (int64_t i = at; i < n; i++)
        to[i] = qk_round<T>(relu2_of<BACK>(qk_wide(to[i]), BACK ? qk_wide(x[i]) : 0.0f));
}

template <bool BACK, class T>
static void relu2_all(struct qk_device *d, T *to, const T *x, int64_t n)
{
    const int N = 16 / sizeof(T);
    if (qk_cuda_packs<N>(to, N) && qk_cuda_packs<N>(x, N))
        qk_cuda_launch(d, relu2_kernel<T, N, BACK>, qk_cuda_blocks(n, THREADS * N), THREADS, 0, to,
                       x, n);
    else
        qk_cuda_launch(d, relu2_kernel<T, 1, BACK>, qk_cuda_blocks(n, THREADS), THREADS, 0, to, x,
                       n);
}

/* ---- what the three products are, of activations of type T ---- */

template <class T> static const enum qk_cuda_type TYPE = qk_cuda_type_of<T>::value;

/* y = base + x w^T */
template <class T>
static struct qk_cuda_product forward(T *y, const T *base, const T *x, const T *w, int64_t M,
                                      int64_t N, int64_t K)
{
    struct qk_cuda_product p = {};
    p.tb = true;
    p.M = M, p.N = N, p.K = K, p.count = 1;
    p.alpha = 1, p.beta = base ? 1 : 0;
    p.in = p.out = TYPE<T>;
    p.A = x, p.B = w, p.C = base, p.D = y;
    p.lda = p.ldb = K, p.ldc = N;
    return p;
}

/* dx = dy w, or += */
template <class T>
static struct qk_cuda_product to_input(T *dx, const T *dy, const T *w, bool add, int64_t M,
                                       int64_t N, int64_t K)
{
    struct qk_cuda_product p = {};
    p.M = M, p.N = K, p.K = N, p.count = 1;
    p.alpha = 1, p.beta = add ? 1 : 0;
    p.in = p.out = TYPE<T>;
    p.A = dy, p.B = w, p.C = p.D = dx;
    p.lda = N, p.ldb = p.ldc = K;
    return p;
}

/* dw += dy^T x, of whichever type gradients have */
template <class T>
static struct qk_cuda_product to_weight(struct qk_device *d, struct qk_buf dw, const T *dy,
                                        const T *x, int64_t M, int64_t N, int64_t K)
{
    struct qk_cuda_product p = {};
    p.ta = true;
    p.M = N, p.N = K, p.K = M, p.count = 1;
    p.alpha = p.beta = 1;
    p.in = TYPE<T>;
    p.out = qk_cuda_is_bf16(dw) ? QK_CUDA_BF16 : QK_CUDA_F32;
    p.D = qk_cuda_is_bf16(dw) ? (void *)qk_cuda_at<bf16>(d, dw) : qk_cuda_at<float>(d, dw);
    p.A = dy, p.B = x, p.C = p.D;
    p.lda = N, p.ldb = p.ldc = K;
    return p;
}

static int64_t width(enum qk_cuda_type type)
{
    return type == QK_CUDA_BF16 ? 2 : 4;
}

/* Of both operands, the result, and `others` more arrays like it. */
static double bytes_of(const struct qk_cuda_product *p, int others)
{
    const double M = (double)p->M, N = (double)p->N, K = (double)p->K;
    return (M * K + K * N) * (double)width(p->in) + (1 + others) * M * N * (double)width(p->out);
}

static void end(struct qk_device *d, const struct qk_cuda_product *p, int others)
{
    qk_cuda_end(d, QK_CLASS_MATMUL, 2 * (double)p->M * (double)p->N * (double)p->K,
                bytes_of(p, others));
}

/* ---- the operations ---- */

void qk_cuda_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf base, struct qk_buf x,
                    struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    if (!qk_cuda_begin(d, "matmul"))
        return;
    qk_cuda_by_type(x, [&](auto zero) {
        typedef decltype(zero) T;
        const struct qk_cuda_product p =
            forward<T>(qk_cuda_at<T>(d, y), qk_cuda_at<T>(d, base), qk_cuda_at<T>(d, x),
                       qk_cuda_at<T>(d, w), M, N, K);
        qk_cuda_gemm(d, &p);
        end(d, &p, !qk_is_none(base));
    });
}

void qk_cuda_matmul_dx(struct qk_device *d, struct qk_buf dx, struct qk_buf dy, struct qk_buf w,
                       bool add, int64_t M, int64_t N, int64_t K)
{
    if (!qk_cuda_begin(d, "matmul_dx"))
        return;
    qk_cuda_by_type(dy, [&](auto zero) {
        typedef decltype(zero) T;
        const struct qk_cuda_product p = to_input<T>(qk_cuda_at<T>(d, dx), qk_cuda_at<T>(d, dy),
                                                     qk_cuda_at<T>(d, w), add, M, N, K);
        qk_cuda_gemm(d, &p);
        end(d, &p, add);
    });
}

void qk_cuda_matmul_dw(struct qk_device *d, struct qk_buf dw, struct qk_buf dy, struct qk_buf x,
                       int64_t M, int64_t N, int64_t K)
{
    if (!qk_cuda_begin(d, "matmul_dw"))
        return;
    qk_cuda_by_type(x, [&](auto zero) {
        typedef decltype(zero) T;
        const struct qk_cuda_product p =
            to_weight<T>(d, dw, qk_cuda_at<T>(d, dy), qk_cuda_at<T>(d, x), M, N, K);
        qk_cuda_gemm(d, &p);
        end(d, &p, 1);
    });
}

void qk_cuda_relu2(struct qk_device *d, struct qk_buf u, int64_t n)
{
    if (!qk_cuda_begin(d, "relu2"))
        return;
    qk_cuda_by_type(u, [&](auto zero) {
        typedef decltype(zero) T;
        relu2_all<false, T>(d, qk_cuda_at<T>(d, u), NULL, n);
        qk_cuda_end(d, QK_CLASS_MATMUL, 0, 0); /* of the products' operands, which they count */
    });
}

void qk_cuda_relu2_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf base, struct qk_buf x,
                          struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    qk_cuda_matmul(d, y, base, x, w, M, N, K);
}

void qk_cuda_relu2_matmul_back(struct qk_device *d, struct qk_buf du, struct qk_buf dw,
                               struct qk_buf dy, struct qk_buf w, struct qk_buf x, int64_t M,
                               int64_t N, int64_t K)
{
    if (!qk_cuda_begin(d, "relu2_matmul_back"))
        return;
    qk_cuda_by_type(x, [&](auto zero) {
        typedef decltype(zero) T;
        const T *dy_at = qk_cuda_at<T>(d, dy), *x_at = qk_cuda_at<T>(d, x);
        T *to = qk_cuda_at<T>(d, du);
        const struct qk_cuda_product weight = to_weight<T>(d, dw, dy_at, x_at, M, N, K);
        const struct qk_cuda_product input =
            to_input<T>(to, dy_at, qk_cuda_at<T>(d, w), false, M, N, K);
        qk_cuda_gemm(d, &weight);
        qk_cuda_gemm(d, &input);
        relu2_all<true, T>(d, to, x_at, M * K);
        qk_cuda_end(d, QK_CLASS_MATMUL, 4 * (double)M * (double)N * (double)K,
                    bytes_of(&weight, 1) + bytes_of(&input, 1));
    });
}
