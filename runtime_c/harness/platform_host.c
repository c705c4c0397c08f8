/* SPDX-License-Identifier: Apache-2.0 */
/* The harness on a computer: `program INPUT OUTPUT`. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "mc_platform.h"

#define NANOSECONDS 1000000000u

static const char *input_path;
static const char *output_path;
static FILE *input_file;
static FILE *output_file;
static struct timespec timer_origin;

int mc_platform_open(void)
{
    input_file = fopen(input_path, "rb");
    output_file = fopen(output_path, "wb");
    return input_file == NULL || output_file == NULL;
}

int mc_platform_read(void *to, size_t bytes)
{
    return bytes != 0u && fread(to, 1u, bytes, input_file) != bytes;
}

int mc_platform_write(const void *from, size_t bytes)
{
    return bytes != 0u && fwrite(from, 1u, bytes, output_file) != bytes;
}

int mc_platform_close(void)
{
    const int input_failed = fclose(input_file) != 0;
    const int output_failed = fclose(output_file) != 0;
    return input_failed || output_failed;
}

void mc_platform_print(const char *text)
{
    (void)fputs(text, stderr);
}

void mc_platform_timer_start(void)
{
    (void)timespec_get(&timer_origin, TIME_UTC);
}

uint32_t mc_platform_timer_ticks(void)
{
    struct timespec now;
    (void)timespec_get(&now, TIME_UTC);
    return (uint32_t)(now.tv_sec - timer_origin.tv_sec) * NANOSECONDS + (uint32_t)now.tv_nsec
           - (uint32_t)timer_origin.tv_nsec;
}

uint32_t mc_platform_timer_hz(void)
{
    return NANOSECONDS;
}

void mc_platform_stack_paint(void)
{
}

uint32_t mc_platform_stack_used(uintptr_t stack_pointer)
{
    (void)stack_pointer;
    return MC_STACK_UNKNOWN;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        (void)fputs("usage: program INPUT OUTPUT\n", stderr);
        return 2;
    }
    input_path = argv[1];
    output_path = argv[2];
    return mc_harness_main();
}
