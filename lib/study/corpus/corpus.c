#include "study/corpus/corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/textfile.h"
#include "study/text/jsonl.h"
#include "study/text/uchar.h"

static int write_all(int fd, const char *s, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, s, n);
        if (k < 0)
            return -1;
        s += k;
        n -= (size_t)k;
    }
    return 0;
}

/* A file without a name; -1 on failure. */
static int open_spool(struct qk_err *err)
{
    const char *folder = getenv("TMPDIR");
    char *name = qk_format("%s/qk-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(name);
    if (fd < 0)
        qk_fail_errno(err, "%s: no temporary file can be made", name);
    else
        unlink(name);
    free(name);
    return fd;
}

/* What comes from a pipe, decompressed, into an unlinked file: its descriptor. */
static int spool(const char *path, struct qk_err *err)
{
    enum { BLOCK = 1 << 16 };
    int fd = open_spool(err);
    struct qk_textfile *in = fd < 0 ? NULL : qk_text_open(path, err);
    char *block = qk_alloc(BLOCK, 1);
    int64_t n = in ? 1 : -1;
    while (n > 0 && (n = qk_text_read(in, block, BLOCK, err)) > 0)
        if (write_all(fd, block, (size_t)n) != 0)
            n = qk_fail_errno(err, "%s: its temporary copy cannot be written", path);
    qk_text_close(in);
    free(block);
    if (n < 0 && fd >= 0)
        close(fd);
    return n < 0 ? -1 : fd;
}

static bool can_be_reread(const char *path)
{
    struct stat st;
    return strcmp(path, "-") != 0 && (stat(path, &st) != 0 || S_ISREG(st.st_mode) ||
                                      S_ISDIR(st.st_mode)); /* opening tells what is wrong */
}

static int add_input(struct qk_corpus *c, const char *path, struct qk_err *err)
{
    qk_strings_add(&c->names, strcmp(path, "-") == 0 ? "standard input" : path);
    if (c->options.once || can_be_reread(path)) {
        qk_strings_add(&c->paths, path);
        return 0;
    }
    int fd = spool(path, err);
    if (fd < 0)
        return -1;
    c->spools = qk_realloc(c->spools, c->spool_count + 1, sizeof *c->spools);
    c->spools[c->spool_count++] = fd;
    char *spooled = qk_format("/dev/fd/%d", fd);
    qk_strings_add(&c->paths, spooled);
    free(spooled);
    return 0;
}

int qk_corpus_open(struct qk_corpus *c, const struct qk_corpus_options *options,
                   const struct qk_strings *paths, struct qk_err *err)
{
    *c = (struct qk_corpus){.options = *options};
    for (size_t i = 0; i < paths->count; i++)
        if (add_input(c, paths->at[i], err) != 0) {
            qk_corpus_close(c);
            return -1;
        }
    return 0;
}

void qk_corpus_rewind(struct qk_corpus *c)
{
    qk_text_close(c->file);
    c->file = NULL;
    c->input = 0;
    qk_strings_free(&c->sums);
}

void qk_corpus_close(struct qk_corpus *c)
{
    qk_corpus_rewind(c);
    for (size_t i = 0; i < c->spool_count; i++)
        close(c->spools[i]);
    free(c->spools);
    qk_strings_free(&c->paths);
    qk_strings_free(&c->names);
    qk_strings_free(&c->sums);
    qk_buffer_free(&c->text);
    qk_buffer_free(&c->held);
    qk_buffer_free(&c->raw);
    qk_corpus_work_free(&c->work);
    *c = (struct qk_corpus){0};
}

static const char *name_of(const struct qk_corpus *c)
{
    return c->names.at[c->input - 1];
}

/* ---- which format ---- */

static bool ends_with(const char *s, size_t n, const char *end)
{
    size_t k = strlen(end);
    return n >= k && memcmp(s + n - k, end, k) == 0;
}

static enum qk_text_format format_by_name(const char *path)
{
    static const char *const compressed[] = {".gz", ".zst", ".xz"};
    static const char *const json[] = {".jsonl", ".ndjson", ".json"};
    static const char *const text[] = {".txt", ".text", ".md", ".rst", ".raw", ".tokens"};
    size_t n = strlen(path);
    for (int i = 0; i < 3; i++)
        if (ends_with(path, n, compressed[i])) {
            n -= strlen(compressed[i]);
            break;
        }
    for (int i = 0; i < 3; i++)
        if (ends_with(path, n, json[i]))
            return QK_FORMAT_JSONL;
    for (int i = 0; i < 6; i++)
        if (ends_with(path, n, text[i]))
            return QK_FORMAT_TEXT;
    return QK_FORMAT_AUTO;
}

/* Decide c->jsonl for the input, by a look at its first line when its name does not tell. */
static int decide_format(struct qk_corpus *c, struct qk_err *err)
{
    enum qk_text_format format = c->options.format;
    if (format == QK_FORMAT_AUTO)
        format = format_by_name(name_of(c));
    c->jsonl = format == QK_FORMAT_JSONL;
    if (format != QK_FORMAT_AUTO)
        return 0;
    const char *line;
    size_t n;
    int got = qk_text_peek(c->file, &line, &n, err);
    c->jsonl = got == 1 && qk_jsonl_is_object(line, n);
    return got < 0 ? -1 : 0;
}

static int open_next(struct qk_corpus *c, struct qk_err *err)
{
    const char *path = c->paths.at[c->input++];
    c->line = c->offset = c->documents_in_file = 0;
    c->ended = c->holding = false;
    c->raw.size = c->raw_at = c->searched = 0;
    c->file = qk_text_open(path, err);
    if (!c->file)
        return -1;
    if (c->sum)
        qk_text_sum(c->file);
    qk_text_limit(c->file, c->options.most_bytes);
    return decide_format(c, err);
}

static void close_input(struct qk_corpus *c)
{
    char hex[QK_SHA256_HEX] = "";
    if (c->sum)
        qk_text_digest(c->file, hex);
    qk_strings_add(&c->sums, hex);
    qk_text_close(c->file);
    c->file = NULL;
}

/* ---- documents ---- */

static int too_large(const struct qk_corpus *c, int64_t line, struct qk_err *err)
{
    return qk_fail(err,
                   "%s: the document at line %lld is larger than %zu bytes, more than --memory "
                   "allows",
                   name_of(c), (long long)line, c->options.most_bytes);
}

static int next_json_line(struct qk_corpus *c, struct qk_document *d, struct qk_err *err)
{
    const char *line;
    size_t n;
    int got;
    while ((got = qk_text_line(c->file, &line, &n, err)) > 0) {
        c->line++;
        size_t blank = 0;
        while (got == 1 && blank < n && strchr(" \t\r", line[blank]) && line[blank])
            blank++;
        if (got == QK_LINE_TOO_LONG || n > c->options.most_bytes)
            return too_large(c, c->line, err);
        if (blank == n)
            continue;
        *d = (struct qk_document){line, n, name_of(c), c->line, 0, true};
        return 1;
    }
    return got;
}

/* Lines up to two blank ones. */
static int next_paragraphs(struct qk_corpus *c, struct qk_document *d, struct qk_err *err)
{
    const char *line;
    size_t n, end = 0; /* end: of the last line that is not blank */
    int64_t first_line = 0, first_offset = 0;
    int got = 1, blank = 0;
    c->text.size = 0;
    for (;;) {
        if (c->holding) {
            line = c->held.at;
            n = c->held.size;
            c->holding = false;
        } else {
            got = qk_text_line(c->file, &line, &n, err);
            if (got <= 0)
                break;
            c->line++;
            if (got == QK_LINE_TOO_LONG)
                return too_large(c, end == 0 ? c->line : first_line, err);
            c->offset += (int64_t)n + 1;
        }
        size_t bare = n > 0 && line[n - 1] == '\r' ? n - 1 : n;
        if (bare > 0 && end > 0 && blank >= 2) {
            c->held.size = 0;
            qk_buffer_add(&c->held, line, n);
            c->holding = true;
            break;
        }
        blank = bare > 0 ? 0 : blank + 1;
        if (end == 0 && bare == 0)
            continue;
        if (end == 0) {
            first_line = c->line;
            first_offset = c->offset - (int64_t)n - 1;
        }
        if (c->text.size + n > c->options.most_bytes)
            return too_large(c, first_line, err);
        qk_buffer_add(&c->text, line, n);
        qk_buffer_text(&c->text, "\n");
        if (bare > 0)
            end = c->text.size - 1 - (n - bare);
    }
    if (got < 0 || end == 0)
        return got < 0 ? -1 : 0;
    *d = (struct qk_document){c->text.at, end, name_of(c), first_line, first_offset, false};
    return 1;
}

/* Where the separator begins in s, at `from` or later; n when it does not. */
static size_t find_separator(const struct qk_corpus *c, const char *s, size_t n, size_t from)
{
    const char *at = s + from, *end = s + n;
    size_t k = c->options.separator_size;
    while ((size_t)(end - at) >= k &&
           (at = memchr(at, c->options.separator[0], (size_t)(end - at) - k + 1)) != NULL) {
        if (memcmp(at, c->options.separator, k) == 0)
            return (size_t)(at - s);
        at++;
    }
    return n;
}

static int read_more(struct qk_corpus *c, struct qk_err *err)
{
    enum { BLOCK = 1 << 16 };
    memmove(c->raw.at, c->raw.at + c->raw_at, c->raw.size - c->raw_at);
    c->raw.size -= c->raw_at;
    c->raw_at = 0;
    qk_grow(&c->raw.at, &c->raw.capacity, c->raw.size + BLOCK + 1, 1);
    int64_t n = qk_text_read(c->file, c->raw.at + c->raw.size, BLOCK, err);
    if (n < 0)
        return -1;
    c->raw.size += (size_t)n;
    c->ended = n == 0;
    return 0;
}

/* Move past n bytes of the raw text, counting lines. */
static void advance(struct qk_corpus *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        c->line += c->raw.at[c->raw_at + i] == '\n';
    c->offset += (int64_t)n;
    c->raw_at += n;
}

static bool is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

/* Text up to the separator, or all of it. */
static int next_separated(struct qk_corpus *c, struct qk_document *d, struct qk_err *err)
{
    bool whole = c->options.whole && !c->options.separator;
    if (!c->raw.at)
        qk_buffer_text(&c->raw, "");
    for (;;) {
        size_t left = c->raw.size - c->raw_at;
        const char *s = c->raw.at + c->raw_at;
        size_t n = whole ? left : find_separator(c, s, left, c->searched);
        if (n == left && !c->ended) {
            if (left > c->options.most_bytes)
                return too_large(c, c->line + 1, err);
            if (!whole && left >= c->options.separator_size) /* it may have begun */
                c->searched = left - c->options.separator_size + 1;
            if (read_more(c, err) != 0)
                return -1;
            continue;
        }
        c->searched = 0;
        size_t from = 0, to = n;
        while (!whole && from < to && is_line_end(s[from]))
            from++;
        while (!whole && from < to && is_line_end(s[to - 1]))
            to--;
        advance(c, from);
        *d = (struct qk_document){s + from, to - from, name_of(c), c->line + 1, c->offset, false};
        advance(c, n - from + (n < left ? c->options.separator_size : 0));
        if (d->size > 0)
            return 1;
        if (n == left)
            return 0;
    }
}

int qk_corpus_raw(struct qk_corpus *c, struct qk_document *d, struct qk_err *err)
{
    for (;;) {
        if (!c->file) {
            if (c->input == c->paths.count)
                return 0;
            if (open_next(c, err) != 0)
                return -1;
        }
        int got = c->jsonl                                   ? next_json_line(c, d, err)
                  : c->options.separator || c->options.whole ? next_separated(c, d, err)
                                                             : next_paragraphs(c, d, err);
        c->documents_in_file += got > 0;
        if (got != 0)
            return got;
        close_input(c);
        if (c->documents_in_file == 0)
            return qk_fail(err, "%s: holds no text", name_of(c));
    }
}

/* ---- what is in them ---- */

/* Invalid bytes in plain text, named by line and offset. */
static int invalid_text(const struct qk_document *d, size_t bad, struct qk_err *err)
{
    int64_t line = d->line;
    for (size_t i = 0; i + 1 < bad; i++)
        line += d->text[i] == '\n';
    return qk_fail(err, "%s: line %lld is not valid UTF-8 (byte %lld of the text)", d->path,
                   (long long)line, (long long)(d->offset + (int64_t)bad));
}

static int take_json(const struct qk_corpus *c, struct qk_document *d, struct qk_buffer *text,
                     struct qk_err *err)
{
    const char *field = c->options.field;
    if (qk_jsonl_text(d->text, d->size, field, text, err) != 0)
        return qk_fail_in(err, "%s: line %lld: ", d->path, (long long)d->line);
    if (text->size == 0)
        return qk_fail(err, "%s: line %lld: '%s' is empty", d->path, (long long)d->line, field);
    d->text = text->at;
    d->size = text->size;
    return 0;
}

int qk_corpus_check(const struct qk_corpus *c, struct qk_corpus_work *work, struct qk_document *d,
                    struct qk_err *err)
{
    size_t bad = qk_utf8_check(d->text, d->size);
    if (bad && c->options.repair) {
        work->repaired.size = 0;
        qk_uchar_repair(d->text, d->size, &work->repaired);
        d->text = work->repaired.at;
        d->size = work->repaired.size;
    } else if (bad && d->json) {
        return qk_fail(err, "%s: line %lld is not valid UTF-8", d->path, (long long)d->line);
    } else if (bad) {
        return invalid_text(d, bad, err);
    }
    if (d->json && take_json(c, d, &work->text, err) != 0)
        return -1;
    return !c->keeps || c->keeps(c->keeps_context, d->text, d->size);
}

void qk_corpus_work_free(struct qk_corpus_work *work)
{
    qk_buffer_free(&work->text);
    qk_buffer_free(&work->repaired);
}

int qk_corpus_next(struct qk_corpus *c, struct qk_document *d, struct qk_err *err)
{
    int got;
    while ((got = qk_corpus_raw(c, d, err)) > 0) {
        int kept = qk_corpus_check(c, &c->work, d, err);
        if (kept != 0)
            return kept;
    }
    return got;
}
