#include "causal.h"

#include "study/judge/judging.h"
#include "study/judge/power.h"

/* scipy 1.17.1, scipy.stats.nct.cdf(t, df, nc) */
static void the_noncentral_t_equals_scipy(void **state)
{
    (void)state;
    static const double known[][4] = {
        {1, 1, 0.5, 0.592747736440029},   {2, 5, 1, 0.778074662616215},
        {-1, 3, 0.5, 0.0921212098143594}, {2.571, 5, 3, 0.327946738210055},
        {12.7, 1, 2, 0.874716194355813},  {0, 7, -1.5, 0.933192798731142},
        {2.26, 9, 0, 0.974911702108929},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_close(qk_stats_nct_cdf(known[i][0], known[i][1], known[i][2]), known[i][3], 1e-8);
    assert_true(isnan(qk_stats_nct_cdf(1, 0, 0)));
}

/* statsmodels 0.15.0, TTestPower().power(effect / sd, n, 0.05) */
static void power_of_the_paired_t_test_equals_statsmodels(void **state)
{
    (void)state;
    static const double known[][4] = {
        {2, 1, 0.5, 0.17570741109776},    {6, 1, 0.75, 0.742563397913373},
        {8, 1, 1, 0.680833958206266},     {12, 0.5, 0.8, 0.506031346193959},
        {30, 0.3, 0.6, 0.75396471574379},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_close(qk_power_t((int)known[i][0], known[i][1], known[i][2], 0.05), known[i][3],
                     1e-8);
    assert_true(isnan(qk_power_t(1, 1, 1, 0.05)) && isnan(qk_power_t(5, 1, 0, 0.05)));
}

/* TTestPower().solve_power gives 4.22, 8.07, 9.94, 43.995 and 2.72 pairs: the next whole number. */
static void seeds_needed_are_the_next_whole_number(void **state)
{
    (void)state;
    assert_int_equal(qk_power_seeds_t(1, 0.5, 0.05, 0.8), 5);
    assert_int_equal(qk_power_seeds_t(1, 0.75, 0.05, 0.9), 9);
    assert_int_equal(qk_power_seeds_t(1, 1, 0.05, 0.8), 10);
    assert_int_equal(qk_power_seeds_t(0.5, 1, 0.05, 0.9), 44);
    assert_int_equal(qk_power_seeds_t(1, 0.25, 0.05, 0.8), 3);
    assert_int_equal(qk_power_seeds_t(0.001, 1, 0.05, 0.8), 0);
    assert_int_equal(qk_power_seeds_t(1, NAN, 0.05, 0.8), 0);
}

/* scipy.integrate.quad over scipy.stats.chi of what TOST accepts. */
static void power_of_equivalence_equals_scipy(void **state)
{
    (void)state;
    static const double known[][3] = {
        {3, 0.5, 0.558044542817}, {4, 0.5, 0.82776757006},   {6, 0.75, 0.751858214462},
        {8, 1.0, 0.635047955077}, {12, 1.0, 0.889381096039},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_close(qk_power_tost((int)known[i][0], 1, known[i][1], 0.05), known[i][2], 1e-8);
    assert_int_equal(qk_power_seeds_tost(1, 0.5, 0.05, 0.8), 4);
    assert_int_equal(qk_power_seeds_tost(1, 0.5, 0.05, 0.9), 5);
}

static void a_study_is_told_what_it_needs(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_combined c;
    const double none[2] = {0, 0}, apart[2] = {0.5, -0.5};
    cJSON *json = cJSON_CreateObject();
    cJSON_AddItemToObject(json, "A", causal_condition(0, apart, 2));
    cJSON_AddItemToObject(json, "B", causal_condition(1, none, 2));
    assert_works(qk_combined_parse(&c, json, "f", &err));
    cJSON *power = qk_power_json(&c, 1, 0.005, &err);
    assert_non_null(power);
    const cJSON *pr =
        cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetObjectItem(power, "pairs"), "A-B"), "pr");
    assert_close(cJSON_GetObjectItem(pr, "sd")->valuedouble, sqrt(0.5), 1e-9);
    assert_int_equal(cJSON_GetObjectItem(pr, "seeds_80")->valueint,
                     qk_power_seeds_t(1, sqrt(0.5), 0.05, 0.8));
    const cJSON *loss = cJSON_GetObjectItem(
        cJSON_GetObjectItem(cJSON_GetObjectItem(power, "pairs"), "A-B"), "val_loss");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(loss, "seeds_80"))); /* no spread was seen */
    cJSON_Delete(power);
    qk_combined_free(&c);
    assert_works(qk_combined_parse(&c, causal_combined(), "f", &err));
    assert_null(qk_power_json(&c, 1, 0.005, &err));
    assert_string_equal(err.text, "one seed tells no spread: two are the fewest that do");
    qk_combined_free(&c);
}

/* One run has no validation loss at its end: all are taken where every run has one. */
static void losses_of_one_point_are_paired(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_combined c;
    const double none[2] = {0, 0}, apart[2] = {0.5, -0.5};
    cJSON *json = cJSON_CreateObject();
    cJSON_AddItemToObject(json, "A", causal_condition(0, apart, 2));
    cJSON_AddItemToObject(json, "B", causal_condition(1, none, 2));
    assert_works(qk_combined_parse(&c, json, "f", &err));
    struct qk_results *run = &c.at[0].seeds[1];
    const int before = run->points - 2;
    run->val_loss[run->points - 1] = NAN;
    c.at[1].seeds[0].val_loss[before] = 3;
    assert_int_equal(qk_condition_last_val(&c.at[0], &c.at[1]), before);
    double d[2];
    for (int s = 0; s < 2; s++)
        d[s] = c.at[0].seeds[s].val_loss[before] - c.at[1].seeds[s].val_loss[before];
    cJSON *power = qk_power_json(&c, 1, 0.005, &err);
    const cJSON *pair = cJSON_GetObjectItem(cJSON_GetObjectItem(power, "pairs"), "A-B");
    assert_close(qk_json_find_number(cJSON_GetObjectItem(pair, "val_loss"), "mean"),
                 (d[0] + d[1]) / 2, 1e-12);
    struct qk_difference difference;
    qk_difference_take(&difference, &c.at[0], &c.at[1]);
    assert_true(difference.loss_is_val);
    assert_close(difference.loss.mean, (d[0] + d[1]) / 2, 1e-12);
    cJSON_Delete(power);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j <= before + 1; j++)
            c.at[i].seeds[0].val_loss[j] = NAN;
    assert_int_equal(qk_condition_last_val(&c.at[0], &c.at[1]), -1);
    qk_combined_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_noncentral_t_equals_scipy),
        cmocka_unit_test(power_of_the_paired_t_test_equals_statsmodels),
        cmocka_unit_test(seeds_needed_are_the_next_whole_number),
        cmocka_unit_test(power_of_equivalence_equals_scipy),
        cmocka_unit_test(losses_of_one_point_are_paired),
        cmocka_unit_test(a_study_is_told_what_it_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
