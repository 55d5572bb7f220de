/* Edges: A to C equals A to B to C, interruptions change no byte, strangers are refused. */
#include "unit/tiny.h"

#include <errno.h>

#include "base/outfile.h"
#include "model/checkpoint.h"
#include "model/optimizer.h"
#include "model/transformer.h"
#include "study/measure/keys.h"
#include "study/train/plan.h"
#include "study/train/train.h"
#include "study/train/trainlog.h"

static int in_folder(void **state)
{
    tiny_begin_device(state);
    tiny_pack("t.h5");
    tiny_write_text("c.json", TINY_CONFIG);
    return 0;
}

/* The same with memory that is not the host's: checkpoints on the way are written behind. */
static int in_folder_apart(void **state)
{
    in_folder(state);
    device->apart = true;
    return 0;
}

static char said[1024];

static void hear(void *self, const char *text)
{
    (void)self;
    snprintf(said, sizeof said, "%s", text);
}

static struct qk_train_options from_config(const char *out, int64_t steps)
{
    return (struct qk_train_options){.config_path = "c.json",
                                     .seed = -1,
                                     .data = "t.h5",
                                     .out = out,
                                     .until = -1,
                                     .steps = steps,
                                     .val_tokens = -1,
                                     .autosave_minutes = 100,
                                     .tool = "test",
                                     .quiet = true,
                                     .say = hear};
}

static struct qk_train_options from_checkpoint(const char *from, const char *out, int64_t steps)
{
    struct qk_train_options o = from_config(out, steps);
    o.config_path = NULL;
    o.from_path = from;
    return o;
}

static void must_run(const struct qk_train_options *o)
{
    struct qk_err err = {{0}};
    qk_out_forget_inputs();
    if (qk_train_run(device, o, &err) != QK_TRAIN_DONE)
        fail_msg("%s", err.text);
}

static void must_fail(const struct qk_train_options *o, const char *sentence)
{
    struct qk_err err;
    qk_out_forget_inputs();
    assert_int_equal(qk_train_run(device, o, &err), QK_TRAIN_FAILED);
    assert_string_equal(err.text, sentence);
}

static void sets_of(struct qk_strings *sets, const char *words)
{
    *sets = (struct qk_strings){0};
    if (*words)
        qk_strings_split(sets, words, ' ');
}

/* Under every optimiser and condition; the data are drawn more than twice. */
static void an_edge_can_be_cut_anywhere(void **state)
{
    (void)state;
    static const char *const conditions[] = {
        "", "qk_norm=frozen muon_qkvo=head lr_schedule=cosine warmup_tokens=96",
        "qk_norm=scalar muon_qkvo=matrix muon_orthogonalizer=newton-schulz ffn=swiglu",
        "qk_norm=none optimizer=adamw tie_embeddings=false data_order=sequential "
        "rope_style=half qk_gain_weight_decay=0"};
    for (int i = 0; i < 4; i++) {
        struct qk_strings sets;
        sets_of(&sets, conditions[i]);
        struct qk_train_options whole = from_config("whole.h5", 45);
        struct qk_train_options first = from_config("b.h5", 17);
        whole.sets = first.sets = &sets;
        must_run(&whole);
        must_run(&first);
        struct qk_train_options second = from_checkpoint("b.h5", "rest.h5", 45);
        must_run(&second);
        assert_same_file("whole.h5", "rest.h5");
        qk_strings_free(&sets);
    }
}

