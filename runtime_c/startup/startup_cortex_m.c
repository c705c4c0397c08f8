/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up of an Armv7E-M core: vector table, FPU, memory protection, static data, caches, faults, stack.
 * Registers: Armv7-M Architecture Reference Manual (DDI 0403E), B3.2 "System Control Space" and
 * B3.5 "Protected Memory System Architecture". */
#include <stddef.h>
#include <stdint.h>

#include "board_config.h"
#include "mc_board.h"
#include "mc_cache.h"

#define SCB_VTOR (*(volatile uint32_t *)0xe000ed08u)  /* B3.2.5 */
#define SCB_AIRCR (*(volatile uint32_t *)0xe000ed0cu) /* B3.2.6 */
#define SCB_CCR (*(volatile uint32_t *)0xe000ed14u)   /* B3.2.8 */
#define SCB_SHCSR (*(volatile uint32_t *)0xe000ed24u) /* B3.2.13 */
#define SCB_CFSR (*(volatile uint32_t *)0xe000ed28u)  /* B3.2.15 */
#define SCB_HFSR (*(volatile uint32_t *)0xe000ed2cu)  /* B3.2.16 */
#define SCB_MMFAR (*(volatile uint32_t *)0xe000ed34u) /* B3.2.18 */
#define SCB_BFAR (*(volatile uint32_t *)0xe000ed38u)  /* B3.2.19 */
#define SCB_CPACR (*(volatile uint32_t *)0xe000ed88u) /* B3.2.20 */
#define MPU_TYPE (*(volatile uint32_t *)0xe000ed90u)  /* B3.5.4 */
#define MPU_CTRL (*(volatile uint32_t *)0xe000ed94u)  /* B3.5.5 */
#define MPU_RBAR (*(volatile uint32_t *)0xe000ed9cu)  /* B3.5.8 */
#define MPU_RASR (*(volatile uint32_t *)0xe000eda0u)  /* B3.5.9 */

#define AIRCR_RESET 0x05fa0004u /* VECTKEY, SYSRESETREQ */
#define CCR_DIV_0_TRP (1u << 4)
#define SHCSR_FAULTS_ENABLED (7u << 16) /* usage, bus and memory management faults */
#define CPACR_FPU_ENABLED (0xfu << 20)
#define MPU_RBAR_VALID (1u << 4)
#define MPU_CTRL_ENABLED 5u         /* ENABLE, PRIVDEFENA: elsewhere the default memory map holds */
#define MPU_RASR_NEVER (1u << 28)   /* XN, and AP 0: no access */
/* 4 GiB; of its eight parts 0, 1, 2 and 7 are left out, so it covers 0x60000000 to 0xdfffffff. A Cortex-M7
 * may read ahead into memory that nobody has set up, and hang. */
#define MPU_RASR_NO_EXTERNAL (MPU_RASR_NEVER | (0x87u << 8) | (31u << 1) | 1u)
/* 32 KiB below the stack, where not every chip and no emulator answers with a fault. */
#define MPU_RASR_GUARD (MPU_RASR_NEVER | (14u << 1) | 1u)

#define VECTOR_COUNT 16u
#define STACK_PAINT 0xdeadbeefu

extern const uint32_t mc_data_load[], mc_kernels_load[];
extern uint32_t mc_data_start[], mc_data_end[];
extern uint32_t mc_kernels_start[], mc_kernels_end[];
extern uint32_t mc_bss_start[], mc_bss_end[];
extern uint32_t mc_stack_base[], mc_stack_top[];

_Noreturn void mc_reset_handler(void);
_Noreturn void mc_fault_entry(const uint32_t *frame, uint32_t vector);
void mc_fault_handler(void);

typedef union {
    uint32_t *stack;
    void (*handler)(void);
} mc_vector_t;

/* VTOR wants the table aligned to a power of two no less than its size (B3.2.5). */
__attribute__((section(".vectors"), used, aligned(128))) static const mc_vector_t mc_vectors[VECTOR_COUNT] = {
    { .stack = mc_stack_top },       { .handler = mc_reset_handler }, { .handler = mc_fault_handler },
    { .handler = mc_fault_handler }, { .handler = mc_fault_handler }, { .handler = mc_fault_handler },
    { .handler = mc_fault_handler }, { .handler = mc_fault_handler }, { .handler = mc_fault_handler },
    { .handler = mc_fault_handler }, { .handler = mc_fault_handler }, { .handler = mc_fault_handler },
    { .handler = mc_fault_handler }, { .handler = mc_fault_handler }, { .handler = mc_fault_handler },
    { .handler = mc_fault_handler },
};

static void copy_words(uint32_t *to, const uint32_t *end, const uint32_t *from)
{
    while (to < end) {
        *to++ = *from++;
    }
}

/* ---- faults ---- */

