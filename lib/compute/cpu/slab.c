#include "compute/cpu/slab.h"

#include <string.h>

#include "base/mem.h"

enum { ALIGN = 64, SIZE = 32 << 20 };

/* At the start of its mapping. */
struct qk_slab {
    size_t size, used; /* bytes, the slab itself included */
    size_t arrays;     /* not yet given back */
};

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static struct qk_slab *map(size_t bytes)
{
    const size_t need = aligned(sizeof(struct qk_slab)) + bytes;
    const size_t size = need > SIZE / 4 ? need : SIZE;
    struct qk_slab *slab = qk_big_alloc(size);
    *slab = (struct qk_slab){.size = size, .used = aligned(sizeof *slab)};
    return slab;
}

/* In front of every array stands where it lies: the line keeps arrays of one size apart by more
 * than a power of two. */
void *qk_slabs_take(struct qk_slabs *slabs, size_t bytes)
{
    const size_t need = ALIGN + aligned(bytes);
    struct qk_slab *slab = slabs->newest;
    if (!slab || slab->size - slab->used < need) {
        slab = map(need);
        if (slab->size == SIZE)
            slabs->newest = slab;
    }
    char *at = (char *)slab + slab->used;
    slab->used += need;
    slab->arrays++;
    memcpy(at, &slab, sizeof slab);
    return at + ALIGN;
}

void qk_slabs_give(struct qk_slabs *slabs, void *array)
{
    if (!array)
        return;
    struct qk_slab *slab;
    memcpy(&slab, (char *)array - ALIGN, sizeof slab);
    if (--slab->arrays > 0)
        return;
    if (slabs->newest == slab)
        slabs->newest = NULL;
    qk_big_free(slab, slab->size);
}
