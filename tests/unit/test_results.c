#include "causal.h"

#include "study/results/combine.h"
#include "study/results/gather.h"

static char folder[] = "/tmp/qk-results-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return remove_tree(folder);
}

/* ---- reading ---- */

static void a_run_in_the_original_style_is_read(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_results r;
    cJSON *json = causal_results(0, 0);
    assert_works(qk_results_parse(&r, json, "test", &err));
    assert_int_equal(r.points, QK_PUBLISHED_POINTS);
    assert_int_equal(r.layers, CAUSAL_LAYERS);
    assert_true(isnan(r.loss[0]) && r.loss[1] == 7.254);
    assert_close(qk_results_at(&r, r.layer_pr, 3, 25), 65.70 + 3, 1e-12);
    assert_close(qk_results_at(&r, r.gamma_cv, 2, 10), 0.1, 1e-12);
    assert_close(r.gamma_mean[0], 1.15, 1e-12); /* of |gain| */
    assert_int_equal(r.head_dim, 4);
    assert_string_equal(r.qk_norm, "learned"); /* by its tag */
    assert_true(isnan(r.null_pr) && isnan(r.q_pr[3]));
    assert_null(r.site);
    qk_results_free(&r);
    cJSON_Delete(json);
}

/* A change to a good file, and the sentence it must give. */
static void bad_results_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *sentence;
    } bad[] = {
        {"tag", NULL, "test: has no key 'tag'"},
        {"tag", "7", "test: 'tag' is not text"},
        {"tokens", NULL, "test: has no key 'tokens'"},
        {"tokens", "[]", "test: 'tokens' is empty"},
        {"tokens", "[0, 5, 5]", "test: 'tokens' does not rise at index 2"},
        {"tokens", "[0, \"x\"]", "test: 'tokens' holds something that is no number at index 1"},
        {"tokens", "[null, 1]", "test: 'tokens' does not rise at index 0"},
        {"loss", NULL, "test: there is no 'loss'"},
        {"loss", "[1, 2]", "test: 'loss' has 2 values, 'tokens' has 26"},
        {"mean_pr", "{}", "test: 'mean_pr' is not an array"},
        {"layer_pr", NULL, "test: there is no object 'layer_pr'"},
        {"layer_pr", "{}", "test: 'layer_pr' is empty"},
        {"layer_pr", "{\"1\": []}", "test: 'layer_pr' has no layer 0"},
        {"layer_pr", "{\"0\": [1]}", "test: 'layer_pr.0' has 1 values, 'tokens' has 26"},
        {"gamma_cv", "{\"0\": [1]}", "test: 'gamma_cv.0' has 1 values, 'tokens' has 26"},
        {"gamma_final", "{\"0\": []}", "test: 'gamma_final' has no list of numbers for layer 0"},
        {"q_pr", "[1e999]", "test: 'q_pr' has 1 values, 'tokens' has 26"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct qk_err err;
        struct qk_results r;
        cJSON *json = causal_results(0, 0);
        cJSON_DeleteItemFromObject(json, bad[i].key);
        if (bad[i].value != NULL)
            cJSON_AddItemToObject(json, bad[i].key, cJSON_Parse(bad[i].value));
        assert_int_equal(qk_results_parse(&r, json, "test", &err), -1);
        assert_string_equal(err.text, bad[i].sentence);
        cJSON_Delete(json);
    }
}

