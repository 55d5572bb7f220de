/* The writer of checkpoints: B.partial on the way, B at the end.
 *
 * A save first takes where the edge stands, then writes it.  On a device whose memory is apart from
 * the host's, B.partial can be written behind: weights and moments are copied to the host, and a
 * thread writes the file from there while training goes on.  Where the device's memory is the
 * host's a copy would double it, so the file is written at once, whatever was asked.
 *
 * libhdf5 may be used by one thread at a time.  From a save behind until qk_saver_wait nothing else
 * may read or write an HDF5 file: whoever wants to (keys dumps, another save, the end) waits first.
 */
#ifndef QK_STUDY_SAVER_H
#define QK_STUDY_SAVER_H

#include "study/train/edge.h"

struct qk_saver;

/* `optimizer` may be NULL when nothing is trained.  All must outlive the saver. */
struct qk_saver *qk_saver_create(struct qk_edge *e, struct qk_device *d, struct qk_model *m,
                                 struct qk_optimizer *optimizer);
/* Waits; NULL is fine. */
void qk_saver_free(struct qk_saver *s);

enum qk_save {
    QK_SAVE_BEHIND,  /* B.partial, while training goes on where that can be */
    QK_SAVE_PARTIAL, /* B.partial, there when this returns */
    QK_SAVE_WHOLE,   /* B likewise */
};
/* Waits for the save before.  What the file will hold is fixed when this returns. */
int qk_saver_save(struct qk_saver *s, enum qk_save how, struct qk_err *err);

/* A save behind that failed says so once, with its own sentence: check tells without waiting, and
 * wait when it has come to its end.  0 when nothing is under way. */
int qk_saver_check(struct qk_saver *s, struct qk_err *err);
int qk_saver_wait(struct qk_saver *s, struct qk_err *err);

#endif
