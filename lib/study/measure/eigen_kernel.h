/* The loops of eigen.c for one kind of processor: included with NAME (gives every function its own
 * name) set, inside a `#pragma GCC target`.  A vector has eight numbers whatever the processor's
 * have. */

static double NAME(dot)(const double *a, const double *b, int from, int end)
{
    vector sum = {0};
    double total = 0;
    for (int j = from; j < end; j += LANES)
        sum += *(const vector *)(a + j) * *(const vector *)(b + j);
    for (int l = 0; l < LANES; l++)
        total += sum[l];
    return total;
}

/* x -= a y + b z over columns from .. end. */
static inline __attribute__((always_inline)) void NAME(subtract)(double *restrict x, double a,
                                                                 const double *restrict y, double b,
                                                                 const double *restrict z, int from,
                                                                 int end)
{
    for (int j = from; j < end; j += LANES)
        *(vector *)(x + j) -= a * *(const vector *)(y + j) + b * *(const vector *)(z + j);
}

/* The rows behind k get what the step before left (v, w), and give p = A next on the way. */
static void NAME(sweep)(struct tridiagonal *t, int k, const double *next, double *p)
{
    const int from = k / LANES * LANES, end = t->padded;
    for (int j = from; j < end; j += LANES)
        *(vector *)(p + j) = (vector){0};
    for (int i = k + 1; i < t->d; i++) {
        double *row = t->a[i];
        const double vi = t->v[i], wi = t->w[i], x = next[i];
        for (int j = from; j < end; j += LANES) {
            const vector a = *(vector *)(row + j) - vi * *(const vector *)(t->w + j) -
                             wi * *(const vector *)(t->v + j);
            *(vector *)(row + j) = a;
            *(vector *)(p + j) += x * a;
        }
    }
}

/* A -> Q^T A Q = T; row k of A keeps the vector of reflection k, I - tau v v^T, behind column k
 * (Golub and Van Loan, 8.3.1).  The update of a step is done in the sweep of the next one. */
static void NAME(reduce)(struct tridiagonal *t)
{
    _Alignas(64) double next[LD] = {0}, p[LD] = {0};
    for (int k = 0; k < t->d; k++) {
        double *row = t->a[k];
        NAME(subtract)(row, t->v[k], t->w, t->w[k], t->v, k / LANES * LANES, t->padded);
        t->diagonal[k] = row[k];
        if (k == t->d - 1)
            return;
        memset(next, 0, sizeof next);
        for (int j = k + 2; j < t->d; j++)
            next[j] = row[j];
        const double alpha = row[k + 1], rest = NAME(dot)(next, next, 0, t->padded);
        const double beta = rest > 0 ? -copysign(sqrt(alpha * alpha + rest), alpha) : alpha;
        t->off[k] = beta;
        t->tau[k] = rest > 0 ? (beta - alpha) / beta : 0;
        for (int j = k + 2; j < t->d; j++)
            next[j] /= rest > 0 ? alpha - beta : 1;
        next[k + 1] = 1;
        NAME(sweep)(t, k, next, p);
        for (int j = 0; j <= k; j++)
            p[j] = 0;
        const double half = t->tau[k] / 2 * t->tau[k] * NAME(dot)(p, next, 0, t->padded);
        for (int j = 0; j < t->padded; j++) {
            t->w[j] = t->tau[k] * p[j] - half * next[j];
            t->v[j] = next[j];
        }
        memcpy(row + k + 1, next + k + 1, (size_t)(t->d - k - 1) * sizeof *row);
    }
}

/* Vectors of T for eight eigenvalues, [component][LANES] with lines of STRIP; what is left of
 * (T - lambda) z for |z| = 1.  down[i] and up[i] are the pivots' quotients from the top and from
 * the bottom. */
