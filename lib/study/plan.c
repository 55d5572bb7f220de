#include "study/plan.h"

#include <inttypes.h>

#include "base/num.h"
#include "model/optimizer.h"
#include "model/params.h"

enum { AUTO_ROWS = 2048 };

int64_t qk_micro_batch_auto(const struct qk_config *c)
{
    const int64_t all = c->batch_size * c->grad_accum;
    int64_t most = AUTO_ROWS / c->seq_len;
    most = most < 1 ? 1 : most > all ? all : most;
    const int64_t parts = (all + most - 1) / most;
    return (all + parts - 1) / parts;
}

/* Floats that forward and backward keep for M rows (model/transformer.c). */
static int64_t activation_floats(const struct qk_config *c, int64_t M, bool recompute)
{
    const int64_t D = c->d_model, hd = qk_head_dim(c), H = c->n_heads, G = c->n_kv_heads;
    const int64_t gates = c->ffn == QK_SWIGLU ? 3 : 1;
    const int64_t layer =
        3 * D + (H + 2 * G) * hd + (2 * H + G) * hd + 2 * H + G + 2 + gates * c->d_ff;
    const int64_t kept = recompute ? 1 : c->n_layers;
    const int64_t back = 2 * D + (H + 2 * G) * hd + (2 * H + G) * hd + gates * c->d_ff;
    return M * (kept * layer + (c->n_layers + 1) * D + back + D + 5);
}

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

struct qk_cost qk_cost_of(const struct qk_config *c, int64_t micro_batch, bool recompute)
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
        .weight_bytes = 4 * p.total,
        .gradient_bytes = 4 * p.trained,
        .state_bytes = 4 * qk_optimizer_state_size(&p),
        .activation_bytes = 4 * activation_floats(c, micro_batch * c->seq_len, recompute),
        .flops_per_token =
            6 * (double)multiplied + 6 * (double)c->n_layers * (double)c->d_model * T,
        .muon_flops_per_step = muon_flops(c, &p),
        .tokens_per_step = qk_tokens_per_step(c),
    };
    cost.weights_file = cost.weight_bytes;
    cost.full_file = cost.weight_bytes + cost.state_bytes;
    cost.bf16_file = cost.weight_bytes / 2;
    qk_params_free(&p);
    return cost;
}

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

void qk_plan_print(FILE *to, const struct qk_config *c, int64_t micro_batch, bool recompute,
                   int64_t steps, double rate, double tflops)
{
    const struct qk_cost cost = qk_cost_of(c, micro_batch, recompute);
    const double tokens = (double)steps * (double)cost.tokens_per_step;
    const double per_step =
        cost.flops_per_token * (double)cost.tokens_per_step + cost.muon_flops_per_step;
    print_count(to, "parameters", cost.parameters);
    print_count(to, "parameters_trained", cost.trained);
    print_bytes(to, "bytes_weights", cost.weight_bytes);
    print_bytes(to, "bytes_gradients", cost.gradient_bytes);
    print_bytes(to, "bytes_optimizer", cost.state_bytes);
    print_bytes(to, "bytes_activations", cost.activation_bytes);
    print_bytes(to, "bytes_together",
                cost.weight_bytes + cost.gradient_bytes + cost.state_bytes + cost.activation_bytes);
    print_count(to, "micro_batch", micro_batch);
    print_count(to, "tokens_per_step", cost.tokens_per_step);
    print_count(to, "steps", steps);
    print_count(to, "tokens", steps * cost.tokens_per_step);
    print_flops(to, "flops_per_token", cost.flops_per_token);
    print_flops(to, "flops_muon_per_step", cost.muon_flops_per_step);
    print_flops(to, "flops_per_step", per_step);
    print_flops(to, "flops_total", per_step * (double)steps);
    print_bytes(to, "file_checkpoint", cost.full_file);
    print_bytes(to, "file_weights_only", cost.weights_file);
    print_bytes(to, "file_weights_bf16", cost.bf16_file);
    if (rate > 0)
        print_hours(to, "hours", rate, "tokens/s", tokens / rate);
    if (tflops > 0)
        print_hours(to, "hours", tflops, "TFLOP/s", per_step * (double)steps / (tflops * 1e12));
}
