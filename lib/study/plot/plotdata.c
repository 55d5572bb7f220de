#include "study/plot/plotdata.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "study/plot/plotparts.h"
#include "study/results/picklr.h"

/* ---- the table of figures ---- */

/* `only`: the conditions shown, where the file has any of them; `must`: refused without them all.
 * A figure is drawn from the inputs of `needs`; of the others it takes the header's facts. */
static const struct figure {
    const char *name, *title, *columns;
    enum qk_plot_kind needs;
    const char *only;
    bool must;
    qk_plot_fn *plot;
} figures[] = {
    {"1_loss", "Training and validation loss",
     "tokens train low high val low high [nats per token]; then differences to the first condition",
     QK_PLOT_COMBINED, NULL, false, qk_plot_1_loss},
    {"2_key_pr_causal", "Rank of the keys during training", "tokens pr low high", QK_PLOT_COMBINED,
     NULL, false, qk_plot_2_key_pr},
    {"3_per_layer", "Rank of the keys, layer by layer", "layer {pr low high start} per condition",
     QK_PLOT_COMBINED, NULL, false, qk_plot_3_per_layer},
    {"4_causal_decomposition", "What changes the rank, layer by layer",
     "layer A-B low high B-C low high", QK_PLOT_COMBINED, NULL, false, qk_plot_4_decomposition},
    {"5_gamma_cv", "Spread of the learned key gain over its dimensions", "tokens cv low high",
     QK_PLOT_COMBINED, NULL, false, qk_plot_5_gamma},
    {"panel_a_loss", "A  Loss with and without QK-Norm",
     "tokens train low high val low high [nats per token]", QK_PLOT_COMBINED, NULL, false,
     qk_plot_losses},
    {"panel_b_pr_trajectory", "B  Rank of the keys during training", "tokens pr low high",
     QK_PLOT_COMBINED, "QK NoQK", false, qk_plot_gap},
    {"panel_c_per_layer", "C  Rank of the keys, layer by layer",
     "layer {pr low high start} per condition", QK_PLOT_COMBINED, NULL, false, qk_plot_3_per_layer},
    {"panel_d_delta", "D  What QK-Norm changes, layer by layer", "layer difference low high",
     QK_PLOT_COMBINED, "QK NoQK", false, qk_plot_delta},
    {"sheet", "Keys with and without QK-Norm", "as the four panels", QK_PLOT_COMBINED, "QK NoQK",
     false, qk_plot_sheet},
    {"layer_pr_heatmap", "Rank of the keys by layer",
     "layer point tokens pr; then layer condition pr", QK_PLOT_COMBINED, NULL, false,
     qk_plot_heatmap},
    {"trajectory", "Rank during training", "tokens pr low high q_pr low high", QK_PLOT_COMBINED,
     "A1 A2 B1 B2", false, qk_plot_trajectory},
    {"sv_waterfall", "Singular values of the keys during training",
     "i ratio at each point; then the null's", QK_PLOT_COMBINED, "A1 A2 B1 B2", false,
     qk_plot_waterfall},
    {"data_complexity", "Rank of the keys on simple and complex text",
     "tokens pr low high; then layer {pr low high start} per condition", QK_PLOT_COMBINED, "C1 C2",
     true, qk_plot_complexity},
    {"surgery", "Loss after removing directions from the keys",
     "fraction loss least largest sd stderr", QK_PLOT_SURGERY, NULL, false, qk_plot_surgery},
    {"gamma_vs_svd", "The learned gain against each dimension's share of the spectrum",
     "layer |gamma| c; then layer and rho per condition", QK_PLOT_COMBINED, "A1 B1", false,
     qk_plot_gamma_svd},
    {"rank_and_loss", "Rank of the keys and validation loss", "tokens pr low high val low high",
     QK_PLOT_COMBINED, "A1 A2 B1 B2", false, qk_plot_rank_loss},
    {"val_loss", "Validation loss", "tokens val low high", QK_PLOT_COMBINED, NULL, false,
     qk_plot_val_loss},
    {"mean_pr", "Rank of the keys during training", "tokens pr low high", QK_PLOT_COMBINED, NULL,
     false, qk_plot_mean_pr},
    {"loss_vs_pr", "Validation loss against the rank of the keys",
     "tokens val low high pr low high", QK_PLOT_COMBINED, NULL, false, qk_plot_loss_pr},
    {"sv_spectra", "Singular values of the keys at the end",
     "i ratio low high start; then the null's", QK_PLOT_COMBINED, NULL, false, qk_plot_sv_spectra},
    {"lr_sweep", "Learning rates: validation loss and rank", "rate val_loss pr winner",
     QK_PLOT_CHOSEN, NULL, false, qk_plot_lr_sweep},
    {"entropy_max_logit", "Attention: entropy and largest logit",
     "tokens entropy low high max_logit low high", QK_PLOT_COMBINED, NULL, false,
     qk_plot_attention},
    {"sites", "Rank of the keys at every site, of queries and of the qk form",
     "tokens {pr low high} per site, of queries, of the qk form", QK_PLOT_COMBINED, NULL, false,
     qk_plot_sites},
};
enum { FIGURES = sizeof figures / sizeof figures[0] };

