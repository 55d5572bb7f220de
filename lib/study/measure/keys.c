#include "study/measure/keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compute/device.h"
#include "model/stream.h"
#include "study/measure/gram.h"

const char *const qk_what_names[2] = {"q", "k"};

int64_t qk_keys_gains(const struct qk_config *c)
{
    return c->qk_norm == QK_NORM_NONE ? 0 : c->qk_norm == QK_NORM_SCALAR ? 1 : qk_head_dim(c);
}

int qk_keys_sites(const char *text, unsigned *sites, struct qk_err *err)
{
    struct qk_strings words = {0};
    int bad = 0;
    *sites = 0;
    qk_strings_split(&words, text, ',');
    for (size_t i = 0; !bad && i < words.count; i++) {
        int site = 0;
        while (site <= QK_SITES && strcmp(words.at[i], qk_site_names[site]) != 0)
            site++;
        if (site <= QK_SITES)
            *sites |= 1u << site;
        else if (strcmp(words.at[i], "all") == 0)
            *sites = QK_ALL_SITES;
        else
            bad =
                qk_fail(err, "'%.80s' is not a site: all, pre_norm, post_norm, post_rope or weight",
                        words.at[i]);
    }
    qk_strings_free(&words);
    return bad;
}

void qk_keys_free(struct qk_keys *k)
{
    for (int64_t l = 0; k->layers && l < k->config.n_layers; l++) {
        struct qk_keys_layer *layer = &k->layers[l];
        for (int what = 0; what < 2; what++) {
            for (int site = 0; site < QK_SITES; site++) {
                free(layer->gram[site][what]);
                free(layer->mean[site][what]);
                free(layer->rows[site][what]);
            }
            free(layer->gram[QK_SITE_WEIGHT][what]);
            free(layer->gain[what]);
        }
        free(layer->entropy);
        free(layer->max_logit);
    }
    free(k->layers);
    k->layers = NULL;
}

/* ---- sums ---- */

/* After the last row: whole Gram matrices, and sums become means. */
static void finish(double *gram, double *mean, int64_t heads, int hd, int64_t n)
{
    for (int64_t h = 0; h < heads; h++)
        qk_gram_mirror(gram + h * hd * hd, hd);
    for (int64_t i = 0; i < heads * hd; i++)
        mean[i] /= (double)n;
}

/* W W^T of each head's block [hd, D], whose columns are the rows that are summed. */
static void weight_grams(double *gram, const float *w, int64_t heads, int hd, int64_t D)
{
#pragma omp parallel
    {
        double *scratch = qk_alloc(qk_gram_room(hd), sizeof *scratch);
#pragma omp for schedule(dynamic)
        for (int64_t h = 0; h < heads; h++) {
            double *to = gram + h * hd * hd;
            qk_gram_add(to, NULL, w + h * hd * D, 1, D, D, hd, scratch);
            qk_gram_mirror(to, hd);
        }
        free(scratch);
    }
}

/* ---- gathering ---- */

static double *doubles(int64_t count)
{
    return qk_zalloc((size_t)count, sizeof(double));
}

static void allocate(struct qk_keys *k, const struct qk_config *c, const struct qk_keys_plan *plan)
{
    int64_t hd = qk_head_dim(c);
    for (int64_t l = 0; l < c->n_layers; l++) {
        struct qk_keys_layer *layer = &k->layers[l];
        for (int what = 0; what < 2; what++) {
            int64_t heads = qk_keys_heads(c, what);
            for (int site = 0; site <= QK_SITES; site++) {
                if (!(k->sites & 1u << site))
                    continue;
                layer->gram[site][what] = doubles(heads * hd * hd);
                if (site == QK_SITE_WEIGHT)
                    continue;
                layer->mean[site][what] = doubles(heads * hd);
                if (plan->full)
                    layer->rows[site][what] =
                        qk_zalloc((size_t)(heads * k->rows * hd), sizeof(float));
            }
            if (qk_keys_gains(c) > 0)
                layer->gain[what] = doubles(qk_keys_gains(c));
        }
        if (plan->tokens) {
            layer->entropy = doubles(c->n_heads);
            layer->max_logit = doubles(c->n_heads);
        }
    }
}

struct gathering {
    struct qk_keys *k;
    int64_t first;  /* sequence the view begins with */
    double seconds; /* spent in `see` */
};

