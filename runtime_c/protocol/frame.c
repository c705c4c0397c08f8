/* SPDX-License-Identifier: Apache-2.0 */
#include "mc_frame.h"

#include <string.h>

#include "mc_board.h"

/* A body is shorter than the longest block, so that every block but the last ends in a zero of the body. */
_Static_assert(MC_FRAME_BODY_BYTES <= 253u, "a body must fit one block");

#define NO_BLOCK 0xffu

/* By half bytes: a table for whole bytes would take 1 KiB of flash. */
static const uint32_t crc_table[16] = {
    0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u, 0x4db26158u, 0x5005713cu,
    0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu, 0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu,
};

uint32_t mc_crc32(uint32_t crc, const void *bytes, size_t count)
{
    const uint8_t *const from = bytes;

    crc = ~crc;
    for (size_t i = 0; i < count; ++i) {
        crc ^= from[i];
        crc = (crc >> 4) ^ crc_table[crc & 15u];
        crc = (crc >> 4) ^ crc_table[crc & 15u];
    }
    return ~crc;
}

void mc_frame_reset(mc_frame_receiver_t *receiver)
{
    receiver->count = 0u;
    receiver->block = NO_BLOCK;
    receiver->left = 0u;
    receiver->too_long = 0u;
}

static void push(mc_frame_receiver_t *receiver, uint8_t byte)
{
    if (receiver->count < sizeof receiver->body) {
        receiver->body[receiver->count] = byte;
        ++receiver->count;
    } else {
        receiver->too_long = 1u;
    }
}

static size_t finished(const mc_frame_receiver_t *receiver)
{
    const size_t least = MC_FRAME_HEAD_BYTES + MC_FRAME_CRC_BYTES;
    size_t content;

    if (receiver->left != 0u || receiver->too_long != 0u || receiver->count < least) {
        return 0u;
    }
    content = receiver->count - MC_FRAME_CRC_BYTES;
    return mc_load32(receiver->body + content) == mc_crc32(0u, receiver->body, content) ? content : 0u;
}

size_t mc_frame_receive(mc_frame_receiver_t *receiver, uint8_t byte)
{
    if (byte == 0u) {
        const size_t content = finished(receiver);
        mc_frame_reset(receiver);
        return content;
    }
    if (receiver->left == 0u) {
        if (receiver->block != NO_BLOCK) {
            push(receiver, 0u);
        }
        receiver->block = byte;
        receiver->left = (uint8_t)(byte - 1u);
    } else {
        push(receiver, byte);
        --receiver->left;
    }
    return 0u;
}

void mc_frame_send(uint8_t version, uint8_t kind, uint16_t sequence, const uint8_t *payload, size_t payload_bytes)
{
    /* A zero to end whatever the line has made of silence, the first length code, the body, a zero. */
    uint8_t frame[2u + MC_FRAME_BODY_BYTES + 1u];
    uint8_t *const body = frame + 2;
    size_t count = MC_FRAME_HEAD_BYTES;
    size_t code = 1u;

    body[0] = version;
    body[1] = kind;
    body[2] = (uint8_t)sequence;
    body[3] = (uint8_t)(sequence >> 8);
    if (payload_bytes != 0u) {
        memcpy(body + count, payload, payload_bytes);
        count += payload_bytes;
    }
    (void)mc_store32(body + count, mc_crc32(0u, body, count));
    count += MC_FRAME_CRC_BYTES;
    frame[0] = 0u;
    for (size_t i = 2u; i < count + 2u; ++i) {
        if (frame[i] == 0u) {
            frame[code] = (uint8_t)(i - code);
            code = i;
        }
    }
    frame[code] = (uint8_t)(count + 2u - code);
    frame[count + 2u] = 0u;
    mc_console_write(frame, count + 3u);
}
