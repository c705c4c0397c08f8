/* SPDX-License-Identifier: Apache-2.0 */
/* Firmware for the runner of MLPerf Tiny, latency and accuracy mode: commands of text that end in '%', answers that end
 * in "m-ready". The words are those of the benchmark's API (github.com/mlcommons/tiny, benchmark/api).
 *
 *     name               m-name-dut-[NAME]
 *     profile            m-profile-[...], m-model-[kws01]
 *     timestamp          m-lap-us-MICROSECONDS
 *     db load N          a buffer of N bytes; db HH... fills it, and ends in m-load-done; db print shows it
 *     infer N [W=10]     N inferences after W others, between two time stamps, then the results
 *     results            m-results-[0.001,0.998]
 *
 * The network may overwrite its input, so that is loaded before each inference, within the measured time. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "harness_config.h"
#include "mc_board.h"
#include "mc_feed.h"
#include "mc_guard.h"
#include "mlperf_config.h"

#define COMMAND_BYTES 80u
#define PRINT_BYTES 8u
#define DEFAULT_WARMUPS 10u
#define MICROSECONDS 1000000u

static char command[COMMAND_BYTES + 1u];
static size_t command_bytes;
static int command_too_long;
static uint8_t buffer[MC_MLPERF_BUFFER_BYTES];
static size_t buffer_expected;
static size_t buffer_bytes;
static uint64_t cycles;
static uint32_t last_cycles;

/* The counter wraps within seconds: this must be called more often. */
static void keep_time(void)
{
    const uint32_t now = mc_cycles();
    cycles += now - last_cycles;
    last_cycles = now;
}

/* Text out ---------------------------------------------------------------------------------- */

static void put(const char *text)
{
    mc_console_write((const uint8_t *)text, strlen(text));
}

static void put_number(uint64_t value)
{
    char digits[21];
    size_t at = sizeof digits - 1u;

    digits[at] = '\0';
    do {
        --at;
        digits[at] = (char)('0' + (int)(value % 10u));
        value /= 10u;
    } while (value != 0u);
    put(digits + at);
}

static void put_hex(uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";
    const char text[3] = { digits[byte >> 4], digits[byte & 15u], '\0' };
    put(text);
}

/* With three decimals. */
static void put_real(float value)
{
    const float size = value < 0.0f ? -value : value;
    const uint64_t thousandths = size < 1e15f ? (uint64_t)(size * 1000.0f + 0.5f) : 1000000000000000000u;
    char decimals[5] = ".000";

    decimals[1] = (char)('0' + (int)(thousandths / 100u % 10u));
    decimals[2] = (char)('0' + (int)(thousandths / 10u % 10u));
    decimals[3] = (char)('0' + (int)(thousandths % 10u));
    if (value < 0.0f && thousandths != 0u) {
        put("-");
    }
    put_number(thousandths / 1000u);
    put(decimals);
}

static void put_count(const char *before, uint64_t count, const char *after)
{
    put(before);
    put_number(count);
    put(after);
}

/* Words in ---------------------------------------------------------------------------------- */

/* The next word of the command, and the rest of it; "" at its end. */
static const char *next_word(char **rest)
{
    char *word = *rest;

    while (*word == ' ') {
        ++word;
    }
    *rest = word;
    while (**rest != ' ' && **rest != '\0') {
        ++*rest;
    }
    if (**rest == ' ') {
        **rest = '\0';
        ++*rest;
    }
    return word;
}

