/* Title and headline of the verdict: never more than the tests bear out. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"
#include "study/judge/verdict.h"

bool qk_verdict_open(const struct qk_verdict *v, int which)
{
    return v->n_seeds >= 2 && v->contrast[which].pr.equivalence == QK_EQ_INCONCLUSIVE;
}

/* A title that speaks of a contrast needs that contrast settled.  Of A-C the patterns that say
 * that the gain or the normalisation acts, or both, say nothing of their own. */
bool qk_verdict_settled(const struct qk_verdict *v)
{
    const bool needs_ac = v->pattern == QK_PATTERN_FROZEN_APART || v->pattern == QK_PATTERN_NONE ||
                          v->pattern == QK_PATTERN_INTRANSITIVE;
    return v->n_seeds >= 2 && !qk_verdict_open(v, QK_AB) && !qk_verdict_open(v, QK_BC) &&
           !(needs_ac && qk_verdict_open(v, QK_AC));
}

/* " (one seed, 1.2 M parameters)", or what of it is to be said. */
static char *scale_of(const struct qk_verdict *v)
{
    const double n = (double)qk_results_parameters(v->at[0].condition->mean.json);
    char size[48] = "", digits[32];
    if (n >= 1e9)
        snprintf(size, sizeof size, "%.2f B parameters", n / 1e9);
    else if (n >= 1e5)
        snprintf(size, sizeof size, "%.1f M parameters", n / 1e6);
    else if (n > 0)
        snprintf(size, sizeof size, "%s parameters", qk_group_digits((int64_t)n, digits));
    const char *seed = v->n_seeds == 1 ? "one seed" : "";
    if (!*seed && !*size)
        return qk_strdup("");
    return qk_format(" (%s%s%s)", seed, *seed && *size ? ", " : "", size);
}

static char *words_of(const struct qk_verdict *v)
{
    static const char *const titles[] = {
        "The learned gain of QK-Norm changes mean key rank, the normalisation does not",
        "The normalisation changes mean key rank, its learned gain does not",
        "Freezing the gain of QK-Norm changes mean key rank, learning it does not",
        "Learned gain and normalisation both change mean key rank",
        "Neither QK-Norm's gain nor the normalisation moves mean key rank by 1 PR",
        "Mean key rank differs between conditions, but in no clear pattern"};
    if (qk_verdict_open(v, QK_AB))
        return qk_format(
            "Inconclusive: %d seeds do not settle whether the learned gain changes mean key rank",
            v->n_seeds);
    if (v->n_seeds >= 2 && !qk_verdict_settled(v))
        return qk_format("The learned gain of QK-Norm %s; %d seeds do not settle the rest",
                         v->contrast[QK_AB].pr.equivalence == QK_EQ_EFFECT
                             ? "changes mean key rank"
                             : "does not move mean key rank by 1 PR",
                         v->n_seeds);
    return qk_strdup(titles[v->pattern]);
}

char *qk_verdict_title(const struct qk_verdict *v)
{
    char *words = words_of(v), *scale = scale_of(v), *title = qk_format("%s%s", words, scale);
    free(words);
    free(scale);
    return title;
}

static char *headline(const struct qk_verdict *v)
{
    const struct qk_paired *s = &v->contrast[QK_AB].pr;
    if (qk_verdict_open(v, QK_AB))
        return qk_format(
            "With %d seeds the 90 %% interval of A−B, [%.2f, %.2f] PR, straddles the "
            "margin of ±%.1f: whether the learned gain changes mean key rank is inconclusive.",
            s->n, s->low90, s->high90, v->tolerance);
    if (v->n_seeds < 2 || qk_verdict_settled(v))
        return NULL;
    struct qk_buffer text = {0};
    qk_buffer_format(&text, "With %d seeds, by 90 %% intervals of mean key PR against ±%.1f,",
                     v->n_seeds, v->tolerance);
    for (int i = 0; i < QK_CONTRASTS; i++) {
        const struct qk_contrast *k = &v->contrast[i];
        qk_buffer_format(&text, "%s %c−%c is %s [%.2f, %.2f]", i > 0 ? "," : "", k->plus, k->minus,
                         k->pr.equivalence == QK_EQ_NULL     ? "null"
                         : k->pr.equivalence == QK_EQ_EFFECT ? "an effect"
                                                             : "inconclusive",
                         k->pr.low90, k->pr.high90);
    }
    qk_buffer_text(&text, ".");
    return text.at;
}

char *qk_verdict_headline(const struct qk_verdict *v)
{
    char *plain = headline(v), *text = plain != NULL ? qk_minus_signs(plain) : NULL;
    free(plain);
    return text;
}