static const struct figure *figure_of(const char *name)
{
    for (int i = 0; i < FIGURES; i++)
        if (strcmp(figures[i].name, name) == 0)
            return &figures[i];
    return NULL;
}

char *qk_plotdata_figures(void)
{
    struct qk_buffer text = {0};
    for (int i = 0; i < FIGURES; i++)
        qk_buffer_format(&text, "%s%s", i > 0 ? "|" : "", figures[i].name);
    return text.at;
}

bool qk_plotdata_is_figure(const char *name)
{
    return figure_of(name) != NULL;
}

/* ---- inputs ---- */

enum qk_plot_kind qk_plot_kind_of(const cJSON *json)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json)
    {
        if (!cJSON_IsObject(item))
            continue;
        if (cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(item, "grid")))
            return QK_PLOT_CHOSEN;
        const cJSON *curve = item->child;
        if (cJSON_IsArray(curve) &&
            cJSON_GetObjectItemCaseSensitive(curve->child, "fraction") != NULL)
            return QK_PLOT_SURGERY;
    }
    return QK_PLOT_COMBINED;
}

static int check_inputs(const struct figure *f, const struct qk_plot_inputs *in, struct qk_err *err)
{
    if (f->needs == QK_PLOT_COMBINED && in->combined == NULL)
        return qk_fail(err, "%s needs a combined.json", f->name);
    if (f->needs == QK_PLOT_SURGERY && in->surgery == NULL)
        return qk_fail(err, "%s needs a surgery.json", f->name);
    if (f->needs == QK_PLOT_CHOSEN && in->chosen == NULL)
        return qk_fail(err, "%s needs a chosen.json", f->name);
    return 0;
}

/* Whether `name` is a word of `words`. */
static bool among(const char *words, const char *name)
{
    struct qk_strings list = {0};
    bool found = false;
    qk_strings_split(&list, words, ' ');
    for (size_t i = 0; i < list.count; i++)
        found |= strcmp(list.at[i], name) == 0;
    qk_strings_free(&list);
    return found;
}

static void choose(struct qk_plot *p, const struct qk_combined *c, const char *only)
{
    p->count = 0;
    for (int i = 0; i < c->count; i++) {
        if (only != NULL && !among(only, c->at[i].name))
            continue;
        p->number[p->count] = i + 1;
        p->at[p->count++] = &c->at[i];
    }
}

