/* Finding cuBLASLt. */
#include "compute/cuda/lt.cuh"

#include <dlfcn.h>

static void *open_library(const char **name)
{
    static const char *const names[] = {
        "libcublasLt.so.13",
        "libcublasLt.so.12",
        "libcublasLt.so",
        "/usr/local/cuda/lib64/libcublasLt.so.13",
        "/usr/local/cuda/lib64/libcublasLt.so.12",
        "/usr/local/cuda/lib64/libcublasLt.so",
    };
    for (const char *each : names) {
        void *library = dlopen(each, RTLD_LAZY | RTLD_LOCAL);
        *name = each;
        if (library)
            return library;
    }
    return NULL;
}

int qk_lt_load(struct qk_lt_calls *to, struct qk_err *err)
{
    const char *name = NULL;
    void *library = open_library(&name);
    if (!library)
        return qk_fail(err, "device cuda: libcublasLt.so.13 (matrix products) is neither where the "
                            "loader looks nor in /usr/local/cuda/lib64: install cuBLAS, or add its "
                            "folder to LD_LIBRARY_PATH");
#define QK_LT(member, symbol)                                                                      \
    to->member = (decltype(to->member))dlsym(library, #symbol);                                    \
    if (!to->member)                                                                               \
        return qk_fail(err, "device cuda: %s lacks %s", name, #symbol);
    QK_LT_CALLS
#undef QK_LT
    return 0;
}
