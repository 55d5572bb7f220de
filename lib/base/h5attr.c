#include "base/h5file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/textfile.h"

/* ---- reading ---- */

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
    qk_h5_fail(err, f, name, "is an attribute that cannot be read");
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
        bad = qk_h5_fail(err, f, name, "is an attribute that cannot be read");
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

int qk_h5_attr_int(struct qk_h5 *f, const char *object, const char *name, int64_t *value,
                   struct qk_err *err)
{
    hid_t a = open_attr(f, object, name, err);
    if (a < 0)
        return -1;
    hid_t type = H5Aget_type(a);
    int bad = 0;
    if (H5Tget_class(type) != H5T_INTEGER)
        bad = qk_fail(err, "%s: attribute '%s' is not an integer", f->path, name);
    else if (H5Aread(a, H5T_NATIVE_INT64, value) < 0)
        bad = qk_h5_fail(err, f, name, "is an attribute that cannot be read");
    H5Tclose(type);
    H5Aclose(a);
    return bad;
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

static int put_attr(struct qk_h5 *f, const char *object, const char *name, hid_t file_type,
                    hid_t memory, const void *value, struct qk_err *err)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = H5Acreate_by_name(f->id, object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT,
                                H5P_DEFAULT);
    int bad = a < 0 || H5Awrite(a, memory, value) < 0;
    if (bad)
        qk_h5_fail(err, f, name, "is an attribute that cannot be written");
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
