#include "study/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "study/lint.h"
#include "study/published.h"
#include "study/reportparts.h"

static const char *verdict_text(const struct qk_report_writer *w, const char *key)
{
    const cJSON *one = cJSON_GetObjectItemCaseSensitive(w->r->verdict, key);
    return cJSON_IsString(one) ? one->valuestring : "";
}

static void figure(struct qk_report_writer *w, const char *name, const char *caption)
{
    if (!w->failed)
        w->failed = qk_page_figure(&w->page, w->r->figures, w->link, name, caption, w->err) != 0;
}

/* ---- opening ---- */

/* A small model is called one before anything else is said. */
static void write_size(struct qk_report_writer *w)
{
    char ours[32], theirs[32];
    const struct qk_verdict *v = w->r->numbers;
    const int64_t parameters = qk_results_parameters(&v->at[0].condition->mean);
    if (parameters == 0 || qk_report_model(w) == QK_REPORT_SAME)
        return;
    qk_report_paragraph(
        w,
        "This is not the model of the original study but a %s one: %s parameters against %s, "
        "%d layers against %d, head dimension %d against %d.",
        parameters < QK_PUBLISHED_PARAMETERS ? "smaller" : "different",
        qk_group_digits(parameters, ours), qk_group_digits(QK_PUBLISHED_PARAMETERS, theirs),
        v->layers, QK_PUBLISHED_LAYERS, v->head_dim, QK_PUBLISHED_HEAD_DIM);
}

static void write_summary(struct qk_report_writer *w)
{
    struct qk_table t = {0};
    qk_page_verdict(&w->page, "Verdict:", verdict_text(w, "sentence"));
    qk_table_conditions(&t, w->r->combined);
    qk_report_table(w, &t);
    write_size(w);
    qk_page_heading(&w->page, 2, "TL;DR");
    qk_report_paragraph(w, "%s %s %s", verdict_text(w, "sentence"), qk_report_said(w, "loss"),
                        qk_report_said(w, "order"));
}

static void write_verdict(struct qk_report_writer *w)
{
    struct qk_table t = {0};
    qk_page_heading(&w->page, 2, "Verdict");
    qk_report_sentence(w, "kill");
    qk_report_sentence(w, "equivalence_ab");
    qk_report_sentence(w, "equivalence_bc");
    qk_report_sentence(w, "equivalence_ac");
    qk_table_contrasts(&t, w->r->numbers);
    qk_report_table(w, &t);
    qk_report_sentence(w, "scale");
    qk_report_paragraph(w, "The rule was fixed before the runs. %s", verdict_text(w, "rule"));
}

/* ---- set-up ---- */

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

static void write_settings(struct qk_report_writer *w, const cJSON *config)
{
    struct qk_table t = {.columns = 2};
    char digits[32];
    qk_table_cell(&t, "setting");
    qk_table_cell(&t, "value");
    int64_t parameters = qk_results_parameters(&w->r->numbers->at[0].condition->mean);
    if (parameters > 0) {
        qk_table_cell(&t, "parameters (condition A)");
        qk_table_cell(&t, "%s", qk_group_digits(parameters, digits));
    }
    setting(&t, config, "layers / width / feed-forward", "n_layers d_model d_ff");
    setting(&t, config, "heads / key heads", "n_heads n_kv_heads");
    setting(&t, config, "vocabulary / context", "vocab_size seq_len");
    setting(&t, config, "feed-forward / RoPE base / tied embeddings",
            "ffn rope_base tie_embeddings");
    setting(&t, config, "optimiser / Muon rate / AdamW rate", "optimizer muon_lr adamw_lr");
    setting(&t, config, "Muon grouping / weight decay / clipping",
            "muon_qkvo weight_decay grad_clip");
    setting(&t, config, "schedule / warm-up tokens", "lr_schedule warmup_tokens");
    setting(&t, config, "sequences / accumulation / type", "batch_size grad_accum dtype");
    qk_report_table(w, &t);
}

