/* qk-train: tokens + start -> checkpoint. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/num.h"
#include "common.h"
#include "compute/device.h"
#include "study/measure/keys.h"
#include "study/train/plan.h"
#include "study/train/train.h"

enum { EXIT_STOPPED = 75 }; /* EX_TEMPFAIL: what is needed to go on was saved */

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
    (void)sig;
    stop = 1;
}

struct words { /* options that need more than their kind says */
    const char *until, *steps, *val_tokens, *micro_batch, *keys_at, *val_at, *keys_sites, *weights,
        *rate, *tflops, *ceilings;
    struct qk_strings sets;
    bool plan, profile;
    int64_t zstd;
};

static int64_t count_or(struct qk_tool *tool, const char *name, const char *text, int64_t absent)
{
    struct qk_err err;
    int64_t value = absent;
    if (text && qk_parse_count(text, &value, &err) != 0)
        qk_tool_misuse(tool, "--%s: %s", name, err.text);
    return value;
}

static double rate_or_none(struct qk_tool *tool, const char *name, const char *text)
{
    struct qk_err err;
    double value = 0;
    if (!text)
        return 0;
    if (qk_parse_real(text, &value, &err) != 0)
        qk_tool_misuse(tool, "--%s: %s", name, err.text);
    if (value <= 0)
        qk_tool_misuse(tool, "--%s: %s is no rate", name, text);
    return value;
}

/* "R,S" */
static struct qk_ceilings ceilings_or_none(struct qk_tool *tool, const char *text)
{
    if (!text)
        return (struct qk_ceilings){0};
    char *first = qk_strdup(text), *comma = strchr(first, ',');
    if (comma) {
        *comma = '\0';
        const struct qk_ceilings c = {rate_or_none(tool, "ceilings", first),
                                      rate_or_none(tool, "ceilings", comma + 1)};
        free(first);
        return c;
    }
    qk_tool_misuse(tool, "--ceilings: TFLOP/s and GB/s with a comma between, not %s", text);
}

static struct qk_points points_or_none(struct qk_tool *tool, const char *name, const char *text)
{
    struct qk_err err;
    struct qk_points points = {0};
    if (text && qk_points_parse(&points, text, &err) != 0)
        qk_tool_misuse(tool, "--%s: %s", name, err.text);
    return points;
}

static void check_sets(struct qk_tool *tool, const struct qk_strings *sets)
{
    struct qk_err err;
    cJSON *scratch = cJSON_CreateObject();
    for (size_t i = 0; i < sets->count; i++)
        if (qk_config_set(scratch, sets->at[i], &err) != 0)
            qk_tool_misuse(tool, "%s", err.text);
    cJSON_Delete(scratch);
}

static void check_command(struct qk_tool *tool, const struct qk_train_options *o,
                          const struct words *w)
{
    if (!o->config_path == !o->from_path)
        qk_tool_misuse(tool, "either --config or --from must say where to start");
    if (w->until && w->steps)
        qk_tool_misuse(tool, "--until and --steps exclude each other");
    if (!w->plan && !w->until && !w->steps)
        qk_tool_misuse(tool, "--until or --steps must say where to end");
    if (!w->plan && !o->data)
        qk_tool_misuse(tool, "--data is missing");
    if (!w->plan && !tool->out)
        qk_tool_misuse(tool, "-o is missing");
    if (!w->keys_at != !o->keys_dir)
        qk_tool_misuse(tool, "--keys-at and --keys-dir go together");
    if (w->val_tokens && !w->val_at)
        qk_tool_misuse(tool, "--val-tokens needs --val-at");
    if (o->autosave_minutes < 0)
        qk_tool_misuse(tool, "--autosave: minutes cannot be negative");
}

static void interpret(struct qk_tool *tool, struct qk_train_options *o, const struct words *w)
{
    struct qk_err err;
    check_command(tool, o, w);
    check_sets(tool, &w->sets);
    o->until = count_or(tool, "until", w->until, -1);
    o->steps = count_or(tool, "steps", w->steps, -1);
    o->val_tokens = count_or(tool, "val-tokens", w->val_tokens, -1);
    o->val_at = points_or_none(tool, "val-at", w->val_at);
    o->keys_at = points_or_none(tool, "keys-at", w->keys_at);
    if (qk_keys_sites(w->keys_sites, &o->keys_sites, &err) != 0)
        qk_tool_misuse(tool, "--keys-sites: %s", err.text);
    if (strcmp(w->micro_batch, "auto") != 0) {
        o->micro_batch = count_or(tool, "micro-batch", w->micro_batch, 0);
        if (o->micro_batch < 1)
            qk_tool_misuse(tool, "--micro-batch: at least one sequence");
    }
    o->bf16 = strcmp(w->weights, "bf16") == 0;
    o->zstd = (int)w->zstd;
    o->sets = &w->sets;
    o->seed = tool->seed_given ? tool->seed : -1;
    o->out = tool->out;
    o->tool = tool->command.tool;
    o->quiet = tool->quiet;
    o->provenance = &tool->provenance;
}

