/* The figures of pilot500k, ablation25m, sweep20m and main300m: blocks and headers. */
#include <math.h>

#include "causal.h"

#include "study/plot/plotdata.h"
#include "study/plot/plotparts.h"

static struct qk_combined combined;
static struct qk_buffer text;

/* A run of two layers at 0, 1 M and 2 M tokens whose PR ends at `pr`. */
static cJSON *run_of(const char *tag, double pr, double loss)
{
    struct qk_err err;
    char *json =
        qk_format("{\"tag\": \"%s\", \"tokens\": [0, 1000000, 2000000], \"loss\": [null, %g, %g],"
                  "\"val_loss\": [9, %g, %g], \"mean_pr\": [60, 50, %g],"
                  "\"layer_pr\": {\"0\": [61, 51, %g], \"1\": [59, 49, %g]}, \"gamma_cv\": {},"
                  "\"q_pr\": [55, 45, %g], \"entropy\": [4, 3, 2.5], \"max_logit\": [1, 2, 3],"
                  "\"mean_pr_sites\": {\"pre_norm\": [58, 48, 38], \"weight\": [62, 61, 60]},"
                  "\"head_dim\": 4, \"rows\": 1000, \"null_pr\": 3.999, \"null_qk_pr\": 3.5,"
                  "\"site\": \"post_rope\", \"seed\": 42}",
                  tag, loss + 0.2, loss + 0.1, loss + 0.25, loss, pr, pr + 1, pr - 1, pr - 5);
    cJSON *object = qk_json_parse(json, "test", &err);
    free(json);
    assert_non_null(object);
    return object;
}

/* Names and PRs at the end; losses 5, 5.5, 6, ... */
static cJSON *study_of(int count, const char *const names[], const double prs[])
{
    cJSON *json = cJSON_CreateObject();
    for (int i = 0; i < count; i++)
        cJSON_AddItemToObject(json, names[i], run_of(names[i], prs[i], 5 + 0.5 * i));
    return json;
}

static cJSON *pilot(void)
{
    return study_of(2, (const char *const[]){"QK", "NoQK"}, (const double[]){40, 38});
}

static cJSON *ablation(void)
{
    return study_of(6, (const char *const[]){"A1", "A2", "B1", "B2", "C1", "C2"},
                    (const double[]){30, 51, 16, 33, 28, 35});
}

static cJSON *main300m(void)
{
    return study_of(4, (const char *const[]){"AdamW", "AdamW_QK", "Muon", "Muon_QK"},
                    (const double[]){40, 30, 50, 45});
}

static int write_figure(const char *figure, cJSON *json, const struct qk_plot_inputs *others,
                        struct qk_err *why)
{
    struct qk_err err;
    struct qk_plot_inputs in = others != NULL ? *others : (struct qk_plot_inputs){0};
    text.size = 0;
    if (json != NULL) {
        assert_works(qk_combined_parse(&combined, json, "test", &err));
        in.combined = &combined;
    }
    return qk_plotdata_write(&text, figure, &in, NULL, why);
}

static void plot(const char *figure, cJSON *json)
{
    struct qk_err err;
    assert_works(write_figure(figure, json, NULL, &err));
}

static void refused(const char *figure, cJSON *json, const char *why)
{
    struct qk_err err;
    assert_int_equal(write_figure(figure, json, NULL, &err), -1);
    assert_string_equal(err.text, why);
}

static void forget(void)
{
    if (combined.json != NULL)
        qk_combined_free(&combined);
    combined = (struct qk_combined){0};
    qk_buffer_free(&text);
    text = (struct qk_buffer){0};
}

static int blocks(void)
{
    int n = 0;
    for (const char *s = text.at; (s = strstr(s, "\n\n\n")) != NULL; s += 3)
        n++;
    return n;
}

static void has(const char *needle)
{
    if (strstr(text.at, needle) == NULL)
        fail_msg("'%s' is not in:\n%s", needle, text.at);
}

/* ---- names ---- */

