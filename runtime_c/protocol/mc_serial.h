/* SPDX-License-Identifier: Apache-2.0 */
/* The device's side of the serial protocol: one network, driven by a computer. docs/protocol.md describes it. */
#ifndef MC_SERIAL_H
#define MC_SERIAL_H

#include <stdint.h>

#include "mc_board.h"

#define MC_PROTOCOL_VERSION 1u

/* Requests; the answer to each is its kind with MC_ANSWER set, or MC_ERROR. */
enum {
    MC_HELLO = 1,   /* who are you */
    MC_BEGIN = 2,   /* token: prepare the arena for a run */
    MC_WRITE = 3,   /* token, input, offset, bytes */
    MC_RUN = 4,     /* token, flags, captured segment, CRC of all inputs */
    MC_READ = 5,    /* token, output, offset, count */
    MC_STEPS = 6,   /* token, first step: cycles of steps */
    MC_DIGESTS = 7, /* token, first segment: CRCs of what the steps wrote */
    MC_FAULT = 8,   /* the last fault */
    MC_ANSWER = 0x80,
    MC_CAPTURE = 0xc0, /* unasked, during a run: token, segment, offset, bytes */
    MC_ERROR = 0xff    /* error, detail */
};

enum {
    MC_ERROR_VERSION = 1, /* detail: our version */
    MC_ERROR_KIND = 2,    /* detail: the kind */
    MC_ERROR_LENGTH = 3,  /* detail: payload bytes */
    MC_ERROR_STATE = 4,   /* no such run, or not at that point; detail: the state */
    MC_ERROR_RANGE = 5,   /* an index or offset out of range; detail: the bytes there are */
    MC_ERROR_INPUTS = 6,  /* the inputs are not those that were sent; detail: their CRC */
    MC_ERROR_FAULT = 7    /* detail: a fault record */
};

#define MC_RUN_DIGESTS 1u /* flag: compute the CRC of what each step writes */
#define MC_CAPTURE_NONE 0xffffffffu
#define MC_CAPTURE_ALL 0xfffffffeu

/* Checks the network's interface and gets ready. */
void mc_serial_start(void);

/* Takes a byte from the console; answers when it ends a request. */
void mc_serial_receive(uint8_t byte);

/* Reports a fault and keeps the report over a reset. */
void mc_serial_fault(const mc_fault_t *fault);

/* Called by the network after each step. */
void mc_harness_step(uint32_t index);

#endif