static void say(void *self, const char *text)
{
    qk_tool_say(self, "%s", text);
}

static int print_plan(struct qk_tool *tool, const struct qk_train_options *o, const struct words *w,
                      struct qk_err *err)
{
    struct qk_config c;
    struct qk_train_options whole = *o;
    const double rate = rate_or_none(tool, "rate", w->rate);
    const double tflops = rate_or_none(tool, "tflops", w->tflops);
    const struct qk_ceilings ceilings = ceilings_or_none(tool, w->ceilings);
    int64_t step, tokens, last;
    if (qk_train_config(o, &c, &step, &tokens, err) != 0)
        return 1;
    if (o->until < 0 && o->steps < 0)
        whole.until = c.train_tokens > tokens ? c.train_tokens : tokens;
    if (qk_train_last_step(&whole, &c, step, tokens, &last, err) != 0)
        return 1;
    const bool cuda = strncmp(tool->device, "cuda", 4) == 0; /* asked for; none is opened */
    const struct qk_plan plan = {.device = cuda ? QK_COUNTED_CUDA : QK_COUNTED_CPU,
                                 .micro_batch = o->micro_batch,
                                 .recompute = o->recompute,
                                 .steps = last - step,
                                 .rate = rate,
                                 .tflops = tflops,
                                 .ceilings = ceilings};
    return qk_plan_print(stdout, &c, &plan, err) != 0;
}

static void print_profile(const struct qk_device *d)
{
    double sum = 0;
    for (int i = 0; i < QK_CLASSES; i++)
        sum += d->seconds[i];
    fprintf(stderr, "%-12s %10s %6s %10s %10s %10s %10s\n", "class", "seconds", "share", "GFLOP",
            "GB", "GFLOP/s", "GB/s");
    for (int i = 0; i < QK_CLASSES; i++) {
        const double seconds = d->seconds[i], per = seconds > 0 ? 1e-9 / seconds : 0;
        fprintf(stderr, "%-12s %10.3f %5.1f%% %10.2f %10.3f %10.1f %10.1f\n", qk_class_names[i],
                seconds, sum > 0 ? 100 * seconds / sum : 0, 1e-9 * d->flops[i], 1e-9 * d->bytes[i],
                per * d->flops[i], per * d->bytes[i]);
    }
    fprintf(stderr, "%-12s %10.3f\n", "together", sum);
}

static int train(struct qk_tool *tool, struct qk_train_options *o, bool profile, struct qk_err *err)
{
    struct qk_device *d = qk_device_open(tool->device, err);
    if (!d)
        return 1;
    char text[256];
    qk_device_describe(d, text, sizeof text);
    qk_tool_detail(tool, "%s", text);
    qk_provenance_device(&tool->provenance, d->ops->name);
    d->profile = profile;
    /* Caught even where they were ignored, as SIGINT is in a script's background jobs: nothing is
     * lost by stopping. */
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    const enum qk_train_end end = qk_train_run(d, o, err);
    if (profile && end != QK_TRAIN_FAILED)
        print_profile(d);
    qk_device_close(d);
    if (end == QK_TRAIN_STOPPED) {
        qk_tool_say(tool, "%s", err->text);
        return EXIT_STOPPED;
    }
    return end == QK_TRAIN_DONE ? 0 : 1;
}

/* Everything given back, the exit status decided: 1 prints the sentence. */
static int leave(struct qk_tool *tool, struct qk_train_options *o, struct words *w, int status,
                 const struct qk_err *err)
{
    qk_points_free(&o->val_at);
    qk_points_free(&o->keys_at);
    qk_strings_free(&w->sets);
    if (status == 1)
        qk_tool_fail(tool, err);
    const int unwritten = qk_tool_done(tool);
    return status ? status : unwritten;
}

