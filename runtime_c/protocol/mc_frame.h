/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the serial protocol: consistent overhead byte stuffing (Cheshire and Baker, 1999) around a body that ends
 * in its CRC-32. A zero byte ends a frame and occurs nowhere else, so a receiver that has lost its place finds it again
 * at the next zero. docs/protocol.md describes the whole. */
#ifndef MC_FRAME_H
#define MC_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define MC_FRAME_HEAD_BYTES 4u /* version, kind, sequence */
#define MC_FRAME_CRC_BYTES 4u
#define MC_FRAME_PAYLOAD_BYTES 240u
#define MC_FRAME_BODY_BYTES (MC_FRAME_HEAD_BYTES + MC_FRAME_PAYLOAD_BYTES + MC_FRAME_CRC_BYTES)

typedef struct {
    uint8_t body[MC_FRAME_BODY_BYTES];
    size_t count;     /* bytes of the body so far */
    uint8_t block;    /* length code of the current block, 0xff before the first */
    uint8_t left;     /* bytes of the current block that are still to come */
    uint8_t too_long; /* the frame cannot be one of ours */
} mc_frame_receiver_t;

/* CRC-32 as in Ethernet and zip, continued from an earlier one; 0 to begin with. */
uint32_t mc_crc32(uint32_t crc, const void *bytes, size_t count);

void mc_frame_reset(mc_frame_receiver_t *receiver);

/* Takes a byte. Returns the number of bytes of head and payload when it ends a frame that is sound; 0 otherwise. The
 * frame stays in `body` until the next call. */
size_t mc_frame_receive(mc_frame_receiver_t *receiver, uint8_t byte);

/* Writes a frame to the console. `payload_bytes` must not exceed MC_FRAME_PAYLOAD_BYTES. */
void mc_frame_send(uint8_t version, uint8_t kind, uint16_t sequence, const uint8_t *payload, size_t payload_bytes);

/* Numbers are little-endian, whatever the core's order. */
static inline uint32_t mc_load32(const uint8_t *from)
{
    return (uint32_t)from[0] | ((uint32_t)from[1] << 8) | ((uint32_t)from[2] << 16) | ((uint32_t)from[3] << 24);
}

static inline uint8_t *mc_store32(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
    to[2] = (uint8_t)(value >> 16);
    to[3] = (uint8_t)(value >> 24);
    return to + 4;
}

#endif
