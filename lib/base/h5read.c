#include "base/h5file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/h5chunk.h"

static int read_selected(struct qk_h5 *f, const char *object, hid_t set, enum qk_type type,
                         hid_t memory_space, hid_t file_space, int64_t count, void *to,
                         struct qk_err *err)
{
    hid_t file_type = H5Dget_type(set);
    bool fast = type == QK_F32 && H5Tequal(file_type, qk_h5_native(QK_BF16)) > 0;
    H5Tclose(file_type);
    void *at = fast ? (char *)to + 2 * count : to;
    if (H5Dread(set, qk_h5_native(fast ? QK_BF16 : type), memory_space, file_space, H5P_DEFAULT,
                at) < 0)
        return qk_h5_fail(err, f, object, "cannot be read");
    if (fast)
        qk_bf16_widen(to, count);
    return 0;
}

static int check_convertible(struct qk_h5 *f, const char *object, const struct qk_array_info *info,
                             enum qk_type type, struct qk_err *err)
{
    if (info->is_float && !qk_type_is_float(type))
        return qk_fail(err, "%s: %s holds %s, expected integers", f->path, object,
                       qk_type_name(info->type));
    return 0;
}

/* The same array by the parallel path, when it is laid out for it and needs no conversion: 1 when
 * read, 0 when the ordinary path must be taken. */
static int read_chunks(struct qk_h5 *f, const char *object, hid_t set, enum qk_type type,
                       int64_t count, void *to, struct qk_err *err)
{
    struct qk_h5_layout layout;
    hid_t file_type = H5Dget_type(set);
    bool half = type == QK_F32 && H5Tequal(file_type, qk_h5_native(QK_BF16)) > 0;
    bool same = half || H5Tequal(file_type, qk_h5_native(type)) > 0;
    H5Tclose(file_type);
    if (!same || !qk_h5_chunk_layout(set, &layout))
        return 0;
    const char *reason;
    if (qk_h5_read_chunks(set, &layout, half ? (char *)to + 2 * count : to, &reason) != 0)
        return reason ? qk_fail(err, "%s: %s cannot be read (%s)", f->path, object, reason) : 0;
    if (half)
        qk_bf16_widen(to, count);
    return 1;
}

int qk_h5_read(struct qk_h5 *f, const char *object, enum qk_type type, int64_t count, void *to,
               struct qk_err *err)
{
    struct qk_array_info info;
    hid_t set = qk_h5_open_array(f, object, err);
    if (set < 0)
        return -1;
    int bad = qk_h5_describe(f, object, set, &info, err) ||
              check_convertible(f, object, &info, type, err);
    if (!bad && info.count != count)
        bad = qk_fail(err, "%s: %s has %" PRId64 " elements, expected %" PRId64, f->path, object,
                      info.count, count);
    if (!bad && count > 0) {
        int got = read_chunks(f, object, set, type, count, to, err);
        bad = got < 0 || (got == 0 && read_selected(f, object, set, type, H5S_ALL, H5S_ALL, count,
                                                    to, err) != 0);
    }
    H5Dclose(set);
    return bad ? -1 : 0;
}

static void shape_text(char *text, size_t size, int rank, const int64_t *dims)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, i ? "x" : "", dims[i]);
    if (rank == 0)
        snprintf(text, size, "scalar");
}

int qk_h5_read_shaped(struct qk_h5 *f, const char *object, enum qk_type type, int rank,
                      const int64_t *dims, void *to, struct qk_err *err)
{
    struct qk_array_info info;
    if (qk_h5_info(f, object, &info, err) != 0)
        return -1;
    if (info.rank != rank || memcmp(info.dims, dims, (size_t)rank * sizeof *dims) != 0) {
        char is[100], should[100];
        shape_text(is, sizeof is, info.rank, info.dims);
        shape_text(should, sizeof should, rank, dims);
        return qk_fail(err, "%s: %s has shape %s, expected %s", f->path, object, is, should);
    }
    return qk_h5_read(f, object, type, info.count, to, err);
}

int qk_h5_read_rows(struct qk_h5 *f, const char *object, enum qk_type type, int64_t first,
                    int64_t count, void *to, struct qk_err *err)
{
    struct qk_array_info info;
    hid_t set = qk_h5_open_array(f, object, err);
    if (set < 0)
        return -1;
    int bad = qk_h5_describe(f, object, set, &info, err) ||
              check_convertible(f, object, &info, type, err);
    if (!bad && (info.rank < 1 || first < 0 || count < 0 || first > info.dims[0] - count))
        bad = qk_fail(err, "%s: %s has no rows %" PRId64 " to %" PRId64, f->path, object, first,
                      first + count - 1);
    if (!bad && info.count > 0 && count > 0) {
        hsize_t from[QK_MOST_DIMS] = {(hsize_t)first}, n[QK_MOST_DIMS];
        for (int i = 0; i < info.rank; i++)
            n[i] = (hsize_t)(i ? info.dims[i] : count);
        hid_t file_space = H5Dget_space(set), memory = H5Screate_simple(info.rank, n, NULL);
        H5Sselect_hyperslab(file_space, H5S_SELECT_SET, from, NULL, n, NULL);
        bad = read_selected(f, object, set, type, memory, file_space,
                            info.count / info.dims[0] * count, to, err);
        H5Sclose(memory);
        H5Sclose(file_space);
    }
    H5Dclose(set);
    return bad ? -1 : 0;
}
