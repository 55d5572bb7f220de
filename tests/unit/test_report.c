#include "causal.h"

#include "study/judge/judge.h"
#include "study/judge/verdict.h"
#include "study/report/lint.h"
#include "study/report/page.h"
#include "study/report/report.h"

static char folder[] = "/tmp/qk-report-XXXXXX";

static const char *const svg =
    "<?xml version=\"1.0\"?>\n<!DOCTYPE svg>\n<svg \n width=\"980\" height=\"588\"\n viewBox=\"0 0 "
    "980 588\"\n xmlns=\"http://www.w3.org/2000/svg\">\n<title>Gnuplot</title>\n<desc>Produced by "
    "GNUPLOT</desc>\n<g id=\"gnuplot_canvas\"><title>data index i</title><defs><circle id='gpDot' "
    "r='0.5'/></defs>\n<use "
    "xlink:href='#gpDot'/><rect clip-path=\"url(#x)\"/></g></svg>\n";

static int make_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"1_loss",
                                        "2_key_pr_causal",
                                        "3_per_layer",
                                        "4_causal_decomposition",
                                        "5_gamma_cv",
                                        "panel_a_loss",
                                        "panel_b_pr_trajectory",
                                        "panel_c_per_layer",
                                        "panel_d_delta",
                                        "layer_pr_heatmap",
                                        "trajectory",
                                        "sv_waterfall",
                                        "data_complexity",
                                        "surgery",
                                        "gamma_vs_svd",
                                        "rank_and_loss",
                                        "lr_sweep",
                                        "val_loss",
                                        "mean_pr",
                                        "sv_spectra",
                                        "loss_vs_pr"};
    if (mkdtemp(folder) == NULL)
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *name = qk_format("%s.svg", names[i]);
        free(causal_file(folder, name, svg));
        free(name);
    }
    free(causal_file(folder, "1_loss.png", "png"));
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return remove_tree(folder);
}

/* ---- lint ---- */

/* 25 lines in all */
#define LIMITS                                                                                     \
    "## Limitations\n\n- One seed.\n- Learning rates were not tuned per condition.\n- One "        \
    "architecture of one size.\n- Another scale.\n- In production.\n"
#define GOOD                                                                                       \
    "# T\n\n## TL;DR\n\nA is 3. B is 2. C is 1.\n\n## Set-up\n\nx\n\n## Loss\n\n"                  \
    "![c](f/1_loss.png)\n\nIt falls by 2.\n\n" LIMITS

static void lint_finds(const char *markdown, const char *sentence)
{
    struct qk_err err = {""};
    int failed = qk_lint_text(markdown, "r.md", &err);
    if (sentence == NULL && failed)
        fail_msg("%s", err.text);
    if (sentence != NULL)
        assert_string_equal(failed ? err.text : "(nothing found)", sentence);
}

static void lint_passes_only_what_shows_its_evidence(void **state)
{
    (void)state;
    lint_finds(GOOD, NULL);
    lint_finds(GOOD "\n## Discussion\n\nThis proves 1.\n", "r.md: line 27: says \"proves\"");
    lint_finds(GOOD "\n## Discussion\n\nIt Proves, 1.\n", "r.md: line 27: says \"proves\"");
    lint_finds(GOOD "\n## Discussion\n\nIt improves by 1.\n", NULL);
    lint_finds(GOOD "\n## Discussion\n\nIt is better.\n",
               "r.md: line 27: a claim under 'Discussion' has neither number nor figure");
    lint_finds(GOOD "\n## Discussion\n\nA1 is above B_2, as main300m says.\n", /* only names */
               "r.md: line 27: a claim under 'Discussion' has neither number nor figure");
    lint_finds(GOOD "\n## Discussion\n\nA1 is at 2.\n", NULL);
    lint_finds(GOOD "\n## Discussion\n\n- 1 yes.\n- It is better.\n",
               "r.md: line 28: a claim under 'Discussion' has neither number nor figure");
    lint_finds(GOOD "\n## Discussion\n\nIt is better\nby 1.\n", NULL); /* one paragraph */
    lint_finds(GOOD "\n## Prior work\n\nIt is better.\n", NULL);       /* claims nothing of ours */
}

