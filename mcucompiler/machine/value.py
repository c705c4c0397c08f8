# SPDX-License-Identifier: Apache-2.0
"""Virtual registers."""

from __future__ import annotations

from dataclasses import dataclass

WORD = 4
"""Bytes of a register."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A virtual register of one block: defined once, by an operation or as a live-in.

    Attributes:
        index: its number in the block.
        kind: register class: "r" core, "s" float, "f" condition flags, "g" GE flags.
        alias: the memory class it points to, where it is an address.
    """

    index: int
    kind: str
    alias: str = ""