/* One head's rows of the view. */
static void take(const struct gathering *g, const struct qk_tap_view *view, int site, int what,
                 int64_t head, double *scratch)
{
    struct qk_keys *k = g->k;
    struct qk_keys_layer *layer = &k->layers[view->layer];
    int hd = (int)qk_head_dim(&k->config);
    int64_t stride = qk_keys_heads(&k->config, what) * hd, skip = k->skip_first, n = view->T - skip;
    float *kept = layer->rows[site][what];
    for (int64_t b = 0; b < view->B; b++) {
        const float *rows = view->rows[site][what] + (b * view->T + skip) * stride + head * hd;
        qk_gram_add(layer->gram[site][what] + head * hd * hd, layer->mean[site][what] + head * hd,
                    rows, stride, 1, n, hd, scratch);
        for (int64_t r = 0; kept && r < n; r++)
            memcpy(kept + (head * k->rows + (g->first + b) * n + r) * hd, rows + r * stride,
                   (size_t)hd * sizeof *kept);
    }
}

static void see(void *self, const struct qk_tap_view *view)
{
    struct gathering *g = self;
    const double start = qk_now();
    const struct qk_config *c = &g->k->config;
    struct qk_keys_layer *layer = &g->k->layers[view->layer];
    int64_t H = c->n_heads, each = H + c->n_kv_heads, tasks = QK_SITES * each;
#pragma omp parallel
    {
        double *scratch = qk_alloc(qk_gram_room((int)qk_head_dim(c)), sizeof *scratch);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < tasks; i++) {
            int site = (int)(i / each), what = i % each < H ? QK_OF_Q : QK_OF_K;
            int64_t head = what == QK_OF_Q ? i % each : i % each - H;
            if (layer->gram[site][what])
                take(g, view, site, what, head, scratch);
        }
        free(scratch);
    }
    for (int64_t i = 0; i < view->B * H; i++) {
        layer->entropy[i % H] += (double)view->entropy[i];
        if (g->first + i / H == 0 || (double)view->max_logit[i] > layer->max_logit[i % H])
            layer->max_logit[i % H] = (double)view->max_logit[i];
    }
    g->seconds += qk_now() - start;
}

static void finish_batch(struct qk_keys *k, const struct qk_keys_plan *plan)
{
    const struct qk_config *c = &k->config;
    for (int64_t l = 0; l < c->n_layers; l++) {
        struct qk_keys_layer *layer = &k->layers[l];
        for (int i = 0; i < QK_SITES * 2; i++)
            if (layer->gram[i / 2][i % 2])
                finish(layer->gram[i / 2][i % 2], layer->mean[i / 2][i % 2],
                       qk_keys_heads(c, i % 2), (int)qk_head_dim(c), k->rows);
        for (int64_t h = 0; h < c->n_heads; h++)
            layer->entropy[h] /= (double)(plan->n_seq * plan->T);
    }
}

static struct qk_tap tap_of(struct gathering *g)
{
    return (struct qk_tap){g->k->sites & ~(1u << QK_SITE_WEIGHT), see, g};
}

/* Sequence by sequence through a model in memory. */
static int gather_batch(struct qk_keys *k, struct qk_model *m, const struct qk_keys_plan *plan,
                        struct qk_err *err)
{
    struct gathering g = {.k = k};
    const struct qk_tap tap = tap_of(&g);
    for (; g.first < plan->n_seq; g.first++) {
        if (qk_model_forward(m, plan->tokens + g.first * plan->T, NULL, 1, NULL, NULL, &tap, err))
            return -1;
        if (plan->progress)
            qk_progress_show(plan->progress, (g.first + 1) * plan->T, NULL);
    }
    finish_batch(k, plan);
    return 0;
}

/* The seconds since *from, which becomes now. */
static double lap(double *from)
{
    const double now = qk_now(), passed = now - *from;
    *from = now;
    return passed;
}

