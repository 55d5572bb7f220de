#define _GNU_SOURCE
/* Six training steps and the initial logits against an independent float64 implementation
 * (../shared/oracle; its README says with which tolerances).  Skipped where that folder is absent.
 */
#include "unit/tiny.h"

#include <limits.h>

#include "base/json.h"
#include "base/outfile.h"
#include "model/checkpoint.h"
#include "model/transformer.h"
#include "study/train/train.h"

static char folder[PATH_MAX];   /* of the reference values; "" when absent */
static struct qk_err no_device; /* why it could not be had */

static int begin(void **state)
{
    const char *shared = getenv("QK_SHARED");
    char *path = qk_format("%s/oracle", shared ? shared : "../shared");
    if (!realpath(path, folder) || access(folder, R_OK) != 0)
        folder[0] = '\0';
    free(path);
    device = qk_device_open(QK_TESTS_DEVICE, &no_device);
    return tiny_begin(state);
}

static cJSON *read_log(const char *path)
{
    struct qk_err err;
    cJSON *lines = qk_json_read_lines(path, &err);
    if (!lines)
        fail_msg("%s", err.text);
    return lines;
}

static double number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static double number_at(const cJSON *object, const char *key, int i)
{
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(object, key), i);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static void train_as_told(const char *init, const char *data)
{
    struct qk_err err;
    struct qk_train_options o = {.from_path = init,
                                 .seed = -1,
                                 .data = data,
                                 .out = "out.h5",
                                 .until = -1,
                                 .steps = 6,
                                 .val_tokens = -1,
                                 .log = "out.jsonl",
                                 .autosave_minutes = 100,
                                 .tool = "test",
                                 .quiet = true};
    assert_works(qk_points_parse(&o.val_at, "every:1G", &err));
    qk_out_forget_inputs();
    if (qk_train_run(device, &o, &err) != QK_TRAIN_DONE)
        fail_msg("%s", err.text);
    qk_points_free(&o.val_at);
}

static void compare_log(const cJSON *expected)
{
    cJSON *lines = read_log("out.jsonl");
    assert_int_equal(cJSON_GetArraySize(lines), 7); /* the initial validation comes first */
    for (int step = 1; step <= 6; step++) {
        const cJSON *line = cJSON_GetArrayItem(lines, step);
        assert_close(number(line, "loss"), number_at(expected, "losses", step - 1),
                     step == 1 ? 1e-6 : 1e-5);
        assert_close(number(line, "grad_norm"), number_at(expected, "grad_norms", step - 1), 1e-5);
    }
    assert_close(number(cJSON_GetArrayItem(lines, 0), "val_loss"),
                 number(expected, "val_loss_init"), 1e-5);
    assert_close(number(cJSON_GetArrayItem(lines, 6), "val_loss"),
                 number(expected, "val_loss_final"), 1e-5);
    cJSON_Delete(lines);
}

/* The distance of every tensor, relative to its norm. */
static void compare_weights(const char *expected)
{
    struct qk_err err;
    struct qk_checkpoint c;
    assert_works(qk_checkpoint_open(&c, "out.h5", &err));
    struct qk_h5 *reference = qk_h5_open(expected, &err);
    assert_non_null(reference);
    for (int i = 0; i < c.params.count; i++) {
        const struct qk_param *p = &c.params.at[i];
        float *have = qk_alloc((size_t)p->count, sizeof *have);
        double *want = qk_alloc((size_t)p->count, sizeof *want), distance = 0, norm = 0;
        char path[64];
        snprintf(path, sizeof path, "/final/%s", p->name);
        if (p->group == QK_GROUP_FROZEN && !qk_h5_has(reference, path)) {
            free(have);
            free(want);
            continue;
        }
        assert_works(qk_checkpoint_weights(&c, p, have, &err));
        assert_works(qk_h5_read(reference, path, QK_F64, p->count, want, &err));
        for (int64_t k = 0; k < p->count; k++) {
            distance += (have[k] - want[k]) * (have[k] - want[k]);
            norm += want[k] * want[k];
        }
        if (sqrt(distance) > 2e-4 * sqrt(norm))
            fail_msg("%s: %g of its norm away", p->name, sqrt(distance / norm));
        free(have);
        free(want);
    }
    qk_h5_close(reference);
    qk_checkpoint_close(&c);
}

