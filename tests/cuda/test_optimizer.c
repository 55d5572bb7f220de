/* Gradient norm, AdamW, Muon. */
#include "cuda/both.h"

#include "compute/cuda/cuda.h"
#include "study/measure/spectrum.h"

/* ---- gradient norm ---- */

struct norm_case {
    int64_t n;
    float clip;
    double scale; /* of the numbers: their squares may be beyond float32 */
    float last;
};

static void run_norm(struct both *b, const void *one)
{
    const struct norm_case *c = one;
    float *g_ = normals("g", c->n, c->scale);
    g_[c->n - 1] = c->last;
    struct qk_buf g = both_in(b, QK_ROLE_GRADIENT, g_, c->n);
    struct qk_buf out = both_empty(b, QK_ROLE_EXACT, 2);
    b->d->ops->grad_norm(b->d, out, g, c->n, c->clip);
    both_out(b, "norm", out, 1, 1e-7, 1e-7);
    both_out(b, "factor", qk_at(out, 1), 1, 1e-7, 1e-7);
    free(g_);
}

static void test_grad_norm(void **state)
{
    (void)state;
    static const struct norm_case small[] = {
        {1, 1, 1, 3},          {37, 1, 1, 1},       {37, 1e6f, 1, 1},      {37, 0, 1, 1},
        {37, -1, 1, 1},        {32768, 1, 1, 500},  {32769, 1, 1, 500},    {65535, 1, 1e25, 1},
        {100003, 1, 1e-25, 0}, {100003, 1, 1, NAN}, {100, 1, 1, INFINITY},
    };
    static const struct norm_case real[] = {{40000003, 1, 1, 1e4f}, {1 << 25, 1, 1e25, 1}};
    both_check_all(run_norm, small, real);
}

/* ---- the rounded copy of a parameter ---- */

/* It is what a lookup reads in bf16. */
static void check_copy(struct both *b, const char *what, struct qk_buf w, int64_t n)
{
    if (!b->d->apart || !b->bf16)
        return;
    static const int32_t first = 0;
    float *wide = qk_alloc((size_t)n, sizeof *wide), *narrow = qk_alloc((size_t)n, sizeof *narrow);
    struct qk_buf y = empty(b->d, n), token = held_tokens(b->d, &first, 1);
    b->d->ops->embed(b->d, y, token, w, 1, 1, n, 1);
    b->d->ops->get(b->d, wide, w, n);
    b->d->ops->get(b->d, narrow, y, n);
    for (int64_t i = 0; i < n; i++)
        if (!isnan(wide[i]) && narrow[i] != both_rounded(wide[i]))
            fail_msg("%s[%lld] = %.9g has the rounded copy %.9g", what, (long long)i,
                     (double)wide[i], (double)narrow[i]);
    release_all(b->d, (struct qk_buf[]){y, token}, 2);
    free(wide);
    free(narrow);
}

/* ---- AdamW ---- */

struct adamw_case {
    int64_t n;
    double lr, weight_decay;
    int updates;
    int64_t more, stride, stride_v;
};

/* What lies between tensors stays what it was. */
static void run_adamw(struct both *b, const void *one)
{
    const struct adamw_case *c = one;
    const float factor = 0.25f;
    const int64_t all = c->n + c->more * c->stride, all_v = c->n + c->more * c->stride_v;
    struct qk_buf w = both_normals(b, QK_ROLE_PARAMETER, "w", all, 1);
    struct qk_buf m = both_zeros(b, QK_ROLE_STATE, all), v = both_zeros(b, QK_ROLE_STATE, all_v);
    struct qk_buf g = both_normals(b, QK_ROLE_GRADIENT, "g", all, 1);
    struct qk_buf scale = both_in(b, QK_ROLE_EXACT, &factor, 1);
    for (int t = 1; t <= c->updates; t++) {
        struct qk_adamw how = {.lr = c->lr,
                               .beta1 = 0.9,
                               .beta2 = 0.999,
                               .eps = 1e-8,
                               .weight_decay = c->weight_decay,
                               .bias1 = 1 - pow(0.9, t),
                               .bias2 = 1 - pow(0.999, t),
                               .more = c->more,
                               .stride = c->stride,
                               .stride_v = c->stride_v};
        char name[] = {'g', (char)('0' + t), 0};
        float *g_ = normals(name, all, 1);
        b->d->ops->put(b->d, g, g_, all);
        b->d->ops->adamw(b->d, w, m, v, g, scale, c->n, how);
        free(g_);
    }
    both_out(b, "w", w, all, 3e-7, 3e-7);
    both_out(b, "m", m, all, 3e-7, 3e-7);
    both_out(b, "v", v, all_v, 3e-7, 3e-7);
    check_copy(b, "w", w, all);
}

