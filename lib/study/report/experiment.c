#include "study/report/experiment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "model/config.h"
#include "study/judge/judge.h"

/* The text of one setting of one condition; malloc'd. */
typedef char *(*setting)(const struct qk_condition *c);

static const cJSON *raw(const struct qk_condition *c, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(c->mean.json, "config"), key);
}

static double number(const struct qk_condition *c, const char *key, double otherwise)
{
    const double value = qk_json_as_number(raw(c, key));
    return isnan(value) ? otherwise : value;
}

static char *setting_text(const struct qk_condition *c, const char *key)
{
    const cJSON *item = raw(c, key);
    return cJSON_IsNumber(item)   ? qk_format("%.10g", item->valuedouble)
           : cJSON_IsString(item) ? qk_strdup(item->valuestring)
           : cJSON_IsBool(item)   ? qk_strdup(cJSON_IsTrue(item) ? "yes" : "no")
                                  : qk_strdup("-");
}

static char *model(const struct qk_condition *c)
{
    char *ffn = setting_text(c, "ffn");
    char *text = qk_format("decoder-only transformer, pre-norm RMSNorm, RoPE, %s feed-forward, %s "
                           "embeddings",
                           ffn, cJSON_IsTrue(raw(c, "tie_embeddings")) ? "tied" : "untied");
    free(ffn);
    return text;
}

static char *parameters(const struct qk_condition *c)
{
    char text[32];
    return qk_strdup(qk_group_digits(qk_results_parameters(c->mean.json), text));
}

static char *width(const struct qk_condition *c)
{
    char *d = setting_text(c, "d_model"), *f = setting_text(c, "d_ff");
    char *text = qk_format("%s, feed-forward %s", d, f);
    free(d);
    free(f);
    return text;
}

static char *heads(const struct qk_condition *c)
{
    char *q = setting_text(c, "n_heads"), *k = setting_text(c, "n_kv_heads");
    char *text = qk_format("%s query, %s key/value", q, k);
    free(q);
    free(k);
    return text;
}

static char *head_dim(const struct qk_condition *c)
{
    return qk_format("%.0f", number(c, "d_model", 0) / number(c, "n_heads", 1));
}

static char *norm_type(const struct qk_condition *c)
{
    static const char *const words[][2] = {
        {"learned", "RMSNorm per head, one learned gain vector per layer for queries and for keys"},
        {"frozen", "RMSNorm per head, gain frozen at 1"},
        {"scalar", "RMSNorm per head, one learned number per layer for queries and for keys"},
        {"none", "none"}};
    char *norm = setting_text(c, "qk_norm"), *text = qk_strdup(qk_words_for(words, 4, norm, "-"));
    free(norm);
    return text;
}

static char *placement(const struct qk_condition *c)
{
    const cJSON *norm = raw(c, "qk_norm");
    return qk_strdup(cJSON_IsString(norm) && strcmp(norm->valuestring, "none") == 0
                         ? "-"
                         : "after the projection, per head, before the rotary embedding");
}

static char *rates(const struct qk_condition *c)
{
    char *muon = setting_text(c, "muon_lr"), *adamw = setting_text(c, "adamw_lr");
    char *text = strcmp(muon, "-") == 0 ? qk_format("AdamW %s", adamw)
                                        : qk_format("Muon %s, AdamW %s", muon, adamw);
    free(muon);
    free(adamw);
    return text;
}

static char *decay(const struct qk_condition *c)
{
    char *all = setting_text(c, "weight_decay"), *gain = setting_text(c, "qk_gain_weight_decay");
    char *muon = setting_text(c, "muon_weight_decay");
    char *text = strcmp(muon, "-") == 0
                     ? qk_format("%s; QK-Norm gains %s", all, gain)
                     : qk_format("%s; QK-Norm gains %s; Muon's matrices %s", all, gain, muon);
    free(all);
    free(gain);
    free(muon);
    return text;
}

/* Tokens per optimiser step, or 0 where the config does not tell. */
static double step_tokens(const struct qk_condition *c)
{
    return number(c, "batch_size", 0) * number(c, "grad_accum", 1) * number(c, "seq_len", 0);
}

static char *batch(const struct qk_condition *c)
{
    char tokens[32];
    if (!(step_tokens(c) > 0))
        return qk_strdup("-");
    return qk_format("%.0f sequences × %.0f accumulated = %s tokens per step",
                     number(c, "batch_size", 0), number(c, "grad_accum", 1),
                     qk_group_digits((int64_t)step_tokens(c), tokens));
}

