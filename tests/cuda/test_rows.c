/* The operations on rows: embeddings, RMSNorm, heads before attention, the gated nonlinearity. */
#include "cuda/both.h"

/* bf16 results are off by half a unit in the last place, and now and then by one. */
static const double ROUNDED = 0x1p-8;

/* Two float32 sums of n products, each in an order of its own; a product may be ten times the
 * results' rms, and cancel. */
static double sum_of(int64_t n)
{
    return 5e-6 + 2e-7 * sqrt((double)n);
}

/* ---- embedding ---- */

/* Of M tokens one in `often` is token 7 mod V; the rest are any below `used`. */
struct embed_case {
    int64_t M, D, V, used;
    int often;
};

static int32_t *tokens_of(const struct embed_case *c)
{
    int32_t *t = tokens_below("t", c->M, c->used);
    for (int64_t m = 0; c->often && m < c->M; m++)
        if (qk_rng_below(7, qk_rng_stream("often"), (uint64_t)m, (uint64_t)c->often) == 0)
            t[m] = (int32_t)(7 % c->V);
    return t;
}

/* Of every number of dw: a float32 sum of as many rows as its token has, in any order. */
static float *embed_bounds;

static void make_bounds(const struct embed_case *c, const int32_t *t)
{
    embed_bounds = qk_realloc(embed_bounds, (size_t)(c->V * c->D), sizeof *embed_bounds);
    for (int64_t i = 0; i < c->V * c->D; i++)
        embed_bounds[i] = 4e-6f;
    for (int64_t m = 0; m < c->M; m++)
        for (int64_t i = 0; i < c->D; i++)
            embed_bounds[t[m] * c->D + i] += 1e-6f;
}

static void run_embed(struct both *b, const void *one)
{
    const struct embed_case *c = one;
    const int64_t M = c->M, D = c->D, V = c->V;
    int32_t *t = tokens_of(c);
    struct qk_buf tokens = both_tokens(b, t, M);
    struct qk_buf w = both_normals(b, QK_ROLE_PARAMETER, "w", V * D, 1);
    struct qk_buf dw = both_normals(b, QK_ROLE_GRADIENT, "dw", V * D, 1);
    struct qk_buf dy = both_normals(b, QK_ROLE_ACTIVATION, "dy", M * D, 1);
    struct qk_buf y = both_empty(b, QK_ROLE_ACTIVATION, M * D);
    b->d->ops->embed(b->d, y, tokens, w, 3.5f, M, D, V);
    b->d->ops->embed_back(b->d, dw, dy, tokens, 3.5f, M, D, V);
    both_out(b, "y", y, M * D, 1e-7, ROUNDED);
    make_bounds(c, t);
    both_out_within(b, "dw", dw, V * D, embed_bounds);
    free(t);
}

static void test_embed(void **state)
{
    (void)state;
    /* one token alone; runs within chunks of 32 and across them; a run over many chunks; tokens
     * that begin and end on a chunk; more than 1024 tokens */
    static const struct embed_case small[] = {
        {1, 2, 17, 17, 0},      {32, 8, 2, 1, 0},        {64, 5, 3, 2, 0},
        {130, 37, 17, 17, 0},   {257, 128, 1000, 40, 3}, {333, 24, 3001, 3001, 2},
        {200, 1032, 9, 9, 0},   {1000, 16, 2100, 5, 0},  {97, 8, 1024, 1024, 0},
        {300, 3, 1025, 2, 100},
    };
    static const struct embed_case real[] = {
        {16384, 128, 151936, 151936, 20},
        {65536, 512, 3000, 3000, 20},
        {16384, 256, 50304, 20000, 20},
        {65536, 64, 50304, 1, 0},
    };
    both_check_all(run_embed, small, real);
    free(embed_bounds);
}

