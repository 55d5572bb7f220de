#define _GNU_SOURCE
#include "study/train/trainlog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/outfile.h"

struct qk_trainlog {
    char *path, *partial; /* partial is NULL when written straight: stdout, a pipe */
    FILE *stream;
};

void qk_trainlog_close(struct qk_trainlog *log, bool drop)
{
    if (!log)
        return;
    if (log->stream && log->stream != stdout)
        fclose(log->stream);
    if (drop && log->partial)
        unlink(log->partial);
    free(log->path);
    free(log->partial);
    free(log);
}

/* Opened for reading and writing, locked: two runs must not mix their lines. */
static struct qk_trainlog *open_partial(const char *path, struct qk_err *err)
{
    struct qk_trainlog *log = qk_zalloc(1, sizeof *log);
    log->path = qk_strdup(path);
    if (strcmp(path, "-") == 0) {
        log->stream = stdout;
        return log;
    }
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) { /* /dev/null, a pipe: nothing to cut */
        if ((log->stream = fopen(path, "w")))
            return log;
        qk_fail_errno(err, "%s: cannot be written", path);
        qk_trainlog_close(log, false);
        return NULL;
    }
    log->partial = qk_format("%s.partial", path);
    int fd = qk_lock_file(log->partial, log->partial, err);
    if (fd >= 0 && (log->stream = fdopen(fd, "r+")))
        return log;
    if (fd >= 0) {
        qk_fail_errno(err, "%s: cannot be written", log->partial);
        close(fd);
    }
    qk_trainlog_close(log, false);
    return NULL;
}

static int cut(struct qk_trainlog *log, off_t size, struct qk_err *err)
{
    if (ftruncate(fileno(log->stream), size) == 0 && fseeko(log->stream, size, SEEK_SET) == 0)
        return 0;
    return qk_fail_errno(err, "%s: cannot be cut back", log->partial);
}

struct qk_trainlog *qk_trainlog_begin(const char *path, struct qk_err *err)
{
    struct qk_trainlog *log = open_partial(path, err);
    if (log && log->partial && cut(log, 0, err) != 0) {
        qk_trainlog_close(log, false);
        return NULL;
    }
    return log;
}

/* The number of a whole line's key "step", or -1 for a line that is none of ours (the broken end
 * of a killed run). */
static int64_t step_of(const char *line)
{
    if (!strchr(line, '\n'))
        return -1;
    cJSON *json = cJSON_Parse(line);
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(json, "step");
    int64_t value = cJSON_IsNumber(step) ? (int64_t)step->valuedouble : -1;
    cJSON_Delete(json);
    return value;
}

/* Where the lines up to `step` end; *last is the step of the last of them, -1 for none. */
static off_t end_of_step(FILE *stream, int64_t step, int64_t *last)
{
    char *line = NULL;
    size_t size = 0;
    off_t end = 0;
    *last = -1;
    while (getline(&line, &size, stream) > 0) {
        int64_t its = step_of(line);
        if (its < 0 || its > step)
            break;
        *last = its;
        end = ftello(stream);
    }
    free(line);
    return end;
}

struct qk_trainlog *qk_trainlog_resume(const char *path, int64_t step, bool whole,
                                       struct qk_err *err)
{
    struct qk_trainlog *log = open_partial(path, err);
    if (!log || !log->partial)
        return log;
    int64_t last;
    off_t end = end_of_step(log->stream, step, &last);
    if (whole && last != step) {
        if (fseeko(log->stream, 0, SEEK_END) == 0 && ftello(log->stream) == 0)
            unlink(log->partial); /* it was not there before */
        qk_fail(err,
                "%s: lacks the line of step %" PRId64
                ", from which training should go on; put it back or remove the checkpoint's "
                ".partial to start the edge again",
                log->partial, step);
    } else if (cut(log, end, err) == 0) {
        return log;
    }
    qk_trainlog_close(log, false);
    return NULL;
}

static int check(struct qk_trainlog *log, int bad, struct qk_err *err)
{
    if (!bad && !ferror(log->stream))
        return 0;
    return qk_fail_errno(err, "%s: cannot be written", log->partial ? log->partial : log->path);
}

int qk_trainlog_add(struct qk_trainlog *log, cJSON *line, struct qk_err *err)
{
    qk_json_print_line(line, log->stream);
    cJSON_Delete(line);
    return check(log, fflush(log->stream), err);
}

int qk_trainlog_sync(struct qk_trainlog *log, struct qk_err *err)
{
    if (!log->partial)
        return 0;
    return check(log, fflush(log->stream) || fsync(fileno(log->stream)), err);
}

int qk_trainlog_publish(struct qk_trainlog *log, struct qk_err *err)
{
    if (!log->partial)
        return 0;
    struct qk_out *out = qk_out_open(log->path, err);
    if (!out)
        return -1;
    char block[65536];
    size_t n;
    rewind(log->stream);
    while ((n = fread(block, 1, sizeof block, log->stream)) > 0)
        fwrite(block, 1, n, qk_out_stream(out));
    if (ferror(log->stream)) {
        qk_out_discard(out);
        return qk_fail_errno(err, "%s: cannot be read", log->partial);
    }
    return qk_out_commit(out, err);
}
