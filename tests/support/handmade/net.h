/* SPDX-License-Identifier: Apache-2.0 */
/* A tiny network written by hand after the interface of generated programs. */
#ifndef NET_H
#define NET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NET_ARENA_BYTES 64u
#define NET_ARENA_ALIGN 32u
#define NET_INPUT_COUNT 1u
#define NET_INPUT_0_BYTES 32u
#define NET_INPUT_0_SCALE 0.5f
#define NET_INPUT_0_ZERO_POINT (-3)
#define NET_OUTPUT_COUNT 1u
#define NET_OUTPUT_0_BYTES 2u
#define NET_OUTPUT_0_SCALE 0.25f
#define NET_OUTPUT_0_ZERO_POINT 5

typedef enum {
    NET_OK = 0, NET_MORE, NET_ERR_NULL, NET_ERR_ARENA, NET_ERR_ALIGN, NET_ERR_SEQUENCE
} net_status_t;

void *net_input(void *arena, size_t index);
net_status_t net_run(void *arena, size_t arena_bytes);
const void *net_output(const void *arena, size_t index);

#ifdef __cplusplus
}
#endif

#endif
