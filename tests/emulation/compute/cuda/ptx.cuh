/* The twin of lib/compute/cuda/ptx.cuh, which has the manual: the same functions, said in C++. */
#ifndef QK_COMPUTE_CUDA_PTX_CUH
#define QK_COMPUTE_CUDA_PTX_CUH

#include <cuda_runtime.h>

void qk_emulation_mma(float d[4], const unsigned a[4], const unsigned b[2], const char *file,
                      int line);
void qk_emulation_ldmatrix(unsigned r[4], const void *row, bool transposed, const char *file,
                           int line);
void qk_emulation_copy(void *to, const void *from, bool wanted, const char *file, int line);
void qk_emulation_copy_commit(void);
void qk_emulation_copy_wait(int most);

static inline void *qk_shared(void)
{
    return qk_emulation_dynamic();
}

static inline void qk_mma(float d[4], const unsigned a[4], const unsigned b[2], QK_AT)
{
    qk_emulation_mma(d, a, b, file, line);
}

static inline void qk_ldmatrix(unsigned r[4], const void *row, QK_AT)
{
    qk_emulation_ldmatrix(r, row, false, file, line);
}

static inline void qk_ldmatrix_transposed(unsigned r[4], const void *row, QK_AT)
{
    qk_emulation_ldmatrix(r, row, true, file, line);
}

static inline void qk_copy_16(void *to, const void *from, bool wanted, QK_AT)
{
    qk_emulation_copy(to, from, wanted, file, line);
}

static inline void qk_copy_commit(void)
{
    qk_emulation_copy_commit();
}

template <int N> static inline void qk_copy_wait(void)
{
    qk_emulation_copy_wait(N);
}

static inline float qk_exp2(float x)
{
    return exp2f(x);
}

#endif
