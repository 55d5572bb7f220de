/* exp for vector loops: branch-free, so that `#pragma omp simd` turns it into vector code.
 * Within 1.5 units in the last place on [-87.3, 88.7]; 0 below, clamped above (3.3e38), NaN stays
 * NaN.  Never gives denormals, which would slow the products that read it.
 * Reduction and polynomial from Cephes' expf (Moshier 1992). */
#ifndef QK_COMPUTE_CPU_VEXP_H
#define QK_COMPUTE_CPU_VEXP_H

#include <stdint.h>
#include <string.h>

#ifdef __FMA__
#define QK_FMA(a, b, c) __builtin_fmaf(a, b, c)
#else
#define QK_FMA(a, b, c) ((a) * (b) + (c))
#endif

static inline float qk_expf(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    float clamped = x > 88.7f ? 88.7f : x;
    float shifted = QK_FMA(clamped, 1.44269504088896341f, magic);
    float n = shifted - magic;
    float r = QK_FMA(n, -0.693359375f, clamped);
    r = QK_FMA(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = QK_FMA(p, r, 1.3981999507e-3f);
    p = QK_FMA(p, r, 8.3334519073e-3f);
    p = QK_FMA(p, r, 4.1665795894e-2f);
    p = QK_FMA(p, r, 1.6666665459e-1f);
    p = QK_FMA(p, r, 5.0000001201e-1f);
    p = QK_FMA(p, r * r, r) + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    /* The low bits of `shifted` are n; 2^n is built in two halves, so that n = 128 fits. */
    int32_t whole = bits - 0x4b400000, half = whole >> 1;
    int32_t a = (int32_t)((uint32_t)(half + 127) << 23);
    int32_t b = (int32_t)((uint32_t)(whole - half + 127) << 23);
    float scale_a, scale_b;
    memcpy(&scale_a, &a, sizeof a);
    memcpy(&scale_b, &b, sizeof b);
    float y = p * scale_a * scale_b;
    return x < -87.3f ? 0.0f : y;
}

/* The same for x <= 0, in fewer steps: 0 below -86.98, where the scale 2^(n-1) has become zero
 * before anything is a denormal. */
static inline float qk_expf_below(float x)
{
    const float magic = 12582912.0f + 126.0f; /* leaves n + 126, the exponent of 2^(n-1) */
    float above = x < -87.3f ? -87.3f : x;
    float shifted = QK_FMA(above, 1.44269504088896341f, magic);
    float n = shifted - magic;
    float r = QK_FMA(n, -0.693359375f, above);
    r = QK_FMA(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = QK_FMA(p, r, 1.3981999507e-3f);
    p = QK_FMA(p, r, 8.3334519073e-3f);
    p = QK_FMA(p, r, 4.1665795894e-2f);
    p = QK_FMA(p, r, 1.6666665459e-1f);
    p = QK_FMA(p, r, 5.0000001201e-1f);
    p = QK_FMA(p, r * r, r) + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return (p + p) * scale;
}

#endif
