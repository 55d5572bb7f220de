/* Output files that are whole or absent.
 *
 * A file is written beside its target as TARGET.tmp, synced, and renamed when whole: readers see
 * the old file or the new one, never a part.  A second writer of the same target is refused, and so
 * is a target that was named an input.
 * Temporaries are removed when the process fails, and by the handlers of qk_out_catch_signals when
 * it is stopped; after kill -9 the leftover TARGET.tmp is overwritten by the next run.
 * A target that exists and is no regular file (/dev/null, a pipe) is written straight.
 */
#ifndef QK_BASE_OUTFILE_H
#define QK_BASE_OUTFILE_H

#include <stdio.h>

#include "err.h"

struct qk_out; /* one output under way */

/* From now on an output that is this file is refused: no tool changes an input. */
void qk_out_protect(const char *path);
void qk_out_forget_inputs(void);
/* Is the file at `path` one of those?  Then -1 and the sentence; outputs below check it. */
int qk_out_refuse_input(const char *path, struct qk_err *err);

/* Open a file for reading and writing, made if need be, and hold its lock until it is closed: a
 * descriptor, or -1 when that cannot be, as when another process holds it.  Sentences name it
 * `shown`. */
int qk_lock_file(const char *path, const char *shown, struct qk_err *err);

/* Begin writing `path`; "-" is stdout.  NULL on failure. */
struct qk_out *qk_out_open(const char *path, struct qk_err *err);

/* The stream to write text to, and the name under which HDF5 writes. */
FILE *qk_out_stream(struct qk_out *out);
const char *qk_out_temporary(const struct qk_out *out);

/* Flush, check, sync, rename, sync the folder.  Frees `out` in any case; on failure the old
 * target is untouched.  A full disk is reported here at the latest. */
int qk_out_commit(struct qk_out *out, struct qk_err *err);

/* Give up: remove the temporary and free `out` (NULL is fine). */
void qk_out_discard(struct qk_out *out);

/* Between the two no deadly signal ends the process: for steps that create or rename a temporary,
 * so that none is made behind the back of a handler that has just removed them. */
void qk_out_enter(void);
void qk_out_leave(void);

/* Remove every temporary of this process; safe in a signal handler. */
void qk_out_discard_all(void);

/* From now on SIGINT, SIGTERM, SIGHUP and SIGPIPE remove the temporaries and then kill the process
 * by the same signal; SIGXFSZ is ignored, so that a file size limit is an error of write(). */
void qk_out_catch_signals(void);

/* mkdir -p.  */
int qk_make_folder(const char *path, struct qk_err *err);

#endif
