/* Causal grouped-query attention: forward, backward, statistics. */
#include "ops_check.h"

#include "compute/cpu/cpu.h"

struct one {
    struct qk_attention_shape s;
    float *q, *k, *v, *d_o;
};

static int64_t q_size(const struct qk_attention_shape *s)
{
    return s->B * s->T * s->H * s->hd;
}

static int64_t k_size(const struct qk_attention_shape *s)
{
    return s->B * s->T * s->G * s->hd;
}

static int64_t v_size(const struct qk_attention_shape *s)
{
    return s->B * s->T * s->v_stride;
}

static struct one make(struct qk_attention_shape s)
{
    return (struct one){s, normals("q", q_size(&s), 1.5), normals("k", k_size(&s), 1.5),
                        normals("v", v_size(&s), 1), normals("d_o", q_size(&s), 1)};
}

static void drop(struct one *c)
{
    free(c->q);
    free(c->k);
    free(c->v);
    free(c->d_o);
}

/* The definition.  Any output may be NULL. */
static void reference(const struct qk_attention_shape *s, double *o, double *lse, double *entropy,
                      double *largest, const double *q, const double *k, const double *v)
{
    double *l = qk_alloc((size_t)s->T, sizeof *l), scale = 1 / sqrt((double)s->hd);
    for (int64_t n = 0; n < s->B * s->H; n++) {
        int64_t b = n / s->H, h = n % s->H, g = h / (s->H / s->G);
        double stat = 0, most = -INFINITY;
        for (int64_t t = 0; t < s->T; t++) {
            const double *row = q + ((b * s->T + t) * s->H + h) * s->hd;
            double sum = 0, max = -INFINITY;
            for (int64_t i = 0; i <= t; i++) {
                l[i] = 0;
                for (int64_t j = 0; j < s->hd; j++)
                    l[i] += scale * row[j] * k[((b * s->T + i) * s->G + g) * s->hd + j];
                max = fmax(max, l[i]);
            }
            for (int64_t i = 0; i <= t; i++)
                sum += exp(l[i] - max);
            double total = max + log(sum);
            if (lse)
                lse[n * s->T + t] = total;
            for (int64_t j = 0; o && j < s->hd; j++) {
                double out = 0;
                for (int64_t i = 0; i <= t; i++)
                    out += exp(l[i] - total) * v[(b * s->T + i) * s->v_stride + g * s->hd + j];
                o[((b * s->T + t) * s->H + h) * s->hd + j] = out;
            }
            for (int64_t i = 0; i <= t; i++)
                stat -= exp(l[i] - total) * (l[i] - total);
            most = fmax(most, max);
        }
        if (entropy)
            entropy[n] = stat;
        if (largest)
            largest[n] = most;
    }
    free(l);
}

/* Outputs: o, lse, entropy, max_logit, dq, dk, dv. */
static void run(struct qk_device *d, const void *one, struct outputs *out)
{
    const struct one *c = one;
    const struct qk_attention_shape *s = &c->s;
    int64_t nq = q_size(s), nk = k_size(s), nv = v_size(s), heads = s->B * s->H;
    struct qk_buf q = held(d, c->q, nq), k = held(d, c->k, nk), v = held(d, c->v, nv);
    struct qk_buf d_o = held(d, c->d_o, nq), o = empty(d, nq), lse = empty(d, heads * s->T);
    struct qk_buf dq = held(d, c->q, nq), dk = held(d, c->k, nk), dv = held(d, c->v, nv);
    struct qk_buf entropy = empty(d, heads), most = empty(d, heads);
    d->ops->attention(d, o, lse, q, k, v, *s);
    d->ops->attention_stats(d, entropy, most, q, k, lse, *s);
    d->ops->attention_back(d, dq, dk, dv, d_o, o, lse, q, k, v, *s);
    take(d, out, o, nq);
    take(d, out, lse, heads * s->T);
    take(d, out, entropy, heads);
    take(d, out, most, heads);
    take(d, out, dq, nq);
    take(d, out, dk, nk);
    take(d, out, dv, nv);
    release_all(d, (struct qk_buf[]){q, k, v, d_o, o, lse, dq, dk, dv, entropy, most}, 11);
}

struct context {
    const struct one *c;
    const double *in[3]; /* q, k, v */
    int which;
};