static void the_beginning_is_an_edge_too(void **state)
{
    (void)state;
    struct qk_train_options a = from_config("zero.h5", 0), whole = from_config("whole.h5", 3);
    must_run(&a);
    must_run(&whole);
    struct qk_train_options rest = from_checkpoint("zero.h5", "rest.h5", 3);
    must_run(&rest);
    assert_same_file("whole.h5", "rest.h5");
    struct qk_err err;
    struct qk_checkpoint c;
    assert_works(qk_checkpoint_open(&c, "zero.h5", &err));
    assert_int_equal(c.step, 0);
    assert_int_equal(c.tokens_seen, 0);
    assert_int_equal(c.eot, 0);
    const struct qk_param *embed = qk_params_find(&c.params, QK_EMBED, -1);
    float have[61 * 16], want[61 * 16];
    qk_param_initialize(embed, &c.config, want);
    assert_works(qk_checkpoint_weights(&c, embed, have, &err));
    assert_memory_equal(have, want, sizeof have);
    struct qk_buffer text;
    assert_works(qk_checkpoint_tokenizer(&c, &text, &err));
    assert_int_equal(text.size, 4);
    qk_buffer_free(&text);
    qk_checkpoint_close(&c);
    /* an edge of no step carries everything along */
    struct qk_train_options none = from_checkpoint("whole.h5", "same.h5", 3);
    must_run(&none);
    assert_same_file("whole.h5", "same.h5");
}

static void stop_after_saving(struct qk_train_options *o)
{
    static const volatile sig_atomic_t now = 1;
    struct qk_err err;
    o->stop = &now;
    qk_out_forget_inputs();
    assert_int_equal(qk_train_run(device, o, &err), QK_TRAIN_STOPPED);
    o->stop = NULL;
}

/* A run whose log ends in a broken line and goes beyond its checkpoint, as kill -9 leaves it. */
static void an_interrupted_edge_goes_on(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_train_options whole = from_config("whole.h5", 9);
    whole.log = "whole.jsonl";
    assert_works(qk_points_parse(&whole.val_at, "0,100,200", &err));
    assert_works(qk_points_parse(&whole.keys_at, "every:64", &err));
    whole.keys_sites = 15;
    whole.keys_dir = "keys";
    must_run(&whole);
    struct qk_train_options part = whole;
    part.out = "part.h5";
    part.log = "part.jsonl";
    part.keys_dir = "keys2";
    stop_after_saving(&part); /* before the first step */
    assert_int_equal(access("part.h5.partial", F_OK), 0);
    assert_int_equal(access("part.h5", F_OK), -1);
    part.autosave_minutes = 0; /* saved after every step */
    must_run(&part);
    assert_non_null(strstr(said, "going on from part.h5.partial, step 0"));
    assert_same_file("whole.h5", "part.h5");
    assert_same_file("whole.jsonl", "part.jsonl");
    assert_int_equal(system("diff -r keys keys2 && [ $(ls keys | wc -l) = 6 ]"), 0);
    assert_int_equal(access("part.h5.partial", F_OK), -1);
    assert_int_equal(access("part.jsonl.partial", F_OK), -1);
    qk_points_free(&whole.val_at);
    qk_points_free(&whole.keys_at);
}

static void log_is_cut_back(void **state)
{
    (void)state;
    struct qk_err err;
    tiny_write_text("l.partial", "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st");
    struct qk_trainlog *log = qk_trainlog_resume("l", 2, true, &err);
    assert_non_null(log);
    cJSON *line = cJSON_CreateObject();
    cJSON_AddNumberToObject(line, "step", 3);
    assert_works(qk_trainlog_add(log, line, &err));
    assert_works(qk_trainlog_publish(log, &err));
    qk_trainlog_close(log, true);
    tiny_write_text("expected", "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n");
    assert_same_file("l", "expected");
    assert_null(qk_trainlog_resume("l", 2, true, &err)); /* l.partial is gone */
    assert_non_null(strstr(err.text, "l.partial: lacks the line of step 2"));
    assert_int_equal(access("l.partial", F_OK), -1);
}

