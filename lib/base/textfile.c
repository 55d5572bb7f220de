#include "base/textfile.h"

#include <fcntl.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum coding { PLAIN, GZIP, ZSTD, XZ };
enum { BLOCK = 1 << 17 };

struct qk_textfile {
    char *path;
    int fd;
    enum coding coding;
    unsigned char *in; /* BLOCK bytes as they are in the file: at .. used-1 are unread */
    size_t at, used;
    bool file_ended, frame_open, done;
    z_stream gzip;
    lzma_stream xz;
    ZSTD_DStream *zstd;
    struct qk_buffer lines; /* decoded bytes read ahead: line_at .. size-1 are unread */
    size_t line_at, most;   /* bytes of a line; 0: any number */
    struct qk_sha256 *sum;  /* of the file's bytes as they are read; NULL: not wanted */
};

static int refill(struct qk_textfile *f, struct qk_err *err)
{
    if (f->at < f->used || f->file_ended)
        return 0;
    ssize_t n = read(f->fd, f->in, BLOCK);
    if (n < 0)
        return qk_fail_errno(err, "%s: cannot be read", f->path);
    f->at = 0;
    f->used = (size_t)n;
    f->file_ended = n == 0;
    if (f->sum)
        qk_sha256_add(f->sum, f->in, f->used);
    return 0;
}

/* Pipes give few bytes at a time; the magic needs six. */
static int read_magic(struct qk_textfile *f, struct qk_err *err)
{
    while (f->used < 6 && !f->file_ended) {
        ssize_t n = read(f->fd, f->in + f->used, BLOCK - f->used);
        if (n < 0)
            return qk_fail_errno(err, "%s: cannot be read", f->path);
        f->used += (size_t)n;
        f->file_ended = n == 0;
    }
    static const unsigned char gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd},
                               xz[] = {0xfd, '7', 'z', 'X', 'Z', 0};
    if (f->used >= 2 && memcmp(f->in, gzip, 2) == 0)
        f->coding = GZIP;
    else if (f->used >= 4 && memcmp(f->in, zstd, 4) == 0)
        f->coding = ZSTD;
    else if (f->used >= 6 && memcmp(f->in, xz, 6) == 0)
        f->coding = XZ;
    return 0;
}

static int begin_decoder(struct qk_textfile *f, struct qk_err *err)
{
    bool bad = false;
    if (f->coding == GZIP)
        bad = inflateInit2(&f->gzip, 15 + 16) != Z_OK;
    if (f->coding == XZ)
        bad = lzma_stream_decoder(&f->xz, UINT64_MAX, LZMA_CONCATENATED) != LZMA_OK;
    if (f->coding == ZSTD)
        bad = !(f->zstd = ZSTD_createDStream());
    f->frame_open = f->coding != PLAIN;
    return bad ? qk_fail(err, "%s: the decompressor cannot be started", f->path) : 0;
}

struct qk_textfile *qk_text_open(const char *path, struct qk_err *err)
{
    struct qk_textfile *f = qk_zalloc(1, sizeof *f);
    f->path = qk_strdup(strcmp(path, "-") == 0 ? "standard input" : path);
    f->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    f->in = qk_alloc(BLOCK, 1);
    struct stat st;
    int bad = 0;
    if (f->fd < 0)
        bad = qk_fail_errno(err, "%s: cannot be opened", path);
    else if (fstat(f->fd, &st) == 0 && S_ISDIR(st.st_mode))
        bad = qk_fail(err, "%s: is a folder, not a file", path);
    if (!bad && read_magic(f, err) == 0 && begin_decoder(f, err) == 0)
        return f;
    qk_text_close(f);
    return NULL;
}

void qk_text_close(struct qk_textfile *f)
{
    if (!f)
        return;
    if (f->coding == GZIP)
        inflateEnd(&f->gzip);
    if (f->coding == XZ)
        lzma_end(&f->xz);
    ZSTD_freeDStream(f->zstd);
    if (f->fd > STDIN_FILENO)
        close(f->fd);
    qk_buffer_free(&f->lines);
    if (f->sum)
        qk_sha256_end(f->sum, NULL);
    free(f->in);
    free(f->path);
    free(f);
}

