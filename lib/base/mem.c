#define _GNU_SOURCE
#include "mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "outfile.h"

static _Noreturn void out_of_memory(size_t bytes)
{
    fprintf(stderr, "%s: out of memory: %zu bytes could not be had\n",
            program_invocation_short_name, bytes);
    qk_out_discard_all();
    _Exit(1);
}

static size_t product(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        out_of_memory(SIZE_MAX);
    return bytes ? bytes : 1;
}

void *qk_alloc(size_t count, size_t size)
{
    size_t bytes = product(count, size);
    void *p = malloc(bytes);
    if (!p)
        out_of_memory(bytes);
    return p;
}

void *qk_zalloc(size_t count, size_t size)
{
    size_t bytes = product(count, size);
    void *p = calloc(1, bytes);
    if (!p)
        out_of_memory(bytes);
    return p;
}

void *qk_realloc(void *p, size_t count, size_t size)
{
    size_t bytes = product(count, size);
    void *q = realloc(p, bytes);
    if (!q)
        out_of_memory(bytes);
    return q;
}

char *qk_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(qk_alloc(n, 1), s, n);
}

char *qk_format_args(const char *format, va_list args)
{
    char *s;
    if (vasprintf(&s, format, args) < 0)
        out_of_memory(0);
    return s;
}

char *qk_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *s = qk_format_args(format, args);
    va_end(args);
    return s;
}

void *qk_big_alloc(size_t bytes)
{
    size_t size = bytes ? bytes : 1;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        out_of_memory(size);
    madvise(p, size, MADV_HUGEPAGE); /* a hint; refusal is harmless */
    return p;
}

void qk_big_free(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes ? bytes : 1);
}

void qk_grow(void *array_pointer, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity)
        return;
    size_t room = *capacity ? *capacity : 16;
    while (room < need)
        if (__builtin_mul_overflow(room, 2, &room))
            out_of_memory(SIZE_MAX);
    void *p;
    memcpy(&p, array_pointer, sizeof p);
    p = qk_realloc(p, room, size);
    memcpy(array_pointer, &p, sizeof p);
    *capacity = room;
}

void qk_strings_add(struct qk_strings *list, const char *s)
{
    qk_grow(&list->at, &list->capacity, list->count + 1, sizeof *list->at);
    list->at[list->count++] = qk_strdup(s);
}

void qk_strings_free(struct qk_strings *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i]);
    free(list->at);
    *list = (struct qk_strings){0};
}

void qk_strings_split(struct qk_strings *list, const char *s, char separator)
{
    for (;;) {
        const char *end = strchr(s, separator);
        size_t n = end ? (size_t)(end - s) : strlen(s);
        char *piece = memcpy(qk_zalloc(n + 1, 1), s, n);
        qk_strings_add(list, piece);
        free(piece);
        if (!end)
            return;
        s = end + 1;
    }
}

void qk_buffer_add(struct qk_buffer *b, const void *bytes, size_t n)
{
    qk_grow(&b->at, &b->capacity, b->size + n + 1, 1);
    if (n)
        memcpy(b->at + b->size, bytes, n);
    b->size += n;
    b->at[b->size] = '\0';
}

void qk_buffer_text(struct qk_buffer *b, const char *s)
{
    qk_buffer_add(b, s, strlen(s));
}

void qk_buffer_format(struct qk_buffer *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *s = qk_format_args(format, args);
    va_end(args);
    qk_buffer_text(b, s);
    free(s);
}

void qk_buffer_free(struct qk_buffer *b)
{
    free(b->at);
    *b = (struct qk_buffer){0};
}