static double loss(void *context, const double *x)
{
    const struct context *a = context;
    const double *in[3] = {a->in[0], a->in[1], a->in[2]};
    in[a->which] = x;
    double *o = qk_alloc((size_t)q_size(&a->c->s), sizeof *o);
    reference(&a->c->s, o, NULL, NULL, NULL, in[0], in[1], in[2]);
    double sum = dot_of(o, a->c->d_o, q_size(&a->c->s));
    free(o);
    return sum;
}

/* Columns of dv that are not this operation's keep what they held; make them zero gradients. */
static void forget_foreign_columns(const struct one *c, float *dv)
{
    const struct qk_attention_shape *s = &c->s;
    for (int64_t r = 0; r < s->B * s->T; r++)
        for (int64_t i = s->G * s->hd; i < s->v_stride; i++) {
            assert_true(dv[r * s->v_stride + i] == c->v[r * s->v_stride + i]);
            dv[r * s->v_stride + i] = 0;
        }
}

static void check_shape(struct qk_attention_shape s)
{
    struct one c = make(s);
    struct outputs out = run_case(run, &c);
    int64_t nq = q_size(&s), nk = k_size(&s), nv = v_size(&s), heads = s.B * s.H;
    struct context a = {&c, {widened(c.q, nq), widened(c.k, nk), widened(c.v, nv)}, 0};
    double *expected = qk_alloc((size_t)(nq + heads * (s.T + 2)), sizeof *expected);
    double *lse = expected + nq, *entropy = lse + heads * s.T, *most = entropy + heads;
    reference(&s, expected, lse, entropy, most, a.in[0], a.in[1], a.in[2]);
    float *at = out.at;
    check_near("o", at, expected, nq, 1e-5); /* logits near 15 carry 1e-6 of rounding */
    check_near("lse", at += nq, lse, heads * s.T, 1e-6);
    check_near("entropy", at += heads * s.T, entropy, heads, 3e-6);
    check_near("max_logit", at += heads, most, heads, 1e-6);
    check_gradient("dq", loss, &a, a.in[0], at += heads, nq, 5e-6);
    a.which = 1;
    check_gradient("dk", loss, &a, a.in[1], at += nq, nk, 5e-6);
    a.which = 2;
    forget_foreign_columns(&c, at += nk);
    check_gradient("dv", loss, &a, a.in[2], at, nv, 5e-6);
    for (int i = 0; i < 3; i++)
        free((void *)(uintptr_t)a.in[i]);
    free(expected);
    free(out.at);
    drop(&c);
}

/* Sizes around strips (12 rows) and blocks (48 rows, 96 keys); one and several heads to a key head;
 * every kind of rest of hd. */
static void check_shapes(enum qk_vectors vectors)
{
    static const struct qk_attention_shape shapes[] = {
        {1, 1, 1, 1, 2, 2},     {2, 3, 2, 2, 2, 4},      {3, 37, 4, 1, 6, 6},
        {1, 130, 4, 2, 16, 40}, {1, 70, 2, 2, 64, 130},  {1, 25, 4, 4, 128, 512},
        {1, 131, 6, 3, 8, 24},  {1, 96, 1, 1, 18, 18},   {1, 97, 3, 1, 30, 30},
        {1, 48, 5, 1, 34, 40},  {1, 25, 14, 2, 50, 100}, {2, 13, 7, 7, 126, 882},
    };
    if (qk_vectors_limit(vectors) != vectors) {
        qk_vectors_limit(QK_AVX512);
        print_message("this processor lacks the vectors: left out\n");
        skip();
    }
    for (size_t i = 0; i < COUNT(shapes); i++)
        check_shape(shapes[i]);
    qk_vectors_limit(QK_AVX512);
}

static void test_plain(void **state)
{
    (void)state;
    check_shapes(QK_PLAIN);
}

static void test_avx2(void **state)
{
    (void)state;
    check_shapes(QK_AVX2);
}

static void test_avx512(void **state)
{
    (void)state;
    check_shapes(QK_AVX512);
}

/* More keys than the forward pass takes at once (288), than stay in the cache (576), than twice
 * that; more heads than a block has rows. */
static void test_long(void **state)
{
    (void)state;
    check_shape((struct qk_attention_shape){1, 290, 8, 1, 4, 4});
    check_shape((struct qk_attention_shape){1, 577, 2, 1, 8, 8});
    check_shape((struct qk_attention_shape){1, 1160, 1, 1, 2, 2});
    check_shape((struct qk_attention_shape){1, 9, 100, 1, 66, 70});
}

