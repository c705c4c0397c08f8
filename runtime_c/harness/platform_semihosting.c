/* SPDX-License-Identifier: Apache-2.0 */
/* The harness under QEMU: files of the host by semihosting, the CMSDK timer of the MPS2 boards as clock.
 * Timer: Arm Cortex-M System Design Kit TRM, 4.3 "APB timer": CTRL, VALUE (counts down), RELOAD. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "harness_config.h"
#include "mc_platform.h"
#include "mc_semihosting.h"

#define TIMER_CTRL (*(volatile uint32_t *)0x40000000u)
#define TIMER_VALUE (*(volatile uint32_t *)0x40000004u)
#define TIMER_RELOAD (*(volatile uint32_t *)0x40000008u)
#define TIMER_ENABLE 1u
#define OPEN_READ_BINARY 1u
#define OPEN_WRITE_BINARY 5u
#define STACK_PAINT 0xdeadbeefu

extern uint32_t mc_stack_base[]; /* set by the linker script */

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

void mc_platform_timer_start(void)
{
    TIMER_CTRL = 0u;
    TIMER_RELOAD = UINT32_MAX;
    TIMER_VALUE = UINT32_MAX;
    TIMER_CTRL = TIMER_ENABLE;
}

uint32_t mc_platform_timer_ticks(void)
{
    return UINT32_MAX - TIMER_VALUE;
}

uint32_t mc_platform_timer_hz(void)
{
    return MC_TIMER_HZ;
}

/* Neither function may have a frame that reaches into what it paints or searches: both are leaves
 * whose locals live in registers, and no interrupt is enabled. */
__attribute__((noinline)) void mc_platform_stack_paint(void)
{
    const uintptr_t end = mc_platform_stack_pointer();
    for (volatile uint32_t *word = mc_stack_base; (uintptr_t)word < end; ++word) {
        *word = STACK_PAINT;
    }
}

__attribute__((noinline)) uint32_t mc_platform_stack_used(uintptr_t stack_pointer)
{
    const volatile uint32_t *word = mc_stack_base;
    while ((uintptr_t)word < stack_pointer && *word == STACK_PAINT) {
        ++word;
    }
    return (uint32_t)(stack_pointer - (uintptr_t)word);
}
