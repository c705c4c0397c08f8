/* SPDX-License-Identifier: Apache-2.0 */
/* External memories of STM32F7 and H7: SDRAM on bank 1 of the FMC, flash on bank 1 of the QUADSPI (F7).
 * FMC: RM0385 13.7 (SDRAM controller), RM0433 22.9; the order of the commands is that of 13.7.3 and 22.9.3, "SDRAM
 * initialization". QUADSPI: RM0385 14.3 and 14.5. RCC: RM0385 5.3.12 (AHB3ENR), RM0433 8.7.41. MPU: Armv7-M ARM
 * (DDI 0403E), B3.5.8 and B3.5.9. The values of MC_SDRAM_CONTROL, _TIMING and _MODE come from the board's description.
 *
 * Start-up has forbidden these addresses, since a Cortex-M7 may read ahead into them. They are opened one by one, each
 * when what lies there answers. */
#include "board_config.h"

#if defined(MC_SDRAM_BYTES) || defined(MC_QSPI_BYTES)

#include <stdint.h>

#include "mc_board.h"
#include "mc_stm32.h"
#include "mc_wait.h"

#if defined(MC_SOC_STM32H7)
#define RCC_AHB3ENR MC_REGISTER(0x580244d4u)
#define AHB3_FMC (1u << 12)
#define FMC 0x52004000u
#else
#define RCC_AHB3RSTR MC_REGISTER(0x40023818u)
#define RCC_AHB3ENR MC_REGISTER(0x40023838u)
#define AHB3_FMC (1u << 0)
#define AHB3_QSPI (1u << 1)
#define FMC 0xa0000000u
#define CONTROLLERS 0xa0000000u /* FMC and QUADSPI; on H7 they lie among the other peripherals */
#define CONTROLLERS_BYTES 8192u
#endif

#define MPU_RBAR MC_REGISTER(0xe000ed9cu)
#define MPU_RASR MC_REGISTER(0xe000eda0u)
#define MPU_RBAR_VALID (1u << 4)
#define MPU_NEVER_EXECUTE (1u << 28)
#define MPU_READ_WRITE (3u << 24)
#define MPU_READ_ONLY (6u << 24)
#define MPU_DEVICE ((1u << 18) | (1u << 16))                   /* S, B */
#define MPU_WRITE_BACK ((1u << 19) | (1u << 17) | (1u << 16)) /* TEX 1, C, B: allocates on reads and writes */
#define MPU_WRITE_THROUGH (1u << 17)                           /* C */

/* Regions of the MPU; start-up uses 0 and 1, and the highest number decides. */
#define WINDOW_CONTROLLERS 2u
#define WINDOW_SDRAM 3u
#define WINDOW_QSPI 4u

/* A range of a power of two of bytes, aligned to it. */
static void open_window(uint32_t index, uint32_t origin, uint32_t bytes, uint32_t attributes)
{
    uint32_t size = 0;
    while ((2u << size) < bytes) {
        ++size;
    }
    __asm__ volatile("dsb" ::: "memory");
    MPU_RBAR = origin | MPU_RBAR_VALID | index;
    MPU_RASR = MPU_NEVER_EXECUTE | attributes | (size << 1) | 1u;
    __asm__ volatile("dsb\n isb" ::: "memory");
}

static void connect_pins(void)
{
    static const uint8_t pins[][3] = { MC_MEMORY_PINS };

    for (uint32_t i = 0; i < sizeof pins / sizeof pins[0]; ++i) {
        mc_stm32_pin(pins[i][0], pins[i][1], pins[i][2], 3u, 0u);
    }
}

/* At least 100 us: a register answers in 6 core cycles or more, of 2.1 ns or more. */
static void pause(const volatile uint32_t *reg)
{
    for (uint32_t reads = 0; reads < 20000u; ++reads) {
        (void)*reg;
    }
}