/* Logits are never stored, but the loss against token v is log sum exp - logit of v. */
static void compare_logits(const char *init, const char *expected)
{
    struct qk_err err;
    struct qk_checkpoint c;
    int32_t *tokens;
    int64_t n, T;
    assert_works(qk_checkpoint_open(&c, init, &err));
    assert_works(qk_checkpoint_probe(&c, &tokens, &n, &T, &err));
    const int64_t V = c.config.vocab_size, M = n * T;
    struct qk_model *m = qk_model_create(device, &c.config, n, T, false, false, &err);
    assert_non_null(m);
    assert_works(qk_model_load(m, &c, &err));
    double *logits = qk_alloc((size_t)(M * V), sizeof *logits);
    struct qk_h5 *reference = qk_h5_open(expected, &err);
    assert_non_null(reference);
    assert_works(qk_h5_read(reference, "/logits_init", QK_F64, M * V, logits, &err));
    float *nll = qk_alloc((size_t)M, sizeof *nll);
    int32_t *best = qk_alloc((size_t)M, sizeof *best);
    int32_t *targets = qk_alloc((size_t)M, sizeof *targets);
    for (int32_t v = 0; v < V; v += 15) {
        for (int64_t i = 0; i < M; i++)
            targets[i] = v;
        assert_works(qk_model_forward(m, tokens, targets, n, nll, best, NULL, &err));
        for (int64_t i = 0; i < M; i++) {
            double sum = 0, most = -INFINITY;
            for (int64_t w = 0; w < V; w++) {
                sum += exp(logits[i * V + w]);
                most = fmax(most, logits[i * V + w]);
            }
            assert_close(nll[i], log(sum) - logits[i * V + v], 1e-5);
            assert_true(logits[i * V + best[i]] > most - 1e-5);
        }
    }
    free(logits);
    free(nll);
    free(best);
    free(targets);
    free(tokens);
    qk_h5_close(reference);
    qk_model_free(m);
    qk_checkpoint_close(&c);
}

static void run_case(const char *name)
{
    if (!folder[0]) {
        print_message("there are no reference values (../shared/oracle)\n");
        skip();
    }
    if (!device) {
        print_message("%s\n", no_device.text);
        skip();
    }
    struct qk_err err;
    char *init = qk_format("%s/%s/init.h5", folder, name);
    char *data = qk_format("%s/%s/tokens.h5", folder, name);
    char *json = qk_format("%s/%s/expected.json", folder, name);
    char *expected = qk_format("%s/%s/expected.h5", folder, name);
    cJSON *numbers = qk_json_read(json, &err);
    if (!numbers)
        fail_msg("%s", err.text);
    train_as_told(init, data);
    compare_log(numbers);
    compare_weights(expected);
    compare_logits(init, expected);
    cJSON_Delete(numbers);
    free(init);
    free(data);
    free(json);
    free(expected);
}

static void learned_muon(void **state)
{
    (void)state;
    run_case("learned-muon");
}

static void frozen_muon_accum(void **state)
{
    (void)state;
    run_case("frozen-muon-accum");
}

static void none_adamw(void **state)
{
    (void)state;
    run_case("none-adamw");
}

static void learned_adamw_swiglu(void **state)
{
    (void)state;
    run_case("learned-adamw-swiglu");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learned_muon),
        cmocka_unit_test(frozen_muon_accum),
        cmocka_unit_test(none_adamw),
        cmocka_unit_test(learned_adamw_swiglu),
    };
    return cmocka_run_group_tests(tests, begin, tiny_end_device);
}
