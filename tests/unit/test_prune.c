/* Surgery on keys: a planted rank is found and may be cut away for nothing; what is cut is cut, and
 * nothing else. */
#include "unit/tiny.h"

#include "model/checkpoint.h"
#include "model/transformer.h"
#include "study/measure/keys.h"
#include "study/measure/prune.h"
#include "study/measure/spectrum.h"

enum { HD = 8, D = 16, LAYERS = 2, RANK = 3, T = 8, MOST = 61 * 16 };

/* W_k = a b with a [HD, RANK], b [RANK, D]. */
static void plant(float *w, int layer)
{
    const uint64_t stream = qk_rng_stream("planted") + (uint64_t)layer;
    for (int i = 0; i < HD; i++)
        for (int j = 0; j < D; j++) {
            double sum = 0;
            for (int k = 0; k < RANK; k++)
                sum += qk_rng_normal(1, stream, (uint64_t)(i * RANK + k)) *
                       qk_rng_normal(2, stream, (uint64_t)(k * D + j));
            w[i * D + j] = (float)(0.1 * sum);
        }
}

/* a.h5: the tiny model with keys of planted rank, gains 1, 2, 3, ..., no optimiser state. */
static void write_planted(const char *norm)
{
    struct qk_err err;
    struct qk_config c = tiny_config();
    if (strcmp(norm, "none") == 0)
        c.qk_norm = QK_NORM_NONE;
    else if (strcmp(norm, "frozen") == 0)
        c.qk_norm = QK_NORM_FROZEN;
    struct qk_params p;
    qk_params_layout(&p, &c);
    const struct qk_checkpoint_head head = {.config = &c, .step = 5, .tokens_seen = 160, .eot = 0};
    struct qk_h5 *f = qk_checkpoint_create("a.h5", &head, NULL, &err);
    assert_non_null(f);
    for (int i = 0; i < p.count; i++) {
        float w[MOST];
        qk_param_initialize(&p.at[i], &c, w);
        if (p.at[i].tensor == QK_WK)
            plant(w, p.at[i].layer);
        for (int j = 0; p.at[i].tensor == QK_K_NORM && c.qk_norm == QK_NORM_LEARNED && j < HD; j++)
            w[j] = (j % 2 ? -1.0f : 1.0f) * (float)(j + 1);
        assert_works(qk_checkpoint_put(f, &p.at[i], w, false, 0, &err));
    }
    assert_works(qk_h5_commit(f, &err));
    qk_params_free(&p);
    tiny_pack("t.h5");
}

static int prune(enum qk_cut by, double fraction, const char *layers, int64_t seed,
                 struct qk_err *err)
{
    struct qk_prune p = {.from = "a.h5",
                         .to = "b.h5",
                         .by = by,
                         .fraction = fraction,
                         .layers = layers,
                         .calib = "t.h5",
                         .split = "probe",
                         .seed = seed,
                         .device = "cpu",
                         .progress = {.tool = "test", .quiet = true}};
    return qk_prune_run(&p, err);
}

static void read_tensor(const char *path, enum qk_tensor tensor, int layer, float *to)
{
    struct qk_err err;
    struct qk_checkpoint c;
    assert_works(qk_checkpoint_open(&c, path, &err));
    const struct qk_param *param = qk_params_find(&c.params, tensor, layer);
    assert_non_null(param);
    assert_works(qk_checkpoint_weights(&c, param, to, &err));
    qk_checkpoint_close(&c);
}

/* Tensors of b.h5 that differ from a.h5's. */
static int changed(enum qk_tensor *tensor, int *layer)
{
    struct qk_err err;
    struct qk_checkpoint a, b;
    int count = 0;
    assert_works(qk_checkpoint_open(&a, "a.h5", &err));
    assert_works(qk_checkpoint_open(&b, "b.h5", &err));
    assert_int_equal(b.step, a.step);
    for (int i = 0; i < a.params.count; i++) {
        float x[MOST], y[MOST];
        assert_works(qk_checkpoint_weights(&a, &a.params.at[i], x, &err));
        assert_works(qk_checkpoint_weights(&b, &b.params.at[i], y, &err));
        if (memcmp(x, y, (size_t)a.params.at[i].count * sizeof *x) != 0) {
            count++;
            *tensor = a.params.at[i].tensor;
            *layer = a.params.at[i].layer;
        }
    }
    qk_checkpoint_close(&a);
    qk_checkpoint_close(&b);
    return count;
}