int main(int argc, char **argv)
{
    struct words w = {.micro_batch = "auto", .keys_sites = "all", .weights = "f32"};
    struct qk_train_options o = {.autosave_minutes = 10, .say = say, .stop = &stop};
    struct qk_option options[] = {
        {"config", 0, QK_OPT_TEXT, &o.config_path, "C.json",
         "start with a config's initial weights", .heading = "From where to where"},
        {"from", 0, QK_OPT_TEXT, &o.from_path, "A.h5", "start with a checkpoint"},
        {"set", 0, QK_OPT_LIST, &w.sets, "KEY=VALUE", "change a key of the config (repeatable)"},
        {"data", 0, QK_OPT_TEXT, &o.data, "TOKENS.h5",
         "token pack: split train, and what else is asked"},
        {"until", 0, QK_OPT_TEXT, &w.until, "N",
         "train until N tokens are seen; 0: initial weights"},
        {"steps", 0, QK_OPT_TEXT, &w.steps, "N", "or until optimiser step N of the whole training"},
        {"keys-at", 0, QK_OPT_TEXT, &w.keys_at, "POINTS",
         "dump key statistics at a,b,c or every:N tokens", .heading = "What to look at"},
        {"keys-dir", 0, QK_OPT_TEXT, &o.keys_dir, "DIR", "into DIR/keys-TOKENS.h5",
         .content_free = true},
        {"keys-sites", 0, QK_OPT_TEXT, &w.keys_sites, "S,...",
         "pre_norm, post_norm, post_rope, weight"},
        {"val-at", 0, QK_OPT_TEXT, &w.val_at, "POINTS",
         "loss on split val at a,b,c or every:N tokens"},
        {"val-tokens", 0, QK_OPT_TEXT, &w.val_tokens, "N", "over its first windows",
         .fallback = "all"},
        {"log", 0, QK_OPT_TEXT, &o.log, "FILE", "JSON line per step", .content_free = true},
        {"timing", 0, QK_OPT_TEXT, &o.timing, "FILE", "JSON lines of seconds and rates",
         .content_free = true},
        {"weights-only", 0, QK_OPT_FLAG, &o.weights_only, NULL, "leave out what resuming needs",
         .heading = "How it is written"},
        {"weights", 0, QK_OPT_CHOICE, &w.weights, NULL, "number type; bf16 implies --weights-only",
         .choices = "f32|bf16"},
        {"zstd", 0, QK_OPT_INT, &w.zstd, "N", "compress the weights (0: not for f32)", .most = 22},
        {"autosave", 0, QK_OPT_REAL, &o.autosave_minutes, "MIN", "save OUT.partial this often",
         .content_free = true},
        {"micro-batch", 0, QK_OPT_TEXT, &w.micro_batch, "N|auto", "sequences at once",
         .content_free = true, .heading = "How it is run"},
        {"recompute", 0, QK_OPT_FLAG, &o.recompute, NULL,
         "less memory: activations are computed twice", .content_free = true},
        {"profile", 0, QK_OPT_FLAG, &w.profile, NULL, "time by class of operation, on stderr",
         .content_free = true},
        {"plan", 0, QK_OPT_FLAG, &w.plan, NULL, "print sizes and costs instead of training"},
        {"rate", 0, QK_OPT_TEXT, &w.rate, "R", "with --plan: hours at R tokens/s"},
        {"tflops", 0, QK_OPT_TEXT, &w.tflops, "R", "with --plan: hours at R TFLOP/s"},
        {"ceilings", 0, QK_OPT_TEXT, &w.ceilings, "R,S",
         "with --plan: what a step must cost at R TFLOP/s of products, S GB/s"},
        {0}};
    struct qk_tool tool = {
        .command = {.tool = "qk-train",
                    .usage = "(--config C.json | --from A.h5) --data TOKENS.h5 (--until N | "
                             "--steps N) [options] -o B.h5",
                    .summary = "Train a transformer from A to B. A killed or stopped run goes on "
                               "from B.h5.partial when the same command is given again.",
                    .tables = {options, NULL}},
        .standard = QK_TOOL_OUT | QK_TOOL_DEVICE | QK_TOOL_THREADS | QK_TOOL_SEED,
        .seed_fallback = "the config's"};
    qk_tool_start(&tool, argc, argv);
    o.self = &tool;
    interpret(&tool, &o, &w);
    struct qk_err err = {{0}};
    const int status = w.plan ? print_plan(&tool, &o, &w, &err) : train(&tool, &o, w.profile, &err);
    return leave(&tool, &o, &w, status, &err);
}
