/* SPDX-License-Identifier: Apache-2.0 */
/* What firmware may ask of the board it runs on: a console, a cycle counter, the stack's depth, a reset.
 *
 * Start-up calls mc_board_init() and then mc_main(), which the application defines. Everything polls;
 * no interrupt is used. Nothing here waits for ever: what does not answer is given up, and told by
 * mc_board_status(). */
#ifndef MC_BOARD_H
#define MC_BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Puts a static buffer without initial value into a region of the board, by the region's name in the board's description:
 * `static MC_IN_REGION(dtcm) uint8_t buffer[512];`. Start-up does not clear it. A region that the board does not have, or
 * that is flash, is an error when the program is linked. */
#define MC_IN_REGION(region) __attribute__((section(".bss.mc_in." #region)))

/* The application. Start-up calls mc_board_exit() with what it returns. */
int mc_main(void);

/* Clocks, console and cycle counter. Start-up has called it before mc_main() begins. */
void mc_board_init(void);

/* Bits of mc_board_status(); 0 when all is as the board's description says. */
#define MC_BOARD_OSCILLATOR_FAILED 1u /* the crystal or the external clock did not start */
#define MC_BOARD_PLL_FAILED 2u        /* the PLL did not lock */
#define MC_BOARD_POWER_FAILED 4u      /* the regulator did not reach the voltage that the rated clock needs */
#define MC_BOARD_SWITCH_FAILED 8u     /* the system clock did not switch */
#define MC_BOARD_FLASH_FAILED 16u     /* the flash did not take its wait states */
#define MC_BOARD_OLD_REVISION 32u     /* this revision of the chip is not rated for the board's clock */
#define MC_BOARD_FALLBACK_CLOCK 64u   /* running on the internal oscillator: mc_clock_hz() tells its frequency */
#define MC_BOARD_SDRAM_FAILED 128u    /* the external RAM does not answer */
#define MC_BOARD_QSPI_FAILED 256u     /* the external flash does not answer, or is another part */
uint32_t mc_board_status(void);

/* The core's clock, and how fast mc_cycles() counts: the same but where there is no cycle counter
 * and a timer stands in for it. The counter wraps; take differences in uint32_t. */
uint32_t mc_clock_hz(void);
uint32_t mc_cycles(void);
uint32_t mc_cycles_hz(void);

/* Console: takes a byte that has arrived, 1 if there was one, 0 if not; bytes that came faster than
 * they were taken are lost, as a protocol must expect. Writing returns when the last byte is on its
 * way; where the console takes nothing, what remains is dropped. */
int mc_console_read(uint8_t *byte);
void mc_console_write(const uint8_t *bytes, size_t count);

/* Starts the firmware afresh, as after power-on. */
_Noreturn void mc_board_reset(void);

/* The end: tells an emulator or debugger how it went where the board's console is one, else stops. */
_Noreturn void mc_board_exit(int status);

/* Stack: its size, and the most that was used below the caller since mc_stack_paint(). The
 * second counts from the top of the stack, so it includes the caller and its callers. */
uint32_t mc_stack_bytes(void);
void mc_stack_paint(void);
uint32_t mc_stack_used(void);

/* A fault, as the core left it. */
typedef struct {
    uint32_t vector;             /* number of the exception: 3 hard fault, 4 memory, 5 bus, 6 usage */
    uint32_t sp;                 /* stack pointer when it happened */
    uint32_t stack_overflow;     /* 1: sp is outside of the stack, and the next eight are 0 */
    uint32_t r0, r1, r2, r3, r12, lr, pc, xpsr;
    uint32_t cfsr, hfsr, mmfar, bfar; /* Armv7-M ARM (DDI 0403E), B3.2.15 to B3.2.19 */
} mc_fault_t;

/* Called on a fresh stack. Start-up has one that writes the registers as text to the console; an
 * application that defines its own replaces it. When it returns, mc_board_exit(1) follows. */
void mc_fault_report(const mc_fault_t *fault);

/* The registers of a fault as lines of text, piece by piece. */
void mc_fault_print(const mc_fault_t *fault, void (*print)(const char *text));

#endif
