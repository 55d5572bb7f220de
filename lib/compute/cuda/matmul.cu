/* Matrix products, and those of max(0, u)^2: squares are written to scratch, for as many rows at a
 * time as fit there. */
#include "compute/cuda/gemm.cuh"

enum { THREADS = 256 };

/* ---- squares and their gate ---- */

/* NaN stays NaN. */
__device__ __forceinline__ float positive(float u)
{
    return u < 0 ? 0 : u;
}

/* x = max(0, u)^2, and with BACK du, the gradient of x, becomes that of u: one way through u for
 * both.  A thread per pack of N; the last one number by number. */
template <class T, int N, bool BACK>
static __global__ void __launch_bounds__(THREADS) relu2_kernel(T *x, T *du, const T *u, int64_t n)
{
    typedef qk_pack<T, N> pack;
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (at + N <= n) {
        const pack from = *(const pack *)(u + at);
        pack square, gate = BACK ? *(const pack *)(du + at) : from;
        for (int k = 0; k < N; k++) {
            const float r = positive(qk_wide(from.at[k]));
            square.at[k] = qk_round<T>(r * r);
            gate.at[k] = qk_round<T>(qk_wide(gate.at[k]) * (2 * r));
        }
        *(pack *)(x + at) = square;
        if (BACK)
            *(pack *)(du + at) = gate;
        return;
    }
    for (int64_t i = at; i < n; i++) {
        const float r = positive(qk_wide(u[i]));
        x[i] = qk_round<T>(r * r);
        if (BACK)
            du[i] = qk_round<T>(qk_wide(du[i]) * (2 * r));
    }
}

/* Squares in scratch, NULL with the failure kept; du may be NULL. */
template <bool BACK, class T> static T *squared(struct qk_device *d, T *du, const T *u, int64_t n)
{
    const int N = 16 / sizeof(T);
    T *x = (T *)qk_cuda_scratch(d, QK_CUDA_TILES, n * (int64_t)sizeof(T));
    if (!x)
        return NULL;
    if (qk_cuda_packs<N>(du, N) && qk_cuda_packs<N>(u, N))
        qk_cuda_launch(d, relu2_kernel<T, N, BACK>, qk_cuda_blocks(n, THREADS * N), THREADS, 0, x,
                       du, u, n);
    else
        qk_cuda_launch(d, relu2_kernel<T, 1, BACK>, qk_cuda_blocks(n, THREADS), THREADS, 0, x, du,
                       u, n);
    return x;
}

template <class T> static int64_t rows_at_once(struct qk_device *d, int64_t M, int64_t K)
{
    const int64_t most = qk_cuda_of(d)->most_squares;
    return qk_cuda_square_rows(most ? most : qk_cuda_room(d, QK_CUDA_SQUARES), M, K, sizeof(T));
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

void qk_cuda_relu2_matmul(struct qk_device *d, struct qk_buf y, struct qk_buf base, struct qk_buf u,
                          struct qk_buf w, int64_t M, int64_t N, int64_t K)
{
    if (!qk_cuda_begin(d, "relu2_matmul"))
        return;
    qk_cuda_by_type(u, [&](auto zero) {
        typedef decltype(zero) T;
        const int64_t rows = rows_at_once<T>(d, M, K);
        const T *w_at = qk_cuda_at<T>(d, w);
        struct qk_cuda_product p = {};
        for (int64_t m = 0; m < M; m += rows) {
            const int64_t these = m + rows < M ? rows : M - m;
            const T *x = squared<false, T>(d, NULL, qk_cuda_at<T>(d, qk_at(u, m * K)), these * K);
            p = forward<T>(qk_cuda_at<T>(d, qk_at(y, m * N)), qk_cuda_at<T>(d, qk_at(base, m * N)),
                           x, w_at, these, N, K);
            qk_cuda_gemm(d, &p);
        }
        p.M = M;
        end(d, &p, !qk_is_none(base));
    });
}

void qk_cuda_relu2_matmul_back(struct qk_device *d, struct qk_buf du, struct qk_buf dw,
                               struct qk_buf dy, struct qk_buf w, struct qk_buf u, int64_t M,
                               int64_t N, int64_t K)
{
    if (!qk_cuda_begin(d, "relu2_matmul_back"))
        return;
    qk_cuda_by_type(u, [&](auto zero) {
        typedef decltype(zero) T;
        const int64_t rows = rows_at_once<T>(d, M, K);
        const struct qk_cuda_product in = to_input<T>(qk_cuda_at<T>(d, du), qk_cuda_at<T>(d, dy),
                                                      qk_cuda_at<T>(d, w), false, M, N, K);
        struct qk_cuda_product p = {};
        qk_cuda_gemm(d, &in);
        for (int64_t m = 0; m < M; m += rows) {
            const int64_t these = m + rows < M ? rows : M - m;
            const T *x = squared<true, T>(d, qk_cuda_at<T>(d, qk_at(du, m * K)),
                                          qk_cuda_at<T>(d, qk_at(u, m * K)), these * K);
            p = to_weight<T>(d, dw, qk_cuda_at<T>(d, qk_at(dy, m * N)), x, these, N, K);
            qk_cuda_gemm(d, &p);
        }
        p.K = M;
        qk_cuda_end(d, QK_CLASS_MATMUL, 4 * (double)M * (double)N * (double)K,
                    bytes_of(&in, 1) + bytes_of(&p, 1));
    });
}
