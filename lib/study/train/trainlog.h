/* A file of JSON lines that grows while training runs, as PATH.partial, and becomes PATH when the
 * edge is whole.  A resumed run cuts it back to the step it goes on from, so that the lines are
 * those of a run that was never stopped.
 */
#ifndef QK_STUDY_TRAINLOG_H
#define QK_STUDY_TRAINLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"

struct qk_trainlog;

/* Begin PATH.partial anew.  "-" (stdout) and what is no regular file (/dev/null, a pipe) are
 * written straight and know no partial. */
struct qk_trainlog *qk_trainlog_begin(const char *path, struct qk_err *err);

/* Go on with PATH.partial after `step`: later lines are cut off.  `whole`: a line of that very
 * step must be there, else the log does not belong to the checkpoint and is refused; otherwise a
 * missing file is begun anew. */
struct qk_trainlog *qk_trainlog_resume(const char *path, int64_t step, bool whole,
                                       struct qk_err *err);

/* Append a line and free the object. */
int qk_trainlog_add(struct qk_trainlog *log, cJSON *line, struct qk_err *err);

/* On disk for certain, before the checkpoint that relies on it. */
int qk_trainlog_sync(struct qk_trainlog *log, struct qk_err *err);

/* PATH appears, whole; PATH.partial stays until qk_trainlog_close(log, true), so that a run killed
 * between the two can be repeated. */
int qk_trainlog_publish(struct qk_trainlog *log, struct qk_err *err);

/* Close and free; NULL is fine.  `drop`: remove PATH.partial. */
void qk_trainlog_close(struct qk_trainlog *log, bool drop);

#endif
