/* SPDX-License-Identifier: Apache-2.0 */
/* The harness under an emulator or a debugger: files of the host by semihosting. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mc_board.h"
#include "mc_platform.h"
#include "mc_semihosting.h"

#define OPEN_READ_BINARY 1u
#define OPEN_WRITE_BINARY 5u

static const char input_name[] = "samples.bin"; /* in the emulator's working folder */
static const char output_name[] = "results.bin";
static int32_t input_handle = -1;
static int32_t output_handle = -1;

static int32_t open_file(const char *name, uint32_t mode)
{
    const uintptr_t block[3] = { (uintptr_t)name, mode, strlen(name) };
    return mc_semihost(MC_SYS_OPEN, block);
}

static int close_file(int32_t handle)
{
    const uint32_t block[1] = { (uint32_t)handle };
    return mc_semihost(MC_SYS_CLOSE, block) != 0;
}

int mc_platform_open(void)
{
    input_handle = open_file(input_name, OPEN_READ_BINARY);
    output_handle = open_file(output_name, OPEN_WRITE_BINARY);
    return input_handle < 0 || output_handle < 0;
}

int mc_platform_read(void *to, size_t bytes)
{
    const uintptr_t block[3] = { (uintptr_t)input_handle, (uintptr_t)to, bytes };
    return bytes != 0u && mc_semihost(MC_SYS_READ, block) != 0; /* the number of bytes not read */
}

int mc_platform_write(const void *from, size_t bytes)
{
    const uintptr_t block[3] = { (uintptr_t)output_handle, (uintptr_t)from, bytes };
    return bytes != 0u && mc_semihost(MC_SYS_WRITE, block) != 0; /* the number of bytes not written */
}

int mc_platform_close(void)
{
    const int input_failed = close_file(input_handle);
    const int output_failed = close_file(output_handle);
    return input_failed || output_failed;
}

void mc_platform_print(const char *text)
{
    (void)mc_semihost(MC_SYS_WRITE0, text);
}

static uint32_t timer_origin;

void mc_platform_timer_start(void)
{
    timer_origin = mc_cycles();
}

uint32_t mc_platform_timer_ticks(void)
{
    return mc_cycles() - timer_origin;
}

uint32_t mc_platform_timer_hz(void)
{
    return mc_cycles_hz();
}

void mc_platform_stack_paint(void)
{
    mc_stack_paint();
}

uint32_t mc_platform_stack_used(uintptr_t stack_pointer)
{
    extern uint32_t mc_stack_top[]; /* set by the linker script */
    const uint32_t above = (uint32_t)((uintptr_t)mc_stack_top - stack_pointer);
    const uint32_t used = mc_stack_used();
    return used > above ? used - above : 0u;
}

int mc_main(void)
{
    return mc_harness_main();
}

void mc_fault_report(const mc_fault_t *fault)
{
    mc_fault_print(fault, mc_platform_print);
}

_Noreturn void mc_board_exit(int status)
{
    const uintptr_t reason = status == 0 ? MC_EXIT_SUCCESS : MC_EXIT_FAILURE;
    for (;;) {
        /* On 32-bit Arm the reason is passed as the argument itself. */
        (void)mc_semihost(MC_SYS_EXIT, (const void *)reason);
    }
}