static void test_adamw(void **state)
{
    (void)state;
    static const struct adamw_case small[] = {
        {1, 0.01, 0.2, 3},          {12, 0.01, 0.2, 2, 2, 20, 12},
        {7, 0.01, 0.2, 2, 3, 9, 8}, {3, 0.01, 0, 1},
        {37, 0.01, 0.2, 3},         {1024, 0.5, 1, 2},
        {4100, 0.01, 0.2, 3},       {100003, 1, 0, 1}};
    static const struct adamw_case real[] = {
        {49152 * 2048 / 8, 0.01, 0.2, 2}, {2048, 0.01, 0, 3}, {512, 0.01, 0, 2, 21, 100000, 512}};
    both_check_all(run_adamw, small, real);
}

/* ---- more numbers than 32 bits count: the last ones, behind zeros ---- */

enum { LAST = 1003 };
static const int64_t MANY = ((int64_t)1 << 31) + 5 + LAST;

static void test_many(void **state)
{
    (void)state;
    struct qk_device *d = both_open(true);
    if (!both_real() || d->room < 20 * MANY) {
        print_message("needs a card with %lld MB\n", (long long)(20 * MANY / 1000000));
        qk_device_close(d);
        skip();
    }
    struct qk_err err = {{0}};
    const struct qk_adamw how = {0.5, 0.9, 0.999, 1e-8, 0, 0.1, 0.001};
    float *g_ = normals("g", LAST, 1), *w_ = qk_alloc(LAST, sizeof *w_), out_[2], ones[] = {1};
    struct qk_buf w, m, v, g, out, scale;
    d->ops->alloc(d, &w, QK_ROLE_STATE, MANY);
    d->ops->alloc(d, &m, QK_ROLE_STATE, MANY);
    d->ops->alloc(d, &v, QK_ROLE_STATE, MANY);
    d->ops->alloc(d, &g, QK_ROLE_GRADIENT, MANY);
    d->ops->alloc(d, &out, QK_ROLE_EXACT, 2);
    d->ops->alloc(d, &scale, QK_ROLE_EXACT, 1);
    d->ops->put(d, qk_at(g, MANY - LAST), g_, LAST);
    d->ops->put(d, scale, ones, 1);
    d->ops->grad_norm(d, out, g, MANY, 1);
    d->ops->adamw(d, w, m, v, g, scale, MANY, how);
    d->ops->get(d, out_, out, 2);
    d->ops->get(d, w_, qk_at(w, MANY - LAST), LAST);
    assert_works(d->ops->sync(d, &err));
    double sum = 0;
    for (int i = 0; i < LAST; i++) {
        sum += (double)g_[i] * (double)g_[i];
        assert_true(fabsf(w_[i] + copysignf(0.5f, g_[i])) < 1e-4f);
    }
    assert_close((double)out_[0], sqrt(sum), 1e-7);
    release_all(d, (struct qk_buf[]){w, m, v, g, out, scale}, 6);
    qk_device_close(d);
    free(g_);
    free(w_);
}

/* ---- Muon: numbers ---- */

static const enum qk_orthogonalizer PE = QK_POLAR_EXPRESS, NS = QK_NEWTON_SCHULZ;

struct muon_case {
    int64_t count, rows, cols, gap; /* numbers between matrices, which stay as they are */
    enum qk_orthogonalizer kind;
    double decay;
    float factor;
    int64_t at_once; /* matrices in a batch; 0: as usual */
    int64_t tiles;   /* least in a row of blocks; 0: as usual */
};