static int choose_conditions(struct qk_plot *p, const struct figure *f, struct qk_err *err)
{
    const struct qk_combined *c = p->in->combined;
    if (c == NULL)
        return 0;
    choose(p, c, f->only);
    if (f->must) {
        struct qk_strings names = {0};
        qk_strings_split(&names, f->only, ' ');
        const bool all = (size_t)p->count == names.count;
        qk_strings_free(&names);
        if (!all)
            return qk_fail(err, "%s needs conditions %s", f->name, f->only);
    }
    if (p->count == 0) /* another study's: what there is */
        choose(p, c, NULL);
    return 0;
}

/* ---- header ---- */

/* Studies name their conditions apart. */
static const char *study_of(const char *condition)
{
    static const char *const studies[][2] = {
        {"A", "causal50m"},     {"B", "causal50m"},       {"C", "causal50m"},
        {"D", "causal50m"},     {"QK", "pilot500k"},      {"NoQK", "pilot500k"},
        {"A1", "ablation25m"},  {"A2", "ablation25m"},    {"B1", "ablation25m"},
        {"B2", "ablation25m"},  {"C1", "ablation25m"},    {"C2", "ablation25m"},
        {"AdamW", "main300m"},  {"AdamW_QK", "main300m"}, {"Muon", "main300m"},
        {"Muon_QK", "main300m"}};
    return qk_words_for(studies, sizeof studies / sizeof studies[0], condition, NULL);
}

/* "88.6 M" */
static void add_count(struct qk_buffer *to, double n)
{
    if (n >= 1e9)
        qk_buffer_format(to, "%.3g B", n / 1e9);
    else if (n >= 1e6)
        qk_buffer_format(to, "%.3g M", n / 1e6);
    else if (n >= 1e4)
        qk_buffer_format(to, "%.3g K", n / 1e3);
    else
        qk_buffer_format(to, "%.0f", n);
}

static void add_seeds(struct qk_buffer *to, const struct qk_condition *c)
{
    if (!c->seeds[0].has_seed) {
        qk_buffer_format(to, c->n_seeds == 1 ? ", one seed" : ", %d seeds", c->n_seeds);
        return;
    }
    qk_buffer_text(to, c->n_seeds == 1 ? ", seed" : ", seeds");
    for (int s = 0; s < c->n_seeds; s++)
        qk_buffer_format(to, " %lld", (long long)c->seeds[s].seed);
}

/* What was studied at which scale, in one line, as far as its tokens; `file` has the config. */
static void begin_about(struct qk_buffer *to, const char *study, const cJSON *file, double tokens)
{
    const int64_t parameters = qk_results_parameters(file);
    qk_buffer_format(to, "# about: %s%s", study != NULL ? study : "", study != NULL ? ", " : "");
    if (parameters > 0) {
        add_count(to, (double)parameters);
        qk_buffer_text(to, " parameters, ");
    }
    add_count(to, tokens);
    qk_buffer_text(to, " tokens");
}

static void about_line(struct qk_buffer *to, const struct qk_plot *p)
{
    const struct qk_results *r = &p->at[0]->mean;
    begin_about(to, study_of(p->at[0]->name), r->json, r->tokens[r->points - 1]);
    add_seeds(to, p->at[0]);
    qk_buffer_text(to, "\n");
}

static void about_sweep(struct qk_buffer *to, const cJSON *chosen)
{
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(chosen, "config");
    const double tokens = qk_json_find_number(config, "train_tokens");
    const int seeds = qk_chosen_seeds(chosen);
    if (tokens > 0)
        begin_about(to, "sweep20m", chosen, tokens);
    else
        qk_buffer_text(to, "# about: sweep20m");
    qk_buffer_format(to, seeds == 1 ? ", one seed a rate\n" : ", %d seeds a rate\n", seeds);
}