/* Every section that claims, and questions below one. */
static void lint_knows_the_sections(void **state)
{
    (void)state;
    static const char *const claiming[] = {"Verdict: which",
                                           "Loss against rank",
                                           "Representation quality",
                                           "Data complexity",
                                           "Surgery",
                                           "Reversal: does it",
                                           "Claims",
                                           "Downstream",
                                           "Gain",
                                           "Other measures",
                                           "The original's report beside ours"};
    for (size_t i = 0; i < sizeof claiming / sizeof claiming[0]; i++) {
        char *text = qk_format("%s\n## %s\n\nIt is better.\n", GOOD, claiming[i]);
        char *sentence = qk_format(
            "r.md: line 27: a claim under '%s' has neither number nor figure", claiming[i]);
        lint_finds(text, sentence);
        free(text);
        free(sentence);
    }
    lint_finds(GOOD "\n## Claims\n\n### Is it?\n\nIt is better.\n",
               "r.md: line 29: a claim under 'Is it?' has neither number nor figure");
    lint_finds(GOOD "\n## Claims\n\n### Is it?\n\nBy 2.\n", NULL);
    lint_finds(GOOD "\n## Claims\n\n### Is it?\n\n### And?\n\nBy 2.\n",
               "r.md: 'Is it?' is asked and not answered");
    lint_finds(GOOD "\n## Claims\n\n### Is it?\n", "r.md: 'Is it?' is asked and not answered");
    lint_finds(GOOD "\n## Downstream\n\nHellaSwag is 0.3.\n",
               "r.md: downstream numbers are given without their power");
    lint_finds(GOOD "\n## Downstream\n\nHellaSwag is 0.3, underpowered.\n", NULL);
}

#define TLDR "## TL;DR\n\n1. 2. 3.\n\n"
#define TOP TLDR "## Set-up\n\nx\n\n"

static void lint_wants_the_parts(void **state)
{
    (void)state;
    lint_finds("# T\n", "r.md: there is no TL;DR");
    lint_finds("## TL;DR\n\n1. 2.\n", "r.md: the TL;DR has fewer than three sentences");
    lint_finds(TLDR, "r.md: the set-up is missing");
    lint_finds(TOP, "r.md: the loss curves (figure 1_loss or its kin) are missing");
    lint_finds(TOP "![x](1_loss.png)\n", "r.md: the limitations are missing");
    lint_finds(TOP "![x](1_loss.png)\n\n## Limitations\n\n", "r.md: the limitations are missing");
    static const char *const curves[] = {"panel_a_loss", "rank_and_loss", "val_loss", "lr_sweep"};
    for (size_t i = 0; i < 4; i++) {
        char *text = qk_format(TOP "![x](%s.png)\n\n" LIMITS, curves[i]);
        lint_finds(text, NULL);
        free(text);
    }
}

/* Each thing that limitations speak of, left out once. */
static void lint_reads_the_limitations(void **state)
{
    (void)state;
    static const char *const items[][2] = {
        {"- One seed.\n", "seeds"},
        {"- Learning rates were not tuned per condition.\n", "learning rates"},
        {"- Of one size.\n", "the size of the model"},
        {"- One architecture.\n", "the architecture"},
        {"- Another scale.\n", "other scales"},
        {"- In production.\n", "production models"}};
    enum { ITEMS = sizeof items / sizeof items[0] };
    for (int out = 0; out < ITEMS; out++) {
        struct qk_buffer text = {0};
        qk_buffer_text(&text, TOP "![x](1_loss.png)\n\n## Limitations\n\n");
        for (int i = 0; i < ITEMS; i++)
            qk_buffer_text(&text, i == out ? "" : items[i][0]);
        char *sentence = qk_format("r.md: the limitations say nothing about %s", items[out][1]);
        lint_finds(text.at, sentence);
        free(sentence);
        qk_buffer_free(&text);
    }
}

