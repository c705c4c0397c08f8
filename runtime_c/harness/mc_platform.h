/* SPDX-License-Identifier: Apache-2.0 */
/* What the harness asks of the machine it runs on: two files, a clock, a stack to measure. */
#ifndef MC_PLATFORM_H
#define MC_PLATFORM_H

#include <stddef.h>
#include <stdint.h>

/* Runs the harness: reads the input file, runs the network, writes the output file. 0 on success. */
int mc_harness_main(void);

/* Called after each step of the network when the program is built for profiling. */
void mc_harness_step(uint32_t index);

/* Opens both files; 0 on success. */
int mc_platform_open(void);

/* Reads exactly `bytes` from the input file; 0 on success. */
int mc_platform_read(void *to, size_t bytes);

/* Appends to the output file; 0 on success. */
int mc_platform_write(const void *from, size_t bytes);

/* Closes both files; 0 when everything has been written. */
int mc_platform_close(void);

/* A line for the person who watches. */
void mc_platform_print(const char *text);

/* Clock: ticks since mc_platform_timer_start(), and how many pass in a second. */
void mc_platform_timer_start(void);
uint32_t mc_platform_timer_ticks(void);
uint32_t mc_platform_timer_hz(void);

/* Stack of what runs between the two: paint what lies below the caller's frame, then find the
 * lowest byte that was written, in bytes below `stack_pointer`. MC_STACK_UNKNOWN where the machine
 * cannot tell. */
#define MC_STACK_UNKNOWN 0xffffffffu
void mc_platform_stack_paint(void);
uint32_t mc_platform_stack_used(uintptr_t stack_pointer);

/* The stack pointer of the function that this is inlined into; 0 on the host. */
static inline uintptr_t mc_platform_stack_pointer(void)
{
#if defined(__arm__)
    uintptr_t stack_pointer;
    __asm__ volatile("mov %0, sp" : "=r"(stack_pointer));
    return stack_pointer;
#else
    return 0u;
#endif
}

#endif
