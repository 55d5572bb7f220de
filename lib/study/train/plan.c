#include "study/train/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "compute/device.h"
#include "model/optimizer.h"
#include "model/transformer.h"

enum { AUTO_ROWS = 2048, CARD_ROWS = 32768 };

/* Assumed, not measured: the best bf16 product published for H100 and H200 (stas00,
 * ml-engineering, MAMF), and nine tenths of the H200's data sheet's 4.8 TB/s. */
static const struct qk_ceilings ASSUMED = {794, 4300};

/* Of the effective batch: fewest equal parts of `most` sequences or less. */
static int64_t part_of(const struct qk_config *c, int64_t most)
{
    const int64_t all = c->batch_size * c->grad_accum;
    most = most < 1 ? 1 : most > all ? all : most;
    const int64_t parts = (all + most - 1) / most;
    return (all + parts - 1) / parts;
}

int64_t qk_micro_batch_auto(const struct qk_config *c)
{
    return part_of(c, AUTO_ROWS / c->seq_len);
}

int64_t qk_micro_batch_most(const struct qk_config *c)
{
    return part_of(c, CARD_ROWS / c->seq_len);
}

/* ---- FLOPs and files ---- */

/* Orthogonalising an n x m matrix, n <= m: five steps of X X^T, A A and B X. */
static double orthogonalize_flops(double rows, double cols)
{
    const double n = rows < cols ? rows : cols, m = rows < cols ? cols : rows;
    return 5 * (2 * n * n * m + 2 * n * n * n + 2 * n * n * m);
}

static double muon_flops(const struct qk_config *c, const struct qk_params *p)
{
    const double hd = (double)qk_head_dim(c);
    double sum = 0;
    for (int i = 0; i < p->count; i++) {
        const struct qk_param *a = &p->at[i];
        if (a->group != QK_GROUP_MUON)
            continue;
        const bool per_head = a->tensor == QK_WQ || a->tensor == QK_WK || a->tensor == QK_WV;
        const double rows = (double)a->dims[0], cols = (double)a->dims[1];
        if ((per_head || a->tensor == QK_WO) && c->muon_qkvo == QK_QKVO_MERGED)
            sum += a->tensor != QK_WQ
                       ? 0
                       : orthogonalize_flops(2 * (double)(c->n_heads + c->n_kv_heads) * hd, cols);
        else if (per_head && c->muon_qkvo == QK_QKVO_HEAD)
            sum += rows / hd * orthogonalize_flops(hd, cols);
        else
            sum += orthogonalize_flops(rows, cols);
    }
    return sum;
}

struct qk_cost qk_cost_of(const struct qk_config *c)
{
    struct qk_params p;
    qk_params_layout(&p, c);
    int64_t multiplied = c->tie_embeddings ? 0 : -c->vocab_size * c->d_model;
    for (int i = 0; i < p.count; i++)
        multiplied += p.at[i].rank == 2 ? p.at[i].count : 0; /* a tied embedding is the head */
    const double T = (double)c->seq_len;
    struct qk_cost cost = {
        .parameters = p.total,
        .trained = p.trained,
        .full_file = 4 * (p.total + qk_optimizer_state_size(&p)),
        .weights_file = 4 * p.total,
        .bf16_file = 2 * p.total,
        .flops_per_token =
            6 * (double)multiplied + 6 * (double)c->n_layers * (double)c->d_model * T,
        .muon_flops_per_step = muon_flops(c, &p),
        .tokens_per_step = qk_tokens_per_step(c),
    };
    qk_params_free(&p);
    return cost;
}

/* ---- memory ---- */

/* So many sequences in parts, as training does, and a step of the optimiser; or one forward pass.
 */
static int train_once(struct qk_device *d, const struct qk_config *c, struct qk_model *m,
                      const int32_t *tokens, float *nll, int64_t part, int64_t sequences,
                      struct qk_err *err)
{
    struct qk_optimizer *o = qk_optimizer_create(d, qk_model_params(m), c, err);
    double norm;
    int bad = !o;
    qk_counter_start(d);
    for (int64_t s = 0; !bad && s < sequences; s += part)
        bad = qk_model_train(m, tokens, tokens, sequences - s < part ? sequences - s : part, 1, nll,
                             err) != 0;
    if (!bad)
        bad = qk_optimizer_step(o, qk_model_weights(m), qk_model_gradients(m), 1, &norm, err) != 0;
    qk_optimizer_free(o);
    return bad ? -1 : 0;
}

