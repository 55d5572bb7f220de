#include "base/h5.h"

#include <errno.h>
#include <hdf5.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/h5chunk.h"
#include "base/h5zstd.h"
#include "base/outfile.h"
#include "base/textfile.h"

struct qk_h5 {
    hid_t id;
    char *path;
    struct qk_out *out; /* NULL when reading */
};

enum {
    CHUNK_BYTES = 1 << 20,         /* of an array written whole */
    GROWING_BYTES = 1 << 18,       /* of a compressed growing array */
    GROWING_PLAIN_BYTES = 1 << 14, /* of an uncompressed one: the last chunk is stored whole */
};

/* ---- the library ---- */

static hid_t bf16_type;

static hid_t make_bf16(void)
{
    hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(t, 15, 7, 8, 0, 7);
    H5Tset_precision(t, 16);
    H5Tset_size(t, 2);
    H5Tset_ebias(t, 127);
    return t;
}

static void start(void)
{
    static bool started;
    if (started)
        return;
    started = true;
    H5dont_atexit(); /* a file that could not be closed must not be closed again at exit */
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5Zregister(qk_h5_zstd_class());
    bf16_type = make_bf16();
}

const char *qk_h5_version(void)
{
    static char text[32];
    unsigned a, b, c;
    H5get_libversion(&a, &b, &c);
    snprintf(text, sizeof text, "%u.%u.%u", a, b, c);
    return text;
}

enum { REASON = 500 };

static herr_t keep_innermost(unsigned n, const H5E_error2_t *e, void *text)
{
    if (n == 0)
        snprintf(text, REASON, "%s", e->desc ? e->desc : "unknown");
    return 0;
}

/* "file write failed: time = ..., error message = 'File too large', buf = ...": what the system
 * says is kept, the rest is different each time. */
static void drop_details(char *reason)
{
    char *from = strstr(reason, ": time = "), *message = strstr(reason, "error message = '");
    if (!from || !message)
        return;
    message = strchr(message, '\'') + 1;
    size_t n = strcspn(message, "'");
    memmove(from + 2, message, n);
    from[2 + n] = '\0';
}

/* "PATH: OBJECT what (HDF5's innermost reason)" */
static int h5_fail(struct qk_err *err, const struct qk_h5 *f, const char *object, const char *what)
{
    char reason[REASON] = "";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, reason);
    H5Eclear2(H5E_DEFAULT);
    drop_details(reason);
    if (strncmp(reason, "truncated file", 14) == 0) /* its own words name addresses */
        snprintf(reason, sizeof reason, "the file is truncated");
    return qk_fail(err, "%s: %s%s%s%s%s%s", f->path, object ? object : "", object ? " " : "", what,
                   *reason ? " (" : "", reason, *reason ? ")" : "");
}

static hid_t native(enum qk_type type)
{
    switch (type) {
    case QK_U8:
        return H5T_NATIVE_UINT8;
    case QK_U16:
        return H5T_NATIVE_UINT16;
    case QK_U32:
        return H5T_NATIVE_UINT32;
    case QK_U64:
        return H5T_NATIVE_UINT64;
    case QK_I32:
        return H5T_NATIVE_INT32;
    case QK_I64:
        return H5T_NATIVE_INT64;
    case QK_F32:
        return H5T_NATIVE_FLOAT;
    case QK_F64:
        return H5T_NATIVE_DOUBLE;
    case QK_BF16:
        return bf16_type;
    }
    return H5I_INVALID_HID;
}

static hid_t stored(enum qk_type type)
{
    switch (type) {
    case QK_U8:
        return H5T_STD_U8LE;
    case QK_U16:
        return H5T_STD_U16LE;
    case QK_U32:
        return H5T_STD_U32LE;
    case QK_U64:
        return H5T_STD_U64LE;
    case QK_I32:
        return H5T_STD_I32LE;
    case QK_I64:
        return H5T_STD_I64LE;
    case QK_F32:
        return H5T_IEEE_F32LE;
    case QK_F64:
        return H5T_IEEE_F64LE;
    case QK_BF16:
        return bf16_type;
    }
    return H5I_INVALID_HID;
}

