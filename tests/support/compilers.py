# SPDX-License-Identifier: Apache-2.0
"""Command lines of the compilers that the generated C must please."""

from __future__ import annotations

STRICT = tuple(
    "-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wstrict-prototypes "
    "-Wmissing-prototypes -Wundef -Wdouble-promotion -Wvla -Werror -O2 -c".split()
)
ARM = ("arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard")
