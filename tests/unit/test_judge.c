/* Verdicts of pilot500k, ablation25m, sweep20m and main300m, on numbers made for them. */
#include "causal.h"

#include "study/judge/judge.h"

/* One run: points 0, 1 M, 2 M tokens. */
static cJSON *run(const double pr[3], const double val[3], int seed)
{
    cJSON *json = cJSON_CreateObject(), *layers = cJSON_AddObjectToObject(json, "layer_pr");
    const double tokens[3] = {0, 1e6, 2e6}, loss[3] = {NAN, val[1], val[2]};
    cJSON_AddStringToObject(json, "tag", "x");
    cJSON_AddItemToObject(json, "tokens", qk_json_numbers(tokens, 3));
    cJSON_AddItemToObject(json, "loss", qk_json_numbers(loss, 3));
    cJSON_AddItemToObject(json, "val_loss", qk_json_numbers(val, 3));
    cJSON_AddItemToObject(json, "mean_pr", qk_json_numbers(pr, 3));
    cJSON_AddItemToObject(layers, "0", qk_json_numbers(pr, 3));
    cJSON_AddItemToObject(json, "gamma_cv", cJSON_CreateObject());
    cJSON_AddNumberToObject(json, "seed", seed);
    return json;
}

/* A condition ending at `pr` and `loss` (early loss `early`), with `n` seeds that lie `apart`. */
static void add(cJSON *to, const char *name, double pr, double early, double loss, int n,
                double pr_apart, double loss_apart)
{
    cJSON *json = NULL, *list = cJSON_CreateArray();
    for (int s = -1; s < n; s++) {
        const double side = s < 0 || n < 2 ? 0 : s % 2 ? -0.5 : 0.5;
        const double ranks[3] = {60, 58, pr + side * pr_apart};
        const double losses[3] = {9, early, loss + side * loss_apart};
        cJSON *one = run(ranks, losses, 40 + s);
        if (s < 0)
            json = one;
        else
            cJSON_AddItemToArray(list, one);
    }
    if (n > 1)
        cJSON_AddItemToObject(json, "seeds", list);
    else
        cJSON_Delete(list);
    cJSON_AddItemToObject(to, name, json);
}