/* Tuned and shown, or said not to be. */
static void lint_asks_how_rates_were_chosen(void **state)
{
    (void)state;
#define SOME                                                                                       \
    "\n\n## Limitations\n\n- One seed.\n- Learning rates.\n- One architecture of one size.\n- "    \
    "Another scale.\n- In production.\n"
    lint_finds(TOP "![x](val_loss.png)" SOME,
               "r.md: no tuning of learning rates is shown (figure lr_sweep), and the limitations "
               "do not say that they were not tuned per condition");
    lint_finds(TOP "![x](val_loss.png)\n\n![x](lr_sweep.png)" SOME, NULL);
    static const char *const untuned[] = {"Learning rates were not tuned per configuration",
                                          "No rate was chosen for Muon",
                                          "Muon was not trained at the rate the sweep chose"};
    for (size_t i = 0; i < 3; i++) {
        char *text = qk_format(TOP "![x](lr_sweep.png)" SOME "- %s.\n", untuned[i]);
        char *sentence = qk_format(
            "r.md: configurations are compared whose learning rates were not tuned for each: the "
            "limitations say \"%s\"",
            i == 0   ? "not tuned per configuration"
            : i == 1 ? "No rate was chosen for"
                     : "was not trained at the rate the sweep chose");
        lint_finds(text, sentence);
        free(text);
        free(sentence);
    }
}

/* ---- page ---- */

static void html_is_escaped_and_figures_are_inside(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_page p;
    qk_page_begin(&p, true, "a < b & c");
    qk_page_paragraph(&p, "B < A, `x<y` \"q\"");
    assert_works(qk_page_figure(&p, folder, "f", "1_loss", "Loss & more", &err));
    assert_works(qk_page_figure(&p, folder, "f", "5_gamma_cv", "Gain", &err));
    qk_page_end(&p);
    assert_non_null(strstr(p.text.at, "<title>a &lt; b &amp; c</title>"));
    assert_non_null(strstr(p.text.at, "<p>B &lt; A, <code>x&lt;y</code> &quot;q&quot;</p>"));
    assert_non_null(strstr(p.text.at, "aria-label=\"Loss &amp; more\""));
    assert_null(strstr(p.text.at, "width=\"980\""));
    assert_null(strstr(p.text.at, "Gnuplot"));
    assert_null(strstr(p.text.at, "data index"));
    assert_null(strstr(p.text.at, "<?xml"));
    assert_non_null(strstr(p.text.at, "viewBox=\"0 0 980 588\""));
    /* ids of the two figures do not meet */
    assert_non_null(strstr(p.text.at, "id='f1-gpDot'"));
    assert_non_null(strstr(p.text.at, "href='#f2-gpDot'"));
    assert_non_null(strstr(p.text.at, "url(#f2-x)"));
    assert_int_equal(qk_page_figure(&p, folder, "f", "9_none", "x", &err), -1);
    qk_buffer_free(&p.text);
}

/* ---- the whole report ---- */

static struct qk_combined combined;
static struct qk_verdict verdict;
static struct qk_provenance provenance = {.off = true};

static int write_report(struct qk_buffer *to, cJSON *judged, const char *out, bool html,
                        struct qk_err *err)
{
    const struct qk_report r = {.study = "causal50m",
                                .combined = &combined,
                                .verdict = judged,
                                .verdict_path = "v.json",
                                .figures = folder,
                                .out = out,
                                .published = true,
                                .html = html,
                                .provenance = &provenance};
    return qk_report_write(to, &r, err);
}

static cJSON *judge(void)
{
    struct qk_err err;
    assert_works(qk_combined_parse(&combined, causal_combined(), "test", &err));
    assert_works(qk_verdict_causal(&verdict, &combined, &err));
    return qk_verdict_json(&verdict);
}

static void forget(cJSON *judged)
{
    cJSON_Delete(judged);
    qk_verdict_free(&verdict);
    qk_combined_free(&combined);
}

