/* SPDX-License-Identifier: Apache-2.0 */
/* Tells its clocks over the console, then answers each input with the outputs, as often as the first byte says; or
 * starts afresh (0xff), meets an undefined instruction (0xfe), or runs out of stack (0xfd). */
#include <stdint.h>

#include "harness_config.h"
#include "mc_board.h"

static _Alignas(MC_ARENA_ALIGN) uint8_t arena[MC_ARENA_BYTES] __attribute__((section(".bss.mc_arena")));

static void receive(uint8_t *to, uint32_t count)
{
    while (count != 0u) {
        if (mc_console_read(to) != 0) {
            ++to;
            --count;
        }
    }
}

static void tell(uint32_t word)
{
    mc_console_write((const uint8_t *)&word, sizeof word);
}

static uint32_t dig(volatile const uint8_t *from)
{
    volatile uint8_t hole[256];
    hole[0] = *from;
    return dig(hole) + hole[0];
}

int mc_main(void)
{
    uint8_t count = 0;

    tell(mc_board_status());
    tell(mc_clock_hz());
    tell(mc_cycles_hz());
    tell(mc_stack_bytes());
    receive(&count, 1u);
    if (count == 0xffu) {
        mc_board_reset();
    }
    if (count == 0xfeu) {
        __asm__ volatile("udf #0");
    }
    if (count == 0xfdu) {
        tell(dig(&count));
    }
    for (; count != 0u; --count) {
        const uint32_t start = mc_cycles();
        uint32_t status;

        for (uint32_t i = 0; i < MC_INPUT_COUNT; ++i) {
            receive(mc_network_input(arena, i), mc_input_bytes[i]);
        }
        mc_stack_paint();
        status = (uint32_t)mc_network_run(arena, MC_ARENA_BYTES);
        tell(status);
        tell(mc_cycles() - start);
        tell(mc_stack_used());
        for (uint32_t i = 0; i < MC_OUTPUT_COUNT; ++i) {
            mc_console_write(mc_network_output(arena, i), mc_output_bytes[i]);
        }
    }
    return 0;
}
