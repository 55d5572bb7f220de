/* The BLAS library and its kernels.
 *
 * OpenBLAS picks kernels by processor model and falls back to SSE3 ones on a model it does not
 * know (Debian 12's 0.3.21 on newer Xeons: 60 instead of 300 GFLOP/s).  qk_blas_start compares what
 * was picked with what the processor can do and, when it is worse, sets OPENBLAS_CORETYPE and
 * starts the program again; a user's own OPENBLAS_CORETYPE is respected, with one warning.
 * The same restart shortens the time OpenMP's threads spin at barriers, unless the user has set
 * OMP_WAIT_POLICY or GOMP_SPINCOUNT.
 * Threads are ours (OpenMP over fixed tiles); BLAS itself runs single-threaded, so its rounding
 * cannot depend on the number of threads.  Trap: OpenBLAS's OpenMP build is single-threaded only
 * inside an active parallel region, whatever openblas_set_num_threads was told.  So call BLAS and
 * LAPACK from inside parallel loops, or accept that the last bits follow --threads.
 */
#ifndef QK_COMPUTE_BLAS_H
#define QK_COMPUTE_BLAS_H

/* Call first in main, before any thread.  May re-execute the program; returns a sentence to warn
 * with (static storage), or NULL when all is well. */
const char *qk_blas_start(char **argv);

/* "OpenBLAS 0.3.21, SkylakeX kernels". */
void qk_blas_describe(char *text, int size);

/* The OpenBLAS core type that suits a processor with these abilities, and how good a core type's
 * kernels are (0 SSE, 1 AVX, 2 AVX2, 3 AVX-512): for tests. */
const char *qk_blas_core_for(int has_avx512, int has_avx2, int has_avx);
int qk_blas_core_level(const char *core);

#endif