static void another_command_is_refused(void **state)
{
    (void)state;
    struct qk_train_options o = from_config("p.h5", 9);
    stop_after_saving(&o);
    struct qk_strings sets;
    sets_of(&sets, "adamw_lr=0.02");
    struct qk_train_options other = o;
    other.sets = &sets;
    must_fail(&other, "p.h5.partial: was left by another command (config key adamw_lr differs); "
                      "give that command again, or remove the file to start anew");
    other = from_config("p.h5", 10);
    must_fail(&other, "p.h5.partial: was left by another command (it ends at step 9, not 10); "
                      "give that command again, or remove the file to start anew");
    other = from_config("p.h5", 9);
    other.log = "p.jsonl";
    must_fail(&other, "p.h5.partial: was left by another command (what is looked at, or whether "
                      "there is a log differs); give that command again, or remove the file to "
                      "start anew");
    struct qk_train_options zero = from_config("z.h5", 0);
    must_run(&zero);
    other = from_checkpoint("z.h5", "p.h5", 9);
    must_fail(&other, "p.h5.partial: was left by another command (the checkpoint to start from "
                      "differs); give that command again, or remove the file to start anew");
    must_run(&o); /* the same goes on */
    assert_int_equal(access("p.h5.partial", F_OK), -1);
    qk_strings_free(&sets);
}

static void ends_of_edges(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config c = tiny_config();
    struct qk_train_options o = from_config("x.h5", -1);
    int64_t last;
    static const int64_t until[][2] = {{0, 0}, {1, 1}, {32, 1}, {33, 2}, {64, 2}, {640, 20}};
    for (int i = 0; i < 6; i++) {
        o.until = until[i][0];
        assert_works(qk_train_last_step(&o, &c, 0, 0, &last, &err));
        assert_int_equal(last, until[i][1]);
    }
    o.until = 70; /* 96 tokens is where 70 was reached */
    assert_works(qk_train_last_step(&o, &c, 3, 96, &last, &err));
    assert_int_equal(last, 3);
    o.until = 64;
    assert_int_equal(qk_train_last_step(&o, &c, 3, 96, &last, &err), -1);
    assert_string_equal(err.text, "c.json: has seen 96 tokens, already beyond the 64 asked for");
    o = from_config("x.h5", 2);
    assert_int_equal(qk_train_last_step(&o, &c, 3, 96, &last, &err), -1);
    assert_string_equal(err.text, "c.json: is at step 3, already beyond step 2");
}

static void weights_alone_are_a_start(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_train_options o = from_config("w.h5", 4);
    o.weights_only = true;
    must_run(&o);
    struct qk_checkpoint c;
    assert_works(qk_checkpoint_open(&c, "w.h5", &err));
    assert_false(qk_h5_has(c.file, "/optim") || qk_h5_has(c.file, "/train"));
    qk_checkpoint_close(&c);
    struct qk_train_options next = from_checkpoint("w.h5", "n.h5", 6);
    must_run(&next);
    assert_non_null(strstr(said, "moments start at zero"));
    assert_works(qk_checkpoint_open(&c, "n.h5", &err));
    assert_int_equal(c.step, 6);
    assert_int_equal(c.tokens_seen, 192);
    int64_t updates, windows;
    assert_works(qk_h5_attr_int(c.file, "/optim", "adamw_updates", &updates, &err));
    assert_works(qk_h5_attr_int(c.file, "/train", "windows", &windows, &err));
    assert_int_equal(updates, 2);
    assert_int_equal(windows, 24);
    qk_checkpoint_close(&c);
    struct qk_strings sets;
    sets_of(&sets, "d_ff=32");
    next.sets = &sets;
    next.out = "m.h5";
    must_fail(&next, "w.h5: --set cannot change d_ff of weights that are there");
    qk_strings_free(&sets);
}

static void frozen_gains_stay_one(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_strings sets;
    sets_of(&sets, "qk_norm=frozen");
    struct qk_train_options o = from_config("f.h5", 5);
    o.sets = &sets;
    must_run(&o);
    struct qk_checkpoint c;
    assert_works(qk_checkpoint_open(&c, "f.h5", &err));
    float gain[8];
    assert_works(qk_checkpoint_weights(&c, qk_params_find(&c.params, QK_K_NORM, 1), gain, &err));
    for (int i = 0; i < 8; i++)
        assert_true(gain[i] == 1.0f);
    qk_checkpoint_close(&c);
    qk_strings_free(&sets);
}

