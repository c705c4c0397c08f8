/* SPDX-License-Identifier: Apache-2.0 */
/* STM32F4, F7 and H7: console on a USART, cycle counter. Polling, 8 data bits, no parity, 1 stop bit.
 * USART: RM0090 30.6 (STM32F4); RM0385 31.8, RM0410 34.8, RM0433 48.7 (F7 and H7, whose layout is another).
 * GPIO: RM0090 8.4, RM0385 6.4, RM0410 6.4, RM0433 11.4. DWT and DEMCR: Armv7-M ARM (DDI 0403E), C1.6.5
 * and C1.8.7. TIM2: RM0090 18.4. */
#include "board_config.h"

#if defined(MC_SOC_STM32F4) || defined(MC_SOC_STM32F7) || defined(MC_SOC_STM32H7)

#include <stddef.h>
#include <stdint.h>

#include "mc_board.h"
#include "mc_stm32.h"
#include "mc_wait.h"

#if defined(MC_SOC_STM32H7)
#define RCC 0x58024400u
#define GPIO 0x58020000u
#define RCC_GPIO_ENABLE MC_REGISTER(RCC + 0xe0u) /* AHB4ENR, RM0433 8.7.43 */
#define RCC_APB1_ENABLE MC_REGISTER(RCC + 0xe8u) /* APB1LENR, 8.7.45 */
#define RCC_APB2_ENABLE MC_REGISTER(RCC + 0xf0u) /* APB2ENR, 8.7.47 */
#else
#define RCC 0x40023800u
#define GPIO 0x40020000u
#define RCC_GPIO_ENABLE MC_REGISTER(RCC + 0x30u) /* AHB1ENR, RM0090 6.3.10, RM0385 and RM0410 5.3.10 */
#define RCC_APB1_ENABLE MC_REGISTER(RCC + 0x40u) /* APB1ENR, 6.3.13, 5.3.13 */
#define RCC_APB2_ENABLE MC_REGISTER(RCC + 0x44u) /* APB2ENR, 6.3.14, 5.3.14 */
#endif

#if defined(MC_SOC_STM32F4)
#define USART_STATUS MC_REGISTER(MC_CONSOLE_BASE + 0x00u)   /* SR */
#define USART_RECEIVE MC_REGISTER(MC_CONSOLE_BASE + 0x04u)  /* DR */
#define USART_TRANSMIT MC_REGISTER(MC_CONSOLE_BASE + 0x04u) /* DR */
#define USART_BRR MC_REGISTER(MC_CONSOLE_BASE + 0x08u)
#define USART_CR1 MC_REGISTER(MC_CONSOLE_BASE + 0x0cu)
#define CR1_ENABLE (1u << 13) /* UE */
#else
#define USART_CR1 MC_REGISTER(MC_CONSOLE_BASE + 0x00u)
#define USART_BRR MC_REGISTER(MC_CONSOLE_BASE + 0x0cu)
#define USART_STATUS MC_REGISTER(MC_CONSOLE_BASE + 0x1cu) /* ISR */
#define USART_CLEAR MC_REGISTER(MC_CONSOLE_BASE + 0x20u)  /* ICR */
#define USART_RECEIVE MC_REGISTER(MC_CONSOLE_BASE + 0x24u)
#define USART_TRANSMIT MC_REGISTER(MC_CONSOLE_BASE + 0x28u)
#define CR1_ENABLE (1u << 0) /* UE */
#endif
#define CR1_TX_RX (3u << 2) /* TE, RE */
#define STATUS_OVERRUN (1u << 3)
#define STATUS_RX_FULL (1u << 5)
#define STATUS_TX_EMPTY (1u << 7)

#define DEMCR MC_REGISTER(0xe000edfcu)
#define DEMCR_TRACE (1u << 24)
#define DWT_CTRL MC_REGISTER(0xe0001000u)
#define DWT_CYCCNT MC_REGISTER(0xe0001004u)
#define DWT_LAR MC_REGISTER(0xe0001fb0u) /* CoreSight lock, which a Cortex-M7 has: DDI 0489, 9.3 */
#define DWT_LAR_KEY 0xc5acce55u
#define DWT_CYCCNT_ENABLE 1u

static mc_clocks_t clocks;
static const volatile uint32_t *cycle_counter = &DWT_CYCCNT;
static uint32_t cycle_hz;

void mc_stm32_pin(uint32_t port, uint32_t pin, uint32_t function, uint32_t speed, uint32_t pull)
{
    const uintptr_t gpio = GPIO + 0x400u * port;

    RCC_GPIO_ENABLE |= 1u << port;
    (void)RCC_GPIO_ENABLE; /* two cycles until the clock runs: RM0090 6.3.10, RM0433 8.5.12 */
    mc_change(&MC_REGISTER(gpio + 0x20u + 4u * (pin / 8u)), 15u << (4u * (pin % 8u)),
              function << (4u * (pin % 8u)));                             /* AFRL, AFRH */
    mc_change(&MC_REGISTER(gpio + 0x04u), 1u << pin, 0u);                 /* OTYPER: push-pull */
    mc_change(&MC_REGISTER(gpio + 0x08u), 3u << (2u * pin), speed << (2u * pin)); /* OSPEEDR */
    mc_change(&MC_REGISTER(gpio + 0x0cu), 3u << (2u * pin), pull << (2u * pin)); /* PUPDR: 1 is up */
    mc_change(&MC_REGISTER(gpio + 0x00u), 3u << (2u * pin), 2u << (2u * pin)); /* MODER: alternate function */
}