static int run_once(struct qk_device *d, const struct qk_config *c, const struct qk_run *run,
                    int64_t sequences, struct qk_err *err)
{
    const int64_t part = run->micro_batch, rows = part * c->seq_len;
    struct qk_model *m = qk_model_create(d, c, part, c->seq_len, run->train, run->recompute, err);
    if (!m)
        return -1;
    int32_t *tokens = qk_zalloc((size_t)rows, sizeof *tokens);
    float *nll = qk_alloc((size_t)rows, sizeof *nll);
    const int bad = run->train ? train_once(d, c, m, tokens, nll, part, sequences, err)
                               : qk_model_forward(m, tokens, tokens, part, nll, NULL, NULL, err);
    free(tokens);
    free(nll);
    qk_model_free(m);
    return bad;
}

static void sum_up(struct qk_memory *to, const struct qk_counts *n, bool cuda)
{
    const int64_t statistics = n->role[QK_ROLE_EXACT] + n->role[QK_ROLE_TOKENS];
    *to = (struct qk_memory){
        .weights = n->role[QK_ROLE_PARAMETER] - n->copies,
        .copies = n->copies,
        .gradients = n->role[QK_ROLE_GRADIENT],
        .state = n->role[QK_ROLE_STATE],
        .activations = n->role[QK_ROLE_ACTIVATION] + (cuda ? 0 : statistics),
        .statistics = cuda ? statistics : 0,
        .scratch = n->scratch,
        .context = n->context + n->later + n->lost,
        .opened = n->context,
    };
    to->together = to->weights + to->copies + to->gradients + to->state + to->activations +
                   to->statistics + to->scratch + to->context;
    to->host_copy = cuda ? to->weights + to->state : 0;
}

int qk_memory_of(struct qk_memory *to, const struct qk_config *c, const struct qk_run *run,
                 struct qk_err *err)
{
    struct qk_device *d = qk_counter_open(run->device, run->memory);
    const int bad = run_once(d, c, run, run->micro_batch, err); /* what a part takes, all take */
    const struct qk_counts counts = qk_counter_counts(d);
    sum_up(to, &counts, run->device == QK_COUNTED_CUDA);
    qk_counter_close(d);
    return bad;
}

int qk_floor_of(struct qk_floor *to, const struct qk_config *c, const struct qk_run *run,
                struct qk_err *err)
{
    struct qk_device *d = qk_counter_open(run->device, run->memory);
    const int bad = run_once(d, c, run, c->batch_size * c->grad_accum, err);
    const struct qk_counts counts = qk_counter_counts(d);
    memcpy(to->flops, d->flops, sizeof to->flops);
    memcpy(to->bytes, d->bytes, sizeof to->bytes);
    memcpy(to->moved, counts.moved, sizeof to->moved);
    qk_counter_close(d);
    return bad;
}

int qk_excess_of(int64_t *bytes, const struct qk_config *c, const struct qk_card *card,
                 int64_t micro_batch, bool train, bool recompute, struct qk_err *err)
{
    const struct qk_run run = {QK_COUNTED_CUDA, card->memory, micro_batch, train, recompute};
    struct qk_memory need;
    if (qk_memory_of(&need, c, &run, err) != 0)
        return -1;
    *bytes = need.together - (card->open ? need.opened : 0) - card->room;
    return 0;
}

int qk_fit_of(struct qk_fit *fit, const struct qk_config *c, const struct qk_card *card, bool train,
              bool recompute, struct qk_err *err)
{
    int64_t least = 0, most = qk_micro_batch_most(c), excess; /* `least` fits */
    *fit = (struct qk_fit){0};
    while (least < most) {
        const int64_t middle = least ? least + (most - least + 1) / 2 : 1; /* one by itself first */
        const int64_t part = part_of(c, middle);
        if (qk_excess_of(&excess, c, card, part, train, recompute, err) != 0)
            return -1;
        if (excess <= 0) {
            least = middle;
            fit->micro_batch = part;
        } else if (middle == 1) {
            fit->missing = excess;
            return 0;
        } else {
            most = middle - 1;
        }
    }
    return 0;
}