static const char *why(const struct qk_condition *c)
{
    static const char *const reasons[][2] = {
        {"learned", "queries and keys are normalised per head and scaled by a learned gain per "
                    "dimension: QK-Norm as it is used"},
        {"frozen", "the same normalisation with the gain kept at 1: what A has beyond it is the "
                   "learned gain alone"},
        {"none", "no normalisation of queries and keys: what B has beyond it is the normalisation "
                 "alone"},
        {"scalar", "one learned number per layer: temperature without choice of dimensions"}};
    return qk_words_for(reasons, sizeof reasons / sizeof reasons[0], c->mean.qk_norm,
                        "as its tag says");
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

static void write_setup(struct qk_report_writer *w)
{
    const struct qk_verdict *v = w->r->numbers;
    const struct qk_combined *c = w->r->combined;
    struct qk_strings list = {0};
    char seeds[256], tokens[32];
    qk_page_heading(&w->page, 2, "Set-up");
    qk_report_paragraph(w,
                        "%s language models are trained alike but for the treatment of queries and "
                        "keys, from the same initial weights, on the same data in the same order:",
                        c->count == 3 ? "Three" : "Several");
    for (int i = 0; i < c->count; i++)
        qk_report_item(&list, "%s (%s, `%s`): %s.", c->at[i].name, qk_condition_name(&c->at[i]),
                       c->at[i].mean.tag, why(&c->at[i]));
    qk_report_list(w, &list);
    seed_names(v->at[0].condition, seeds);
    qk_report_paragraph(
        w,
        "%s training tokens per run, %d seed%s (%s), measured at %d points. Rank is the "
        "participation ratio PR = (Σσ)²/Σσ² of the singular values σ of one head's keys over "
        "a fixed probe batch, at the site `%s`, averaged over heads and layers; it lies "
        "between 1 and the head dimension%s.",
        qk_group_digits((int64_t)v->tokens, tokens), v->n_seeds, v->n_seeds == 1 ? "" : "s", seeds,
        v->points, v->site, v->head_dim > 0 ? "" : " (not told here)");
    const cJSON *config = qk_report_config(w, 0);
    if (config != NULL)
        write_settings(w, config);
    else
        qk_report_paragraph(w, "The input carries no config.");
}

/* ---- findings ---- */

static void write_loss(struct qk_report_writer *w)
{
    qk_page_heading(&w->page, 2, "Loss");
    figure(w, "1_loss",
           "Figure 1. Training and validation loss, and the differences to condition A.");
    qk_report_sentence(w, "loss_ab");
    qk_report_sentence(w, "loss_bc");
}

/* Conditions beyond A, B and C are described, not judged. */
static void write_others(struct qk_report_writer *w)
{
    static const char *const names[] = {"condition", "PR", "Δ to A", "Δ to B", "train", "val"};
    const struct qk_combined *c = w->r->combined;
    const struct qk_verdict *v = w->r->numbers;
    struct qk_table t = {.columns = 6};
    for (int i = 0; i < 6; i++)
        qk_table_cell(&t, "%s", names[i]);
    for (int i = 0; i < c->count; i++) {
        const struct qk_results *r = &c->at[i].mean;
        const int last = r->points - 1, val = qk_results_last(r->val_loss, r->points);
        if (c->at[i].name[0] <= 'C')
            continue;
        qk_table_cell(&t, "%s %s", c->at[i].name, qk_condition_name(&c->at[i]));
        qk_table_number(&t, "%.2f", r->mean_pr[last]);
        qk_table_number(&t, "%+.2f", r->mean_pr[last] - v->at[0].last_pr);
        qk_table_number(&t, "%+.2f", r->mean_pr[last] - v->at[1].last_pr);
        qk_table_number(&t, "%.4f", r->loss[last]);
        qk_table_number(&t, "%.4f", val >= 0 ? r->val_loss[val] : NAN);
    }
    if (qk_table_rows(&t) > 0)
        qk_page_table(&w->page, &t);
    qk_table_free(&t);
}

static void write_rank(struct qk_report_writer *w)
{
    qk_page_heading(&w->page, 2, "Rank of the keys");
    figure(w, "2_key_pr_causal", "Figure 2. Mean participation ratio of the keys during training.");
    qk_report_sentence(w, "minimum");
    qk_report_sentence(w, "recovery");
    qk_report_sentence(w, "plateau");
    qk_report_sentence(w, "null");
    write_others(w);
}

static void write_layers(struct qk_report_writer *w)
{
    qk_page_heading(&w->page, 2, "Layer by layer");
    figure(w, "3_per_layer", "Figure 3. Participation ratio per layer at the end of training.");
    qk_report_sentence(w, "layers");
    qk_page_heading(&w->page, 2, "What changes the rank: decomposition");
    figure(w, "4_causal_decomposition",
           "Figure 4. A−B, the learned gain, and B−C, the normalisation, per layer.");
    qk_report_sentence(w, "pattern");
    qk_report_sentence(w, "plateau_contrasts");
}

static void write_gain(struct qk_report_writer *w)
{
    qk_page_heading(&w->page, 2, "Gain");
    figure(w, "5_gamma_cv", "Figure 5. Coefficient of variation of the learned key gain.");
    qk_report_sentence(w, "gain");
}

/* ---- other measures ---- */

/* The last number of a condition's list `key`, in the object `group` or (NULL) at the top; NaN. */
static double last_number(const struct qk_verdict *v, int condition, const char *group,
                          const char *key)
{
    const cJSON *json = v->at[condition].condition->mean.json;
    if (group != NULL)
        json = cJSON_GetObjectItemCaseSensitive(json, group);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, key);
    const cJSON *value = cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1);
    return cJSON_IsNumber(value) ? value->valuedouble : NAN;
}