static void start_console(void)
{
    const uint32_t bus_hz = MC_CONSOLE_BUS == 1u ? clocks.apb1_hz : clocks.apb2_hz;

#if MC_CONSOLE_BUS == 1
    RCC_APB1_ENABLE |= 1u << MC_CONSOLE_ENABLE_BIT;
    (void)RCC_APB1_ENABLE;
#else
    RCC_APB2_ENABLE |= 1u << MC_CONSOLE_ENABLE_BIT;
    (void)RCC_APB2_ENABLE;
#endif
    USART_CR1 = 0u; /* a boot loader may have left it on */
    USART_BRR = (bus_hz + MC_CONSOLE_BAUD / 2u) / MC_CONSOLE_BAUD;
    USART_CR1 = CR1_TX_RX;
    USART_CR1 = CR1_TX_RX | CR1_ENABLE;
    mc_stm32_pin(MC_CONSOLE_TX_PORT, MC_CONSOLE_TX_PIN, MC_CONSOLE_FUNCTION, 1u, 0u);
    mc_stm32_pin(MC_CONSOLE_RX_PORT, MC_CONSOLE_RX_PIN, MC_CONSOLE_FUNCTION, 1u, 1u);
}

static void start_cycle_counter(void)
{
    DEMCR |= DEMCR_TRACE;
    DWT_LAR = DWT_LAR_KEY;
    DWT_CYCCNT = 0u;
    DWT_CTRL |= DWT_CYCCNT_ENABLE;
    cycle_hz = clocks.core_hz;
#if MC_TIMER_HZ
    /* An emulator has no DWT: its counter stands still, and timer 2 takes its place. */
    if (DWT_CYCCNT == DWT_CYCCNT) {
        RCC_APB1_ENABLE |= 1u;
        MC_REGISTER(0x40000028u) = 0u;         /* PSC */
        MC_REGISTER(0x4000002cu) = UINT32_MAX; /* ARR */
        MC_REGISTER(0x40000000u) = 1u;         /* CR1: CEN */
        cycle_counter = &MC_REGISTER(0x40000024u);
        cycle_hz = MC_TIMER_HZ;
    }
#endif
}

#if defined(MC_SDRAM_BYTES) || defined(MC_QSPI_BYTES)
static void say(const char *text)
{
    size_t count = 0;
    while (text[count] != '\0') {
        ++count;
    }
    mc_console_write((const uint8_t *)text, count);
}

/* Firmware whose memory is missing cannot run: it says so and ends. */
static void start_memories(void)
{
    const uint32_t failed = mc_stm32_memories(clocks.ahb_hz);

    clocks.status |= failed;
    if ((failed & MC_BOARD_SDRAM_FAILED) != 0u) {
        say("the external RAM (SDRAM) does not answer\r\n");
    }
    if ((failed & MC_BOARD_QSPI_FAILED) != 0u) {
        say("the external flash (QSPI) does not answer, or is not the part of the board's description\r\n");
    }
    if (failed != 0u) {
        mc_board_exit(1);
    }
}
#endif

void mc_board_init(void)
{
    clocks = mc_stm32_clocks();
    start_console();
    start_cycle_counter();
#if defined(MC_SDRAM_BYTES) || defined(MC_QSPI_BYTES)
    start_memories();
#endif
}

uint32_t mc_board_status(void)
{
    return clocks.status;
}

uint32_t mc_clock_hz(void)
{
    return clocks.core_hz;
}

uint32_t mc_cycles(void)
{
    return *cycle_counter;
}

uint32_t mc_cycles_hz(void)
{
    return cycle_hz;
}

int mc_console_read(uint8_t *byte)
{
    const uint32_t status = USART_STATUS;

#if defined(MC_SOC_STM32F4)
    /* Reading SR and then DR clears an overrun: RM0090 30.6.1. */
    if ((status & (STATUS_RX_FULL | STATUS_OVERRUN)) == STATUS_OVERRUN) {
        (void)USART_RECEIVE;
    }
#else
    if ((status & STATUS_OVERRUN) != 0u) {
        USART_CLEAR = STATUS_OVERRUN;
    }
#endif
    if ((status & STATUS_RX_FULL) == 0u) {
        return 0;
    }
    *byte = (uint8_t)USART_RECEIVE;
    return 1;
}

void mc_console_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; ++i) {
        if (!mc_wait(&USART_STATUS, STATUS_TX_EMPTY, STATUS_TX_EMPTY)) {
            return;
        }
        USART_TRANSMIT = bytes[i];
    }
}

#else
typedef int mc_stm32_not_used_t;
#endif
