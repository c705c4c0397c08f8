/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a generated network over samples from a file and writes what it computes to another.
 *
 * Input file, all numbers little-endian uint32:
 *     magic "MCIN", version, mode, number of samples; then for each sample the bytes of each input.
 * Output file: chunks of {tag, number of payload bytes, payload}:
 *     "HELO"  version, arena bytes, alignment, inputs, outputs, steps, ticks per second, contract
 *     "STEP"  (layers) step, bytes of an output of the step as it lies in the arena, right after the step
 *     "SAMP"  sample, status, fences intact, ticks, stack bytes
 *     "TIME"  (bench) ticks of each step
 *     "OUTP"  output index, its bytes
 *     "DONE"  number of samples
 * The arena is the guarded one of mc_guard.h; a network that is fed by rows has its image outside of it.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "harness_config.h"
#include "mc_feed.h"
#include "mc_guard.h"
#include "mc_platform.h"

#define MC_MAGIC 0x4e49434du /* "MCIN" */
#define MC_VERSION 1u
#define MC_TAG(a, b, c, d) ((uint32_t)(a) | ((uint32_t)(b) << 8) | ((uint32_t)(c) << 16) | ((uint32_t)(d) << 24))

enum { MC_MODE_RUN = 0, MC_MODE_BENCH = 1, MC_MODE_LAYERS = 2 };

static uint32_t mc_mode;
static int mc_write_failed;
static uint32_t mc_last_ticks;
static uint32_t mc_step_ticks[MC_STEP_COUNT + 1u];

static void write_bytes(const void *from, size_t bytes)
{
    if (mc_platform_write(from, bytes) != 0) {
        mc_write_failed = 1;
    }
}

static void write_chunk(uint32_t tag, const uint32_t *words, uint32_t word_count, const void *bytes, size_t byte_count)
{
    const uint32_t head[2] = { tag, word_count * 4u + (uint32_t)byte_count };
    write_bytes(head, sizeof head);
    write_bytes(words, word_count * sizeof words[0]);
    if (byte_count != 0u) {
        write_bytes(bytes, byte_count);
    }
}

void mc_harness_step(uint32_t index)
{
    const uint32_t now = mc_platform_timer_ticks();

    if (index < MC_STEP_COUNT) {
        mc_step_ticks[index] += now - mc_last_ticks;
    }
    if (mc_mode == MC_MODE_LAYERS) {
        for (size_t i = 0; i < MC_SEGMENT_COUNT; ++i) {
            if (mc_segments[i].step == index) {
                write_chunk(MC_TAG('S', 'T', 'E', 'P'), &index, 1u, mc_guard_arena() + mc_segments[i].offset, mc_segments[i].bytes);
            }
        }
    }
    mc_last_ticks = mc_platform_timer_ticks();
}

static int read_inputs(void)
{
    for (size_t i = 0; i < MC_INPUT_COUNT; ++i) {
        void *const input = mc_feed_input(i);
        if (input == NULL || mc_platform_read(input, mc_input_bytes[i]) != 0) {
            return 1;
        }
    }
    return 0;
}

static void run_sample(uint32_t index)
{
    uintptr_t stack_pointer;
    uint32_t record[5];

    memset(mc_step_ticks, 0, sizeof mc_step_ticks);
    mc_last_ticks = 0u;
    stack_pointer = mc_platform_stack_pointer();
    mc_platform_stack_paint();
    mc_platform_timer_start();
    record[1] = mc_feed_run();
    record[3] = mc_platform_timer_ticks();
    record[4] = mc_platform_stack_used(stack_pointer);
    record[2] = mc_guard_intact();
    record[0] = index;
    write_chunk(MC_TAG('S', 'A', 'M', 'P'), record, 5u, NULL, 0u);
    if (mc_mode == MC_MODE_BENCH) {
        write_chunk(MC_TAG('T', 'I', 'M', 'E'), mc_step_ticks, MC_STEP_COUNT, NULL, 0u);
    }
    for (uint32_t i = 0; i < MC_OUTPUT_COUNT; ++i) {
        const void *const output = mc_network_output(mc_guard_arena(), i);
        if (output != NULL) {
            write_chunk(MC_TAG('O', 'U', 'T', 'P'), &i, 1u, output, mc_output_bytes[i]);
        }
    }
}

int mc_harness_main(void)
{
    uint32_t head[4] = { 0u, 0u, 0u, 0u };
    uint32_t hello[8];

    if (mc_platform_open() != 0) {
        mc_platform_print("harness: the input or output file cannot be opened\n");
        return 1;
    }
    if (mc_platform_read(head, sizeof head) != 0 || head[0] != MC_MAGIC || head[1] != MC_VERSION) {
        mc_platform_print("harness: the input file is not one of this version\n");
        return 1;
    }
    mc_mode = MC_MODE_RUN; /* the contract check may take steps, which are not to be reported */
    hello[0] = MC_VERSION;
    hello[1] = MC_ARENA_BYTES;
    hello[2] = MC_ARENA_ALIGN;
    hello[3] = MC_INPUT_COUNT;
    hello[4] = MC_OUTPUT_COUNT;
    hello[5] = MC_STEP_COUNT;
    hello[6] = mc_platform_timer_hz();
    hello[7] = mc_guard_check_contract();
    write_chunk(MC_TAG('H', 'E', 'L', 'O'), hello, 8u, NULL, 0u);
    mc_mode = head[2];
    for (uint32_t i = 0; i < head[3] && mc_write_failed == 0; ++i) {
        mc_guard_raise();
        if (read_inputs() != 0) {
            mc_platform_print("harness: the input file ends too early\n");
            return 1;
        }
        run_sample(i);
    }
    write_chunk(MC_TAG('D', 'O', 'N', 'E'), &head[3], 1u, NULL, 0u);
    if (mc_platform_close() != 0 || mc_write_failed != 0) {
        mc_platform_print("harness: the output file cannot be written\n");
        return 1;
    }
    return 0;
}
