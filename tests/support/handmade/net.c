/* SPDX-License-Identifier: Apache-2.0 */
#include "net.h"
#include "net_kernels.h"
#include "net_weights.h"

#ifndef NET_STEP_HOOK
#define NET_STEP_HOOK(index)
#endif

void *net_input(void *arena, size_t index)
{
    return arena != NULL && index < NET_INPUT_COUNT ? (uint8_t *)arena : NULL;
}

net_status_t net_run(void *arena, size_t arena_bytes)
{
    uint8_t *const a = (uint8_t *)arena;

    if (arena == NULL) {
        return NET_ERR_NULL;
    }
    if (arena_bytes < NET_ARENA_BYTES) {
        return NET_ERR_ARENA;
    }
    if ((uintptr_t)arena % NET_ARENA_ALIGN != 0u) {
        return NET_ERR_ALIGN;
    }
    /* 0: MaxPool "pool" */
    net_max_pool((const int8_t *)a, (int8_t *)(a + 32));
    NET_STEP_HOOK(0);
    /* 1: Conv "conv" */
    net_depthwise((const int8_t *)(a + 32), (int8_t *)(a + 40), net_conv_weights, net_conv_bias);
    NET_STEP_HOOK(1);
    return NET_OK;
}

const void *net_output(const void *arena, size_t index)
{
    return arena != NULL && index < NET_OUTPUT_COUNT ? (const uint8_t *)arena + 40 : NULL;
}
