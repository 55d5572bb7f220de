/* The progress line of long work, on stderr: rewritten in place on a terminal, a plain line now
 * and then otherwise, nothing when quiet. */
#ifndef QK_BASE_PROGRESS_H
#define QK_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct qk_progress {
    const char *tool, *unit; /* "qk-train", "tokens" */
    int64_t total;           /* 0: unknown */
    bool quiet;
    double started, last; /* seconds, monotonic */
    int64_t first;        /* done at the start: rates count from here */
    bool on_terminal, open_line;
};

void qk_progress_begin(struct qk_progress *p, const char *tool, const char *unit, int64_t first,
                       int64_t total, bool quiet);
/* `note` is added behind rate and time left ("loss 3.21"); NULL for none.  Cheap to call often. */
void qk_progress_show(struct qk_progress *p, int64_t done, const char *note);
/* Clear the line. */
void qk_progress_end(struct qk_progress *p);

double qk_now(void); /* monotonic seconds */

#endif