static void measure_row(struct qk_table *t, const struct qk_verdict *v, const char *name,
                        const char *group, const char *key, const char *format)
{
    double value[3];
    bool any = false;
    for (int i = 0; i < 3; i++) {
        value[i] = last_number(v, i, group, key);
        any |= !isnan(value[i]);
    }
    if (!any)
        return;
    qk_table_cell(t, "%s", name);
    for (int i = 0; i < 3; i++)
        qk_table_number(t, format, value[i]);
}

/* One number of A less that of B, " +0.12 WORD", where both have it. */
static void add_difference(struct qk_buffer *to, const struct qk_verdict *v, const char *word,
                           const char *group, const char *key)
{
    const double ab = last_number(v, 0, group, key) - last_number(v, 1, group, key);
    if (!isnan(ab))
        qk_buffer_format(to, "%s %+.2f %s", to->size > 0 ? "," : "", ab, word);
}

/* How much the answer hangs on what is measured, and where. */
static void write_dependence(struct qk_report_writer *w)
{
    const struct qk_verdict *v = w->r->numbers;
    struct qk_buffer text = {0};
    add_difference(&text, v, "before the norm", "mean_pr_sites", "pre_norm");
    add_difference(&text, v, "after it", "mean_pr_sites", "post_norm");
    add_difference(&text, v, "after RoPE", "mean_pr_sites", "post_rope");
    add_difference(&text, v, "by the PR of σ²", NULL, "mean_pr_energy");
    add_difference(&text, v, "for queries", NULL, "q_pr");
    add_difference(&text, v, "for QKᵀ", NULL, "qk_pr");
    if (text.size > 0)
        qk_report_paragraph(
            w,
            "The answer hangs on what is measured: A−B is%s%s. RoPE is not rank-preserving over "
            "stacked positions, so sites are not interchangeable; the PR of QKᵀ is the one that "
            "does not change when a factor moves from keys to queries.",
            text.at, qk_report_reservation(w));
    qk_buffer_free(&text);
}

static void write_measures(struct qk_report_writer *w)
{
    const struct qk_verdict *v = w->r->numbers;
    struct qk_table t = {.columns = 4};
    qk_table_cell(&t, "at the last point");
    for (int i = 0; i < 3; i++)
        qk_table_cell(&t, "%c", 'A' + i);
    measure_row(&t, v, "key PR, pre_norm", "mean_pr_sites", "pre_norm", "%.2f");
    measure_row(&t, v, "key PR, post_norm", "mean_pr_sites", "post_norm", "%.2f");
    measure_row(&t, v, "key PR, post_rope", "mean_pr_sites", "post_rope", "%.2f");
    measure_row(&t, v, "key PR, weight", "mean_pr_sites", "weight", "%.2f");
    measure_row(&t, v, "key PR of σ² (the literature's)", NULL, "mean_pr_energy", "%.2f");
    measure_row(&t, v, "query PR", NULL, "q_pr", "%.2f");
    measure_row(&t, v, "PR of the bilinear form QKᵀ", NULL, "qk_pr", "%.2f");
    measure_row(&t, v, "attention entropy (nats)", NULL, "entropy", "%.3f");
    measure_row(&t, v, "largest logit", NULL, "max_logit", "%.2f");
    if (qk_table_rows(&t) > 0) {
        qk_page_heading(&w->page, 2, "Other measures");
        qk_report_table(w, &t);
        write_dependence(w);
    }
    qk_table_free(&t);
}