/* Micro-batches change rounding only. */
static void micro_batches(void **state)
{
    (void)state;
    struct qk_err err;
    float w[3][61 * 16];
    for (int i = 0; i < 3; i++) {
        struct qk_train_options o = from_config("mb.h5", 3);
        o.micro_batch = (int[]){1, 3, 4}[i]; /* of 4 sequences */
        o.recompute = i == 1;
        must_run(&o);
        struct qk_checkpoint c;
        assert_works(qk_checkpoint_open(&c, "mb.h5", &err));
        assert_works(
            qk_checkpoint_weights(&c, qk_params_find(&c.params, QK_EMBED, -1), w[i], &err));
        qk_checkpoint_close(&c);
    }
    for (int k = 0; k < 61 * 16; k++)
        for (int i = 1; i < 3; i++)
            assert_true(fabsf(w[i][k] - w[0][k]) < 2e-4f);
}

static void divergence_stops(void **state)
{
    (void)state;
    struct qk_strings sets;
    sets_of(&sets, "adamw_lr=1e6 optimizer=adamw grad_clip=0 init_std=1e5 weight_decay=1e6");
    struct qk_train_options o = from_config("d.h5", 40);
    o.sets = &sets;
    struct qk_err err;
    qk_out_forget_inputs();
    assert_int_equal(qk_train_run(device, &o, &err), QK_TRAIN_FAILED);
    if (!strstr(err.text, "is not finite, first in ") ||
        !strstr(err.text, "last good checkpoint: none"))
        fail_msg("%s", err.text);
    assert_int_equal(access("d.h5", F_OK), -1);
    qk_strings_free(&sets);
}

static void refusals(void **state)
{
    (void)state;
    struct qk_train_options o = from_config("x.h5", 2);
    struct qk_strings sets;
    sets_of(&sets, "vocab_size=60");
    o.sets = &sets;
    must_fail(&o, "t.h5: has a vocabulary of 61, but the model's vocab_size is 60");
    qk_strings_free(&sets);
    sets_of(&sets, "seq_len=601");
    must_fail(&o, "t.h5: split train has 601 tokens, but one window needs 602");
    qk_strings_free(&sets);
    o = from_config("t.h5", 2);
    must_fail(&o, "t.h5: is an input and would be overwritten");
    o = from_config("no/such/x.h5", 2);
    errno = 0;
    must_fail(&o, "no/such/x.h5: cannot be written: No such file or directory");
    o = from_config("x.h5", 2);
    struct qk_err err;
    assert_works(qk_points_parse(&o.val_at, "0", &err));
    o.val_tokens = 7;
    must_fail(&o, "t.h5: not one window of 8 tokens fits into what is to be validated on");
    qk_points_free(&o.val_at);
    assert_int_equal(access("x.h5", F_OK), -1);
}

static void plan_of_published_sizes(void **state)
{
    (void)state;
    struct qk_config c = tiny_config();
    c.vocab_size = 49152;
    c.d_model = 512;
    c.n_layers = 22;
    c.n_heads = 8;
    c.n_kv_heads = 4;
    c.d_ff = 2048;
    c.seq_len = 2048;
    c.batch_size = 8;
    c.grad_accum = 1;
    struct qk_cost cost = qk_cost_of(&c);
    assert_int_equal(cost.parameters, 88630528);
    /* 6 (matrices) + 6 L d T */
    assert_close(cost.flops_per_token, 6.0 * 88604672 + 6.0 * 22 * 512 * 2048, 1e-12);
    assert_int_equal(cost.tokens_per_step, 16384);
    assert_int_equal(cost.weights_file, 4 * 88630528);
    assert_int_equal(qk_micro_batch_auto(&c), 1);
    c.seq_len = 256;
    assert_int_equal(qk_micro_batch_auto(&c), 8);
    c.batch_size = 10;
    assert_int_equal(qk_micro_batch_auto(&c), 5);
}

