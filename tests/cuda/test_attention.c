/* Causal grouped-query attention on a CUDA device: forward, statistics, backward.
 *
 * What rounding may do to a number depends on what was added up to it, so every number has a bound
 * of its own: the sums of absolute values that it is made of, in double, times a rounding error. */
#include "both.h"

#include "compute/cuda/cuda.h"

struct attention_case {
    struct qk_attention_shape s;
    int64_t v_at;     /* v and dv begin this far into their arrays */
    double spread;    /* of queries and keys; 0: 1.5 */
    int64_t near;     /* with `lonely`: the one key that queries are near to */
    bool lonely, bad; /* bad: a number of key `near` is none */
    int64_t shared;   /* bytes of shared memory of a multiprocessor; 0: the card's */
};

static int64_t q_size(const struct qk_attention_shape *s)
{
    return s->B * s->T * s->H * s->hd;
}

static int64_t k_size(const struct qk_attention_shape *s)
{
    return s->B * s->T * s->G * s->hd;
}

static int64_t v_size(const struct attention_case *c)
{
    return c->v_at + c->s.B * c->s.T * c->s.v_stride;
}

/* ---- inputs ---- */

struct inputs {
    float *q, *k, *v, *d_o;
};

static void round_all(const struct both *b, float *x, int64_t n)
{
    for (int64_t i = 0; b->bf16 && i < n; i++)
        x[i] = both_rounded(x[i]);
}

/* Queries, or keys: normal numbers.  Lonely: queries point where key `near` is, 100 logits above
 * all others. */
static float *make(const struct both *b, const struct attention_case *c, const char *name,
                   int64_t heads, bool keys)
{
    const struct qk_attention_shape *s = &c->s;
    const int64_t row = heads * s->hd, n = s->B * s->T * row;
    float *x = normals(name, n, c->spread > 0 ? c->spread : c->lonely ? 0.1 : 1.5);
    for (int64_t i = 0; c->lonely && i < n; i += s->hd) {
        const bool far = keys && i / row % s->T != c->near;
        x[i] = (float)((far ? -1 : 1) * sqrt(50 * sqrt((double)s->hd)));
    }
    if (c->bad && keys)
        x[c->near * row + 1] = NAN;
    round_all(b, x, n);
    return x;
}

static struct inputs make_inputs(const struct both *b, const struct attention_case *c)
{
    struct inputs in = {.q = make(b, c, "q", c->s.H, false),
                        .k = make(b, c, "k", c->s.G, true),
                        .v = normals("v", v_size(c), 1),
                        .d_o = normals("d_o", q_size(&c->s), 1)};
    round_all(b, in.v, v_size(c));
    round_all(b, in.d_o, q_size(&c->s));
    return in;
}

static void drop_inputs(struct inputs *in)
{
    free(in->q);
    free(in->k);
    free(in->v);
    free(in->d_o);
}

/* ---- bounds ---- */

/* Of the run made last. */
static struct bounds {
    const struct attention_case *c;
    bool bf16;
    float *o, *lse, *entropy, *most, *dq, *dk, *dv;
} bounds;

static void drop_bounds(void)
{
    float *all[] = {bounds.o,  bounds.lse, bounds.entropy, bounds.most,
                    bounds.dq, bounds.dk,  bounds.dv};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
    bounds = (struct bounds){0};
}

/* Next to nothing: what is far below 1 may be denormal or zero. */
static float *floors(int64_t n)
{
    float *x = qk_alloc((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 1e-30f;
    return x;
}

/* Rounding errors, a few of them: of float32 (growing with the length of sums) and of bf16 (2^-8
 * for p or ds, and for the result). */
struct units {
    double wide, narrow;
};

static double dot(const float *x, const float *y, int64_t n, double *absolute)
{
    double sum = 0, all = 0;
#pragma omp simd reduction(+ : sum, all)
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)y[i];
        all += fabs((double)x[i] * (double)y[i]);
    }
    *absolute = all;
    return sum;
}

static void add_scaled(float *to, double by, const float *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        to[i] += (float)by * fabsf(x[i]);
}

/* The probabilities of a row and lse; what its logits may be off by, in float32 units. */
static double soften(double *p, double *lse, double *most, const struct qk_attention_shape *s,
                     const float *q, const float *k, int64_t t)
{
    const double scale = 1 / sqrt((double)s->hd);
    double largest = -INFINITY, off = 0, sum = 0, absolute;
    for (int64_t i = 0; i <= t; i++) {
        p[i] = scale * dot(q, k + i * s->G * s->hd, s->hd, &absolute);
        largest = fmax(largest, p[i]);
        off = fmax(off, scale * absolute);
    }
    for (int64_t i = 0; i <= t; i++)
        sum += exp(p[i] - largest);
    *lse = largest + log(sum);
    *most = largest;
    for (int64_t i = 0; i <= t; i++)
        p[i] = exp(p[i] - *lse);
    return 1 + off;
}