static void conditions_have_names_and_numbers(void **state)
{
    (void)state;
    plot("trajectory", ablation());
    has("# about: ablation25m, 2 M tokens, seed 42\n# conditions: A1 A2 B1 B2\n");
    has("# label B1: QK-Norm, AdamW\n# legend B1: B1  QK-Norm, AdamW\n# short B1: B1\n"
        "# number B1: 3\n");
    has("# null: 3.999\n# null_qk: 3.5\n");
    forget();
    plot("mean_pr", main300m());
    has("# about: main300m, ");
    has("# legend Muon_QK: Muon+QK\n# short Muon_QK: Muon+QK\n# number Muon_QK: 4\n");
    forget();
    /* the second half of a study keeps its colours */
    plot("data_complexity", ablation());
    has("# conditions: C1 C2\n");
    has("# number C1: 5\n");
    forget();
}

/* ---- pilot500k ---- */

static void panels_of_the_pilot(void **state)
{
    (void)state;
    plot("panel_a_loss", pilot());
    assert_int_equal(blocks(), 2);
    has("\n0 NaN NaN NaN 9 9 9\n1000000 5.2 5.2 5.2 5.25 5.25 5.25\n");
    forget();
    plot("panel_b_pr_trajectory", pilot());
    assert_int_equal(blocks(), 3);
    has("# gap: tokens, PR of QK, of NoQK\n0 60 60\n1000000 50 50\n2000000 40 38\n");
    forget();
    plot("panel_c_per_layer", pilot());
    assert_int_equal(blocks(), 1);
    has("\n0 41 41 41 61 39 39 39 61\n");
    forget();
    plot("sheet", pilot());
    assert_int_equal(blocks(), 2 + 3 + 1 + 1);
    forget();
}

static void the_largest_difference_is_named(void **state)
{
    (void)state;
    cJSON *json = pilot(), *of_none = cJSON_GetObjectItem(json, "NoQK");
    cJSON *layer = cJSON_GetObjectItem(cJSON_GetObjectItem(of_none, "layer_pr"), "1");
    cJSON_ReplaceItemInArray(layer, 2, cJSON_CreateNumber(46));
    plot("panel_d_delta", json);
    assert_int_equal(blocks(), 1);
    has("# largest: 1 -7\n# positive: 1 of 2\n");
    has("\n0 2 2 2\n1 -7 -7 -7\n");
    forget();
    refused("panel_d_delta", main300m(), "panel_d_delta needs two conditions, not 4");
    forget();
    refused("sheet", main300m(), "sheet needs two conditions, not 4");
    forget();
}

static void heat_maps_by_tokens_and_by_condition(void **state)
{
    (void)state;
    plot("layer_pr_heatmap", pilot());
    assert_int_equal(blocks(), 3);
    has("# points: 3\n# layers: 2\n");
    has("# QK: layer, point, tokens, PR\n0 0 0 61\n0 1 1000000 51\n0 2 2000000 41\n\n1 0 0 59\n");
    has("# layer, condition (from 1), PR at the end\n0 1 41\n0 2 39\n\n1 1 39\n1 2 37\n");
    forget();
}

/* ---- ablation25m ---- */

static void trajectories_and_drops(void **state)
{
    (void)state;
    plot("trajectory", ablation());
    assert_int_equal(blocks(), 4);
    has("\n2000000 16 16 16 11 11 11\n");
    forget();
    plot("rank_and_loss", ablation());
    assert_int_equal(blocks(), 4);
    has("# drop A1: 1000000 2000000 -20\n# drop A2: 0 1000000 -10\n");
    has("\n2000000 51 51 51 5.5 5.5 5.5\n");
    forget();
    plot("data_complexity", ablation());
    assert_int_equal(blocks(), 3);
    has("\n1 27 27 27 59 34 34 34 59\n");
    forget();
    refused("data_complexity", pilot(), "data_complexity needs conditions C1 C2");
    forget();
}