/* Told by the operation's name, and nothing outside is read or written. */
static void check_stray(bool bf16, bool back, int32_t stray)
{
    struct qk_device *d = both_open(bf16);
    struct qk_err err = {{0}};
    const int32_t tokens[] = {0, 16, stray, 3, stray};
    float got[34];
    struct qk_buf w, dw, y = empty(d, 10), t = held_tokens(d, tokens, 5);
    d->ops->alloc(d, &w, QK_ROLE_PARAMETER, 34);
    d->ops->alloc(d, &dw, QK_ROLE_GRADIENT, 34);
    if (back)
        d->ops->embed_back(d, dw, y, t, 1, 5, 2, 17);
    else
        d->ops->embed(d, y, t, w, 1, 5, 2, 17);
    d->ops->get(d, got, dw, 34);
    assert_int_equal(d->ops->sync(d, &err), -1);
    char *want = qk_format("cuda %s: token %d at 2 is outside the vocabulary of 17",
                           back ? "embed_back" : "embed", (int)stray);
    assert_string_equal(err.text, want);
    free(want);
    release_all(d, (struct qk_buf[]){w, dw, y, t}, 4);
    qk_device_close(d);
}

static void test_embed_refuses_foreign_tokens(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        check_stray(i % 2, i / 2, 17);
        check_stray(i % 2, i / 2, -1);
        check_stray(i % 2, i / 2, INT32_MIN);
    }
}

/* ---- RMSNorm ---- */

struct norm_case {
    int64_t M, N;
    bool plain; /* no gain */
};

static void run_norm(struct both *b, const void *one)
{
    const struct norm_case *c = one;
    const int64_t M = c->M, N = c->N;
    struct qk_buf x = both_normals(b, QK_ROLE_ACTIVATION, "x", M * N, 2), gain = QK_NONE,
                  dgain = QK_NONE;
    struct qk_buf y = both_empty(b, QK_ROLE_ACTIVATION, M * N);
    struct qk_buf rstd = both_empty(b, QK_ROLE_EXACT, M);
    struct qk_buf dy = both_normals(b, QK_ROLE_ACTIVATION, "dy", M * N, 1);
    struct qk_buf dx = both_normals(b, QK_ROLE_ACTIVATION, "dx", M * N, 0.1);
    if (!c->plain) {
        gain = both_normals(b, QK_ROLE_PARAMETER, "gain", N, 1);
        dgain = both_normals(b, QK_ROLE_GRADIENT, "dgain", N, 0.1);
    }
    b->d->ops->rmsnorm(b->d, y, rstd, x, gain, 1e-3f, M, N);
    b->d->ops->rmsnorm_back(b->d, dx, dgain, dy, x, gain, rstd, M, N);
    both_out(b, "y", y, M * N, 2e-6, ROUNDED);
    both_out(b, "rstd", rstd, M, 2e-6, 2e-6);
    both_out(b, "dx", dx, M * N, 2e-6, ROUNDED);
    if (!c->plain)
        both_out(b, "dgain", dgain, N, sum_of(M), sum_of(M));
}

static void test_rmsnorm(void **state)
{
    (void)state;
    /* a row to a warp, to two, to all of a block; as long as one can be held, and longer; more rows
     * than teams of the backward pass, and not a multiple */
    static const struct norm_case small[] = {
        {1, 1, false},    {1, 2, false},    {3, 37, false},     {130, 128, false}, {65, 130, true},
        {9, 1000, false}, {9, 768, true},   {5, 2048, false},   {2, 8192, false},  {2, 8200, false},
        {131, 10, false}, {1031, 8, false}, {1027, 264, false}, {7, 1032, false},
    };
    static const struct norm_case real[] = {
        {16384, 2048, false}, {16384, 768, false}, {8192, 768, true},   {1024, 8192, false},
        {4096, 1000, false},  {2048, 1001, false}, {1024, 4096, false}, {256, 16384, false},
    };
    both_check_all(run_norm, small, real);
}

/* ---- heads before attention ---- */

