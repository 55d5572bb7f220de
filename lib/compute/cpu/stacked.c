#include "compute/cpu/stacked.h"

#include "compute/cpu/cpu.h"

void qk_stacked_at(struct qk_stacked *k, const struct qk_attention_shape *s, int64_t n,
                   int64_t first, int64_t end)
{
    int64_t R = s->H / s->G, b = n / s->G, g = n % s->G, t = first / R, j = first % R;
    k->s = s, k->first = first, k->rows = qk_min64(QK_ROWS, end - first);
    for (int64_t r = 0; r < k->rows; r++) {
        int64_t head = g * R + j;
        k->at[r] = ((b * s->T + t) * s->H + head) * s->hd;
        k->lse_at[r] = (b * s->H + head) * s->T + t;
        k->seen[r] = (int32_t)t + 1;
        if (++j == R)
            j = 0, t++;
    }
    for (int64_t r = k->rows; r < qk_round_up(k->rows, QK_STRIP); r++)
        k->seen[r] = k->seen[k->rows - 1];
}

int64_t qk_stacked_first(const struct qk_stacked *k, int64_t key)
{
    return qk_max64(0, key * (k->s->H / k->s->G) - k->first);
}

int64_t qk_stacked_strip_seen(const struct qk_stacked *k, int64_t r)
{
    return k->seen[qk_min64(r + QK_STRIP, k->rows) - 1];
}

int64_t qk_stacked_seen(const struct qk_stacked *k)
{
    return k->seen[k->rows - 1];
}

void qk_stacked_gather(float *to, const float *from, float scale, const struct qk_stacked *k)
{
    int64_t hd = k->s->hd;
    for (int64_t r = 0; r < k->rows; r++) {
        const float *row = from + k->at[r];
#pragma omp simd
        for (int64_t c = 0; c < hd; c++)
            to[r * QK_ROW + c] = scale * row[c];
    }
    for (int64_t i = k->rows * QK_ROW; i < qk_round_up(k->rows, QK_STRIP) * QK_ROW; i++)
        to[i] = 0;
}

void qk_stacked_scatter(float *to, const float *from, float scale, bool add,
                        const struct qk_stacked *k)
{
    int64_t hd = k->s->hd;
    for (int64_t r = 0; r < k->rows; r++) {
        float *row = to + k->at[r];
        if (add)
#pragma omp simd
            for (int64_t c = 0; c < hd; c++)
                row[c] += scale * from[r * QK_ROW + c];
        else
#pragma omp simd
            for (int64_t c = 0; c < hd; c++)
                row[c] = scale * from[r * QK_ROW + c];
    }
}

static void ask_for(const float *x, int64_t n)
{
    for (int64_t c = 0; c < n; c += 64 / (int64_t)sizeof *x)
        __builtin_prefetch(x + c, 0, 2); /* into the second-level cache */
}

void qk_ahead_ask(struct qk_ahead *f, int64_t rows)
{
    int64_t hd = f->next->s->hd;
    for (; rows > 0 && f->row < f->next->rows; rows--, f->row++)
        for (int i = 0; i < 4 && f->stacked[i]; i++)
            ask_for(f->stacked[i] + f->next->at[f->row], hd);
    for (; rows > 0 && f->key < f->count; rows--, f->key++)
        for (int i = 0; i < 4 && f->keys[i]; i++)
            ask_for(f->keys[i] + f->key * f->stride[i], hd);
}
