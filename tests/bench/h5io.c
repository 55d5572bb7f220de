/* How fast checkpoints are written and read, beside the plain calls for the same bytes.
 *
 *     h5io FOLDER [weights|moments [THREADS [RUNS]]]     (weights, all processors, 5)
 *
 * The 88 M parameter model's weights (354 MB), or with its optimiser's moments (808 MB).  Ours: a
 * checkpoint, created, written with checksums, synced and renamed; opened and read, sums and
 * numbers checked.  Plain: one file by write, fsync, rename; and by read, from the page cache as
 * ours.  In turn, RUNS times; prints one JSON object with medians. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/median.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/threads.h"
#include "compute/blas.h"
#include "model/checkpoint.h"

static const char CONFIG[] =
    "{\"vocab_size\":49152,\"d_model\":512,\"n_layers\":22,\"n_heads\":8,\"n_kv_heads\":4,"
    "\"d_ff\":2048,\"seq_len\":2048,\"muon_lr\":0.02,\"adamw_lr\":0.003,\"batch_size\":8,"
    "\"train_tokens\":25000000}";

struct set {
    struct qk_config config;
    struct qk_params params;
    bool moments;
    float *from, *to; /* every array one behind the other */
    size_t bytes;
    char *ours, *plain, *temporary;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "h5io: %s\n", what);
    exit(1);
}

/* ---- the arrays ---- */

/* Array `which` of a parameter: 0 the weights, 1 and 2 moments.  false: there is none. */
static bool path_of(const struct set *s, const struct qk_param *p, int which, char path[96])
{
    static const char *const moments[2][3] = {{"", "m", "v"}, {"", "b", NULL}};
    const char *letter = moments[p->group == QK_GROUP_MUON][which];
    if (which == 0)
        snprintf(path, 96, "/weights/%s", p->name);
    else if (s->moments && letter)
        snprintf(path, 96, "/optim/%s/%s", p->name, letter);
    else
        return false;
    return true;
}

/* For every array in order: 0, or what `visit` returned when it was not 0. */
static int each(struct set *s,
                int (*visit)(struct set *s, const struct qk_param *p, int which, const char *path,
                             size_t at, void *self),
                void *self)
{
    char path[96];
    size_t at = 0;
    for (int which = 0; which < 3; which++)
        for (int i = 0; i < s->params.count; i++) {
            const struct qk_param *p = &s->params.at[i];
            if (!path_of(s, p, which, path))
                continue;
            if (visit(s, p, which, path, at, self) != 0)
                return -1;
            at += (size_t)p->count;
        }
    s->bytes = at * sizeof *s->from;
    return 0;
}

static int nothing(struct set *s, const struct qk_param *p, int which, const char *path, size_t at,
                   void *self)
{
    (void)s, (void)p, (void)which, (void)path, (void)at, (void)self;
    return 0;
}

/* ---- ours ---- */

static struct qk_err err;

static int put(struct set *s, const struct qk_param *p, int which, const char *path, size_t at,
               void *file)
{
    if (which == 0)
        return qk_checkpoint_put(file, p, s->from + at, false, QK_PLAIN, &err);
    return qk_h5_write(file, path, QK_F32, p->rank, p->dims, QK_F32, s->from + at, QK_PLAIN, &err);
}

static double write_ours(struct set *s)
{
    unlink(s->ours);
    const double start = qk_now();
    const struct qk_checkpoint_head head = {.config = &s->config, .eot = -1};
    struct qk_h5 *file = qk_checkpoint_create(s->ours, &head, NULL, &err);
    if (!file || each(s, put, file) != 0 || qk_h5_commit(file, &err) != 0)
        die(err.text);
    return qk_now() - start;
}

static int get(struct set *s, const struct qk_param *p, int which, const char *path, size_t at,
               void *checkpoint)
{
    struct qk_checkpoint *c = checkpoint;
    if (which == 0)
        return qk_checkpoint_weights(c, p, s->to + at, &err);
    return qk_h5_read_shaped(c->file, path, QK_F32, p->rank, p->dims, s->to + at, &err);
}

static double read_ours(struct set *s)
{
    const double start = qk_now();
    struct qk_checkpoint c;
    if (qk_checkpoint_open(&c, s->ours, &err) != 0 || each(s, get, &c) != 0)
        die(err.text);
    qk_checkpoint_close(&c);
    return qk_now() - start;
}

/* ---- plain ---- */

static int write_all(struct set *s, const struct qk_param *p, int which, const char *path,
                     size_t at, void *self)
{
    (void)which, (void)path;
    const char *from = (const char *)(s->from + at);
    for (size_t left = (size_t)p->count * sizeof *s->from; left > 0;) {
        ssize_t n = write(*(int *)self, from, left);
        if (n <= 0)
            return -1;
        from += n;
        left -= (size_t)n;
    }
    return 0;
}

static double write_plain(struct set *s)
{
    unlink(s->plain);
    const double start = qk_now();
    int fd = open(s->temporary, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || each(s, write_all, &fd) != 0 || fsync(fd) != 0 || close(fd) != 0 ||
        rename(s->temporary, s->plain) != 0)
        die("the plain file cannot be written");
    return qk_now() - start;
}