static void NAME(twist)(const struct tridiagonal *t, const double *values, double *z, double *left)
{
    const int d = t->d;
    const vector none = {0}, one = none + 1, tiny = none + t->tiny;
    const vector lambda = *(const vector *)values;
    vector down[LD], up[LD], pivot[LD], above, below, least, place = none, size = none;
    above = t->diagonal[0] - lambda;
    below = t->diagonal[d - 1] - lambda;
    pivot[0] = above;
    for (int i = 0; i < d - 1; i++) { /* both at once: a division waits for the one before it */
        const int b = d - 1 - i;
        above = PICK(SIZE(above) < t->tiny, tiny, above);
        below = PICK(SIZE(below) < t->tiny, tiny, below);
        down[i] = t->off[i] / above;
        up[b] = t->off[b - 1] / below;
        above = (t->diagonal[i + 1] - lambda) - t->off[i] * down[i];
        below = (t->diagonal[b - 1] - lambda) - t->off[b - 1] * up[b];
        pivot[i + 1] = above;
    }
    least = SIZE(pivot[d - 1]);
    place = place + (double)(d - 1);
    for (int i = 0; i < d - 1; i++) { /* the pivots from both sides less the diagonal */
        const vector gamma = SIZE(pivot[i] - t->off[i] * up[i + 1]), here = none + (double)i;
        place = PICK(gamma < least, here, place);
        least = PICK(gamma < least, gamma, least);
    }
    above = down[d - 1] = none;
    for (int i = d - 1; i >= 0; i--) {
        const vector further = -down[i] * above;
        above = PICK(place == (double)i, one, further);
        *(vector *)(z + i * STRIP) = above; /* nothing but zeros behind `place` */
        size += above * above;
    }
    below = *(vector *)z;
    for (int i = 1; i < d; i++) {
        const vector here = *(vector *)(z + i * STRIP), further = -up[i] * below;
        below = PICK(place < (double)i, further, here);
        size += PICK(place < (double)i, below * below, none);
        *(vector *)(z + i * STRIP) = below;
    }
    for (int l = 0; l < LANES; l++)
        size[l] = 1 / sqrt(size[l]);
    for (int i = 0; i < d; i++)
        *(vector *)(z + i * STRIP) *= size;
    *(vector *)left = least * size;
}

/* z <- Q z, a strip of vectors. */
static void NAME(turn_back)(const struct tridiagonal *t, double *z)
{
    for (int k = t->d - 3; k >= 0; k--) {
        const double *v = t->a[k];
        vector even[STRIP / LANES] = {{0}}, odd[STRIP / LANES] = {{0}};
        int i = k + 1;
        for (; i + 1 < t->d; i += 2)
            for (int q = 0; q < STRIP / LANES; q++) {
                even[q] += v[i] * *(const vector *)(z + i * STRIP + q * LANES);
                odd[q] += v[i + 1] * *(const vector *)(z + (i + 1) * STRIP + q * LANES);
            }
        for (int q = 0; q < STRIP / LANES; q++) {
            if (i < t->d)
                even[q] += v[i] * *(const vector *)(z + i * STRIP + q * LANES);
            even[q] = t->tau[k] * (even[q] + odd[q]);
        }
        for (i = k + 1; i < t->d; i++)
            for (int q = 0; q < STRIP / LANES; q++)
                *(vector *)(z + i * STRIP + q * LANES) -= v[i] * even[q];
    }
}

static void NAME(add_fourths)(double *fourths, const double *z, int d)
{
    for (int q = 0; q < STRIP / LANES; q++) {
        vector sum = {0};
        for (int i = 0; i < d; i++) {
            const vector x = *(const vector *)(z + i * STRIP + q * LANES), square = x * x;
            sum += square * square;
        }
        *(vector *)(fourths + q * LANES) = sum;
    }
}

static void NAME(axes)(struct tridiagonal *t, const double *values, double *fourths, double *left)
{
    _Alignas(64) double z[LD * STRIP];
    for (int first = 0; first < t->d; first += STRIP) {
        for (int q = 0; q < STRIP; q += LANES)
            NAME(twist)(t, values + first + q, z + q, left + first + q);
        NAME(turn_back)(t, z);
        NAME(add_fourths)(fourths + first, z, t->d);
    }
}