static int damaged(const struct qk_textfile *f, struct qk_err *err)
{
    return qk_fail(err, "%s: the compressed data is damaged", f->path);
}

/* Each decoder moves f->at and returns how many bytes it gave, -1 on damage.  It clears frame_open
 * when a frame ends, so that a file that ends inside one is seen as truncated. */
static int64_t decode_gzip(struct qk_textfile *f, void *to, size_t n, struct qk_err *err)
{
    if (!f->frame_open && f->at < f->used) { /* the next member, or zero padding */
        if (inflateReset(&f->gzip) != Z_OK)
            return damaged(f, err);
        f->frame_open = true;
    }
    f->gzip.next_in = f->in + f->at;
    f->gzip.avail_in = (unsigned)(f->used - f->at);
    f->gzip.next_out = to;
    f->gzip.avail_out = (unsigned)n;
    int state = inflate(&f->gzip, Z_NO_FLUSH);
    f->at = f->used - f->gzip.avail_in;
    if (state == Z_STREAM_END)
        f->frame_open = false;
    else if (state != Z_OK && state != Z_BUF_ERROR)
        return damaged(f, err);
    return (int64_t)(n - f->gzip.avail_out);
}

static int64_t decode_zstd(struct qk_textfile *f, void *to, size_t n, struct qk_err *err)
{
    ZSTD_inBuffer in = {f->in, f->used, f->at};
    ZSTD_outBuffer out = {to, n, 0};
    size_t state = ZSTD_decompressStream(f->zstd, &out, &in);
    if (ZSTD_isError(state))
        return damaged(f, err);
    if (in.pos > f->at || out.pos > 0)
        f->frame_open = state != 0;
    f->at = in.pos;
    return (int64_t)out.pos;
}

static int64_t decode_xz(struct qk_textfile *f, void *to, size_t n, struct qk_err *err)
{
    f->xz.next_in = f->in + f->at;
    f->xz.avail_in = f->used - f->at;
    f->xz.next_out = to;
    f->xz.avail_out = n;
    lzma_ret state = lzma_code(&f->xz, f->file_ended ? LZMA_FINISH : LZMA_RUN);
    f->at = f->used - f->xz.avail_in;
    if (state == LZMA_STREAM_END)
        f->frame_open = false;
    else if (state != LZMA_OK && state != LZMA_BUF_ERROR)
        return damaged(f, err);
    return (int64_t)(n - f->xz.avail_out);
}

static int64_t decode(struct qk_textfile *f, void *to, size_t n, struct qk_err *err)
{
    switch (f->coding) {
    case GZIP:
        return decode_gzip(f, to, n, err);
    case ZSTD:
        return decode_zstd(f, to, n, err);
    case XZ:
        return decode_xz(f, to, n, err);
    case PLAIN:
        break;
    }
    size_t got = f->used - f->at < n ? f->used - f->at : n;
    memcpy(to, f->in + f->at, got);
    f->at += got;
    return (int64_t)got;
}

static int64_t read_decoded(struct qk_textfile *f, void *to, size_t n, struct qk_err *err)
{
    while (!f->done) {
        if (refill(f, err) != 0)
            return -1;
        int64_t got = decode(f, to, n, err);
        if (got != 0)
            return got;
        if (f->file_ended && f->at == f->used) {
            f->done = true;
            if (f->frame_open)
                return qk_fail(err, "%s: the compressed data is truncated", f->path);
        }
    }
    return 0;
}

int64_t qk_text_read(struct qk_textfile *f, void *to, size_t n, struct qk_err *err)
{
    size_t ahead = f->lines.size - f->line_at;
    if (n > BLOCK)
        n = BLOCK;
    if (ahead == 0)
        return read_decoded(f, to, n, err);
    if (n > ahead)
        n = ahead;
    memcpy(to, f->lines.at + f->line_at, n);
    f->line_at += n;
    return (int64_t)n;
}

