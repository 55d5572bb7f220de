#include "causal.h"

#include "study/judge/verdict.h"

static struct qk_combined combined;
static struct qk_verdict verdict;

static void judge(cJSON *json)
{
    struct qk_err err;
    assert_works(qk_combined_parse(&combined, json, "test", &err));
    assert_works(qk_verdict_causal(&verdict, &combined, &err));
}

static void forget(void)
{
    qk_verdict_free(&verdict);
    qk_combined_free(&combined);
}

static void patterns(void **state)
{
    (void)state;
    assert_int_equal(qk_pattern_of(6, 0.5, 6.5, 1), QK_PATTERN_GAIN);
    assert_int_equal(qk_pattern_of(0.5, -4, -3.5, 1), QK_PATTERN_NORM);
    assert_int_equal(qk_pattern_of(3, -3, 0, 1), QK_PATTERN_FROZEN_APART);
    assert_int_equal(qk_pattern_of(6.15, -3.7, 2.45, 1), QK_PATTERN_ALL);
    assert_int_equal(qk_pattern_of(0.3, -0.5, -0.2, 1), QK_PATTERN_NONE);
    assert_int_equal(qk_pattern_of(0.8, 0.8, 1.6, 1), QK_PATTERN_INTRANSITIVE);
    assert_int_equal(qk_pattern_of(1.0, 0.0, 1.0, 1),
                     QK_PATTERN_GAIN); /* below, not at, is equal */
    assert_string_equal(qk_pattern_label(QK_PATTERN_GAIN), "A≠B≈C");
    assert_string_equal(qk_pattern_label(QK_PATTERN_NORM), "A≈B≠C");
    assert_string_equal(qk_pattern_label(QK_PATTERN_FROZEN_APART), "A≈C≠B");
    assert_string_equal(qk_pattern_label(QK_PATTERN_ALL), "all differ");
    assert_string_equal(qk_pattern_label(QK_PATTERN_NONE), "none differ");
    assert_string_equal(qk_pattern_label(QK_PATTERN_INTRANSITIVE), "intransitive");
}

/* The published trajectory: final values, minima, and the plateau differences 6.86 and -3.61 with
 * their jitter .53 and .39 worked out elsewhere from unrounded
 * values. */
static void published_values_come_out(void **state)
{
    (void)state;
    judge(causal_combined());
    assert_int_equal(verdict.n_seeds, 1);
    assert_close(verdict.contrast[QK_AB].pr.mean, 6.15, 1e-9);
    assert_close(verdict.contrast[QK_BC].pr.mean, -3.70, 1e-9);
    assert_close(verdict.contrast[QK_AC].pr.mean, 2.45, 1e-9);
    assert_int_equal(verdict.pattern, QK_PATTERN_ALL);
    assert_false(verdict.killed);
    assert_close(verdict.at[0].least_pr, 55.17, 1e-12);
    assert_close(verdict.at[0].least_tokens, 7864320, 1e-12);
    assert_close(verdict.at[1].least_tokens, 9830400, 1e-12);
    assert_close(verdict.at[2].least_pr, 51.28, 1e-12);
    assert_close(verdict.at[0].recovery, 65.70 - 55.17, 1e-12);
    assert_close(verdict.at[0].recovered_share, (65.70 - 55.17) / (86.85 - 55.17), 1e-12);
    assert_int_equal(verdict.at[0].plateau_points, 13);
    assert_true(fabs(verdict.contrast[QK_AB].plateau_mean - 6.86) < 0.01);
    assert_true(fabs(verdict.contrast[QK_AB].plateau_sd - 0.53) < 0.01);
    assert_true(fabs(verdict.contrast[QK_BC].plateau_mean + 3.61) < 0.01);
    assert_true(fabs(verdict.contrast[QK_BC].plateau_sd - 0.39) < 0.01);
    assert_close(verdict.contrast[QK_AB].train.mean, 0.004, 1e-9);
    assert_close(verdict.contrast[QK_BC].val.mean, -0.066, 1e-9);
    assert_memory_equal(verdict.pr_order, "ACB", 3);
    assert_memory_equal(verdict.loss_order, "BAC", 3);
    assert_false(verdict.orders_match);
    assert_int_equal(verdict.head_dim, 4); /* the length of gamma_final */
    forget();
}

