/* SPDX-License-Identifier: Apache-2.0
 *
 * Exponential, logistic function and hyperbolic tangent in float32, of sums, products, quotients and fused
 * multiply-adds only: the same bits everywhere, without a mathematics library. The logistic function and the tangent are
 * rational approximations, the exponential is a polynomial after a reduction modulo log 2.
 */
#ifndef MC_ELEMENTARY_H
#define MC_ELEMENTARY_H

#include <stdint.h>
#include <string.h>

#include "mc_math.h"

/* The value limited to lo..hi; a NaN stays one. */
static inline float mc_float_limit(float value, float lo, float hi)
{
    const float low = value < lo ? lo : value;
    return low > hi ? hi : low;
}

/* 2^exponent for -126 <= exponent <= 127. */
static inline float mc_power_of_two(int32_t exponent)
{
    const uint32_t bits = (uint32_t)(exponent + 127) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* exp(x) for x <= 0; 0 below the least normal number. */
static inline float mc_exp_below(float x)
{
    const float v = x < -0x1.61814ap+6f ? -0x1.61814ap+6f : x;
    const float m = mc_float(mc_float_fma(v, 0x1.715476p+0f, 0x1.8p+23f) - 0x1.8p+23f);
    const float r = mc_float_fma(m, -0x1.7f7d1cp-20f, mc_float_fma(m, -0x1.62e4p-1f, v));
    float p = 0x1.694p-10f;
    p = mc_float_fma(p, r, 0x1.125edcp-7f);
    p = mc_float_fma(p, r, 0x1.555b5ap-5f);
    p = mc_float_fma(p, r, 0x1.55545p-3f);
    p = mc_float_fma(p, r, 0x1.fffff6p-2f);
    p = mc_float_fma(p, r, 0x1p+0f);
    p = mc_float_fma(p, r, 0x1p+0f);
    return m < -126.0f ? 0.0f : mc_float(p * mc_power_of_two(mc_float_to_int(m)));
}

/* 1 / (1 + exp(-x)). */
static inline float mc_logistic(float x)
{
    const float v = mc_float_limit(x, -0x1.2p+4f, 0x1.2p+4f);
    const float square = mc_float(v * v);
    float p = 0x1.806aa2p-35f;
    p = mc_float_fma(p, square, 0x1.f09d96p-24f);
    p = mc_float_fma(p, square, 0x1.fe8276p-15f);
    p = mc_float_fma(p, square, 0x1.16fabp-7f);
    p = mc_float_fma(p, square, 0x1.fc7e64p-3f);
    float q = 0x1.5789eap-41f;
    q = mc_float_fma(q, square, 0x1.8be4f6p-28f);
    q = mc_float_fma(q, square, 0x1.a62fbap-18f);
    q = mc_float_fma(q, square, 0x1.be2a7ep-10f);
    q = mc_float_fma(q, square, 0x1.de7c3p-4f);
    q = mc_float_fma(q, square, 0x1.fc7e68p-1f);
    return mc_float_limit(mc_float(mc_float(p * v) / q) + 0.5f, 0.0f, 1.0f);
}

/* The hyperbolic tangent. */
static inline float mc_tanh(float x)
{
    const float v = mc_float_limit(x, -0x1.2p+3f, 0x1.2p+3f);
    const float square = mc_float(v * v);
    float p = -0x1.3e4b8p-52f;
    p = mc_float_fma(p, square, 0x1.c266fcp-43f);
    p = mc_float_fma(p, square, -0x1.7a6ffep-34f);
    p = mc_float_fma(p, square, 0x1.b80082p-25f);
    p = mc_float_fma(p, square, 0x1.f28694p-17f);
    p = mc_float_fma(p, square, 0x1.4e1bdap-11f);
    p = mc_float_fma(p, square, 0x1.40b3b8p-8f);
    float q = 0x1.41a7bp-20f;
    q = mc_float_fma(q, square, 0x1.f12bacp-14f);
    q = mc_float_fma(q, square, 0x1.29540ap-9f);
    q = mc_float_fma(q, square, 0x1.40b3bap-8f);
    return mc_float(mc_float(p * v) / q);
}

#endif