/* ---- for people ---- */

static void print_count(FILE *to, const char *name, int64_t value)
{
    char text[32];
    fprintf(to, "%-28s %22" PRId64 "   %s\n", name, value, qk_group_digits(value, text));
}

static void print_bytes(FILE *to, const char *name, int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    fprintf(to, "%-28s %22" PRId64 "   %.4g %s\n", name, bytes, value, units[unit]);
}

static void print_flops(FILE *to, const char *name, double flops)
{
    static const char *const units[] = {"", "K", "M", "G", "T", "P", "E", "Z"};
    double value = flops;
    int unit = 0;
    for (; value >= 1000 && unit < 7; unit++)
        value /= 1000;
    fprintf(to, "%-28s %22.0f   %.4g %sFLOP\n", name, flops, value, units[unit]);
}

static void print_hours(FILE *to, const char *how, double given, const char *unit, double seconds)
{
    fprintf(to, "%-28s %22.4f   at %g %s\n", how, seconds / 3600, given, unit);
}

static void print_memory(FILE *to, const struct qk_memory *m, bool cuda)
{
    print_bytes(to, "bytes_weights", m->weights);
    if (m->copies)
        print_bytes(to, "bytes_weights_bf16", m->copies);
    print_bytes(to, "bytes_gradients", m->gradients);
    print_bytes(to, "bytes_optimizer", m->state);
    print_bytes(to, "bytes_activations", m->activations);
    if (cuda) {
        print_bytes(to, "bytes_statistics", m->statistics);
        print_bytes(to, "bytes_scratch", m->scratch);
        print_bytes(to, "bytes_context", m->context);
    }
    print_bytes(to, "bytes_together", m->together);
    if (cuda)
        print_bytes(to, "bytes_host_copy", m->host_copy);
}

/* "16 at once" or what is missing. */
static void fit_text(const struct qk_fit *fit, char *text, size_t size)
{
    if (fit->micro_batch)
        snprintf(text, size, "%" PRId64 " at once", fit->micro_batch);
    else
        snprintf(text, size, "%.1f GB missing", (double)fit->missing / 1e9);
}

/* GB are 10^9 bytes, which a card sold by that name has at least. */
static int print_cards(FILE *to, const struct qk_config *c, struct qk_err *err)
{
    static const int64_t cards[] = {80, 48, 40, 24};
    for (int i = 0; i < 4; i++) {
        const int64_t bytes = cards[i] * 1000000000;
        const struct qk_card card = {bytes, bytes, false};
        struct qk_fit fit[2];
        char name[32], text[2][64];
        for (int recompute = 0; recompute < 2; recompute++) {
            if (qk_fit_of(&fit[recompute], c, &card, true, recompute, err) != 0)
                return -1;
            fit_text(&fit[recompute], text[recompute], sizeof text[recompute]);
        }
        snprintf(name, sizeof name, "card_%" PRId64 "GB", cards[i]);
        fprintf(to, "%-28s %22" PRId64 "   %s; with --recompute %s\n", name, fit[0].micro_batch,
                text[0], text[1]);
    }
    return 0;
}

static void print_work(FILE *to, const struct qk_cost *cost, int64_t micro_batch, int64_t steps,
                       double per_step)
{
    print_count(to, "micro_batch", micro_batch);
    print_count(to, "tokens_per_step", cost->tokens_per_step);
    print_count(to, "steps", steps);
    print_count(to, "tokens", steps * cost->tokens_per_step);
    print_flops(to, "flops_per_token", cost->flops_per_token);
    print_flops(to, "flops_muon_per_step", cost->muon_flops_per_step);
    print_flops(to, "flops_per_step", per_step);
    print_flops(to, "flops_total", per_step * (double)steps);
    print_bytes(to, "file_checkpoint", cost->full_file);
    print_bytes(to, "file_weights_only", cost->weights_file);
    print_bytes(to, "file_weights_bf16", cost->bf16_file);
}

static double milliseconds(double amount, double per_second)
{
    return 1e3 * amount / per_second;
}

