/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks of STM32H742, H743 and H753: oscillator -> PLL1 -> core -> AHB and AXI -> four APB.
 * RM0433: RCC 8.7, PWR 6.8, FLASH 4.9, SYSCFG 12.3, DBGMCU 60.5.8; the highest voltage scale as in 6.6.2, the
 * supply as in 6.4.1. Revisions before V (REV_ID 0x2003) are rated for 400 MHz only: their errata, ES0392. */
#include "board_config.h"

#if defined(MC_SOC_STM32H7)

#include <stdint.h>

#include "mc_board.h"
#include "mc_stm32.h"
#include "mc_wait.h"

#define RCC_CR MC_REGISTER(0x58024400u)
#define RCC_CFGR MC_REGISTER(0x58024410u)
#define RCC_D1CFGR MC_REGISTER(0x58024418u)
#define RCC_D2CFGR MC_REGISTER(0x5802441cu)
#define RCC_D3CFGR MC_REGISTER(0x58024420u)
#define RCC_PLLCKSELR MC_REGISTER(0x58024428u)
#define RCC_PLLCFGR MC_REGISTER(0x5802442cu)
#define RCC_PLL1DIVR MC_REGISTER(0x58024430u)
#define RCC_PLL1FRACR MC_REGISTER(0x58024434u)
#define RCC_D2CCIP2R MC_REGISTER(0x58024454u)
#define RCC_AHB2ENR MC_REGISTER(0x580244dcu)
#define RCC_APB4ENR MC_REGISTER(0x580244f4u)
#define PWR_CSR1 MC_REGISTER(0x58024804u)
#define PWR_CR3 MC_REGISTER(0x5802480cu)
#define PWR_D3CR MC_REGISTER(0x58024818u)
#define SYSCFG_PWRCR MC_REGISTER(0x5800042cu)
#define FLASH_ACR MC_REGISTER(0x52002000u)
#define DBGMCU_IDCODE MC_REGISTER(0x5c001000u)

#define CR_HSI_ON (1u << 0)
#define CR_HSI_READY (1u << 2)
#define CR_HSI_DIVIDER (3u << 3)
#define CR_HSE_ON (1u << 16)
#define CR_HSE_READY (1u << 17)
#define CR_HSE_BYPASS (1u << 18)
#define CR_PLL1_ON (1u << 24)
#define CR_PLL1_READY (1u << 25)
#define CFGR_SWITCH 7u /* 0 HSI, 3 PLL1 */
#define CFGR_SWITCHED (7u << 3)
#define CFGR_PLL1 3u
#define PLLCKSELR_PLL1 ((63u << 4) | 3u)
#define PLLCKSELR_HSE 2u
#define PLLCFGR_PLL1 ((7u << 16) | 15u) /* outputs; input range, oscillator range, fraction */
#define PLLCFGR_P_ENABLED (1u << 16)
#define CR3_SUPPLY 7u
#define CR3_LDO 2u
#define CSR1_VOS_ACTIVE (1u << 13)
#define D3CR_VOS_READY (1u << 13)
#define D3CR_VOS (3u << 14)
#define APB4ENR_SYSCFG (1u << 1)
#define PWRCR_OVER_DRIVE 1u
#define ACR_FIELDS 0x3fu
#define AHB2ENR_SRAM (7u << 29) /* SRAM1 to SRAM3 */
#define CCIP2_USARTS 0x3fu
#define REVISION_V 0x2003u
#define HSI_HZ 64000000u

#define PLL_INPUT_HZ (MC_SOURCE_HZ / MC_PLL_M)
#define PLL_INPUT_RANGE \
    (PLL_INPUT_HZ < 2000000u ? 0u : PLL_INPUT_HZ < 4000000u ? 1u : PLL_INPUT_HZ < 8000000u ? 2u : 3u)
/* Voltage scale 0 is scale 1 and the over-drive. */
#define VOS_VALUE (MC_VOLTAGE_SCALE <= 1u ? 3u : MC_VOLTAGE_SCALE == 2u ? 2u : 1u)
/* WRHIGHFREQ, table 17 "FLASH recommended number of wait states and programming delay". */
#define PROGRAMMING_DELAY (MC_AHB_HZ <= 70000000u ? 0u : MC_AHB_HZ <= 140000000u ? 1u : 2u)

static void start_from_internal(void)
{
    RCC_CR |= CR_HSI_ON;
    (void)mc_wait(&RCC_CR, CR_HSI_READY, CR_HSI_READY);
    mc_change(&RCC_CFGR, CFGR_SWITCH, 0u);
    (void)mc_wait(&RCC_CFGR, CFGR_SWITCHED, 0u);
    mc_change(&RCC_CR, CR_HSI_DIVIDER, 0u);
    (void)mc_wait(&RCC_CR, CR_HSI_READY, CR_HSI_READY);
    RCC_CR &= ~CR_PLL1_ON;
    (void)mc_wait(&RCC_CR, CR_PLL1_READY, 0u);
    /* Half of 64 MHz for the peripherals: at the voltage after a reset they may have 50 MHz (data sheet). */
    RCC_D1CFGR = MC_APB_CODE(2u) << 4;
    RCC_D2CFGR = (MC_APB_CODE(2u) << 8) | (MC_APB_CODE(2u) << 4);
    RCC_D3CFGR = MC_APB_CODE(2u) << 4;
}

