/* How long the measures of many heads take whose rows are in memory: what qk-probe does after it
 * has read and run.
 *
 *     gram [HEADS [ROWS [DIM [THREADS [RUNS]]]]]        (256 8192 128, all processors, 3)
 *
 * Each head: the double precision Gram matrix of its float32 rows, its eigenvalues and vectors, and
 * every measure, uncentred.  Prints one JSON object: medians of RUNS, and the two parts alone. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/median.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/threads.h"
#include "compute/blas.h"
#include "study/measure/gram.h"
#include "study/measure/spectrum.h"

struct heads {
    int64_t count, rows;
    int d;
    float *x;     /* [count, rows, d] */
    double *gram; /* [count, d, d] */
    struct qk_spectrum *spectra;
};

/* Numbers without correlation, columns of a size that falls to a tenth. */
static void fill(struct heads *h)
{
    const int64_t rows = h->count * h->rows;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        uint64_t s = ((uint64_t)r + 1) * 0x9E3779B97F4A7C15u;
        for (int j = 0; j < h->d; j++) {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            h->x[r * h->d + j] =
                ((float)(int32_t)(s >> 32) / 2147483648.0f) / (1 + 9 * (float)j / (float)h->d);
        }
    }
}

static void sums(struct heads *h, int64_t i, double *scratch)
{
    double *gram = h->gram + i * h->d * h->d;
    for (int k = 0; k < h->d * h->d; k++)
        gram[k] = 0;
    qk_gram_add(gram, NULL, h->x + i * h->rows * h->d, h->d, 1, h->rows, h->d, scratch);
    qk_gram_mirror(gram, h->d);
}

static void spectrum(struct heads *h, int64_t i)
{
    struct qk_err err;
    if (qk_spectrum_of_gram(&h->spectra[i], NULL, h->gram + i * h->d * h->d, h->d, &err) != 0) {
        fprintf(stderr, "gram: %s\n", err.text);
        exit(1);
    }
}

enum part { BOTH, SUMS, SPECTRA };

static double take(struct heads *h, enum part part)
{
    const double start = qk_now();
#pragma omp parallel
    {
        double *scratch = qk_alloc(qk_gram_room(h->d), sizeof *scratch);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < h->count; i++) {
            if (part != SPECTRA)
                sums(h, i, scratch);
            if (part != SUMS)
                spectrum(h, i);
        }
        free(scratch);
    }
    return qk_now() - start;
}

int main(int argc, char **argv)
{
    enum { MOST_RUNS = 99 };
    int64_t ask[] = {256, 8192, 128, 0, 3};
    static const int64_t most[] = {1 << 16, 1 << 24, QK_MOST_DIM, 1024, MOST_RUNS};
    struct qk_err err;
    qk_blas_start(argv);
    for (int i = 1; i < argc; i++)
        if (i > 5 || qk_parse_int(argv[i], i == 4 ? 0 : 1, most[i - 1], &ask[i - 1], &err) != 0) {
            fprintf(stderr, "usage: gram [HEADS [ROWS [DIM [THREADS [RUNS]]]]]\n");
            return 2;
        }
    qk_threads_set((int)ask[3]);
    struct heads h = {.count = ask[0], .rows = ask[1], .d = (int)ask[2]};
    const size_t bytes = (size_t)(h.count * h.rows * h.d) * sizeof *h.x;
    h.x = qk_big_alloc(bytes);
    h.gram = qk_zalloc((size_t)(h.count * h.d * h.d), sizeof *h.gram);
    h.spectra = qk_zalloc((size_t)h.count, sizeof *h.spectra);
    fill(&h);
    take(&h, BOTH);
    double seconds[3][MOST_RUNS];
    for (int run = 0; run < ask[4]; run++)
        for (int part = 0; part < 3; part++)
            seconds[part][run] = take(&h, (enum part)part);
    const double both = qk_median(seconds[BOTH], (size_t)ask[4]);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "what", "measures of heads whose rows are in memory");
    qk_json_add_number(o, "heads", (double)h.count);
    qk_json_add_number(o, "rows", (double)h.rows);
    qk_json_add_number(o, "dim", h.d);
    qk_json_add_number(o, "threads", qk_threads());
    qk_json_add_number(o, "runs", (double)ask[4]);
    qk_json_add_number(o, "seconds", both);
    qk_json_add_number(o, "ms_per_head", both / (double)h.count * 1e3);
    qk_json_add_number(o, "gram_seconds", qk_median(seconds[SUMS], (size_t)ask[4]));
    qk_json_add_number(o, "spectra_seconds", qk_median(seconds[SPECTRA], (size_t)ask[4]));
    qk_json_add_number(o, "pr_of_first", h.spectra[0].pr);
    qk_json_print_line(o, stdout);
    cJSON_Delete(o);
    qk_big_free(h.x, bytes);
    free(h.gram);
    free(h.spectra);
    return fflush(stdout) != 0;
}
