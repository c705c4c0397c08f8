/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up of an Armv7E-M core: vector table, FPU, static data, fault reports.
 * Registers: Armv7-M Architecture Reference Manual (DDI 0403E), B3.2 "System Control Space". */
#include <stdint.h>

#include "mc_platform.h"
#include "mc_semihosting.h"

#define SCB_CCR (*(volatile uint32_t *)0xe000ed14u)   /* B3.2.8 */
#define SCB_SHCSR (*(volatile uint32_t *)0xe000ed24u) /* B3.2.13 */
#define SCB_CFSR (*(volatile uint32_t *)0xe000ed28u)  /* B3.2.15 */
#define SCB_HFSR (*(volatile uint32_t *)0xe000ed2cu)  /* B3.2.16 */
#define SCB_MMFAR (*(volatile uint32_t *)0xe000ed34u) /* B3.2.18 */
#define SCB_BFAR (*(volatile uint32_t *)0xe000ed38u)  /* B3.2.19 */
#define SCB_CPACR (*(volatile uint32_t *)0xe000ed88u) /* B3.2.20 */

#define CCR_DIV_0_TRP (1u << 4)
#define SHCSR_FAULTS_ENABLED (7u << 16) /* usage, bus and memory management faults */
#define CPACR_FPU_ENABLED (0xfu << 20)
#define VECTOR_COUNT 16u

extern uint32_t mc_data_load[], mc_data_start[], mc_data_end[];
extern uint32_t mc_bss_start[], mc_bss_end[];
extern uint32_t mc_stack_base[], mc_stack_top[];

_Noreturn void mc_reset_handler(void);
_Noreturn void mc_report_fault(const uint32_t *frame, uint32_t vector);
void mc_fault_handler(void);

typedef union {
    uint32_t *stack;
    void (*handler)(void);
} mc_vector_t;

__attribute__((section(".vectors"), used)) static const mc_vector_t mc_vectors[VECTOR_COUNT] = {
    { .stack = mc_stack_top },       { .handler = mc_reset_handler }, { .handler = mc_fault_handler },
    { .handler = mc_fault_handler }, { .handler = mc_fault_handler }, { .handler = mc_fault_handler },
    { .handler = mc_fault_handler }, { .handler = mc_fault_handler }, { .handler = mc_fault_handler },
    { .handler = mc_fault_handler }, { .handler = mc_fault_handler }, { .handler = mc_fault_handler },
    { .handler = mc_fault_handler }, { .handler = mc_fault_handler }, { .handler = mc_fault_handler },
    { .handler = mc_fault_handler },
};

static _Noreturn void leave(uint32_t reason)
{
    for (;;) {
        /* On 32-bit Arm the reason is passed as the argument itself. */
        (void)mc_semihost(MC_SYS_EXIT, (const void *)(uintptr_t)reason);
    }
}

static void print_hex(const char *label, uint32_t value, const char *end)
{
    char digits[9];
    for (uint32_t i = 0; i < 8u; ++i) {
        digits[i] = "0123456789abcdef"[(value >> (28u - 4u * i)) & 15u];
    }
    digits[8] = '\0';
    mc_platform_print(label);
    mc_platform_print(digits);
    mc_platform_print(end);
}

_Noreturn void mc_report_fault(const uint32_t *frame, uint32_t vector)
{
    /* The frame that the core pushes: B1.5.6 "Exception entry behavior". */
    static const char *const names[8] = { "r0 ", "r1 ", "r2 ", "r3 ", "r12 ", "lr ", "pc ", "xpsr " };
    const uintptr_t lowest = (uintptr_t)mc_stack_base, highest = (uintptr_t)mc_stack_top;
    const uintptr_t address = (uintptr_t)frame;

    print_hex("FAULT, exception ", vector & 0x1ffu, "\n");
    if (address >= lowest && address + 8u * sizeof frame[0] <= highest) {
        for (uint32_t i = 0; i < 8u; ++i) {
            print_hex(names[i], frame[i], i % 4u == 3u ? "\n" : "  ");
        }
    } else {
        print_hex("the stack overflowed: sp ", (uint32_t)address, "\n");
    }
    print_hex("cfsr ", SCB_CFSR, "  ");
    print_hex("hfsr ", SCB_HFSR, "  ");
    print_hex("mmfar ", SCB_MMFAR, "  ");
    print_hex("bfar ", SCB_BFAR, "\n");
    leave(MC_EXIT_FAILURE);
}

/* The frame that the core has pushed is handed on, and the report gets a fresh stack: the old one
 * may be what failed. */
__attribute__((naked)) void mc_fault_handler(void)
{
    __asm__ volatile("mrs r0, msp\n"
                     "mrs r1, ipsr\n"
                     "ldr r2, =mc_stack_top\n"
                     "mov sp, r2\n"
                     "b mc_report_fault\n");
}

_Noreturn void mc_reset_handler(void)
{
    SCB_CPACR |= CPACR_FPU_ENABLED;
    SCB_CCR |= CCR_DIV_0_TRP;
    SCB_SHCSR |= SHCSR_FAULTS_ENABLED;
    __asm__ volatile("dsb\n isb" ::: "memory");
    {
        const uint32_t *from = mc_data_load;
        for (uint32_t *to = mc_data_start; to < mc_data_end; ++to, ++from) {
            *to = *from;
        }
    }
    for (uint32_t *to = mc_bss_start; to < mc_bss_end; ++to) {
        *to = 0u;
    }
    leave(mc_harness_main() == 0 ? MC_EXIT_SUCCESS : MC_EXIT_FAILURE);
}