/* Row t of head h of sequence b; p has room for T. */
static void bound_row(const struct attention_case *c, const struct inputs *in, struct units u,
                      int64_t b, int64_t h, int64_t t, double *p)
{
    const struct qk_attention_shape *s = &c->s;
    const int64_t hd = s->hd, g = h / (s->H / s->G), first = b * s->T;
    const int64_t row = ((first + t) * s->H + h) * hd, head = b * s->H + h;
    const float *k = in->k + (first * s->G + g) * hd;
    const float *v = in->v + c->v_at + first * s->v_stride + g * hd, *d_o = in->d_o + row;
    double lse, most, average[128] = {0}, all[128] = {0}, delta = 0, delta_all = 0;
    const double off = soften(p, &lse, &most, s, in->q + row, k, t);
    bounds.lse[head * s->T + t] = (float)(u.wide * off);
    bounds.most[head] = fmaxf(bounds.most[head], (float)(u.wide * off));
    for (int64_t i = 0; i <= t; i++) {
        bounds.entropy[head] += (float)(u.wide * off * p[i] * (1 - log(fmax(p[i], 1e-300))));
        for (int64_t j = 0; j < hd; j++) {
            average[j] += p[i] * (double)v[i * s->v_stride + j];
            all[j] += p[i] * fabs((double)v[i * s->v_stride + j]);
        }
    }
    for (int64_t j = 0; j < hd; j++) {
        bounds.o[row + j] = (float)((u.wide * off + u.narrow) * all[j]);
        delta += (double)d_o[j] * average[j];
        delta_all += fabs((double)d_o[j]) * all[j];
    }
    for (int64_t i = 0; i <= t; i++) {
        double dp_all;
        const double dp = dot(d_o, v + i * s->v_stride, hd, &dp_all);
        const double ds =
            p[i] / sqrt((double)hd) *
            ((u.wide * off + u.narrow) * (fabs(dp - delta) + delta_all) + u.wide * dp_all);
        add_scaled(bounds.dq + row, ds, k + i * s->G * hd, hd);
        add_scaled(bounds.dk + ((first + i) * s->G + g) * hd, ds, in->q + row, hd);
        add_scaled(bounds.dv + c->v_at + (first + i) * s->v_stride + g * hd,
                   (u.wide * off + u.narrow) * p[i], d_o, hd);
    }
}

static void make_bounds(const struct both *b, const struct attention_case *c,
                        const struct inputs *in)
{
    const struct qk_attention_shape *s = &c->s;
    const struct units u = {6e-7 * (1 + sqrt((double)s->T) / 16), b->bf16 ? 0x1p-7 : 0};
    if (bounds.c == c && bounds.bf16 == b->bf16)
        return;
    drop_bounds();
    bounds = (struct bounds){.c = c,
                             .bf16 = b->bf16,
                             .o = floors(q_size(s)),
                             .lse = floors(s->B * s->H * s->T),
                             .entropy = floors(s->B * s->H),
                             .most = floors(s->B * s->H),
                             .dq = floors(q_size(s)),
                             .dk = floors(k_size(s)),
                             .dv = floors(v_size(c))};
#pragma omp parallel for
    for (int64_t n = 0; n < s->B * s->G; n++) {
        double *p = qk_alloc((size_t)s->T, sizeof *p);
        for (int64_t h = n % s->G * (s->H / s->G); h < (n % s->G + 1) * (s->H / s->G); h++)
            for (int64_t t = 0; t < s->T; t++)
                bound_row(c, in, u, n / s->G, h, t, p);
        free(p);
    }
}

/* ---- cases ---- */

struct arrays {
    struct qk_buf o, lse, entropy, most, q, k, v;
};

static struct arrays forward(struct both *b, const struct attention_case *c,
                             const struct inputs *in)
{
    const struct qk_attention_shape *s = &c->s;
    const int64_t heads = s->B * s->H;
    struct arrays a = {.o = both_empty(b, QK_ROLE_ACTIVATION, q_size(s)),
                       .lse = both_empty(b, QK_ROLE_EXACT, heads * s->T),
                       .entropy = both_empty(b, QK_ROLE_EXACT, heads),
                       .most = both_empty(b, QK_ROLE_EXACT, heads),
                       .q = both_in(b, QK_ROLE_ACTIVATION, in->q, q_size(s)),
                       .k = both_in(b, QK_ROLE_ACTIVATION, in->k, k_size(s)),
                       .v = both_in(b, QK_ROLE_ACTIVATION, in->v, v_size(c))};
    a.v = qk_at(a.v, c->v_at);
    b->d->ops->attention(b->d, a.o, a.lse, a.q, a.k, a.v, *s);
    b->d->ops->attention_stats(b->d, a.entropy, a.most, a.q, a.k, a.lse, *s);
    return a;
}