/* Room for as many matrices of that width as are to be treated at once. */
static void cut_muon(struct qk_device *d, const struct muon_case *c, bool bf16)
{
    const int64_t small = c->rows < c->cols ? c->rows : c->cols;
    const int64_t one = 2 * (c->rows * c->cols + small * ((small + 7) / 8 * 8)) * (bf16 ? 2 : 4);
    if (d->apart)
        qk_cuda_set_muon(d, c->at_once * one, c->tiles);
}

static struct qk_muon how_of(const struct muon_case *c)
{
    return (struct qk_muon){.count = c->count,
                            .rows = c->rows,
                            .cols = c->cols,
                            .stride = c->rows * c->cols + c->gap,
                            .lr = 0.5,
                            .momentum = 0.95,
                            .weight_decay = c->decay,
                            .orthogonalizer = c->kind};
}

/* NaN between the matrices, and nothing behind the last: none is read or written.  w is small
 * beside its step, so that the step is what is compared: in bf16 a number of it may be off by a
 * tenth of their rms; test_step is stricter on the whole. */
static void run_muon(struct both *b, const void *one)
{
    const struct muon_case *c = one;
    const struct qk_muon how = how_of(c);
    const int64_t size = c->rows * c->cols, n = c->count * how.stride - c->gap;
    float *x[] = {normals("w", n, 1e-3), normals("b", n, 1), normals("g", n, 1)};
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < n; i++)
            if (i % how.stride >= size)
                x[k][i] = NAN;
    struct qk_buf w = both_in(b, QK_ROLE_PARAMETER, x[0], n);
    struct qk_buf m = both_in(b, QK_ROLE_STATE, x[1], n);
    struct qk_buf g = both_in(b, QK_ROLE_GRADIENT, x[2], n);
    struct qk_buf scale = both_in(b, QK_ROLE_EXACT, &c->factor, 1);
    cut_muon(b->d, c, b->bf16);
    b->d->ops->muon(b->d, w, m, g, scale, how);
    both_out(b, "w", w, n, 5e-5, 0.1);
    both_out(b, "b", m, n, 3e-7, 3e-7);
    both_out(b, "g", g, n, 0, 0);
    check_copy(b, "w", w, n);
    for (int k = 0; k < 3; k++)
        free(x[k]);
}

static void test_muon(void **state)
{
    (void)state;
    static const struct muon_case small[] = {
        {1, 1, 1, 0, PE, 0.2, 0.5f, 0, 0},     {1, 1, 5, 0, NS, 0.2, 0.5f, 0, 0},
        {2, 5, 1, 3, PE, 0, 1, 0, 0},          {1, 3, 5, 0, PE, 0.2, 0.5f, 0, 0},
        {1, 5, 3, 0, NS, 0.2, 0.5f, 0, 0},     {3, 37, 130, 5, PE, 0.2, 0.5f, 0, 0},
        {3, 130, 37, 5, NS, 0, 1e-3f, 0, 0},   {2, 37, 130, 6, NS, 0.2, 0.5f, 1, 0},
        {5, 64, 64, 0, PE, 0.2, 0.5f, 2, 0},   {4, 64, 32, 4, PE, 0.2, 0.5f, 3, 0},
        {2, 257, 130, 8, PE, 0.2, 0.5f, 0, 1}, {1, 130, 257, 0, NS, 0.2, 0.5f, 0, 1},
        {1, 300, 270, 0, PE, 0.2, 1, 0, 1},    {1, 264, 272, 0, PE, 0.2, 1, 0, 1},
    };
    static const struct muon_case real[] = {
        {1, 8192, 2048, 0, PE, 0, 1, 0, 1},       {1, 2048, 8192, 0, PE, 0.1, 1, 0, 1},
        {2, 6144, 2048, 2048, PE, 0, 1, 1, 0},    {12, 512, 2048, 0, NS, 0, 1, 0, 0},
        {4, 2048, 512, 1000003, PE, 0, 1, 0, 64}, {6, 128, 2048, 0, PE, 0, 1, 0, 0}};
    both_check_all(run_muon, small, real);
}

/* ---- Muon: the step as a whole ---- */

