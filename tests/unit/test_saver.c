/* Checkpoints written behind: the bytes of those written at once, of the moment they were taken,
 * and a failure that is told.  A CPU device stands for one with memory of its own. */
#include "unit/tiny.h"

#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

#include "base/outfile.h"
#include "study/train/saver.h"

static int in_folder(void **state)
{
    tiny_begin_device(state);
    tiny_pack("t.h5");
    tiny_write_text("c.json", TINY_CONFIG);
    return 0;
}

struct trial {
    struct qk_train_options o;
    struct qk_edge edge;
    struct qk_model *model;
    struct qk_optimizer *optimizer;
    struct qk_saver *saver;
};

static void begin(struct trial *t, const char *out, bool apart)
{
    struct qk_err err;
    device->apart = apart;
    t->o = (struct qk_train_options){.config_path = "c.json",
                                     .seed = -1,
                                     .data = "t.h5",
                                     .out = out,
                                     .until = -1,
                                     .steps = 9,
                                     .val_tokens = -1};
    qk_out_forget_inputs();
    assert_works(qk_edge_open(&t->edge, device, &t->o, &err));
    t->model = qk_model_create(device, &t->edge.config, 1, 8, true, false, &err);
    t->optimizer = qk_optimizer_create(device, qk_model_params(t->model), &t->edge.config, &err);
    assert_works(qk_edge_load(&t->edge, t->model, t->optimizer, &err));
    t->saver = qk_saver_create(&t->edge, device, t->model, t->optimizer);
}

static void end(struct trial *t)
{
    qk_saver_free(t->saver);
    qk_optimizer_free(t->optimizer);
    qk_model_free(t->model);
    qk_edge_close(&t->edge);
}

static void step(struct trial *t)
{
    struct qk_err err;
    int32_t tokens[9];
    float nll[8];
    double norm;
    for (int i = 0; i < 9; i++)
        tokens[i] = (int32_t)(7 * i + t->edge.step) % 61;
    assert_works(qk_model_train(t->model, tokens, tokens + 1, 1, 0.1f, nll, &err));
    assert_works(qk_optimizer_step(t->optimizer, qk_model_weights(t->model),
                                   qk_model_gradients(t->model), 1, &norm, &err));
    t->edge.step++;
    t->edge.tokens_seen += 32;
    t->edge.windows += 4;
}

static void must_save(struct trial *t, enum qk_save how)
{
    struct qk_err err;
    if (qk_saver_save(t->saver, how, &err) != 0)
        fail_msg("%s", err.text);
}

static void save_at_once(const char *out, int steps, enum qk_save how)
{
    struct trial t;
    begin(&t, out, false);
    for (int i = 0; i < steps; i++)
        step(&t);
    must_save(&t, how);
    end(&t);
}

/* The file holds the moment of the save, however far training has gone when it is whole. */
static void behind_is_what_was_taken(void **state)
{
    (void)state;
    struct qk_err err;
    struct trial t;
    begin(&t, "behind.h5", true);
    for (int saves = 0; saves < 3; saves++) { /* before the first step there are no moments */
        must_save(&t, QK_SAVE_BEHIND);
        step(&t);
        step(&t);
        step(&t);
        assert_works(qk_saver_wait(t.saver, &err));
        assert_works(qk_saver_check(t.saver, &err));
        save_at_once("once.h5", 3 * saves, QK_SAVE_PARTIAL);
        assert_same_file("behind.h5.partial", "once.h5.partial");
        unlink("once.h5.partial");
        device->apart = true;
    }
    must_save(&t, QK_SAVE_BEHIND);
    must_save(&t, QK_SAVE_PARTIAL); /* each waits for the one before */
    must_save(&t, QK_SAVE_BEHIND);
    must_save(&t, QK_SAVE_WHOLE);
    save_at_once("once.h5", 9, QK_SAVE_PARTIAL);
    assert_same_file("behind.h5.partial", "once.h5.partial");
    unlink("once.h5.partial");
    save_at_once("once.h5", 9, QK_SAVE_WHOLE);
    assert_same_file("behind.h5", "once.h5");
    end(&t);
    unlink("behind.h5.partial");
}

