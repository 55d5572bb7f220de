#include "study/report/experiment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "model/config.h"
#include "study/judge/judge.h"

/* The text of one setting of one condition; malloc'd. */
typedef char *(*setting)(const struct qk_condition *c, const struct qk_config *config);

static const cJSON *raw(const struct qk_condition *c, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(c->mean.json, "config"), key);
}

static char *number_text(const struct qk_condition *c, const char *key)
{
    const cJSON *item = raw(c, key);
    return cJSON_IsNumber(item)   ? qk_format("%.10g", item->valuedouble)
           : cJSON_IsString(item) ? qk_strdup(item->valuestring)
           : cJSON_IsBool(item)   ? qk_strdup(cJSON_IsTrue(item) ? "yes" : "no")
                                  : qk_strdup("-");
}

static char *model(const struct qk_condition *c, const struct qk_config *config)
{
    char *ffn = number_text(c, "ffn");
    (void)config;
    char *text = qk_format("decoder-only transformer, pre-norm RMSNorm, RoPE, %s feed-forward, %s "
                           "embeddings",
                           ffn, cJSON_IsTrue(raw(c, "tie_embeddings")) ? "tied" : "untied");
    free(ffn);
    return text;
}

static char *parameters(const struct qk_condition *c, const struct qk_config *config)
{
    char text[32];
    (void)config;
    return qk_strdup(qk_group_digits(qk_results_parameters(&c->mean), text));
}

static char *width(const struct qk_condition *c, const struct qk_config *config)
{
    char *d = number_text(c, "d_model"), *f = number_text(c, "d_ff");
    (void)config;
    char *text = qk_format("%s, feed-forward %s", d, f);
    free(d);
    free(f);
    return text;
}

static char *layers(const struct qk_condition *c, const struct qk_config *config)
{
    (void)config;
    return number_text(c, "n_layers");
}

static char *heads(const struct qk_condition *c, const struct qk_config *config)
{
    char *q = number_text(c, "n_heads"), *k = number_text(c, "n_kv_heads");
    (void)config;
    char *text = qk_format("%s query, %s key/value", q, k);
    free(q);
    free(k);
    return text;
}

static char *head_dim(const struct qk_condition *c, const struct qk_config *config)
{
    (void)c;
    return qk_format("%lld", (long long)qk_head_dim(config));
}

static char *vocabulary(const struct qk_condition *c, const struct qk_config *config)
{
    (void)config;
    return number_text(c, "vocab_size");
}

static char *context(const struct qk_condition *c, const struct qk_config *config)
{
    (void)config;
    return number_text(c, "seq_len");
}

static char *norm_type(const struct qk_condition *c, const struct qk_config *config)
{
    static const char *const words[][2] = {
        {"learned", "RMSNorm per head, one learned gain vector per layer for queries and for keys"},
        {"frozen", "RMSNorm per head, gain frozen at 1"},
        {"scalar", "RMSNorm per head, one learned number per layer for queries and for keys"},
        {"none", "none"}};
    const cJSON *norm = raw(c, "qk_norm");
    (void)config;
    return qk_strdup(qk_words_for(words, 4, cJSON_IsString(norm) ? norm->valuestring : NULL, "-"));
}

static char *placement(const struct qk_condition *c, const struct qk_config *config)
{
    const cJSON *norm = raw(c, "qk_norm");
    (void)config;
    return qk_strdup(cJSON_IsString(norm) && strcmp(norm->valuestring, "none") == 0
                         ? "-"
                         : "after the projection, per head, before the rotary embedding");
}

static char *optimizer(const struct qk_condition *c, const struct qk_config *config)
{
    (void)config;
    return number_text(c, "optimizer");
}

static char *rates(const struct qk_condition *c, const struct qk_config *config)
{
    char *muon = number_text(c, "muon_lr"), *adamw = number_text(c, "adamw_lr");
    (void)config;
    char *text = strcmp(muon, "-") == 0 ? qk_format("AdamW %s", adamw)
                                        : qk_format("Muon %s, AdamW %s", muon, adamw);
    free(muon);
    free(adamw);
    return text;
}

static char *decay(const struct qk_condition *c, const struct qk_config *config)
{
    char *all = number_text(c, "weight_decay"), *gain = number_text(c, "qk_gain_weight_decay");
    char *muon = number_text(c, "muon_weight_decay");
    (void)config;
    char *text = strcmp(muon, "-") == 0
                     ? qk_format("%s; QK-Norm gains %s", all, gain)
                     : qk_format("%s; QK-Norm gains %s; Muon's matrices %s", all, gain, muon);
    free(all);
    free(gain);
    free(muon);
    return text;
}

static char *batch(const struct qk_condition *c, const struct qk_config *config)
{
    const cJSON *b = raw(c, "batch_size"), *g = raw(c, "grad_accum"), *T = raw(c, "seq_len");
    (void)config;
    if (!cJSON_IsNumber(b) || !cJSON_IsNumber(T))
        return qk_strdup("-");
    const double accum = cJSON_IsNumber(g) ? g->valuedouble : 1;
    char tokens[32];
    return qk_format("%.0f sequences × %.0f accumulated = %s tokens per step", b->valuedouble,
                     accum,
                     qk_group_digits((int64_t)(b->valuedouble * accum * T->valuedouble), tokens));
}

