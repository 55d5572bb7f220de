#include "base/h5file.h"

#include <stdlib.h>

#include "base/h5zstd.h"

enum {
    CHUNK_BYTES = 1 << 20,         /* of an array written whole */
    GROWING_BYTES = 1 << 18,       /* of a compressed growing array */
    GROWING_PLAIN_BYTES = 1 << 14, /* of an uncompressed one: the last chunk is stored whole */
};
/* Whole rows where they fit, about `bytes` a chunk. */
static void choose_chunk(int rank, const int64_t *dims, size_t item, size_t bytes, hsize_t *chunk)
{
    size_t total = item;
    for (int i = 0; i < rank; i++) {
        chunk[i] = dims[i] > 0 ? (hsize_t)dims[i] : 1;
        total *= chunk[i];
    }
    for (int i = 0; i < rank && total > bytes; i++) {
        size_t slice = total / chunk[i];
        size_t n = bytes / slice;
        chunk[i] = n > 0 ? n : 1;
        total = slice * chunk[i];
    }
}

static hid_t creation_list(int rank, const hsize_t *chunk, int zstd_level)
{
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(list, 0);
    H5Pset_chunk(list, rank, chunk);
    if (zstd_level > 0) {
        unsigned level = (unsigned)zstd_level;
        H5Pset_shuffle(list);
        H5Pset_filter(list, (H5Z_filter_t)QK_H5_ZSTD, H5Z_FLAG_MANDATORY, 1, &level);
    }
    H5Pset_fletcher32(list);
    return list;
}

static hid_t create_array(struct qk_h5 *f, const char *object, enum qk_type type, hid_t space,
                          hid_t list)
{
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    hid_t set = H5Dcreate2(f->id, object, qk_h5_stored(type), space, links, list, H5P_DEFAULT);
    H5Pclose(links);
    return set;
}

int qk_h5_write(struct qk_h5 *f, const char *object, enum qk_type type, int rank,
                const int64_t *dims, enum qk_type memory, const void *from, int zstd_level,
                struct qk_err *err)
{
    struct qk_h5_layout layout = {.rank = rank, .zstd_level = zstd_level};
    hsize_t size[QK_MOST_DIMS], chunk[QK_MOST_DIMS];
    int64_t count = 1;
    if (rank < 1 || rank > QK_MOST_DIMS)
        return qk_fail(err, "%s: %s: an array of %d dimensions cannot be written", f->path, object,
                       rank);
    layout.item = qk_type_size(type);
    choose_chunk(rank, dims, layout.item, CHUNK_BYTES, chunk);
    for (int i = 0; i < rank; i++) {
        layout.dims[i] = size[i] = (hsize_t)dims[i];
        layout.chunk[i] = chunk[i];
        count *= dims[i];
    }
    if (type != memory && !(type == QK_BF16 && memory == QK_F32))
        return qk_fail(err, "%s: %s: %s is not stored as %s", f->path, object, qk_type_name(memory),
                       qk_type_name(type));
    hid_t space = H5Screate_simple(rank, size, NULL), list = creation_list(rank, chunk, zstd_level);
    hid_t set = create_array(f, object, type, space, list);
    uint16_t *bits = type == QK_BF16 ? qk_bf16_narrow(from, count) : NULL;
    int bad = set < 0 ||
              (count > 0 && qk_h5_write_chunks(set, &layout, bits ? bits : from, &f->room) != 0);
    if (bad)
        qk_h5_fail(err, f, object, "cannot be written");
    free(bits);
    if (set >= 0 && H5Dclose(set) < 0 && !bad)
        bad = qk_h5_fail(err, f, object, "cannot be written");
    H5Pclose(list);
    H5Sclose(space);
    return bad ? -1 : 0;
}

int qk_h5_create_growing(struct qk_h5 *f, const char *object, enum qk_type type, int zstd_level,
                         struct qk_err *err)
{
    hsize_t none = 0, most = H5S_UNLIMITED;
    hsize_t chunk = (zstd_level > 0 ? GROWING_BYTES : GROWING_PLAIN_BYTES) / qk_type_size(type);
    hid_t space = H5Screate_simple(1, &none, &most), list = creation_list(1, &chunk, zstd_level);
    hid_t set = create_array(f, object, type, space, list);
    int bad = set < 0 ? qk_h5_fail(err, f, object, "cannot be written") : 0;
    if (set >= 0)
        H5Dclose(set);
    H5Pclose(list);
    H5Sclose(space);
    return bad;
}

int qk_h5_append(struct qk_h5 *f, const char *object, enum qk_type type, int64_t count,
                 const void *from, struct qk_err *err)
{
    if (count == 0)
        return 0;
    hid_t set = qk_h5_open_array(f, object, err);
    if (set < 0)
        return -1;
    hid_t space = H5Dget_space(set);
    hsize_t used, n = (hsize_t)count;
    H5Sget_simple_extent_dims(space, &used, NULL);
    H5Sclose(space);
    hsize_t whole = used + n;
    int bad = H5Dset_extent(set, &whole) < 0;
    space = H5Dget_space(set);
    hid_t memory = H5Screate_simple(1, &n, NULL);
    bad = bad || H5Sselect_hyperslab(space, H5S_SELECT_SET, &used, NULL, &n, NULL) < 0 ||
          H5Dwrite(set, qk_h5_native(type), memory, space, H5P_DEFAULT, from) < 0;
    if (bad)
        qk_h5_fail(err, f, object, "cannot be written");
    H5Sclose(memory);
    H5Sclose(space);
    if (H5Dclose(set) < 0 && !bad)
        bad = qk_h5_fail(err, f, object, "cannot be written");
    return bad ? -1 : 0;
}