static void reports_pass_their_own_lint(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_buffer text = {0};
    cJSON *judged = judge();
    char *out = qk_format("%s/../report.md", folder);
    assert_works(write_report(&text, judged, out, false, &err));
    assert_works(qk_lint_text(text.at, "report.md", &err));
    static const char *const parts[] = {
        "# Learned gain and normalisation both change mean key rank (one seed)\n",
        "> **Verdict:**",
        "## TL;DR",
        "## Set-up",
        "## Loss",
        "## Rank of the keys",
        "## Layer by layer",
        "## What changes the rank",
        "## Gain",
        "## Published values beside ours",
        "| A learned gain | 65.70 | 65.70 |",
        "## Loss against rank",
        "## Downstream",
        "## Discussion",
        "## Limitations",
        "## Prior work",
        "## Recommendations",
        "## How it was made",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(text.at, parts[i]) == NULL)
            fail_msg("'%s' is missing", parts[i]);
    qk_buffer_free(&text);
    free(out);
    forget(judged);
}

static void says(const char *text, const char *part, bool expected)
{
    if ((strstr(text, part) != NULL) != expected)
        fail_msg("'%s' is %s", part, expected ? "missing" : "there");
}

/* Results without a config, the published ones among them, do not tell the size of the model:
 * nothing may be said of it. */
static void an_untold_size_stays_untold(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_buffer text = {0};
    cJSON *judged = judge();
    assert_works(write_report(&text, judged, "-", false, &err));
    says(text.at, "does not tell the size of the model", true);
    says(text.at, "does not tell what model it is of", true);
    says(text.at, "smaller one", false);
    says(text.at, "different model", false);
    says(text.at, "SCALE=full", false);
    says(text.at, "−3.70", true); /* with a minus sign */
    says(text.at, " -3.70", false);
    says(text.at, "whatever the sign (one seed: no variance is known).", true);
    qk_buffer_free(&text);
    forget(judged);
}

/* A small model is called one at the top, and a fourth condition is shown. */
static void a_small_model_is_called_one(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_buffer text = {0};
    cJSON *json = causal_combined();
    cJSON *scalar = causal_results(1, 0.5);
    cJSON_ReplaceItemInObject(scalar, "tag", cJSON_CreateString("QK_scalar"));
    cJSON_AddItemToObject(json, "D", scalar);
    cJSON_AddItemToObject(
        cJSON_GetObjectItem(json, "A"), "config",
        qk_json_parse("{\"vocab_size\": 4096, \"d_model\": 128, \"n_layers\": 4, \"n_heads\": 4,"
                      "\"n_kv_heads\": 2, \"d_ff\": 512, \"seq_len\": 256, \"muon_lr\": 0.01,"
                      "\"adamw_lr\": 0.01, \"batch_size\": 1, \"train_tokens\": 1}",
                      "test", &err));
    assert_works(qk_combined_parse(&combined, json, "test", &err));
    assert_works(qk_verdict_causal(&verdict, &combined, &err));
    cJSON *judged = qk_verdict_json(&verdict);
    assert_works(write_report(&text, judged, "-", false, &err));
    const char *size = strstr(text.at, "but a smaller one: 1,246,592 parameters");
    assert_non_null(size);
    assert_true(size < strstr(text.at, "## TL;DR"));
    says(text.at, "| D scalar gain | 60.05 | −5.65 | +0.50 |", true);
    says(text.at, "Several language models", true);
    says(text.at, "`QK_scalar`), which changes temperature", false); /* it is there already */
    qk_buffer_free(&text);
    forget(judged);
}

