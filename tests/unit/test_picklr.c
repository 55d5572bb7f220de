#include "causal.h"

#include "study/results/picklr.h"

static char folder[] = "/tmp/qk-picklr-XXXXXX";

/* CONFIG:RATE=FILE of a run whose last val loss, split `select` and rank are these; NaN leaves out.
 */
static void give(struct qk_strings *to, const char *config, double rate, double val, double select,
                 double pr, int seed)
{
    static int number;
    cJSON *json = causal_results(0, 0);
    const int last = QK_PUBLISHED_POINTS - 1;
    cJSON_ReplaceItemInArray(cJSON_GetObjectItem(json, "val_loss"), last, qk_json_number(val));
    cJSON_ReplaceItemInArray(cJSON_GetObjectItem(json, "mean_pr"), last, cJSON_CreateNumber(pr));
    cJSON_AddNumberToObject(json, "seed", seed);
    cJSON *settings = cJSON_AddObjectToObject(json, "config");
    cJSON_AddNumberToObject(settings, "muon_lr", rate);
    cJSON_AddNumberToObject(settings, "adamw_lr", rate / 4);
    if (!isnan(select))
        cJSON_AddNumberToObject(
            cJSON_AddObjectToObject(cJSON_AddObjectToObject(json, "evals"), "select"), "value",
            select);
    char *name = qk_format("%d.json", number++), *path = causal_json_file(folder, name, json);
    char *operand = qk_format("%s:%g=%s", config, rate, path);
    qk_strings_add(to, operand);
    free(name);
    free(path);
    free(operand);
    cJSON_Delete(json);
}

static double number(const cJSON *chosen, const char *config, const char *key)
{
    return cJSON_GetObjectItem(cJSON_GetObjectItem(chosen, config), key)->valuedouble;
}

static void the_least_loss_on_select_wins(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_strings operands = {0};
    give(&operands, "Muon", 0.024, 3, 3.5, 44, 1);
    give(&operands, "Muon", 0.006, 2, 3.7, 46, 1); /* best on val, which does not count */
    give(&operands, "Muon", 0.012, 3, 3.4, 45, 1);
    give(&operands, "Muon_QK", 0.01, 3.2, NAN, 30, 1); /* without select the last val loss counts */
    give(&operands, "Muon_QK", 0.02, 3.1, NAN, 31, 1);
    give(&operands, "Muon_QK", 0.04, NAN, NAN, 1, 1); /* diverged */
    cJSON *chosen = qk_pick_lr(&operands, &err);
    if (chosen == NULL)
        fail_msg("%s", err.text);
    assert_true(number(chosen, "Muon", "rate") == 0.012 &&
                number(chosen, "Muon", "val_loss") == 3.4);
    assert_true(number(chosen, "Muon", "rank") == 45);
    const cJSON *muon = cJSON_GetObjectItem(chosen, "Muon");
    const cJSON *lr = cJSON_GetObjectItem(muon, "lr"), *grid = cJSON_GetObjectItem(muon, "grid");
    assert_true(cJSON_GetObjectItem(lr, "muon")->valuedouble == 0.012);
    assert_true(cJSON_GetObjectItem(lr, "adamw")->valuedouble == 0.003);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(muon, "edge")));
    assert_int_equal(cJSON_GetArraySize(grid), 3);
    assert_true(cJSON_GetObjectItem(cJSON_GetArrayItem(grid, 0), "mean_pr")->valuedouble == 46);
    assert_true(number(chosen, "Muon_QK", "rate") == 0.02);
    assert_works(qk_chosen_check(muon, &err));
    cJSON *less = cJSON_Duplicate(muon, 1);
    cJSON *broken = cJSON_CreateObject();
    cJSON_DeleteItemFromObject(less, "rate");
    cJSON_AddItemToObject(broken, "Muon", less);
    assert_int_equal(qk_chosen_check(less, &err), -1);
    assert_string_equal(err.text, "configuration Muon lacks rate, val_loss or grid");
    cJSON_Delete(broken);
    cJSON_Delete(chosen);
    qk_strings_free(&operands);
}