struct head_case {
    struct qk_head_shape s;
    bool gained;
};

/* Cosine and sine of every number's pair, as the contract has them. */
static float *angles_of(const struct qk_head_shape *s)
{
    float *table = qk_alloc((size_t)(s->T * 2 * s->hd), sizeof *table);
    for (int64_t t = 0; t < s->T; t++)
        for (int64_t j = 0; j < s->hd / 2; j++) {
            const int64_t p = s->half ? j : 2 * j, q = s->half ? j + s->hd / 2 : 2 * j + 1;
            const double turn = (double)t * pow(100, -2.0 * (double)j / (double)s->hd);
            float *same = table + t * 2 * s->hd, *other = same + s->hd;
            same[p] = same[q] = (float)cos(turn);
            other[q] = (float)sin(turn);
            other[p] = -other[q];
        }
    return table;
}

/* Rows of a wider matrix, whose other columns are no numbers. */
static struct qk_buf strided(struct both *b, const char *name, const struct qk_head_shape *s)
{
    const int64_t n = s->B * s->T * s->x_stride;
    float *x = normals(name, n, 2);
    for (int64_t i = 0; i < n; i++)
        if (i % s->x_stride >= s->heads * s->hd)
            x[i] = NAN;
    struct qk_buf buf = both_in(b, QK_ROLE_ACTIVATION, x, n);
    free(x);
    return buf;
}

static void run_head(struct both *b, const void *one)
{
    const struct head_case *c = one;
    const struct qk_head_shape *s = &c->s;
    const int64_t rows = s->B * s->T * s->heads, n = rows * s->hd, wide = s->B * s->T * s->x_stride;
    struct qk_buf x = strided(b, "x", s), dx = strided(b, "dx", s);
    struct qk_buf y = both_empty(b, QK_ROLE_ACTIVATION, n), gain = QK_NONE, dgain = QK_NONE;
    struct qk_buf dy = both_normals(b, QK_ROLE_ACTIVATION, "dy", n, 1);
    struct qk_buf rstd = both_empty(b, QK_ROLE_EXACT, rows);
    float *table = angles_of(s);
    struct qk_buf angles = both_in(b, QK_ROLE_EXACT, table, s->T * 2 * s->hd);
    free(table);
    if (c->gained) {
        gain = both_normals(b, QK_ROLE_PARAMETER, "gain", s->gain_size, 1);
        dgain = both_normals(b, QK_ROLE_GRADIENT, "dgain", s->gain_size, 0.1);
    }
    b->d->ops->head_prepare(b->d, y, rstd, x, gain, angles, *s);
    b->d->ops->head_prepare_back(b->d, dx, dgain, dy, x, gain, rstd, angles, *s);
    both_out(b, "y", y, n, 2e-6, ROUNDED);
    both_out(b, "rstd", rstd, rows, 2e-6, 2e-6);
    both_out(b, "dx", dx, wide, 4e-6, ROUNDED);
    if (c->gained && s->gain_size == s->hd)
        both_out(b, "dgain", dgain, s->hd, sum_of(rows), sum_of(rows));
    else if (c->gained) /* one number: a sum of thousands that cancel, measured by their size */
        both_out(b, "dgain", dgain, 1, 1e-4, 1e-4);
}