static void conditions_must_fit_together(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_combined c;
    cJSON *json = causal_combined();
    cJSON *tokens = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "B"), "tokens");
    cJSON_ReplaceItemInArray(tokens, 25, cJSON_CreateNumber(50000000));
    assert_int_equal(qk_combined_parse(&c, json, "f.json", &err), -1);
    assert_string_equal(err.text,
                        "f.json: A and B differ in tokens at point 25 (49152000 and 50000000)");
    json = causal_combined();
    cJSON_AddStringToObject(cJSON_GetObjectItem(json, "A"), "site", "post_norm");
    cJSON_AddStringToObject(cJSON_GetObjectItem(json, "C"), "site", "post_rope");
    assert_int_equal(qk_combined_parse(&c, json, "f.json", &err), -1);
    assert_string_equal(err.text, "f.json: A and C are measured at post_norm and post_rope");
    json = cJSON_Parse("{\"elapsed_s\": 3}");
    assert_int_equal(qk_combined_parse(&c, json, "f.json", &err), -1);
    assert_string_equal(err.text, "f.json: no condition A, B, ... in it");
    json = causal_combined();
    static const double shift[2] = {1, -1};
    cJSON_ReplaceItemInObject(json, "C", causal_condition(2, shift, 2));
    assert_int_equal(qk_combined_parse(&c, json, "f.json", &err), -1);
    assert_string_equal(err.text, "f.json: A has 1 seeds, C has 2: they cannot be paired");
}

/* ---- combining ---- */

static void means_go_member_by_member(void **state)
{
    (void)state;
    struct qk_err err;
    const cJSON *two[2] = {
        cJSON_Parse("{\"a\": 1, \"b\": [1, null, 3], \"c\": \"x\", \"d\": {\"0\": [2]}, \"e\": 1}"),
        cJSON_Parse("{\"a\": 2, \"b\": [3, 4, 4], \"c\": \"x\", \"d\": {\"0\": [4]}}")};
    cJSON *mean = qk_combine_mean(two, 2, "A", &err);
    char *text = cJSON_PrintUnformatted(mean);
    assert_string_equal(text, "{\"a\":1.5,\"b\":[2,null,3.5],\"c\":\"x\",\"d\":{\"0\":[3]}}");
    free(text);
    cJSON_Delete(mean);
    const cJSON *odd[2] = {cJSON_Parse("{\"b\": [1, 2]}"), cJSON_Parse("{\"b\": [1]}")};
    assert_null(qk_combine_mean(odd, 2, "A", &err));
    assert_string_equal(err.text, "A.b: the runs have lists of different length");
    for (int i = 0; i < 2; i++) {
        cJSON_Delete((cJSON *)(uintptr_t)two[i]);
        cJSON_Delete((cJSON *)(uintptr_t)odd[i]);
    }
}

static char *seed_file(const char *name, int condition, double shift, int seed)
{
    cJSON *json = causal_results(condition, shift);
    cJSON_AddNumberToObject(json, "seed", seed);
    char *path = causal_json_file(folder, name, json);
    cJSON_Delete(json);
    return path;
}

static void add_operand(struct qk_strings *list, char letter, char *path)
{
    char *word = qk_format("%c=%s", letter, path);
    qk_strings_add(list, word);
    free(word);
    free(path);
}

static void seeds_are_averaged_and_kept(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_strings operands = {0}, timings = {0};
    add_operand(&operands, 'A', seed_file("a1.json", 0, 0.5, 1));
    add_operand(&operands, 'B', seed_file("b1.json", 1, 0, 1));
    add_operand(&operands, 'A', seed_file("a2.json", 0, 1.5, 2));
    add_operand(&operands, 'B', seed_file("b2.json", 1, 0, 2));
    char *lines = causal_file(folder, "t.jsonl", "{\"elapsed_s\": 1.5}\n{\"x\": 1}\n");
    char *whole = causal_file(folder, "t.json", "{\n \"elapsed_s\": 2\n}\n");
    qk_strings_add(&timings, lines);
    qk_strings_add(&timings, whole);
    cJSON *json = qk_combine(&operands, &timings, &err);
    assert_non_null(json);
    struct qk_combined c;
    assert_works(qk_combined_parse(&c, json, "test", &err));
    assert_int_equal(c.count, 2);
    assert_int_equal(c.at[0].n_seeds, 2);
    assert_close(c.at[0].mean.mean_pr[0], 86.85 + 1, 1e-12);
    assert_close(c.at[0].seeds[1].mean_pr[0], 86.85 + 1.5, 1e-12);
    assert_false(c.at[0].mean.has_seed);
    assert_true(c.elapsed_s == 3.5);
    qk_combined_free(&c);
    add_operand(&operands, 'B', seed_file("b3.json", 1, 0, 2));
    assert_null(qk_combine(&operands, &timings, &err));
    assert_non_null(strstr(err.text, "b3.json: condition B has two runs of seed 2"));
    qk_strings_free(&operands);
    qk_strings_free(&timings);
    free(lines);
    free(whole);
}

