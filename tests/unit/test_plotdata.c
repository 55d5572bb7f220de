#include "causal.h"

#include "study/plot/plotdata.h"

static struct qk_combined combined;
static const struct qk_plot_inputs inputs = {.combined = &combined};
static struct qk_buffer text;

static void plot(const char *figure, cJSON *json)
{
    struct qk_err err;
    text.size = 0;
    assert_works(qk_combined_parse(&combined, json, "test", &err));
    assert_works(qk_plotdata_write(&text, figure, &inputs, NULL, &err));
}

static void forget(void)
{
    qk_combined_free(&combined);
    qk_buffer_free(&text);
    text = (struct qk_buffer){0};
}

static int count(const char *needle)
{
    int n = 0;
    for (const char *s = text.at; (s = strstr(s, needle)) != NULL; s += strlen(needle))
        n++;
    return n;
}

static void has(const char *needle)
{
    if (strstr(text.at, needle) == NULL)
        fail_msg("'%s' is not in:\n%s", needle, text.at);
}

static void headers_tell_the_conditions(void **state)
{
    (void)state;
    plot("2_key_pr_causal", causal_combined());
    has("# figure: 2_key_pr_causal\n# title: ");
    has("# about: causal50m, 49.2 M tokens, one seed\n");
    has("# conditions: A B C\n# label A: learned γ\n# label B: frozen γ = 1\n# label C: no "
        "QK-Norm\n");
    has("# seeds: 1\n");
    has("# tokens: 49152000\n");
    has("# pattern: all differ\n# meaning: the gain and the normalisation both change mean key "
        "rank\n");
    has("# differences: A−B = +6.15, B−C = −3.70, A−C = +2.45\n");
    assert_null(strstr(text.at, "provenance"));
    assert_null(strstr(text.at, "# null"));
    forget();
}

/* Blocks end in two blank lines: gnuplot's `index`. */
static void a_block_per_condition(void **state)
{
    (void)state;
    plot("2_key_pr_causal", causal_combined());
    assert_int_equal(count("\n\n\n"), 3);
    has("\n0 86.85 86.85 86.85\n1966080 82.18 82.18 82.18\n");
    has("\n49152000 63.25 63.25 63.25\n");
    forget();
    plot("1_loss", causal_combined());
    assert_int_equal(count("\n\n\n"), 5);
    has("\n0 NaN NaN NaN NaN NaN NaN\n1966080 7.254 7.254 7.254 6.467 6.467 6.467\n");
    has("# B-A: ");
    has("# C-A: ");
    forget();
}

static void layers_and_their_differences(void **state)
{
    (void)state;
    plot("3_per_layer", causal_combined());
    assert_int_equal(count("\n\n\n"), 1);
    has("\n0 62.7 62.7 62.7 86.85 58.05 58.05 58.05 86.85 61 61 61 86.42\n");
    has("# head_dim: 4\n");
    forget();
    plot("4_causal_decomposition", causal_combined());
    has("\n0 4.65 4.65 4.65 -2.95 -2.95 -2.95\n");
    has("\n3 7.65 7.65 7.65 -4.45 -4.45 -4.45\n");
    forget();
}

/* Four layers: first, quarter, middle and three quarters, last without repeats. */
static void gamma_of_chosen_layers(void **state)
{
    (void)state;
    plot("5_gamma_cv", causal_combined());
    has("# condition: A\n# lines: 4\n# line 0: layer 0\n# line 1: layer 1\n# line 2: layer 2\n"
        "# line 3: layer 3\n");
    assert_int_equal(count("\n\n\n"), 4);
    forget();
}

static void seeds_give_a_band(void **state)
{
    (void)state;
    static const double shift[3][3] = {{1, -1, 0}, {0.5, -0.5, 0}, {0, 0, 0}};
    cJSON *json = cJSON_CreateObject();
    for (int i = 0; i < 3; i++) {
        char letter[2] = {(char)('A' + i), '\0'};
        cJSON_AddItemToObject(json, letter, causal_condition(i, shift[i], 3));
    }
    plot("2_key_pr_causal", json);
    has("# about: causal50m, 49.2 M tokens, seeds 100 101 102\n");
    has("# seeds: 3\n");
    has("\n0 86.85 85.85 87.85\n");
    forget();
}

/* B-C is open: the box of the figure must not say what the title does not. */
static void an_open_pattern_is_called_open(void **state)
{
    (void)state;
    static const double shift[3][3] = {{0.1, -0.1, 0}, {0, 0, 0}, {-5, 5, 0}};
    cJSON *json = cJSON_CreateObject();
    for (int i = 0; i < 3; i++) {
        char letter[2] = {(char)('A' + i), '\0'};
        cJSON_AddItemToObject(json, letter, causal_condition(i, shift[i], 3));
    }
    plot("2_key_pr_causal", json);
    has("# pattern: all differ\n# meaning: so the means, but 3 seeds do not settle it\n");
    forget();
}

static void what_cannot_be_drawn_is_refused(void **state)
{
    (void)state;
    struct qk_err err;
    cJSON *json = causal_combined();
    cJSON_DeleteItemFromObject(json, "A");
    assert_works(qk_combined_parse(&combined, json, "test", &err));
    assert_int_equal(qk_plotdata_write(&text, "4_causal_decomposition", &inputs, NULL, &err), -1);
    assert_string_equal(err.text, "4_causal_decomposition needs conditions A, B and C");
    assert_int_equal(qk_plotdata_write(&text, "5_gamma_cv", &inputs, NULL, &err), -1);
    assert_string_equal(err.text, "5_gamma_cv: no condition has a learned gain with 'gamma_cv'");
    assert_int_equal(qk_plotdata_write(&text, "6_x", &inputs, NULL, &err), -1);
    /* the others draw what there is */
    assert_works(qk_plotdata_write(&text, "2_key_pr_causal", &inputs, NULL, &err));
    has("# conditions: B C\n");
    forget();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_tell_the_conditions),
        cmocka_unit_test(a_block_per_condition),
        cmocka_unit_test(layers_and_their_differences),
        cmocka_unit_test(gamma_of_chosen_layers),
        cmocka_unit_test(seeds_give_a_band),
        cmocka_unit_test(an_open_pattern_is_called_open),
        cmocka_unit_test(what_cannot_be_drawn_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
