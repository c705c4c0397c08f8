/* SPDX-License-Identifier: Apache-2.0 */
/* Images come in over the console, the digit that the network sees goes out.
 *
 * An image is 48 rows of 48 grey values, 0 (black) to 255 (white), without anything around them. After a
 * second of silence an image that is not complete is dropped, so the next byte begins a new one. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "digits.h"
#include "mc_board.h"
#include "mc_console.h"

#define SILENCE_S 1u

static _Alignas(DIGITS_ARENA_ALIGN) uint8_t arena[DIGITS_ARENA_BYTES] __attribute__((section(".bss.mc_arena")));
static int8_t quantized[256]; /* of each grey value, what the network takes */

/* The network was trained on -1 (black) to 1 (white). */
static void make_table(void)
{
    for (int grey = 0; grey < 256; ++grey) {
        const float real = (float)grey / 127.5f - 1.0f;
        const long value = lrintf(real / DIGITS_INPUT_0_SCALE) + DIGITS_INPUT_0_ZERO_POINT;

        quantized[grey] = (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
    }
}

/* Takes the next byte; false after a second without one. */
static bool receive(uint8_t *byte)
{
    const uint32_t start = mc_cycles();

    while (mc_console_read(byte) == 0) {
        if (mc_cycles() - start > SILENCE_S * mc_cycles_hz()) {
            return false;
        }
    }
    return true;
}

/* How many bytes of an image have arrived, as many as it has or fewer; waits for the first. */
static uint32_t receive_image(int8_t *to)
{
    uint8_t grey = 0;

    while (mc_console_read(&grey) == 0) {
    }
    to[0] = quantized[grey];
    for (uint32_t count = 1; count < DIGITS_INPUT_0_BYTES; ++count) {
        if (!receive(&grey)) {
            return count;
        }
        to[count] = quantized[grey];
    }
    return DIGITS_INPUT_0_BYTES;
}

static uint32_t largest(const int8_t *logits)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < DIGITS_OUTPUT_0_BYTES; ++i) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

int mc_main(void)
{
    make_table();
    if (mc_board_status() != 0u) {
        mc_console_text("board status ");
        mc_console_number(mc_board_status());
        mc_console_text(", see mc_board.h\r\n");
    }
    mc_console_text("digits: send 2304 grey values\r\n");
    for (;;) {
        const uint32_t count = receive_image(digits_input(arena, 0));
        uint32_t cycles;

        if (count < DIGITS_INPUT_0_BYTES) {
            mc_console_text("image dropped after ");
            mc_console_number(count);
            mc_console_text(" bytes\r\n");
            continue;
        }
        cycles = mc_cycles();
        if (digits_run(arena, sizeof arena) != DIGITS_OK) {
            mc_console_text("the network refused to run\r\n");
            return 1;
        }
        cycles = mc_cycles() - cycles;
        mc_console_text("digit ");
        mc_console_number(largest(digits_output(arena, 0)));
        mc_console_text(", ");
        mc_console_number(cycles / (mc_cycles_hz() / 1000000u));
        mc_console_text(" us\r\n");
    }
}