size_t qk_type_size(enum qk_type type)
{
    static const size_t sizes[] = {1, 2, 4, 8, 4, 8, 4, 8, 2};
    return sizes[type];
}

const char *qk_type_name(enum qk_type type)
{
    static const char *const names[] = {"uint8", "uint16",  "uint32",  "uint64",  "int32",
                                        "int64", "float32", "float64", "bfloat16"};
    return names[type];
}

static bool is_float(enum qk_type type)
{
    return type >= QK_F32;
}

/* ---- opening ---- */

static hid_t access_list(void)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG);
    H5Pset_file_locking(fapl, 0, 1); /* outputs are locked and renamed by outfile.h */
    return fapl;
}

static struct qk_h5 *new_handle(const char *path)
{
    struct qk_h5 *f = qk_zalloc(1, sizeof *f);
    f->path = qk_strdup(path);
    f->id = H5I_INVALID_HID;
    return f;
}

static void free_handle(struct qk_h5 *f)
{
    free(f->path);
    free(f);
}

static int check_readable(const char *path, struct qk_err *err)
{
    struct stat st;
    if (strcmp(path, "-") == 0)
        return qk_fail(err, "-: an HDF5 file cannot be read from standard input");
    if (stat(path, &st) != 0 || access(path, R_OK) != 0)
        return qk_fail_errno(err, "%s: cannot be opened", path);
    if (S_ISDIR(st.st_mode))
        return qk_fail(err, "%s: is a folder, not an HDF5 file", path);
    if (H5Fis_hdf5(path) <= 0)
        return qk_fail(err, "%s: is not an HDF5 file", path);
    return 0;
}

struct qk_h5 *qk_h5_open(const char *path, struct qk_err *err)
{
    start();
    if (check_readable(path, err) != 0)
        return NULL;
    struct qk_h5 *f = new_handle(path);
    hid_t fapl = access_list();
    f->id = H5Fopen(path, H5F_ACC_RDONLY, fapl);
    if (f->id < 0)
        h5_fail(err, f, NULL, "cannot be opened as HDF5");
    H5Pclose(fapl);
    if (f->id >= 0)
        return f;
    free_handle(f);
    return NULL;
}

void qk_h5_close(struct qk_h5 *f)
{
    if (!f)
        return;
    H5Fclose(f->id);
    free_handle(f);
}

const char *qk_h5_path(const struct qk_h5 *f)
{
    return f->path;
}

