/* One case of an operation on the CPU, whose result is the definition, and on a CUDA device: a
 * card, or the emulation of one (tests/emulation).  A test cannot tell which; where there is
 * neither it is skipped with the reason.
 *
 *     struct norm_case { int64_t M, N; };
 *
 *     static void run_norm(struct both *b, const void *one)
 *     {
 *         const struct norm_case *c = one;
 *         struct qk_buf x = both_normals(b, QK_ROLE_ACTIVATION, "x", c->M * c->N, 1);
 *         struct qk_buf gain = both_normals(b, QK_ROLE_PARAMETER, "gain", c->N, 1);
 *         struct qk_buf y = both_empty(b, QK_ROLE_ACTIVATION, c->M * c->N);
 *         struct qk_buf rstd = both_empty(b, QK_ROLE_EXACT, c->M);
 *         b->d->ops->rmsnorm(b->d, y, rstd, x, gain, 1e-6f, c->M, c->N);
 *         both_out(b, "y", y, c->M * c->N, 2e-6, 5e-3);
 *         both_out(b, "rstd", rstd, c->M, 2e-6, 2e-6);
 *     }
 *     ...
 *     static const struct norm_case small[] = {{1, 2}, {7, 37}}, real[] = {{2048, 2048}};
 *     both_check_all(run_norm, small, real);
 *
 * What happens: the case runs on the CPU, in float32, and several times on the device, in fp32 and
 * in bf16 (d->bf16; what is given to activations and parameters is then rounded to bf16 first, on
 * both sides, so that the operation's own rounding alone is judged).  Every output is compared.
 * The device's runs differ in where arrays lie: each at the start of an allocation of its own
 * size; and in the middle of a larger one whose rest is NaN, at odd and at round places, where
 * a stray read spoils the result and a stray write is found.  Runs are repeated, emulated
 * with blocks and threads in another order; the bytes must agree.
 *
 * Roles must be the true ones: gains and weights PARAMETER; their gradients GRADIENT; m, v, b
 * STATE; rstd, lse, nll, angles, scale, entropy EXACT; all else ACTIVATION.
 */
#ifndef QK_TESTS_CUDA_BOTH_H
#define QK_TESTS_CUDA_BOTH_H

#include "unit/ops_check.h"

enum { BOTH_ARRAYS = 32, BOTH_OUTPUTS = 64, BOTH_REST = 16 };
static const int32_t BOTH_NO_TOKEN = -1234567;

/* Where the arrays of a run lie. */
enum both_place { BOTH_EXACT, BOTH_ODD, BOTH_ROUND, BOTH_PLACES };

struct both_array {
    struct qk_buf whole;
    int64_t lead, n; /* numbers before it, its own; BOTH_REST follow unless the place is exact */
    bool tokens;
};

struct both_output {
    char what[48];
    int64_t at, n;       /* in `got` */
    double tolerance[2]; /* fp32, bf16; a share of numbers that may differ when `whole` */
    const float *bound;  /* or one per number, of this run's making */
    bool whole;          /* integers */
};

/* One run on one device. */
struct both {
    struct qk_device *d;
    bool bf16; /* this run is compared in bf16; the CPU computes in float32 all the same */
    enum both_place place;
    struct both_array arrays[BOTH_ARRAYS];
    int array_count;
    struct both_output outputs[BOTH_OUTPUTS];
    int output_count;
    float *got;
    int64_t got_count;
};

typedef void both_function(struct both *b, const void *one);

/* ---- the device ---- */

/* tests/emulation/emulation.h; absent when the program is linked for a card. */
extern void qk_emulation_order(const char *order) __attribute__((weak));
extern void qk_emulation_memory(int64_t bytes) __attribute__((weak));
extern int qk_emulation_watched(void) __attribute__((weak));

static inline bool both_emulated(void)
{
    return qk_emulation_order != NULL;
}

/* Races are found whatever the order. */
static inline bool both_watched(void)
{
    return qk_emulation_watched && qk_emulation_watched();
}

