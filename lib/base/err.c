#include "err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void replace_control_characters(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ')
            *s = ' ';
}

int qk_fail(struct qk_err *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    replace_control_characters(err->text);
    return -1;
}

int qk_fail_errno(struct qk_err *err, const char *format, ...)
{
    int saved = errno;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(saved));
    replace_control_characters(err->text);
    errno = saved;
    return -1;
}

int qk_fail_in(struct qk_err *err, const char *format, ...)
{
    struct qk_err old = *err;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, "%s", old.text);
    replace_control_characters(err->text);
    return -1;
}
