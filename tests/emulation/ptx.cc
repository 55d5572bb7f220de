/* The instructions of ptx.cuh: matrix fragments and copies that arrive when they are waited for. */
#include "internal.h"

#include <cuda_bf16.h>
#include <vector>

#include "compute/cuda/ptx.cuh"

static const unsigned ALL = 0xffffffffu;

/* ---- D += A B, [16, 16] x [16, 8] ---- */

struct fragments {
    float *d;
    const unsigned *a, *b;
};

/* Number `half` (0: the low one) of a register. */
static float half_of(unsigned pair, int half)
{
    return __uint_as_float(half ? pair & 0xffff0000u : pair << 16);
}

static void multiply(void **mine, unsigned)
{
    float A[16][16], B[16][8], D[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const struct fragments *f = (const struct fragments *)mine[lane];
        const int g = lane / 4, t = lane % 4;
        for (int half = 0; half < 2; half++) {
            for (int i = 0; i < 4; i++)
                A[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + half] = half_of(f->a[i], half);
            for (int i = 0; i < 2; i++)
                B[2 * t + 8 * i + half][g] = half_of(f->b[i], half);
            for (int i = 0; i < 2; i++)
                D[g + 8 * i][2 * t + half] = f->d[2 * i + half];
        }
    }
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++)
            for (int k = 0; k < 16; k++)
                D[m][n] += A[m][k] * B[k][n];
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++)
            ((const struct fragments *)mine[lane])->d[i] =
                D[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
}

void qk_emulation_mma(float d[4], const unsigned a[4], const unsigned b[2], const char *file,
                      int line)
{
    struct fragments f = {d, a, b};
    qk_emulation_meet("mma", ALL, &f, multiply, file, line);
}

/* ---- fragments out of shared memory ---- */

struct rows {
    unsigned *r;
    const unsigned short *row;
    bool transposed;
};

static void load_matrices(void **mine, unsigned)
{
    for (int lane = 0; lane < 32; lane++) {
        const struct rows *to = (const struct rows *)mine[lane];
        for (int i = 0; i < 4; i++) {
            unsigned pair = 0;
            for (int half = 0; half < 2; half++) {
                int row = lane / 4, column = 2 * (lane % 4) + half;
                if (to->transposed) {
                    const int swap = row;
                    row = column;
                    column = swap;
                }
                pair |= (unsigned)((const struct rows *)mine[8 * i + row])->row[column]
                        << 16 * half;
            }
            to->r[i] = pair;
        }
    }
}

void qk_emulation_ldmatrix(unsigned r[4], const void *row, bool transposed, const char *file,
                           int line)
{
    if ((uintptr_t)row % 16)
        qk_emulation_fail("ldmatrix from an address that is not a multiple of 16 (%s:%d)", file,
                          line);
    if (!qk_emulation_is_shared(row, 16))
        qk_emulation_fail("ldmatrix from outside shared memory (%s:%d)", file, line);
    qk_races_use(row, 16, false, false, __builtin_return_address(0));
    struct rows mine = {r, (const unsigned short *)row, transposed};
    qk_emulation_meet(transposed ? "ldmatrix.trans" : "ldmatrix", ALL, &mine, load_matrices, file,
                      line);
}

/* ---- copies ---- */

struct copy {
    void *to;
    const void *from;
    bool wanted;
    int group;
};

/* Of one thread, oldest first; thrown away when another block begins. */
struct copies {
    std::vector<struct copy> waiting;
    int group; /* that is being gathered */
    uint64_t block;
};

static struct copies *copies_of_thread(void)
{
    static struct copies all[1024];
    struct copies *c = &all[qk_emulation_thread()];
    if (c->block != qk_emulation_blocks()) {
        c->waiting.clear();
        c->group = 0;
        c->block = qk_emulation_blocks();
    }
    return c;
}

/* Until it is waited for, what it writes to is garbage. */
void qk_emulation_copy(void *to, const void *from, bool wanted, const char *file, int line)
{
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16)
        qk_emulation_fail("a copy of 16 bytes %s an address that is not a multiple of 16 (%s:%d)",
                          (uintptr_t)to % 16 ? "to" : "from", file, line);
    if (!qk_emulation_is_shared(to, 16))
        qk_emulation_fail("a copy to outside shared memory (%s:%d)", file, line);
    if (wanted) {
        volatile const uint64_t *read = (volatile const uint64_t *)from;
        (void)read[0], (void)read[1]; /* looked at by AddressSanitizer now, not when waiting */
    }
    qk_races_use(to, 16, true, false, __builtin_return_address(0));
    if (wanted)
        qk_races_use(from, 16, false, false, __builtin_return_address(0));
    memset(to, 0xff, 16);
    struct copies *c = copies_of_thread();
    c->waiting.push_back({to, from, wanted, c->group});
}

void qk_emulation_copy_commit(void)
{
    copies_of_thread()->group++;
}

void qk_emulation_copy_wait(int most)
{
    struct copies *c = copies_of_thread();
    size_t done = 0;
    for (; done < c->waiting.size() && c->waiting[done].group < c->group - most; done++) {
        const struct copy *x = &c->waiting[done];
        qk_races_use(x->to, 16, true, false, __builtin_return_address(0));
        if (x->wanted)
            memcpy(x->to, x->from, 16);
        else
            memset(x->to, 0, 16);
    }
    c->waiting.erase(c->waiting.begin(), c->waiting.begin() + (ptrdiff_t)done);
}
