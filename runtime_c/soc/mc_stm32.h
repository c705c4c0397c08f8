/* SPDX-License-Identifier: Apache-2.0 */
/* What the files for STM32 microcontrollers share. */
#ifndef MC_STM32_H
#define MC_STM32_H

#include <stdint.h>

#include "board_config.h"

#define MC_REGISTER(address) (*(volatile uint32_t *)(address))

/* The clocks that there are. */
typedef struct {
    uint32_t status; /* MC_BOARD_... */
    uint32_t core_hz;
    uint32_t ahb_hz;
    uint32_t apb1_hz;
    uint32_t apb2_hz;
} mc_clocks_t;

/* Of each family: brings the clocks to what the board's description says, or to the internal oscillator. */
mc_clocks_t mc_stm32_clocks(void);

/* Connects a pin to its alternate function; speed 0 (slow) to 3, pull 0 (none) or 1 (up). */
void mc_stm32_pin(uint32_t port, uint32_t pin, uint32_t function, uint32_t speed, uint32_t pull);

#if defined(MC_SDRAM_BYTES) || defined(MC_QSPI_BYTES)
/* Sets the external memories up and opens their addresses; MC_BOARD_... of those that do not answer. */
uint32_t mc_stm32_memories(uint32_t ahb_hz);
#endif

/* The code of a divider of a bus: 0 for 1, `base` for 2, and one more for each doubling. Reference
 * manuals, RCC_CFGR (H7: RCC_D1CFGR to RCC_D3CFGR). */
#define MC_APB_CODE(divider) ((divider) == 1u ? 0u : (divider) == 2u ? 4u : (divider) == 4u ? 5u : (divider) == 8u ? 6u : 7u)
#define MC_AHB_CODE(divider)         \
    ((divider) == 1u     ? 0u        \
     : (divider) == 2u   ? 8u        \
     : (divider) == 4u   ? 9u        \
     : (divider) == 8u   ? 10u       \
     : (divider) == 16u  ? 11u       \
     : (divider) == 64u  ? 12u       \
     : (divider) == 128u ? 13u       \
     : (divider) == 256u ? 14u       \
                         : 15u)

#endif
