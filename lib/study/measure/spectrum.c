#include "study/measure/spectrum.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "study/measure/eigen.h"
#include "study/measure/lapack.h"

/* The measures, from squared singular values `energy` (descending) and, of each direction, the sum
 * of the fourth powers of its components. */
static void measure(struct qk_spectrum *s, const double *energy, const double *fourths)
{
    int d = s->d;
    double sum = 0, total = 0, fourth = 0;
    for (int i = 0; i < d; i++) {
        sum += s->sigma[i];
        total += energy[i];
        fourth += energy[i] * energy[i];
    }
    s->pr = sum * sum / total;
    s->pr_energy = total * total / fourth;
    s->stable_rank = total / energy[0];
    s->cond = s->sigma[d - 1] <= 1e-12 * s->sigma[0] ? NAN : s->sigma[0] / s->sigma[d - 1];
    double entropy = 0, alignment = 0, reached = 0;
    s->rank90 = 0;
    for (int i = 0; i < d; i++) {
        double p = s->sigma[i] / sum;
        entropy -= p > 0 ? p * log(p) : 0;
        alignment += energy[i] / total * fourths[i];
        /* rounding must not decide when the sum is 0.9 of the total exactly */
        if (reached < 0.9 * total * (1 - 1e-12))
            s->rank90 = i + 1;
        reached += energy[i];
    }
    s->effective_rank = total > 0 ? exp(entropy) : NAN;
    s->axis_alignment = alignment;
}

static double fourth_powers(const double *x, int n, int stride)
{
    double sum = 0;
    for (int j = 0; j < n; j++) {
        const double square = x[j * stride] * x[j * stride];
        sum += square * square;
    }
    return sum;
}

static int check(const double *gram, int d, const char *what, struct qk_err *err)
{
    if (d < 1 || d > QK_MOST_DIM)
        return qk_fail(err, "a Gram matrix of %d dimensions cannot be measured (at most %d)", d,
                       QK_MOST_DIM);
    for (int i = 0; i < d * d; i++)
        if (!isfinite(gram[i]))
            return qk_fail(err, "the Gram matrix%s holds a number that is not finite", what);
    return 0;
}

/* Memory that each thread keeps: fetched from the system and handed back for every matrix it would
 * cost as much as half the work.  Not thread-local itself, which would come out of the stacks. */
enum { SQUARE = QK_MOST_DIM * QK_MOST_DIM, INTS = 3 + 5 * QK_MOST_DIM };
struct space {
    double at[4 * SQUARE + 8 * QK_MOST_DIM];
    int ints[INTS];
};

static struct space *space_here(void)
{
    static _Thread_local struct space *kept;
    if (!kept)
        kept = qk_big_alloc(sizeof *kept);
    return kept;
}

/* Eigenvalues ascending, fourth powers of their directions and, unless v is NULL, these: by LAPACK.
 */
static int decompose(double *values, double *fourths, double *v, const double *gram, int d)
{
    const int lwork = 3 * SQUARE, liwork = INTS; /* dsyevd wants 1 + 6 d + 2 d^2 */
    int info = 0;
    struct space *space = space_here();
    double *a = space->at, *work = a + SQUARE;
    memcpy(a, gram, (size_t)d * (size_t)d * sizeof *a);
    dsyevd_("V", "L", &d, a, &d, values, work, &lwork, space->ints, &liwork, &info);
    for (int i = 0; i < d; i++) {
        fourths[i] = fourth_powers(a + i * d, d, 1);
        for (int j = 0; v && j < d; j++)
            v[j * d + d - 1 - i] = a[i * d + j];
    }
    return info;
}

int qk_spectrum_of_gram(struct qk_spectrum *s, double *v, const double *gram, int d,
                        struct qk_err *err)
{
    if (check(gram, d, "", err) != 0)
        return -1;
    double values[QK_MOST_DIM], axes[QK_MOST_DIM], energy[QK_MOST_DIM], fourths[QK_MOST_DIM];
    if ((v || !qk_eigen_axes(values, axes, gram, d)) && decompose(values, axes, v, gram, d) != 0)
        return qk_fail(err, "the eigenvalues of a Gram matrix did not converge");
    s->d = d;
    double noise = QK_NOISE * d * values[d - 1];
    for (int i = 0; i < d; i++) { /* from the largest down */
        double value = values[d - 1 - i];
        energy[i] = value > noise ? value : 0;
        s->sigma[i] = sqrt(energy[i]);
        fourths[i] = axes[d - 1 - i];
    }
    measure(s, energy, fourths);
    return 0;
}

