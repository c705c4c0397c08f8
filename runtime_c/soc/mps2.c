/* SPDX-License-Identifier: Apache-2.0 */
/* Arm MPS2 boards with CMSDK peripherals: console, and a timer in the place of a cycle counter, which
 * QEMU does not have. Registers: Cortex-M System Design Kit TRM (DDI 0479), 4.2 "APB timer" and 4.3
 * "APB UART"; addresses: application note AN385, table 4-1. */
#include "board_config.h"

#if defined(MC_SOC_MPS2)

#include <stddef.h>
#include <stdint.h>

#include "mc_board.h"
#include "mc_wait.h"

#define TIMER_CTRL (*(volatile uint32_t *)0x40000000u)
#define TIMER_VALUE (*(volatile uint32_t *)0x40000004u) /* counts down */
#define TIMER_RELOAD (*(volatile uint32_t *)0x40000008u)
#define UART_DATA (*(volatile uint32_t *)(MC_CONSOLE_BASE + 0x00u))
#define UART_STATE (*(volatile uint32_t *)(MC_CONSOLE_BASE + 0x04u))
#define UART_CTRL (*(volatile uint32_t *)(MC_CONSOLE_BASE + 0x08u))
#define UART_BAUDDIV (*(volatile uint32_t *)(MC_CONSOLE_BASE + 0x10u))

#define TIMER_ENABLE 1u
#define STATE_TX_FULL 1u
#define STATE_RX_FULL 2u
#define CTRL_TX_RX_ENABLE 3u

void mc_board_init(void)
{
    TIMER_CTRL = 0u;
    TIMER_RELOAD = UINT32_MAX;
    TIMER_VALUE = UINT32_MAX;
    TIMER_CTRL = TIMER_ENABLE;
    UART_BAUDDIV = MC_CLOCK_HZ / MC_CONSOLE_BAUD;
    UART_CTRL = CTRL_TX_RX_ENABLE;
}

uint32_t mc_board_status(void)
{
    return 0u;
}

uint32_t mc_clock_hz(void)
{
    return MC_CLOCK_HZ;
}

uint32_t mc_cycles(void)
{
    return UINT32_MAX - TIMER_VALUE;
}

uint32_t mc_cycles_hz(void)
{
    return MC_TIMER_HZ;
}

int mc_console_read(uint8_t *byte)
{
    if ((UART_STATE & STATE_RX_FULL) == 0u) {
        return 0;
    }
    *byte = (uint8_t)UART_DATA;
    return 1;
}

void mc_console_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; ++i) {
        if (!mc_wait(&UART_STATE, STATE_TX_FULL, 0u)) {
            return;
        }
        UART_DATA = bytes[i];
    }
}

#else
typedef int mc_mps2_not_used_t;
#endif