/* Two points of spectra for each layer: 1, a/2 ...; the last halves what the first has. */
static void add_spectra(cJSON *json)
{
    cJSON *condition;
    cJSON_ArrayForEach(condition, json)
    {
        cJSON *spectra = cJSON_AddObjectToObject(condition, "spectra");
        cJSON_AddItemToObject(spectra, "tokens", qk_json_numbers((const double[]){0, 2000000}, 2));
        cJSON *layers = cJSON_AddObjectToObject(spectra, "layers");
        for (int l = 0; l < 2; l++) {
            cJSON *points = cJSON_AddArrayToObject(layers, l == 0 ? "0" : "1");
            cJSON_AddItemToArray(points,
                                 qk_json_numbers((const double[]){1, 0.8, 0.6, l ? 0.4 : 0.2}, 4));
            cJSON_AddItemToArray(points,
                                 qk_json_numbers((const double[]){1, 0.4, 0.3, l ? 0.2 : 0.1}, 4));
        }
    }
}

static void spectra_and_their_null(void **state)
{
    (void)state;
    cJSON *json = ablation();
    add_spectra(json);
    plot("sv_waterfall", json);
    assert_int_equal(blocks(), 5);
    has("# points: 0 2000000\n");
    has("# A1: i, sigma_i/sigma_1 at each point\n1 1 1\n2 0.8 0.4\n3 0.6 0.3\n4 0.3 0.15\n");
    has("# gaussian: i, sigma_i/sigma_1 of Gaussian rows\n1 1\n2 0.9");
    forget();
    json = main300m();
    add_spectra(json);
    plot("sv_spectra", json);
    assert_int_equal(blocks(), 2 * 4 + 1);
    has("# chosen: 0 1\n# from: 0\n# to: 2000000\n");
    has("# layer 1, Muon: i, sigma_i/sigma_1 at the end, low, high, start\n1 1 1 1 1\n"
        "2 0.4 0.4 0.4 0.8\n3 0.3 0.3 0.3 0.6\n4 0.2 0.2 0.2 0.4\n");
    forget();
    refused("sv_waterfall", ablation(),
            "sv_waterfall: A1 has no 'spectra': was it probed with --spectra?");
    forget();
    refused("sv_spectra", main300m(),
            "sv_spectra: AdamW has no 'spectra': was it probed with --spectra?");
    forget();
}

/* Singular values of a Gaussian matrix of many rows lie within 1 ± sqrt(c), symmetric in the
 * middle; their PR is d (1 - c/4). */
static void the_null_is_marchenko_and_pastur(void **state)
{
    (void)state;
    double ratios[64], sum = 0, squares = 0;
    qk_plot_null_spectrum(ratios, 1000, 64);
    assert_true(ratios[0] == 1);
    for (int i = 0; i < 64; i++) {
        assert_true(i == 0 || ratios[i] < ratios[i - 1]);
        sum += ratios[i];
        squares += ratios[i] * ratios[i];
    }
    const double c = 64.0 / 1000;
    assert_true(ratios[63] > 1.025 * (1 - sqrt(c)) / (1 + sqrt(c))); /* half a step inside */
    assert_true(ratios[63] < 1.06 * (1 - sqrt(c)) / (1 + sqrt(c)));
    assert_true(fabs(sum * sum / squares - 64 * (1 - c / 4)) < 0.05);
}

static void gain_against_spectrum(void **state)
{
    (void)state;
    struct qk_err err;
    cJSON *json = ablation();
    cJSON_AddItemToObject(
        cJSON_GetObjectItem(json, "B1"), "contribution",
        qk_json_parse("{\"0\": {\"site\": \"pre_norm\", \"gamma\": [1, 2], \"c\": [0.25, 0.75], "
                      "\"spearman\": 1},"
                      " \"1\": {\"gamma\": [2, -1], \"c\": [0.4, 0.6], \"spearman\": -1}}",
                      "test", &err));
    plot("gamma_vs_svd", json);
    assert_int_equal(blocks(), 2);
    has("# panels: B1\n# layers: 2\n# keys: before the norm\n");
    has("\n0 1 0.25\n0 2 0.75\n1 2 0.4\n1 1 0.6\n");
    has("# layer, Spearman's rho per condition\n0 1\n1 -1\n");
    forget();
    refused("gamma_vs_svd", ablation(),
            "gamma_vs_svd: no condition has 'contribution', which needs a learned gain");
    forget();
    json = ablation();
    cJSON_AddItemToObject(
        cJSON_GetObjectItem(json, "A1"), "contribution",
        qk_json_parse("{\"0\": {\"gamma\": [1, 2], \"c\": [0.25]}}", "test", &err));
    refused("gamma_vs_svd", json, "gamma_vs_svd: 'contribution' of A1 has no pairs for layer 0");
    forget();
}

