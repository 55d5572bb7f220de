/* Reading text that may be compressed: plain, .gz, .zst, .xz, by magic bytes, not by name.
 * "-" is stdin (compressed or not).  A truncated or corrupt stream is an error. */
#ifndef QK_BASE_TEXTFILE_H
#define QK_BASE_TEXTFILE_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "mem.h"
#include "sha256.h"

struct qk_textfile;

struct qk_textfile *qk_text_open(const char *path, struct qk_err *err);
/* Up to n bytes into `to`: how many, 0 at the end, -1 on failure. */
int64_t qk_text_read(struct qk_textfile *f, void *to, size_t n, struct qk_err *err);
/* The next line without its newline: 1, 0 at the end, -1 on failure. The line stays valid until
 * the next call; it may hold NUL bytes.  With a limit, QK_LINE_TOO_LONG where a line is found to be
 * longer than it; it may also be given out, when it was read by then. */
enum { QK_LINE_TOO_LONG = 2 };
int qk_text_line(struct qk_textfile *f, const char **line, size_t *n, struct qk_err *err);
/* The first line that is not empty, as qk_text_line, but nothing is taken from the file. */
int qk_text_peek(struct qk_textfile *f, const char **line, size_t *n, struct qk_err *err);
/* Hold no line longer than about `most` bytes in memory. */
void qk_text_limit(struct qk_textfile *f, size_t most);
void qk_text_close(struct qk_textfile *f);

/* Hash the file's own bytes, compressed as they may be, while it is read: qk_text_sum at once after
 * opening; qk_text_digest, once all was read, gives what qk_sha256_file would. */
void qk_text_sum(struct qk_textfile *f);
void qk_text_digest(struct qk_textfile *f, char hex[QK_SHA256_HEX]);

/* A whole file, decompressed, NUL-terminated in the buffer. */
int qk_text_slurp(const char *path, struct qk_buffer *to, struct qk_err *err);

/* 0 when the bytes are valid UTF-8 (no surrogates, no overlong forms), else 1 + the offset of the
 * first bad byte. */
size_t qk_utf8_check(const void *bytes, size_t n);

#endif
