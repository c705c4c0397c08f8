/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions of one float32 element that need no mathematics library. A NaN stays one unless it says otherwise.
 */
#ifndef MC_UNARY_H
#define MC_UNARY_H

#include <stdint.h>
#include <string.h>

#include "mc_elementary.h"
#include "mc_math.h"

static inline uint32_t mc_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float mc_float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The value with the sign of another one. */
static inline float mc_with_sign_of(float value, float sign)
{
    return mc_float_from_bits((mc_bits_of_float(value) & 0x7FFFFFFFu) | (mc_bits_of_float(sign) & 0x80000000u));
}

static inline float mc_identity(float x)
{
    return x;
}

static inline float mc_abs(float x)
{
    return mc_float_from_bits(mc_bits_of_float(x) & 0x7FFFFFFFu);
}

static inline float mc_negative(float x)
{
    return -x;
}

static inline float mc_sign(float x)
{
    return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : x);
}

static inline float mc_at_least(float x, float lo)
{
    return x < lo ? lo : x;
}

static inline float mc_at_most(float x, float hi)
{
    return x > hi ? hi : x;
}

static inline float mc_clip(float x, float lo, float hi)
{
    return mc_at_most(mc_at_least(x, lo), hi);
}

static inline float mc_leaky_relu(float x, float alpha)
{
    return x >= 0.0f ? x : mc_float(alpha * x);
}

static inline float mc_thresholded_relu(float x, float alpha)
{
    return x > alpha ? x : 0.0f;
}

static inline float mc_hard_sigmoid(float x, float alpha, float beta)
{
    return mc_clip(mc_float(mc_float(alpha * x) + beta), 0.0f, 1.0f);
}

static inline float mc_hard_swish(float x)
{
    return mc_float(x * mc_hard_sigmoid(x, 0x1.555556p-3f, 0.5f));
}

static inline float mc_reciprocal(float x)
{
    return mc_float(1.0f / x);
}

/* x / (1 + |x|), rounded once to double at each step and then to float32. */
static inline float mc_softsign(float x)
{
    const double size = (double)mc_abs(x);
    return (float)((double)x / (1.0 + size));
}

/* The nearest integer, halves to even; the sign stays. */
static inline float mc_round(float x)
{
    const float size = mc_abs(x);
    return size < 8388608.0f ? mc_with_sign_of((float)mc_float_to_int(x), x) : x;
}

/* The greatest integer not above x. */
static inline float mc_floor(float x)
{
    const float nearest = mc_round(x);
    return nearest > x ? nearest - 1.0f : nearest;
}

/* The least integer not below x. */
static inline float mc_ceil(float x)
{
    return -mc_floor(-x);
}

/* The square root, rounded correctly. */
static inline float mc_sqrt(float x)
{
#if defined(__ARM_FP) && defined(__arm__)
    float root;
    __asm__("vsqrt.f32 %0, %1" : "=t"(root) : "t"(x));
    return root;
#else
    const uint32_t bits = mc_bits_of_float(x);
    if (!(x > 0.0f) || bits >= 0x7F800000u) {
        return x < 0.0f ? mc_float_from_bits(0x7FC00000u) : x;
    }
    /* x = mantissa * 2^exponent with an even exponent and a mantissa of 48 or 49 bits: its whole root has 24 or 25. */
    uint64_t mantissa = bits & 0x7FFFFFu;
    int32_t exponent = (int32_t)(bits >> 23) - 150;
    if (exponent == -150) {
        exponent = -149;
    } else {
        mantissa |= 0x800000u;
    }
    while (mantissa < ((uint64_t)1 << 47) || exponent % 2 != 0) {
        mantissa <<= 1;
        --exponent;
    }
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 25; bit != 0; bit >>= 1) {
        if ((root + bit) * (root + bit) <= mantissa) {
            root += bit;
        }
    }
    /* Two more bits, the last of them sticky, decide the rounding, which the conversion to float32 does. */
    const uint64_t rest = mantissa - root * root;
    const uint64_t fine = 4 * root + (rest > root ? 2u : 0u) + (rest != 0 ? 1u : 0u);
    return mc_float((float)fine * mc_power_of_two(exponent / 2 - 2));
#endif
}

#endif