static void dose_curves(void **state)
{
    (void)state;
    struct qk_err err;
    cJSON *surgery = qk_json_parse(
        "{\"A1\": {\"svd\": [{\"fraction\": 0, \"loss\": 4, \"stderr\": 0.1, \"draws\": [4], "
        "\"sd\": null}, {\"fraction\": 0.5, \"loss\": 4.5, \"stderr\": 0.1, \"draws\": [4.5], "
        "\"sd\": null}], \"random\": [{\"fraction\": 0.5, \"loss\": 5, \"stderr\": 0.2, "
        "\"draws\": [4.5, 5.5, 5], \"sd\": 0.5}]},"
        " \"B2\": {\"svd\": [{\"fraction\": 0, \"loss\": 6}]},"
        " \"area\": {\"A1\": {\"svd\": {\"value\": 1}}}, \"provenance\": {}}",
        "test", &err);
    assert_int_equal(qk_plot_kind_of(surgery), QK_PLOT_SURGERY);
    assert_works(write_figure("surgery", NULL, &(struct qk_plot_inputs){.surgery = surgery}, &err));
    assert_int_equal(blocks(), 3);
    has("# panels: A1 B2\n# run A1: QK-Norm, Muon\n# panel A1: svd random\n");
    has("# draws: 3\n");
    has("\n0 4 4 4 NaN 0.1\n0.5 4.5 4.5 4.5 NaN 0.1\n");
    has("# A1 random: fraction, loss, least, largest draw, sd, stderr\n0.5 5 4.5 5.5 0.5 0.2\n");
    has("\n0 6 6 6 NaN NaN\n");
    forget();
    cJSON_Delete(surgery);
    refused("surgery", ablation(), "surgery needs a surgery.json");
    forget();
}

/* ---- sweep20m and main300m ---- */

static void losses_and_ranks(void **state)
{
    (void)state;
    plot("val_loss", main300m());
    assert_int_equal(blocks(), 4);
    has("\n2000000 6.5 6.5 6.5\n");
    forget();
    plot("mean_pr", main300m());
    assert_int_equal(blocks(), 4);
    has("\n2000000 45 45 45\n");
    forget();
    /* sixths of 2 M fall on the two points there are, each told once */
    plot("loss_vs_pr", main300m());
    assert_int_equal(blocks(), 4);
    has("# Muon_QK: tokens, val loss, low, high, PR of keys, low, high\n"
        "1000000 6.75 6.75 6.75 50 50 50\n2000000 6.5 6.5 6.5 45 45 45\n\n\n");
    forget();
}

