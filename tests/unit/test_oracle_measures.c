/* Every measure of the reference cases, and their validation losses (shared/oracle, made by an
 * independent float64 implementation).  QK_SHARED says where they are; skipped aloud without. */
#include "check.h"

#include "base/json.h"
#include "compute/device.h"
#include "study/eval/eval.h"
#include "study/measure/probe.h"

static struct qk_err err;
static struct qk_device *device;
static const char *const cases[] = {"learned-muon", "frozen-muon-accum", "none-adamw",
                                    "learned-adamw-swiglu"};

static const char *reference(const char *name, const char *file)
{
    static char path[2][512];
    static int next;
    const char *shared = getenv("QK_SHARED");
    char *to = path[next++ % 2];
    snprintf(to, sizeof path[0], "%s/oracle/%s/%s", shared ? shared : "../shared", name, file);
    return to;
}

static int start(void **state)
{
    (void)state;
    device = qk_device_open("cpu", &err);
    return device ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    qk_device_close(device);
    return 0;
}

static void skip_without_reference(void)
{
    FILE *there = fopen(reference(cases[0], "expected.json"), "r");
    if (!there) {
        printf("no reference values at %s\n", reference(cases[0], "expected.json"));
        skip();
    }
    fclose(there);
}

static double tolerance_of(const char *measure, const char *of)
{
    if (strcmp(measure, "rank90") == 0)
        return 0;
    if (strcmp(measure, "cond") == 0 || strcmp(measure, "max_logit") == 0 ||
        (strcmp(measure, "axis_alignment") == 0 && (*of == 'k' || strcmp(of, "q") == 0)))
        return 1e-4;
    return 1e-5;
}

static void compare(const cJSON *seen, const cJSON *expected, double tolerance, const char *what)
{
    if (!cJSON_IsNumber(seen))
        fail_msg("%s is missing", what);
    double a = seen->valuedouble, b = expected->valuedouble;
    if (!(fabs(a - b) <= tolerance * fmax(fabs(b), 1e-30)))
        fail_msg("%s is %.17g, expected %.17g within %g", what, a, b, tolerance);
}

static const cJSON *find_measure(const cJSON *probe, int layer, const char *site, const char *of,
                                 bool centred, int head)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, cJSON_GetObjectItem(probe, "measures"))
    {
        if (cJSON_GetObjectItem(m, "layer")->valueint == layer &&
            cJSON_GetObjectItem(m, "head")->valueint == head &&
            strcmp(cJSON_GetObjectItem(m, "site")->valuestring, site) == 0 &&
            strcmp(cJSON_GetObjectItem(m, "of")->valuestring, of) == 0 &&
            !!cJSON_IsTrue(cJSON_GetObjectItem(m, "centred")) == centred)
            return m;
    }
    fail_msg("no measure of layer %d, head %d, %s at %s", layer, head, of, site);
    return NULL;
}

/* "post_norm.k.centred": {pr: [per head], ..., sv: [[...]]} */
static int compare_heads(const cJSON *probe, int layer, const cJSON *expected)
{
    char key[64], what[128];
    int compared = 0;
    snprintf(key, sizeof key, "%s", expected->string);
    char *of = strchr(key, '.');
    *of++ = '\0';
    char *centred = strchr(of, '.');
    if (centred)
        *centred = '\0';
    char name[8];
    snprintf(name, sizeof name, "%s%.2s", strcmp(key, "weight") == 0 ? "w" : "", of);
    const cJSON *measure, *value;
    cJSON_ArrayForEach(measure, expected)
    {
        int head = 0;
        cJSON_ArrayForEach(value, measure)
        {
            const cJSON *m = find_measure(probe, layer, key, name, centred, head++);
            snprintf(what, sizeof what, "layer %d head %d %s %s", layer, head - 1, expected->string,
                     measure->string);
            compared++;
            if (!cJSON_IsArray(value)) {
                compare(cJSON_GetObjectItem(m, measure->string), value,
                        tolerance_of(measure->string, name), what);
                continue;
            }
            for (int i = 0; i < cJSON_GetArraySize(value); i++)
                compare(cJSON_GetArrayItem(cJSON_GetObjectItem(m, "sigma"), i),
                        cJSON_GetArrayItem(value, i), 1e-5, what);
        }
    }
    return compared;
}