static double loss_of(const char *path)
{
    struct qk_err err;
    struct qk_checkpoint c;
    int32_t tokens[3 * T], targets[3 * T];
    float nll[3 * T];
    double sum = 0;
    for (int i = 0; i < 3 * T; i++) {
        tokens[i] = i * 11 % 61;
        targets[i] = (i + 1) * 11 % 61;
    }
    assert_works(qk_checkpoint_open(&c, path, &err));
    struct qk_model *m = qk_model_create(device, &c.config, 3, T, false, false, &err);
    assert_non_null(m);
    assert_works(qk_model_load(m, &c, &err));
    assert_works(qk_model_forward(m, tokens, targets, 3, nll, NULL, NULL, &err));
    for (int i = 0; i < 3 * T; i++)
        sum += (double)nll[i];
    qk_model_free(m);
    qk_checkpoint_close(&c);
    return sum / (3 * T);
}

/* Singular values of layer 0's keys at pre_norm above 1e-6 of the largest. */
static int rank_of(const char *path)
{
    struct qk_err err;
    struct qk_keys k;
    struct qk_keys_loader how = {.batch = "t.h5",
                                 .sites = 1u << QK_SITE_PRE_NORM,
                                 .device_name = "cpu",
                                 .progress = {.tool = "test", .quiet = true}};
    assert_works(qk_keys_load(&k, path, &how, &err));
    struct qk_spectrum s;
    assert_works(
        qk_spectrum_of_gram(&s, NULL, k.layers[0].gram[QK_SITE_PRE_NORM][QK_OF_K], HD, &err));
    int rank = 0;
    for (int i = 0; i < HD; i++)
        rank += s.sigma[i] > 1e-6 * s.sigma[0];
    qk_keys_free(&k);
    qk_device_close(how.device);
    return rank;
}

static void planted_rank(void **state)
{
    (void)state;
    struct qk_err err;
    write_planted("learned");
    assert_int_equal(rank_of("a.h5"), RANK);
    const double before = loss_of("a.h5");
    assert_works(prune(QK_CUT_SVD, (double)(HD - RANK) / HD, NULL, 0, &err));
    assert_int_equal(rank_of("b.h5"), RANK);
    assert_close(loss_of("b.h5"), before, 2e-6);
    assert_works(prune(QK_CUT_SVD, (double)(HD - RANK + 1) / HD, NULL, 0, &err));
    assert_int_equal(rank_of("b.h5"), RANK - 1);
    assert_true(fabs(loss_of("b.h5") - before) > 1e-4);
}

static void nothing_is_cut_at_zero(void **state)
{
    (void)state;
    struct qk_err err;
    enum qk_tensor tensor;
    int layer;
    write_planted("learned");
    for (enum qk_cut by = QK_CUT_SVD; by <= QK_CUT_RANDOM_SUBSPACE; by++) {
        assert_works(prune(by, 0.04, NULL, 0, &err)); /* rounds to no direction */
        assert_int_equal(changed(&tensor, &layer), 0);
        assert_true(loss_of("b.h5") == loss_of("a.h5"));
    }
}

static void only_the_layer_asked_for(void **state)
{
    (void)state;
    struct qk_err err;
    enum qk_tensor tensor;
    int layer;
    write_planted("learned");
    for (enum qk_cut by = QK_CUT_SVD; by <= QK_CUT_RANDOM_SUBSPACE; by++) {
        assert_works(prune(by, 0.9, "1", 0, &err));
        assert_int_equal(changed(&tensor, &layer), 1);
        assert_int_equal(layer, 1);
        assert_int_equal(tensor, by == QK_CUT_GAMMA || by == QK_CUT_RANDOM ? QK_K_NORM : QK_WK);
    }
    assert_int_not_equal(prune(QK_CUT_SVD, 0.5, "0,2", 0, &err), 0);
    assert_string_equal(err.text, "a.h5: has no layer '2': there are 0 to 1");
}

