/* Memory for the arrays of a model.  A step walks through hundreds of arrays of about a megabyte;
 * each in a mapping of its own would lie in small pages, and its first touch and every walk would
 * pay for them.  Here they lie one behind the other in large mappings. */
#ifndef QK_COMPUTE_CPU_SLAB_H
#define QK_COMPUTE_CPU_SLAB_H

#include <stddef.h>

struct qk_slab; /* one mapping */
struct qk_slabs {
    struct qk_slab *newest; /* arrays are cut from it */
};

/* Zeroed, 64-byte aligned; the program ends when there is no memory.  A mapping goes when the last
 * array in it is given back. */
void *qk_slabs_take(struct qk_slabs *slabs, size_t bytes);
void qk_slabs_give(struct qk_slabs *slabs, void *array); /* NULL is fine */

#endif