/* dv lies among numbers that belong to others and stay what they were. */
static void run_attention(struct both *b, const void *one)
{
    const struct attention_case *c = one;
    const struct qk_attention_shape *s = &c->s;
    const int64_t heads = s->B * s->H;
    struct inputs in = make_inputs(b, c);
    struct arrays a = forward(b, c, &in);
    struct qk_buf d_o = both_in(b, QK_ROLE_ACTIVATION, in.d_o, q_size(s));
    struct qk_buf dq = both_empty(b, QK_ROLE_ACTIVATION, q_size(s));
    struct qk_buf dk = both_empty(b, QK_ROLE_ACTIVATION, k_size(s));
    struct qk_buf dv = both_normals(b, QK_ROLE_ACTIVATION, "dv", v_size(c), 1);
    if (b->d->apart)
        qk_cuda_set_shared(b->d, c->shared);
    b->d->ops->attention_back(b->d, dq, dk, qk_at(dv, c->v_at), d_o, a.o, a.lse, a.q, a.k, a.v, *s);
    make_bounds(b, c, &in);
    both_out_within(b, "o", a.o, q_size(s), bounds.o);
    both_out_within(b, "lse", a.lse, heads * s->T, bounds.lse);
    both_out_within(b, "entropy", a.entropy, heads, bounds.entropy);
    both_out_within(b, "max_logit", a.most, heads, bounds.most);
    both_out_within(b, "dq", dq, q_size(s), bounds.dq);
    both_out_within(b, "dk", dk, k_size(s), bounds.dk);
    both_out_within(b, "dv", dv, v_size(c), bounds.dv);
    drop_inputs(&in);
}

/* T around tiles of 64 and 128 queries and of 32 and 64 keys; hd filled up to 32, 64 and 128, and
 * exactly these; one, two and three heads to a key head; v among other numbers, at odd and round
 * places; logits of thousands; one key near, in the first tile or a later one, all others far; all
 * far; a card with little shared memory. */
static const struct attention_case small[] = {
    {.s = {1, 1, 1, 1, 2, 2}},
    {.s = {3, 2, 2, 1, 6, 7}, .v_at = 3},
    {.s = {2, 17, 3, 1, 32, 40}, .v_at = 8},
    {.s = {1, 64, 2, 2, 34, 68}},
    {.s = {1, 65, 4, 2, 64, 136}, .v_at = 8},
    {.s = {1, 130, 1, 1, 80, 81}, .v_at = 1},
    {.s = {1, 66, 2, 1, 128, 128}},
    {.s = {1, 150, 2, 1, 128, 128}},
    {.s = {1, 150, 2, 1, 128, 128}, .shared = 164 << 10},
    {.s = {1, 136, 1, 1, 64, 64}},
    {.s = {1, 97, 1, 1, 96, 104}, .v_at = 4},
    {.s = {1, 129, 3, 1, 16, 17}, .v_at = 2},
    {.s = {1, 200, 1, 1, 32, 32}},
    {.s = {1, 50, 1, 1, 64, 64}, .spread = 60},
    {.s = {1, 40, 1, 1, 128, 128}, .spread = 30},
    {.s = {1, 100, 1, 1, 32, 32}, .lonely = true, .near = 0},
    {.s = {1, 150, 1, 1, 32, 32}, .lonely = true, .near = 101},
    {.s = {2, 40, 1, 1, 32, 32}, .lonely = true, .near = -1},
};

static const struct attention_case real[] = {
    {.s = {4, 2048, 16, 4, 64, 256}},
    {.s = {2, 2048, 16, 4, 128, 512}},
    {.s = {2, 2048, 16, 4, 128, 512}, .shared = 164 << 10},
    {.s = {1, 8192, 2, 1, 64, 64}},
    {.s = {1, 8192, 2, 1, 128, 128}},
    {.s = {2, 1531, 6, 3, 80, 259}, .v_at = 3},
    {.s = {1, 2047, 4, 2, 96, 600}, .v_at = 8},
    {.s = {3, 1000, 4, 4, 32, 128}},
    {.s = {1, 2048, 2, 1, 64, 64}, .spread = 60},
    {.s = {1, 2048, 2, 1, 128, 128}, .lonely = true, .near = 1500},
};

static void test_attention(void **state)
{
    (void)state;
    both_check_all(run_attention, small, real);
    drop_bounds();
}

static void run_not_finite(struct both *b, const void *one)
{
    const struct attention_case *c = one;
    const struct qk_attention_shape *s = &c->s;
    struct inputs in = make_inputs(b, c);
    struct arrays a = forward(b, c, &in);
    both_out(b, "o", a.o, q_size(s), 1e-5, 1e-2);
    both_out(b, "lse", a.lse, s->B * s->H * s->T, 1e-6, 1e-6);
    both_out(b, "entropy", a.entropy, s->B * s->H, 0, 0);
    both_out(b, "max_logit", a.most, s->B * s->H, 0, 0);
    drop_inputs(&in);
}

/* What is no number comes out as none where it is seen, and nowhere before. */
static void test_not_finite(void **state)
{
    (void)state;
    static const struct attention_case cases[] = {
        {.s = {1, 80, 2, 1, 6, 6}, .bad = true, .near = 61},
        {.s = {1, 70, 1, 1, 64, 64}, .bad = true, .near = 20},
    };
    both_check_all(run_not_finite, cases, cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
