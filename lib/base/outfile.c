#define _GNU_SOURCE
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"

struct qk_out {
    char *path, *temporary; /* temporary is NULL when written straight */
    FILE *stream;
    int lock; /* descriptor of the temporary, holds flock */
    int slot; /* in live[], -1 when written straight */
};

/* Names a signal handler may unlink: set and cleared whole, never freed while set. */
enum { MOST_LIVE = 16 };
static _Atomic(char *) live[MOST_LIVE];

void qk_out_discard_all(void)
{
    for (int i = 0; i < MOST_LIVE; i++) {
        char *name = atomic_load(&live[i]);
        if (name)
            unlink(name);
    }
}

static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
enum { DEADLY = sizeof deadly / sizeof *deadly };

/* The handler may run in any thread while another one creates a temporary: it says that it is
 * `dying`, waits until nobody is `inside`, and whoever comes later waits for the end. */
static atomic_int inside;
static atomic_bool dying;

static void die_by(int sig)
{
    atomic_store(&dying, true);
    const struct timespec moment = {.tv_nsec = 1000000};
    for (int i = 0; i < 5000 && atomic_load(&inside) > 0; i++)
        nanosleep(&moment, NULL);
    qk_out_discard_all();
    signal(sig, SIG_DFL);
    raise(sig);
}

static _Thread_local sigset_t mask_before;

void qk_out_enter(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < DEADLY; i++)
        sigaddset(&set, deadly[i]);
    pthread_sigmask(SIG_BLOCK, &set, &mask_before); /* a handler here would wait for itself */
    atomic_fetch_add(&inside, 1);
    if (!atomic_load(&dying))
        return;
    atomic_fetch_sub(&inside, 1);
    for (;;)
        pause();
}

void qk_out_leave(void)
{
    atomic_fetch_sub(&inside, 1);
    pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
}

void qk_out_catch_signals(void)
{
    for (int i = 0; i < DEADLY; i++) {
        struct sigaction now;
        sigaction(deadly[i], NULL, &now);
        if (now.sa_handler == SIG_IGN) /* nohup and shells' background jobs stay as they are */
            continue;
        struct sigaction act = {.sa_handler = die_by, .sa_flags = SA_NODEFER};
        sigaction(deadly[i], &act, NULL);
    }
    signal(SIGXFSZ, SIG_IGN);
}

static int remember(char *name)
{
    for (int i = 0; i < MOST_LIVE; i++) {
        char *none = NULL;
        if (atomic_compare_exchange_strong(&live[i], &none, name))
            return i;
    }
    return -1;
}

static bool written_straight(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

/* Inputs, by what they are and not by name. */
struct input {
    dev_t device;
    ino_t inode;
};
static struct input *inputs;
static size_t input_count, input_capacity;

void qk_out_protect(const char *path)
{
    struct stat st;
    if (strcmp(path, "-") == 0 || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    qk_grow(&inputs, &input_capacity, input_count + 1, sizeof *inputs);
    inputs[input_count++] = (struct input){st.st_dev, st.st_ino};
}

void qk_out_forget_inputs(void)
{
    free(inputs);
    inputs = NULL;
    input_count = input_capacity = 0;
}

int qk_out_refuse_input(const char *path, struct qk_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return 0;
    for (size_t i = 0; i < input_count; i++)
        if (inputs[i].device == st.st_dev && inputs[i].inode == st.st_ino)
            return qk_fail(err, "%s: is an input and would be overwritten", path);
    return 0;
}

static void release(struct qk_out *out)
{
    if (out->slot >= 0)
        atomic_store(&live[out->slot], NULL);
    if (out->lock >= 0)
        close(out->lock);
    free(out->temporary);
    free(out->path);
    free(out);
}

int qk_lock_file(const char *path, const char *shown, struct qk_err *err)
{
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            return qk_fail_errno(err, "%s: cannot be created", shown);
        struct stat held, named;
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            close(fd);
            return qk_fail(err, "%s: is being written already", shown);
        }
        if (fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_dev == named.st_dev &&
            held.st_ino == named.st_ino)
            return fd;
        close(fd); /* renamed or removed between open and lock: perhaps a finished target by now */
    }
}

