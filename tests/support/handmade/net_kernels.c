/* SPDX-License-Identifier: Apache-2.0 */
#include "net_kernels.h"

#include <string.h>

static int8_t larger(int8_t a, int8_t b)
{
    return a > b ? a : b;
}

/* 4x4x2 to 2x2x2, windows of 2x2. */
void net_max_pool(const int8_t *x, int8_t *y)
{
    for (int32_t row = 0; row < 2; ++row) {
        for (int32_t column = 0; column < 2; ++column) {
            for (int32_t channel = 0; channel < 2; ++channel) {
                const int8_t *const at = x + (row * 8 + column * 2) * 2 + channel;
                *y++ = larger(larger(at[0], at[2]), larger(at[8], at[10]));
            }
        }
    }
}

/* 2x2x2 to 1x1x2 by a kernel of 2x2; multiplier 1/4, halves to even, zero points -3 and 5. */
void net_depthwise(const int8_t *x, int8_t *y, const int8_t *weights, const int32_t *bias)
{
    for (int32_t channel = 0; channel < 2; ++channel) {
        int32_t sum = bias[channel];
        int32_t quotient;
        for (int32_t tap = 0; tap < 4; ++tap) {
            sum += (x[tap * 2 + channel] + 3) * weights[tap * 2 + channel];
        }
        quotient = (sum + 4096) / 4 - 1024; /* floor, as sum is above -4096 */
        if (sum - quotient * 4 > 2 || (sum - quotient * 4 == 2 && quotient % 2 != 0)) {
            ++quotient;
        }
        quotient += 5;
        y[channel] = (int8_t)(quotient > 127 ? 127 : quotient < -128 ? -128 : quotient);
    }
}