struct qk_h5 *qk_h5_create(const char *path, struct qk_err *err)
{
    start();
    if (strcmp(path, "-") == 0)
        return qk_fail_null(err, "-: an HDF5 file cannot be written to standard output");
    struct qk_out *out = qk_out_open(path, err);
    if (!out)
        return NULL;
    struct qk_h5 *f = new_handle(path);
    f->out = out;
    hid_t fapl = access_list();
    f->id = H5Fcreate(qk_out_temporary(out), H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
    if (f->id < 0)
        h5_fail(err, f, NULL, "cannot be written");
    H5Pclose(fapl);
    if (f->id >= 0)
        return f;
    qk_out_discard(out);
    free_handle(f);
    return NULL;
}

int qk_h5_commit(struct qk_h5 *f, struct qk_err *err)
{
    int bad = H5Fflush(f->id, H5F_SCOPE_GLOBAL) < 0;
    bad |= H5Fclose(f->id) < 0;
    if (bad) {
        h5_fail(err, f, NULL, "cannot be written");
        qk_out_discard(f->out);
    } else {
        bad = qk_out_commit(f->out, err);
    }
    free_handle(f);
    return bad ? -1 : 0;
}

void qk_h5_discard(struct qk_h5 *f)
{
    if (!f)
        return;
    H5Fclose(f->id);
    H5Eclear2(H5E_DEFAULT);
    qk_out_discard(f->out);
    free_handle(f);
}

/* ---- what is there ---- */

bool qk_h5_has(struct qk_h5 *f, const char *object)
{
    if (strcmp(object, "/") == 0)
        return true;
    char *path = qk_strdup(object);
    bool there = true;
    for (char *p = path + 1; there; p++) {
        if (*p && *p != '/')
            continue;
        char keep = *p;
        *p = '\0';
        there = H5Lexists(f->id, path, H5P_DEFAULT) > 0;
        *p = keep;
        if (!keep)
            break;
    }
    there = there && H5Oexists_by_name(f->id, object, H5P_DEFAULT) > 0;
    free(path);
    H5Eclear2(H5E_DEFAULT);
    return there;
}

static hid_t open_array(struct qk_h5 *f, const char *object, struct qk_err *err)
{
    if (!qk_h5_has(f, object)) {
        qk_fail(err, "%s: has no %s", f->path, object);
        return H5I_INVALID_HID;
    }
    hid_t set = H5Dopen2(f->id, object, H5P_DEFAULT);
    if (set < 0)
        h5_fail(err, f, object, "is not an array");
    return set;
}

static int classify(hid_t type, struct qk_array_info *info)
{
    size_t size = H5Tget_size(type);
    H5T_class_t class = H5Tget_class(type);
    info->is_float = class == H5T_FLOAT;
    if (info->is_float) {
        info->type = size <= 2 ? QK_BF16 : size == 4 ? QK_F32 : QK_F64;
        return size <= 8 ? 0 : -1;
    }
    if (class != H5T_INTEGER || size > 8)
        return -1;
    if (H5Tget_sign(type) == H5T_SGN_NONE)
        info->type = size == 1 ? QK_U8 : size == 2 ? QK_U16 : size <= 4 ? QK_U32 : QK_U64;
    else
        info->type = size <= 4 ? QK_I32 : QK_I64;
    return 0;
}

static int describe(struct qk_h5 *f, const char *object, hid_t set, struct qk_array_info *info,
                    struct qk_err *err)
{
    *info = (struct qk_array_info){.count = 1};
    hid_t space = H5Dget_space(set), type = H5Dget_type(set);
    hsize_t dims[H5S_MAX_RANK];
    int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    int bad = 0;
    if (rank < 0 || rank > QK_MOST_DIMS || H5Sget_simple_extent_type(space) == H5S_NULL)
        bad = qk_fail(err, "%s: %s has a shape that cannot be read", f->path, object);
    else if (classify(type, info) != 0)
        bad = qk_fail(err, "%s: %s does not hold numbers", f->path, object);
    for (int i = 0; !bad && i < rank; i++) {
        info->dims[i] = (int64_t)dims[i];
        if (dims[i] > INT64_MAX / 16 ||
            __builtin_mul_overflow(info->count, info->dims[i], &info->count))
            bad = qk_fail(err, "%s: %s is impossibly large", f->path, object);
    }
    info->rank = rank;
    H5Tclose(type);
    H5Sclose(space);
    return bad;
}

int qk_h5_info(struct qk_h5 *f, const char *object, struct qk_array_info *info, struct qk_err *err)
{
    hid_t set = open_array(f, object, err);
    if (set < 0)
        return -1;
    int bad = describe(f, object, set, info, err);
    H5Dclose(set);
    return bad;
}

int qk_h5_members(struct qk_h5 *f, const char *group, struct qk_strings *names, struct qk_err *err)
{
    H5G_info_t info;
    if (!qk_h5_has(f, group))
        return qk_fail(err, "%s: has no %s", f->path, group);
    hid_t id = H5Gopen2(f->id, group, H5P_DEFAULT);
    if (id < 0 || H5Gget_info(id, &info) < 0) {
        if (id >= 0)
            H5Gclose(id);
        return h5_fail(err, f, group, "is not a group");
    }
    for (hsize_t i = 0; i < info.nlinks; i++) {
        char name[256];
        if (H5Lget_name_by_idx(id, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name,
                               H5P_DEFAULT) >= 0)
            qk_strings_add(names, name);
    }
    H5Gclose(id);
    return 0;
}

/* ---- reading ---- */

static void widen_bf16(float *to, int64_t count)
{
    /* The 16-bit values lie in the second half of `to`; go forward so that none is overwritten
     * before it is read. */
    const uint16_t *from = (const uint16_t *)(const void *)to + count;
    for (int64_t i = 0; i < count; i++) {
        uint16_t narrow;
        memcpy(&narrow, &from[i], sizeof narrow);
        uint32_t bits = (uint32_t)narrow << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

static int read_selected(struct qk_h5 *f, const char *object, hid_t set, enum qk_type type,
                         hid_t memory_space, hid_t file_space, int64_t count, void *to,
                         struct qk_err *err)
{
    hid_t file_type = H5Dget_type(set);
    bool fast = type == QK_F32 && H5Tequal(file_type, bf16_type) > 0;
    H5Tclose(file_type);
    void *at = fast ? (char *)to + 2 * count : to;
    if (H5Dread(set, fast ? bf16_type : native(type), memory_space, file_space, H5P_DEFAULT, at) <
        0)
        return h5_fail(err, f, object, "cannot be read");
    if (fast)
        widen_bf16(to, count);
    return 0;
}

static int check_convertible(struct qk_h5 *f, const char *object, const struct qk_array_info *info,
                             enum qk_type type, struct qk_err *err)
{
    if (info->is_float && !is_float(type))
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
    bool half = type == QK_F32 && H5Tequal(file_type, bf16_type) > 0;
    bool same = half || H5Tequal(file_type, native(type)) > 0;
    H5Tclose(file_type);
    if (!same || !qk_h5_chunk_layout(set, &layout))
        return 0;
    const char *reason;
    if (qk_h5_read_chunks(set, &layout, half ? (char *)to + 2 * count : to, &reason) != 0)
        return reason ? qk_fail(err, "%s: %s cannot be read (%s)", f->path, object, reason) : 0;
    if (half)
        widen_bf16(to, count);
    return 1;
}

int qk_h5_read(struct qk_h5 *f, const char *object, enum qk_type type, int64_t count, void *to,
               struct qk_err *err)
{
    struct qk_array_info info;
    hid_t set = open_array(f, object, err);
    if (set < 0)
        return -1;
    int bad =
        describe(f, object, set, &info, err) || check_convertible(f, object, &info, type, err);
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
    hid_t set = open_array(f, object, err);
    if (set < 0)
        return -1;
    int bad =
        describe(f, object, set, &info, err) || check_convertible(f, object, &info, type, err);
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

/* ---- attributes, reading ---- */

static hid_t open_attr(struct qk_h5 *f, const char *object, const char *name, struct qk_err *err)
{
    if (!qk_h5_has_attr(f, object, name)) {
        if (strcmp(object, "/") == 0)
            qk_fail(err, "%s: has no attribute '%s'", f->path, name);
        else
            qk_fail(err, "%s: %s has no attribute '%s'", f->path, object, name);
        return H5I_INVALID_HID;
    }
    hid_t a = H5Aopen_by_name(f->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
    if (a >= 0) {
        hid_t space = H5Aget_space(a);
        hssize_t n = H5Sget_simple_extent_npoints(space);
        H5Sclose(space);
        if (n == 1)
            return a;
        H5Aclose(a);
    }
    h5_fail(err, f, name, "is an attribute that cannot be read");
    return H5I_INVALID_HID;
}

bool qk_h5_has_attr(struct qk_h5 *f, const char *object, const char *name)
{
    bool there = qk_h5_has(f, object) && H5Aexists_by_name(f->id, object, name, H5P_DEFAULT) > 0;
    H5Eclear2(H5E_DEFAULT);
    return there;
}

static char *read_variable_text(hid_t a)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    hid_t file_type = H5Aget_type(a);
    H5Tset_cset(type, H5Tget_cset(file_type));
    char *from = NULL, *text = NULL;
    if (H5Aread(a, type, &from) >= 0)
        text = qk_strdup(from ? from : "");
    H5free_memory(from);
    H5Tclose(file_type);
    H5Tclose(type);
    return text;
}

static char *read_fixed_text(hid_t a, hid_t type)
{
    size_t n = H5Tget_size(type);
    char *text = qk_zalloc(n + 1, 1);
    if (H5Aread(a, type, text) < 0) {
        free(text);
        return NULL;
    }
    if (H5Tget_strpad(type) == H5T_STR_SPACEPAD)
        while (n > 0 && text[n - 1] == ' ')
            text[--n] = '\0';
    return text;
}

int qk_h5_attr_text(struct qk_h5 *f, const char *object, const char *name, char **text,
                    struct qk_err *err)
{
    hid_t a = open_attr(f, object, name, err);
    if (a < 0)
        return -1;
    hid_t type = H5Aget_type(a);
    int bad = 0;
    *text = NULL;
    if (H5Tget_class(type) != H5T_STRING)
        bad = qk_fail(err, "%s: attribute '%s' is not text", f->path, name);
    else
        *text = H5Tis_variable_str(type) > 0 ? read_variable_text(a) : read_fixed_text(a, type);
    if (!bad && !*text)
        bad = h5_fail(err, f, name, "is an attribute that cannot be read");
    if (!bad && qk_utf8_check(*text, strlen(*text)) != 0)
        bad = qk_fail(err, "%s: attribute '%s' is not valid UTF-8", f->path, name);
    if (bad) {
        free(*text);
        *text = NULL;
    }
    H5Tclose(type);
    H5Aclose(a);
    return bad;
}

static int read_number_attr(struct qk_h5 *f, const char *object, const char *name,
                            H5T_class_t class, hid_t memory, void *value, struct qk_err *err)
{
    hid_t a = open_attr(f, object, name, err);
    if (a < 0)
        return -1;
    hid_t type = H5Aget_type(a);
    H5T_class_t is = H5Tget_class(type);
    int bad = 0;
    if (is != class && !(class == H5T_FLOAT && is == H5T_INTEGER))
        bad = qk_fail(err, "%s: attribute '%s' is not %s", f->path, name,
                      class == H5T_INTEGER ? "an integer" : "a number");
    else if (H5Aread(a, memory, value) < 0)
        bad = h5_fail(err, f, name, "is an attribute that cannot be read");
    H5Tclose(type);
    H5Aclose(a);
    return bad;
}

int qk_h5_attr_int(struct qk_h5 *f, const char *object, const char *name, int64_t *value,
                   struct qk_err *err)
{
    return read_number_attr(f, object, name, H5T_INTEGER, H5T_NATIVE_INT64, value, err);
}

int qk_h5_attr_real(struct qk_h5 *f, const char *object, const char *name, double *value,
                    struct qk_err *err)
{
    return read_number_attr(f, object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, value, err);
}

int qk_h5_expect(struct qk_h5 *f, const char *kind, int64_t version, struct qk_err *err)
{
    char *is = NULL;
    int64_t number;
    if (qk_h5_attr_text(f, "/", "kind", &is, err) != 0)
        return -1;
    int bad = 0;
    if (strcmp(is, kind) != 0)
        bad = qk_fail(err, "%s: is a %.40s file, expected %s", f->path, is, kind);
    else if (qk_h5_attr_int(f, "/", "version", &number, err) != 0)
        bad = -1;
    else if (number != version)
        bad = qk_fail(err,
                      "%s: has version %" PRId64 " of the %s format, this program reads %" PRId64,
                      f->path, number, kind, version);
    free(is);
    return bad;
}

char *qk_h5_kind(const char *path, struct qk_err *err)
{
    struct qk_h5 *f = qk_h5_open(path, err);
    if (!f)
        return NULL;
    char *kind = NULL;
    qk_h5_attr_text(f, "/", "kind", &kind, err);
    qk_h5_close(f);
    return kind;
}

/* ---- writing ---- */

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
    hid_t set = H5Dcreate2(f->id, object, stored(type), space, links, list, H5P_DEFAULT);
    H5Pclose(links);
    return set;
}

static uint16_t narrow_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40); /* NaN stays NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint16_t *narrowed(const float *from, int64_t count)
{
    uint16_t *to = qk_alloc((size_t)count, sizeof *to);
    for (int64_t i = 0; i < count; i++)
        to[i] = narrow_bf16(from[i]);
    return to;
}

int qk_h5_write(struct qk_h5 *f, const char *object, enum qk_type type, int rank,
                const int64_t *dims, enum qk_type memory, const void *from, int zstd_level,
                struct qk_err *err)
{
    struct qk_h5_layout layout = {.rank = rank, .zstd_level = zstd_level};
    hsize_t size[QK_MOST_DIMS], chunk[QK_MOST_DIMS];
    int64_t count = 1;
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
    uint16_t *bits = type == QK_BF16 ? narrowed(from, count) : NULL;
    int bad = set < 0 || (count > 0 && qk_h5_write_chunks(set, &layout, bits ? bits : from) != 0);
    if (bad)
        h5_fail(err, f, object, "cannot be written");
    free(bits);
    if (set >= 0 && H5Dclose(set) < 0 && !bad)
        bad = h5_fail(err, f, object, "cannot be written");
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
    int bad = set < 0 ? h5_fail(err, f, object, "cannot be written") : 0;
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
    hid_t set = open_array(f, object, err);
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
          H5Dwrite(set, native(type), memory, space, H5P_DEFAULT, from) < 0;
    if (bad)
        h5_fail(err, f, object, "cannot be written");
    H5Sclose(memory);
    H5Sclose(space);
    if (H5Dclose(set) < 0 && !bad)
        bad = h5_fail(err, f, object, "cannot be written");
    return bad ? -1 : 0;
}

int qk_h5_make_group(struct qk_h5 *f, const char *group, struct qk_err *err)
{
    if (qk_h5_has(f, group))
        return 0;
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    hid_t id = H5Gcreate2(f->id, group, links, H5P_DEFAULT, H5P_DEFAULT);
    H5Pclose(links);
    if (id < 0)
        return h5_fail(err, f, group, "cannot be written");
    H5Gclose(id);
    return 0;
}

static int put_attr(struct qk_h5 *f, const char *object, const char *name, hid_t file_type,
                    hid_t memory, const void *value, struct qk_err *err)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = H5Acreate_by_name(f->id, object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT,
                                H5P_DEFAULT);
    int bad = a < 0 || H5Awrite(a, memory, value) < 0;
    if (bad)
        h5_fail(err, f, name, "is an attribute that cannot be written");
    if (a >= 0)
        H5Aclose(a);
    H5Sclose(space);
    return bad ? -1 : 0;
}

int qk_h5_put_text(struct qk_h5 *f, const char *object, const char *name, const char *text,
                   struct qk_err *err)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    int bad = put_attr(f, object, name, type, type, &text, err);
    H5Tclose(type);
    return bad;
}

int qk_h5_put_int(struct qk_h5 *f, const char *object, const char *name, int64_t value,
                  struct qk_err *err)
{
    return put_attr(f, object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value, err);
}

int qk_h5_put_real(struct qk_h5 *f, const char *object, const char *name, double value,
                   struct qk_err *err)
{
    return put_attr(f, object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value, err);
}