/* Of the 1.58 B model in bf16: what lies in which class, and which cards it fits. */
static void plan_of_a_card(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_config c = tiny_config();
    struct qk_memory m, cpu;
    struct qk_fit fit;
    c.vocab_size = 49152;
    c.d_model = 2048;
    c.n_layers = 32;
    c.n_heads = 16;
    c.n_kv_heads = 8;
    c.d_ff = 8192;
    c.seq_len = 2048;
    c.batch_size = 8;
    c.grad_accum = 4;
    c.dtype = QK_DTYPE_BF16;
    const int64_t N = 1577199616, M = 2048, D = 2048, F = 8192;
    const struct qk_run one = {QK_COUNTED_CUDA, 0, 1, true, true};
    assert_works(qk_memory_of(&m, &c, &one, &err));
    assert_in_range(m.weights, 4 * N, 4 * N + 256);
    assert_in_range(m.copies, 2 * N, 2 * N + 128);
    assert_int_equal(m.gradients, 4 * N);
    assert_int_equal(m.state,
                     4 * N + 4 * (49152 * D + (65 * D + 64 * 128))); /* gains and embedding twice */
    /* layer inputs; norms, mid, qkv, q, k, o, up of one layer; as much for the way back; the end */
    const int64_t layer = 3 * D + 4096 + 2048 + 1024 + 2048 + F,
                  back = 2 * D + 4096 + 2048 + 1024 + 2048 + F;
    assert_int_equal(m.activations, 2 * M * (33 * D + layer + back + 2 * D));
    assert_int_equal(m.host_copy, m.weights + m.state);
    assert_int_equal(m.together, m.weights + m.copies + m.gradients + m.state + m.activations +
                                     m.statistics + m.scratch + m.context);
    const struct qk_run host = {QK_COUNTED_CPU, 0, 1, true, true};
    assert_works(qk_memory_of(&cpu, &c, &host, &err));
    assert_int_equal(cpu.activations, 2 * m.activations + m.statistics);
    assert_int_equal(cpu.copies + cpu.scratch + cpu.context + cpu.host_copy, 0);
    static const struct {
        int64_t gb;
        bool recompute;
        int64_t least;
    } fits[] = {{80, false, 8}, {48, false, 4}, {40, false, 2}, {24, true, 1}, {24, false, 0}};
    for (int i = 0; i < 5; i++) {
        const struct qk_card card = {fits[i].gb * 1000000000, fits[i].gb * 1000000000, false};
        assert_works(qk_fit_of(&fit, &c, &card, true, fits[i].recompute, &err));
        assert_true(fits[i].least ? fit.micro_batch >= fits[i].least : fit.missing > 0);
        if (!fit.micro_batch)
            continue;
        int64_t excess; /* as many as fit, and no more */
        assert_works(
            qk_excess_of(&excess, &c, &card, fit.micro_batch, true, fits[i].recompute, &err));
        assert_true(excess <= 0);
        if (fit.micro_batch < qk_micro_batch_most(&c)) {
            assert_works(qk_excess_of(&excess, &c, &card, 2 * fit.micro_batch, true,
                                      fits[i].recompute, &err));
            assert_true(excess > 0);
        }
    }
    assert_int_equal(qk_micro_batch_most(&c), 16);
    assert_int_equal(qk_micro_batch_auto(&c), 1);
}

