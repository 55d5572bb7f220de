#include "study/eval/eval.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

static int print_item(FILE *to, int64_t window, int64_t tokens, double loss)
{
    cJSON *item = cJSON_CreateObject();
    qk_json_add_number(item, "window", (double)window);
    qk_json_add_number(item, "tokens", (double)tokens);
    qk_json_add_number(item, "loss", loss);
    qk_json_print_line(item, to);
    cJSON_Delete(item);
    return ferror(to);
}

/* Mean losses of windows first .. first+count-1 into each[]. */
static int score(double *each, struct qk_model *m, const struct qk_loss_plan *plan, int64_t first,
                 int64_t count, int32_t *tokens, float *nll, struct qk_err *err)
{
    int64_t T = plan->T;
    int32_t *targets = tokens + plan->micro_batch * T;
    for (int64_t b = 0; b < count; b++)
        qk_split_window(plan->split, T, first + b, tokens + b * T, targets + b * T);
    if (qk_model_forward(m, tokens, targets, count, nll, NULL, NULL, err) != 0)
        return -1;
    for (int64_t b = 0; b < count; b++) {
        double sum = 0;
        for (int64_t t = 0; t < T; t++)
            sum += (double)nll[b * T + t];
        each[first + b] = sum / (double)T;
        if (!isfinite(sum))
            return qk_fail(err, "the loss of window %lld is not finite", (long long)(first + b));
    }
    return 0;
}

static void summarise(struct qk_loss *loss, const double *each)
{
    double sum = 0, squares = 0, n = (double)loss->windows;
    for (int64_t i = 0; i < loss->windows; i++)
        sum += each[i];
    loss->mean = sum / n;
    for (int64_t i = 0; i < loss->windows; i++)
        squares += (each[i] - loss->mean) * (each[i] - loss->mean);
    loss->error = loss->windows > 1 ? sqrt(squares / (n - 1) / n) : NAN;
}

int qk_eval_loss(struct qk_loss *loss, struct qk_model *m, const struct qk_loss_plan *plan,
                 struct qk_err *err)
{
    int64_t T = plan->T, windows = qk_split_windows(plan->split, T), B = plan->micro_batch;
    if (windows < 1)
        return qk_fail(err,
                       "split %s has %lld tokens, too few for one window of %lld and its targets",
                       plan->split->name, (long long)plan->split->count, (long long)T);
    if (plan->max_tokens > 0 && plan->max_tokens / T < windows)
        windows = plan->max_tokens / T > 0 ? plan->max_tokens / T : 1;
    *loss = (struct qk_loss){.windows = windows, .tokens = windows * T};
    double *each = qk_alloc((size_t)windows, sizeof *each);
    int32_t *tokens = qk_alloc((size_t)(2 * B * T), sizeof *tokens);
    float *nll = qk_alloc((size_t)(B * T), sizeof *nll);
    int bad = 0;
    for (int64_t first = 0; !bad && first < windows; first += B) {
        int64_t count = windows - first < B ? windows - first : B;
        bad = score(each, m, plan, first, count, tokens, nll, err);
        for (int64_t b = 0; !bad && plan->items && b < count; b++)
            if (print_item(plan->items, first + b, T, each[first + b]))
                bad = qk_fail_errno(err, "cannot write the items");
        if (!bad && plan->progress)
            qk_progress_show(plan->progress, (first + count) * T, NULL);
    }
    if (!bad)
        summarise(loss, each);
    free(each);
    free(tokens);
    free(nll);
    return bad;
}