/* Two positions, values 1 and 0: with logits d and 0 the second gives e^d / (1 + e^d).  Never a
 * denormal; zero where there is no float. */
static void check_exp(void)
{
    enum { N = 4000 };
    struct qk_attention_shape s = {N, 2, 1, 1, 4, 4};
    struct one c = make(s);
    memset(c.q, 0, (size_t)q_size(&s) * sizeof *c.q);
    memset(c.k, 0, (size_t)q_size(&s) * sizeof *c.k);
    memset(c.v, 0, (size_t)q_size(&s) * sizeof *c.v);
    for (int64_t i = 0; i < N; i++) {
        c.q[8 * i + 4] = 2; /* logit of key j: k[j][0] */
        c.k[8 * i] = -0.025f * (float)i;
        c.v[8 * i] = 1;
    }
    struct outputs out = run_case(run, &c);
    for (int64_t i = 0; i < N; i++) {
        double d = (double)c.k[8 * i], expected = exp(d) / (1 + exp(d));
        float o = out.at[8 * i + 4];
        if (d < -87.5)
            assert_true(o == 0);
        else if (d > -86.9)
            assert_close((double)o, expected, 1.5e-7 - 1.2e-7 * d); /* the logit's rounding */
        assert_true(o == 0 || o >= 1.1754944e-38f);
    }
    free(out.at);
    drop(&c);
}

static void test_exp(void **state)
{
    (void)state;
    for (int vectors = QK_PLAIN; vectors <= QK_AVX512; vectors++) {
        qk_vectors_limit((enum qk_vectors)vectors);
        check_exp();
    }
}

/* What is no number comes out as none, where it is seen, and nowhere before. */
static void check_not_finite(float bad)
{
    struct qk_attention_shape s = {1, 120, 2, 1, 6, 6};
    enum { AT = 61 };
    struct one c = make(s);
    c.k[AT * 6 + 3] = bad;
    struct outputs out = run_case(run, &c);
    const float *o = out.at, *lse = o + q_size(&s), *entropy = lse + 240, *dq = entropy + 4;
    for (int64_t t = 0; t < s.T; t++)
        for (int64_t i = 0; i < 12; i++) {
            bool fine = isfinite(o[t * 12 + i]) && isfinite(dq[t * 12 + i]);
            if (t < AT)
                assert_true(isfinite(o[t * 12 + i]));
            else if (isnan(bad))
                assert_true(isnan(o[t * 12 + i]) && isnan(dq[t * 12 + i]));
            else if (c.q[t * 12 + i / 6 * 6 + 3] * bad > 0) /* the logit is +inf */
                assert_false(fine);
        }
    for (int64_t h = 0; h < 2; h++) {
        assert_true(isnan(lse[h * s.T + s.T - 1]) || !isnan(bad));
        assert_false(isfinite(entropy[h]));
        assert_false(isfinite(entropy[2 + h])); /* the largest logit */
    }
    free(out.at);
    drop(&c);
}

static void test_not_finite(void **state)
{
    (void)state;
    for (int vectors = QK_PLAIN; vectors <= QK_AVX512; vectors++) {
        qk_vectors_limit((enum qk_vectors)vectors);
        check_not_finite(NAN);
        check_not_finite(INFINITY);
    }
}

/* Logits of a thousand: only differences matter, nothing overflows. */
static void test_large_logits(void **state)
{
    (void)state;
    struct qk_attention_shape s = {1, 9, 1, 1, 4, 4};
    struct one c = make(s);
    for (int64_t i = 0; i < q_size(&s); i++) {
        c.q[i] *= 40;
        c.k[i] *= 40;
    }
    struct outputs out = run_case(run, &c);
    double *q = widened(c.q, 36), *k = widened(c.k, 36), *v = widened(c.v, 36), expected[36];
    reference(&s, expected, NULL, NULL, NULL, q, k, v);
    check_near("o", out.at, expected, 36, 1e-4); /* a logit of 4,000 carries 2e-4 of rounding */
    for (int64_t i = 0; i < out.n; i++)
        assert_true(isfinite(out.at[i]));
    free(q);
    free(k);
    free(v);
    free(out.at);
    drop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),        cmocka_unit_test(test_avx2),
        cmocka_unit_test(test_avx512),       cmocka_unit_test(test_exp),
        cmocka_unit_test(test_long),         cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_large_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
