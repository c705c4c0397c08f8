/* SPDX-License-Identifier: Apache-2.0 */
/* Text on the console of mc_board.h. */
#ifndef MC_CONSOLE_H
#define MC_CONSOLE_H

#include <stdint.h>
#include <string.h>

#include "mc_board.h"

static inline void mc_console_text(const char *text)
{
    mc_console_write((const uint8_t *)text, strlen(text));
}

/* In decimal. */
static inline void mc_console_number(uint32_t number)
{
    char digits[11];
    char *first = &digits[10];

    *first = '\0';
    do {
        *--first = (char)('0' + (int)(number % 10u));
        number /= 10u;
    } while (number != 0u);
    mc_console_text(first);
}

#endif
