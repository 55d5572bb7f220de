#include "base/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"

double qk_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void qk_progress_begin(struct qk_progress *p, const char *tool, const char *unit, int64_t first,
                       int64_t total, bool quiet)
{
    *p = (struct qk_progress){.tool = tool,
                              .unit = unit,
                              .first = first,
                              .total = total,
                              .quiet = quiet,
                              .started = qk_now(),
                              .on_terminal = isatty(STDERR_FILENO)};
    p->last = p->started;
}

static void format_seconds(double seconds, char *text, size_t size)
{
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, size, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else
        snprintf(text, size, "%ldm%02lds", s / 60, s % 60);
}

void qk_progress_show(struct qk_progress *p, int64_t done, const char *note)
{
    double now = qk_now(), pause = p->on_terminal ? 0.2 : 15.0;
    if (p->quiet || now - p->last < pause)
        return;
    p->last = now;
    double rate = (double)(done - p->first) / (now - p->started);
    char count[32], whole[32], left[32] = "";
    qk_group_digits(done, count);
    qk_group_digits(p->total, whole);
    if (p->total > 0 && rate > 0)
        format_seconds((double)(p->total - done) / rate, left, sizeof left);
    fprintf(stderr, "%s%s: %s%s%s %s, %.4g %s/s%s%s%s%s%s", p->on_terminal ? "\r\033[K" : "",
            p->tool, count, p->total > 0 ? "/" : "", p->total > 0 ? whole : "", p->unit, rate,
            p->unit, note ? ", " : "", note ? note : "", *left ? ", " : "", left,
            *left ? " left" : "");
    if (!p->on_terminal)
        putc('\n', stderr);
    fflush(stderr);
    p->open_line = p->on_terminal;
}

void qk_progress_end(struct qk_progress *p)
{
    if (p->open_line)
        fputs("\r\033[K", stderr);
    p->open_line = false;
}
