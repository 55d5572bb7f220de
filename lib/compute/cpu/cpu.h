/* What the CPU's operations share.  Everything is float32 here.
 *
 * Every sum is taken in one order whoever takes it: reductions are cut where the shapes alone say,
 * and a product's tiles (matmul.c), which may follow the number of threads, cut no sum.  So results
 * are the same bits for any number of threads.  BLAS is called inside parallel loops only:
 * OpenBLAS's OpenMP build is single-threaded in a parallel region and nowhere else, whatever
 * openblas_set_num_threads was told.
 */
#ifndef QK_COMPUTE_CPU_H
#define QK_COMPUTE_CPU_H

#include <stddef.h>

#include "base/vectors.h"
#include "compute/device.h"

/* Scratch by user, kept in the device and grown as needed: no allocation per step. */
enum qk_cpu_slot {
    QK_CPU_PARTIAL, /* partial sums of reductions */
    QK_CPU_TILES,   /* one part per thread, or the logits of a chunk */
    QK_CPU_ROWS,    /* per-row values */
    QK_CPU_X0,      /* Muon's matrices */
    QK_CPU_X1,
    QK_CPU_GRAM,
    QK_CPU_POLY,
    QK_CPU_SLOTS,
};

struct qk_device *qk_cpu_open(void);
void qk_cpu_close(struct qk_device *d);
void qk_cpu_describe(char *text, int size);

/* false when an earlier operation failed: the operation then does nothing.  *start is the time
 * when a profile is wanted.  At the end, the operations that had to be done and the numbers that
 * had to be read and written: every operand once. */
bool qk_cpu_begin(const struct qk_device *d, double *start);
void qk_cpu_end(struct qk_device *d, enum qk_class class, double start, double flops,
                double numbers);

/* Keep the first failure. */
void qk_cpu_fail(struct qk_device *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Room for n floats, 64-byte aligned, contents undefined, valid until the slot is asked for again.
 * NULL, with the failure kept, when that is more than the machine has. */
float *qk_cpu_scratch(struct qk_device *d, enum qk_cpu_slot slot, int64_t n);

static inline float *qk_cpu_out(struct qk_buf b)
{
    return b.base ? (float *)b.base + b.at : NULL;
}

static inline const float *qk_cpu_in(struct qk_buf b)
{
    return qk_cpu_out(b);
}

static inline int32_t *qk_cpu_tokens(struct qk_buf b)
{
    return b.base ? (int32_t *)b.base + b.at : NULL;
}

static inline int64_t qk_min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t qk_max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* How many blocks of `size` cover n, and n rounded up to whole blocks. */
static inline int64_t qk_blocks(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

static inline int64_t qk_round_up(int64_t n, int64_t size)
{
    return qk_blocks(n, size) * size;
}

/* C = alpha op(A) op(B), [M, N], row-major; op = transpose when asked.  Then, each in rows of ldc:
 * `base` is added (NULL: nothing; C itself: a sum is continued), and where `gate` is given the
 * whole is multiplied by 2 max(0, gate).  `square_a`, `square_b`: the operand, not transposed, is
 * max(0, A)^2. */
struct qk_cpu_product {
    bool ta, tb, square_a, square_b;
    int64_t M, N, K;
    float alpha;
    const float *A;
    int64_t lda;
    const float *B;
    int64_t ldb;
    const float *base, *gate;
    float *C;
    int64_t ldc;
    const float *panels; /* B packed, see below; or NULL */
    bool lower;          /* only the lower triangle of C is wanted: row r up to column first + r */
    int64_t first;       /* beside it, up to whole panels, C gets anything; N is whole panels */
};
/* In this thread: call inside a parallel region. */
void qk_cpu_gemm(const struct qk_cpu_product *p);
/* By all threads, over tiles of C. */
void qk_cpu_gemm_tiled(struct qk_device *d, const struct qk_cpu_product *p);
/* op(B) [K, N] in the order in which products read it, for several products with the same B: `to`
 * has qk_cpu_pack_room(N, K) numbers, and is filled by parts, from .. end of the columns, `from` a
 * multiple of QK_CPU_PANEL.  Then p reads it instead of B, or, from another copy of p, its columns
 * from such a multiple on. */
enum { QK_CPU_PANEL = 32 };
int64_t qk_cpu_pack_room(int64_t N, int64_t K);
void qk_cpu_pack(float *to, const struct qk_cpu_product *p, int64_t from, int64_t end);
void qk_cpu_use_packed(struct qk_cpu_product *p, const float *packed, int64_t from);

/* Where C is symmetric: its rows from .. end, which are known up to the diagonal, become its
 * columns from .. end above it. */
void qk_cpu_mirror(int64_t from, int64_t end, float *C, int64_t ldc);

/* The operations; their contracts are in ops.h. */
QK_OPS_DECLARE(qk_cpu_)

#endif
