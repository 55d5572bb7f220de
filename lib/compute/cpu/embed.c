/* Looking up embeddings, and the gradient that comes back to them. */
#include "compute/cpu/cpu.h"

enum { COLUMNS = 32 }; /* of one task of the backward pass: two cache lines */

static bool tokens_fit(struct qk_device *d, const char *op, const int32_t *tokens, int64_t M,
                       int64_t V)
{
    for (int64_t m = 0; m < M; m++)
        if (tokens[m] < 0 || tokens[m] >= V) {
            qk_cpu_fail(d, "cpu %s: token %d at %lld is outside the vocabulary of %lld", op,
                        (int)tokens[m], (long long)m, (long long)V);
            return false;
        }
    return true;
}

void qk_cpu_embed(struct qk_device *d, struct qk_buf y_, struct qk_buf tokens_, struct qk_buf w_,
                  float scale, int64_t M, int64_t D, int64_t V)
{
    double start;
    const int32_t *tokens = qk_cpu_tokens(tokens_);
    if (!qk_cpu_begin(d, &start) || !tokens_fit(d, "embed", tokens, M, V))
        return;
    float *y = qk_cpu_out(y_);
    const float *w = qk_cpu_in(w_);
#pragma omp parallel for schedule(static)
    for (int64_t m = 0; m < M; m++) {
        const float *row = w + tokens[m] * D;
#pragma omp simd
        for (int64_t i = 0; i < D; i++)
            y[m * D + i] = scale * row[i];
    }
    qk_cpu_end(d, QK_CLASS_EMBED, start, (double)M * (double)D, 2.0 * (double)M * (double)D);
}

/* Tasks are column ranges: rows of one token meet in the same dw row, always in row order. */
void qk_cpu_embed_back(struct qk_device *d, struct qk_buf dw_, struct qk_buf dy_,
                       struct qk_buf tokens_, float scale, int64_t M, int64_t D, int64_t V)
{
    double start;
    const int32_t *tokens = qk_cpu_tokens(tokens_);
    if (!qk_cpu_begin(d, &start) || !tokens_fit(d, "embed_back", tokens, M, V))
        return;
    float *dw = qk_cpu_out(dw_);
    const float *dy = qk_cpu_in(dy_);
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < qk_blocks(D, COLUMNS); c++) {
        int64_t from = c * COLUMNS, to = qk_min64(from + COLUMNS, D);
        for (int64_t m = 0; m < M; m++) {
            float *row = dw + tokens[m] * D;
#pragma omp simd
            for (int64_t i = from; i < to; i++)
                row[i] += scale * dy[m * D + i];
        }
    }
    qk_cpu_end(d, QK_CLASS_EMBED, start, 2.0 * (double)M * (double)D, 3.0 * (double)M * (double)D);
}