/* The work of a step, counted and done: class by class the same. */
static void floor_of_a_step(void **state)
{
    (void)state;
    struct qk_err err;
    struct qk_device *cpu = qk_device_open("cpu", &err);
    cpu->profile = true;
    for (int trial = 0; trial < 3; trial++) {
        struct qk_config c = tiny_config();
        c.batch_size = 3;
        c.grad_accum = 1;
        c.ffn = trial == 1 ? QK_SWIGLU : QK_RELU2;
        c.muon_qkvo = trial == 1 ? QK_QKVO_HEAD : QK_QKVO_MATRIX;
        c.tie_embeddings = trial != 2;
        c.qk_norm = trial == 2 ? QK_NORM_NONE : QK_NORM_LEARNED;
        const int64_t rows = 2 * c.seq_len;
        int32_t *tokens = qk_zalloc((size_t)rows, sizeof *tokens);
        float *nll = qk_alloc((size_t)rows, sizeof *nll);
        double norm;
        struct qk_model *m = qk_model_create(cpu, &c, 2, c.seq_len, true, trial == 0, &err);
        struct qk_optimizer *o = qk_optimizer_create(cpu, qk_model_params(m), &c, &err);
        qk_model_initialize(m);
        memset(cpu->flops, 0, sizeof cpu->flops);
        memset(cpu->bytes, 0, sizeof cpu->bytes);
        assert_works(qk_model_train(m, tokens, tokens, 2, 1, nll, &err));
        assert_works(qk_model_train(m, tokens, tokens, 1, 1, nll, &err));
        assert_works(
            qk_optimizer_step(o, qk_model_weights(m), qk_model_gradients(m), 1, &norm, &err));
        const struct qk_run run = {QK_COUNTED_CPU, 0, 2, true, trial == 0};
        struct qk_floor floor;
        assert_works(qk_floor_of(&floor, &c, &run, &err));
        for (int i = 0; i < QK_CLASSES; i++)
            if (floor.flops[i] != cpu->flops[i] || floor.bytes[i] != cpu->bytes[i])
                fail_msg("%d, %s: %.0f operations, %.0f counted; %.0f bytes, %.0f counted", trial,
                         qk_class_names[i], cpu->flops[i], floor.flops[i], cpu->bytes[i],
                         floor.bytes[i]);
        qk_optimizer_free(o);
        qk_model_free(m);
        free(tokens);
        free(nll);
    }
    qk_device_close(cpu);
}

/* What is counted per token is what a step is counted to take; attention's backward pass makes one
 * of its products again, which costs but does not count. */
static void floor_and_flops_per_token(void **state)
{
    (void)state;
    struct qk_err err;
    const struct qk_config c = tiny_config();
    const struct qk_cost cost = qk_cost_of(&c);
    const struct qk_run run = {QK_COUNTED_CUDA, 0, 1, true, false};
    struct qk_floor floor;
    double moved = 0, bytes = 0;
    assert_works(qk_floor_of(&floor, &c, &run, &err));
    assert_true(floor.flops[QK_CLASS_MATMUL] + floor.flops[QK_CLASS_LOSS] +
                    floor.flops[QK_CLASS_ATTENTION] / 7 * 6 ==
                cost.flops_per_token * (double)cost.tokens_per_step);
    for (int i = 0; i < QK_ROLES; i++)
        moved += floor.moved[i];
    for (int i = 0; i < QK_CLASSES; i++)
        bytes += floor.bytes[i];
    assert_true(moved == bytes && bytes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edge_can_be_cut_anywhere),
        cmocka_unit_test(the_beginning_is_an_edge_too),
        cmocka_unit_test(an_interrupted_edge_goes_on),
        cmocka_unit_test(log_is_cut_back),
        cmocka_unit_test(another_command_is_refused),
        cmocka_unit_test(ends_of_edges),
        cmocka_unit_test(weights_alone_are_a_start),
        cmocka_unit_test(frozen_gains_stay_one),
        cmocka_unit_test(micro_batches),
        cmocka_unit_test(divergence_stops),
        cmocka_unit_test(refusals),
        cmocka_unit_test(plan_of_published_sizes),
        cmocka_unit_test(plan_of_a_card),
        cmocka_unit_test(floor_of_a_step),
        cmocka_unit_test(floor_and_flops_per_token),
    };
    const struct CMUnitTest apart[] = {
        cmocka_unit_test(an_edge_can_be_cut_anywhere),
        cmocka_unit_test(an_interrupted_edge_goes_on),
        cmocka_unit_test(another_command_is_refused),
        cmocka_unit_test(weights_alone_are_a_start),
        cmocka_unit_test(divergence_stops),
    };
    return cmocka_run_group_tests(tests, in_folder, tiny_end_device) +
           cmocka_run_group_tests(apart, in_folder_apart, tiny_end_device);
}