/* Layer by layer through a model in its file.  Every sum has its terms in the same order. */
static int gather_stream(struct qk_keys *k, struct qk_stream *s, const struct qk_keys_plan *plan,
                         struct qk_keys_times *times, struct qk_err *err)
{
    double clock = qk_now();
    struct gathering g = {.k = k};
    const struct qk_tap tap = tap_of(&g);
    const int L = (int)k->config.n_layers;
    for (int l = 0; l < L; l++) {
        if (qk_stream_load(s, l, err) != 0)
            return -1;
        times->read += lap(&clock);
        for (g.first = 0; g.first < plan->n_seq; g.first++) {
            if (qk_stream_run(s, g.first, &tap, err) != 0)
                return -1;
            if (plan->progress)
                qk_progress_show(plan->progress, (l * plan->n_seq + g.first + 1) * plan->T / L,
                                 NULL);
        }
        times->run += lap(&clock);
    }
    finish_batch(k, plan);
    times->sum += g.seconds + lap(&clock);
    times->run -= g.seconds;
    return 0;
}

/* ---- weights ---- */

/* Where weights come from: a model on a device, or a checkpoint's file. */
struct source {
    struct qk_device *device;
    struct qk_model *model;
    struct qk_checkpoint *checkpoint;
    const struct qk_params *params;
};

static float *fetch(const struct source *s, enum qk_tensor tensor, int layer, struct qk_err *err)
{
    const struct qk_param *param = qk_params_find(s->params, tensor, layer);
    float *w = qk_alloc((size_t)param->count, sizeof *w);
    if (s->checkpoint) {
        if (qk_checkpoint_weights(s->checkpoint, param, w, err) == 0)
            return w;
    } else {
        const struct qk_ops *ops = s->device->ops;
        ops->get(s->device, w, qk_at(qk_model_weights(s->model), param->offset), param->count);
        if (ops->sync(s->device, err) == 0)
            return w;
    }
    free(w);
    return NULL;
}

static int gather_weights(struct qk_keys *k, const struct source *s, struct qk_err *err)
{
    const struct qk_config *c = &k->config;
    for (int l = 0; l < (int)c->n_layers; l++) {
        struct qk_keys_layer *layer = &k->layers[l];
        for (int what = 0; what < 2; what++) {
            if (layer->gram[QK_SITE_WEIGHT][what]) {
                float *w = fetch(s, what == QK_OF_Q ? QK_WQ : QK_WK, l, err);
                if (!w)
                    return -1;
                weight_grams(layer->gram[QK_SITE_WEIGHT][what], w, qk_keys_heads(c, what),
                             (int)qk_head_dim(c), c->d_model);
                free(w);
            }
            if (layer->gain[what]) {
                float *w = fetch(s, what == QK_OF_Q ? QK_Q_NORM : QK_K_NORM, l, err);
                if (!w)
                    return -1;
                for (int64_t i = 0; i < qk_keys_gains(c); i++)
                    layer->gain[what][i] = (double)w[i];
                free(w);
            }
        }
    }
    return 0;
}

/* Room for what the plan asks for. */
static int begin(struct qk_keys *k, const struct qk_config *c, const struct qk_keys_plan *plan,
                 struct qk_err *err)
{
    *k = (struct qk_keys){.config = *c, .sites = plan->sites, .full = plan->full};
    if (plan->tokens) {
        if (plan->n_seq < 1 || plan->skip_first < 0 || plan->skip_first >= plan->T)
            return qk_fail(err,
                           "a probe batch of %lld sequences of %lld positions, less %lld, is empty",
                           (long long)plan->n_seq, (long long)plan->T, (long long)plan->skip_first);
        k->sequences = plan->n_seq;
        k->positions = plan->T;
        k->skip_first = plan->skip_first;
        k->rows = plan->n_seq * (plan->T - plan->skip_first);
    } else {
        k->sites &= 1u << QK_SITE_WEIGHT;
        k->full = false;
    }
    k->layers = qk_zalloc((size_t)c->n_layers, sizeof *k->layers);
    allocate(k, c, plan);
    return 0;
}

int qk_keys_gather(struct qk_keys *k, struct qk_device *d, struct qk_model *m,
                   const struct qk_config *c, const struct qk_keys_plan *plan, struct qk_err *err)
{
    if (begin(k, c, plan, err) != 0)
        return -1;
    struct source s = {.device = d, .model = m, .params = qk_model_params(m)};
    if (gather_weights(k, &s, err) == 0 && (!plan->tokens || gather_batch(k, m, plan, err) == 0))
        return 0;
    qk_keys_free(k);
    return -1;
}