static void gains(void **state)
{
    (void)state;
    struct qk_err err;
    float gain[HD];
    write_planted("learned");
    assert_works(prune(QK_CUT_GAMMA, 0.5, NULL, 0, &err));
    read_tensor("b.h5", QK_K_NORM, 1, gain);
    for (int j = 0; j < HD; j++)
        assert_true(j < 4 ? gain[j] == 0 : fabsf(gain[j]) == (float)(j + 1));
    write_planted("frozen");
    assert_int_not_equal(prune(QK_CUT_GAMMA, 0.5, NULL, 0, &err), 0);
    assert_string_equal(err.text, "a.h5: qk_norm is frozen, so keys have no learned gain per "
                                  "dimension to choose by: take svd, random or random-subspace");
}

static int zeros(const float *x, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += x[i] == 0;
    return count;
}

static void random_dimensions(void **state)
{
    (void)state;
    struct qk_err err;
    float a[HD], b[HD], w[HD * D];
    write_planted("frozen"); /* a gain of ones is there to be cut */
    assert_works(prune(QK_CUT_RANDOM, 0.5, NULL, 1, &err));
    read_tensor("b.h5", QK_K_NORM, 0, a);
    read_tensor("b.h5", QK_K_NORM, 1, b);
    assert_int_equal(zeros(a, HD), 4);
    assert_int_equal(zeros(b, HD), 4);
    assert_memory_not_equal(a, b, sizeof a);
    assert_works(prune(QK_CUT_RANDOM, 0.5, NULL, 2, &err));
    read_tensor("b.h5", QK_K_NORM, 0, b);
    assert_memory_not_equal(a, b, sizeof a);
    write_planted("none");
    assert_works(prune(QK_CUT_RANDOM, 0.5, NULL, 1, &err));
    read_tensor("b.h5", QK_WK, 0, w);
    int rows = 0;
    for (int j = 0; j < HD; j++)
        rows += zeros(w + j * D, D) == D;
    assert_int_equal(rows, 4);
}

static void random_subspace(void **state)
{
    (void)state;
    struct qk_err err;
    write_planted("none");
    assert_works(prune(QK_CUT_RANDOM_SUBSPACE, 6.0 / HD, NULL, 1, &err));
    assert_int_equal(rank_of("b.h5"), 2); /* what is left of three directions in a plane */
    rename("b.h5", "c.h5");
    assert_works(prune(QK_CUT_RANDOM_SUBSPACE, 6.0 / HD, NULL, 1, &err));
    assert_same_file("b.h5", "c.h5");
    assert_works(prune(QK_CUT_RANDOM_SUBSPACE, 1, NULL, 1, &err));
    float w[HD * D];
    read_tensor("b.h5", QK_WK, 0, w);
    for (int i = 0; i < HD * D; i++)
        assert_true(fabsf(w[i]) < 1e-6f);
}

static void record(void **state)
{
    (void)state;
    struct qk_err err;
    char *text;
    write_planted("learned");
    assert_works(prune(QK_CUT_SVD, 0.5, "1", 3, &err));
    struct qk_h5 *f = qk_h5_open("b.h5", &err);
    assert_non_null(f);
    assert_works(qk_h5_attr_text(f, "/", "pruned", &text, &err));
    cJSON *json = cJSON_Parse(text);
    const cJSON *calib = cJSON_GetObjectItem(json, "calibration");
    assert_string_equal(cJSON_GetObjectItem(json, "by")->valuestring, "svd");
    assert_int_equal(cJSON_GetObjectItem(json, "removed")->valueint, 4);
    assert_int_equal(cJSON_GetObjectItem(json, "kept_rank")->valueint, 4);
    assert_int_equal(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "layers"), 0)->valueint, 1);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(json, "seed")));
    assert_string_equal(cJSON_GetObjectItem(calib, "split")->valuestring, "probe");
    assert_int_equal(cJSON_GetObjectItem(calib, "rows")->valueint, 18);
    cJSON_Delete(json);
    free(text);
    qk_h5_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_rank),
        cmocka_unit_test(nothing_is_cut_at_zero),
        cmocka_unit_test(gains),
        cmocka_unit_test(only_the_layer_asked_for),
        cmocka_unit_test(random_dimensions),
        cmocka_unit_test(random_subspace),
        cmocka_unit_test(record),
    };
    return cmocka_run_group_tests(tests, tiny_begin_device, tiny_end_device);
}