/* ---- gathering ---- */

/* A probe of one layer at that many tokens; pr says what is measured. */
static char *probe_text(int64_t tokens, double pr, const char *norm)
{
    return qk_format(
        "{\"kind\":\"probe\",\"version\":1,\"file\":\"k-%d\",\"step\":%d,\"tokens_seen\":%d,"
        "\"qk_norm\":\"%s\",\"rows\":64,\"config\":{\"d_model\":64,\"n_heads\":4,\"seed\":7},"
        "\"measures\":[{\"of\":\"k\",\"site\":\"post_norm\",\"centred\":false,\"pr\":%g,"
        "\"pr_energy\":%g,\"null_pr\":15.5,\"null_pr_energy\":14},{\"of\":\"k\",\"site\":"
        "\"post_norm\",\"centred\":true,\"pr\":1,\"pr_energy\":1},{\"of\":\"qk\",\"site\":"
        "\"post_norm\",\"pr\":3}],\"layers\":[{\"layer\":0,\"k_pr\":{\"post_norm\":%g,"
        "\"post_rope\":9},\"q_pr\":{\"post_norm\":5},\"gamma_k\":{\"cv\":0.25,\"values\":[1,2]},"
        "\"entropy\":[1,2],\"max_logit\":[4,3]}],\"mean_pr\":{\"post_norm\":%g,\"post_rope\":9},"
        "\"provenance\":{\"argv\":[\"qk-probe\"]}}\n",
        (int)tokens, (int)(tokens / 10), (int)tokens, norm, pr, pr - 1, pr, pr);
}

static struct qk_gather gather_of(const char *probes, const char *log)
{
    struct qk_gather g = {.tag = "QK", .site = "post_norm"};
    char *p = causal_file(folder, "probe.jsonl", probes), *l = causal_file(folder, "log", log);
    qk_strings_add(&g.probes, p);
    qk_strings_add(&g.logs, l);
    free(p);
    free(l);
    return g;
}

static void gather_free(struct qk_gather *g)
{
    qk_strings_free(&g->probes);
    qk_strings_free(&g->logs);
}

static const char *const five_steps =
    "{\"step\":0,\"tokens_seen\":0,\"val_loss\":9}\n{\"step\":1,\"tokens_seen\":10,\"loss\":8}\n"
    "{\"step\":2,\"tokens_seen\":20,\"loss\":7,\"val_loss\":6.5}\n"
    "{\"step\":3,\"tokens_seen\":30,\"loss\":6}\n{\"step\":4,\"tokens_seen\":40,\"loss\":5}\n"
    "{\"step\":5,\"tokens_seen\":50,\"loss\":4}\n";

