/* Errors as whole sentences.
 *
 * A library function that can fail takes a struct qk_err, returns 0 or -1 (or a pointer or NULL),
 * prints nothing and never exits.  On failure the struct holds one sentence that names the file,
 * the object in it and the reason; a tool prints it after its own name and exits 1.
 */
#ifndef QK_BASE_ERR_H
#define QK_BASE_ERR_H

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

struct qk_err {
    char text[1024]; /* one line, no trailing full stop or newline; cut if longer */
};

/* Store the sentence and return -1, so that callers write `return qk_fail(err, ...)`. */
int qk_fail(struct qk_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, with ": " and strerror(errno) added. */
int qk_fail_errno(struct qk_err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Put context in front of the sentence already stored ("runs/a.h5: " ...) and return -1. */
int qk_fail_in(struct qk_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same three for functions that return a pointer. */
#define qk_fail_null(...) (qk_fail(__VA_ARGS__), (void *)0)
#define qk_fail_errno_null(...) (qk_fail_errno(__VA_ARGS__), (void *)0)

#ifdef __cplusplus
}
#endif

#endif
