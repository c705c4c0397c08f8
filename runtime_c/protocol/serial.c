/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the serial protocol. A run has a token that the computer chooses; every request names it, so that nothing
 * of an earlier run, or of a time before a reset, is taken for this one. Every request may be repeated: a run that is
 * done is not done again, its result is sent again. */
#include "mc_serial.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "harness_config.h"
#include "mc_board.h"
#include "mc_feed.h"
#include "mc_frame.h"
#include "mc_guard.h"

enum { STATE_NONE = 0, STATE_FILLING = 1, STATE_RUNNING = 2, STATE_DONE = 3 };

#define FAULT_MAGIC 0x544c4146u /* "FALT" */
#define FAULT_WORDS 19u         /* token, steps done, mc_fault_t, CRC */
#define CAPTURE_HEAD_BYTES 12u
#define CAPTURE_BYTES (MC_FRAME_PAYLOAD_BYTES - CAPTURE_HEAD_BYTES)
#define LIST_WORDS ((MC_FRAME_PAYLOAD_BYTES - 8u) / 4u)
#define NAME_BYTES 32u

typedef struct {
    uint32_t magic, token, steps_done;
    mc_fault_t fault;
    uint32_t crc;
} mc_fault_record_t;

_Static_assert(sizeof(mc_fault_record_t) == FAULT_WORDS * 4u, "a fault record has no padding");

typedef struct {
    uint32_t status, fences_intact, cycles_low, cycles_high, stack_bytes, output_crc, steps_called;
} mc_result_t;

/* Where start-up does not clear it: it survives a reset. */
static mc_fault_record_t mc_fault_record __attribute__((section(".bss.mc.kept")));

static mc_frame_receiver_t receiver;
static uint32_t broken_promises;
static uint32_t state;
static uint32_t token;
static uint16_t sequence; /* of the request in hand */
static uint32_t flags;
static uint32_t captured;
static mc_result_t result;
static uint64_t cycles;
static uint32_t last_cycles;
static uint32_t steps_called;
static uint32_t step_cycles[MC_STEP_COUNT + 1u];
static uint32_t digests[MC_SEGMENT_COUNT + 1u];

static void answer(uint32_t kind, const uint8_t *payload, size_t count)
{
    mc_frame_send((uint8_t)MC_PROTOCOL_VERSION, (uint8_t)kind, sequence, payload, count);
}

static void fail(uint32_t error, uint32_t detail)
{
    uint8_t payload[8];

    (void)mc_store32(mc_store32(payload, error), detail);
    answer(MC_ERROR, payload, sizeof payload);
}

/* Segments ---------------------------------------------------------------------------------- */

static uint32_t segment_digest(const mc_segment_t *segment)
{
    uint32_t crc = 0u;

    for (uint32_t row = 0; row < segment->rows; ++row) {
        crc = mc_crc32(crc, mc_guard_arena() + segment->offset + row * segment->stride_bytes, segment->row_bytes);
    }
    return crc;
}

/* Not inlined: its buffer must not be on the stack of a run that dumps nothing. */
__attribute__((noinline)) static void send_segment(uint32_t index, const mc_segment_t *segment)
{
    uint8_t payload[MC_FRAME_PAYLOAD_BYTES];

    for (uint32_t offset = 0; offset < segment->bytes; offset += CAPTURE_BYTES) {
        const uint32_t left = segment->bytes - offset;
        const uint32_t count = left < CAPTURE_BYTES ? left : CAPTURE_BYTES;
        uint8_t *const data = mc_store32(mc_store32(mc_store32(payload, token), index), offset);
        memcpy(data, mc_guard_arena() + segment->offset + offset, count);
        answer(MC_CAPTURE, payload, CAPTURE_HEAD_BYTES + count);
    }
}

void mc_harness_step(uint32_t index)
{
    const uint32_t elapsed = mc_cycles() - last_cycles;

    if (state != STATE_RUNNING) {
        return; /* the check of the interface */
    }
    cycles += elapsed;
    ++steps_called;
    if (index < MC_STEP_COUNT) {
        step_cycles[index] += elapsed;
    }
    for (uint32_t i = 0; i < MC_SEGMENT_COUNT; ++i) {
        if (mc_segments[i].step != index) {
            continue;
        }
        if ((flags & MC_RUN_DIGESTS) != 0u) {
            digests[i] = segment_digest(&mc_segments[i]);
        }
        if (captured == i || captured == MC_CAPTURE_ALL) {
            send_segment(i, &mc_segments[i]);
        }
    }
    last_cycles = mc_cycles();
}

/* Requests ---------------------------------------------------------------------------------- */

static uint8_t *store_name(uint8_t *to, const char *name)
{
    memset(to, 0, NAME_BYTES);
    memcpy(to, name, strlen(name) < NAME_BYTES ? strlen(name) : NAME_BYTES);
    return to + NAME_BYTES;
}