/* A number of at most nine digits; UINT32_MAX for anything else. */
static uint32_t number(const char *word)
{
    uint32_t value = 0u;
    size_t count = 0u;

    for (; word[count] != '\0'; ++count) {
        if (word[count] < '0' || word[count] > '9' || count == 9u) {
            return UINT32_MAX;
        }
        value = value * 10u + (uint32_t)(word[count] - '0');
    }
    return count == 0u ? UINT32_MAX : value;
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/* The network ------------------------------------------------------------------------------- */

static void time_stamp(void)
{
    const uint32_t hz = mc_cycles_hz();

    keep_time();
    put_count("m-lap-us-", cycles / hz * MICROSECONDS + cycles % hz * MICROSECONDS / hz, "\r\n");
}

#if MC_MLPERF_REALS
static float real_input(size_t index)
{
    float value;
    memcpy(&value, buffer + index * sizeof value, sizeof value);
    return value;
}
#endif

static void load_input(void)
{
    mc_input_element_t *const input = mc_feed_input(0u);

#if MC_MLPERF_REALS && MC_MLPERF_QUANTIZED
    for (size_t i = 0; i < MC_MLPERF_INPUTS; ++i) {
        const float scaled = real_input(i) / MC_MLPERF_INPUT_SCALE + (float)MC_MLPERF_INPUT_ZERO_POINT;
        const float rounded = scaled < 0.0f ? scaled - 0.5f : scaled + 0.5f;
        const float low = rounded > (float)MC_MLPERF_INPUT_LOW ? rounded : (float)MC_MLPERF_INPUT_LOW;
        input[i] = (mc_input_element_t)(low < (float)MC_MLPERF_INPUT_HIGH ? low : (float)MC_MLPERF_INPUT_HIGH);
    }
#else
    memcpy(input, buffer, MC_MLPERF_BUFFER_BYTES);
#if MC_MLPERF_PIXELS
    /* 0 to 255 become -128 to 127. */
    for (size_t i = 0; i < MC_MLPERF_BUFFER_BYTES; ++i) {
        ((uint8_t *)input)[i] ^= 0x80u;
    }
#endif
#endif
}

static uint32_t infer_once(void)
{
    uint32_t status;

    load_input();
    status = mc_feed_run();
    keep_time();
    return status;
}

static float real_output(size_t index)
{
    const mc_output_element_t *const output = mc_network_output(mc_guard_arena(), 0u);
    return ((float)output[index] - MC_MLPERF_OUTPUT_ZERO_POINT) * MC_MLPERF_OUTPUT_SCALE;
}

static void results(void)
{
    put("m-results-[");
#if MC_MLPERF_AUTOENCODER
    float sum = 0.0f;
    for (size_t i = 0; i < MC_MLPERF_OUTPUTS; ++i) {
        const float difference = real_output(i) - real_input(i);
        sum += difference * difference;
    }
    put_real(sum / (float)MC_MLPERF_OUTPUTS);
#else
    for (size_t i = 0; i < MC_MLPERF_OUTPUTS; ++i) {
        put(i == 0u ? "" : ",");
        put_real(real_output(i));
    }
#endif
    put("]\r\n");
}

static uint32_t infer_many(uint32_t count)
{
    uint32_t status = 0u;

    for (uint32_t i = 0; i < count && status == 0u; ++i) {
        status = infer_once();
    }
    return status;
}

static void infer(char *rest)
{
    const char *const count_word = next_word(&rest);
    const uint32_t count = *count_word == '\0' ? 1u : number(count_word);
    const char *const warmup_word = next_word(&rest);
    const uint32_t warmups = *warmup_word == '\0' ? DEFAULT_WARMUPS : number(warmup_word);
    uint32_t status;

    if (count == 0u || count == UINT32_MAX) {
        put("e-[Inference iterations must be >0]\r\n");
        return;
    }
    if (warmups == UINT32_MAX) {
        put("e-[Inference warmup must be >=0]\r\n");
        return;
    }
    if (buffer_bytes != MC_MLPERF_BUFFER_BYTES) {
        put_count("e-[Input has ", buffer_bytes, " bytes");
        put_count(", expected ", MC_MLPERF_BUFFER_BYTES, "]\r\n");
        return;
    }
    put_count("m-warmup-start-", warmups, "\r\n");
    status = infer_many(warmups);
    put("m-warmup-done\r\n");
    put_count("m-infer-start-", count, "\r\n");
    time_stamp();
    status = status == 0u ? infer_many(count) : status;
    time_stamp();
    put("m-infer-done\r\n");
    if (status != 0u) {
        put_count("e-[The network returned status ", status, "]\r\n");
        return;
    }
    results();
}

/* Commands ---------------------------------------------------------------------------------- */

static void load(uint32_t bytes)
{
    buffer_bytes = 0u;
    buffer_expected = 0u;
    if (bytes == 0u || bytes == UINT32_MAX) {
        put("e-[Command 'db load' must be >0 bytes]\r\n");
    } else if (bytes > MC_MLPERF_BUFFER_BYTES) {
        put_count("e-[Supplied buffer size ", bytes, " exceeds maximum of ");
        put_count("", MC_MLPERF_BUFFER_BYTES, "]\r\n");
    } else {
        buffer_expected = bytes;
        put_count("m-[Expecting ", bytes, " bytes]\r\n");
    }
}

static void print_buffer(void)
{
    for (size_t i = 0; i < buffer_bytes; ++i) {
        put(i % PRINT_BYTES == 0u ? "m-buffer-" : "-");
        put_hex(buffer[i]);
        put(i % PRINT_BYTES == PRINT_BYTES - 1u || i + 1u == buffer_bytes ? "\r\n" : "");
    }
}

static void fill(const char *digits)
{
    for (size_t i = 0; digits[i] != '\0' && buffer_bytes < buffer_expected; i += 2u) {
        const int high = hex_digit(digits[i]);
        const int low = high < 0 ? -1 : hex_digit(digits[i + 1u]);
        if (low < 0) {
            put(digits[i + 1u] == '\0' ? "e-[Insufficient number of hex digits]\r\n" : "e-[Invalid hex digit]\r\n");
            return;
        }
        buffer[buffer_bytes] = (uint8_t)(high * 16 + low);
        ++buffer_bytes;
        if (buffer_bytes == buffer_expected) {
            put("m-load-done\r\n");
        }
    }
}

static void data_buffer(char *rest)
{
    const char *const word = next_word(&rest);

    if (*word == '\0') {
        put("e-[Command 'db' requires a subcommand]\r\n");
    } else if (strcmp(word, "load") == 0) {
        load(number(next_word(&rest)));
    } else if (strcmp(word, "print") == 0) {
        print_buffer();
    } else if (buffer_expected == 0u) {
        put("e-[Command 'db load' comes before the bytes]\r\n");
    } else {
        fill(word);
    }
}

static void help(void)
{
    put(MC_MLPERF_PROFILE "\r\n"
        "name, profile, timestamp, results\r\n"
        "db load N, db HH[HH]*, db print\r\n"
        "infer N [W=10]\r\n");
}

static void execute(void)
{
    char *rest = command;
    const char *const word = next_word(&rest);

    if (command_too_long != 0) {
        put("e-[Command is too long]\r\n");
    } else if (strcmp(word, "name") == 0) {
        put("m-name-dut-[" MC_BOARD_NAME "]\r\n");
    } else if (strcmp(word, "profile") == 0) {
        put("m-profile-[" MC_MLPERF_PROFILE "]\r\nm-model-[" MC_MLPERF_MODEL "]\r\n");
    } else if (strcmp(word, "timestamp") == 0) {
        time_stamp();
    } else if (strcmp(word, "db") == 0) {
        data_buffer(rest);
    } else if (strcmp(word, "infer") == 0) {
        infer(rest);
    } else if (strcmp(word, "results") == 0) {
        results();
    } else if (strcmp(word, "help") == 0) {
        help();
    } else if (*word != '\0') {
        put("e-[Unknown command: ");
        put(word);
        put("]\r\n");
    }
    put("m-ready\r\n");
}

static void receive(char byte)
{
    if (byte == '%') {
        command[command_bytes] = '\0';
        execute();
        command_bytes = 0u;
        command_too_long = 0;
    } else if (byte < ' ') {
        return; /* line ends, which terminals send */
    } else if (command_bytes < COMMAND_BYTES) {
        command[command_bytes] = byte;
        ++command_bytes;
    } else {
        command_too_long = 1;
    }
}

int mc_main(void)
{
    last_cycles = mc_cycles();
    put("m-timestamp-mode-performance\r\n");
    time_stamp();
    put("m-init-done\r\nm-ready\r\n");
    for (;;) {
        uint8_t byte;
        keep_time();
        if (mc_console_read(&byte) != 0) {
            receive((char)byte);
        }
    }
}
