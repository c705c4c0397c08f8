/* SPDX-License-Identifier: Apache-2.0
 *
 * From accumulators to int8: the float32 tail that defines the result, and the integer tail that
 * kernels use where the compiler has proved it equal over all reachable accumulators.
 *
 * Neither depends on the language standard, the optimization level or floating-point contraction.
 */
#ifndef MC_REQUANTIZE_H
#define MC_REQUANTIZE_H

#include <stdint.h>
#include <string.h>

#include "mc_math.h"
#include "mc_simd.h"

#if defined(__FAST_MATH__)
#error "results are exact: compile without -ffast-math"
#endif

/* The float32 number with these bits. */
static inline float mc_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The integer tail: (acc * multiplier / 2^32 + addend) / 2^shift, rounded down twice, limited to int8.
 * The addend holds the zero point and the half that makes it a rounding. 1 <= shift <= 22, multiplier >= 0,
 * |addend| < 2^30, so no step overflows. */
static inline int32_t mc_requantize(int32_t acc, int32_t multiplier, int32_t addend, int32_t shift)
{
    return mc_ssat8(mc_smmla(acc, multiplier, addend) >> shift);
}

/* The float tail: rint(f32(f32(acc) * multiplier)) + zero_point, limited to int8; halves go to even.
 * The product is rounded to float32 before anything else sees it, and products beyond int32 saturate. */
static inline int32_t mc_requantize_float(int32_t acc, float multiplier, int32_t zero_point)
{
    const float product = mc_float(mc_float((float)acc) * multiplier);
    return mc_ssat8(mc_qadd(mc_float_to_int(product), zero_point));
}

#endif
