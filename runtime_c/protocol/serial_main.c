/* SPDX-License-Identifier: Apache-2.0 */
/* Firmware that runs one network for a computer at the other end of the console. */
#include <stdint.h>

#include "mc_board.h"
#include "mc_serial.h"

int mc_main(void)
{
    mc_serial_start();
    for (;;) {
        uint8_t byte;
        if (mc_console_read(&byte) != 0) {
            mc_serial_receive(byte);
        }
    }
}

/* A fault ends the run, not the firmware: it is reported, and the core begins afresh. */
void mc_fault_report(const mc_fault_t *fault)
{
    mc_serial_fault(fault);
    mc_board_reset();
}
