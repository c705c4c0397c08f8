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

/* How many strips of an image must be there for some rows: all of those above the last one, and of that one the strips up
 * to column `stop`; `width` columns are a strip, `strips` are a row. */
static inline uint32_t mc_strips_needed(uint32_t rows, uint32_t stop, uint32_t width, uint32_t strips)
{
    const uint32_t last = (stop + width - 1u) / width;
    return rows == 0u ? 0u : (rows - 1u) * strips + (last < strips ? last : strips);
}

/* Bytes of a row before the first that a strip reads: `steps`, less what its window reaches back. */
static inline uint32_t mc_bytes_before(uint32_t steps, uint32_t back)
{
    return steps > back ? steps - back : 0u;
}

/* What lies in the first `tail` bytes of a ring lies behind its end as well, where windows may reach: repeats there what
 * was written to `bytes` bytes from `first` on. */
static inline void mc_repeat_behind(uint8_t *ring, uint32_t ring_bytes, uint32_t first, uint32_t bytes, uint32_t tail)
{
    if (first < tail) {
        memcpy(ring + ring_bytes + first, ring + first, bytes < tail - first ? bytes : tail - first);
    }
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
