#include "causal.h"

#include "study/lint.h"
#include "study/page.h"
#include "study/report.h"

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
    static const char *const names[] = {"1_loss", "2_key_pr_causal", "3_per_layer",
                                        "4_causal_decomposition", "5_gamma_cv"};
    if (mkdtemp(folder) == NULL)
        return -1;
    for (int i = 0; i < 5; i++) {
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

#define GOOD                                                                                       \
    "# T\n\n## TL;DR\n\nA is 3.\n\n## Loss\n\n![c](f/1_loss.png)\n\nIt falls by 2.\n\n"            \
    "## Limitations\n\n- One seed.\n- Learning rates untuned.\n"

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
    lint_finds(GOOD "\n## Discussion\n\nThis proves 1.\n", "r.md: line 20: says \"proves\"");
    lint_finds(GOOD "\n## Discussion\n\nIt Proves, 1.\n", "r.md: line 20: says \"proves\"");
    lint_finds(GOOD "\n## Discussion\n\nIt improves by 1.\n", NULL);
    lint_finds(GOOD "\n## Discussion\n\nIt is better.\n",
               "r.md: line 20: a claim under 'Discussion' has neither number nor figure");
    lint_finds(GOOD "\n## Discussion\n\n- 1 yes.\n- It is better.\n",
               "r.md: line 21: a claim under 'Discussion' has neither number nor figure");
    lint_finds(GOOD "\n## Discussion\n\nIt is better\nby 1.\n", NULL); /* one paragraph */
    lint_finds(GOOD "\n## Prior work\n\nIt is better.\n", NULL);       /* claims nothing of ours */
}

static void lint_wants_the_parts(void **state)
{
    (void)state;
    lint_finds("# T\n", "r.md: there is no TL;DR");
    lint_finds("## TL;DR\n\n1.\n", "r.md: the loss curves (figure 1_loss) are missing");
    lint_finds("## TL;DR\n\n1.\n\n![x](1_loss.png)\n", "r.md: the limitations are missing");
    lint_finds("## TL;DR\n\n1.\n\n![x](1_loss.png)\n\n## Limitations\n\n",
               "r.md: the limitations are missing");
    lint_finds("## TL;DR\n\n1.\n\n![x](1_loss.png)\n\n## Limitations\n\n- Small.\n",
               "r.md: the limitations say nothing about seeds");
    lint_finds("## TL;DR\n\n1.\n\n![x](1_loss.png)\n\n## Limitations\n\n- One seed.\n",
               "r.md: the limitations say nothing about learning rates");
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
    const struct qk_report r = {.combined = &combined,
                                .numbers = &verdict,
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lint_passes_only_what_shows_its_evidence),
        cmocka_unit_test(lint_wants_the_parts),
        cmocka_unit_test(html_is_escaped_and_figures_are_inside),
        cmocka_unit_test(reports_pass_their_own_lint),
        cmocka_unit_test(an_untold_size_stays_untold),
        cmocka_unit_test(a_small_model_is_called_one),
        cmocka_unit_test(links_are_relative),
        cmocka_unit_test(html_needs_nothing_else),
        cmocka_unit_test(a_strange_verdict_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