static int compare_layer(const cJSON *probe, int layer, const cJSON *expected)
{
    const cJSON *mine = cJSON_GetArrayItem(cJSON_GetObjectItem(probe, "layers"), layer);
    const cJSON *item, *value;
    int compared = 0;
    cJSON_ArrayForEach(item, expected)
    {
        const cJSON *same = cJSON_GetObjectItem(mine, item->string);
        if (strchr(item->string, '.')) {
            compared += compare_heads(probe, layer, item);
        } else if (cJSON_IsArray(item)) {
            for (int h = 0; h < cJSON_GetArraySize(item); h++)
                compare(cJSON_GetArrayItem(same, h), cJSON_GetArrayItem(item, h),
                        tolerance_of(item->string, ""), item->string);
        } else {
            cJSON_ArrayForEach(value, item)
                compare(cJSON_GetObjectItem(same, value->string), value, 1e-5, item->string);
        }
    }
    return compared;
}

static void measures(void **state)
{
    const char *name = *state;
    skip_without_reference();
    cJSON *expected = qk_json_read(reference(name, "expected.json"), &err);
    assert_non_null(expected);
    struct qk_keys_loader how = {
        .sites = QK_ALL_SITES, .device = device, .progress = {.tool = "test", .quiet = true}};
    const struct qk_probe_ask ask = {.sites = QK_ALL_SITES,
                                     .of = (1u << QK_MEASURES) - 1,
                                     .plain = true,
                                     .centred = true,
                                     .spectra = true};
    struct qk_keys k;
    assert_works(qk_keys_load(&k, reference(name, "init.h5"), &how, &err));
    cJSON *probe = qk_probe_json(&k, &ask, name, &err);
    assert_non_null(probe);
    const cJSON *layer;
    int index = 0, compared = 0;
    cJSON_ArrayForEach(layer, cJSON_GetObjectItem(expected, "measures_init")) compared +=
        compare_layer(probe, index++, layer);
    assert_int_equal(index, k.config.n_layers);
    assert_true(compared > 500);
    cJSON_Delete(probe);
    cJSON_Delete(expected);
    qk_keys_free(&k);
}

static void validation_loss(void **state)
{
    const char *name = *state;
    skip_without_reference();
    cJSON *expected = qk_json_read(reference(name, "expected.json"), &err);
    assert_non_null(expected);
    struct qk_checkpoint c;
    struct qk_pack pack;
    struct qk_split split;
    assert_works(qk_checkpoint_open(&c, reference(name, "init.h5"), &err));
    assert_works(qk_pack_open(&pack, reference(name, "tokens.h5"), &err));
    assert_works(qk_split_read(&split, &pack, "val", &err));
    struct qk_model *m =
        qk_model_create(device, &c.config, 3, c.config.seq_len, false, false, &err);
    assert_non_null(m);
    assert_works(qk_model_load(m, &c, &err));
    struct qk_loss_plan plan = {.split = &split, .T = c.config.seq_len, .micro_batch = 3};
    struct qk_loss loss;
    assert_works(qk_eval_loss(&loss, m, &plan, &err));
    assert_int_equal(loss.windows, 8);
    assert_close(loss.mean, cJSON_GetObjectItem(expected, "val_loss_init")->valuedouble, 1e-5);
    qk_model_free(m);
    qk_split_free(&split);
    qk_pack_close(&pack);
    qk_checkpoint_close(&c);
    cJSON_Delete(expected);
}

int main(void)
{
    enum { CASES = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[2 * CASES];
    char names[2 * CASES][64];
    for (int i = 0; i < CASES; i++) {
        snprintf(names[i], sizeof names[i], "measures of %s", cases[i]);
        snprintf(names[CASES + i], sizeof names[i], "validation loss of %s", cases[i]);
        char *state = qk_strdup(cases[i]);
        tests[i] = (struct CMUnitTest){names[i], measures, NULL, NULL, state};
        tests[CASES + i] =
            (struct CMUnitTest){names[CASES + i], validation_loss, NULL, NULL, state};
    }
    int failed = cmocka_run_group_tests(tests, start, finish);
    for (int i = 0; i < CASES; i++)
        free(tests[i].initial_state);
    return failed;
}
