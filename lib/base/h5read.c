#include "base/h5file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/h5zstd.h"

/* ---- what HDF5 believes without looking ---- */

/* How the chunks of a data set are cut and filtered. */
struct cut {
    int rank, filters;
    hsize_t dims[H5S_MAX_RANK], chunk[H5S_MAX_RANK];
    H5Z_filter_t filter[H5Z_MAX_NFILTERS];
    size_t bytes; /* of a chunk without its filters */
};

/* false when it is not chunked. */
static bool cut_of(hid_t set, struct cut *c)
{
    hid_t list = H5Dget_create_plist(set), space = H5Dget_space(set), type = H5Dget_type(set);
    c->rank = H5Sget_simple_extent_dims(space, c->dims, NULL);
    bool chunked = c->rank > 0 && H5Pget_layout(list) == H5D_CHUNKED &&
                   H5Pget_chunk(list, c->rank, c->chunk) == c->rank;
    c->bytes = H5Tget_size(type);
    for (int i = 0; chunked && i < c->rank; i++)
        c->bytes *= c->chunk[i]; /* HDF5 refuses chunks of 4 GiB and more */
    c->filters = chunked ? H5Pget_nfilters(list) : 0;
    for (int i = 0; i < c->filters; i++) {
        size_t values = 0;
        unsigned flags, how;
        c->filter[i] = H5Pget_filter2(list, (unsigned)i, &flags, &values, NULL, 0, NULL, &how);
    }
    H5Tclose(type);
    H5Sclose(space);
    H5Pclose(list);
    return chunked;
}

/* A chunk that no filter has compressed is as long as it must be. */
static bool chunk_fits(hid_t set, const struct cut *c, const hsize_t *start)
{
    unsigned skipped = 0;
    haddr_t where = HADDR_UNDEF;
    hsize_t size = 0, need = c->bytes, most = c->bytes;
    for (int i = 0; i < c->filters; i++)
        most += c->filter[i] == H5Z_FILTER_FLETCHER32 ? QK_H5_SUM : 0;
    if (H5Dget_chunk_storage_size(set, start, &size) >= 0 && size >= most)
        return true; /* whatever was skipped, which HDF5 takes far longer to tell */
    if (H5Dget_chunk_info_by_coord(set, start, &skipped, &where, &size) < 0)
        return false;
    if (where == HADDR_UNDEF || size == 0) /* never written: the fill value */
        return true;
    for (int i = 0; i < c->filters; i++) {
        if (skipped & 1u << i)
            continue;
        if (c->filter[i] == H5Z_FILTER_FLETCHER32)
            need += QK_H5_SUM;
        else if (c->filter[i] != H5Z_FILTER_SHUFFLE)
            return true;
    }
    return size >= need;
}

/* Those that hold rows first .. end-1 along dimension 0. */
static bool chunks_fit(hid_t set, const struct cut *c, hsize_t first, hsize_t end)
{
    hsize_t start[H5S_MAX_RANK] = {first / c->chunk[0] * c->chunk[0]};
    if (c->filters == 0) /* then HDF5 knows the size by itself */
        return true;
    for (int d = c->rank - 1; d >= 0;) {
        if (!chunk_fits(set, c, start))
            return false;
        for (d = c->rank - 1; d >= 0; d--) { /* the next one, the last dimension first */
            start[d] += c->chunk[d];
            if (start[d] < (d ? c->dims[d] : end))
                break;
            start[d] = 0;
        }
    }
    return true;
}

static bool is_stored_as(hid_t set, enum qk_type type)
{
    hid_t stored = H5Dget_type(set);
    const bool same = H5Tequal(stored, qk_h5_native(type)) > 0;
    H5Tclose(stored);
    return same;
}

/* Rows along dimension 0: all of them, or some. */
struct rows {
    hsize_t first, count;
};

/* `count` elements of the rows, by HDF5 itself. */
static int read_plainly(struct qk_h5 *f, const char *object, hid_t set, enum qk_type type,
                        const struct qk_array_info *info, struct rows rows, int64_t count, void *to,
                        struct qk_err *err)
{
    const bool half = is_stored_as(set, QK_BF16) && type == QK_F32;
    void *at = half ? (char *)to + 2 * count : to; /* widened from there */
    struct cut cut;
    const bool chunked = cut_of(set, &cut);
    if (chunked && !chunks_fit(set, &cut, rows.first, rows.first + rows.count))
        return qk_fail(err, "%s: %s cannot be read (a chunk has the wrong size)", f->path, object);
    hid_t from = H5S_ALL, memory = H5S_ALL;
    if (info->rank > 0) {
        hsize_t start[QK_MOST_DIMS] = {rows.first}, n[QK_MOST_DIMS] = {rows.count};
        for (int i = 1; i < info->rank; i++)
            n[i] = (hsize_t)info->dims[i];
        from = H5Dget_space(set);
        memory = H5Screate_simple(info->rank, n, NULL);
        H5Sselect_hyperslab(from, H5S_SELECT_SET, start, NULL, n, NULL);
    }
    qk_h5_zstd_expect(chunked ? cut.bytes : 0);
    herr_t bad = H5Dread(set, qk_h5_native(half ? QK_BF16 : type), memory, from, H5P_DEFAULT, at);
    qk_h5_zstd_expect(0);
    if (bad < 0)
        qk_h5_fail(err, f, object, "cannot be read");
    if (info->rank > 0) {
        H5Sclose(memory);
        H5Sclose(from);
    }
    if (bad >= 0 && half)
        qk_bf16_spread(to, at, count); /* forward: no value is overwritten before it is read */
    return bad < 0 ? -1 : 0;
}