static int more_lines(struct qk_textfile *f, struct qk_err *err)
{
    struct qk_buffer *b = &f->lines;
    if (f->line_at > 0) {
        memmove(b->at, b->at + f->line_at, b->size - f->line_at);
        b->size -= f->line_at;
        f->line_at = 0;
    }
    qk_grow(&b->at, &b->capacity, b->size + BLOCK + 1, 1);
    int64_t got = read_decoded(f, b->at + b->size, BLOCK, err);
    if (got > 0)
        b->size += (size_t)got;
    return got < 0 ? -1 : got > 0;
}

int qk_text_line(struct qk_textfile *f, const char **line, size_t *n, struct qk_err *err)
{
    size_t searched = 0;
    for (;;) {
        char *start = f->lines.at ? f->lines.at + f->line_at : NULL;
        size_t have = f->lines.size - f->line_at;
        char *end = have > searched ? memchr(start + searched, '\n', have - searched) : NULL;
        if (end) {
            *line = start;
            *n = (size_t)(end - start);
            f->line_at += *n + 1;
            return 1;
        }
        searched = have;
        if (f->most && have > f->most)
            return QK_LINE_TOO_LONG;
        int more = more_lines(f, err);
        if (more < 0)
            return -1;
        if (more == 0) { /* a last line without newline */
            *line = f->lines.at;
            *n = have;
            f->line_at = f->lines.size;
            return have > 0;
        }
    }
}

int qk_text_peek(struct qk_textfile *f, const char **line, size_t *n, struct qk_err *err)
{
    size_t from = 0, searched = 0; /* behind the empty lines; behind what is no line end */
    for (;;) {
        char *start = f->lines.at ? f->lines.at + f->line_at : NULL;
        size_t have = f->lines.size - f->line_at;
        while (searched <= from && from < have && start[from] == '\n')
            searched = ++from;
        char *end = have > searched ? memchr(start + searched, '\n', have - searched) : NULL;
        searched = have;
        *line = start ? start + from : NULL;
        *n = end ? (size_t)(end - *line) : have - from;
        if (end)
            return 1;
        if (f->most && have > f->most)
            return QK_LINE_TOO_LONG;
        int more = more_lines(f, err);
        if (more <= 0)
            return more < 0 ? -1 : have > from;
    }
}

void qk_text_limit(struct qk_textfile *f, size_t most)
{
    f->most = most;
}

void qk_text_sum(struct qk_textfile *f)
{
    f->sum = qk_sha256_begin();
    qk_sha256_add(f->sum, f->in, f->used); /* what the format was told by */
}

void qk_text_digest(struct qk_textfile *f, char hex[QK_SHA256_HEX])
{
    qk_sha256_end(f->sum, hex);
    f->sum = NULL;
}

int qk_text_slurp(const char *path, struct qk_buffer *to, struct qk_err *err)
{
    struct qk_textfile *f = qk_text_open(path, err);
    if (!f)
        return -1;
    int64_t got;
    char *block = qk_alloc(BLOCK, 1);
    qk_buffer_add(to, "", 0);
    while ((got = qk_text_read(f, block, BLOCK, err)) > 0)
        qk_buffer_add(to, block, (size_t)got);
    free(block);
    qk_text_close(f);
    return got < 0 ? -1 : 0;
}

/* Length of the valid sequence at p (n bytes are there), 0 when there is none (RFC 3629). */
static size_t sequence_length(const unsigned char *p, size_t n)
{
    unsigned char c = p[0];
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    size_t length = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (n < length)
        return 0;
    unsigned char least = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char most = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < least || p[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return length;
}

size_t qk_utf8_check(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n;) {
        uint64_t eight;
        if (n - i >= 8 && (memcpy(&eight, p + i, 8), !(eight & 0x8080808080808080u))) {
            i += 8;
            continue;
        }
        size_t length = sequence_length(p + i, n - i);
        if (length == 0)
            return i + 1;
        i += length;
    }
    return 0;
}