static const char *text(const cJSON *verdict, const char *key)
{
    const cJSON *item = cJSON_GetObjectItem(cJSON_GetObjectItem(verdict, "sentences"), key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static cJSON *judged(const char *study, cJSON *json, const struct qk_surgery *s,
                     const cJSON *chosen)
{
    struct qk_err err;
    struct qk_combined c;
    assert_works(qk_combined_parse(&c, json, "f", &err));
    const struct qk_evidence e = {.combined = &c, .surgery = s, .chosen = chosen};
    cJSON *verdict = qk_judge(study, &e, &err);
    if (verdict == NULL)
        fail_msg("%s", err.text);
    qk_combined_free(&c);
    return verdict;
}

static void outcome_is(cJSON *verdict, const char *expected)
{
    assert_string_equal(cJSON_GetObjectItem(verdict, "outcome")->valuestring, expected);
    cJSON_Delete(verdict);
}

static void says_title(const cJSON *verdict, const char *expected)
{
    assert_string_equal(cJSON_GetObjectItem(verdict, "title")->valuestring, expected);
}

/* ---- pilot500k ---- */

static void the_pilot_compares_two(void **state)
{
    (void)state;
    static const struct {
        double with, without;
        const char *outcome;
    } cases[] = {{50, 50.5, "no difference yet"},
                 {52, 50, "higher rank with QK-Norm"},
                 {48, 50, "lower rank with QK-Norm"}};
    for (size_t i = 0; i < 3; i++) {
        cJSON *json = cJSON_CreateObject();
        add(json, "QK", cases[i].with, 5, 4, 1, 0, 0);
        add(json, "NoQK", cases[i].without, 5, 4.25, 1, 0, 0);
        cJSON *v = judged("pilot500k", json, NULL, NULL);
        assert_non_null(strstr(text(v, "rank"), "one seed: no variance is known"));
        assert_non_null(strstr(text(v, "loss"), "−0.2500"));
        outcome_is(v, cases[i].outcome);
    }
    cJSON *json = cJSON_CreateObject();
    add(json, "QK", 52, 5, 4, 2, 3, 0);
    add(json, "NoQK", 50, 5, 4, 2, 0, 0);
    cJSON *v = judged("pilot500k", json, NULL, NULL);
    assert_null(strstr(text(v, "rank"), "one seed"));
    outcome_is(v, "inconclusive");
}

/* ---- ablation25m ---- */

static cJSON *six(double a1, double a2, double b1, double b2, double c1, double c2)
{
    cJSON *json = cJSON_CreateObject();
    add(json, "A1", a1, 5, 4, 1, 0, 0);
    add(json, "A2", a2, 5, 4, 1, 0, 0);
    add(json, "B1", b1, 5, 4, 1, 0, 0);
    add(json, "B2", b2, 5, 4, 1, 0, 0);
    add(json, "C1", c1, 5, 4, 1, 0, 0);
    add(json, "C2", c2, 5, 4, 1, 0, 0);
    return json;
}

static void the_ablation_names_causes(void **state)
{
    (void)state;
    cJSON *v = judged("ablation25m", six(30, 51, 16, 33, 30, 30.5), NULL, NULL);
    assert_non_null(strstr(text(v, "norm"), "A1 − A2 = −21.00 PR"));
    assert_non_null(strstr(text(v, "norm"), "is a cause"));
    assert_non_null(strstr(text(v, "optimizer"), "more directions"));
    assert_non_null(strstr(text(v, "data"), "does not adapt"));
    assert_non_null(
        strstr(text(v, "time"), "between 1.00 M and 2.00 M tokens, 93 % of it: a sudden"));
    assert_non_null(strstr(text(v, "claim_joint"), "determined by two of them"));
    assert_string_equal(text(v, "surgery"), "");
    outcome_is(v, "QK-Norm lowers rank");
    outcome_is(judged("ablation25m", six(50, 50.5, 16, 33, 30, 30.5), NULL, NULL),
               "QK-Norm reports");
    outcome_is(judged("ablation25m", six(53, 50.5, 16, 33, 30, 30.5), NULL, NULL),
               "QK-Norm raises rank");
}

/* A straight dose curve to loss 3 + rise at F = 0.5, `sd` between two draws. */
static struct qk_dose_curve curve(const char *method, double rise, double sd)
{
    struct qk_dose_curve c = {.points = 0, .area = rise / 4, .area_sd = sd, .to = 0.5};
    snprintf(c.run, sizeof c.run, "A1");
    snprintf(c.method, sizeof c.method, "%s", method);
    return c;
}

static const char *proxy(double svd, double gamma, double random, double subspace, double sd)
{
    static char is[32];
    struct qk_dose_curve at[4] = {curve("svd", svd, NAN), curve("gamma", gamma, NAN),
                                  curve("random", random, sd),
                                  curve("random-subspace", subspace, sd)};
    const struct qk_surgery s = {.at = at, .count = 4};
    cJSON *v = judged("ablation25m", six(30, 51, 16, 33, 30, 30), &s, NULL);
    const cJSON *numbers = cJSON_GetObjectItem(cJSON_GetObjectItem(v, "numbers"), "surgery");
    snprintf(is, sizeof is, "%s", cJSON_GetObjectItem(numbers, "proxy")->valuestring);
    assert_true(strlen(text(v, "surgery")) > 0 && strlen(text(v, "claim_pruning")) > 0);
    cJSON_Delete(v);
    return is;
}

static void surgery_says_whether_the_gain_is_a_proxy(void **state)
{
    (void)state;
    assert_string_equal(proxy(0.4, 0.5, 4, 4, 0.01), "reliable");
    assert_string_equal(proxy(0.4, 3.5, 4, 4, 0.01), "misleading");
    assert_string_equal(proxy(0.4, 1.8, 4, 4, 0.01), "partial");
    assert_string_equal(proxy(3.9, 1.8, 4, 4, 0.1), "inconclusive"); /* 0.025 within 2 x 0.1 */
    /* each is set beside chance at its own place: the gain saves half of 1, the SVD 2 of 3 */
    assert_string_equal(proxy(1, 0.5, 1, 3, 0.01), "partial");
    /* dearer random cuts at its place do not make the gain better: 74 % of them against 98 % */
    assert_string_equal(proxy(0.0027, 0.0424, 0.1602, 0.1121, 0.005), "partial");
}

/* ---- sweep20m ---- */

static void the_sweep_says_whose_grid_is_too_small(void **state)
{
    (void)state;
    struct qk_err err;
    cJSON *chosen = cJSON_Parse("{\"AdamW\":{\"rate\":1e-3,\"val_loss\":4,\"rank\":30,\"edge\":"
                                "false,\"side\":null,\"grid\":["
                                "{\"rate\":6e-4,\"val_loss\":4.1,\"mean_pr\":45},{\"rate\":1e-3,"
                                "\"val_loss\":4,\"mean_pr\":30},"
                                "{\"rate\":2e-3,\"val_loss\":4.2,\"mean_pr\":20}]},"
                                "\"Muon_QK\":{\"rate\":0.02,\"val_loss\":3.9,\"rank\":40,\"edge\":"
                                "true,\"side\":\"high\",\"grid\":["
                                "{\"rate\":0.01,\"val_loss\":4,\"mean_pr\":41},{\"rate\":0.02,"
                                "\"val_loss\":3.9,\"mean_pr\":40}]},"
                                "\"site\":\"post_rope\"}");
    const struct qk_evidence e = {.chosen = chosen};
    cJSON *v = qk_judge("sweep20m", &e, &err);
    assert_non_null(v);
    assert_non_null(strstr(text(v, "Muon_QK"), "Muon+QK: rate 0.02 wins with 3.9000 nats among 2"));
    assert_non_null(strstr(text(v, "Muon_QK"), "at the high edge"));
    assert_non_null(
        strstr(text(v, "rank_moves"), "up to 25.00; between the 2 winners it differs by 10.00"));
    assert_non_null(strstr(text(v, "edges"), "one seed"));
    outcome_is(v, "extend the grid");
    struct qk_table t;
    assert_works(qk_study_table(&t, "sweep20m", "rates", &e, &err));
    assert_int_equal(qk_table_rows(&t), 2);
    assert_string_equal(qk_table_at(&t, 1, 0), "Muon+QK");
    assert_string_equal(qk_table_at(&t, 1, 4), "high");
    qk_table_free(&t);
    assert_works(qk_study_table(&t, "sweep20m", "grid", &e, &err));
    assert_string_equal(qk_table_at(&t, 1, 4), "*");
    qk_table_free(&t);
    assert_int_equal(qk_study_table(&t, "sweep20m", "runs", &e, &err), -1);
    assert_string_equal(err.text, "the table of runs needs a combined.json");
    const cJSON *config, *at; /* of two seeds each */
    cJSON_ArrayForEach(config, chosen)
    {
        cJSON_ArrayForEach(at, cJSON_GetObjectItem(config, "grid"))
            cJSON_AddNumberToObject((cJSON *)(uintptr_t)at, "seeds", 2);
    }
    v = qk_judge("sweep20m", &e, &err);
    assert_null(strstr(text(v, "edges"), "one seed"));
    const cJSON *caveats = cJSON_GetObjectItem(v, "caveats");
    assert_string_equal(
        cJSON_GetArrayItem(caveats, 0)->valuestring,
        "The loss of a rate is the mean of 2 seeds; between rates no test is made.");
    cJSON_Delete(v);
    cJSON_Delete(chosen);
}

/* ---- main300m ---- */

/* Losses and ranks of AdamW, AdamW+QK, Muon, Muon+QK. */
static cJSON *four(const double loss[4], const double pr[4], int seeds, double pr_apart,
                   double loss_apart)
{
    static const char *const names[] = {"AdamW", "AdamW_QK", "Muon", "Muon_QK"};
    static const double early[] = {6, 5.5, 6, 5.9};
    cJSON *json = cJSON_CreateObject();
    for (int i = 0; i < 4; i++)
        add(json, names[i], pr[i], early[i], loss[i], seeds, pr_apart, loss_apart);
    return json;
}

static void main_follows_the_scenarios(void **state)
{
    (void)state;
    static const double muon_wins[4] = {4, 3.9, 3.5, 3.6}, qk_wins[4] = {4, 3.4, 3.5, 3.6};
    static const double muon_high[4] = {30, 20, 50, 40}, muon_qk_high[4] = {30, 20, 40, 50};
    outcome_is(judged("main300m", four(muon_wins, muon_high, 1, 0, 0), NULL, NULL), "A");
    outcome_is(judged("main300m", four(qk_wins, muon_high, 1, 0, 0), NULL, NULL), "B");
    outcome_is(judged("main300m", four(qk_wins, muon_qk_high, 1, 0, 0), NULL, NULL), "C");
    cJSON *none = judged("main300m", four(muon_wins, muon_qk_high, 1, 0, 0), NULL, NULL);
    says_title(none,
               "Does rank matter? None of the scenarios: Muon is best on loss, Muon+QK on rank");
    outcome_is(none, "none of these");
    static const double near[4] = {4, 3.9, 3.6, 3.597};
    none = judged("main300m", four(near, muon_qk_high, 1, 0, 0), NULL, NULL);
    says_title(none, "Does rank matter? None of the scenarios: Muon+QK is best on loss (within the "
                     "tolerance of others) and on rank");
    outcome_is(none, "none of these");
    /* ahead by less than 0.005 nats is not ahead */
    const double close[4] = {4, 3.503, 3.5, 3.6};
    outcome_is(judged("main300m", four(close, muon_high, 1, 0, 0), NULL, NULL), "B");
}

static void main_lets_seeds_speak(void **state)
{
    (void)state;
    static const double loss[4] = {4, 3.9, 3.5, 3.6}, pr[4] = {30, 20, 50, 40};
    outcome_is(judged("main300m", four(loss, pr, 2, 1, 0.01), NULL, NULL), "A");
    /* seeds 60 nats of PR apart are noisier than all configurations together */
    outcome_is(judged("main300m", four(loss, pr, 2, 60, 2), NULL, NULL), "D");
    /* a spread of 0.2 nats is the tolerance: a lead of 0.1 is none */
    cJSON *v = judged("main300m", four(loss, pr, 2, 1, 0.2), NULL, NULL);
    assert_non_null(strstr(text(v, "tolerance"), "0.2000 nats"));
    outcome_is(v, "B");
    /* each seed alone points elsewhere */
    cJSON *json = four(loss, pr, 2, 0, 0);
    cJSON *second =
        cJSON_GetArrayItem(cJSON_GetObjectItem(cJSON_GetObjectItem(json, "AdamW_QK"), "seeds"), 1);
    cJSON_ReplaceItemInArray(cJSON_GetObjectItem(second, "val_loss"), 2, cJSON_CreateNumber(3.4));
    v = judged("main300m", json, NULL, NULL);
    assert_non_null(strstr(text(v, "tolerance"), "point to different scenarios"));
    outcome_is(v, "D");
}

static void main_sees_an_advantage_turn(void **state)
{
    (void)state;
    static const double pr[4] = {30, 20, 50, 40};
    static const double turned[4] = {3.8, 3.9, 3.5, 3.4}, kept[4] = {3.9, 3.8, 3.5, 3.4};
    cJSON *v = judged("main300m", four(turned, pr, 1, 0, 0), NULL, NULL);
    assert_non_null(strstr(text(v, "reversal_adamw"), "−0.5000 nats at 1.00 M tokens and +0.1000"));
    assert_non_null(strstr(text(v, "reversal_adamw"), "a reversal"));
    assert_non_null(strstr(text(v, "reversal_muon"), "the sign stays"));
    cJSON_Delete(v);
    v = judged("main300m", four(kept, pr, 1, 0, 0), NULL, NULL);
    assert_non_null(strstr(text(v, "reversal_adamw"), "the sign stays"));
    cJSON_Delete(v);
}

/* The caveats, joined. */
static char *caveats_of(cJSON *verdict)
{
    char *joined = cJSON_PrintUnformatted(cJSON_GetObjectItem(verdict, "caveats"));
    cJSON_Delete(verdict);
    return joined;
}

static void main_checks_the_rates_that_were_chosen(void **state)
{
    (void)state;
    static const double loss[4] = {4, 3.9, 3.5, 3.6}, pr[4] = {30, 20, 50, 40};
    cJSON *json = four(loss, pr, 1, 0, 0);
    cJSON_AddItemToObject(cJSON_GetObjectItem(json, "Muon"), "config",
                          cJSON_Parse("{\"muon_lr\":0.02,\"adamw_lr\":0.005}"));
    cJSON_AddItemToObject(cJSON_GetObjectItem(json, "AdamW"), "config",
                          cJSON_Parse("{\"adamw_lr\":0.001}"));
    cJSON *chosen = cJSON_Parse("{\"Muon\":{\"lr\":{\"muon\":0.03,\"adamw\":0.0075},\"edge\":true},"
                                "\"AdamW\":{\"lr\":{\"muon\":null,\"adamw\":0.001},\"edge\":false},"
                                "\"AdamW_QK\":{\"lr\":{}}}");
    char *said = caveats_of(judged("main300m", json, NULL, chosen));
    assert_non_null(strstr(said, "Muon was not trained at the rate the sweep chose"));
    assert_non_null(strstr(said, "The rate of Muon was best at the edge"));
    assert_null(strstr(said, "AdamW was not trained"));
    assert_non_null(strstr(said, "No rate was chosen for Muon+QK"));
    free(said);
    said = caveats_of(judged("main300m", four(loss, pr, 1, 0, 0), NULL, NULL));
    assert_non_null(strstr(said, "No chosen.json is given"));
    free(said);
    cJSON_Delete(chosen);
}

static void tables_of_main_show_mean_and_difference(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_combined c;
    struct qk_table t;
    static const double loss[4] = {4, 3.9, 3.5, 3.6}, pr[4] = {30, 20, 50, 40};
    assert_works(qk_combined_parse(&c, four(loss, pr, 2, 1, 0.01), "f", &err));
    const struct qk_evidence e = {.combined = &c};
    assert_works(qk_study_table(&t, "main300m", "configs", &e, &err));
    assert_string_equal(qk_table_at(&t, 1, 0), "AdamW+QK");
    assert_string_equal(qk_table_at(&t, 1, 2), "3.9000 ± 0.0100");
    assert_string_equal(qk_table_at(&t, 1, 3), "20.00 ± 1.00");
    assert_string_equal(qk_table_at(&t, 1, 4), "-");
    qk_table_free(&t);
    assert_works(qk_study_table(&t, "main300m", "runs", &e, &err));
    assert_int_equal(qk_table_rows(&t), 8);
    assert_string_equal(qk_table_at(&t, 5, 1), "41");
    qk_table_free(&t);
    assert_works(qk_study_table(&t, "main300m", "headline", &e, &err));
    assert_string_equal(qk_table_at(&t, 2, 3), "+30.00");
    qk_table_free(&t);
    assert_works(qk_study_table(&t, "main300m", "contrasts", &e, &err));
    assert_int_equal(qk_table_rows(&t), 4);
    assert_string_equal(qk_table_at(&t, 0, 0), "AdamW+QK − AdamW");
    assert_string_equal(qk_table_at(&t, 0, 1), "-10.00");
    qk_table_free(&t);
    assert_works(qk_study_table(&t, "main300m", "trajectory", &e, &err));
    assert_int_equal(t.columns, 13);
    qk_table_free(&t);
    qk_combined_free(&c);
}

static void what_is_missing_is_said(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_combined c;
    assert_works(qk_combined_parse(&c, causal_combined(), "f", &err));
    const struct qk_evidence e = {.combined = &c}, none = {.combined = NULL};
    assert_null(qk_judge("main300m", &e, &err));
    assert_string_equal(err.text, "there is no condition AdamW, which main300m needs");
    assert_null(qk_judge("sweep20m", &e, &err));
    assert_string_equal(err.text, "sweep20m is judged from a chosen.json");
    assert_null(qk_judge("pilot500k", &none, &err));
    assert_string_equal(err.text, "pilot500k is judged from a combined.json");
    cJSON *v = qk_judge("causal50m", &e, &err);
    assert_non_null(v);
    cJSON_Delete(v);
    qk_combined_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pilot_compares_two),
        cmocka_unit_test(the_ablation_names_causes),
        cmocka_unit_test(surgery_says_whether_the_gain_is_a_proxy),
        cmocka_unit_test(the_sweep_says_whose_grid_is_too_small),
        cmocka_unit_test(main_follows_the_scenarios),
        cmocka_unit_test(main_lets_seeds_speak),
        cmocka_unit_test(main_sees_an_advantage_turn),
        cmocka_unit_test(main_checks_the_rates_that_were_chosen),
        cmocka_unit_test(tables_of_main_show_mean_and_difference),
        cmocka_unit_test(what_is_missing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