#if defined(MC_SDRAM_BYTES)
#define SDRAM 0xc0000000u
#define FMC_BCR1 MC_REGISTER(FMC + 0x000u)
#define FMC_SDCR1 MC_REGISTER(FMC + 0x140u)
#define FMC_SDTR1 MC_REGISTER(FMC + 0x148u)
#define FMC_SDCMR MC_REGISTER(FMC + 0x150u)
#define FMC_SDRTR MC_REGISTER(FMC + 0x154u)
#define FMC_SDSR MC_REGISTER(FMC + 0x158u)
#define BCR1_BANK (1u << 0)    /* MBKEN: a NOR flash that is not there */
#define BCR1_ENABLE (1u << 31) /* FMCEN, which only H7 has */
#define SDCMR_BANK1 (1u << 4)
#define SDCMR_CLOCK 1u
#define SDCMR_PRECHARGE 2u
#define SDCMR_REFRESH (3u | (7u << 5)) /* eight in a row */
#define SDCMR_MODE 4u
#define SDSR_BUSY (1u << 5)
#define REFRESH_MARGIN 20u /* RM0385 13.7.5, FMC_SDRTR: for a read that comes just before */
#define MOST_ADDRESS_LINES 32u

static void close_window(uint32_t index)
{
    MPU_RBAR = MPU_RBAR_VALID | index;
    MPU_RASR = 0u;
    __asm__ volatile("dsb\n isb" ::: "memory");
}

static int command(uint32_t value)
{
    FMC_SDCMR = value | SDCMR_BANK1;
    return mc_wait(&FMC_SDSR, SDSR_BUSY, 0u);
}

/* Whether each address line reaches a word of its own; what was there stays, so that it may outlive a reset. */
static int sdram_answers(void)
{
    volatile uint32_t *const memory = (volatile uint32_t *)SDRAM;
    uint32_t saved[MOST_ADDRESS_LINES];
    uint32_t count = 0;
    int good = 1;

    for (uint32_t word = 1u; word < MC_SDRAM_BYTES / 4u; word <<= 1) {
        saved[count++] = memory[word];
        memory[word] = 0xa5000000u ^ word;
    }
    __asm__ volatile("dsb" ::: "memory");
    while (count-- != 0u) {
        good = good != 0 && memory[1u << count] == (0xa5000000u ^ (1u << count));
    }
    count = 0;
    for (uint32_t word = 1u; word < MC_SDRAM_BYTES / 4u; word <<= 1) {
        memory[word] = saved[count++];
    }
    return good;
}

static int start_sdram(uint32_t ahb_hz)
{
    /* Clocks between the refreshes of two rows; in units of 10 kHz, so that the product has 32 bits. */
    const uint32_t clocks = ahb_hz / MC_SDRAM_DIVIDER / 10000u * MC_SDRAM_REFRESH_NS / 100000u;

    RCC_AHB3ENR |= AHB3_FMC;
    (void)RCC_AHB3ENR;
    mc_change(&FMC_BCR1, BCR1_BANK, 0u);
    FMC_SDCR1 = MC_SDRAM_CONTROL;
    FMC_SDTR1 = MC_SDRAM_TIMING;
#if defined(MC_SOC_STM32H7)
    FMC_BCR1 |= BCR1_ENABLE;
#endif
    if (!command(SDCMR_CLOCK)) {
        return 0;
    }
    pause(&FMC_SDSR);
    if (!command(SDCMR_PRECHARGE) || !command(SDCMR_REFRESH) || !command(SDCMR_MODE | (MC_SDRAM_MODE << 9))) {
        return 0;
    }
    FMC_SDRTR = (clocks - REFRESH_MARGIN) << 1;
    if (!mc_wait(&FMC_SDSR, SDSR_BUSY, 0u)) {
        return 0;
    }
    open_window(WINDOW_SDRAM, SDRAM, MC_SDRAM_BYTES, MPU_READ_WRITE | MPU_DEVICE);
    if (!sdram_answers()) {
        close_window(WINDOW_SDRAM);
        return 0;
    }
    open_window(WINDOW_SDRAM, SDRAM, MC_SDRAM_BYTES, MPU_READ_WRITE | MPU_WRITE_BACK);
    return 1;
}
#endif

