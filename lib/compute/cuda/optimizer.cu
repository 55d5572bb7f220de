/* Gradient norm and AdamW. */
#include "compute/adamw.h"
#include "compute/cuda/device.cuh"

#include <math.h>

enum { THREADS = 256, PACK = 4 };
enum { BLOCK = 1 << 15 };     /* numbers in one partial sum of the norm */
enum { LAST_THREADS = 1024 }; /* of the block that adds the partial sums */

/* ---- gradient norm ---- */

/* partial[k] = sum of g^2 over the block's numbers, read N at a time */
template <int N>
static __global__ void __launch_bounds__(THREADS)
    square_sums(double *__restrict__ partial, const float *__restrict__ g, int64_t n)
{
    __shared__ double room[THREADS / QK_WARP];
    const int64_t from = (int64_t)blockIdx.x * BLOCK;
    const int count = n - from < BLOCK ? (int)(n - from) : BLOCK;
    g += from;
    double sum = 0;
    const qk_pack<float, N> *packs = (const qk_pack<float, N> *)g;
#pragma unroll 4
    for (int i = (int)threadIdx.x; i < count / N; i += THREADS) {
        const qk_pack<float, N> p = packs[i];
        for (int e = 0; e < N; e++)
            sum += (double)p.at[e] * (double)p.at[e];
    }
    for (int i = count / N * N + (int)threadIdx.x; i < count; i += THREADS)
        sum += (double)g[i] * (double)g[i];
    sum = qk_block_sum(sum, room);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(LAST_THREADS)
    norm_and_factor(float *out, const double *partial, int64_t blocks, float clip)
{
    __shared__ double room[LAST_THREADS / QK_WARP];
    double sum = 0;
    for (int64_t k = threadIdx.x; k < blocks; k += LAST_THREADS)
        sum += partial[k];
    sum = qk_block_sum(sum, room);
    if (threadIdx.x)
        return;
    const double norm = sqrt(sum), factor = clip > 0 ? clip / (norm + 1e-6) : 1;
    out[0] = (float)norm;
    out[1] = factor > 1 ? 1.0f : (float)factor; /* NaN stays NaN */
}

/* ---- AdamW ---- */

/* Where the tensors begin and how many numbers they have. */
struct tensors {
    int64_t n, stride, stride_v;
};

/* N neighbours per thread of tensor blockIdx.y; narrow_ is NULL or the rounded copy of w. */
template <int N>
static __global__ void __launch_bounds__(THREADS)
    adamw_step(float *__restrict__ w_, bf16 *__restrict__ narrow_, float *__restrict__ m_,
               float *__restrict__ v_, const float *__restrict__ g_, const float *scale, tensors l,
               struct qk_adamw_constants c)
{
    typedef qk_pack<float, N> pack;
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, from = blockIdx.y * l.stride;
    if (i >= l.n / N)
        return;
    pack *w = (pack *)(w_ + from), *m = (pack *)(m_ + from);
    pack *v = (pack *)(v_ + blockIdx.y * l.stride_v);
    const pack gs = ((const pack *)(g_ + from))[i];
    pack ws = w[i], ms = m[i], vs = v[i];
    qk_pack<bf16, N> rounded;
    const float factor = *scale;
    for (int e = 0; e < N; e++) {
        const float gi = gs.at[e] * factor;
        ms.at[e] = c.beta1 * ms.at[e] + c.new1 * gi;
        vs.at[e] = c.beta2 * vs.at[e] + c.new2 * gi * gi;
        ws.at[e] = c.keep * ws.at[e] - c.step * ms.at[e] / (sqrtf(vs.at[e] * c.unbias2) + c.eps);
        rounded.at[e] = qk_round<bf16>(ws.at[e]);
    }
    w[i] = ws;
    m[i] = ms;
    v[i] = vs;
    if (narrow_)
        ((qk_pack<bf16, N> *)(narrow_ + from))[i] = rounded;
}

/* ---- the operations ---- */

void qk_cuda_grad_norm(struct qk_device *d, struct qk_buf out_, struct qk_buf g_, int64_t n,
                       float clip)
{
    if (!qk_cuda_begin(d, "grad_norm"))
        return;
    const int64_t blocks = qk_cuda_blocks(n, BLOCK);
    double *partial =
        (double *)qk_cuda_scratch(d, QK_CUDA_PARTIAL, blocks * (int64_t)sizeof *partial);
    const float *g = qk_cuda_at<float>(d, g_);
    qk_cuda_launch(d, qk_cuda_packs<PACK>(g, 0) ? square_sums<PACK> : square_sums<1>,
                   dim3((unsigned)blocks), THREADS, 0, partial, g, n);
    qk_cuda_launch(d, norm_and_factor, 1, LAST_THREADS, 0, qk_cuda_at<float>(d, out_), partial,
                   blocks, clip);
    qk_cuda_end(d, QK_CLASS_OPTIMIZER, 2 * (double)n, 4 * (double)n);
}

void qk_cuda_adamw(struct qk_device *d, struct qk_buf w_, struct qk_buf m_, struct qk_buf v_,
                   struct qk_buf g_, struct qk_buf scale_, int64_t n, struct qk_adamw how)
{
    if (!qk_cuda_begin(d, "adamw"))
        return;
    float *w = qk_cuda_at<float>(d, w_), *m = qk_cuda_at<float>(d, m_),
          *v = qk_cuda_at<float>(d, v_);
    const float *g = qk_cuda_at<float>(d, g_), *scale = qk_cuda_at<float>(d, scale_);
    bf16 *narrow = qk_cuda_narrow(w_);
    const struct qk_adamw_constants c = qk_adamw_constants(&how);
    const bool packs = qk_cuda_packs<PACK>(w, how.stride) && qk_cuda_packs<PACK>(m, how.stride) &&
                       qk_cuda_packs<PACK>(v, how.stride_v) && qk_cuda_packs<PACK>(g, how.stride) &&
                       qk_cuda_packs<PACK>(narrow, how.stride);
    const int64_t whole = packs ? n / PACK * PACK : 0;
    const unsigned count = (unsigned)how.more + 1;
    const tensors l = {whole, how.stride, how.stride_v},
                  rest = {n - whole, how.stride, how.stride_v};
    qk_cuda_launch(d, adamw_step<PACK>,
                   dim3((unsigned)qk_cuda_blocks(whole, PACK * THREADS), count), THREADS, 0, w,
                   narrow, m, v, g, scale, l, c);
    qk_cuda_launch(d, adamw_step<1>, dim3((unsigned)qk_cuda_blocks(rest.n, THREADS), count),
                   THREADS, 0, w + whole, narrow ? narrow + whole : NULL, m + whole, v + whole,
                   g + whole, scale, rest, c);
    const double all = (double)n * (double)count;
    qk_cuda_end(d, QK_CLASS_OPTIMIZER, 14 * all, (narrow ? 30 : 28) * all);
}