/* Where the memory is the host's, the file is there when the save returns. */
static void no_copy_of_what_the_host_has(void **state)
{
    (void)state;
    struct trial t;
    begin(&t, "host.h5", false);
    must_save(&t, QK_SAVE_BEHIND);
    assert_int_equal(access("host.h5.partial", F_OK), 0);
    end(&t);
    unlink("host.h5.partial");
}

/* Another process is writing the file: the save fails behind. */
static int hold(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT, 0666);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    return fd;
}

static void a_failure_is_told_once(void **state)
{
    (void)state;
    struct qk_err err = {{0}};
    struct trial t;
    begin(&t, "f.h5", true);
    const int fd = hold("f.h5.partial.tmp");
    must_save(&t, QK_SAVE_BEHIND);
    assert_int_equal(qk_saver_wait(t.saver, &err), -1);
    assert_string_equal(err.text, "f.h5.partial: is being written already");
    assert_works(qk_saver_wait(t.saver, &err));
    must_save(&t, QK_SAVE_BEHIND);
    while (qk_saver_check(t.saver, &err) == 0) /* does not wait, but comes to know */
        sched_yield();
    assert_works(qk_saver_check(t.saver, &err));
    must_save(&t, QK_SAVE_BEHIND);
    assert_int_equal(qk_saver_save(t.saver, QK_SAVE_WHOLE, &err), -1); /* the one before failed */
    assert_int_equal(access("f.h5", F_OK), -1);
    assert_int_equal(access("f.h5.partial", F_OK), -1);
    close(fd);
    unlink("f.h5.partial.tmp");
    must_save(&t, QK_SAVE_BEHIND);
    must_save(&t, QK_SAVE_WHOLE);
    end(&t);
    unlink("f.h5.partial");
}

/* As a full disk: the sentence is HDF5's, nothing of the file is left, and HDF5 prints nothing of
 * its own from the thread either. */
static void no_room_for_the_file(void **state)
{
    (void)state;
    struct qk_err err = {{0}};
    struct rlimit before, little;
    struct trial t;
    begin(&t, "full.h5", true);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    little = before;
    little.rlim_cur = 8192;
    fflush(stderr);
    const int shown = dup(2), file = open("said", O_RDWR | O_CREAT | O_TRUNC, 0666);
    dup2(file, 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    must_save(&t, QK_SAVE_BEHIND);
    const int bad = qk_saver_wait(t.saver, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    dup2(shown, 2);
    close(shown);
    assert_int_equal(bad, -1);
    assert_non_null(strstr(err.text, "full.h5.partial: "));
    assert_int_equal(lseek(file, 0, SEEK_END), 0);
    close(file);
    assert_int_equal(access("full.h5.partial", F_OK), -1);
    assert_int_equal(access("full.h5.partial.tmp", F_OK), -1);
    end(&t);
}

/* A run whose autosave fails stops with that sentence and leaves no B. */
static void a_failure_stops_training(void **state)
{
    (void)state;
    struct qk_err err = {{0}};
    struct trial t = {.o = {.config_path = "c.json",
                            .seed = -1,
                            .data = "t.h5",
                            .out = "s.h5",
                            .until = -1,
                            .steps = 1000,
                            .val_tokens = -1,
                            .log = "s.log",
                            .tool = "test",
                            .quiet = true}};
    device->apart = true;
    const int fd = hold("s.h5.partial.tmp");
    qk_out_forget_inputs();
    assert_int_equal(qk_train_run(device, &t.o, &err), QK_TRAIN_FAILED);
    assert_string_equal(err.text, "s.h5.partial: is being written already");
    assert_int_equal(access("s.h5", F_OK), -1);
    assert_int_equal(access("s.log.partial", F_OK), -1); /* nothing could go on from it */
    close(fd);
    unlink("s.h5.partial.tmp");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behind_is_what_was_taken), cmocka_unit_test(no_copy_of_what_the_host_has),
        cmocka_unit_test(a_failure_is_told_once),   cmocka_unit_test(no_room_for_the_file),
        cmocka_unit_test(a_failure_stops_training),
    };
    return cmocka_run_group_tests(tests, in_folder, tiny_end_device);
}