static char *warmup(const struct qk_condition *c)
{
    const double tokens = number(c, "warmup_tokens", 0);
    if (!(step_tokens(c) > 0))
        return qk_strdup("-");
    return qk_format("%.0f (%.0f tokens)", floor(tokens / step_tokens(c)), tokens);
}

static char *clipping(const struct qk_condition *c)
{
    const cJSON *clip = raw(c, "grad_clip");
    if (cJSON_IsNumber(clip) && !(clip->valuedouble > 0))
        return qk_strdup("none");
    char *value = setting_text(c, "grad_clip"), *text = qk_format("global norm %s", value);
    free(value);
    return text;
}

static char *tokens(const struct qk_condition *c)
{
    char text[32];
    return qk_strdup(qk_group_digits((int64_t)c->mean.tokens[c->mean.points - 1], text));
}

static char *seeds(const struct qk_condition *c)
{
    struct qk_buffer text = {0};
    qk_buffer_text(&text, "");
    for (int i = 0; i < c->n_seeds; i++)
        if (c->seeds[i].has_seed)
            qk_buffer_format(&text, "%s%lld", text.size > 0 ? ", " : "",
                             (long long)c->seeds[i].seed);
    if (text.size == 0)
        qk_buffer_text(&text, "-");
    return text.at;
}

/* ---- the page ---- */

/* What is a row's own: a function, else a key of the config, else a text of the options. */
struct row {
    const char *name;
    setting text_of;
    const char *key;
};

/* One row: the value, or each value with the conditions that have it. */
static void write_row(struct qk_buffer *to, const struct qk_combined *c, const struct row *row)
{
    char *value[QK_MOST_CONDITIONS];
    bool told[QK_MOST_CONDITIONS] = {false}, same = true;
    for (int i = 0; i < c->count; i++) {
        value[i] =
            row->text_of != NULL ? row->text_of(&c->at[i]) : setting_text(&c->at[i], row->key);
        same &= strcmp(value[i], value[0]) == 0;
    }
    qk_buffer_format(to, "| %s | ", row->name);
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

static void write_rows(struct qk_buffer *to, const struct qk_experiment *e)
{
    static const struct row rows[] = {{"Model", model, NULL},
                                      {"Parameters", parameters, NULL},
                                      {"Width", width, NULL},
                                      {"Layers", NULL, "n_layers"},
                                      {"Heads", heads, NULL},
                                      {"Head dimension", head_dim, NULL},
                                      {"Vocabulary", NULL, "vocab_size"},
                                      {"Context length", NULL, "seq_len"},
                                      {"Data set", NULL, NULL},
                                      {"Tokenizer", NULL, NULL},
                                      {"QK-Norm type", norm_type, NULL},
                                      {"QK-Norm placement", placement, NULL},
                                      {"Optimiser", NULL, "optimizer"},
                                      {"Learning rates", rates, NULL},
                                      {"Weight decay", decay, NULL},
                                      {"Batch size", batch, NULL},
                                      {"Warm-up steps", warmup, NULL},
                                      {"LR schedule", NULL, "lr_schedule"},
                                      {"Gradient clipping", clipping, NULL},
                                      {"Tokens trained", tokens, NULL},
                                      {"Seeds", seeds, NULL},
                                      {"Arithmetic", NULL, "dtype"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *told = strcmp(rows[i].name, "Tokenizer") == 0 ? e->tokenizer : e->data;
        if (rows[i].text_of != NULL || rows[i].key != NULL)
            write_row(to, e->combined, &rows[i]);
        else
            qk_buffer_format(to, "| %s | %s |\n", rows[i].name,
                             told != NULL ? told : "not told by the results");
    }
}

/* Are all configs there, and such that a model can be made of them? */
static int check_configs(const struct qk_combined *c, struct qk_err *err)
{
    for (int i = 0; i < c->count; i++) {
        struct qk_config config;
        const cJSON *json = cJSON_GetObjectItemCaseSensitive(c->at[i].mean.json, "config");
        if (json == NULL)
            return qk_fail(err, "condition %s carries no config", c->at[i].name);
        if (qk_config_from_json(&config, json, c->at[i].name, err) != 0)
            return -1;
    }
    return 0;
}

int qk_experiment_write(struct qk_buffer *to, const struct qk_experiment *e, struct qk_err *err)
{
    if (check_configs(e->combined, err) != 0)
        return -1;
    *to = (struct qk_buffer){0};
    qk_buffer_format(to,
                     "# %s\n\nEvery value but the names of data set and tokenizer is read from the "
                     "configs that the runs were trained "
                     "with.\n\n| setting | value |\n|---|---|\n",
                     e->title);
    write_rows(to, e);
    return 0;
}