/* Sizes as in training are asked for with QK_GPU_SIZES=real; without it they are small. */
static inline bool both_real(void)
{
    const char *sizes = getenv("QK_GPU_SIZES");
    return sizes && strcmp(sizes, "real") == 0;
}

/* The device, or the test is skipped. */
static inline struct qk_device *both_open(bool bf16)
{
    struct qk_err err = {{0}};
    struct qk_device *d = qk_device_open("cuda", &err);
    if (!d) {
        print_message("%s\n", err.text);
        skip();
    }
    d->bf16 = bf16;
    return d;
}

/* ---- what a case is made of ---- */

/* To the nearest bf16, ties to even. */
static inline float both_rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (isnan(x))
        return x;
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

static inline bool both_narrow(const struct both *b, enum qk_role role)
{
    return b->bf16 && (role == QK_ROLE_ACTIVATION || role == QK_ROLE_PARAMETER);
}

static inline struct both_array *both_place_array(struct both *b, enum qk_role role, int64_t n)
{
    assert_true(b->array_count < BOTH_ARRAYS);
    struct both_array *a = &b->arrays[b->array_count];
    const int64_t place[] = {0, 2 * b->array_count + 1, 64}; /* by b->place */
    *a = (struct both_array){.lead = place[b->place], .n = n, .tokens = role == QK_ROLE_TOKENS};
    b->array_count++;
    b->d->ops->alloc(b->d, &a->whole, role, a->lead + n + (b->place ? BOTH_REST : 0));
    return a;
}

/* n given numbers; released with the run. */
static inline struct qk_buf both_in(struct both *b, enum qk_role role, const float *x, int64_t n)
{
    struct both_array *a = both_place_array(b, role, n);
    const int64_t all = a->lead + n + (b->place ? BOTH_REST : 0);
    float *y = qk_alloc((size_t)all, sizeof *y);
    for (int64_t i = 0; i < all; i++)
        y[i] = NAN;
    for (int64_t i = 0; i < n; i++)
        y[a->lead + i] = both_narrow(b, role) ? both_rounded(x[i]) : x[i];
    b->d->ops->put(b->d, a->whole, y, all);
    free(y);
    return qk_at(a->whole, a->lead);
}

static inline struct qk_buf both_normals(struct both *b, enum qk_role role, const char *name,
                                         int64_t n, double scale)
{
    float *x = normals(name, n, scale);
    struct qk_buf buf = both_in(b, role, x, n);
    free(x);
    return buf;
}