static void a_winner_at_the_edge_asks_for_more(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_strings operands = {0};
    give(&operands, "High", 0.01, 3.2, NAN, 30, 1);
    give(&operands, "High", 0.02, 3.1, NAN, 31, 1);
    give(&operands, "Low", 1e-4, 3.1, NAN, 31, 1);
    give(&operands, "Low", 3e-4, 3.2, NAN, 31, 1);
    give(&operands, "One", 3e-4, 3.2, NAN, 31, 1);
    cJSON *chosen = qk_pick_lr(&operands, &err);
    assert_non_null(chosen);
    char *high =
        cJSON_PrintUnformatted(cJSON_GetObjectItem(cJSON_GetObjectItem(chosen, "High"), "add"));
    assert_string_equal(high, "[0.04,0.08]");
    const cJSON *low = cJSON_GetObjectItem(chosen, "Low"), *add = cJSON_GetObjectItem(low, "add");
    assert_string_equal(cJSON_GetObjectItem(low, "side")->valuestring, "low");
    assert_close(cJSON_GetArrayItem(add, 0)->valuedouble, 3.3e-5, 1e-12);
    assert_close(cJSON_GetArrayItem(add, 1)->valuedouble, 1.1e-5, 1e-12);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(cJSON_GetObjectItem(chosen, "One"), "edge")));
    free(high);
    cJSON_Delete(chosen);
    qk_strings_free(&operands);
}

static void seeds_of_a_rate_become_their_mean(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_strings operands = {0};
    give(&operands, "A", 0.01, 3, NAN, 30, 1);
    give(&operands, "A", 0.01, 4, NAN, 32, 2);
    give(&operands, "A", 0.02, 3.4, NAN, 40, 1);
    give(&operands, "A", 0.02, 3.4, NAN, 40, 2);
    give(&operands, "A", 0.04, 3.6, NAN, 40, 1);
    cJSON *chosen = qk_pick_lr(&operands, &err);
    assert_non_null(chosen);
    assert_true(number(chosen, "A", "rate") == 0.02);
    const cJSON *grid = cJSON_GetObjectItem(cJSON_GetObjectItem(chosen, "A"), "grid");
    assert_int_equal(cJSON_GetArraySize(grid), 3);
    assert_true(cJSON_GetObjectItem(cJSON_GetArrayItem(grid, 0), "val_loss")->valuedouble == 3.5);
    assert_true(cJSON_GetObjectItem(cJSON_GetArrayItem(grid, 0), "mean_pr")->valuedouble == 31);
    assert_true(cJSON_GetObjectItem(cJSON_GetArrayItem(grid, 0), "seeds")->valuedouble == 2);
    assert_int_equal(qk_chosen_seeds(chosen), 1); /* the rate 0.04 has one */
    cJSON_Delete(chosen);
    give(&operands, "A", 0.02, 3, NAN, 30, 2);
    assert_null(qk_pick_lr(&operands, &err));
    assert_non_null(strstr(err.text, "are both A at rate 0.02"));
    qk_strings_free(&operands);
}

static void words_are_checked(void **state)
{
    (void)state;
    struct qk_err err;
    static const char *const bad[] = {"A=f", "A:=f", "A:0.1", "A:x=f", "A:-1=f", "9:1=f", "A:0.1="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_null(qk_pick_lr_path(bad[i], &err));
    assert_string_equal(qk_pick_lr_path("AdamW:6e-4=a=b", &err), "a=b");
    struct qk_strings operands = {0};
    give(&operands, "A", 0.01, NAN, NAN, 30, 1);
    assert_null(qk_pick_lr(&operands, &err));
    assert_non_null(strstr(err.text, "no run of A has a validation loss"));
    char *path = qk_strdup(strchr(operands.at[0], '=')), *other = qk_format("A:0.5%s", path);
    qk_strings_free(&operands);
    operands = (struct qk_strings){0};
    qk_strings_add(&operands, other);
    assert_null(qk_pick_lr(&operands, &err));
    assert_non_null(
        strstr(err.text, "was trained at muon_lr 0.01 and adamw_lr 0.0025, not at 0.5"));
    free(path);
    free(other);
    qk_strings_free(&operands);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return remove_tree(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_loss_on_select_wins),
        cmocka_unit_test(a_winner_at_the_edge_asks_for_more),
        cmocka_unit_test(seeds_of_a_rate_become_their_mean),
        cmocka_unit_test(words_are_checked),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