#if defined(MC_QSPI_BYTES)
#define QSPI 0x90000000u
#define QUADSPI 0xa0001000u
#define QUADSPI_CR MC_REGISTER(QUADSPI + 0x00u)
#define QUADSPI_DCR MC_REGISTER(QUADSPI + 0x04u)
#define QUADSPI_SR MC_REGISTER(QUADSPI + 0x08u)
#define QUADSPI_FCR MC_REGISTER(QUADSPI + 0x0cu)
#define QUADSPI_DLR MC_REGISTER(QUADSPI + 0x10u)
#define QUADSPI_CCR MC_REGISTER(QUADSPI + 0x14u)
#define QUADSPI_DR MC_REGISTER(QUADSPI + 0x20u)
#define CR_ENABLE 1u
#define CR_ABORT (1u << 1)
#define CR_SAMPLE_LATE (1u << 4) /* SSHIFT: half a clock later */
#define DCR_SELECT_HIGH (3u << 8) /* four clocks between commands */
#define SR_COMPLETE (1u << 1)
#define SR_BUSY (1u << 5)
#define CCR_INSTRUCTION (1u << 8) /* on one line */
#define CCR_ADDRESS (1u << 10)    /* on one line */
#define CCR_ADDRESS_24 (2u << 12)
#define CCR_DATA_1 (1u << 24)
#define CCR_DATA_4 (3u << 24)
#define CCR_READ (1u << 26)
#define CCR_MAPPED (3u << 26)
#define FLASH_RESET_ENABLE 0x66u
#define FLASH_RESET 0x99u
#define FLASH_IDENTITY 0x9fu

static int transfer(uint32_t command)
{
    int complete;

    QUADSPI_CCR = command | CCR_INSTRUCTION;
    complete = mc_wait(&QUADSPI_SR, SR_COMPLETE, SR_COMPLETE);
    QUADSPI_FCR = SR_COMPLETE;
    return complete;
}

static int start_qspi(void)
{
    uint32_t size = 0;
    while ((2u << size) < MC_QSPI_BYTES) {
        ++size;
    }
    RCC_AHB3ENR |= AHB3_QSPI;
    (void)RCC_AHB3ENR;
    RCC_AHB3RSTR |= AHB3_QSPI; /* a boot loader may have left it in use */
    RCC_AHB3RSTR &= ~AHB3_QSPI;
    QUADSPI_DCR = (size << 16) | DCR_SELECT_HIGH;
    QUADSPI_CR = ((MC_QSPI_DIVIDER - 1u) << 24) | CR_SAMPLE_LATE | CR_ENABLE;
    if (!transfer(FLASH_RESET_ENABLE) || !transfer(FLASH_RESET)) {
        return 0;
    }
    pause(&QUADSPI_SR);
    QUADSPI_DLR = 3u; /* a word, of which the fourth byte is not looked at */
    if (!transfer(FLASH_IDENTITY | CCR_DATA_1 | CCR_READ) || (QUADSPI_DR & 0xffffffu) != MC_QSPI_IDENTITY) {
        return 0;
    }
    QUADSPI_CR |= CR_ABORT; /* nothing may be under way when the memory map begins: errata ES0290 */
    if (!mc_wait(&QUADSPI_CR, CR_ABORT, 0u) || !mc_wait(&QUADSPI_SR, SR_BUSY, 0u)) {
        return 0;
    }
    QUADSPI_CCR = MC_QSPI_READ | CCR_INSTRUCTION | CCR_ADDRESS | CCR_ADDRESS_24 | (MC_QSPI_DUMMY_CYCLES << 18) |
                  CCR_DATA_4 | CCR_MAPPED;
    open_window(WINDOW_QSPI, QSPI, MC_QSPI_BYTES, MPU_READ_ONLY | MPU_WRITE_THROUGH);
    return 1;
}
#endif

uint32_t mc_stm32_memories(uint32_t ahb_hz)
{
    uint32_t failed = 0;

#if defined(CONTROLLERS)
    open_window(WINDOW_CONTROLLERS, CONTROLLERS, CONTROLLERS_BYTES, MPU_READ_WRITE | MPU_DEVICE);
#endif
    connect_pins();
#if defined(MC_SDRAM_BYTES)
    failed |= start_sdram(ahb_hz) ? 0u : MC_BOARD_SDRAM_FAILED;
#else
    (void)ahb_hz;
#endif
#if defined(MC_QSPI_BYTES)
    failed |= start_qspi() ? 0u : MC_BOARD_QSPI_FAILED;
#endif
    return failed;
}

#else
typedef int mc_stm32_memories_not_used_t;
#endif