/* Links lead from the report to the figures. */
static void links_are_relative(void **state)
{
    (void)state;
    struct qk_err err;
    static const char *const tail = "/1_loss.png)";
    const char *name = strrchr(folder, '/') + 1;
    cJSON *judged = judge();
    const struct {
        char *out, *link;
    } cases[] = {
        {qk_format("%s/r.md", folder), qk_format("](.%s", tail)},
        {qk_format("/tmp/r.md"), qk_format("](%s%s", name, tail)},
        {qk_format("/tmp/other/r.md"), qk_format("](../%s%s", name, tail)},
        {qk_format("r.md"), qk_format("](%s%s", folder, tail)},
        {qk_format("-"), qk_format("](%s%s", folder, tail)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qk_buffer text = {0};
        assert_works(write_report(&text, judged, cases[i].out, false, &err));
        if (strstr(text.at, cases[i].link) == NULL)
            fail_msg("'%s' is not in the report to %s", cases[i].link, cases[i].out);
        qk_buffer_free(&text);
        free(cases[i].out);
        free(cases[i].link);
    }
    forget(judged);
}

static void html_needs_nothing_else(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_buffer text = {0};
    cJSON *judged = judge();
    assert_works(write_report(&text, judged, "-", true, &err));
    static const char *const outside[] = {"src=", "<link", "url(http", "@import", "<script"};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++)
        assert_null(strstr(text.at, outside[i]));
    int figures = 0;
    for (const char *s = text.at; (s = strstr(s, "<svg")) != NULL; s++)
        figures++;
    assert_int_equal(figures, 5);
    assert_true(strstr(text.at, "class=\"verdict\"") < strstr(text.at, "TL;DR"));
    assert_non_null(strstr(text.at, "prefers-color-scheme:dark"));
    assert_non_null(strstr(text.at, "@media print"));
    qk_buffer_free(&text);
    forget(judged);
}

static void a_strange_verdict_is_refused(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_buffer text = {0};
    cJSON *judged = judge();
    cJSON_ReplaceItemInObject(judged, "outcome", cJSON_CreateString("A≠B≈C"));
    assert_int_equal(write_report(&text, judged, "-", false, &err), -1);
    assert_string_equal(err.text, "v.json: 'outcome' is not what the combined file gives: make the "
                                  "verdict anew");
    forget(judged);
}

/* ---- the other studies ---- */

#define CONFIG                                                                                     \
    "{\"vocab_size\": 4096, \"d_model\": 128, \"n_layers\": 1, \"n_heads\": 4, \"n_kv_heads\": 2," \
    "\"d_ff\": 512, \"seq_len\": 256, \"muon_lr\": 0.01, \"adamw_lr\": 0.01, \"batch_size\": 1,"   \
    "\"train_tokens\": 1}"
#define EVALS                                                                                      \
    "{\"hellaswag\": {\"task\": \"hellaswag\", \"n\": 200, \"value\": 0.27, \"stderr\": 0.0314,"   \
    "\"how\": {\"shots\": 10, \"shots_source\": \"same file\", \"definition\": \"lm-eval\"}},"     \
    "\"lambada\": {\"task\": \"lambada\", \"n\": 100, \"value\": 0.05, \"stderr\": 0.02,"          \
    "\"how\": {\"shots\": 0, \"shots_source\": null, \"definition\": \"lm-eval\"}}}"

static void add_text(cJSON *to, const char *key, const char *text)
{
    struct qk_err err;
    cJSON_AddItemToObject(to, key, qk_json_parse(text, "test", &err));
}

/* One run: points 0, 1 M, 2 M tokens, one layer, with what reports read beyond the original. */
static cJSON *study_run(double pr, double loss, int seed)
{
    cJSON *json = cJSON_CreateObject(), *layers = cJSON_AddObjectToObject(json, "layer_pr");
    const double tokens[3] = {0, 1e6, 2e6}, train[3] = {NAN, loss + 1, loss};
    const double rank[3] = {28, 26, pr}, q[3] = {28, 27, pr + 1};
    cJSON_AddStringToObject(json, "tag", "x");
    cJSON_AddStringToObject(json, "site", "post_rope");
    cJSON_AddItemToObject(json, "tokens", qk_json_numbers(tokens, 3));
    cJSON_AddItemToObject(json, "loss", qk_json_numbers(train, 3));
    cJSON_AddItemToObject(json, "val_loss", qk_json_numbers(train, 3));
    cJSON_AddItemToObject(json, "mean_pr", qk_json_numbers(rank, 3));
    cJSON_AddItemToObject(json, "q_pr", qk_json_numbers(q, 3));
    cJSON_AddItemToObject(layers, "0", qk_json_numbers(rank, 3));
    cJSON_AddItemToObject(json, "gamma_cv", cJSON_CreateObject());
    cJSON_AddNumberToObject(json, "seed", seed);
    cJSON_AddNumberToObject(json, "head_dim", 32);
    cJSON_AddNumberToObject(json, "null_pr", 31.87);
    add_text(json, "config", CONFIG);
    add_text(json, "evals", EVALS);
    return json;
}