/* An existing array whose numbers `type` can take, or H5I_INVALID_HID with a sentence. */
static hid_t open_convertible(struct qk_h5 *f, const char *object, enum qk_type type,
                              struct qk_array_info *info, struct qk_err *err)
{
    hid_t set = qk_h5_open_array(f, object, err);
    if (set < 0)
        return H5I_INVALID_HID;
    int bad = qk_h5_describe(f, object, set, info, err);
    if (!bad && info->is_float && !qk_type_is_float(type))
        bad = qk_fail(err, "%s: %s holds %s, expected integers", f->path, object,
                      qk_type_name(info->type));
    if (!bad)
        return set;
    H5Dclose(set);
    return H5I_INVALID_HID;
}

/* The same by the parallel path, when the array is laid out for it and needs no conversion: 1 when
 * read, 0 when the ordinary path must be taken.  *finite, unless NULL, is told of floats. */
static int read_chunks(struct qk_h5 *f, const char *object, hid_t set, enum qk_type type,
                       struct rows rows, void *to, bool *finite, struct qk_err *err)
{
    struct qk_h5_layout layout;
    const bool half = is_stored_as(set, QK_BF16) && type == QK_F32;
    if (!(half || is_stored_as(set, type)) || !qk_h5_chunk_layout(set, &layout))
        return 0;
    const char *reason;
    const struct qk_h5_want want = {rows.first, rows.count, to, half, finite};
    if (qk_h5_read_chunks(set, &layout, &want, &reason) != 0)
        return reason ? qk_fail(err, "%s: %s cannot be read (%s)", f->path, object, reason) : 0;
    return 1;
}

static int read_rows(struct qk_h5 *f, const char *object, hid_t set, enum qk_type type,
                     const struct qk_array_info *info, struct rows rows, void *to, bool *finite,
                     struct qk_err *err)
{
    int64_t count = (int64_t)rows.count;
    for (int i = 1; i < info->rank; i++)
        count *= info->dims[i];
    if (finite)
        *finite = true;
    if (count == 0)
        return 0;
    const int got = read_chunks(f, object, set, type, rows, to, finite, err);
    if (got != 0)
        return got < 0 ? -1 : 0;
    if (read_plainly(f, object, set, type, info, rows, count, to, err) != 0)
        return -1;
    if (finite)
        *finite = qk_all_finite(to, count);
    return 0;
}

static struct rows all_rows(const struct qk_array_info *info)
{
    return (struct rows){0, info->rank > 0 ? (hsize_t)info->dims[0] : 1};
}

int qk_h5_read(struct qk_h5 *f, const char *object, enum qk_type type, int64_t count, void *to,
               struct qk_err *err)
{
    struct qk_array_info info;
    hid_t set = open_convertible(f, object, type, &info, err);
    if (set < 0)
        return -1;
    int bad = 0;
    if (info.count != count)
        bad = qk_fail(err, "%s: %s has %" PRId64 " elements, expected %" PRId64, f->path, object,
                      info.count, count);
    else
        bad = read_rows(f, object, set, type, &info, all_rows(&info), to, NULL, err);
    H5Dclose(set);
    return bad;
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

static int check_shape(const struct qk_h5 *f, const char *object, const struct qk_array_info *info,
                       int rank, const int64_t *dims, struct qk_err *err)
{
    if (info->rank == rank && memcmp(info->dims, dims, (size_t)rank * sizeof *dims) == 0)
        return 0;
    char is[100], should[100];
    shape_text(is, sizeof is, info->rank, info->dims);
    shape_text(should, sizeof should, rank, dims);
    return qk_fail(err, "%s: %s has shape %s, expected %s", f->path, object, is, should);
}

int qk_h5_read_shaped(struct qk_h5 *f, const char *object, enum qk_type type, int rank,
                      const int64_t *dims, void *to, struct qk_err *err)
{
    struct qk_array_info info;
    hid_t set = open_convertible(f, object, type, &info, err);
    if (set < 0)
        return -1;
    int bad = check_shape(f, object, &info, rank, dims, err) ||
              read_rows(f, object, set, type, &info, all_rows(&info), to, NULL, err);
    H5Dclose(set);
    return bad ? -1 : 0;
}

static int check_rows(const struct qk_h5 *f, const char *object, const struct qk_array_info *info,
                      int64_t first, int64_t count, struct qk_err *err)
{
    if (info->rank >= 1 && first >= 0 && count >= 0 && first <= info->dims[0] - count)
        return 0;
    return qk_fail(err, "%s: %s has no rows %" PRId64 " to %" PRId64, f->path, object, first,
                   first + count - 1);
}

int qk_h5_read_floats(struct qk_h5 *f, const char *object, int rank, const int64_t *dims,
                      int64_t first, int64_t count, float *to, bool *finite, struct qk_err *err)
{
    struct qk_array_info info;
    hid_t set = open_convertible(f, object, QK_F32, &info, err);
    if (set < 0)
        return -1;
    const struct rows rows = {(hsize_t)first, (hsize_t)count};
    int bad = check_shape(f, object, &info, rank, dims, err) ||
              check_rows(f, object, &info, first, count, err) ||
              read_rows(f, object, set, QK_F32, &info, rows, to, finite, err);
    H5Dclose(set);
    return bad ? -1 : 0;
}
