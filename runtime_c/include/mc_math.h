/* SPDX-License-Identifier: Apache-2.0
 *
 * Words, packed bytes and float32 steps for the kernels that are not products of matrices.
 *
 * Every function has one result, whatever the compiler, its options and the core: an instruction of
 * the core stands beside a portable twin that computes the same bits.
 */
#ifndef MC_MATH_H
#define MC_MATH_H

#include <stdint.h>
#include <string.h>

#include "mc_simd.h"

#if defined(__FAST_MATH__)
#error "results are exact: compile without -ffast-math"
#endif

#if defined(__ARM_FEATURE_SIMD32)
#include <arm_acle.h>
#endif

/* ---- words ---- */

/* Four bytes at any address as a little-endian word. */
static inline uint32_t mc_word_load(const void *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* The inverse of mc_word_load. */
static inline void mc_word_store(void *to, uint32_t word)
{
    memcpy(to, &word, sizeof word);
}

/* A word of four bytes; the first becomes the lowest. Only the low eight bits of each count. */
static inline uint32_t mc_word_pack(uint32_t b0, uint32_t b1, uint32_t b2, uint32_t b3)
{
    return (b0 & 0xFFu) | ((b1 & 0xFFu) << 8) | ((b2 & 0xFFu) << 16) | (b3 << 24);
}

/* Byte `lane` of a word, sign-extended. */
static inline int32_t mc_word_s8(uint32_t word, uint32_t lane)
{
    return (int32_t)(int8_t)(uint8_t)(word >> (8u * lane));
}

/* The larger of each pair of signed bytes. */
static inline uint32_t mc_max_s8x4(uint32_t a, uint32_t b)
{
#if defined(__ARM_FEATURE_SIMD32)
    (void)__ssub8((int8x4_t)a, (int8x4_t)b);
    return __sel(a, b);
#else
    uint32_t result = 0;
    for (uint32_t lane = 0; lane < 4u; ++lane) {
        const int32_t x = mc_word_s8(a, lane);
        const int32_t y = mc_word_s8(b, lane);
        result |= ((uint32_t)(x > y ? x : y) & 0xFFu) << (8u * lane);
    }
    return result;
#endif
}

/* The larger of each pair of unsigned bytes. */
static inline uint32_t mc_max_u8x4(uint32_t a, uint32_t b)
{
#if defined(__ARM_FEATURE_SIMD32)
    (void)__usub8((uint8x4_t)a, (uint8x4_t)b);
    return __sel(a, b);
#else
    return mc_max_s8x4(a ^ 0x80808080u, b ^ 0x80808080u) ^ 0x80808080u;
#endif
}

/* Sums in two 16-bit lanes: adds the signed bytes 0 and 2 of `bytes`; the lanes must not overflow. */
static inline uint32_t mc_add_even_s8(uint32_t lanes, uint32_t bytes)
{
#if MC_SIMD_DSP
    uint32_t sums;
    __asm__("sxtab16 %0, %1, %2" : "=r"(sums) : "r"(lanes), "r"(bytes));
    return sums;
#else
    const uint32_t low = (lanes + (uint32_t)mc_word_s8(bytes, 0)) & 0xFFFFu;
    return low | (((lanes >> 16) + (uint32_t)mc_word_s8(bytes, 2)) << 16);
#endif
}

/* The same for bytes 1 and 3. */
static inline uint32_t mc_add_odd_s8(uint32_t lanes, uint32_t bytes)
{
#if MC_SIMD_DSP
    uint32_t sums;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(sums) : "r"(lanes), "r"(bytes));
    return sums;
#else
    return mc_add_even_s8(lanes, (bytes >> 8) | (bytes << 24));
#endif
}

/* ---- integers ---- */

/* acc + floor(factor * lane / 2^16), lane being the low 16 bits of `lanes`, signed. */
static inline int32_t mc_add_scaled_low(int32_t acc, int32_t factor, uint32_t lanes)
{
#if MC_SIMD_DSP
    int32_t result;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(result) : "r"(factor), "r"(lanes), "r"(acc));
    return result;
