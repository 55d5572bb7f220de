/* The set-up of a report: which model, which runs, which rates. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "study/report/reportparts.h"

const struct qk_report_size qk_report_large = {1577199616, 49152, 2048, 32, 16, 8, 8192, 2048};
const struct qk_report_size qk_report_middle = {88630528, 49152, 512, 22, 8, 4, 2048, 2048};

/* A sweep has no results: chosen.json holds the config of its first run. */
static int64_t parameters_of(const struct qk_report_writer *w)
{
    const struct qk_combined *c = w->r->combined;
    return qk_results_parameters(c != NULL && c->count > 0 ? c->at[0].mean.json : w->r->chosen);
}

enum qk_report_model qk_report_model(const struct qk_report_writer *w)
{
    const cJSON *config = qk_report_config(w, 0);
    const struct qk_report_size *of = w->kind->size;
    const struct {
        const char *key;
        int value;
    } size[] = {{"vocab_size", of->vocab}, {"d_model", of->width},       {"n_layers", of->layers},
                {"n_heads", of->heads},    {"n_kv_heads", of->kv_heads}, {"d_ff", of->d_ff},
                {"seq_len", of->seq_len}};
    if (config == NULL)
        return QK_REPORT_UNTOLD;
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(config, size[i].key);
        if (!cJSON_IsNumber(value) || value->valuedouble != size[i].value)
            return QK_REPORT_OTHER;
    }
    return QK_REPORT_SAME;
}

/* A config that has parameters has these, above 0. */
static int whole_of(const cJSON *config, const char *key)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(config, key);
    return cJSON_IsNumber(value) && value->valueint > 0 ? value->valueint : 1;
}

/* A small model is called one before anything else is said. */
void qk_report_write_size(struct qk_report_writer *w)
{
    char ours[32], theirs[32];
    const struct qk_report_size *of = w->kind->size;
    const int64_t parameters = parameters_of(w);
    if (parameters == 0 || qk_report_model(w) == QK_REPORT_SAME)
        return;
    const cJSON *config = qk_report_config(w, 0);
    qk_report_paragraph(
        w,
        "This is not the model of the original study but a %s one: %s parameters against %s, "
        "%d layers against %d, head dimension %d against %d.",
        parameters < of->parameters ? "smaller" : "different", qk_group_digits(parameters, ours),
        qk_group_digits(of->parameters, theirs), whole_of(config, "n_layers"), of->layers,
        whole_of(config, "d_model") / whole_of(config, "n_heads"), of->width / of->heads);
}

/* ---- configurations ---- */

static void setting(struct qk_table *t, const cJSON *config, const char *name, const char *keys)
{
    struct qk_strings list = {0};
    char cell[256] = "";
    qk_strings_split(&list, keys, ' ');
    for (size_t i = 0; i < list.count; i++) {
        char value[64];
        qk_report_setting(config, list.at[i], value);
        size_t at = strlen(cell);
        snprintf(cell + at, sizeof cell - at, "%s%s", i > 0 ? " / " : "", value);
    }
    qk_strings_free(&list);
    qk_table_cell(t, "%s", name);
    qk_table_cell(t, "%s", cell);
}

static void write_architecture(struct qk_report_writer *w, const cJSON *config)
{
    struct qk_table t = {.columns = 2};
    char digits[32];
    qk_table_cell(&t, "setting");
    qk_table_cell(&t, "value");
    if (parameters_of(w) > 0) {
        qk_table_cell(&t, "parameters (%s)",
                      w->r->combined != NULL ? w->r->combined->at[0].name : "first run");
        qk_table_cell(&t, "%s", qk_group_digits(parameters_of(w), digits));
    }
    setting(&t, config, "layers / width / feed-forward", "n_layers d_model d_ff");
    setting(&t, config, "heads / key heads", "n_heads n_kv_heads");
    setting(&t, config, "vocabulary / context", "vocab_size seq_len");
    setting(&t, config, "feed-forward / RoPE base / tied embeddings",
            "ffn rope_base tie_embeddings");
    setting(&t, config, "Muon grouping / weight decay / clipping",
            "muon_qkvo weight_decay grad_clip");
    setting(&t, config, "schedule / warm-up tokens", "lr_schedule warmup_tokens");
    setting(&t, config, "sequences / accumulation / type", "batch_size grad_accum dtype");
    qk_report_table(w, &t);
}

