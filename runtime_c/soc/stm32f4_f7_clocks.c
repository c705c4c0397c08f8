/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks of STM32F4 and STM32F7: oscillator -> PLL -> core = AHB -> APB1, APB2.
 * RCC: RM0090 6.3, RM0385 and RM0410 5.3. PWR: RM0090 5.4, RM0385 and RM0410 4.4. FLASH: RM0090 3.9, RM0385 and
 * RM0410 3.7. The over-drive is entered as in RM0385 and RM0410 4.1.4, "Entering Over-drive mode". */
#include "board_config.h"

#if defined(MC_SOC_STM32F4) || defined(MC_SOC_STM32F7)

#include <stdint.h>

#include "mc_board.h"
#include "mc_stm32.h"
#include "mc_wait.h"

#define RCC_CR MC_REGISTER(0x40023800u)
#define RCC_PLLCFGR MC_REGISTER(0x40023804u)
#define RCC_CFGR MC_REGISTER(0x40023808u)
#define RCC_APB1ENR MC_REGISTER(0x40023840u)
#define PWR_CR MC_REGISTER(0x40007000u)  /* F7: PWR_CR1 */
#define PWR_CSR MC_REGISTER(0x40007004u) /* F7: PWR_CSR1 */
#define FLASH_ACR MC_REGISTER(0x40023c00u)

#define CR_HSI_ON (1u << 0)
#define CR_HSI_READY (1u << 1)
#define CR_HSE_ON (1u << 16)
#define CR_HSE_READY (1u << 17)
#define CR_HSE_BYPASS (1u << 18)
#define CR_PLL_ON (1u << 24)
#define CR_PLL_READY (1u << 25)
#define PLLCFGR_FIELDS 0x0f437fffu /* Q, source, P, N, M */
#define CFGR_SWITCH 3u             /* 0 HSI, 2 PLL */
#define CFGR_SWITCHED (3u << 2)
#define CFGR_DIVIDERS ((15u << 4) | (7u << 10) | (7u << 13)) /* HPRE, PPRE1, PPRE2 */
#define APB1ENR_PWR (1u << 28)
#define CSR_VOS_READY (1u << 14)
#define CR1_OVER_DRIVE (1u << 16)
#define CR1_OVER_DRIVE_SWITCH (1u << 17)
#define ACR_LATENCY 15u
#define ACR_PREFETCH (1u << 8)
#define HSI_HZ 16000000u

#if defined(MC_SOC_STM32F4)
#define CR_VOS (1u << 14) /* RM0090 5.4.1: 1 is scale 1, 0 is scale 2 */
#define CR_VOS_VALUE (MC_VOLTAGE_SCALE == 1u ? CR_VOS : 0u)
#define ACR_CACHES (3u << 9) /* ICEN, DCEN */
#else
#define CR_VOS (3u << 14) /* RM0385 4.4.1: 3 is scale 1, 1 is scale 3 */
#define CR_VOS_VALUE ((4u - MC_VOLTAGE_SCALE) << 14)
#define ACR_CACHES (1u << 9) /* ARTEN: serves the ITCM interface of the flash */
#endif

#define DIVIDERS \
    ((MC_AHB_CODE(MC_AHB_DIVIDER) << 4) | (MC_APB_CODE(MC_APB1_DIVIDER) << 10) | (MC_APB_CODE(MC_APB2_DIVIDER) << 13))
#define PLL_FIELDS \
    ((MC_PLL_Q << 24) | (1u << 22) | ((MC_PLL_P / 2u - 1u) << 16) | (MC_PLL_N << 6) | MC_PLL_M)

/* To the internal oscillator, PLL off: where a reset leaves the chip, and a boot loader may not. */
static void start_from_internal(void)
{
    RCC_CR |= CR_HSI_ON;
    (void)mc_wait(&RCC_CR, CR_HSI_READY, CR_HSI_READY);
    mc_change(&RCC_CFGR, CFGR_SWITCH, 0u);
    (void)mc_wait(&RCC_CFGR, CFGR_SWITCHED, 0u);
    RCC_CR &= ~CR_PLL_ON;
    (void)mc_wait(&RCC_CR, CR_PLL_READY, 0u);
    mc_change(&RCC_CFGR, CFGR_DIVIDERS, 0u);
}

