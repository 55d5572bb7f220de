#include "causal.h"

#include "study/results/surgery.h"

static char folder[] = "/tmp/qk-surgery-XXXXXX";

/* An eval.json of a cut; by NULL: of the whole checkpoint.  The operand RUN=FILE is added. */
static void give(struct qk_strings *to, const char *run, const char *by, double fraction, int seed,
                 double loss)
{
    static int number;
    cJSON *json = cJSON_Parse("{\"kind\":\"eval\",\"task\":\"loss\",\"n\":4,\"tokens_seen\":100,"
                              "\"stderr\":0.1,\"how\":{\"split\":\"test\",\"data\":\"t.h5\"}}");
    cJSON_AddNumberToObject(json, "value", loss);
    if (by != NULL) {
        cJSON *pruned = cJSON_AddObjectToObject(json, "pruned");
        cJSON_AddStringToObject(pruned, "by", by);
        cJSON_AddNumberToObject(pruned, "fraction", fraction);
        cJSON_AddNumberToObject(pruned, "seed", seed);
        cJSON_AddNumberToObject(pruned, "kept_rank", 10 * (1 - fraction));
        cJSON *calibration = cJSON_AddObjectToObject(pruned, "calibration");
        cJSON_AddStringToObject(calibration, "path", "t.h5");
        cJSON_AddStringToObject(calibration, "split", seed == 99 ? "test" : "val");
    }
    char *name = qk_format("%d.json", number++), *path = causal_json_file(folder, name, json);
    char *operand = qk_format("%s=%s", run, path);
    qk_strings_add(to, operand);
    free(name);
    free(path);
    free(operand);
    cJSON_Delete(json);
}

/* A1: svd in order of no one, and two draws at random; the whole checkpoint stands for F = 0. */
static void give_all(struct qk_strings *to)
{
    give(to, "A1", "svd", 0.5, 0, 3.5);
    give(to, "A1", NULL, 0, 0, 3);
    give(to, "A1", "svd", 0.25, 0, 3.25);
    give(to, "A1", "random", 0.25, 2, 5);
    give(to, "A1", "random", 0.25, 1, 4);
    give(to, "A1", "random", 0.5, 1, 6);
    give(to, "A1", "random", 0.5, 2, 8);
}

static void check_curves(const struct qk_surgery *s)
{
    assert_int_equal(s->count, 2);
    const struct qk_dose_curve *svd = qk_surgery_find(s, "A1", "svd");
    const struct qk_dose_curve *random = qk_surgery_find(s, "A1", "random");
    assert_non_null(svd);
    assert_non_null(random);
    assert_null(qk_surgery_find(s, "A1", "gamma"));
    assert_int_equal(svd->points, 3);
    assert_true(svd->at[0].fraction == 0 && svd->at[0].loss == 3 && isnan(svd->at[0].sd));
    assert_true(svd->at[2].loss == 3.5 && svd->at[2].kept_rank == 5);
    /* 0.25 * (0 + 0.25)/2 + 0.25 * (0.25 + 0.5)/2 */
    assert_close(svd->area, 0.125, 1e-12);
    assert_true(svd->to == 0.5 && svd->area_draws == 1 && isnan(svd->area_sd));
    assert_int_equal(random->at[1].draws, 2);
    assert_true(random->at[1].losses[0] == 4 && random->at[1].seeds[0] == 1);
    assert_close(random->at[1].loss, 4.5, 1e-12);
    assert_close(random->at[1].sd, sqrt(0.5), 1e-12);
    assert_true(random->at[0].sd == 0);
    /* means 0, 1.5, 4; seed 1: 0, 1, 3; seed 2: 0, 2, 5 */
    assert_close(random->area, 0.125 * 1.5 + 0.125 * 5.5, 1e-12);
    assert_int_equal(random->area_draws, 2);
    assert_close(random->areas[0], 0.125 * (1 + 4), 1e-12);
    assert_close(random->areas[1], 0.125 * (2 + 7), 1e-12);
    assert_close(random->area_sd, 0.5 / sqrt(2), 1e-12);
}

static void draws_become_means_and_areas_are_trapezoids(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_surgery s;
    struct qk_strings operands = {0};
    give_all(&operands);
    assert_works(qk_surgery_gather(&s, &operands, &err));
    check_curves(&s);
    cJSON *json = qk_surgery_json(&s);
    cJSON *area = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "area"), "A1");
    assert_close(cJSON_GetObjectItem(cJSON_GetObjectItem(area, "svd"), "value")->valuedouble, 0.125,
                 1e-12);
    qk_surgery_free(&s);
    char *path = causal_json_file(folder, "surgery.json", json);
    assert_works(qk_surgery_read(&s, path, &err));
    check_curves(&s);
    qk_surgery_free(&s);
    free(path);
    cJSON_Delete(json);
    qk_strings_free(&operands);
}

/* What cutting nothing left must be what the whole checkpoint has. */
static void a_cut_of_nothing_must_agree_with_the_checkpoint(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_surgery s;
    struct qk_strings operands = {0};
    give_all(&operands);
    give(&operands, "A1", "svd", 0, 0, 3);
    assert_works(qk_surgery_gather(&s, &operands, &err));
    assert_int_equal(qk_surgery_find(&s, "A1", "svd")->at[0].draws, 1);
    qk_surgery_free(&s);
    give(&operands, "A1", "random", 0, 1, 3.0000001);
    assert_int_equal(qk_surgery_gather(&s, &operands, &err), -1);
    assert_non_null(strstr(err.text, "cut nothing but differ in loss"));
    qk_strings_free(&operands);
}

static void refused(const char *run, const char *by, double fraction, int seed, const char *why)
{
    struct qk_err err;
    struct qk_surgery s;
    struct qk_strings operands = {0};
    give_all(&operands);
    give(&operands, run, by, fraction, seed, 4);
    assert_int_equal(qk_surgery_gather(&s, &operands, &err), -1);
    if (strstr(err.text, why) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, why);
    qk_strings_free(&operands);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    refused("A1", "svd", 0.25, 7, "the same cut of A1: svd of 0.25");
    refused("A1", "random", 0.25, 1, "the same cut of A1: random of 0.25");
    refused("A1", "svd", 0.75, 99, "calibrated the cut and is evaluated too");
    refused("A1", "svd", 1.5, 0, "is not in 0 .. 1");
    refused("B1", "svd", 0.25, 0, "has no loss at fraction 0");
    refused("area", "svd", 0.25, 0, "cannot be named 'area'");
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
        cmocka_unit_test(draws_become_means_and_areas_are_trapezoids),
        cmocka_unit_test(a_cut_of_nothing_must_agree_with_the_checkpoint),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
