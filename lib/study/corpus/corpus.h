/* Documents from inputs: plain text or JSON lines, compressed or not, from files or stdin.
 *
 * Plain text is cut at two or more blank lines, or at a given separator; line ends around a
 * document do not belong to it, so that a document is the same wherever it stands.  A line of JSON
 * lines is one document, its text taken as it is.  Inputs can be read several times: standard input
 * and pipes are kept in unlinked temporary files (in TMPDIR, else /tmp) for that, unless one
 * reading is all there will be.
 *
 * Refused, with file and line: invalid UTF-8, malformed JSON, a missing key, empty text, an input
 * without any text, a document larger than most_bytes.
 */
#ifndef QK_STUDY_CORPUS_H
#define QK_STUDY_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum qk_text_format { QK_FORMAT_AUTO, QK_FORMAT_TEXT, QK_FORMAT_JSONL };

struct qk_corpus_options {
    enum qk_text_format format; /* AUTO: by name (.jsonl, .ndjson, .txt, ...), else by first line */
    const char *separator;      /* NULL: two blank lines */
    size_t separator_size;
    const char *field; /* of JSON lines */
    bool whole;        /* plain text is one document, to the last byte */
    bool repair;       /* invalid UTF-8 becomes U+FFFD instead of an error */
    bool once;         /* inputs are read once only */
    size_t most_bytes; /* of one document */
};

struct qk_document {
    const char *text; /* valid until the next call */
    size_t size;
    const char *path; /* for messages: "standard input" for "-" */
    int64_t line;     /* where it begins, from 1 */
    int64_t offset;   /* bytes before it */
    bool json;        /* raw: a line of JSON that holds the text */
};

/* Room for qk_corpus_check, one per thread. */
struct qk_corpus_work {
    struct qk_buffer text, repaired;
};

struct qk_corpus {
    struct qk_corpus_options options;
    struct qk_strings paths, names;
    int *spools; /* [spool_count] descriptors of what came from stdin and pipes */
    size_t spool_count;
    /* may be set between two readings: documents it refuses are passed over */
    bool (*keeps)(const void *context, const char *text, size_t n);
    const void *keeps_context;
    bool sum;               /* may be set likewise: inputs are hashed while they are read */
    struct qk_strings sums; /* SHA-256 of the inputs read so far, "" without `sum` */
    /* reading */
    size_t input; /* the next one to be opened */
    struct qk_textfile *file;
    bool jsonl, ended;
    int64_t line, offset; /* lines and bytes read so far */
    int64_t documents_in_file;
    struct qk_buffer text; /* the document */
    struct qk_buffer held; /* plain: first line of the next document */
    bool holding;
    struct qk_buffer raw;    /* separator: bytes not yet given out, from raw_at on */
    size_t raw_at, searched; /* no separator begins in `searched` bytes from there */
    struct qk_corpus_work work;
};

/* Get ready to read the inputs; standard input ("-") and pipes are copied now, unless options say
 * `once`.  Nothing else is opened. */
int qk_corpus_open(struct qk_corpus *c, const struct qk_corpus_options *options,
                   const struct qk_strings *paths, struct qk_err *err);
/* From the start again. */
void qk_corpus_rewind(struct qk_corpus *c);
/* The next document: 1, 0 at the end, -1 on failure. */
int qk_corpus_next(struct qk_corpus *c, struct qk_document *d, struct qk_err *err);

/* The same in two steps, so that threads can share the second: the next document as it stands in
 * the input, and what makes it one that qk_corpus_next gives out. */
int qk_corpus_raw(struct qk_corpus *c, struct qk_document *d, struct qk_err *err);
/* 1 with the text of d in its place or in `work`; 0 when the document is passed over; -1. */
int qk_corpus_check(const struct qk_corpus *c, struct qk_corpus_work *work, struct qk_document *d,
                    struct qk_err *err);
void qk_corpus_work_free(struct qk_corpus_work *work);
void qk_corpus_close(struct qk_corpus *c);

#endif