static int read_all(struct set *s, const struct qk_param *p, int which, const char *path, size_t at,
                    void *self)
{
    (void)which, (void)path;
    char *to = (char *)(s->to + at);
    for (size_t left = (size_t)p->count * sizeof *s->to; left > 0;) {
        ssize_t n = read(*(int *)self, to, left);
        if (n <= 0)
            return -1;
        to += n;
        left -= (size_t)n;
    }
    return 0;
}

static double read_plain(struct set *s)
{
    const double start = qk_now();
    int fd = open(s->plain, O_RDONLY);
    if (fd < 0 || each(s, read_all, &fd) != 0 || close(fd) != 0)
        die("the plain file cannot be read");
    return qk_now() - start;
}

/* ---- all of it ---- */

enum { MOST_RUNS = 99, WRITE_OURS = 0, WRITE_PLAIN, READ_OURS, READ_PLAIN, MEASURES };

static void begin(struct set *s, const char *folder, bool moments)
{
    *s = (struct set){.moments = moments,
                      .ours = qk_format("%s/h5io-ours.h5", folder),
                      .plain = qk_format("%s/h5io-plain", folder),
                      .temporary = qk_format("%s/h5io-plain.tmp", folder)};
    if (qk_config_from_text(&s->config, CONFIG, "h5io", &err) != 0)
        die(err.text);
    qk_params_layout(&s->params, &s->config);
    each(s, nothing, NULL);
    s->from = qk_big_alloc(s->bytes);
    s->to = qk_big_alloc(s->bytes);
    memset(s->to, 1, s->bytes); /* touched */
    const int64_t n = (int64_t)(s->bytes / sizeof *s->from);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        uint64_t x = ((uint64_t)i + 1) * 0x9E3779B97F4A7C15u;
        s->from[i] = (float)(int32_t)((x ^ x >> 31) >> 16) * 0x1p-36f;
    }
}

static void end(struct set *s)
{
    unlink(s->ours);
    unlink(s->plain);
    free(s->ours);
    free(s->plain);
    free(s->temporary);
    qk_big_free(s->from, s->bytes);
    qk_big_free(s->to, s->bytes);
    qk_params_free(&s->params);
}

static void add(cJSON *o, const char *name, double ours, double plain, size_t bytes)
{
    cJSON *m = cJSON_AddObjectToObject(o, name);
    qk_json_add_number(m, "seconds", ours);
    qk_json_add_number(m, "plain_seconds", plain);
    qk_json_add_number(m, "mb_per_s", (double)bytes / ours / 1e6);
    qk_json_add_number(m, "plain_mb_per_s", (double)bytes / plain / 1e6);
    qk_json_add_number(m, "ratio", plain / ours);
}

static void print(struct set *s, double seconds[MEASURES][MOST_RUNS], int runs)
{
    double m[MEASURES];
    for (int i = 0; i < MEASURES; i++)
        m[i] = qk_median(seconds[i], (size_t)runs);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "what",
                            s->moments ? "checkpoint of 88 M parameters with moments"
                                       : "checkpoint of 88 M parameters, weights alone");
    qk_json_add_number(o, "bytes", (double)s->bytes);
    qk_json_add_number(o, "threads", qk_threads());
    qk_json_add_number(o, "runs", runs);
    add(o, "write", m[WRITE_OURS], m[WRITE_PLAIN], s->bytes);
    add(o, "read", m[READ_OURS], m[READ_PLAIN], s->bytes);
    qk_json_print_line(o, stdout);
    cJSON_Delete(o);
}

int main(int argc, char **argv)
{
    int64_t threads = 0, runs = 5;
    qk_blas_start(argv); /* as the tools do: it also shortens how long idle threads spin */
    const bool moments = argc > 2 && strcmp(argv[2], "moments") == 0;
    if (argc < 2 || argc > 5 || (argc > 2 && !moments && strcmp(argv[2], "weights") != 0) ||
        (argc > 3 && qk_parse_int(argv[3], 0, 1024, &threads, &err) != 0) ||
        (argc > 4 && qk_parse_int(argv[4], 1, MOST_RUNS, &runs, &err) != 0)) {
        fprintf(stderr, "usage: h5io FOLDER [weights|moments [THREADS [RUNS]]]\n");
        return 2;
    }
    qk_threads_set((int)threads);
    struct set s;
    double seconds[MEASURES][MOST_RUNS];
    begin(&s, argv[1], moments);
    for (int run = 0; run < runs; run++) {
        seconds[WRITE_PLAIN][run] = write_plain(&s);
        seconds[WRITE_OURS][run] = write_ours(&s);
        seconds[READ_PLAIN][run] = read_plain(&s);
        seconds[READ_OURS][run] = read_ours(&s);
        if (memcmp(s.from, s.to, s.bytes) != 0)
            die("what was read is not what was written");
    }
    print(&s, seconds, (int)runs);
    end(&s);
    return fflush(stdout) != 0;
}
