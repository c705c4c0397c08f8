/* SPDX-License-Identifier: Apache-2.0 */
/* A fault as text. */
#include <stdint.h>

#include "mc_board.h"

static void print_hex(void (*print)(const char *text), const char *label, uint32_t value, const char *end)
{
    char digits[9];
    for (uint32_t i = 0; i < 8u; ++i) {
        digits[i] = "0123456789abcdef"[(value >> (28u - 4u * i)) & 15u];
    }
    digits[8] = '\0';
    print(label);
    print(digits);
    print(end);
}

void mc_fault_print(const mc_fault_t *fault, void (*print)(const char *text))
{
    print_hex(print, "FAULT, exception ", fault->vector, "\n");
    if (fault->stack_overflow != 0u) {
        print_hex(print, "the stack overflowed: sp ", fault->sp, "\n");
    } else {
        print_hex(print, "r0 ", fault->r0, "  ");
        print_hex(print, "r1 ", fault->r1, "  ");
        print_hex(print, "r2 ", fault->r2, "  ");
        print_hex(print, "r3 ", fault->r3, "\n");
        print_hex(print, "r12 ", fault->r12, "  ");
        print_hex(print, "lr ", fault->lr, "  ");
        print_hex(print, "pc ", fault->pc, "  ");
        print_hex(print, "xpsr ", fault->xpsr, "\n");
    }
    print_hex(print, "cfsr ", fault->cfsr, "  ");
    print_hex(print, "hfsr ", fault->hfsr, "  ");
    print_hex(print, "mmfar ", fault->mmfar, "  ");
    print_hex(print, "bfar ", fault->bfar, "\n");
}

static void print_to_console(const char *text)
{
    size_t count = 0;
    while (text[count] != '\0') {
        ++count;
    }
    mc_console_write((const uint8_t *)text, count);
}

__attribute__((weak)) void mc_fault_report(const mc_fault_t *fault)
{
    mc_fault_print(fault, print_to_console);
}
