#include "base/h5zstd.h"

#include <H5PLextern.h>
#include <hdf5.h>
#include <stdlib.h>
#include <zstd.h>

static int level_of(size_t n, const unsigned values[])
{
    int level = n > 0 ? (int)values[0] : ZSTD_CLEVEL_DEFAULT;
    if (level < 1)
        return 1;
    return level > ZSTD_maxCLevel() ? ZSTD_maxCLevel() : level;
}

static size_t replace(void **buffer, size_t *capacity, void *bytes, size_t used, size_t room)
{
    H5free_memory(*buffer);
    *buffer = bytes;
    *capacity = room;
    return used;
}

static size_t pack(int level, size_t n, size_t *capacity, void **buffer)
{
    size_t room = ZSTD_compressBound(n);
    void *out = H5allocate_memory(room, 0);
    if (!out)
        return 0;
    size_t used = ZSTD_compress(out, room, *buffer, n, level);
    if (ZSTD_isError(used)) {
        H5free_memory(out);
        return 0;
    }
    return replace(buffer, capacity, out, used, room);
}

static size_t least;

void qk_h5_zstd_expect(size_t bytes)
{
    least = bytes;
}

/* Streaming, because a frame need not say how large its content is. */
static size_t unpack(size_t n, size_t *capacity, void **buffer)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    size_t room = *capacity > 4 * n ? *capacity : 4 * n + 65536;
    unsigned long long content = ZSTD_getFrameContentSize(*buffer, n);
    if (content < (1ULL << 32) && content > 0)
        room = (size_t)content;
    ZSTD_inBuffer in = {*buffer, n, 0};
    ZSTD_outBuffer out = {H5allocate_memory(room, 0), room, 0};
    size_t state = 1;
    while (stream && out.dst && (in.pos < in.size || state != 0)) {
        size_t before = in.pos + out.pos;
        state = ZSTD_decompressStream(stream, &out, &in);
        if (ZSTD_isError(state) || (state != 0 && in.pos == in.size && out.pos < out.size))
            goto bad;
        if (out.pos == out.size && (state != 0 || in.pos < in.size)) {
            void *more = H5resize_memory(out.dst, out.size * 2);
            if (!more)
                goto bad;
            out.dst = more;
            out.size *= 2;
        } else if (before == in.pos + out.pos) {
            goto bad;
        }
    }
    if (!stream || !out.dst || out.pos < least)
        goto bad;
    ZSTD_freeDStream(stream);
    return replace(buffer, capacity, out.dst, out.pos, out.size);
bad:
    ZSTD_freeDStream(stream);
    H5free_memory(out.dst);
    return 0;
}

static size_t filter(unsigned flags, size_t n_values, const unsigned values[], size_t n,
                     size_t *capacity, void **buffer)
{
    if (flags & H5Z_FLAG_REVERSE)
        return unpack(n, capacity, buffer);
    return pack(level_of(n_values, values), n, capacity, buffer);
}

static const H5Z_class2_t zstd_class = {
    .version = H5Z_CLASS_T_VERS,
    .id = (H5Z_filter_t)QK_H5_ZSTD,
    .encoder_present = 1,
    .decoder_present = 1,
    .name = "Zstandard compression: http://www.zstd.net",
    .filter = filter,
};

const void *qk_h5_zstd_class(void)
{
    return &zstd_class;
}

#ifdef QK_H5_PLUGIN
H5PL_type_t H5PLget_plugin_type(void)
{
    return H5PL_TYPE_FILTER;
}

const void *H5PLget_plugin_info(void)
{
    return &zstd_class;
}
#endif
