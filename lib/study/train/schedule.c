#include "study/train/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

static const double PI = 3.14159265358979323846;

double qk_lr_factor(const struct qk_config *c, int64_t step)
{
    const int64_t w = c->warmup_tokens / qk_tokens_per_step(c);
    const int64_t n = c->train_tokens / qk_tokens_per_step(c);
    if (step < w)
        return (double)(step + 1) / (double)w;
    const double span = n - w > 1 ? (double)(n - w) : 1;
    const double p = fmin(1, fmax(0, (double)(step - w) / span));
    switch (c->lr_schedule) {
    case QK_LR_COSINE:
        return 0.1 + 0.45 * (1 + cos(PI * p));
    case QK_LR_LINEAR:
        return fmax(0.1, 1 - p);
    case QK_LR_WSD:
        return p <= 0.8 ? 1 : 1 - 0.9 * (p - 0.8) / 0.2;
    default:
        return 1;
    }
}

static int parse_list(struct qk_points *p, const char *text, struct qk_err *err)
{
    struct qk_strings words = {0};
    qk_strings_split(&words, text, ',');
    p->at = qk_alloc(words.count, sizeof *p->at);
    int bad = 0;
    for (size_t i = 0; !bad && i < words.count; i++) {
        bad = qk_parse_count(words.at[i], &p->at[i], err);
        p->count++;
    }
    qk_strings_free(&words);
    return bad;
}

int qk_points_parse(struct qk_points *p, const char *text, struct qk_err *err)
{
    *p = (struct qk_points){0};
    if (strncmp(text, "every:", 6) == 0) {
        if (qk_parse_count(text + 6, &p->every, err) != 0)
            return -1;
        return p->every > 0 ? 0 : qk_fail(err, "every:0 is no distance between points");
    }
    if (parse_list(p, text, err) == 0)
        return 0;
    qk_points_free(p);
    return -1;
}

void qk_points_free(struct qk_points *p)
{
    free(p->at);
    *p = (struct qk_points){0};
}

bool qk_points_at_zero(const struct qk_points *p)
{
    for (int i = 0; i < p->count; i++)
        if (p->at[i] == 0)
            return true;
    return p->every > 0;
}

bool qk_points_hit(const struct qk_points *p, int64_t before, int64_t after, bool last)
{
    if (p->every)
        return last || after / p->every > before / p->every;
    for (int i = 0; i < p->count; i++)
        if (p->at[i] > before && p->at[i] <= after)
            return true;
    return false;
}

int64_t qk_points_count(const struct qk_points *p, int64_t from, int64_t each, int64_t steps)
{
    const int64_t to = from + steps * each, start = from == 0 && qk_points_at_zero(p);
    int64_t count = 0;
    if (p->every && steps)
        count = to / p->every - from / p->every + 1;
    for (int i = 0; !p->every && i < p->count; i++)
        count += p->at[i] > from && p->at[i] <= to;
    return start + (count < steps ? count : steps);
}
