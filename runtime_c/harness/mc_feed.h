/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs of a network under test, and a run on them, whether the network has them in its arena or is fed by rows. */
#ifndef MC_FEED_H
#define MC_FEED_H

#include <stddef.h>
#include <stdint.h>

/* Where input `index` is to be written, which a run may overwrite; NULL for a wrong index. */
void *mc_feed_input(size_t index);

/* Runs the network on the inputs; its status, MC_FEED_TOO_EARLY where it was done before the last row. */
#define MC_FEED_TOO_EARLY 255u
uint32_t mc_feed_run(void);

#endif
