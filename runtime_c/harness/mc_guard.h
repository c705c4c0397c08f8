/* SPDX-License-Identifier: Apache-2.0 */
/* The arena of a network under test: between fences, at an address that is aligned to what the network asks for and to
 * no more, and filled before each run, so that a read of what was never written shows. */
#ifndef MC_GUARD_H
#define MC_GUARD_H

#include <stdint.h>

uint8_t *mc_guard_arena(void);

/* Fills the arena and raises the fences. */
void mc_guard_raise(void);

/* Takes the fences down; 1 if nothing has been written outside of the arena. */
uint32_t mc_guard_intact(void);

/* What the interface promises for wrong arguments; a bit for each promise that is broken. */
uint32_t mc_guard_check_contract(void);

#endif