static void name_lines(struct qk_buffer *to, const char *name, int number,
                       const struct qk_results *r)
{
    qk_buffer_format(to, "# label %s: %s\n", name, qk_plot_legend(name, r));
    if (name[1] == '\0') /* a letter has its place in the alphabet for a number */
        return;
    const bool coded = name[1] >= '0' && name[1] <= '9' && name[2] == '\0'; /* A1: not a word */
    qk_buffer_format(to, "# legend %s: %s%s%s\n", name, coded ? name : "", coded ? "  " : "",
                     qk_plot_legend(name, r));
    qk_buffer_format(to, "# short %s: %s\n# number %s: %d\n", name, qk_plot_short(name), name,
                     number);
}

static void combined_lines(struct qk_buffer *to, const struct qk_plot *p)
{
    const struct qk_results *r = &p->at[0]->mean;
    about_line(to, p);
    qk_buffer_text(to, "# conditions:");
    for (int i = 0; i < p->count; i++)
        qk_buffer_format(to, " %s", p->at[i]->name);
    qk_buffer_text(to, "\n");
    for (int i = 0; i < p->count; i++)
        name_lines(to, p->at[i]->name, p->number[i], &p->at[i]->mean);
    qk_buffer_format(to, "# seeds: %d\n", p->at[0]->n_seeds);
    if (r->site != NULL)
        qk_buffer_format(to, "# site: %s\n", qk_plot_site_words(r->site));
    if (r->head_dim > 0)
        qk_buffer_format(to, "# head_dim: %d\n", r->head_dim);
    if (!isnan(r->null_pr))
        qk_buffer_format(to, "# null: %.10g\n", r->null_pr);
    const cJSON *null_qk = cJSON_GetObjectItemCaseSensitive(r->json, "null_qk_pr");
    if (cJSON_IsNumber(null_qk))
        qk_buffer_format(to, "# null_qk: %.10g\n", null_qk->valuedouble);
    qk_buffer_format(to, "# tokens: %.0f\n", r->tokens[r->points - 1]);
}

/* The configurations of a sweep, in the file's order. */
static void chosen_lines(struct qk_buffer *to, const cJSON *chosen)
{
    const cJSON *item;
    int number = 0;
    const cJSON *site = cJSON_GetObjectItemCaseSensitive(chosen, "site");
    about_sweep(to, chosen);
    if (cJSON_IsString(site))
        qk_buffer_format(to, "# site: %s\n", qk_plot_site_words(site->valuestring));
    qk_buffer_text(to, "# conditions:");
    cJSON_ArrayForEach(item, chosen)
    {
        if (cJSON_GetObjectItemCaseSensitive(item, "grid") != NULL)
            qk_buffer_format(to, " %s", item->string);
    }
    qk_buffer_text(to, "\n");
    cJSON_ArrayForEach(item, chosen)
    {
        if (cJSON_GetObjectItemCaseSensitive(item, "grid") != NULL)
            name_lines(to, item->string, ++number, NULL);
    }
}

static void header(struct qk_buffer *to, const struct figure *f, const struct qk_plot *p,
                   const char *provenance)
{
    qk_buffer_format(to, "# figure: %s\n# title: %s\n", f->name, f->title);
    if (f->needs == QK_PLOT_CHOSEN)
        chosen_lines(to, p->in->chosen);
    else if (p->in->combined != NULL)
        combined_lines(to, p);
    qk_buffer_format(to, "# columns: %s\n", f->columns);
    if (provenance != NULL)
        qk_buffer_format(to, "# provenance: %s\n", provenance);
}

int qk_plotdata_write(struct qk_buffer *to, const char *figure, const struct qk_plot_inputs *in,
                      const char *provenance, struct qk_err *err)
{
    const struct figure *f = figure_of(figure);
    if (f == NULL) {
        char *names = qk_plotdata_figures();
        qk_fail(err, "there is no figure '%s', only %s", figure, names);
        free(names);
        return -1;
    }
    struct qk_plot p = {.figure = f->name, .in = in};
    if (check_inputs(f, in, err) != 0 || choose_conditions(&p, f, err) != 0)
        return -1;
    header(to, f, &p, provenance);
    return f->plot(to, &p, err);
}
