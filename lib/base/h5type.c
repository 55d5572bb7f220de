#include "base/h5file.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* bf16: the upper half of a float32 (1 sign, 8 exponent, 7 mantissa bits). */
static hid_t bf16(void)
{
    static hid_t type = H5I_INVALID_HID;
    if (type < 0) {
        type = H5Tcopy(H5T_IEEE_F32LE);
        H5Tset_fields(type, 15, 7, 8, 0, 7);
        H5Tset_precision(type, 16);
        H5Tset_size(type, 2);
        H5Tset_ebias(type, 127);
    }
    return type;
}

hid_t qk_h5_native(enum qk_type type)
{
    switch (type) {
    case QK_U8:
        return H5T_NATIVE_UINT8;
    case QK_U16:
        return H5T_NATIVE_UINT16;
    case QK_U32:
        return H5T_NATIVE_UINT32;
    case QK_U64:
        return H5T_NATIVE_UINT64;
    case QK_I32:
        return H5T_NATIVE_INT32;
    case QK_I64:
        return H5T_NATIVE_INT64;
    case QK_F32:
        return H5T_NATIVE_FLOAT;
    case QK_F64:
        return H5T_NATIVE_DOUBLE;
    case QK_BF16:
        return bf16();
    }
    return H5I_INVALID_HID;
}

hid_t qk_h5_stored(enum qk_type type)
{
    switch (type) {
    case QK_U8:
        return H5T_STD_U8LE;
    case QK_U16:
        return H5T_STD_U16LE;
    case QK_U32:
        return H5T_STD_U32LE;
    case QK_U64:
        return H5T_STD_U64LE;
    case QK_I32:
        return H5T_STD_I32LE;
    case QK_I64:
        return H5T_STD_I64LE;
    case QK_F32:
        return H5T_IEEE_F32LE;
    case QK_F64:
        return H5T_IEEE_F64LE;
    case QK_BF16:
        return bf16();
    }
    return H5I_INVALID_HID;
}

size_t qk_type_size(enum qk_type type)
{
    static const size_t sizes[] = {1, 2, 4, 8, 4, 8, 4, 8, 2};
    return sizes[type];
}

const char *qk_type_name(enum qk_type type)
{
    static const char *const names[] = {"uint8", "uint16",  "uint32",  "uint64",  "int32",
                                        "int64", "float32", "float64", "bfloat16"};
    return names[type];
}

bool qk_type_is_float(enum qk_type type)
{
    return type >= QK_F32;
}

int qk_h5_classify(hid_t type, enum qk_type *nearest)
{
    size_t size = H5Tget_size(type);
    H5T_class_t class = H5Tget_class(type);
    if (class == H5T_FLOAT) {
        *nearest = size <= 2 ? QK_BF16 : size == 4 ? QK_F32 : QK_F64;
        return size <= 8 ? 0 : -1;
    }
    if (class != H5T_INTEGER || size > 8)
        return -1;
    if (H5Tget_sign(type) == H5T_SGN_NONE)
        *nearest = size == 1 ? QK_U8 : size == 2 ? QK_U16 : size <= 4 ? QK_U32 : QK_U64;
    else
        *nearest = size <= 4 ? QK_I32 : QK_I64;
    return 0;
}

void qk_bf16_spread(float *to, const void *from, int64_t count)
{
    const unsigned char *narrow = from;
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, narrow + 2 * i, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

static uint16_t narrow_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40); /* NaN stays NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t *qk_bf16_narrow(const float *from, int64_t count)
{
    uint16_t *to = qk_alloc((size_t)count, sizeof *to);
#pragma omp parallel for simd schedule(static) if (count > 1 << 16)
    for (int64_t i = 0; i < count; i++)
        to[i] = narrow_bf16(from[i]);
    return to;
}

bool qk_all_finite(const float *values, int64_t count)
{
    int64_t strange = 0;
#pragma omp simd reduction(+ : strange)
    for (int64_t i = 0; i < count; i++)
        strange += !(fabsf(values[i]) <= FLT_MAX);
    return strange == 0;
}
