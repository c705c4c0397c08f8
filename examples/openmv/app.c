/* SPDX-License-Identifier: Apache-2.0 */
/* From camera frames to digits on the serial port.
 *
 * The camera is simulated: camera_capture() draws a stored picture into the frame buffer instead of starting
 * the sensor. All else is what a real camera needs: a buffer that DMA reaches, the cache, the downscaling. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "board_config.h"
#include "digits.h"
#include "mc_board.h"
#include "mc_cache.h"
#include "mc_console.h"

#define FRAME_WIDTH 320u /* QVGA, grey */
#define FRAME_HEIGHT 240u
#define FRAME_BYTES (FRAME_WIDTH * FRAME_HEIGHT)
#define SIDE 48u                                 /* of the network's input */
#define BLOCK (FRAME_HEIGHT / SIDE)              /* pixels of the frame that become one, in both directions */
#define LEFT ((FRAME_WIDTH - FRAME_HEIGHT) / 2u) /* the network sees the square in the middle */

_Static_assert(SIDE * SIDE == DIGITS_INPUT_0_BYTES, "the network takes an image of another size");
_Static_assert(FRAME_BYTES % MC_CACHE_LINE_BYTES == 0, "the frame must fill whole cache lines");

static _Alignas(DIGITS_ARENA_ALIGN) uint8_t arena[DIGITS_ARENA_BYTES] __attribute__((section(".bss.mc_arena")));
static int8_t quantized[256]; /* of each grey value, what the network takes */

/* The DMA of the camera interface (DCMI) does not reach DTCM, where static data are. The frame takes the end of
 * AXI SRAM, 0x24000000 to 0x2407ffff, of which the firmware uses the beginning if DTCM is too small for the arena. */
#if defined(MC_SOC_STM32H7)
#define FRAME_ADDRESS (0x24080000u - FRAME_BYTES)
static uint8_t *const frame = (uint8_t *)FRAME_ADDRESS;
#else
static _Alignas(MC_CACHE_LINE_BYTES) uint8_t frame[FRAME_BYTES]; /* an emulator */
#endif

/* Two handwritten digits, a 7 and a 4, 0 (black) to 16 (white), of scikit-learn's test set. */
static const uint8_t pictures[2][8][8] = {
    {{0, 0, 5, 10, 11, 13, 12, 0},
     {0, 2, 14, 8, 8, 13, 10, 0},
     {0, 1, 6, 0, 4, 13, 0, 0},
     {0, 0, 0, 1, 15, 2, 0, 0},
     {0, 0, 0, 11, 15, 8, 1, 0},
     {0, 2, 15, 15, 8, 7, 0, 0},
     {0, 1, 9, 12, 0, 0, 0, 0},
     {0, 0, 7, 11, 0, 0, 0, 0}},
    {{0, 0, 0, 2, 14, 1, 0, 0},
     {0, 0, 0, 14, 8, 0, 0, 0},
     {0, 0, 8, 15, 1, 0, 0, 0},
     {0, 0, 13, 6, 0, 5, 11, 0},
     {0, 3, 15, 0, 0, 10, 9, 0},
     {0, 9, 13, 4, 7, 16, 3, 0},
     {0, 7, 16, 16, 16, 13, 0, 0},
     {0, 0, 3, 2, 16, 6, 0, 0}},
};

/* Where pixel `at` of 240 lies between the eight of a picture, in sixtieths. */
static uint32_t position(uint32_t at)
{
    const uint32_t twice = 2u * at + 1u;

    return twice < 30u ? 0u : twice - 30u > 420u ? 420u : twice - 30u;
}

/* The stand-in for sensor, DCMI and DMA: a picture, enlarged bilinearly, in the middle of a black frame. */
static void camera_capture(uint32_t number)
{
    memset(frame, 0, FRAME_BYTES);
    for (uint32_t y = 0; y < FRAME_HEIGHT; ++y) {
        const uint32_t top = position(y) / 60u;
        const uint32_t down = position(y) % 60u;
        const uint8_t *upper = pictures[number % 2u][top];
        const uint8_t *lower = pictures[number % 2u][down != 0u ? top + 1u : top];

        for (uint32_t x = 0; x < FRAME_HEIGHT; ++x) {
            const uint32_t left = position(x) / 60u;
            const uint32_t across = position(x) % 60u;
            const uint32_t right = across != 0u ? left + 1u : left;
            const uint32_t above = upper[left] * (60u - across) + upper[right] * across;
            const uint32_t below = lower[left] * (60u - across) + lower[right] * across;

            frame[y * FRAME_WIDTH + LEFT + x] = (uint8_t)((above * (60u - down) + below * down) * 255u / (16u * 3600u));
        }
    }
    /* The core wrote this, not DMA: on to memory with it, where DMA would have put it. */
    mc_cache_clean(frame, FRAME_BYTES);
}

/* The network was trained on -1 (black) to 1 (white). */
static void make_table(void)
{
    for (int grey = 0; grey < 256; ++grey) {
        const float real = (float)grey / 127.5f - 1.0f;
        const long value = lrintf(real / DIGITS_INPUT_0_SCALE) + DIGITS_INPUT_0_ZERO_POINT;

        quantized[grey] = (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
    }
}

/* One row of the network's input: the means of the blocks of as many rows of the frame. */
static void shrink_rows(const uint8_t *rows, int8_t *to)
{
    for (uint32_t x = 0; x < SIDE; ++x) {
        uint32_t sum = BLOCK * BLOCK / 2u;

        for (uint32_t i = 0; i < BLOCK * BLOCK; ++i) {
            sum += rows[(i / BLOCK) * FRAME_WIDTH + x * BLOCK + i % BLOCK];
        }
        to[x] = quantized[sum / (BLOCK * BLOCK)];
    }
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
#if defined(MC_SOC_STM32H7)
    const uintptr_t end = (uintptr_t)arena + sizeof arena;

    if (end > FRAME_ADDRESS) {
        mc_console_text("the arena leaves no room for the frame\r\n");
        return 1;
    }
#endif
    make_table();
    for (uint32_t number = 0;; ++number) {
        int8_t *input = digits_input(arena, 0);
        uint32_t cycles;

        mc_cache_invalidate(frame, FRAME_BYTES); /* no line may be written back over what DMA writes */
        camera_capture(number);
        mc_cache_invalidate(frame, FRAME_BYTES); /* nor hide it from the core */
        for (uint32_t y = 0; y < SIDE; ++y) {
            shrink_rows(frame + y * BLOCK * FRAME_WIDTH + LEFT, input + y * SIDE);
        }
        cycles = mc_cycles();
        if (digits_run(arena, sizeof arena) != DIGITS_OK) {
            mc_console_text("the network refused to run\r\n");
            return 1;
        }
        cycles = mc_cycles() - cycles;
        mc_console_text("frame ");
        mc_console_number(number);
        mc_console_text(": digit ");
        mc_console_number(largest(digits_output(arena, 0)));
        mc_console_text(", ");
        mc_console_number(cycles / (mc_cycles_hz() / 1000000u));
        mc_console_text(" us\r\n");
    }
}