static void add_study(cJSON *to, const char *name, double pr, double loss, int seeds)
{
    cJSON *json = study_run(pr, loss, 42);
    if (seeds > 1) {
        cJSON *list = cJSON_AddArrayToObject(json, "seeds");
        for (int s = 0; s < seeds; s++)
            cJSON_AddItemToArray(list, study_run(pr + 0.1 * s, loss + 0.001 * s, 42 + s));
    }
    cJSON_AddItemToObject(to, name, json);
}

static cJSON *study_combined(const char *names, int seeds)
{
    cJSON *json = cJSON_CreateObject();
    struct qk_strings list = {0};
    qk_strings_split(&list, names, ' ');
    for (size_t i = 0; i < list.count; i++)
        add_study(json, list.at[i], 20 + 2.0 * (double)i, 4 + 0.1 * (double)i, seeds);
    qk_strings_free(&list);
    return json;
}

static const char *const chosen_text =
    "{\"config\": " CONFIG
    ", \"AdamW\": {\"lr\": {\"muon\": null, \"adamw\": 0.001}, \"rate\": 0.001, \"val_loss\": 4.1,"
    "\"rank\": 24, \"edge\": false, \"side\": null, \"add\": [], \"grid\": ["
    "{\"rate\": 0.0003, \"lr\": {\"muon\": null, \"adamw\": 0.0003}, \"val_loss\": 4.3, "
    "\"mean_pr\": 27},"
    "{\"rate\": 0.001, \"lr\": {\"muon\": null, \"adamw\": 0.001}, \"val_loss\": 4.1, \"mean_pr\": "
    "24}]},"
    "\"Muon_QK\": {\"lr\": {\"muon\": 0.02, \"adamw\": 0.005}, \"rate\": 0.02, \"val_loss\": 4.0,"
    "\"rank\": 22, \"edge\": true, \"side\": \"high\", \"add\": [0.04], \"grid\": ["
    "{\"rate\": 0.02, \"lr\": {\"muon\": 0.02, \"adamw\": 0.005}, \"val_loss\": 4.0, \"mean_pr\": "
    "22}]}}";

static const char *const surgery_text =
    "{\"A1\": {"
    "\"svd\": [{\"fraction\": 0, \"loss\": 4}, {\"fraction\": 0.5, \"loss\": 4.1}],"
    "\"gamma\": [{\"fraction\": 0, \"loss\": 4}, {\"fraction\": 0.5, \"loss\": 4.3}],"
    "\"random\": [{\"fraction\": 0, \"loss\": 4}, {\"fraction\": 0.5, \"loss\": 4.6}]}}";

/* What a study's report is made from. */
struct study {
    struct qk_combined combined;
    struct qk_surgery surgery;
    cJSON *chosen, *verdict;
    struct qk_report r;
};