/* val A-B over the last five points: -.002, +.006, +.005, -.004, +.001. */
static void sign_changes_are_counted(void **state)
{
    (void)state;
    judge(causal_combined());
    assert_int_equal(verdict.contrast[QK_AB].sign_points, 5);
    assert_int_equal(verdict.contrast[QK_AB].sign_changes, 3);
    assert_int_equal(verdict.contrast[QK_BC].sign_changes, 0);
    forget();
}

static void layers_are_compared(void **state)
{
    (void)state;
    judge(causal_combined()); /* A-B per layer: 6.15 + (l - 1.5) */
    const struct qk_contrast *k = &verdict.contrast[QK_AB];
    assert_close(k->layer_mean, 6.15, 1e-9);
    assert_close(k->layer_abs, 6.15, 1e-9);
    assert_int_equal(k->layers_above, 4);
    assert_int_equal(verdict.contrast[QK_BC].layers_above, 0);
    /* mean |gain| of layer l: 1.15 + .1 l, so A-B follows it exactly */
    assert_close(verdict.gain_mean, 1.3, 1e-12);
    assert_close(verdict.gain_low, 1.15, 1e-12);
    assert_close(verdict.gain_r, 1, 1e-9);
    forget();
}

/* B-C = +2 and -2 in two layers each: the mean says nothing happened. */
static void layers_that_cancel_are_told(void **state)
{
    (void)state;
    cJSON *json = causal_combined();
    const cJSON *b = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "B"), "layer_pr");
    cJSON *c = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "C"), "layer_pr");
    for (int l = 0; l < CAUSAL_LAYERS; l++) {
        const double last =
            cJSON_GetArrayItem(cJSON_GetArrayItem(b, l), QK_PUBLISHED_POINTS - 1)->valuedouble;
        cJSON_ReplaceItemInArray(cJSON_GetArrayItem(c, l), QK_PUBLISHED_POINTS - 1,
                                 cJSON_CreateNumber(last + (l % 2 ? 2 : -2)));
    }
    judge(json);
    cJSON *out = qk_verdict_json(&verdict);
    const char *said =
        cJSON_GetObjectItem(cJSON_GetObjectItem(out, "sentences"), "layers")->valuestring;
    assert_non_null(strstr(said, "B above C in 2 (mean +0.00, mean size 2.00, layers cancelling"));
    cJSON_Delete(out);
    forget();
}

static void a_small_difference_kills(void **state)
{
    (void)state;
    cJSON *json = causal_combined();
    cJSON *pr = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "A"), "mean_pr");
    cJSON_ReplaceItemInArray(pr, QK_PUBLISHED_POINTS - 1, cJSON_CreateNumber(59.55 + 0.99));
    judge(json);
    assert_true(verdict.killed);
    assert_int_equal(verdict.pattern, QK_PATTERN_NORM);
    forget();
}

/* Every sentence: numbers in it, and with one seed that no variance is known. */
static void sentences_carry_numbers_and_the_reservation(void **state)
{
    (void)state;
    judge(causal_combined());
    cJSON *json = qk_verdict_json(&verdict);
    const cJSON *sentence, *all = cJSON_GetObjectItem(json, "sentences");
    int count = 0;
    cJSON_ArrayForEach(sentence, all)
    {
        count++;
        if (strpbrk(sentence->valuestring, "0123456789") == NULL ||
            strstr(sentence->valuestring, "one seed: no variance is known") == NULL)
            fail_msg("%s: %s", sentence->string, sentence->valuestring);
    }
    assert_true(count >= 10);
    assert_non_null(strstr(cJSON_GetObjectItem(json, "sentence")->valuestring, "no variance"));
    assert_string_equal(cJSON_GetObjectItem(json, "outcome")->valuestring, "all differ");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(json, "equivalence")));
    assert_non_null(cJSON_GetObjectItem(json, "rule"));
    assert_non_null(cJSON_GetObjectItem(json, "numbers"));
    cJSON_Delete(json);
    forget();
}