static void write_numbers(struct qk_report_writer *w)
{
    struct qk_table t = {0};
    qk_page_heading(&w->page, 2, "All points");
    qk_page_fold(&w->page, "Mean PR, training and validation loss at every point");
    qk_table_trajectory(&t, w->r->numbers);
    qk_report_table(w, &t);
    qk_page_unfold(&w->page);
}

/* ---- the whole ---- */

/* From the folder of `out` to `folder`, both as given on the command line. */
static char *relative(const char *out, const char *folder)
{
    if (strcmp(out, "-") == 0 || (out[0] == '/') != (folder[0] == '/'))
        return qk_strdup(folder);
    struct qk_strings from = {0}, to = {0};
    struct qk_buffer path = {0};
    qk_strings_split(&from, out, '/');
    qk_strings_split(&to, folder, '/');
    size_t same = 0, depth = from.count - 1;
    while (same < depth && same < to.count && strcmp(from.at[same], to.at[same]) == 0)
        same++;
    for (size_t i = same; i < depth; i++)
        qk_buffer_text(&path, path.size > 0 ? "/.." : "..");
    for (size_t i = same; i < to.count; i++)
        if (to.at[i][0] != '\0')
            qk_buffer_format(&path, "%s%s", path.size > 0 ? "/" : "", to.at[i]);
    if (path.size == 0)
        qk_buffer_text(&path, ".");
    qk_strings_free(&from);
    qk_strings_free(&to);
    return path.at;
}

/* A verdict.json made from another combined.json must not end up in this report. */
static int check_verdict(const struct qk_report *r, struct qk_err *err)
{
    cJSON *ours = qk_verdict_json(r->numbers);
    static const char *const keys[] = {"study", "outcome",  "numbers",
                                       "title", "sentence", "sentences"};
    int failed = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && !failed; i++)
        if (!cJSON_Compare(cJSON_GetObjectItemCaseSensitive(ours, keys[i]),
                           cJSON_GetObjectItemCaseSensitive(r->verdict, keys[i]), 1))
            failed = qk_fail(err,
                             "%s: '%s' is not what the combined file gives: make the verdict "
                             "anew",
                             r->verdict_path, keys[i]);
    cJSON_Delete(ours);
    return failed;
}

static int write_page(struct qk_buffer *to, const struct qk_report *r, bool html,
                      struct qk_err *err)
{
    struct qk_report_writer w = {.r = r, .err = err, .link = relative(r->out, r->figures)};
    qk_page_begin(&w.page, html, verdict_text(&w, "title"));
    write_summary(&w);
    write_verdict(&w);
    write_setup(&w);
    write_loss(&w);
    write_rank(&w);
    write_layers(&w);
    write_gain(&w);
    write_measures(&w);
    qk_report_loss_and_rank(&w);
    if (r->published)
        qk_report_published(&w);
    write_numbers(&w);
    qk_report_discussion(&w);
    qk_report_limitations(&w);
    qk_report_prior_work(&w);
    qk_report_recommendations(&w);
    qk_report_made(&w);
    qk_page_end(&w.page);
    free(w.link);
    if (w.failed)
        qk_buffer_free(&w.page.text);
    else
        *to = w.page.text;
    return w.failed ? -1 : 0;
}

int qk_report_write(struct qk_buffer *to, const struct qk_report *r, struct qk_err *err)
{
    struct qk_buffer markdown = {0};
    if (check_verdict(r, err) != 0 || write_page(&markdown, r, false, err) != 0)
        return -1;
    int failed = qk_lint_text(markdown.at, r->out, err);
    if (!failed && r->html) {
        failed = write_page(to, r, true, err);
    } else if (!failed) {
        *to = markdown;
        return 0;
    }
    qk_buffer_free(&markdown);
    return failed;
}