static int open_temporary(struct qk_out *out, struct qk_err *err)
{
    out->temporary = qk_format("%s.tmp", out->path);
    qk_out_enter();
    out->lock = qk_lock_file(out->temporary, out->path, err);
    out->slot = out->lock < 0 ? -1 : remember(out->temporary);
    qk_out_leave();
    if (out->lock < 0)
        return -1;
    if (out->slot < 0)
        return qk_fail(err, "%s: too many outputs at once", out->path);
    if (ftruncate(out->lock, 0) != 0)
        return qk_fail_errno(err, "%s: cannot be written", out->temporary);
    int fd = dup(out->lock);
    out->stream = fd < 0 ? NULL : fdopen(fd, "w");
    if (!out->stream)
        return qk_fail_errno(err, "%s: cannot be written", out->temporary);
    return 0;
}

struct qk_out *qk_out_open(const char *path, struct qk_err *err)
{
    struct qk_out *out = qk_zalloc(1, sizeof *out);
    out->path = qk_strdup(path);
    out->lock = out->slot = -1;
    if (strcmp(path, "-") == 0) {
        out->stream = stdout;
        return out;
    }
    if (qk_out_refuse_input(path, err) != 0) {
        release(out);
        return NULL;
    }
    if (written_straight(path)) {
        out->stream = fopen(path, "w");
        if (out->stream)
            return out;
        qk_fail_errno(err, "%s: cannot be written", path);
        release(out);
        return NULL;
    }
    if (open_temporary(out, err) != 0) {
        if (out->slot >= 0)
            unlink(out->temporary);
        release(out);
        return NULL;
    }
    return out;
}

FILE *qk_out_stream(struct qk_out *out)
{
    return out->stream;
}

const char *qk_out_temporary(const struct qk_out *out)
{
    return out->temporary ? out->temporary : out->path;
}

static int sync_folder_of(const char *path)
{
    char *copy = qk_strdup(path);
    char *slash = strrchr(copy, '/');
    if (slash)
        slash[slash == copy] = '\0';
    int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int bad = fd < 0 || (fsync(fd) != 0 && errno != EINVAL);
    if (fd >= 0)
        close(fd);
    free(copy);
    return bad ? -1 : 0;
}

static int finish_stream(struct qk_out *out, struct qk_err *err)
{
    FILE *stream = out->stream;
    out->stream = NULL;
    int bad = ferror(stream) | fflush(stream);
    if (stream != stdout)
        bad |= fclose(stream);
    if (bad)
        return qk_fail_errno(err, "%s: cannot be written",
                             stream == stdout ? "standard output" : out->path);
    return 0;
}

/* From then on the name of the temporary may be another process's. */
static int put_in_place(struct qk_out *out)
{
    qk_out_enter();
    int bad = rename(out->temporary, out->path);
    if (!bad)
        atomic_store(&live[out->slot], NULL);
    qk_out_leave();
    return bad;
}

int qk_out_commit(struct qk_out *out, struct qk_err *err)
{
    int bad = finish_stream(out, err);
    if (!bad && out->temporary) /* once more: inputs named since it was opened */
        bad = qk_out_refuse_input(out->path, err);
    if (!bad && out->temporary) {
        if (fsync(out->lock) != 0 || put_in_place(out) != 0 || sync_folder_of(out->path) != 0)
            bad = qk_fail_errno(err, "%s: cannot be written", out->path);
    }
    if (bad && out->temporary)
        unlink(out->temporary);
    release(out);
    return bad;
}

void qk_out_discard(struct qk_out *out)
{
    if (!out)
        return;
    if (out->stream && out->stream != stdout)
        fclose(out->stream);
    if (out->temporary)
        unlink(out->temporary);
    release(out);
}

int qk_make_folder(const char *path, struct qk_err *err)
{
    char *copy = qk_strdup(path);
    int bad = 0;
    for (char *p = copy + 1; !bad; p++) {
        if (*p && *p != '/')
            continue;
        char keep = *p;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            bad = qk_fail_errno(err, "%s: the folder cannot be made", copy);
        *p = keep;
        if (!keep)
            break;
    }
    struct stat st;
    if (!bad && (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)))
        bad = qk_fail(err, "%s: is no folder", path);
    free(copy);
    return bad;
}
