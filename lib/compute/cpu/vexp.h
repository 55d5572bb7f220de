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

/* e^r for |r| <= ln(2)/2, where x = n ln 2 + r; n is what adding `magic`, 1.5 * 2^23 and perhaps a
 * whole number more, rounds x / ln 2 to.  *shifted holds n in its low bits, off by that number. */
static inline float qk_exp_rest(float x, float magic, float *shifted)
{
    *shifted = QK_FMA(x, 1.44269504088896341f, magic);
    float n = *shifted - magic;
    float r = QK_FMA(n, -0.693359375f, x);
    r = QK_FMA(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = QK_FMA(p, r, 1.3981999507e-3f);
    p = QK_FMA(p, r, 8.3334519073e-3f);
    p = QK_FMA(p, r, 4.1665795894e-2f);
    p = QK_FMA(p, r, 1.6666665459e-1f);
    p = QK_FMA(p, r, 5.0000001201e-1f);
    return QK_FMA(p, r * r, r) + 1.0f;
}

static inline float qk_float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float qk_expf(float x)
{
    float clamped = x > 88.7f ? 88.7f : x, shifted;
    float p = qk_exp_rest(clamped, 12582912.0f, &shifted);
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    /* The low bits of `shifted` are n; 2^n is built in two halves, so that n = 128 fits. */
    int32_t whole = bits - 0x4b400000, half = whole >> 1;
    float scale_a = qk_float_of((uint32_t)(half + 127) << 23);
    float scale_b = qk_float_of((uint32_t)(whole - half + 127) << 23);
    float y = p * scale_a * scale_b;
    return x < -87.3f ? 0.0f : y;
}

/* The same for x <= 0, in fewer steps: 0 below -86.98, where the scale 2^(n-1) has become zero
 * before anything is a denormal. */
static inline float qk_expf_below(float x)
{
    float above = x < -87.3f ? -87.3f : x, shifted;
    float p = qk_exp_rest(above, 12582912.0f + 126.0f, &shifted); /* n + 126: exponent of 2^(n-1) */
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (p + p) * qk_float_of(bits << 23);
}

#endif
