/* SPDX-License-Identifier: Apache-2.0
 *
 * Two 16-bit numbers in a word: the multiply instructions of Armv7E-M, and what they compute in plain C.
 *
 * A "pair" is a word of two signed 16-bit lanes, the low one first. Sums are modulo 2^32, as the
 * instructions are, so no order of additions overflows. Each function has one result: the C body is
 * the definition, the instruction stands beside it for the cores that have it.
 */
#ifndef MC_SIMD_H
#define MC_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SAT) && defined(__arm__)
#include <arm_acle.h>
#define MC_SIMD_DSP 1
#else
#define MC_SIMD_DSP 0
#endif

/* Whether functions in scheduled assembly take the place of their portable twins: they need the DSP instructions, a
 * float unit, and R9, which they save and restore but which position-independent data may reserve. */
#if MC_SIMD_DSP && defined(__thumb2__) && defined(__ARM_FP) && !defined(__PIC__) && !defined(__ARM_RWPI)
#define MC_SCHEDULED 1
#define MC_UNUSED __attribute__((unused))
#else
#define MC_SCHEDULED 0
#endif

_Static_assert((-3 >> 1) == -2, "kernels rely on >> of negative values rounding down");
#if defined(__BYTE_ORDER__)
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed weights and activations are little-endian");
#endif

/* ---- lanes ---- */

/* The low lane, sign-extended. */
static inline int32_t mc_pair_low(uint32_t pair)
{
    return (int32_t)(int16_t)(uint16_t)pair;
}

/* The high lane, sign-extended. */
static inline int32_t mc_pair_high(uint32_t pair)
{
    return (int32_t)(int16_t)(uint16_t)(pair >> 16);
}

/* The pair (low, high); only the low 16 bits of each count. */
static inline uint32_t mc_pair(int32_t low, int32_t high)
{
#if MC_SIMD_DSP
    uint32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(low), "r"(high));
    return pair;
#else
    return ((uint32_t)low & 0xFFFFu) | ((uint32_t)high << 16);
#endif
}

/* ---- bytes to pairs ---- */

/* Four bytes at any address, the first one lowest. */
static inline uint32_t mc_bytes4(const int8_t *from)
{
    uint32_t word;
    memcpy(&word, from, 4);
    return word;
}

/* Three bytes, and a zero. */
static inline uint32_t mc_bytes3(const int8_t *from)
{
    uint32_t word = 0;
    memcpy(&word, from, 3);
    return word;
}

/* Two bytes, and zeros. */
static inline uint32_t mc_bytes2(const int8_t *from)
{
    uint32_t word = 0;
    memcpy(&word, from, 2);
    return word;
}

/* One byte, and zeros. */
static inline uint32_t mc_bytes1(const int8_t *from)
{
    return (uint32_t)(uint8_t)from[0];
}

/* The pair of the signed bytes 0 and 2. */
static inline uint32_t mc_sxtb16(uint32_t bytes)
{
#if MC_SIMD_DSP
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(bytes));
    return pair;
#else
    return mc_pair((int32_t)(int8_t)(uint8_t)bytes, (int32_t)(int8_t)(uint8_t)(bytes >> 16));
#endif
}

/* The pair of the signed bytes 1 and 3. */
static inline uint32_t mc_sxtb16_ror8(uint32_t bytes)
{
#if MC_SIMD_DSP
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(bytes));
    return pair;
#else
    return mc_sxtb16((bytes >> 8) | (bytes << 24));
#endif
}

/* ---- products ---- */

/* The sum of two integers modulo 2^32. */
static inline int32_t mc_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

/* Their difference modulo 2^32. */
static inline int32_t mc_sub(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a - (uint32_t)b);
}

/* acc + low * low + high * high. */
static inline int32_t mc_smlad(uint32_t a, uint32_t b, int32_t acc)
{
#if MC_SIMD_DSP
    int32_t sum;
    __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
#else
    return mc_add(mc_add(acc, mc_pair_low(a) * mc_pair_low(b)), mc_pair_high(a) * mc_pair_high(b));
#endif
}

/* The same for a sum that is carried around a loop: it stays in one register. */
static inline int32_t mc_smlad_loop(uint32_t a, uint32_t b, int32_t acc)
{
#if MC_SIMD_DSP
    __asm__("smlad %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
#else
    return mc_smlad(a, b, acc);
#endif
}

/* acc + low of a * low of b. */
static inline int32_t mc_smlabb(uint32_t a, uint32_t b, int32_t acc)
{
#if MC_SIMD_DSP
    int32_t sum;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
#else
    return mc_add(acc, mc_pair_low(a) * mc_pair_low(b));
#endif
}

/* acc + low of a * high of b. */
static inline int32_t mc_smlabt(uint32_t a, uint32_t b, int32_t acc)
{
#if MC_SIMD_DSP
    int32_t sum;
    __asm__("smlabt %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
#else
    return mc_add(acc, mc_pair_low(a) * mc_pair_high(b));
#endif
}

/* acc + high of a * low of b. */
static inline int32_t mc_smlatb(uint32_t a, uint32_t b, int32_t acc)
{
    return mc_smlabt(b, a, acc);
}

/* acc + high of a * high of b. */
static inline int32_t mc_smlatt(uint32_t a, uint32_t b, int32_t acc)
{
#if MC_SIMD_DSP
    int32_t sum;
    __asm__("smlatt %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
#else
    return mc_add(acc, mc_pair_high(a) * mc_pair_high(b));
#endif
}

/* The high word of a * b + addend * 2^32; the caller sees to it that it fits. */
static inline int32_t mc_smmla(int32_t a, int32_t b, int32_t addend)
{
#if MC_SIMD_DSP
    int32_t high;
    __asm__("smmla %0, %1, %2, %3" : "=r"(high) : "r"(a), "r"(b), "r"(addend));
    return high;
#else
    return mc_add((int32_t)(((int64_t)a * (int64_t)b) >> 32), addend);
#endif
}

/* ---- saturation ---- */

/* The value limited to what int8 holds. A right shift of the argument becomes part of the instruction. */
static inline int32_t mc_ssat8(int32_t value)
{
#if MC_SIMD_DSP
    /* Not __ssat: the macro of GCC's arm_acle.h warns under -Wsign-conversion. */
    return (int32_t)__builtin_arm_ssat(value, 8);
#else
    const int32_t low = value < -128 ? -128 : value;
    return low > 127 ? 127 : low;
#endif
}

/* The sum of two integers, limited to what int32 holds. */
static inline int32_t mc_qadd(int32_t a, int32_t b)
{
#if MC_SIMD_DSP
    int32_t sum;
    __asm__("qadd %0, %1, %2" : "=r"(sum) : "r"(a), "r"(b));
    return sum;
#else
    const int64_t sum = (int64_t)a + (int64_t)b;
    return sum > INT32_MAX ? INT32_MAX : (sum < INT32_MIN ? INT32_MIN : (int32_t)sum);
#endif
}

#endif
