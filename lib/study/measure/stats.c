#include "study/measure/stats.h"

#include <math.h>
#include <stdbool.h>

#include "base/mem.h"

double qk_stats_mean(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return n > 0 ? sum / (double)n : NAN;
}

double qk_stats_sd(const double *x, int64_t n)
{
    if (n < 2)
        return NAN;
    double mean = qk_stats_mean(x, n), sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sqrt(sum / (double)(n - 1));
}

/* Centred second moments of two series. */
struct moments {
    double xx, yy, xy;
};

static struct moments moments_of(const double *x, const double *y, int64_t n)
{
    struct moments m = {0, 0, 0};
    double mx = qk_stats_mean(x, n), my = qk_stats_mean(y, n);
    for (int64_t i = 0; i < n; i++) {
        m.xx += (x[i] - mx) * (x[i] - mx);
        m.yy += (y[i] - my) * (y[i] - my);
        m.xy += (x[i] - mx) * (y[i] - my);
    }
    return m;
}

double qk_stats_pearson(const double *x, const double *y, int64_t n)
{
    if (n < 3)
        return NAN;
    struct moments m = moments_of(x, y, n);
    return m.xx > 0 && m.yy > 0 ? m.xy / sqrt(m.xx * m.yy) : NAN;
}

double qk_stats_slope(const double *x, const double *y, int64_t n)
{
    if (n < 2)
        return NAN;
    struct moments m = moments_of(x, y, n);
    return m.xx > 0 ? m.xy / m.xx : NAN;
}

/* ---- Student's t ---- */

/* Coefficient of the continued fraction of I_x(a, b), DLMF 8.17.22; n from 1. */
static double beta_coefficient(int n, double x, double a, double b)
{
    double m = n / 2;
    if (n % 2 == 0)
        return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
}

/* The fraction by Lentz's method; converges fast for x < (a+1)/(a+b+2). */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double f = 1, c = 1, d = 0;
    for (int n = 1; n < 10000; n++) {
        double k = beta_coefficient(n, x, a, b);
        d = 1 + k * d;
        c = 1 + k / c;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        f *= c * d;
        if (fabs(c * d - 1) < 1e-15)
            break;
    }
    return 1 / f;
}

double qk_stats_beta(double x, double a, double b)
{
    if (!(x > 0))
        return x == 0 ? 0 : NAN;
    if (!(x < 1))
        return x == 1 ? 1 : NAN;
    if (x > (a + 1) / (a + b + 2))
        return 1 - qk_stats_beta(1 - x, b, a);
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return front / a * beta_fraction(x, a, b);
}

double qk_stats_t_cdf(double t, double df)
{
    if (isnan(t) || !(df > 0))
        return NAN;
    if (isinf(t))
        return t > 0 ? 1 : 0;
    double tail = 0.5 * qk_stats_beta(df / (df + t * t), df / 2, 0.5);
    return t > 0 ? 1 - tail : tail;
}

double qk_stats_t_quantile(double p, double df)
{
    if (!(p > 0 && p < 1) || !(df > 0))
        return NAN;
    if (p == 0.5)
        return 0;
    if (p > 0.5)
        return -qk_stats_t_quantile(1 - p, df);
    double low = -1, high = 0;
    while (qk_stats_t_cdf(low, df) > p && low > -1e300)
        low *= 2;
    for (int i = 0; i < 200; i++) { /* bisection: p is a lower tail, where the CDF is accurate */
        double middle = 0.5 * (low + high);
        if (qk_stats_t_cdf(middle, df) < p)
            low = middle;
        else
            high = middle;
    }
    return 0.5 * (low + high);
}

/* ---- tests ---- */

double qk_stats_sign_flip(const double *d, int n)
{
    if (n < 1 || n > QK_STATS_MOST_FLIPS)
        return NAN;
    double observed = 0, scale = 0;
    for (int i = 0; i < n; i++) {
        observed += d[i];
        scale += fabs(d[i]);
    }
    /* Sums that are equal on paper may differ in the last bits: they count as equal. */
    double least = fabs(observed) - 1e-12 * scale;
    uint32_t patterns = UINT32_C(1) << n, hits = 0;
    for (uint32_t signs = 0; signs < patterns; signs++) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += signs >> i & 1 ? -d[i] : d[i];
        hits += fabs(sum) >= least;
    }
    return (double)hits / (double)patterns;
}

void qk_stats_holm(const double *p, int n, double *adjusted)
{
    int tests = 0;
    for (int i = 0; i < n; i++) {
        adjusted[i] = NAN;
        tests += !isnan(p[i]);
    }
    double running = 0;
    for (int rank = 0; rank < tests; rank++) {
        int next = -1;
        for (int i = 0; i < n; i++)
            if (isnan(adjusted[i]) && !isnan(p[i]) && (next < 0 || p[i] < p[next]))
                next = i;
        running = fmax(running, fmin(1, p[next] * (tests - rank)));
        adjusted[next] = running;
    }
}

const char *qk_stats_equivalence_name(enum qk_equivalence e)
{
    return e == QK_EQ_NULL ? "null" : e == QK_EQ_EFFECT ? "effect" : "inconclusive";
}

static enum qk_equivalence equivalence_of(double low, double high, double margin)
{
    if (low > -margin && high < margin)
        return QK_EQ_NULL;
    if (low > margin || high < -margin)
        return QK_EQ_EFFECT;
    return QK_EQ_INCONCLUSIVE;
}

/* P(T > t) for t = x / se, where se may be 0. */
static double upper_tail(double x, double se, double df)
{
    if (se > 0)
        return qk_stats_t_cdf(-x / se, df);
    return x > 0 ? 0 : x < 0 ? 1 : 0.5;
}

void qk_stats_paired(struct qk_paired *s, const double *d, int n, double margin)
{
    *s = (struct qk_paired){.n = n, .mean = qk_stats_mean(d, n), .sd = qk_stats_sd(d, n)};
    s->equivalence = QK_EQ_INCONCLUSIVE;
    s->se = s->low95 = s->high95 = s->low90 = s->high90 = NAN;
    s->p_t = s->p_flip = s->p_tost = NAN;
    if (n < 2 || isnan(s->mean))
        return;
    double df = n - 1;
    s->se = s->sd / sqrt(n);
    double half95 = qk_stats_t_quantile(0.975, df) * s->se;
    double half90 = qk_stats_t_quantile(0.95, df) * s->se;
    s->low95 = s->mean - half95;
    s->high95 = s->mean + half95;
    s->low90 = s->mean - half90;
    s->high90 = s->mean + half90;
    s->p_t = fmin(1, 2 * upper_tail(fabs(s->mean), s->se, df));
    s->p_flip = qk_stats_sign_flip(d, n);
    s->p_tost =
        fmax(upper_tail(s->mean + margin, s->se, df), upper_tail(margin - s->mean, s->se, df));
    s->equivalence = equivalence_of(s->low90, s->high90, margin);
}