static void learning_rates(void **state)
{
    (void)state;
    struct qk_err err;
    cJSON *chosen = qk_json_parse(
        "{\"AdamW\": {\"lr\": {\"muon\": null, \"adamw\": 0.001}, \"edge\": true, \"grid\": "
        "[{\"lr\": {\"muon\": null, \"adamw\": 0.001}, \"val_loss\": 5, \"mean_pr\": 40}]},"
        " \"Muon_QK\": {\"lr\": {\"muon\": 0.024, \"adamw\": 0.006}, \"edge\": false, \"grid\": "
        "[{\"lr\": {\"muon\": 0.012, \"adamw\": 0.003}, \"val_loss\": 4.5, \"mean_pr\": null},"
        " {\"rate\": 0.024, \"lr\": {\"muon\": 0.024, \"adamw\": 0.006}, \"val_loss\": 4, "
        "\"mean_pr\": 30}]}, \"site\": \"post_rope\"}",
        "test", &err);
    assert_int_equal(qk_plot_kind_of(chosen), QK_PLOT_CHOSEN);
    const struct qk_plot_inputs in = {.chosen = chosen};
    assert_works(write_figure("lr_sweep", NULL, &in, &err));
    assert_int_equal(blocks(), 2);
    has("# about: sweep20m, one seed a rate\n# site: after RoPE\n# conditions: AdamW Muon_QK\n");
    has("# edge AdamW: yes\n# edge Muon_QK: no\n");
    has("\n0.001 5 40 1\n");
    has("\n0.012 4.5 NaN 0\n0.024 4 30 1\n");
    forget();
    cJSON *config = cJSON_AddObjectToObject(chosen, "config");
    cJSON_AddNumberToObject(config, "train_tokens", 20e6);
    assert_works(write_figure("lr_sweep", NULL, &in, &err));
    has(", 20 M tokens, one seed a rate\n");
    forget();
    /* with a study beside it the rates are still what is shown */
    assert_works(write_figure("lr_sweep", main300m(), &in, &err));
    has("# conditions: AdamW Muon_QK\n");
    forget();
    cJSON_Delete(chosen);
    refused("lr_sweep", main300m(), "lr_sweep needs a chosen.json");
    forget();
}

static void attention_beside_its_bounds(void **state)
{
    (void)state;
    struct qk_err err;
    cJSON *json = main300m();
    cJSON_AddItemToObject(cJSON_GetObjectItem(json, "AdamW"), "config",
                          qk_json_parse("{\"seq_len\": 2}", "test", &err));
    plot("entropy_max_logit", json);
    assert_int_equal(blocks(), 4);
    has("# uniform: 0.3465735903\n"); /* ln(2)/2 */
    has("\n2000000 2.5 2.5 2.5 3 3 3\n");
    forget();
    json = pilot();
    cJSON *condition;
    cJSON_ArrayForEach(condition, json)
    {
        cJSON_DeleteItemFromObject(condition, "entropy");
        cJSON_DeleteItemFromObject(condition, "max_logit");
    }
    refused("entropy_max_logit", json,
            "entropy_max_logit: there is no 'entropy' and no 'max_logit'");
    forget();
}

/* Only what is there is named; the rest is NaN. */
static void every_site(void **state)
{
    (void)state;
    plot("sites", pilot());
    assert_int_equal(blocks(), 2);
    has("# line 1: keys before the norm\n# line 4: weights of the keys\n# line 5: queries\n# QK:");
    has("\n1000000 48 48 48 NaN NaN NaN NaN NaN NaN 61 61 61 45 45 45 NaN NaN NaN 50 50 50\n");
    forget();
    /* published files tell of no site */
    plot("sites", causal_combined());
    has("# line 7: keys, at a site not told\n# A:");
    forget();
}

static void files_are_known_by_their_content(void **state)
{
    (void)state;
    cJSON *json = pilot();
    assert_int_equal(qk_plot_kind_of(json), QK_PLOT_COMBINED);
    cJSON_Delete(json);
    char *names = qk_plotdata_figures();
    assert_non_null(strstr(names, "1_loss|2_key_pr_causal|"));
    assert_non_null(strstr(names, "|sites"));
    free(names);
    assert_true(qk_plotdata_is_figure("sv_spectra"));
    assert_false(qk_plotdata_is_figure("6_x"));
    refused("val_loss", NULL, "val_loss needs a combined.json");
    forget();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_have_names_and_numbers),
        cmocka_unit_test(panels_of_the_pilot),
        cmocka_unit_test(the_largest_difference_is_named),
        cmocka_unit_test(heat_maps_by_tokens_and_by_condition),
        cmocka_unit_test(trajectories_and_drops),
        cmocka_unit_test(spectra_and_their_null),
        cmocka_unit_test(the_null_is_marchenko_and_pastur),
        cmocka_unit_test(gain_against_spectrum),
        cmocka_unit_test(dose_curves),
        cmocka_unit_test(losses_and_ranks),
        cmocka_unit_test(learning_rates),
        cmocka_unit_test(attention_beside_its_bounds),
        cmocka_unit_test(every_site),
        cmocka_unit_test(files_are_known_by_their_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