_Noreturn void mc_fault_entry(const uint32_t *frame, uint32_t vector)
{
    const uintptr_t lowest = (uintptr_t)mc_stack_base, highest = (uintptr_t)mc_stack_top;
    const uintptr_t address = (uintptr_t)frame;
    mc_fault_t fault = { 0 };

    fault.vector = vector & 0x1ffu;
    fault.sp = (uint32_t)address;
    fault.cfsr = SCB_CFSR;
    fault.hfsr = SCB_HFSR;
    fault.mmfar = SCB_MMFAR;
    fault.bfar = SCB_BFAR;
    /* The frame that the core pushes: B1.5.6 "Exception entry behavior". The reader's own frame is
     * at the top of the stack, so what is wanted may be overwritten only when the stack was empty. */
    if (address >= lowest && address + 8u * sizeof frame[0] <= highest) {
        fault.r0 = frame[0];
        fault.r1 = frame[1];
        fault.r2 = frame[2];
        fault.r3 = frame[3];
        fault.r12 = frame[4];
        fault.lr = frame[5];
        fault.pc = frame[6];
        fault.xpsr = frame[7];
    } else {
        fault.stack_overflow = 1u;
    }
    mc_fault_report(&fault);
    mc_board_exit(1);
}

/* The frame that the core has pushed is handed on, and the report gets a fresh stack: the old one
 * may be what failed. */
__attribute__((naked)) void mc_fault_handler(void)
{
    __asm__ volatile("mrs r0, msp\n"
                     "mrs r1, ipsr\n"
                     "ldr r2, =mc_stack_top\n"
                     "mov sp, r2\n"
                     "b mc_fault_entry\n");
}

__attribute__((weak)) _Noreturn void mc_board_exit(int status)
{
    (void)status;
    for (;;) {
        __asm__ volatile("wfi");
    }
}

_Noreturn void mc_board_reset(void)
{
#if MC_DATA_CACHE
    mc_data_cache_clean(); /* what is to outlive the reset */
#endif
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = AIRCR_RESET;
    for (;;) {
        __asm__ volatile("dsb" ::: "memory");
    }
}

/* ---- stack ---- */

/* Neither function may have a frame that reaches into what it paints or searches: both are leaves
 * whose locals live in registers, and no interrupt is enabled. */
__attribute__((noinline)) void mc_stack_paint(void)
{
    uintptr_t end;
    __asm__ volatile("mov %0, sp" : "=r"(end));
    for (volatile uint32_t *word = mc_stack_base; (uintptr_t)word < end; ++word) {
        *word = STACK_PAINT;
    }
}

__attribute__((noinline)) uint32_t mc_stack_used(void)
{
    const volatile uint32_t *word = mc_stack_base;
    while ((uintptr_t)word < (uintptr_t)mc_stack_top && *word == STACK_PAINT) {
        ++word;
    }
    return (uint32_t)((uintptr_t)mc_stack_top - (uintptr_t)word);
}

uint32_t mc_stack_bytes(void)
{
    return (uint32_t)((uintptr_t)mc_stack_top - (uintptr_t)mc_stack_base);
}

/* ---- reset ---- */

static void protect_memory(void)
{
    MPU_CTRL = 0u; /* a boot loader may have left regions of its own */
    for (uint32_t region = 0; region < (MPU_TYPE >> 8 & 0xffu); ++region) {
        MPU_RBAR = MPU_RBAR_VALID | region;
        MPU_RASR = 0u;
    }
#if MC_NO_EXTERNAL_MEMORY
    MPU_RBAR = MPU_RBAR_VALID;
    MPU_RASR = MPU_RASR_NO_EXTERNAL;
#endif
#if MC_STACK_GUARD
    MPU_RBAR = MC_STACK_GUARD | MPU_RBAR_VALID | 1u;
    MPU_RASR = MPU_RASR_GUARD;
#endif
    MPU_CTRL = MPU_CTRL_ENABLED;
}

_Noreturn void mc_reset_handler(void)
{
    /* A boot loader may have left another table and stack, and interrupts on. */
    __asm__ volatile("cpsid i" ::: "memory");
    SCB_VTOR = (uint32_t)(uintptr_t)mc_vectors;
    SCB_CPACR |= CPACR_FPU_ENABLED;
    SCB_CCR |= CCR_DIV_0_TRP;
    SCB_SHCSR |= SHCSR_FAULTS_ENABLED;
    protect_memory();
    __asm__ volatile("dsb\n isb" ::: "memory");
    copy_words(mc_data_start, mc_data_end, mc_data_load);
    copy_words(mc_kernels_start, mc_kernels_end, mc_kernels_load);
    for (uint32_t *to = mc_bss_start; to < mc_bss_end; ++to) {
        *to = 0u;
    }
    mc_stack_paint();
#if MC_INSTRUCTION_CACHE
    mc_instruction_cache_enable();
#endif
#if MC_DATA_CACHE
    mc_data_cache_enable();
#endif
    __asm__ volatile("dsb\n isb\n cpsie i" ::: "memory");
    mc_board_init();
    mc_board_exit(mc_main());
}
