/* How an output was made: {"tool", "version", "argv", "inputs": [{"path", "sha256"}]}.
 *
 * argv is the command line in canonical order of appearance, without what cannot change the
 * content (args.h marks those options content_free).  No clock, no host name: the same inputs and
 * options give the same text.
 */
#ifndef QK_BASE_PROVENANCE_H
#define QK_BASE_PROVENANCE_H

#include <stdbool.h>

#include "args.h"
#include "err.h"
#include "h5.h"
#include "mem.h"

#define QK_VERSION "0.1.0"

struct cJSON;

struct qk_provenance {
    bool off; /* --no-provenance: inputs are not hashed, nothing is recorded */
    const char *tool;
    struct qk_strings argv;
    struct qk_strings paths, hashes; /* inputs, in the order they were added */
};

void qk_provenance_begin(struct qk_provenance *p, const struct qk_command *command, bool off);
void qk_provenance_free(struct qk_provenance *p);

/* Hash an input file and note it, each path once, and keep it from being overwritten
 * (qk_out_protect, also when off) until the provenance is freed.  Standard input and pipes are not
 * noted: their hash would take what is to be read. */
int qk_provenance_input(struct qk_provenance *p, const char *path, struct qk_err *err);

/* The same for an input that is hashed while it is read: its place in the order now, its hash when
 * it is known (paths that were not expected are passed over). */
void qk_provenance_expect(struct qk_provenance *p, const char *path);
void qk_provenance_found(struct qk_provenance *p, const char *path, const char *hex);

/* The device that --device auto became, where results are not those of the CPU. */
void qk_provenance_device(struct qk_provenance *p, const char *name);

/* The JSON text, malloc'd; NULL when off. */
char *qk_provenance_text(const struct qk_provenance *p);
/* As attribute "provenance" of the file; nothing when off. */
int qk_provenance_to_h5(const struct qk_provenance *p, struct qk_h5 *file, struct qk_err *err);
/* As key "provenance" of a JSON object; nothing when off. */
void qk_provenance_to_json(const struct qk_provenance *p, struct cJSON *object);

#endif