/* Room for what an operation assigns: NaN until then. */
static inline struct qk_buf both_empty(struct both *b, enum qk_role role, int64_t n)
{
    float *x = qk_alloc((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = NAN;
    struct qk_buf buf = both_in(b, role, x, n);
    free(x);
    return buf;
}

/* As the model hands it over: zeros. */
static inline struct qk_buf both_zeros(struct both *b, enum qk_role role, int64_t n)
{
    float *x = qk_alloc((size_t)n, sizeof *x);
    struct qk_buf buf = both_in(b, role, x, n);
    free(x);
    return buf;
}

static inline struct qk_buf both_tokens(struct both *b, const int32_t *t, int64_t n)
{
    struct both_array *a = both_place_array(b, QK_ROLE_TOKENS, n);
    const int64_t all = a->lead + n + (b->place ? BOTH_REST : 0);
    int32_t *y = qk_alloc((size_t)all, sizeof *y);
    for (int64_t i = 0; i < all; i++)
        y[i] = i < a->lead || i >= a->lead + n ? BOTH_NO_TOKEN : t[i - a->lead];
    b->d->ops->put_tokens(b->d, a->whole, y, all);
    free(y);
    return qk_at(a->whole, a->lead);
}

static inline struct both_output *both_add_output(struct both *b, const char *what, int64_t n)
{
    assert_true(b->output_count < BOTH_OUTPUTS);
    struct both_output *o = &b->outputs[b->output_count++];
    *o = (struct both_output){.at = b->got_count, .n = n};
    snprintf(o->what, sizeof o->what, "%s", what);
    b->got = qk_realloc(b->got, (size_t)(b->got_count + n + 1), sizeof *b->got);
    b->got_count += n;
    return o;
}

/* An output: every number within tolerance * (|expected| + rms of expected), for either dtype. */
static inline void both_out(struct both *b, const char *what, struct qk_buf buf, int64_t n,
                            double fp32, double bf16)
{
    struct both_output *o = both_add_output(b, what, n);
    o->tolerance[0] = fp32;
    o->tolerance[1] = bf16;
    b->d->ops->get(b->d, b->got + o->at, buf, n);
}

/* The same with a bound for every number, which lives as long as the case. */
static inline void both_out_within(struct both *b, const char *what, struct qk_buf buf, int64_t n,
                                   const float *bound)
{
    both_out(b, what, buf, n, 0, 0);
    b->outputs[b->output_count - 1].bound = bound;
}

/* Integers (below 2^24): equal, but for a share of them (ties that rounding breaks). */
static inline void both_out_tokens(struct both *b, const char *what, struct qk_buf buf, int64_t n,
                                   double fp32_share, double bf16_share)
{
    struct both_output *o = both_add_output(b, what, n);
    o->tolerance[0] = fp32_share;
    o->tolerance[1] = bf16_share;
    o->whole = true;
    int32_t *t = qk_alloc((size_t)n, sizeof *t);
    b->d->ops->get_tokens(b->d, t, buf, n);
    for (int64_t i = 0; i < n; i++)
        b->got[o->at + i] = (float)t[i];
    free(t);
}

/* ---- running ---- */

/* What surrounds the arrays is what it was. */
static inline void both_check_rest(struct both *b, const char *label)
{
    for (int k = 0; b->place && k < b->array_count; k++) {
        const struct both_array *a = &b->arrays[k];
        const int64_t all = a->lead + a->n + BOTH_REST;
        float *x = qk_alloc((size_t)all, sizeof *x);
        if (a->tokens)
            b->d->ops->get_tokens(b->d, (int32_t *)(void *)x, a->whole, all);
        else
            b->d->ops->get(b->d, x, a->whole, all);
        for (int64_t i = 0; i < all; i++) {
            int32_t token;
            memcpy(&token, &x[i], sizeof token);
            if ((i < a->lead || i >= a->lead + a->n) &&
                !(a->tokens ? token == BOTH_NO_TOKEN : isnan(x[i])))
                fail_msg("%s: array %d of %lld numbers was written to at %lld", label, k,
                         (long long)a->n, (long long)(i - a->lead));
        }
        free(x);
    }
}

static inline void both_run(struct both *b, both_function *run, const void *one, const char *label)
{
    struct qk_err err = {{0}};
    run(b, one);
    if (b->d->ops->sync(b->d, &err) != 0)
        fail_msg("%s: %s", label, err.text);
    both_check_rest(b, label);
    for (int k = 0; k < b->array_count; k++)
        b->d->ops->release(b->d, b->arrays[k].whole);
}

/* ---- judging ---- */

static inline void both_compare_numbers(const char *label, const struct both_output *o,
                                        const float *got, const float *expected, double tolerance)
{
    double sum = 0;
    int64_t finite = 0;
    for (int64_t i = 0; i < o->n; i++)
        if (isfinite(expected[i])) {
            sum += (double)expected[i] * (double)expected[i];
            finite++;
        }
    const double rms = finite ? sqrt(sum / (double)finite) : 0;
    double worst = 0;
    int64_t at = -1;
    for (int64_t i = 0; i < o->n; i++) {
        const double off = fabs((double)got[i] - (double)expected[i]);
        const double may =
            o->bound ? (double)o->bound[i] : tolerance * (fabs((double)expected[i]) + rms);
        const bool same = isfinite(expected[i]) ? off <= may
                          : isnan(expected[i])  ? isnan(got[i])
                                                : got[i] == expected[i];
        const double share = isfinite(off) ? off / fmax(may, 1e-300) : INFINITY;
        if (!same && (at < 0 || share > worst)) {
            at = i;
            worst = share;
        }
    }
    if (at >= 0)
        fail_msg("%s: %s[%lld] = %.9g, expected %.9g (rms %.3g): %.3g times what is allowed", label,
                 o->what, (long long)at, (double)got[at], (double)expected[at], rms, worst);
}

static inline void both_compare_integers(const char *label, const struct both_output *o,
                                         const float *got, const float *expected, double share)
{
    int64_t differ = 0, at = 0;
    for (int64_t i = 0; i < o->n; i++)
        if (got[i] != expected[i] && ++differ == 1)
            at = i;
    if ((double)differ > share * (double)o->n)
        fail_msg("%s: %s: %lld of %lld differ, first [%lld] = %.0f, expected %.0f", label, o->what,
                 (long long)differ, (long long)o->n, (long long)at, (double)got[at],
                 (double)expected[at]);
}

static inline void both_compare(const char *label, const struct both *got,
                                const struct both *expected)
{
    assert_int_equal(got->output_count, expected->output_count);
    assert_int_equal(got->got_count, expected->got_count);
    assert_true(got->output_count > 0);
    for (int k = 0; k < got->output_count; k++) {
        const struct both_output *o = &got->outputs[k];
        (o->whole ? both_compare_integers : both_compare_numbers)(
            label, o, got->got + o->at, expected->got + o->at, o->tolerance[got->bf16]);
    }
}

/* The device's runs of one dtype against the CPU's. */
static inline void both_check_dtype(both_function *run, const void *one, const char *label,
                                    bool bf16, const struct both *expected)
{
    static const char *const places[] = {"", ", odd places", ", round places"};
    static const char *const orders[BOTH_PLACES][4] = {
        {"forward", "reverse", "shuffle:1"}, {"shuffle:2", "forward"}, {"shuffle:3"}};
    struct qk_device *d = both_open(bf16);
    bool placed = true; /* not so for a case that allocates by itself */
    for (enum both_place place = 0; place < BOTH_PLACES && placed; place++) {
        struct both first = {0};
        for (int order = 0; both_watched()    ? order < 1
                            : both_emulated() ? orders[place][order] != NULL
                                              : order < 2;
             order++) {
            char name[160];
            snprintf(name, sizeof name, "%s, %s%s", label, bf16 ? "bf16" : "fp32", places[place]);
            struct both b = {.d = d, .bf16 = bf16, .place = place};
            if (both_emulated())
                qk_emulation_order(orders[place][order]);
            both_run(&b, run, one, name);
            placed = b.array_count > 0;
            if (both_emulated())
                qk_emulation_order(NULL);
            if (!order) {
                both_compare(name, &b, expected);
                first = b;
                continue;
            }
            assert_int_equal(b.got_count, first.got_count);
            for (int64_t i = 0; i < b.got_count; i++)
                if (memcmp(&b.got[i], &first.got[i], sizeof *b.got) != 0)
                    fail_msg("%s: run %d gives other bytes: %.9g, then %.9g at %lld", name, order,
                             (double)first.got[i], (double)b.got[i], (long long)i);
            free(b.got);
        }
        free(first.got);
    }
    qk_device_close(d);
}

/* One case in both dtypes; `label` is said when it fails. */
static inline void both_check(both_function *run, const void *one, const char *label)
{
    qk_device_close(both_open(false)); /* skipped before the CPU works for nothing */
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct qk_err err = {{0}};
        struct both expected = {.d = qk_device_open("cpu", &err), .bf16 = bf16};
        assert_non_null(expected.d);
        both_run(&expected, run, one, label);
        qk_device_close(expected.d);
        both_check_dtype(run, one, label, bf16, &expected);
        free(expected.got);
    }
}

/* Every case of an array of them: of `small`, or of `real` (QK_GPU_SIZES=real). */
#define both_check_all(run, small, real)                                                           \
    do {                                                                                           \
        for (size_t i_ = 0; i_ < (both_real() ? COUNT(real) : COUNT(small)); i_++) {               \
            char label_[64];                                                                       \
            snprintf(label_, sizeof label_, "%s %zu", both_real() ? "real size" : "case", i_);     \
            both_check(run, both_real() ? &(real)[i_] : &(small)[i_], label_);                     \
        }                                                                                          \
    } while (0)

#endif
