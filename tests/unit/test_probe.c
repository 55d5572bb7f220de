/* probe.json from statistics made up by hand. */
#include "keys_check.h"

#include "base/json.h"
#include "study/measure/probe.h"
#include "study/measure/spectrum.h"

static struct qk_err err;

enum { HD = 2, ROWS = 40 };

/* One layer, 2 query heads on 1 key head of dimension 2; post_norm and weight only. */
static struct qk_keys made_up(void)
{
    struct qk_keys k = {.config = small_config(),
                        .step = 3,
                        .tokens_seen = 99,
                        .rows = ROWS,
                        .sites = 1 << QK_SITE_POST_NORM | 1 << QK_SITE_WEIGHT};
    k.config.n_layers = 1;
    k.config.n_heads = 2;
    k.config.n_kv_heads = 1;
    k.config.d_model = 4;
    k.layers = qk_zalloc(1, sizeof *k.layers);
    const double key[] = {16, 0, 0, 4}, query[] = {1, 0, 0, 1, 9, 0, 0, 0};
    struct qk_keys_layer *l = k.layers;
    for (int site = QK_SITE_POST_NORM; site <= QK_SITE_WEIGHT; site += 2) {
        l->gram[site][QK_OF_K] = memcpy(qk_alloc(4, 8), key, sizeof key);
        l->gram[site][QK_OF_Q] = memcpy(qk_alloc(8, 8), query, sizeof query);
    }
    l->mean[QK_SITE_POST_NORM][QK_OF_K] = memcpy(qk_alloc(2, 8), (double[]){0.5, 0}, 16);
    l->mean[QK_SITE_POST_NORM][QK_OF_Q] = qk_zalloc(4, 8);
    l->entropy = memcpy(qk_alloc(2, 8), (double[]){1.5, 2.5}, 16);
    l->max_logit = memcpy(qk_alloc(2, 8), (double[]){3, INFINITY}, 16);
    l->gain[QK_OF_K] = memcpy(qk_alloc(2, 8), (double[]){1.5, -0.5}, 16);
    l->gain[QK_OF_Q] = memcpy(qk_alloc(2, 8), (double[]){1, 1}, 16);
    return k;
}

static const struct qk_probe_ask everything = {.sites = QK_ALL_SITES,
                                               .of = (1u << QK_MEASURES) - 1,
                                               .plain = true,
                                               .centred = true,
                                               .spectra = true};

static double number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item))
        fail_msg("no number '%s'", key);
    return item->valuedouble;
}

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!item)
        fail_msg("no '%s'", key);
    return item;
}

static void order_and_keys(void **state)
{
    (void)state;
    struct qk_keys k = made_up();
    cJSON *p = qk_probe_json(&k, &everything, "x.h5", &err);
    assert_non_null(p);
    const cJSON *m;
    struct qk_buffer seen = {0};
    cJSON_ArrayForEach(m, member(p, "measures"))
        qk_buffer_format(&seen, "%s%s%d%s ", member(m, "of")->valuestring,
                         cJSON_IsTrue(member(m, "centred")) ? "-" : "", (int)number(m, "head"),
                         member(m, "site")->valuestring);
    assert_string_equal(seen.at, "k0post_norm k-0post_norm q0post_norm q1post_norm q-0post_norm "
                                 "q-1post_norm qk0post_norm qk1post_norm wk0weight wq0weight "
                                 "wq1weight ");
    qk_buffer_free(&seen);
    assert_string_equal(member(p, "kind")->valuestring, "probe");
    assert_string_equal(member(p, "file")->valuestring, "x.h5");
    assert_string_equal(member(p, "qk_norm")->valuestring, "learned");
    assert_true(number(p, "version") == 1 && number(p, "step") == 3 && number(p, "rows") == ROWS);
    assert_true(number(p, "tokens_seen") == 99);
    cJSON_Delete(p);
    qk_keys_free(&k);
}