static void hello(void)
{
    static const uint8_t model[] = MC_MODEL_DIGEST;
    static const uint8_t program[] = MC_PROGRAM_DIGEST;
    const uint32_t numbers[] = {
        MC_ARENA_BYTES,   MC_ARENA_ALIGN, MC_INPUT_COUNT,   MC_OUTPUT_COUNT,   MC_STEP_COUNT,
        MC_SEGMENT_COUNT, mc_clock_hz(),  mc_cycles_hz(),   mc_stack_bytes(),  mc_board_status(),
        broken_promises,  mc_fault_record.magic == FAULT_MAGIC ? 1u : 0u,
    };
    uint8_t payload[MC_FRAME_PAYLOAD_BYTES];
    uint8_t *to = payload;

    _Static_assert(sizeof numbers + sizeof model + sizeof program + 3u * NAME_BYTES <= sizeof payload, "hello is too long");
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; ++i) {
        to = mc_store32(to, numbers[i]);
    }
    memcpy(to, model, sizeof model);
    to += sizeof model;
    memcpy(to, program, sizeof program);
    to += sizeof program;
    to = store_name(to, MC_BOARD_NAME);
    to = store_name(to, MC_NETWORK_NAME);
    to = store_name(to, MC_COMPILER_VERSION);
    answer(MC_ANSWER | MC_HELLO, payload, (size_t)(to - payload));
}

static void begin(uint32_t wanted)
{
    if (state == STATE_NONE || wanted != token) {
        token = wanted;
        state = STATE_FILLING;
        mc_fault_record.magic = 0u;
        mc_guard_raise();
    }
    answer(MC_ANSWER | MC_BEGIN, NULL, 0u);
}

static void write_input(const uint8_t *payload, size_t count)
{
    const uint32_t index = mc_load32(payload + 4);
    const uint32_t offset = mc_load32(payload + 8);
    const uint32_t bytes = (uint32_t)count - 12u;
    const uint32_t size = index < MC_INPUT_COUNT ? mc_input_bytes[index] : 0u;
    uint8_t *const input = mc_feed_input(index);

    if (state != STATE_FILLING) {
        fail(MC_ERROR_STATE, state);
    } else if (input == NULL || offset > size || bytes > size - offset) {
        fail(MC_ERROR_RANGE, size);
    } else {
        memcpy(input + offset, payload + 12, bytes);
        answer(MC_ANSWER | MC_WRITE, NULL, 0u);
    }
}

static uint32_t input_crc(void)
{
    uint32_t crc = 0u;

    for (uint32_t i = 0; i < MC_INPUT_COUNT; ++i) {
        crc = mc_crc32(crc, mc_feed_input(i), mc_input_bytes[i]);
    }
    return crc;
}

static uint32_t output_crc(void)
{
    uint32_t crc = 0u;

    for (uint32_t i = 0; i < MC_OUTPUT_COUNT; ++i) {
        const void *const output = mc_network_output(mc_guard_arena(), i);
        if (output != NULL) {
            crc = mc_crc32(crc, output, mc_output_bytes[i]);
        }
    }
    return crc;
}

static void send_result(void)
{
    const uint32_t words[] = { token,
                               result.status,
                               result.fences_intact,
                               result.cycles_low,
                               result.cycles_high,
                               result.stack_bytes,
                               result.output_crc,
                               result.steps_called };
    uint8_t payload[sizeof words];
    uint8_t *to = payload;

    for (size_t i = 0; i < sizeof words / sizeof words[0]; ++i) {
        to = mc_store32(to, words[i]);
    }
    answer(MC_ANSWER | MC_RUN, payload, sizeof payload);
}

static void run_network(void)
{
    uint32_t stack_before;

    memset(step_cycles, 0, sizeof step_cycles);
    memset(digests, 0, sizeof digests);
    memset(&result, 0, sizeof result);
    cycles = 0u;
    steps_called = 0u;
    state = STATE_RUNNING;
    mc_stack_paint();
    stack_before = mc_stack_used();
    last_cycles = mc_cycles();
    result.status = mc_feed_run();
    cycles += mc_cycles() - last_cycles;
    result.stack_bytes = mc_stack_used() - stack_before;
    result.fences_intact = mc_guard_intact();
    result.cycles_low = (uint32_t)cycles;
    result.cycles_high = (uint32_t)(cycles >> 32);
    result.output_crc = output_crc();
    result.steps_called = steps_called;
    state = STATE_DONE;
}

static void run(const uint8_t *payload)
{
    if (state == STATE_FILLING) {
        const uint32_t crc = input_crc();
        if (crc != mc_load32(payload + 12)) {
            fail(MC_ERROR_INPUTS, crc);
            return;
        }
        flags = mc_load32(payload + 4);
        captured = mc_load32(payload + 8);
        run_network();
    }
    send_result();
}

static void read_output(const uint8_t *request)
{
    const uint32_t index = mc_load32(request + 4);
    const uint32_t offset = mc_load32(request + 8);
    const uint32_t count = mc_load32(request + 12);
    const uint32_t size = index < MC_OUTPUT_COUNT ? mc_output_bytes[index] : 0u;
    const uint8_t *const output = mc_network_output(mc_guard_arena(), index);
    uint8_t payload[MC_FRAME_PAYLOAD_BYTES];

    if (output == NULL || offset > size || count > size - offset || count > sizeof payload - 4u) {
        fail(MC_ERROR_RANGE, size);
        return;
    }
    memcpy(mc_store32(payload, token), output + offset, count);
    answer(MC_ANSWER | MC_READ, payload, 4u + count);
}

