/* Causal grouped-query attention: forward, backward, statistics. */
#include "ops_check.h"

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

static void test_shapes(void **state)
{
    (void)state;
    static const struct qk_attention_shape shapes[] = {
        {1, 1, 1, 1, 2, 2},      {2, 3, 2, 2, 2, 4},     {3, 37, 4, 1, 6, 6},
        {2, 130, 4, 2, 16, 40},  {1, 130, 8, 2, 32, 64}, {1, 70, 2, 2, 64, 130},
        {1, 40, 4, 4, 128, 512}, {2, 131, 12, 3, 8, 24},
    };
    for (size_t i = 0; i < COUNT(shapes); i++)
        check_shape(shapes[i]);
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
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_large_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
