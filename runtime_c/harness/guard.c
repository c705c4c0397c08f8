/* SPDX-License-Identifier: Apache-2.0 */
#include "mc_guard.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "harness_config.h"

#define MC_FENCE_VALUE 0xa5u
#define MC_FILL_VALUE 0x5au

/* What takes the arena and its size. */
#if MC_ROWS
#define MC_START mc_network_begin
#else
#define MC_START mc_network_run
#endif

#if defined(__SANITIZE_ADDRESS__)
#define MC_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MC_ADDRESS_SANITIZER 1
#endif
#endif

#if defined(MC_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

/* MC_LEAD_BYTES is an odd multiple of the alignment, so the arena is aligned to no more than that. */
#define MC_BOX_BYTES (MC_LEAD_BYTES + MC_ARENA_BYTES + MC_TRAIL_BYTES)
static _Alignas(2u * MC_ARENA_ALIGN) uint8_t mc_box[MC_BOX_BYTES] __attribute__((section(".bss.mc_arena")));
static uint8_t *const mc_arena = &mc_box[MC_LEAD_BYTES];

uint8_t *mc_guard_arena(void)
{
    return mc_arena;
}

uint32_t mc_guard_check_contract(void)
{
    uint32_t broken = 0u;

#if MC_ROWS
    mc_guard_raise(); /* what an earlier run has left may be a beginning */
    broken |= mc_network_push_row(mc_arena, mc_arena) != MC_STATUS_SEQUENCE ? 32u : 0u;
    broken |= mc_network_push_row(mc_arena, NULL) != MC_STATUS_NULL ? 64u : 0u;
#else
    broken |= mc_network_input(mc_arena, MC_INPUT_COUNT) != NULL ? 8u : 0u;
#endif
    broken |= MC_START(NULL, MC_ARENA_BYTES) != MC_STATUS_NULL ? 1u : 0u;
    broken |= MC_START(mc_arena, MC_ARENA_BYTES - 1u) != MC_STATUS_ARENA ? 2u : 0u;
    broken |= MC_START(mc_arena + 1, MC_ARENA_BYTES) != MC_STATUS_ALIGN ? 4u : 0u;
    broken |= mc_network_output(mc_arena, MC_OUTPUT_COUNT) != NULL ? 16u : 0u;
    return broken;
}

void mc_guard_raise(void)
{
#if defined(MC_ADDRESS_SANITIZER)
    __asan_unpoison_memory_region(mc_box, sizeof mc_box);
#endif
    memset(mc_box, (int)MC_FENCE_VALUE, MC_LEAD_BYTES);
    memset(mc_arena, (int)MC_FILL_VALUE, MC_ARENA_BYTES);
    memset(mc_arena + MC_ARENA_BYTES, (int)MC_FENCE_VALUE, MC_TRAIL_BYTES);
#if defined(MC_ADDRESS_SANITIZER)
    __asan_poison_memory_region(mc_box, MC_LEAD_BYTES);
    __asan_poison_memory_region(mc_arena + MC_ARENA_BYTES, MC_TRAIL_BYTES);
#endif
}

uint32_t mc_guard_intact(void)
{
    uint32_t intact = 1u;

#if defined(MC_ADDRESS_SANITIZER)
    __asan_unpoison_memory_region(mc_box, sizeof mc_box);
#endif
    for (size_t i = 0; i < MC_LEAD_BYTES; ++i) {
        intact &= mc_box[i] == MC_FENCE_VALUE ? 1u : 0u;
    }
    for (size_t i = 0; i < MC_TRAIL_BYTES; ++i) {
        intact &= mc_arena[MC_ARENA_BYTES + i] == MC_FENCE_VALUE ? 1u : 0u;
    }
    return intact;
}
