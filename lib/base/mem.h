/* Memory that is there or ends the program.
 *
 * These never return NULL: when memory runs out the process prints one sentence and exits 1
 * (temporaries of outfile.h are removed first).  Sizes are checked for overflow.  Free with free().
 */
#ifndef QK_BASE_MEM_H
#define QK_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

void *qk_alloc(size_t count, size_t size);  /* contents undefined */
void *qk_zalloc(size_t count, size_t size); /* zeroed */
void *qk_realloc(void *p, size_t count, size_t size);
char *qk_strdup(const char *s);
char *qk_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *qk_format_args(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

/* Zeroed, 64-byte aligned, backed by huge pages where the kernel gives them: for arrays of many
 * megabytes that live long (first touch of small pages is slow).  Release with qk_big_free. */
void *qk_big_alloc(size_t bytes);
void qk_big_free(void *p, size_t bytes);

/* Grow *array (of `size`-byte elements, room for *capacity) so that it holds `need`. */
void qk_grow(void *array_pointer, size_t *capacity, size_t need, size_t size);

/* A list of strings, each owned by the list. */
struct qk_strings {
    char **at;
    size_t count, capacity;
};
void qk_strings_add(struct qk_strings *list, const char *s); /* copies s */
void qk_strings_free(struct qk_strings *list);
/* Split at every `separator`; empty pieces are kept.  "" gives one empty piece. */
void qk_strings_split(struct qk_strings *list, const char *s, char separator);

/* A byte buffer that grows; `at` stays NUL-terminated once something was added. */
struct qk_buffer {
    char *at;
    size_t size, capacity;
};
void qk_buffer_add(struct qk_buffer *b, const void *bytes, size_t n);
void qk_buffer_text(struct qk_buffer *b, const char *s);
void qk_buffer_format(struct qk_buffer *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void qk_buffer_free(struct qk_buffer *b);

#endif