static void study_open(struct study *s, const char *study, cJSON *json, bool surgery, bool chosen)
{
    struct qk_err err;
    *s = (struct study){.r = {.study = study,
                              .verdict_path = "v.json",
                              .figures = folder,
                              .out = "-",
                              .provenance = &provenance}};
    if (json != NULL) {
        assert_works(qk_combined_parse(&s->combined, json, "test", &err));
        s->r.combined = &s->combined;
    }
    if (surgery) {
        char *path = causal_file(folder, "surgery.json", surgery_text);
        assert_works(qk_surgery_read(&s->surgery, path, &err));
        free(path);
        s->r.surgery = &s->surgery;
    }
    if (chosen)
        s->r.chosen = s->chosen = qk_json_parse(chosen_text, "test", &err);
    if (chosen && json != NULL) { /* a rate for each of what is compared: the one it has */
        cJSON_DeleteItemFromObject(cJSON_GetObjectItem(s->chosen, "Muon_QK"), "lr");
        cJSON_DeleteItemFromObject(cJSON_GetObjectItem(s->chosen, "AdamW"), "lr");
        for (int i = 0; i < 2; i++)
            cJSON_AddItemToObject(
                s->chosen, i ? "Muon" : "AdamW_QK",
                cJSON_Duplicate(cJSON_GetObjectItem(s->chosen, i ? "Muon_QK" : "AdamW"), 1));
    }
    const struct qk_evidence e = {s->r.combined, s->r.surgery, s->r.chosen};
    s->r.verdict = s->verdict = qk_judge(study, &e, &err);
    if (s->verdict == NULL)
        fail_msg("%s", err.text);
}

static void study_close(struct study *s)
{
    cJSON_Delete(s->verdict);
    cJSON_Delete(s->chosen);
    qk_surgery_free(&s->surgery);
    qk_combined_free(&s->combined);
}

/* Both forms are written, pass the lint, and the Markdown has these parts. */
static void reports(struct study *s, const char *const *parts)
{
    struct qk_err err;
    struct qk_buffer text = {0}, page = {0};
    static const char *const common[] = {"## TL;DR",
                                         "## Set-up",
                                         "### Learning rates",
                                         "## Loss",
                                         "## Representation quality",
                                         "## Loss against rank",
                                         "## Downstream",
                                         "## Discussion",
                                         "## Limitations",
                                         "## Prior work",
                                         "## Recommendations",
                                         "## How it was made",
                                         "in production models"};
    assert_works(qk_report_write(&text, &s->r, &err));
    const char *dump = getenv("QK_REPORT_DUMP");
    if (dump != NULL) {
        char *name = qk_format("%s.md", s->r.study);
        free(causal_file(dump, name, text.at));
        free(name);
    }
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        says(text.at, common[i], true);
    for (; *parts != NULL; parts++)
        says(text.at, *parts, true);
    s->r.html = true;
    assert_works(qk_report_write(&page, &s->r, &err));
    says(page.at, "</html>", true);
    qk_buffer_free(&text);
    qk_buffer_free(&page);
    study_close(s);
}

static void the_pilot_has_the_originals_report_beside_it(void **state)
{
    (void)state;
    struct study s;
    static const char *const parts[] = {
        "## The original's report beside ours",
        "wrong: independent Gaussian rows of 8,192 × 128 "
        "have 127.5",
        "| 0.4096 | 114.05 | 113.30 | +0.75 | −0.030 | 2 | 20.00 | 22.00 | −2.00 | −0.100 |",
        "31.87, against 28.00 measured at the first point",
        "panel_d_delta",
        NULL};
    study_open(&s, "pilot500k", study_combined("QK NoQK", 1), false, false);
    reports(&s, parts);
}

static void the_ablation_answers_its_claims(void **state)
{
    (void)state;
    struct study s;
    static const char *const parts[] = {"### Is collapse jointly determined",
                                        "### Does QK-Norm accelerate it?",
                                        "### Does Muon's spectral evolution",
                                        "### Is depth adaptive to data?",
                                        "### What follows for pruning?",
                                        "For pruning: areas",
                                        "re-inflated to length √32",
                                        "| A1 | svd |",
                                        "not tuned per condition",
                                        "gamma_vs_svd",
                                        "| A1 | ",
                                        NULL};
    study_open(&s, "ablation25m", study_combined("A1 A2 B1 B2 C1 C2", 1), true, false);
    reports(&s, parts);
}

