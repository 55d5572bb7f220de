/* Several programs in one file, so that a bundle of them holds the library, the device code and
 * HDF5 once.  many PROGRAM [ARGUMENT...], or under the name of PROGRAM (which may start itself
 * again: its argv[0] is then its name).  `programs.h`, made by tests/cuda/gpu.mk, lists them as
 * PROGRAM("qk-train", main_qk_train), their mains renamed. */
#include <stdio.h>
#include <string.h>

#define PROGRAM(name, run) int run(int argc, char **argv);
#include "programs.h"
#undef PROGRAM

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } programs[] = {
#define PROGRAM(name, run) {name, run},
#include "programs.h"
#undef PROGRAM
    };
    const char *slash = strrchr(argv[0], '/');
    for (int skip = 0; skip < 2 && skip < argc; skip++) {
        const char *name = skip || !slash ? argv[skip] : slash + 1;
        for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
            if (strcmp(name, programs[i].name) == 0)
                return programs[i].run(argc - skip, argv + skip);
    }
    fprintf(stderr, "many: the program %s is not in here\n", argc > 1 ? argv[1] : "");
    return 2;
}