static uint32_t start_oscillator(void)
{
    RCC_CR &= ~CR_HSE_ON;
    (void)mc_wait(&RCC_CR, CR_HSE_READY, 0u);
    mc_change(&RCC_CR, CR_HSE_BYPASS, MC_SOURCE_EXTERNAL ? CR_HSE_BYPASS : 0u);
    RCC_CR |= CR_HSE_ON;
    return mc_wait(&RCC_CR, CR_HSE_READY, CR_HSE_READY) ? 0u : MC_BOARD_OSCILLATOR_FAILED;
}

/* The regulator's scale can only be changed while the PLL is off, and on F7 takes effect when it is on. */
static uint32_t start_pll(void)
{
    RCC_APB1ENR |= APB1ENR_PWR;
    (void)RCC_APB1ENR;
    mc_change(&PWR_CR, CR_VOS, CR_VOS_VALUE);
    mc_change(&RCC_PLLCFGR, PLLCFGR_FIELDS, PLL_FIELDS);
    RCC_CR |= CR_PLL_ON;
#if defined(MC_SOC_STM32F7) && MC_OVER_DRIVE
    PWR_CR |= CR1_OVER_DRIVE;
    if (!mc_wait(&PWR_CSR, CR1_OVER_DRIVE, CR1_OVER_DRIVE)) {
        return MC_BOARD_POWER_FAILED;
    }
    PWR_CR |= CR1_OVER_DRIVE_SWITCH;
    if (!mc_wait(&PWR_CSR, CR1_OVER_DRIVE_SWITCH, CR1_OVER_DRIVE_SWITCH)) {
        return MC_BOARD_POWER_FAILED;
    }
#endif
    if (!mc_wait(&RCC_CR, CR_PLL_READY, CR_PLL_READY)) {
        return MC_BOARD_PLL_FAILED;
    }
    return mc_wait(&PWR_CSR, CSR_VOS_READY, CSR_VOS_READY) ? 0u : MC_BOARD_POWER_FAILED;
}

/* Wait states and bus dividers first: no clock may ever be above its limit. */
static uint32_t switch_to_pll(void)
{
    mc_change(&FLASH_ACR, ACR_LATENCY, MC_FLASH_WAIT_STATES);
    if (!mc_wait(&FLASH_ACR, ACR_LATENCY, MC_FLASH_WAIT_STATES)) {
        return MC_BOARD_FLASH_FAILED;
    }
    FLASH_ACR |= ACR_PREFETCH | ACR_CACHES;
    mc_change(&RCC_CFGR, CFGR_DIVIDERS, DIVIDERS);
    mc_change(&RCC_CFGR, CFGR_SWITCH, 2u);
    return mc_wait(&RCC_CFGR, CFGR_SWITCHED, 2u << 2) ? 0u : MC_BOARD_SWITCH_FAILED;
}

mc_clocks_t mc_stm32_clocks(void)
{
    mc_clocks_t clocks = { 0u, MC_CLOCK_HZ, MC_AHB_HZ, MC_APB1_HZ, MC_APB2_HZ };

    start_from_internal();
    clocks.status = start_oscillator();
    if (clocks.status == 0u) {
        clocks.status = start_pll();
    }
    if (clocks.status == 0u) {
        clocks.status = switch_to_pll();
    }
    if (clocks.status != 0u) {
        start_from_internal();
        clocks = (mc_clocks_t){ clocks.status | MC_BOARD_FALLBACK_CLOCK, HSI_HZ, HSI_HZ, HSI_HZ, HSI_HZ };
    }
    return clocks;
}

#else
typedef int mc_stm32f4_f7_not_used_t;
#endif