static cJSON *with_seeds(const double shift[3][4], int seeds)
{
    cJSON *json = cJSON_CreateObject();
    for (int i = 0; i < 3; i++) {
        char letter[2] = {(char)('A' + i), '\0'};
        cJSON_AddItemToObject(json, letter, causal_condition(i, shift[i], seeds));
    }
    return json;
}

/* A-B = 6.15 + {.2, -.2, .1, -.1}: sd sqrt(.1/3). */
static void seeds_are_paired(void **state)
{
    (void)state;
    static const double shift[3][4] = {{1.2, 0.8, -0.9, -1.1}, {1, 1, -1, -1}, {1, 1, -1, -1}};
    judge(with_seeds(shift, 4));
    const struct qk_contrast *k = &verdict.contrast[QK_AB];
    assert_int_equal(k->pr.n, 4);
    assert_close(k->pr.mean, 6.15, 1e-9);
    assert_close(k->pr.sd, sqrt(0.1 / 3), 1e-9);
    assert_int_equal(k->pr.equivalence, QK_EQ_EFFECT);
    assert_true(k->pr.p_flip == 2.0 / 16);
    assert_close(k->p_holm, 3 * 2.0 / 16, 1e-12);
    cJSON *json = qk_verdict_json(&verdict);
    assert_string_equal(cJSON_GetObjectItem(json, "equivalence")->valuestring, "effect");
    const char *said =
        cJSON_GetObjectItem(cJSON_GetObjectItem(json, "sentences"), "kill")->valuestring;
    assert_null(strstr(said, "one seed"));
    cJSON_Delete(json);
    forget();
}

static void noisy_seeds_are_inconclusive(void **state)
{
    (void)state;
    static const double shift[3][4] = {{9, -9, 5, -5}, {-9, 9, -5, 5}, {0, 0, 0, 0}};
    judge(with_seeds(shift, 4));
    assert_int_equal(verdict.contrast[QK_AB].pr.equivalence, QK_EQ_INCONCLUSIVE);
    cJSON *json = qk_verdict_json(&verdict);
    assert_non_null(strstr(cJSON_GetObjectItem(json, "title")->valuestring, "Inconclusive"));
    assert_non_null(strstr(cJSON_GetObjectItem(json, "sentence")->valuestring, "inconclusive"));
    cJSON_Delete(json);
    forget();
}

/* A-B is an effect; B-C = -3.70 + {4, -4, 3, -3} is open: the title must not speak for it. */
static void a_title_speaks_of_settled_contrasts_only(void **state)
{
    (void)state;
    static const double shift[3][4] = {{0.1, -0.1, 0, 0}, {0, 0, 0, 0}, {-4, 4, -3, 3}};
    judge(with_seeds(shift, 4));
    assert_int_equal(verdict.contrast[QK_AB].pr.equivalence, QK_EQ_EFFECT);
    assert_int_equal(verdict.contrast[QK_BC].pr.equivalence, QK_EQ_INCONCLUSIVE);
    assert_int_equal(verdict.pattern, QK_PATTERN_ALL);
    cJSON *json = qk_verdict_json(&verdict);
    assert_string_equal(
        cJSON_GetObjectItem(json, "title")->valuestring,
        "The learned gain of QK-Norm changes mean key rank; 4 seeds do not settle the rest");
    const char *said = cJSON_GetObjectItem(json, "sentence")->valuestring;
    assert_non_null(strstr(said, "A−B is an effect [6.05, 6.25]"));
    assert_non_null(strstr(said, "B−C is inconclusive"));
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(json, "settled")));
    said = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "sentences"), "pattern")->valuestring;
    assert_non_null(strstr(said, "the equivalence tests leave it open"));
    cJSON_Delete(json);
    forget();
}