/* u of one matrix, from zero weights and momentum: w = -lr sqrt(max(1, rows/cols)) u. */
static float *step_of(struct qk_device *d, const struct muon_case *c, const float *g_)
{
    const struct qk_muon how = how_of(c);
    const int64_t n = c->rows * c->cols;
    const double ratio = (double)c->rows / (double)c->cols;
    struct qk_err err = {{0}};
    struct qk_buf w, b, g, scale;
    d->ops->alloc(d, &w, QK_ROLE_PARAMETER, n);
    d->ops->alloc(d, &b, QK_ROLE_STATE, n);
    d->ops->alloc(d, &g, QK_ROLE_GRADIENT, n);
    d->ops->alloc(d, &scale, QK_ROLE_EXACT, 1);
    d->ops->put(d, g, g_, n);
    d->ops->put(d, scale, &c->factor, 1);
    cut_muon(d, c, d->bf16);
    d->ops->muon(d, w, b, g, scale, how);
    float *u = qk_alloc((size_t)n, sizeof *u);
    d->ops->get(d, u, w, n);
    assert_works(d->ops->sync(d, &err));
    for (int64_t i = 0; i < n; i++)
        u[i] *= (float)(-1 / (how.lr * sqrt(fmax(1, ratio))));
    release_all(d, (struct qk_buf[]){w, b, g, scale}, 4);
    return u;
}

/* Singular values of u [rows, cols] whose shorter side is at most 128. */
static struct qk_spectrum spectrum_of(const float *u, int64_t rows, int64_t cols)
{
    const bool tall = rows > cols;
    const int64_t d = tall ? cols : rows, length = tall ? rows : cols;
    double *gram = qk_zalloc((size_t)(d * d), sizeof *gram);
    for (int64_t k = 0; k < length; k++)
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++)
                gram[i * d + j] += (double)u[tall ? k * cols + i : i * cols + k] *
                                   (double)u[tall ? k * cols + j : j * cols + k];
    struct qk_err err = {{0}};
    struct qk_spectrum s;
    assert_works(qk_spectrum_of_gram(&s, NULL, gram, (int)d, &err));
    free(gram);
    return s;
}

/* |u - expected| / |expected| (Frobenius) in bf16 at most `off`; and every singular value within
 * `near` of what float32 makes of it, which is 0.85 to 1.15 where those of g are not too small. */
static void check_step(const struct muon_case *c, double off, double near)
{
    struct qk_err err = {{0}};
    const int64_t n = c->rows * c->cols;
    float *g = normals("g", n, 1);
    struct qk_device *cpu = qk_device_open("cpu", &err), *cuda = both_open(true);
    assert_non_null(cpu);
    float *want = step_of(cpu, c, g), *got = step_of(cuda, c, g);
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        const double e = (double)got[i] - (double)want[i];
        error += e * e;
        size += (double)want[i] * (double)want[i];
    }
    if (!(sqrt(error / size) <= off))
        fail_msg("[%lld, %lld]: the step is off by %.3g of its norm", (long long)c->rows,
                 (long long)c->cols, sqrt(error / size));
    if ((c->rows < c->cols ? c->rows : c->cols) <= QK_MOST_DIM) {
        const struct qk_spectrum s = spectrum_of(got, c->rows, c->cols),
                                 e = spectrum_of(want, c->rows, c->cols);
        for (int i = 0; i < s.d; i++)
            if (!(fabs(s.sigma[i] - e.sigma[i]) <= near))
                fail_msg("[%lld, %lld]: singular value %d is %.5f, expected %.5f",
                         (long long)c->rows, (long long)c->cols, i, s.sigma[i], e.sigma[i]);
    }
    qk_device_close(cpu);
    qk_device_close(cuda);
    free(g);
    free(want);
    free(got);
}

static void test_step(void **state)
{
    (void)state;
    static const struct muon_case small[] = {
        {1, 37, 130, 0, QK_POLAR_EXPRESS, 0, 1, 0, 0},
        {1, 130, 37, 0, QK_NEWTON_SCHULZ, 0, 1, 0, 0},
        {1, 64, 64, 0, QK_POLAR_EXPRESS, 0, 1, 0, 0},
        {1, 257, 128, 0, QK_POLAR_EXPRESS, 0, 1, 0, 0},
    };
    static const struct muon_case real[] = {
        {1, 8192, 2048, 0, QK_POLAR_EXPRESS, 0, 1, 0, 1},
        {1, 128, 2048, 0, QK_POLAR_EXPRESS, 0, 1, 0, 1},
    };
    for (size_t i = 0; i < (both_real() ? COUNT(real) : COUNT(small)); i++)
        check_step(both_real() ? &real[i] : &small[i], 0.03, 0.05);
}