/* G = L L^T of a positive semidefinite matrix, row-major; a pivot that is nothing but rounding
 * leaves a column of zeros. */
static void cholesky(double *l, const double *gram, int d)
{
    memset(l, 0, (size_t)d * (size_t)d * sizeof *l);
    for (int j = 0; j < d; j++) {
        double pivot = gram[j * d + j];
        for (int k = 0; k < j; k++)
            pivot -= l[j * d + k] * l[j * d + k];
        if (!(pivot > QK_NOISE * d * gram[j * d + j]))
            continue;
        double root = sqrt(pivot);
        l[j * d + j] = root;
        for (int i = j + 1; i < d; i++) {
            double sum = gram[i * d + j];
            for (int k = 0; k < j; k++)
                sum -= l[i * d + k] * l[j * d + k];
            l[i * d + j] = sum / root;
        }
    }
}

/* m = L_Q^T L_K, column-major for LAPACK. */
static void product(double *m, const double *lq, const double *lk, int d)
{
    memset(m, 0, (size_t)d * (size_t)d * sizeof *m);
    for (int k = 0; k < d; k++)
        for (int j = 0; j <= k; j++)
            for (int i = 0; i <= k; i++)
                m[j * d + i] += lq[k * d + i] * lk[k * d + j];
}

int qk_spectrum_of_product(struct qk_spectrum *s, const double *gram_q, const double *gram_k, int d,
                           struct qk_err *err)
{
    if (check(gram_q, d, " of the queries", err) != 0 || check(gram_k, d, " of the keys", err) != 0)
        return -1;
    double *lq = space_here()->at, *lk = lq + SQUARE, *m = lk + SQUARE, *vt = m + SQUARE,
           *work = vt + SQUARE;
    double energy[QK_MOST_DIM], fourths[QK_MOST_DIM];
    int lwork = 8 * d, one = 1, info = 0;
    cholesky(lq, gram_q, d);
    cholesky(lk, gram_k, d);
    product(m, lq, lk, d);
    dgesvd_("N", "A", &d, &d, m, &d, s->sigma, NULL, &one, vt, &d, work, &lwork, &info);
    if (info != 0)
        return qk_fail(err, "the singular values of a bilinear form did not converge");
    s->d = d;
    for (int i = 0; i < d; i++) {
        if (s->sigma[i] <= QK_NOISE * d * s->sigma[0])
            s->sigma[i] = 0;
        energy[i] = s->sigma[i] * s->sigma[i];
        fourths[i] = fourth_powers(vt + i, d, d); /* direction i is row i of V^T, column-major */
    }
    measure(s, energy, fourths);
    return 0;
}

void qk_gram_centre(double *to, const double *gram, const double *mean, int64_t n, int d)
{
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++)
            to[i * d + j] = gram[i * d + j] - (double)n * mean[i] * mean[j];
}

void qk_gram_shares(double *c, const double *gram, int d)
{
    double trace = 0;
    for (int j = 0; j < d; j++)
        trace += gram[j * d + j];
    for (int j = 0; j < d; j++)
        c[j] = gram[j * d + j] / trace;
}

static double dot(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

double qk_head_overlap(const double *gram, int heads, int d)
{
    double sum = 0;
    int square = d * d;
    for (int a = 0; a < heads; a++) {
        const double *ga = gram + (ptrdiff_t)a * square;
        for (int b = 0; b < a; b++) {
            const double *gb = gram + (ptrdiff_t)b * square;
            /* tr(G_a G_b) of symmetric matrices is the sum of products of their elements */
            sum += dot(ga, gb, square) / sqrt(dot(ga, ga, square) * dot(gb, gb, square));
        }
    }
    return sum / (0.5 * heads * (heads - 1));
}

/* Rank of x[i]: ties share the mean of the places they take. */
static double rank_of(const double *x, int i, int n)
{
    int less = 0, equal = 0;
    for (int j = 0; j < n; j++) {
        less += x[j] < x[i];
        equal += x[j] == x[i];
    }
    return less + (equal + 1) / 2.0;
}

double qk_spearman(const double *x, const double *y, int n)
{
    double xx = 0, yy = 0, xy = 0, middle = (n + 1) / 2.0;
    for (int i = 0; i < n; i++) {
        double a = rank_of(x, i, n) - middle, b = rank_of(y, i, n) - middle;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}
