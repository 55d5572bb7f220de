/* What CUDA C++ has no words for: the only PTX there is, one instruction (or pair) per function.
 * tests/emulation/compute/cuda/ptx.cuh says the same in C++, for the host. */
#ifndef QK_COMPUTE_CUDA_PTX_CUH
#define QK_COMPUTE_CUDA_PTX_CUH

#include <cuda_runtime.h>

/* The block's dynamic shared memory, 128-byte aligned. */
__device__ __forceinline__ void *qk_shared(void)
{
    extern __shared__ __align__(128) unsigned char memory[];
    return memory;
}

/* d += a b, bf16 in, float32 sums: mma.sync.aligned.m16n8k16.row.col (PTX ISA, 9.7.14).  In lane l,
 * with g = l / 4 and t = l % 4, pairs of neighbours (low half first):
 *   a[0] = A[g, 2t..], a[1] = A[g+8, 2t..], a[2] = A[g, 2t+8..], a[3] = A[g+8, 2t+8..]
 *   b[0] = B[2t.., g], b[1] = B[2t+8.., g]
 *   d[0..1] = D[g, 2t..2t+1], d[2..3] = D[g+8, 2t..2t+1] */
__device__ __forceinline__ void qk_mma(float d[4], const unsigned a[4], const unsigned b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Four 8x8 matrices of 16-bit numbers out of shared memory (ldmatrix.x4): lane l gives the address
 * of row l % 8 of matrix l / 8 (16 bytes, aligned); r[i] = row l / 4, numbers 2 (l % 4) and the
 * next, of matrix i; of its transpose with qk_ldmatrix_transposed. */
__device__ __forceinline__ void qk_ldmatrix(unsigned r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}

__device__ __forceinline__ void qk_ldmatrix_transposed(unsigned r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}

/* 16 bytes from global to shared memory, both aligned, without passing through registers; zeros
 * when not `wanted` (`from` is then not read, but must be an address).  Copies are gathered by
 * qk_copy_commit; qk_copy_wait<n> waits until at most the n youngest groups of this thread are on
 * their way: a barrier then shows them to the block. */
__device__ __forceinline__ void qk_copy_16(void *to, const void *from, bool wanted)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(wanted ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void qk_copy_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N> __device__ __forceinline__ void qk_copy_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* 2^x: ex2.approx, within 2 units in the last place; 0 for minus infinity. */
__device__ __forceinline__ float qk_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
