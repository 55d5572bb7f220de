#define _GNU_SOURCE
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
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

static void die_by(int sig)
{
    qk_out_discard_all();
    signal(sig, SIG_DFL);
    raise(sig);
}

void qk_out_catch_signals(void)
{
    static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) {
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

static int open_temporary(struct qk_out *out, struct qk_err *err)
{
    out->temporary = qk_format("%s.tmp", out->path);
    out->lock = open(out->temporary, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (out->lock < 0)
        return qk_fail_errno(err, "%s: cannot be created", out->path);
    if (flock(out->lock, LOCK_EX | LOCK_NB) != 0)
        return qk_fail(err, "%s: another process is writing it", out->path);
    out->slot = remember(out->temporary);
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

int qk_out_commit(struct qk_out *out, struct qk_err *err)
{
    int bad = finish_stream(out, err);
    if (!bad && out->temporary) {
        if (fsync(out->lock) != 0 || rename(out->temporary, out->path) != 0 ||
            sync_folder_of(out->path) != 0)
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