/* The internal regulator, and as much voltage as the rated clock needs. CR3 can be written once after
 * power-on; a boot loader has then written the same. */
static uint32_t raise_voltage(void)
{
    mc_change(&PWR_CR3, CR3_SUPPLY, CR3_LDO);
    if (!mc_wait(&PWR_CSR1, CSR1_VOS_ACTIVE, CSR1_VOS_ACTIVE)) {
        return MC_BOARD_POWER_FAILED;
    }
    RCC_APB4ENR |= APB4ENR_SYSCFG;
    (void)RCC_APB4ENR;
    SYSCFG_PWRCR &= ~PWRCR_OVER_DRIVE;
    mc_change(&PWR_D3CR, D3CR_VOS, VOS_VALUE << 14);
    if (!mc_wait(&PWR_D3CR, D3CR_VOS_READY, D3CR_VOS_READY)) {
        return MC_BOARD_POWER_FAILED;
    }
#if MC_VOLTAGE_SCALE == 0
    SYSCFG_PWRCR |= PWRCR_OVER_DRIVE;
    if (!mc_wait(&PWR_D3CR, D3CR_VOS_READY, D3CR_VOS_READY)) {
        return MC_BOARD_POWER_FAILED;
    }
#endif
    return 0u;
}

static uint32_t start_oscillator(void)
{
    RCC_CR &= ~CR_HSE_ON;
    (void)mc_wait(&RCC_CR, CR_HSE_READY, 0u);
    mc_change(&RCC_CR, CR_HSE_BYPASS, MC_SOURCE_EXTERNAL ? CR_HSE_BYPASS : 0u);
    RCC_CR |= CR_HSE_ON;
    return mc_wait(&RCC_CR, CR_HSE_READY, CR_HSE_READY) ? 0u : MC_BOARD_OSCILLATOR_FAILED;
}

static uint32_t start_pll(void)
{
    mc_change(&RCC_PLLCKSELR, PLLCKSELR_PLL1, (MC_PLL_M << 4) | PLLCKSELR_HSE);
    mc_change(&RCC_PLLCFGR, PLLCFGR_PLL1, PLLCFGR_P_ENABLED | (PLL_INPUT_RANGE << 2));
    mc_change(&RCC_PLL1DIVR, 0xffffu, ((MC_PLL_P - 1u) << 9) | (MC_PLL_N - 1u));
    RCC_PLL1FRACR = 0u;
    RCC_CR |= CR_PLL1_ON;
    return mc_wait(&RCC_CR, CR_PLL1_READY, CR_PLL1_READY) ? 0u : MC_BOARD_PLL_FAILED;
}

/* Wait states and bus dividers first: no clock may ever be above its limit. */
static uint32_t switch_to_pll(void)
{
    const uint32_t flash = (PROGRAMMING_DELAY << 4) | MC_FLASH_WAIT_STATES;

    mc_change(&FLASH_ACR, ACR_FIELDS, flash);
    if (!mc_wait(&FLASH_ACR, ACR_FIELDS, flash)) {
        return MC_BOARD_FLASH_FAILED;
    }
    RCC_D1CFGR = (MC_APB_CODE(MC_APB1_DIVIDER) << 4) | MC_AHB_CODE(MC_AHB_DIVIDER); /* APB3 as APB1 */
    RCC_D2CFGR = (MC_APB_CODE(MC_APB2_DIVIDER) << 8) | (MC_APB_CODE(MC_APB1_DIVIDER) << 4);
    RCC_D3CFGR = MC_APB_CODE(MC_APB1_DIVIDER) << 4; /* APB4 as APB1 */
    mc_change(&RCC_CFGR, CFGR_SWITCH, CFGR_PLL1);
    return mc_wait(&RCC_CFGR, CFGR_SWITCHED, CFGR_PLL1 << 3) ? 0u : MC_BOARD_SWITCH_FAILED;
}

mc_clocks_t mc_stm32_clocks(void)
{
    mc_clocks_t clocks = { 0u, MC_CLOCK_HZ, MC_AHB_HZ, MC_APB1_HZ, MC_APB2_HZ };

    start_from_internal();
    mc_change(&RCC_D2CCIP2R, CCIP2_USARTS, 0u); /* serial ports on the clocks of their buses */
    RCC_AHB2ENR |= AHB2ENR_SRAM;                /* memory of domain D2 for the application's DMA */
    if (MC_VOLTAGE_SCALE == 0u && (DBGMCU_IDCODE >> 16) < REVISION_V) {
        clocks.status = MC_BOARD_OLD_REVISION;
    }
    if (clocks.status == 0u) {
        clocks.status = raise_voltage();
    }
    if (clocks.status == 0u) {
        clocks.status = start_oscillator();
    }
    if (clocks.status == 0u) {
        clocks.status = start_pll();
    }
    if (clocks.status == 0u) {
        clocks.status = switch_to_pll();
    }
    if (clocks.status != 0u) {
        start_from_internal();
        clocks = (mc_clocks_t){ clocks.status | MC_BOARD_FALLBACK_CLOCK, HSI_HZ, HSI_HZ, HSI_HZ / 2u, HSI_HZ / 2u };
    }
    return clocks;
}

#else
typedef int mc_stm32h7_not_used_t;
#endif
