/* What the CUDA device takes of a card's memory, in bytes: rules that its files and the counting
 * device (compute/counter.c) share.  Plain C. */
#ifndef QK_COMPUTE_CUDA_SIZES_H
#define QK_COMPUTE_CUDA_SIZES_H

#include "compute/ops.h"

enum {
    /* Allowances, not measured: what a context takes as it is opened, and what is loaded into it
     * as operations are first used (kernels, cuBLASLt's). */
    QK_CUDA_CONTEXT = 300000000,
    QK_CUDA_LATER = 200000000,
    QK_CUDA_PIECE =
        2 << 20, /* cudaMalloc gives out pieces of this, smaller requests parts of one */
};

/* The unfilled part of the last piece. */
static inline int64_t qk_cuda_lost(int64_t bytes)
{
    return (QK_CUDA_PIECE - bytes % QK_CUDA_PIECE) % QK_CUDA_PIECE;
}

/* ---- arrays ---- */

/* A rounded copy of parameters begins this many float32 behind them: on 256 bytes. */
static inline int64_t qk_cuda_padded(int64_t n)
{
    return n / 64 * 64 + 64;
}

static inline bool qk_cuda_narrowed(enum qk_role role, bool bf16)
{
    return bf16 && role == QK_ROLE_ACTIVATION;
}

static inline bool qk_cuda_copied(enum qk_role role, bool bf16)
{
    return bf16 && role == QK_ROLE_PARAMETER;
}

/* Of n numbers, copies included; -1 when they cannot be counted. */
static inline int64_t qk_cuda_array_bytes(enum qk_role role, int64_t n, bool bf16)
{
    if (n < 0 || n > INT64_MAX / 8)
        return -1;
    if (qk_cuda_copied(role, bf16))
        return qk_cuda_padded(n) * 6;
    return n * (qk_cuda_narrowed(role, bf16) ? 2 : 4);
}

/* ---- scratch of operations ---- */

/* Kept in the device by user and grown as needed. */
enum qk_cuda_slot {
    QK_CUDA_PARTIAL,   /* partial sums of reductions */
    QK_CUDA_TILES,     /* one chunk's logits; Muon's; bf16's get and put */
    QK_CUDA_ROWS,      /* per-row values */
    QK_CUDA_INDEX,     /* integers: token lists */
    QK_CUDA_WORKSPACE, /* cuBLASLt's */
    QK_CUDA_SLOTS,
};

/* Bytes at most, on cards of 80 GB and more: of logits, of Muon's matrices; and
 * cuBLASLt's workspace.  The first: 4096 rows of 49,152; Muon: 8 matrices of [8192, 2048] in
 * bf16. */
enum {
    QK_CUDA_LOGITS = 768 << 20,
    QK_CUDA_MUON = 640 << 20,
    QK_CUDA_LT_ROOM = 32 << 20,
};

/* A smaller card gives less, by its size and not by what is free: the same on every card of a
 * kind.  `memory`: its bytes; 0: a large one. */
static inline int64_t qk_cuda_share(int64_t most, int64_t memory)
{
    return memory && memory / 96 < most ? memory / 96 : most;
}

/* Rows of logits [V] at once, of M: as equal as multiples of 128 can be. */
static inline int64_t qk_cuda_logit_rows(int64_t room, int64_t M, int64_t V)
{
    const int64_t fit = room / (V * 4), unit = fit >= 128 ? 128 : 1;
    const int64_t whole = fit > 0 ? fit / unit * unit : 1;
    const int64_t chunks = M > 0 ? (M + whole - 1) / whole : 1;
    const int64_t rows = ((M + chunks - 1) / chunks + unit - 1) / unit * unit;
    return rows < M ? rows : M;
}

/* What the smaller users ask for at most (embed.cu, norm.cu, optimizer.cu, attention_back.cu). */
static inline int64_t qk_cuda_list_bytes(int64_t M, int64_t V)
{
    return (2 * V + V / 1024 + 3 * M + 2) * 4;
}

static inline int64_t qk_cuda_list_partials(int64_t M, int64_t D)
{
    return (M + 31) / 32 * 2 * D * 4;
}

static inline int64_t qk_cuda_norm_partials(int64_t M, int64_t N)
{
    return (M < 1024 ? M : 1024 + M / 64) * N * 4;
}

static inline int64_t qk_cuda_square_partials(int64_t n)
{
    return (n + 32767) / 32768 * 8;
}

/* ---- Muon: per matrix X, the next X, a Gram matrix and a polynomial ---- */

/* Of the square matrices, whose rows begin on 16 bytes: numbers of a row, and of all. */
static inline int64_t qk_cuda_muon_ld(int64_t rows, int64_t cols)
{
    const int64_t small = rows < cols ? rows : cols;
    return (small + 7) / 8 * 8;
}

static inline int64_t qk_cuda_muon_square(int64_t rows, int64_t cols)
{
    return (rows < cols ? rows : cols) * qk_cuda_muon_ld(rows, cols);
}

/* Matrices at once, of `count`: fewest batches of even size. */
static inline int64_t qk_cuda_muon_count(int64_t room, int64_t count, int64_t rows, int64_t cols,
                                         int64_t width)
{
    const int64_t each = 2 * (rows * cols + qk_cuda_muon_square(rows, cols)) * width;
    const int64_t most = room / each > 1 ? room / each : 1, batches = (count + most - 1) / most;
    return (count + batches - 1) / batches;
}

/* Where the four begin in their room, at[0] = 0, on 256 bytes each; and bytes of all. */
static inline int64_t qk_cuda_muon_places(int64_t at[4], int64_t count, int64_t rows, int64_t cols,
                                          int64_t width)
{
    const int64_t numbers[] = {rows * cols, rows * cols, qk_cuda_muon_square(rows, cols),
                               qk_cuda_muon_square(rows, cols)};
    int64_t end = 0;
    for (int i = 0; i < 4; i++) {
        at[i] = end;
        end += (count * numbers[i] * width + 255) / 256 * 256;
    }
    return end;
}

#endif
