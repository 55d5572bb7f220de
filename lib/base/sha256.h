/* SHA-256 of files and bytes, as 64 lower-case hex digits (FIPS 180-4, by libcrypto). */
#ifndef QK_BASE_SHA256_H
#define QK_BASE_SHA256_H

#include <stddef.h>

#include "err.h"

enum { QK_SHA256_HEX = 65 };

int qk_sha256_file(const char *path, char hex[QK_SHA256_HEX], struct qk_err *err);
void qk_sha256_bytes(const void *bytes, size_t n, char hex[QK_SHA256_HEX]);

/* The same piece by piece; _end frees, `hex` NULL when it is not wanted any more. */
struct qk_sha256;
struct qk_sha256 *qk_sha256_begin(void);
void qk_sha256_add(struct qk_sha256 *s, const void *bytes, size_t n);
void qk_sha256_end(struct qk_sha256 *s, char hex[QK_SHA256_HEX]);

#endif