/* A line per class: the time of its operations or of its bytes, whichever is longer. */
static void print_floor(FILE *to, const struct qk_floor *floor, const struct qk_ceilings *at,
                        const struct qk_cost *cost)
{
    static const char *const kinds[QK_ROLES] = {
        [QK_ROLE_PARAMETER] = "weights", [QK_ROLE_GRADIENT] = "gradients",
        [QK_ROLE_STATE] = "optimizer",   [QK_ROLE_ACTIVATION] = "activations",
        [QK_ROLE_EXACT] = "statistics",  [QK_ROLE_TOKENS] = "tokens"};
    double step = 0;
    char name[32];
    for (int i = 0; i < QK_ROLES; i++) {
        snprintf(name, sizeof name, "moved_%s", kinds[i]);
        fprintf(to, "%-28s %22.0f   %.4g GB\n", name, floor->moved[i], 1e-9 * floor->moved[i]);
    }
    for (int i = 0; i < QK_CLASSES; i++) {
        const double a = milliseconds(floor->flops[i], 1e12 * at->tflops),
                     b = milliseconds(floor->bytes[i], 1e9 * at->gbs);
        snprintf(name, sizeof name, "floor_%s", qk_class_names[i]);
        fprintf(to, "%-28s %22.3f   ms: %.6g GFLOP in %.4g, %.6g GB in %.4g\n", name, a > b ? a : b,
                1e-9 * floor->flops[i], a, 1e-9 * floor->bytes[i], b);
        step += a > b ? a : b;
    }
    const double rate = 1e3 * (double)cost->tokens_per_step / step;
    fprintf(to, "%-28s %22.3f   ms: %.4g tokens/s, %.4g TFLOP/s\n", "floor_step", step, rate,
            1e-12 * rate * cost->flops_per_token);
}

static int plan_floor(FILE *to, const struct qk_config *c, const struct qk_run *run,
                      const struct qk_plan *plan, const struct qk_cost *cost, struct qk_err *err)
{
    const bool given = plan->ceilings.tflops > 0;
    if (!given && (plan->device != QK_COUNTED_CUDA || c->dtype != QK_DTYPE_BF16))
        return 0;
    const struct qk_ceilings *at = given ? &plan->ceilings : &ASSUMED;
    const char *whose = given ? "--ceilings" : "assumed, of an H200: --ceilings gives others";
    struct qk_floor floor;
    if (qk_floor_of(&floor, c, run, err) != 0)
        return -1;
    fprintf(to, "%-28s %22g   TFLOP/s, products (%s)\n", "ceiling_products", at->tflops, whose);
    fprintf(to, "%-28s %22g   GB/s, read and written (%s)\n", "ceiling_copy", at->gbs, whose);
    print_floor(to, &floor, at, cost);
    return 0;
}

int qk_plan_print(FILE *to, const struct qk_config *c, const struct qk_plan *plan,
                  struct qk_err *err)
{
    const bool cuda = plan->device == QK_COUNTED_CUDA;
    const struct qk_cost cost = qk_cost_of(c);
    const struct qk_run run = {.device = plan->device,
                               .micro_batch = plan->micro_batch ? plan->micro_batch
                                              : cuda            ? qk_micro_batch_most(c)
                                                                : qk_micro_batch_auto(c),
                               .train = true,
                               .recompute = plan->recompute};
    const double tokens = (double)plan->steps * (double)cost.tokens_per_step;
    const double per_step =
        cost.flops_per_token * (double)cost.tokens_per_step + cost.muon_flops_per_step;
    struct qk_memory memory;
    if (qk_memory_of(&memory, c, &run, err) != 0)
        return -1;
    print_count(to, "parameters", cost.parameters);
    print_count(to, "parameters_trained", cost.trained);
    print_memory(to, &memory, cuda);
    print_work(to, &cost, run.micro_batch, plan->steps, per_step);
    if (plan->rate > 0)
        print_hours(to, "hours", plan->rate, "tokens/s", tokens / plan->rate);
    if (plan->tflops > 0)
        print_hours(to, "hours", plan->tflops, "TFLOP/s",
                    per_step * (double)plan->steps / (plan->tflops * 1e12));
    if (plan_floor(to, c, &run, plan, &cost, err) != 0)
        return -1;
    return cuda ? print_cards(to, c, err) : 0;
}