/* Means of A and B closer than 1, but the seeds scatter: the kill criterion is met, no null. */
static void a_small_mean_of_noisy_seeds_is_no_null(void **state)
{
    (void)state;
    static const double shift[3][4] = {{-2.15, -9.15, -4.15, -8.15}, {0, 0, 0, 0}, {0, 0, 0, 0}};
    judge(with_seeds(shift, 4));
    assert_true(verdict.killed);
    assert_int_equal(verdict.contrast[QK_AB].pr.equivalence, QK_EQ_INCONCLUSIVE);
    cJSON *json = qk_verdict_json(&verdict);
    const char *said =
        cJSON_GetObjectItem(cJSON_GetObjectItem(json, "sentences"), "kill")->valuestring;
    assert_non_null(strstr(said, "no null result yet"));
    assert_null(strstr(said, "is not the mechanism"));
    cJSON_Delete(json);
    forget();
}

/* What was trained is named where everyone looks. */
static void the_title_tells_the_size(void **state)
{
    (void)state;
    struct qk_err err;
    cJSON *json = causal_combined();
    cJSON *config =
        qk_json_parse("{\"vocab_size\": 4096, \"d_model\": 128, \"n_layers\": 4, \"n_heads\": 4,"
                      "\"n_kv_heads\": 2, \"d_ff\": 512, \"seq_len\": 256, \"muon_lr\": 0.01,"
                      "\"adamw_lr\": 0.01, \"batch_size\": 1, \"train_tokens\": 1}",
                      "test", &err);
    cJSON_AddItemToObject(cJSON_GetObjectItem(json, "A"), "config", config);
    judge(json);
    char *title = qk_verdict_title(&verdict);
    assert_non_null(strstr(title, " (one seed, 1.2 M parameters)"));
    free(title);
    forget();
}

static void a_second_difference_in_the_configs_is_told(void **state)
{
    (void)state;
    cJSON *json = causal_combined();
    for (int i = 0; i < 3; i++) {
        char letter[2] = {(char)('A' + i), '\0'};
        cJSON *config = cJSON_AddObjectToObject(cJSON_GetObjectItem(json, letter), "config");
        cJSON_AddNumberToObject(config, "seed", i);
        cJSON_AddStringToObject(config, "qk_norm", i == 0 ? "learned" : i == 1 ? "frozen" : "none");
        cJSON_AddNumberToObject(config, "muon_lr", i == 2 ? 0.02 : 0.01);
    }
    judge(json);
    cJSON *out = qk_verdict_json(&verdict);
    char *text = cJSON_PrintUnformatted(cJSON_GetObjectItem(out, "caveats"));
    assert_non_null(strstr(text, "A and C differ not only in qk_norm but also in muon_lr"));
    assert_null(strstr(text, "A and B differ"));
    free(text);
    cJSON_Delete(out);
    forget();
}

static void missing_conditions_and_values_are_refused(void **state)
{
    (void)state;
    struct qk_err err;
    cJSON *json = causal_combined();
    cJSON_DeleteItemFromObject(json, "B");
    assert_works(qk_combined_parse(&combined, json, "test", &err));
    assert_int_equal(qk_verdict_causal(&verdict, &combined, &err), -1);
    assert_string_equal(err.text, "there is no condition B, causal50m needs A, B and C");
    forget();
    json = causal_combined();
    cJSON *pr = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "C"), "mean_pr");
    cJSON_ReplaceItemInArray(pr, 3, cJSON_CreateNull());
    assert_works(qk_combined_parse(&combined, json, "test", &err));
    assert_int_equal(qk_verdict_causal(&verdict, &combined, &err), -1);
    assert_string_equal(err.text, "condition C: 'mean_pr' is null at 5898240 tokens");
    forget();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns),
        cmocka_unit_test(published_values_come_out),
        cmocka_unit_test(sign_changes_are_counted),
        cmocka_unit_test(layers_are_compared),
        cmocka_unit_test(layers_that_cancel_are_told),
        cmocka_unit_test(a_small_difference_kills),
        cmocka_unit_test(sentences_carry_numbers_and_the_reservation),
        cmocka_unit_test(seeds_are_paired),
        cmocka_unit_test(noisy_seeds_are_inconclusive),
        cmocka_unit_test(a_title_speaks_of_settled_contrasts_only),
        cmocka_unit_test(a_small_mean_of_noisy_seeds_is_no_null),
        cmocka_unit_test(the_title_tells_the_size),
        cmocka_unit_test(a_second_difference_in_the_configs_is_told),
        cmocka_unit_test(missing_conditions_and_values_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
