/* SPDX-License-Identifier: Apache-2.0 */
/* Row streams: when a layer may make its next rows. */
#ifndef MC_STREAM_H
#define MC_STREAM_H

#include <stdint.h>
#include <string.h>

/* How many rows of an image must be there for rows up to `first + end`, those outside the image apart. */
static inline uint32_t mc_rows_needed(uint32_t first, int32_t end, uint32_t height)
{
    const int32_t rows = (int32_t)first + end;
    if (rows <= 0) {
        return 0u;
    }
    return (uint32_t)rows < height ? (uint32_t)rows : height;
}

/* The row of an image that is nearest to one which may lie above or below it. */
static inline int32_t mc_nearest_row(int32_t row, int32_t height)
{
    if (row < 0) {
        return 0;
    }
    return row < height ? row : height - 1;
}

#endif