static void the_ablation_says_what_it_cannot_tell(void **state)
{
    (void)state;
    struct study s;
    static const char *const parts[] = {"It cannot be told: that needs dose curves",
                                        "No surgery was run here", NULL};
    study_open(&s, "ablation25m", study_combined("A1 A2 B1 B2 C1 C2", 1), false, false);
    reports(&s, parts);
}

static void the_sweep_reports_without_runs(void **state)
{
    (void)state;
    struct study s;
    static const char *const parts[] = {"lr_sweep",
                                        "Extend the grid of Muon+QK at its high end",
                                        "AdamW: rate 0.001 wins",
                                        "| parameters (first run) | 704,960 |",
                                        "1 layers against 22, head dimension 32 against 64",
                                        NULL};
    study_open(&s, "sweep20m", NULL, false, true);
    reports(&s, parts);
}

static void the_main_study_tells_its_power(void **state)
{
    (void)state;
    struct study s;
    static const char *const parts[] = {"## Verdict: which scenario",
                                        "## Reversal",
                                        "underpowered by design",
                                        "must differ by about 0.0870",
                                        "0.2700 ± 0.0314",
                                        "lr_sweep",
                                        "| Muon+QK | 43 |",
                                        "10 shots (from: same file)",
                                        "100 items, 0 shots, definition of lm-eval.",
                                        NULL};
    study_open(&s, "main300m", study_combined("AdamW AdamW_QK Muon Muon_QK", 2), false, true);
    reports(&s, parts);
}

/* Without a sweep there is nothing to compare. */
static void the_main_study_without_a_sweep_is_no_report(void **state)
{
    (void)state;
    struct study s;
    struct qk_err err;
    struct qk_buffer text = {0};
    study_open(&s, "main300m", study_combined("AdamW AdamW_QK Muon Muon_QK", 2), false, false);
    assert_int_equal(qk_report_write(&text, &s.r, &err), -1);
    says(err.text, "were not tuned for each", true);
    study_close(&s);
}

static void a_report_needs_its_own_verdict(void **state)
{
    (void)state;
    struct study s;
    struct qk_err err;
    struct qk_buffer text = {0};
    study_open(&s, "pilot500k", study_combined("QK NoQK", 1), false, false);
    s.r.study = "main300m";
    assert_int_equal(qk_report_write(&text, &s.r, &err), -1);
    assert_string_equal(err.text, "v.json: is no verdict of main300m");
    s.r.study = "pilot500k";
    cJSON_ReplaceItemInObject(s.verdict, "outcome", cJSON_CreateString("x"));
    assert_int_equal(qk_report_write(&text, &s.r, &err), -1);
    assert_string_equal(err.text, "v.json: 'outcome' is not what the combined file gives: make the "
                                  "verdict anew");
    study_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lint_passes_only_what_shows_its_evidence),
        cmocka_unit_test(lint_knows_the_sections),
        cmocka_unit_test(lint_wants_the_parts),
        cmocka_unit_test(lint_reads_the_limitations),
        cmocka_unit_test(lint_asks_how_rates_were_chosen),
        cmocka_unit_test(html_is_escaped_and_figures_are_inside),
        cmocka_unit_test(reports_pass_their_own_lint),
        cmocka_unit_test(an_untold_size_stays_untold),
        cmocka_unit_test(a_small_model_is_called_one),
        cmocka_unit_test(links_are_relative),
        cmocka_unit_test(html_needs_nothing_else),
        cmocka_unit_test(a_strange_verdict_is_refused),
        cmocka_unit_test(the_pilot_has_the_originals_report_beside_it),
        cmocka_unit_test(the_ablation_answers_its_claims),
        cmocka_unit_test(the_ablation_says_what_it_cannot_tell),
        cmocka_unit_test(the_sweep_reports_without_runs),
        cmocka_unit_test(the_main_study_tells_its_power),
        cmocka_unit_test(the_main_study_without_a_sweep_is_no_report),
        cmocka_unit_test(a_report_needs_its_own_verdict),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
