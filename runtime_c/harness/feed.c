/* SPDX-License-Identifier: Apache-2.0 */
#include "mc_feed.h"

#include <stddef.h>
#include <stdint.h>

#include "harness_config.h"
#include "mc_guard.h"

#if MC_ROWS

/* Outside of the arena, as a camera's would be. */
static _Alignas(4) uint8_t mc_frame[MC_ROW_BYTES * MC_ROW_COUNT] __attribute__((section(".bss.mc_frame")));

void *mc_feed_input(size_t index)
{
    return index == 0u ? mc_frame : NULL;
}

uint32_t mc_feed_run(void)
{
    uint32_t status = (uint32_t)mc_network_begin(mc_guard_arena(), MC_ARENA_BYTES);

    for (uint32_t row = 0; row < MC_ROW_COUNT && status == 0u; ++row) {
        status = (uint32_t)mc_network_push_row(mc_guard_arena(), mc_frame + row * MC_ROW_BYTES);
        if (row + 1u < MC_ROW_COUNT) {
            status = status == (uint32_t)MC_STATUS_MORE ? 0u : status == 0u ? MC_FEED_TOO_EARLY : status;
        }
    }
    return status;
}

#else

void *mc_feed_input(size_t index)
{
    return mc_network_input(mc_guard_arena(), index);
}

uint32_t mc_feed_run(void)
{
    return (uint32_t)mc_network_run(mc_guard_arena(), MC_ARENA_BYTES);
}

#endif