static void probes_and_log_become_a_trajectory(void **state)
{
    (void)state;
    struct qk_err err;
    char *a = probe_text(50, 10, "learned"), *b = probe_text(0, 15, "learned");
    char *c = probe_text(20, 12, "learned"), *again = probe_text(20, 12, "learned");
    char *all = qk_format("%s%s%s%s", a, b, c, again);
    struct qk_gather g = gather_of(all, five_steps);
    cJSON *json = qk_gather_results(&g, &err);
    assert_non_null(json);
    char *text = cJSON_PrintUnformatted(json);
    assert_string_equal(
        text,
        "{\"tag\":\"QK\",\"tokens\":[0,20,50],\"loss\":[null,7.5,5],\"val_loss\":[9,6.5,null],"
        "\"mean_pr\":[15,12,10],\"layer_pr\":{\"0\":[15,12,10]},\"gamma_cv\":{\"0\":[0.25,0.25,"
        "0.25]},\"gamma_final\":{\"0\":[1,2]},\"mean_pr_sites\":{\"post_norm\":[15,12,10],"
        "\"post_rope\":[9,9,9]},\"mean_pr_energy\":[14,11,9],\"q_pr\":[5,5,5],\"qk_pr\":[3,3,3],"
        "\"entropy\":[1.5,1.5,1.5],\"max_logit\":[4,4,4],\"q_layer_pr\":{\"0\":[5,5,5]},"
        "\"layer_entropy\":{\"0\":[1.5,1.5,1.5]},\"layer_max_logit\":{\"0\":[4,4,4]},"
        "\"q_pr_sites\":{\"post_norm\":[5,5,5]},\"qk_pr_sites\":{\"post_norm\":[3,3,3]},"
        "\"site\":\"post_norm\",\"qk_norm\":"
        "\"learned\",\"seed\":7,\"config\":{\"d_model\":64,\"n_heads\":4,\"seed\":7},\"head_dim\":"
        "16,"
        "\"rows\":64,\"null_pr\":15.5,\"null_pr_energy\":14,\"made_from\":[{\"argv\":[\"qk-probe\"]"
        "}]}");
    struct qk_results r;
    assert_works(qk_results_parse(&r, json, "own output", &err));
    assert_int_equal(r.head_dim, 16);
    qk_results_free(&r);
    free(text);
    cJSON_Delete(json);
    gather_free(&g);
    free(a), free(b), free(c), free(again), free(all);
}

static void frozen_gains_leave_no_gamma_final(void **state)
{
    (void)state;
    struct qk_err err;
    char *text = probe_text(0, 15, "frozen");
    struct qk_gather g = gather_of(text, five_steps);
    cJSON *json = qk_gather_results(&g, &err);
    assert_non_null(cJSON_GetObjectItem(json, "gamma_cv"));
    assert_null(cJSON_GetObjectItem(json, "gamma_final"));
    cJSON_Delete(json);
    gather_free(&g);
    free(text);
}

static void refuse(const char *probes, const char *log, const char *sentence)
{
    struct qk_err err = {""};
    struct qk_gather g = gather_of(probes, log);
    assert_null(qk_gather_results(&g, &err));
    if (strstr(err.text, sentence) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", sentence, err.text);
    gather_free(&g);
}

static void bad_probes_and_logs_are_refused(void **state)
{
    (void)state;
    char *a = probe_text(0, 15, "learned"), *b = probe_text(0, 14, "learned");
    char *c = probe_text(10, 14, "none"), *ab = qk_format("%s%s", a, b);
    char *ac = qk_format("%s%s", a, c);
    refuse("{\"kind\": \"probe\"", five_steps, "malformed JSON");
    refuse("", five_steps, "probe.jsonl: is empty, expected JSON");
    refuse("[1]\n", five_steps, "probe.jsonl: a probe is no object");
    refuse("{\"version\":1}\n", five_steps, "probe.jsonl: has no key 'kind'");
    refuse("{\"kind\":\"eval\"}\n", five_steps, "probe.jsonl: kind is 'eval', expected 'probe'");
    refuse("{\"kind\":\"probe\",\"layers\":[{}],\"mean_pr\":{\"weight\":1}}\n", five_steps,
           "probe.jsonl: 'mean_pr' has no site post_norm");
    refuse(ab, five_steps, "are both at 0 tokens but differ");
    refuse(ac, five_steps, "probe of k-10 are of models with different qk_norm");
    refuse(a, "{\"step\":1,\"tokens_seen\":1}\n{\"step\":3,\"tokens_seen\":3}\n",
           "step 3 follows step 1");
    refuse(a, "{\"tokens_seen\":1}\n", "has no key 'step'");
    refuse(a, "not json\n", "malformed JSON");
    free(a), free(b), free(c), free(ab), free(ac);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_in_the_original_style_is_read),
        cmocka_unit_test(bad_results_are_refused),
        cmocka_unit_test(conditions_must_fit_together),
        cmocka_unit_test(means_go_member_by_member),
        cmocka_unit_test(seeds_are_averaged_and_kept),
        cmocka_unit_test(probes_and_log_become_a_trajectory),
        cmocka_unit_test(frozen_gains_leave_no_gamma_final),
        cmocka_unit_test(bad_probes_and_logs_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