static void test_head_prepare(void **state)
{
    (void)state;
    /* B, T, heads, hd, stride, normalise, gain_size, eps, rotate, half */
    static const struct head_case small[] = {
        {{1, 1, 1, 2, 2, true, 2, 1e-3f, true, false}, true},
        {{2, 3, 2, 6, 20, true, 6, 1e-3f, true, true}, true},
        {{2, 37, 3, 16, 48, true, 1, 1e-3f, true, false}, true},
        {{1, 70, 2, 64, 200, true, 64, 1e-6f, true, true}, true},
        {{3, 17, 4, 32, 128, true, 1, 1e-6f, false, false}, true},
        {{1, 37, 2, 128, 256, true, 128, 1e-6f, true, false}, false},
        {{2, 19, 2, 6, 13, false, 6, 1e-6f, true, true}, false},
        {{2, 19, 2, 6, 13, false, 6, 1e-6f, true, false}, true},
        {{1, 5, 1, 16, 16, false, 16, 1e-6f, false, false}, false},
        {{1, 9, 3, 34, 104, true, 34, 1e-6f, true, true}, true},
        {{2, 7, 3, 80, 240, true, 80, 1e-6f, true, true}, true},
        {{2, 7, 5, 96, 488, true, 96, 1e-6f, true, false}, true},
        {{1, 11, 3, 126, 380, true, 126, 1e-6f, true, false}, true},
        {{1, 11, 3, 128, 387, true, 128, 1e-6f, true, true}, true},
        {{3, 5, 7, 8, 64, true, 8, 1e-6f, true, true}, true},
        {{1, 23, 1, 24, 24, true, 24, 1e-6f, false, true}, true},
        {{1, 330, 400, 2, 801, true, 2, 1e-6f, true, true}, true},
    };
    static const struct head_case real[] = {
        {{2, 2048, 16, 128, 3072, true, 128, 1e-6f, true, true}, true},
        {{2, 2048, 4, 128, 3072, true, 128, 1e-6f, true, true}, true},
        {{4, 1024, 12, 64, 2304, true, 1, 1e-6f, true, false}, true},
        {{4, 1024, 12, 64, 2304, true, 64, 1e-6f, true, true}, true},
        {{4, 512, 8, 32, 768, true, 32, 1e-6f, true, false}, true},
        {{1, 8192, 4, 96, 1152, true, 96, 1e-6f, true, true}, true},
        {{2, 1000, 5, 126, 1000, true, 126, 1e-6f, true, true}, true},
        {{1, 2048, 16, 128, 3072, false, 128, 1e-6f, true, true}, false},
    };
    both_check_all(run_head, small, real);
}

/* ---- the gated nonlinearity ---- */

static void run_swiglu(struct both *b, const void *one)
{
    const int64_t n = *(const int64_t *)one;
    const float ends[] = {0, -200, 200, -88.9f, 88.9f}; /* exp(200) is no float: silu is 0 there */
    float *x = normals("gate", n, 3);
    for (int64_t i = 0; n > 5 && i < 5; i++)
        x[i] = ends[i];
    struct qk_buf gate = both_in(b, QK_ROLE_ACTIVATION, x, n);
    free(x);
    struct qk_buf up = both_normals(b, QK_ROLE_ACTIVATION, "up", n, 1);
    struct qk_buf dy = both_normals(b, QK_ROLE_ACTIVATION, "dy", n, 1);
    struct qk_buf y = both_empty(b, QK_ROLE_ACTIVATION, n);
    struct qk_buf dgate = both_empty(b, QK_ROLE_ACTIVATION, n);
    struct qk_buf dup = both_empty(b, QK_ROLE_ACTIVATION, n);
    b->d->ops->swiglu(b->d, y, gate, up, n);
    b->d->ops->swiglu_back(b->d, dgate, dup, dy, gate, up, n);
    both_out(b, "y", y, n, 2e-6, ROUNDED);
    both_out(b, "dgate", dgate, n, 2e-6, ROUNDED);
    both_out(b, "dup", dup, n, 2e-6, ROUNDED);
}

static void test_swiglu(void **state)
{
    (void)state;
    static const int64_t small[] = {1, 8, 37, 2048, 5003}, real[] = {1, 16384 * 683, 100003};
    both_check_all(run_swiglu, small, real);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),   cmocka_unit_test(test_embed_refuses_foreign_tokens),
        cmocka_unit_test(test_rmsnorm), cmocka_unit_test(test_head_prepare),
        cmocka_unit_test(test_swiglu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
