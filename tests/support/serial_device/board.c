/* SPDX-License-Identifier: Apache-2.0 */
/* A board that is a library: bytes go in and come out by function calls, faults are thrown by the network itself. */
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "mc_board.h"
#include "mc_frame.h"
#include "mc_serial.h"

#define SENT_BYTES (1u << 20)

void sim_start(void);
void sim_feed(const uint8_t *bytes, size_t count);
size_t sim_take(uint8_t *to, size_t most);
void sim_trap(void);

static uint8_t sent[SENT_BYTES];
static size_t sent_count;
static uint32_t now;
static jmp_buf trap;

void mc_console_write(const uint8_t *bytes, size_t count)
{
    if (count <= SENT_BYTES - sent_count) {
        memcpy(sent + sent_count, bytes, count);
        sent_count += count;
    }
}

uint32_t mc_cycles(void)
{
    now += 7u;
    return now;
}

uint32_t mc_cycles_hz(void)
{
    return 1000000u;
}

uint32_t mc_clock_hz(void)
{
    return 2000000u;
}

uint32_t mc_board_status(void)
{
    return 0u;
}

uint32_t mc_stack_bytes(void)
{
    return 4096u;
}

void mc_stack_paint(void)
{
}

uint32_t mc_stack_used(void)
{
    return 0u;
}

/* What a fault does on a core: the network stops where it is, the report is sent, the firmware begins afresh. */
void sim_trap(void)
{
    longjmp(trap, 1);
}

void sim_start(void)
{
    mc_serial_start();
}

void sim_feed(const uint8_t *bytes, size_t count)
{
    volatile size_t next = 0u;

    if (setjmp(trap) != 0) {
        mc_fault_t fault;
        memset(&fault, 0, sizeof fault);
        fault.vector = 6u;
        fault.pc = 0x1234u;
        fault.cfsr = 1u << 16;
        mc_serial_fault(&fault);
        mc_serial_start();
    }
    while (next < count) {
        const uint8_t byte = bytes[next];
        ++next;
        mc_serial_receive(byte);
    }
}

size_t sim_take(uint8_t *to, size_t most)
{
    const size_t count = sent_count < most ? sent_count : most;
    memcpy(to, sent, count);
    memmove(sent, sent + count, sent_count - count);
    sent_count -= count;
    return count;
}

#if defined(SIM_MAIN)
int main(void)
{
    static uint8_t taken[SENT_BYTES];
    int byte;

    sim_start();
    while ((byte = getchar()) != EOF) {
        const uint8_t value = (uint8_t)byte;
        sim_feed(&value, 1u);
        (void)sim_take(taken, sizeof taken);
    }
    return 0;
}
#endif
