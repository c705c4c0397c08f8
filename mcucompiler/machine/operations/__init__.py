# SPDX-License-Identifier: Apache-2.0
"""The operations of the back end, by name: meaning, operands, text and kind."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mcucompiler.machine.operations import alu, dsp, memory, multiply, vfp
from mcucompiler.machine.operations.types import Access, Immediate, Opcode, is_modified_immediate

OPCODES: Mapping[str, Opcode] = MappingProxyType(
    {opcode.name: opcode for module in (alu, dsp, multiply, memory, vfp) for opcode in module.operations()}
)

__all__ = ["OPCODES", "Access", "Immediate", "Opcode", "is_modified_immediate"]
