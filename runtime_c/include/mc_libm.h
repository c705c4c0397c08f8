/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions of one float32 element that are computed in double by the mathematics library, every step rounded, and
 * rounded once more to float32. Programs that include this header must be linked with the library (-lm); the last bit
 * of a double depends on it, that of the float32 result all but never.
 */
#ifndef MC_LIBM_H
#define MC_LIBM_H

#include <math.h>
#include <string.h>

/* The value rounded to double here: keeps a compiler from fusing a product with what follows. */
static inline double mc_double(double value)
{
    volatile double rounded = value;
    return rounded;
}

static inline float mc_libm_exp(float x)
{
    return (float)exp((double)x);
}

static inline float mc_libm_log(float x)
{
    return (float)log((double)x);
}

static inline float mc_libm_sin(float x)
{
    return (float)sin((double)x);
}

static inline float mc_libm_cos(float x)
{
    return (float)cos((double)x);
}

static inline float mc_libm_erf(float x)
{
    return (float)erf((double)x);
}

static inline float mc_libm_elu(float x, float alpha)
{
    return x > 0.0f ? x : (float)((double)alpha * expm1((double)x));
}

static inline float mc_libm_celu(float x, float alpha)
{
    const double low = (double)alpha * expm1((double)(x > 0.0f ? 0.0f : x) / (double)alpha);
    return (float)((double)(x > 0.0f ? x : 0.0f) + mc_double(low > 0.0 ? 0.0 : low));
}

static inline float mc_libm_selu(float x, float alpha, float gamma)
{
    const double value = x > 0.0f ? (double)x : (double)alpha * expm1((double)x);
    return (float)((double)gamma * mc_double(value));
}

/* With the error function, or, where `approximate` is not 0, with the tangent. */
static inline float mc_libm_gelu(float x, float approximate)
{
    const double v = (double)x;
    if (approximate < 0.0f || approximate > 0.0f) {
        const double cube = mc_double(0.044715 * pow(v, 3.0));
        const double inner = 0x1.9884533d43651p-1 * mc_double(v + cube);
        return (float)(mc_double(0.5 * v) * (1.0 + tanh(inner)));
    }
    return (float)(mc_double(0.5 * v) * (1.0 + erf(v / 0x1.6a09e667f3bcdp+0)));
}

static inline double mc_double_softplus(double x)
{
    return log1p(exp(x < 0.0 ? x : -x)) + (x > 0.0 ? x : 0.0);
}

static inline float mc_libm_softplus(float x)
{
    return (float)mc_double_softplus((double)x);
}

static inline float mc_libm_mish(float x)
{
    return (float)((double)x * tanh(mc_double_softplus((double)x)));
}

static inline float mc_libm_swish(float x, float alpha)
{
    const double v = (double)alpha * (double)x;
    const double e = exp(v < 0.0 ? v : -v);
    return (float)((double)x * mc_double((v >= 0.0 ? 1.0 : e) / (1.0 + e)));
}

#endif