static void numbers(void **state)
{
    (void)state;
    struct qk_keys k = made_up();
    cJSON *p = qk_probe_json(&k, &everything, "x.h5", &err);
    const cJSON *measures = member(p, "measures"), *m = cJSON_GetArrayItem(measures, 0);
    assert_close(number(m, "pr"), 36.0 / 20, 1e-14); /* sigma 4, 2 */
    assert_close(number(m, "cond"), 2, 1e-14);
    assert_true(number(m, "null_pr") == qk_null_rows(ROWS, HD).pr);
    assert_close(cJSON_GetArrayItem(member(m, "sigma"), 1)->valuedouble, 2, 1e-14);
    m = cJSON_GetArrayItem(measures, 1); /* 16 - 40 * 0.25 = 6, 4 */
    assert_close(number(m, "stable_rank"), 10.0 / 6, 1e-14);
    assert_true(number(m, "null_pr_energy") == qk_null_rows(ROWS - 1, HD).pr_energy);
    m = cJSON_GetArrayItem(measures, 3); /* 9, 0 */
    assert_true(cJSON_IsNull(member(m, "cond")));
    assert_close(number(m, "pr"), 1, 1e-14);
    m = cJSON_GetArrayItem(measures, 6); /* sqrt(1*16), sqrt(1*4) */
    assert_close(number(m, "pr"), 1.8, 1e-14);
    assert_true(number(m, "key_head") == 0);
    assert_true(number(m, "null_pr") == qk_null_product(ROWS, HD).pr);
    m = cJSON_GetArrayItem(measures, 8);
    assert_true(number(m, "null_pr") == qk_null_rows(4, HD).pr); /* d_model rows */

    const cJSON *layer = cJSON_GetArrayItem(member(p, "layers"), 0), *g = member(layer, "gamma_k");
    assert_close(number(member(layer, "k_pr"), "post_norm"), 1.8, 1e-14);
    assert_close(number(member(layer, "q_pr"), "post_norm"), (2 + 1) / 2.0, 1e-14);
    assert_close(number(member(p, "mean_pr"), "post_norm"), 1.8, 1e-14);
    assert_null(cJSON_GetObjectItem(member(p, "mean_pr"), "pre_norm"));
    assert_close(number(g, "mean"), 0.5, 1e-15);
    assert_close(number(g, "std"), sqrt(2), 1e-15); /* with n - 1 */
    assert_close(number(g, "cv"), sqrt(2) / 0.5, 1e-15);
    assert_true(number(g, "min") == -0.5 && number(g, "max") == 1.5);
    assert_int_equal(cJSON_GetArraySize(member(g, "values")), 2);
    assert_true(number(member(layer, "gamma_q"), "cv") == 0);
    assert_true(cJSON_IsNull(cJSON_GetArrayItem(member(layer, "max_logit"), 1)));
    assert_true(cJSON_IsNull(member(member(layer, "head_overlap"), "post_norm")));
    const cJSON *shares = member(member(layer, "gamma_vs_svd"), "post_norm");
    assert_close(cJSON_GetArrayItem(member(shares, "c"), 0)->valuedouble, 0.8, 1e-15);
    assert_close(number(shares, "rho"), 1, 1e-15); /* |gamma| 1.5, 0.5 */
    cJSON_Delete(p);

    k.config.qk_norm = QK_NORM_SCALAR;
    p = qk_probe_json(&k, &everything, "x.h5", &err);
    layer = cJSON_GetArrayItem(member(p, "layers"), 0);
    assert_true(cJSON_IsNull(member(member(layer, "gamma_k"), "cv")));
    assert_true(number(member(layer, "gamma_k"), "mean") == 1.5);
    assert_true(cJSON_IsNull(member(member(member(layer, "gamma_vs_svd"), "post_norm"), "rho")));
    cJSON_Delete(p);
    qk_keys_free(&k);
}

