#include "base/h5.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/h5file.h"
#include "base/h5zstd.h"
#include "base/outfile.h"

/* ---- the library ---- */
static void start(void)
{
    static bool started;
    static _Thread_local bool silent; /* where HDF5 knows threads, each has errors of its own */
    if (!started)
        H5dont_atexit(); /* a file that could not be closed must not be closed again at exit */
    if (!silent)
        H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    silent = true;
    if (started)
        return;
    started = true;
    H5open();
    H5Zregister(qk_h5_zstd_class());
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
int qk_h5_fail(struct qk_err *err, const struct qk_h5 *f, const char *object, const char *what)
{
    char reason[REASON] = "";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, reason);
    H5Eclear2(H5E_DEFAULT);
    drop_details(reason);
    if (strncmp(reason, "truncated file", 14) == 0) /* its own words name addresses */
        snprintf(reason, sizeof reason, "the file is truncated");
    if (strncmp(reason, "can't open directory", 20) == 0) /* of plugins */
        snprintf(reason, sizeof reason, "it needs a filter that is not there");
    return qk_fail(err, "%s: %s%s%s%s%s%s", f->path, object ? object : "", object ? " " : "", what,
                   *reason ? " (" : "", reason, *reason ? ")" : "");
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
    qk_h5_room_free(&f->room);
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
        qk_h5_fail(err, f, NULL, "cannot be opened as HDF5");
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
    qk_out_enter(); /* it opens the temporary by name */
    f->id = H5Fcreate(qk_out_temporary(out), H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
    qk_out_leave();
    if (f->id < 0)
        qk_h5_fail(err, f, NULL, "cannot be written");
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
        qk_h5_fail(err, f, NULL, "cannot be written");
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

hid_t qk_h5_open_array(struct qk_h5 *f, const char *object, struct qk_err *err)
{
    hid_t set = H5Dopen2(f->id, object, H5P_DEFAULT);
    if (set >= 0)
        return set;
    if (!qk_h5_has(f, object)) /* asked only now: it looks up every group on the way */
        qk_fail(err, "%s: has no %s", f->path, object);
    else
        qk_h5_fail(err, f, object, "is not an array");
    return H5I_INVALID_HID;
}

int qk_h5_describe(struct qk_h5 *f, const char *object, hid_t set, struct qk_array_info *info,
                   struct qk_err *err)
{
    *info = (struct qk_array_info){.count = 1};
    hid_t space = H5Dget_space(set), type = H5Dget_type(set);
    hsize_t dims[H5S_MAX_RANK];
    int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    int bad = 0;
    if (rank < 0 || rank > QK_MOST_DIMS || H5Sget_simple_extent_type(space) == H5S_NULL)
        bad = qk_fail(err, "%s: %s has a shape that cannot be read", f->path, object);
    else if (qk_h5_classify(type, &info->type) != 0)
        bad = qk_fail(err, "%s: %s does not hold numbers", f->path, object);
    for (int i = 0; !bad && i < rank; i++) {
        info->dims[i] = (int64_t)dims[i];
        if (dims[i] > INT64_MAX / 16 ||
            __builtin_mul_overflow(info->count, info->dims[i], &info->count))
            bad = qk_fail(err, "%s: %s is impossibly large", f->path, object);
    }
    info->is_float = qk_type_is_float(info->type);
    info->rank = rank;
    H5Tclose(type);
    H5Sclose(space);
    return bad;
}

int qk_h5_info(struct qk_h5 *f, const char *object, struct qk_array_info *info, struct qk_err *err)
{
    hid_t set = qk_h5_open_array(f, object, err);
    if (set < 0)
        return -1;
    int bad = qk_h5_describe(f, object, set, info, err);
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
        return qk_h5_fail(err, f, group, "is not a group");
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

int qk_h5_make_group(struct qk_h5 *f, const char *group, struct qk_err *err)
{
    if (qk_h5_has(f, group))
        return 0;
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    hid_t id = H5Gcreate2(f->id, group, links, H5P_DEFAULT, H5P_DEFAULT);
    H5Pclose(links);
    if (id < 0)
        return qk_h5_fail(err, f, group, "cannot be written");
    H5Gclose(id);
    return 0;
}
