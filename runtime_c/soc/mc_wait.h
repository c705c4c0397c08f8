/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for hardware that may never answer. */
#ifndef MC_WAIT_H
#define MC_WAIT_H

#include <stdint.h>

/* A peripheral bus gives an answer in 6 core cycles or more, so this is at least 28 ms at 64 MHz, the
 * fastest clock that is waited at before the PLL runs: a crystal takes 2 ms, a PLL 0.3 ms. */
#define MC_WAIT_POLLS 300000u

/* Whether the bits of `mask` took the value `wanted` in time. */
static inline int mc_wait(const volatile uint32_t *status, uint32_t mask, uint32_t wanted)
{
    for (uint32_t polls = 0; polls < MC_WAIT_POLLS; ++polls) {
        if ((*status & mask) == wanted) {
            return 1;
        }
    }
    return 0;
}

static inline void mc_change(volatile uint32_t *target, uint32_t mask, uint32_t value)
{
    *target = (*target & ~mask) | value;
}

#endif