/* A rate that stands in the config and trains nothing. */
static bool without_muon(const cJSON *config)
{
    char optimizer[64];
    qk_report_setting(config, "optimizer", optimizer);
    return strcmp(optimizer, "adamw") == 0;
}

/* What the conditions do not share. */
static void write_conditions(struct qk_report_writer *w)
{
    static const char *const names[] = {"condition", "QK-Norm",    "optimiser",
                                        "Muon rate", "AdamW rate", "parameters"};
    static const char *const keys[] = {"qk_norm", "optimizer", "muon_lr", "adamw_lr"};
    const struct qk_combined *c = w->r->combined;
    struct qk_table t = {0};
    qk_table_header(&t, names, 6);
    for (int i = 0; i < c->count; i++) {
        char label[QK_CONDITION_NAME], value[64], digits[32];
        const int64_t parameters = qk_results_parameters(c->at[i].mean.json);
        qk_table_cell(&t, "%s", qk_condition_label(c->at[i].name, label));
        for (int k = 0; k < 4; k++) {
            const bool idle = k == 2 && without_muon(qk_report_config(w, i));
            qk_report_setting(qk_report_config(w, i), keys[k], value);
            qk_table_cell(&t, "%s", idle ? "-" : value);
        }
        qk_table_cell(&t, "%s", parameters > 0 ? qk_group_digits(parameters, digits) : "-");
    }
    qk_report_table(w, &t);
}

static void seed_names(const struct qk_condition *c, char text[256])
{
    text[0] = '\0';
    for (int i = 0; i < c->n_seeds; i++) {
        size_t at = strlen(text);
        if (c->seeds[i].has_seed)
            snprintf(text + at, 256 - at, "%s%lld", i > 0 ? ", " : "", (long long)c->seeds[i].seed);
    }
    if (text[0] == '\0')
        snprintf(text, 256, "not told");
}

static void write_runs(struct qk_report_writer *w)
{
    const struct qk_condition *first = &w->r->combined->at[0];
    const struct qk_results *r = &first->mean;
    char seeds[256], tokens[32], dim[32] = " (not told here)";
    seed_names(first, seeds);
    if (r->head_dim > 0)
        snprintf(dim, sizeof dim, ", here %d", r->head_dim);
    qk_report_paragraph(
        w,
        "%s training tokens per run, %d seed%s (%s), measured at %d points. Rank is the "
        "participation ratio PR = (Σσ)²/Σσ² of the singular values σ of one head's keys over "
        "a fixed probe batch, at the site `%s`, averaged over heads and layers; it lies "
        "between 1 and the head dimension%s.",
        qk_group_digits((int64_t)r->tokens[r->points - 1], tokens), first->n_seeds,
        first->n_seeds == 1 ? "" : "s", seeds, r->points, r->site != NULL ? r->site : "?", dim);
}

void qk_report_setup(struct qk_report_writer *w)
{
    qk_report_heading(w, 2, "Set-up");
    w->kind->intro(w);
    if (w->r->combined != NULL && w->r->combined->count > 0) {
        const cJSON *config = qk_report_config(w, 0);
        write_runs(w);
        if (config != NULL) {
            write_architecture(w, config);
            write_conditions(w);
        } else {
            qk_report_paragraph(w, "The input carries no config.");
        }
    }
    if (w->r->combined == NULL && qk_report_config(w, 0) != NULL)
        write_architecture(w, qk_report_config(w, 0));
    qk_report_heading(w, 3, "Learning rates");
    w->kind->rates(w);
}

/* ---- learning rates ---- */

void qk_report_untuned(struct qk_report_writer *w, const char *why)
{
    char muon[64], adamw[64], schedule[64];
    const cJSON *config = qk_report_config(w, 0);
    qk_report_setting(config, "muon_lr", muon);
    qk_report_setting(config, "adamw_lr", adamw);
    qk_report_setting(config, "lr_schedule", schedule);
    char *rates = config == NULL ? qk_strdup("")
                                 : qk_format(" (%s has Muon %s, AdamW %s, schedule %s)",
                                             w->r->combined->at[0].name, muon, adamw, schedule);
    qk_report_paragraph(
        w, "Learning rates%s were not tuned per condition, so there is no tuning plot here: %s.",
        rates, why);
    free(rates);
}
