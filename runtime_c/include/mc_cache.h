/* SPDX-License-Identifier: Apache-2.0 */
/* Caches of a Cortex-M7, and keeping them and DMA of one mind.
 *
 * A DMA controller reads and writes memory behind the data cache. Before it reads what the core wrote:
 * mc_cache_clean(). Before it writes, and again before the core reads what it wrote:
 * mc_cache_invalidate(). Invalidating throws away what the core wrote to the same cache lines, so a
 * buffer that DMA writes must begin on a cache line and fill whole ones; a network's arena begins on
 * one. Memory that is not cached (DTCM, or a core without a data cache) needs none of this, and both
 * functions are harmless there.
 *
 * Registers: Armv7-M Architecture Reference Manual (DDI 0403E), B2.2 "Caches", B3.2.8, B4.8.
 */
#ifndef MC_CACHE_H
#define MC_CACHE_H

#include <stddef.h>
#include <stdint.h>

#define MC_CACHE_LINE_BYTES 32u

#if defined(__arm__)

#define MC_SCB_CCR (*(volatile uint32_t *)0xe000ed14u)
#define MC_SCB_CCSIDR (*(volatile uint32_t *)0xe000ed80u)
#define MC_SCB_CSSELR (*(volatile uint32_t *)0xe000ed84u)
#define MC_SCB_ICIALLU (*(volatile uint32_t *)0xe000ef50u)
#define MC_SCB_DCIMVAC (*(volatile uint32_t *)0xe000ef5cu)
#define MC_SCB_DCISW (*(volatile uint32_t *)0xe000ef60u)
#define MC_SCB_DCCMVAC (*(volatile uint32_t *)0xe000ef68u)
#define MC_SCB_DCCSW (*(volatile uint32_t *)0xe000ef6cu)

#define MC_CCR_DC (1u << 16)
#define MC_CCR_IC (1u << 17)

static inline void mc_memory_barrier(void)
{
    __asm__ volatile("dsb\n isb" ::: "memory");
}

static inline void mc_instruction_cache_enable(void)
{
    mc_memory_barrier();
    MC_SCB_ICIALLU = 0u;
    mc_memory_barrier();
    MC_SCB_CCR |= MC_CCR_IC;
    mc_memory_barrier();
}

static inline void mc_data_cache_by_set(volatile uint32_t *operation)
{
    uint32_t size, sets, ways;

    MC_SCB_CSSELR = 0u; /* level 1, data */
    mc_memory_barrier();
    size = MC_SCB_CCSIDR;
    sets = (size >> 13) & 0x7fffu; /* one less than there are */
    ways = (size >> 3) & 0x3ffu;
    for (uint32_t set = 0; set <= sets; ++set) {
        for (uint32_t way = 0; way <= ways; ++way) {
            /* Cortex-M7 TRM (DDI 0489), 3.3.6: way in bits 31:30, set from bit 5 up. */
            *operation = (way << 30) | (set << 5);
        }
    }
    mc_memory_barrier();
}

/* Does nothing where the cache is on already: what it holds must not be thrown away. */
static inline void mc_data_cache_enable(void)
{
    if ((MC_SCB_CCR & MC_CCR_DC) != 0u) {
        return;
    }
    mc_data_cache_by_set(&MC_SCB_DCISW);
    MC_SCB_CCR |= MC_CCR_DC;
    mc_memory_barrier();
}

/* Writes all that the core has written on to memory. */
static inline void mc_data_cache_clean(void)
{
    if ((MC_SCB_CCR & MC_CCR_DC) != 0u) {
        mc_data_cache_by_set(&MC_SCB_DCCSW);
    }
}

static inline void mc_cache_by_line(volatile uint32_t *operation, const void *from, size_t bytes)
{
    const uintptr_t end = (uintptr_t)from + bytes;
    uintptr_t line = (uintptr_t)from & ~(uintptr_t)(MC_CACHE_LINE_BYTES - 1u);

    if ((MC_SCB_CCR & MC_CCR_DC) == 0u) {
        return;
    }
    mc_memory_barrier();
    for (; line < end; line += MC_CACHE_LINE_BYTES) {
        *operation = (uint32_t)line;
    }
    mc_memory_barrier();
}

/* Writes what the core has written on to memory. */
static inline void mc_cache_clean(const void *from, size_t bytes)
{
    mc_cache_by_line(&MC_SCB_DCCMVAC, from, bytes);
}

/* Forgets what the cache holds of these bytes, and of all bytes of the lines they lie in. */
static inline void mc_cache_invalidate(const void *from, size_t bytes)
{
    mc_cache_by_line(&MC_SCB_DCIMVAC, from, bytes);
}

#endif

#endif