static char *warmup(const struct qk_condition *c, const struct qk_config *config)
{
    const cJSON *w = raw(c, "warmup_tokens"), *b = raw(c, "batch_size"), *g = raw(c, "grad_accum");
    const cJSON *T = raw(c, "seq_len");
    (void)config;
    if (!cJSON_IsNumber(b) || !cJSON_IsNumber(T))
        return qk_strdup("-");
    const double step = b->valuedouble * (cJSON_IsNumber(g) ? g->valuedouble : 1) * T->valuedouble;
    const double tokens = cJSON_IsNumber(w) ? w->valuedouble : 0;
    return qk_format("%.0f (%.0f tokens)", floor(tokens / step), tokens);
}

static char *schedule(const struct qk_condition *c, const struct qk_config *config)
{
    (void)config;
    return number_text(c, "lr_schedule");
}

static char *clipping(const struct qk_condition *c, const struct qk_config *config)
{
    const cJSON *clip = raw(c, "grad_clip");
    (void)config;
    if (cJSON_IsNumber(clip) && !(clip->valuedouble > 0))
        return qk_strdup("none");
    char *value = number_text(c, "grad_clip"), *text = qk_format("global norm %s", value);
    free(value);
    return text;
}

static char *tokens(const struct qk_condition *c, const struct qk_config *config)
{
    char text[32];
    (void)config;
    return qk_strdup(qk_group_digits((int64_t)c->mean.tokens[c->mean.points - 1], text));
}

static char *seeds(const struct qk_condition *c, const struct qk_config *config)
{
    struct qk_buffer text = {0};
    (void)config;
    qk_buffer_text(&text, "");
    for (int i = 0; i < c->n_seeds; i++)
        if (c->seeds[i].has_seed)
            qk_buffer_format(&text, "%s%lld", text.size > 0 ? ", " : "",
                             (long long)c->seeds[i].seed);
    if (text.size == 0)
        qk_buffer_text(&text, "-");
    return text.at;
}

static char *dtype(const struct qk_condition *c, const struct qk_config *config)
{
    (void)config;
    return number_text(c, "dtype");
}

/* ---- the page ---- */

/* One row: the value, or each value with the conditions that have it. */
static void row(struct qk_buffer *to, const struct qk_combined *c, const struct qk_config *configs,
                const char *name, setting text_of)
{
    char *value[QK_MOST_CONDITIONS];
    bool told[QK_MOST_CONDITIONS] = {false}, same = true;
    for (int i = 0; i < c->count; i++) {
        value[i] = text_of(&c->at[i], &configs[i]);
        same &= strcmp(value[i], value[0]) == 0;
    }
    qk_buffer_format(to, "| %s | ", name);
    for (int i = 0; i < c->count && !same; i++) {
        char label[QK_CONDITION_NAME];
        if (told[i])
            continue;
        qk_buffer_text(to, i > 0 ? "; " : "");
        for (int k = i; k < c->count; k++) {
            if (strcmp(value[k], value[i]) != 0)
                continue;
            qk_buffer_format(to, "%s%s", k > i ? ", " : "",
                             qk_condition_label(c->at[k].name, label));
            told[k] = true;
        }
        qk_buffer_format(to, ": %s", value[i]);
    }
    if (same)
        qk_buffer_text(to, value[0]);
    qk_buffer_text(to, " |\n");
    for (int i = 0; i < c->count; i++)
        free(value[i]);
}

static void write_rows(struct qk_buffer *to, const struct qk_experiment *e,
                       const struct qk_config *configs)
{
    static const struct {
        const char *name;
        setting text_of; /* NULL: from the options */
    } rows[] = {{"Model", model},
                {"Parameters", parameters},
                {"Width", width},
                {"Layers", layers},
                {"Heads", heads},
                {"Head dimension", head_dim},
                {"Vocabulary", vocabulary},
                {"Context length", context},
                {"Data set", NULL},
                {"Tokenizer", NULL},
                {"QK-Norm type", norm_type},
                {"QK-Norm placement", placement},
                {"Optimiser", optimizer},
                {"Learning rates", rates},
                {"Weight decay", decay},
                {"Batch size", batch},
                {"Warm-up steps", warmup},
                {"LR schedule", schedule},
                {"Gradient clipping", clipping},
                {"Tokens trained", tokens},
                {"Seeds", seeds},
                {"Arithmetic", dtype}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *told = strcmp(rows[i].name, "Tokenizer") == 0 ? e->tokenizer : e->data;
        if (rows[i].text_of != NULL)
            row(to, e->combined, configs, rows[i].name, rows[i].text_of);
        else
            qk_buffer_format(to, "| %s | %s |\n", rows[i].name,
                             told != NULL ? told : "not told by the results");
    }
}

int qk_experiment_write(struct qk_buffer *to, const struct qk_experiment *e, struct qk_err *err)
{
    const struct qk_combined *c = e->combined;
    struct qk_config configs[QK_MOST_CONDITIONS];
    for (int i = 0; i < c->count; i++) {
        const cJSON *json = cJSON_GetObjectItemCaseSensitive(c->at[i].mean.json, "config");
        if (json == NULL)
            return qk_fail(err, "condition %s carries no config", c->at[i].name);
        if (qk_config_from_json(&configs[i], json, c->at[i].name, err) != 0)
            return -1;
    }
    *to = (struct qk_buffer){0};
    qk_buffer_format(to,
                     "# %s\n\nEvery value is read from the configs that the runs were trained "
                     "with.\n\n| setting | value |\n|---|---|\n",
                     e->title);
    write_rows(to, e, configs);
    return 0;
}