/* Many equal matrices, as many as a large model has layers, come out equal, and as one alone. */
static void test_layers(void **state)
{
    (void)state;
    const struct muon_case c = both_real() ? (struct muon_case){32, 8192, 2048, 64, 0, 0, 1, 0, 0}
                                           : (struct muon_case){5, 130, 140, 4, 0, 0, 1, 2, 1};
    struct muon_case alone = c;
    alone.count = 1;
    const struct qk_muon how = how_of(&c);
    const int64_t size = c.rows * c.cols;
    struct qk_device *d = both_open(true);
    struct qk_err err = {{0}};
    float *g_ = normals("g", size, 1), *got = qk_alloc((size_t)size, sizeof *got);
    float *first = qk_alloc((size_t)size, sizeof *first), *u = step_of(d, &alone, g_);
    struct qk_buf w, b, g, scale;
    d->ops->alloc(d, &w, QK_ROLE_PARAMETER, c.count * how.stride);
    d->ops->alloc(d, &b, QK_ROLE_STATE, c.count * how.stride);
    d->ops->alloc(d, &g, QK_ROLE_GRADIENT, c.count * how.stride);
    d->ops->alloc(d, &scale, QK_ROLE_EXACT, 1);
    d->ops->put(d, scale, &c.factor, 1);
    for (int64_t k = 0; k < c.count; k++)
        d->ops->put(d, qk_at(g, k * how.stride), g_, size);
    cut_muon(d, &c, true);
    d->ops->muon(d, w, b, g, scale, how);
    for (int64_t k = 0; k < c.count; k++) {
        d->ops->get(d, k ? got : first, qk_at(w, k * how.stride), size);
        assert_works(d->ops->sync(d, &err));
        if (k && memcmp(got, first, (size_t)size * sizeof *got) != 0)
            fail_msg("matrix %lld is not what the first one is", (long long)k);
    }
    double error = 0, norm = 0;
    for (int64_t i = 0; i < size; i++) {
        const double want = -how.lr * sqrt(fmax(1, (double)c.rows / (double)c.cols)) * (double)u[i];
        error += pow((double)first[i] - want, 2);
        norm += want * want;
    }
    assert_true(norm > 0 && error <= 1e-4 * norm);
    release_all(d, (struct qk_buf[]){w, b, g, scale}, 4);
    qk_device_close(d);
    free(g_);
    free(got);
    free(first);
    free(u);
}

/* A zero gradient and momentum: no step, no NaN. */
static void test_at_rest(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct qk_device *d = both_open(bf16);
        struct qk_err err = {{0}};
        float *w_ = normals("w", 12, 1), after[12], one = 1;
        struct qk_buf w, b, g, scale;
        d->ops->alloc(d, &w, QK_ROLE_PARAMETER, 12);
        d->ops->alloc(d, &b, QK_ROLE_STATE, 12);
        d->ops->alloc(d, &g, QK_ROLE_GRADIENT, 12);
        d->ops->alloc(d, &scale, QK_ROLE_EXACT, 1);
        d->ops->put(d, w, w_, 12);
        d->ops->put(d, scale, &one, 1);
        const struct qk_muon how = {1, 3, 4, 12, 0.1, 0.95, 0, QK_POLAR_EXPRESS};
        d->ops->muon(d, w, b, g, scale, how);
        d->ops->get(d, after, w, 12);
        assert_works(d->ops->sync(d, &err));
        assert_memory_equal(after, w_, sizeof after);
        release_all(d, (struct qk_buf[]){w, b, g, scale}, 4);
        qk_device_close(d);
        free(w_);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grad_norm), cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_many),      cmocka_unit_test(test_muon),
        cmocka_unit_test(test_step),      cmocka_unit_test(test_layers),
        cmocka_unit_test(test_at_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