static void layers_do_not_depend_on_the_question(void **state)
{
    (void)state;
    struct qk_keys k = made_up();
    struct qk_probe_ask ask = {.sites = QK_ALL_SITES, .of = 1 << QK_MEASURE_QK, .plain = true};
    cJSON *all = qk_probe_json(&k, &everything, "x.h5", &err);
    cJSON *one = qk_probe_json(&k, &ask, "x.h5", &err);
    assert_int_equal(cJSON_GetArraySize(member(one, "measures")), 2);
    assert_true(cJSON_Compare(member(all, "layers"), member(one, "layers"), true));
    assert_true(cJSON_Compare(member(all, "mean_pr"), member(one, "mean_pr"), true));
    assert_null(cJSON_GetObjectItem(member(one, "measures")->child, "sigma"));
    cJSON_Delete(all);
    cJSON_Delete(one);
    qk_keys_free(&k);
}

static void refuse(const struct qk_keys *k, struct qk_probe_ask ask, const char *sentence)
{
    assert_null(qk_probe_json(k, &ask, "x.h5", &err));
    assert_string_equal(err.text, sentence);
}

static void refuses_what_is_not_there(void **state)
{
    (void)state;
    struct qk_keys k = made_up();
    struct qk_probe_ask ask = everything;
    ask.sites = 1 << QK_SITE_PRE_NORM | 1 << QK_SITE_WEIGHT;
    refuse(&k, ask, "x.h5: holds nothing of site pre_norm");
    ask.sites = 1 << QK_SITE_WEIGHT;
    refuse(&k, ask, "x.h5: holds no k at the sites asked for");
    free(k.layers[0].mean[QK_SITE_POST_NORM][QK_OF_Q]);
    k.layers[0].mean[QK_SITE_POST_NORM][QK_OF_Q] = NULL;
    refuse(&k, everything, "x.h5: holds no mean of q at post_norm, so it cannot be centred");
    ask = everything;
    ask.centred = false;
    k.layers[0].gram[QK_SITE_POST_NORM][QK_OF_Q][5] = NAN;
    refuse(&k, ask,
           "x.h5: layer 0, head 1, q at post_norm: the Gram matrix holds a number that is not "
           "finite");
    qk_keys_free(&k);
}

static void assert_begins(const char *text, const char *beginning)
{
    if (strncmp(text, beginning, strlen(beginning)) != 0)
        fail_msg("'%s' does not begin with '%s'", text, beginning);
}

static void table(void **state)
{
    (void)state;
    struct qk_keys k = made_up();
    struct qk_probe_ask ask = {
        .sites = QK_ALL_SITES, .of = 1 << QK_MEASURE_Q, .plain = true, .spectra = true};
    cJSON *p = qk_probe_json(&k, &ask, "x.h5", &err);
    char text[2000] = "";
    FILE *to = fmemopen(text, sizeof text, "w");
    qk_probe_tsv(p, true, "x.h5", to);
    fclose(to);
    const char *line = strchr(text, '\n') + 1;
    assert_begins(text, "file\tlayer\thead\tof\tsite\tcentred\tpr\tpr_energy\trank90\tcond\t"
                        "effective_rank\tstable_rank\taxis_alignment\tnull_pr\tnull_pr_energy\t"
                        "key_head\tsigma\n");
    assert_begins(line, "x.h5\t0\t0\tq\tpost_norm\tfalse\t2\t2\t2\t1\t2\t2\t1\t");
    assert_non_null(strstr(line, "\tNA\t1,1\n"));
    line = strchr(line, '\n') + 1;
    assert_begins(line, "x.h5\t0\t1\tq\tpost_norm\tfalse\t1\t1\t1\tNA\t1\t1\t1\t");
    cJSON_Delete(p);
    qk_keys_free(&k);
}

static void names(void **state)
{
    (void)state;
    unsigned of;
    assert_works(qk_probe_of("wq,k", &of, &err));
    assert_int_equal(of, 1 << QK_MEASURE_WQ | 1 << QK_MEASURE_K);
    assert_int_equal(qk_probe_of("k,v", &of, &err), -1);
    assert_string_equal(err.text, "'v' is none of k, q, qk, wk, wq");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_keys),
        cmocka_unit_test(numbers),
        cmocka_unit_test(layers_do_not_depend_on_the_question),
        cmocka_unit_test(refuses_what_is_not_there),
        cmocka_unit_test(table),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