#else
    return (int32_t)((uint32_t)acc + (uint32_t)(((int64_t)factor * mc_pair_low(lanes)) >> 16));
#endif
}

/* The same for the high 16 bits. */
static inline int32_t mc_add_scaled_high(int32_t acc, int32_t factor, uint32_t lanes)
{
#if MC_SIMD_DSP
    int32_t result;
    __asm__("smlawt %0, %1, %2, %3" : "=r"(result) : "r"(factor), "r"(lanes), "r"(acc));
    return result;
#else
    return (int32_t)((uint32_t)acc + (uint32_t)(((int64_t)factor * mc_pair_high(lanes)) >> 16));
#endif
}

/* The value limited to lo..hi. */
static inline int32_t mc_limit(int32_t value, int32_t lo, int32_t hi)
{
    const int32_t low = value < lo ? lo : value;
    return low > hi ? hi : low;
}

/* ---- float32 ---- */

/* The value rounded to float32 here: keeps a compiler from fusing a product with what follows. */
static inline float mc_float(float value)
{
#if defined(__ARM_FP) && defined(__arm__)
    __asm__("" : "+t"(value));
    return value;
#elif defined(__SSE2__)
    __asm__("" : "+x"(value));
    return value;
#else
    volatile float rounded = value;
    return rounded;
#endif
}

/* a * b + c with a single rounding. */
static inline float mc_float_fma(float a, float b, float c)
{
#if defined(__ARM_FEATURE_FMA) && defined(__arm__)
    float result = c;
    __asm__("vfma.f32 %0, %1, %2" : "+t"(result) : "t"(a), "t"(b));
    return result;
#else
    /* The product is exact in double. The sum is rounded to odd, which a second rounding to float32
     * cannot turn into a double rounding (Boldo and Melquiond, 2008). */
    const double product = (double)a * (double)b;
    double sum = product + (double)c;
    const double part = sum - product;
    const double error = (product - (sum - part)) + ((double)c - part);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if ((error > 0.0 || error < 0.0) && (bits & 1u) == 0u) {
        bits = (error > 0.0) == (sum > 0.0) ? bits + 1u : bits - 1u;
        memcpy(&sum, &bits, sizeof sum);
    }
    return (float)sum;
#endif
}

/* The nearest integer, halves to even, limited to int32; 0 for NaN. */
static inline int32_t mc_float_to_int(float value)
{
#if defined(__ARM_FP) && defined(__arm__)
    /* Rounds as FPSCR says, which is to the nearest from reset on and by the procedure call standard. */
    int32_t result;
    float converted;
    __asm__("vcvtr.s32.f32 %0, %1" : "=t"(converted) : "t"(value));
    memcpy(&result, &converted, sizeof result);
    return result;
#else
    const float x = mc_float(value);
    const float magnitude = x < 0.0f ? -x : x;
    if (magnitude < 8388608.0f) {
        const float rounded = mc_float(magnitude + 8388608.0f) - 8388608.0f;
        return x < 0.0f ? -(int32_t)rounded : (int32_t)rounded;
    }
    if (x >= 2147483648.0f) {
        return INT32_MAX;
    }
    if (x < -2147483648.0f) {
        return INT32_MIN;
    }
    return x < 0.0f || x > 0.0f ? (int32_t)x : 0;
#endif
}

/* The integer part, limited to int32; 0 for NaN. C leaves conversions out of range undefined. */
static inline int32_t mc_float_truncate(float value)
{
    if (value >= 2147483648.0f) {
        return INT32_MAX;
    }
    if (value <= -2147483648.0f) {
        return INT32_MIN;
    }
    return value < 0.0f || value > 0.0f ? (int32_t)value : 0;
}

/* The nearest integer, halves to even, of a double within lo..hi; lo for NaN. */
static inline int32_t mc_double_to_int(double value, int32_t lo, int32_t hi)
{
    const double above = value > (double)lo ? value : (double)lo;
    const double inside = above < (double)hi ? above : (double)hi;
    /* Adding 1.5 * 2^52 leaves no bits below the unit: the addition rounds. */
    const double shifted = inside + 6755399441055744.0;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (int32_t)(uint32_t)bits;
}

#endif