int qk_keys_stream(struct qk_keys *k, struct qk_device *d, struct qk_checkpoint *c,
                   const struct qk_keys_plan *plan, struct qk_err *err)
{
    if (begin(k, &c->config, plan, err) != 0)
        return -1;
    struct qk_keys_times own = {0}, *times = plan->times ? plan->times : &own;
    double clock = qk_now();
    k->step = c->step;
    k->tokens_seen = c->tokens_seen;
    int bad = gather_weights(k, &(struct source){.checkpoint = c, .params = &c->params}, err);
    if (!bad && plan->tokens) {
        struct qk_stream *s = qk_stream_open(d, c, plan->tokens, plan->n_seq, plan->T, err);
        times->read += lap(&clock);
        bad = !s || gather_stream(k, s, plan, times, err) != 0;
        qk_stream_close(s);
    } else {
        times->read += lap(&clock);
    }
    if (!bad)
        return 0;
    qk_keys_free(k);
    return -1;
}

/* ---- fewer positions ---- */

static void sum_anew(struct qk_keys *k, struct qk_keys_layer *layer, int site, int what,
                     int64_t drop)
{
    int hd = (int)qk_head_dim(&k->config);
    int64_t heads = qk_keys_heads(&k->config, what), had = k->rows / k->sequences, has = had - drop;
    float *rows = layer->rows[site][what];
    if (!layer->mean[site][what]) /* a dump may have none */
        layer->mean[site][what] = qk_alloc((size_t)(heads * hd), sizeof(double));
    memset(layer->gram[site][what], 0, (size_t)(heads * hd * hd) * sizeof(double));
    memset(layer->mean[site][what], 0, (size_t)(heads * hd) * sizeof(double));
#pragma omp parallel for schedule(dynamic)
    for (int64_t h = 0; h < heads; h++) {
        double *scratch = qk_alloc(qk_gram_room(hd), sizeof *scratch);
        for (int64_t s = 0; s < k->sequences; s++)
            qk_gram_add(layer->gram[site][what] + h * hd * hd, layer->mean[site][what] + h * hd,
                        rows + (h * k->rows + s * had + drop) * hd, hd, 1, has, hd, scratch);
        free(scratch);
    }
    for (int64_t s = 0; s < heads * k->sequences; s++) /* close the gaps */
        memmove(rows + s * has * hd, rows + (s * had + drop) * hd,
                (size_t)(has * hd) * sizeof *rows);
    finish(layer->gram[site][what], layer->mean[site][what], heads, hd, k->sequences * has);
}

/* Rows of every activation site that has a Gram matrix: else that one would keep its positions. */
static int check_rows(const struct qk_keys *k, struct qk_err *err)
{
    for (int64_t l = 0; l < k->config.n_layers; l++)
        for (int i = 0; i < QK_SITES * 2; i++)
            if (k->layers[l].gram[i / 2][i % 2] && !k->layers[l].rows[i / 2][i % 2])
                return qk_fail(err, "holds no rows of %s at %s in layer %lld to skip",
                               qk_what_names[i % 2], qk_site_names[i / 2], (long long)l);
    return 0;
}

int qk_keys_skip(struct qk_keys *k, int64_t skip_first, struct qk_err *err)
{
    if (skip_first == k->skip_first)
        return 0;
    if (!k->full)
        return qk_fail(err, "the dump was made without --full: no rows are there to skip");
    if (skip_first < k->skip_first)
        return qk_fail(err,
                       "the dump has left out the first %lld positions of each sequence already",
                       (long long)k->skip_first);
    if (k->positions == 0)
        return qk_fail(err, "the dump does not say how its rows are cut into sequences (attributes "
                            "sequences and positions), so none can be skipped");
    if (skip_first >= k->positions)
        return qk_fail(err, "sequences have only %lld positions, so none is left after %lld",
                       (long long)k->positions, (long long)skip_first);
    if (check_rows(k, err) != 0)
        return -1;
    for (int64_t l = 0; l < k->config.n_layers; l++)
        for (int i = 0; i < QK_SITES * 2; i++)
            if (k->layers[l].gram[i / 2][i % 2])
                sum_anew(k, &k->layers[l], i / 2, i % 2, skip_first - k->skip_first);
    k->rows = k->sequences * (k->positions - skip_first);
    k->skip_first = skip_first;
    return 0;
}