static void send_list(uint32_t kind, const uint32_t *words, uint32_t length, uint32_t first)
{
    uint8_t payload[MC_FRAME_PAYLOAD_BYTES];
    uint8_t *to = mc_store32(payload, token);

    if (first > length) {
        fail(MC_ERROR_RANGE, length);
        return;
    }
    for (uint32_t i = first; i < length && i - first < LIST_WORDS; ++i) {
        to = mc_store32(to, words[i]);
    }
    answer(MC_ANSWER | kind, payload, (size_t)(to - payload));
}

static void send_fault(uint32_t kind)
{
    const uint32_t crc = mc_crc32(0u, &mc_fault_record, offsetof(mc_fault_record_t, crc));
    uint8_t payload[4u + sizeof mc_fault_record];

    if (mc_fault_record.magic != FAULT_MAGIC || mc_fault_record.crc != crc) {
        fail(MC_ERROR_STATE, state);
        return;
    }
    /* The core is little-endian, as every Cortex-M with its usual configuration. */
    (void)mc_store32(payload, MC_ERROR_FAULT);
    memcpy(payload + 4, &mc_fault_record, sizeof mc_fault_record);
    answer(kind, payload, sizeof payload);
}

/* What a request must hold, and whether it needs a run that is done. */
typedef struct {
    uint8_t kind, least_bytes, most_bytes, needs_done;
} mc_shape_t;

static const mc_shape_t *shape_of(uint8_t kind)
{
    static const mc_shape_t shapes[] = {
        { MC_HELLO, 0u, 0u, 0u },  { MC_BEGIN, 4u, 4u, 0u }, { MC_WRITE, 12u, MC_FRAME_PAYLOAD_BYTES, 0u },
        { MC_RUN, 16u, 16u, 0u },  { MC_READ, 16u, 16u, 1u }, { MC_STEPS, 8u, 8u, 1u },
        { MC_DIGESTS, 8u, 8u, 1u }, { MC_FAULT, 0u, 0u, 0u },
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; ++i) {
        if (shapes[i].kind == kind) {
            return &shapes[i];
        }
    }
    return NULL;
}

static void serve(uint8_t kind, const uint8_t *payload, size_t count)
{
    switch (kind) {
    case MC_HELLO:
        hello();
        break;
    case MC_BEGIN:
        begin(mc_load32(payload));
        break;
    case MC_WRITE:
        write_input(payload, count);
        break;
    case MC_RUN:
        run(payload);
        break;
    case MC_READ:
        read_output(payload);
        break;
    case MC_STEPS:
        send_list(kind, step_cycles, MC_STEP_COUNT, mc_load32(payload + 4));
        break;
    case MC_DIGESTS:
        send_list(kind, digests, MC_SEGMENT_COUNT, mc_load32(payload + 4));
        break;
    default:
        send_fault(MC_ANSWER | MC_FAULT);
        break;
    }
}

void mc_serial_receive(uint8_t byte)
{
    const size_t content = mc_frame_receive(&receiver, byte);
    const uint8_t *const payload = receiver.body + MC_FRAME_HEAD_BYTES;
    const size_t count = content - MC_FRAME_HEAD_BYTES;
    const uint8_t kind = receiver.body[1];
    const mc_shape_t *const shape = shape_of(kind);
    int names_run;

    if (content == 0u) {
        return;
    }
    sequence = (uint16_t)(receiver.body[2] | (receiver.body[3] << 8));
    names_run = kind == MC_WRITE || kind == MC_RUN || (shape != NULL && shape->needs_done != 0u);
    if (receiver.body[0] != MC_PROTOCOL_VERSION) {
        fail(MC_ERROR_VERSION, MC_PROTOCOL_VERSION);
    } else if (shape == NULL) {
        fail(MC_ERROR_KIND, kind);
    } else if (count < shape->least_bytes || count > shape->most_bytes) {
        fail(MC_ERROR_LENGTH, (uint32_t)count);
    } else if (names_run && (state == STATE_NONE || mc_load32(payload) != token)) {
        fail(MC_ERROR_STATE, state);
    } else if (shape->needs_done != 0u && state != STATE_DONE) {
        fail(MC_ERROR_STATE, state);
    } else {
        serve(kind, payload, count);
    }
}

void mc_serial_start(void)
{
    mc_frame_reset(&receiver);
    state = STATE_NONE;
    broken_promises = mc_guard_check_contract();
}

void mc_serial_fault(const mc_fault_t *fault)
{
    mc_fault_record.magic = FAULT_MAGIC;
    mc_fault_record.token = token;
    mc_fault_record.steps_done = steps_called;
    mc_fault_record.fault = *fault;
    mc_fault_record.crc = mc_crc32(0u, &mc_fault_record, offsetof(mc_fault_record_t, crc));
    send_fault(MC_ERROR);
}
