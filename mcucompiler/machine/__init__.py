# SPDX-License-Identifier: Apache-2.0
"""A back end for straight-line blocks: operations on virtual registers, scheduling, register allocation.

A kernel generator builds a ``Block``, and ``compile_block`` gives it an order and registers; templates print its lines.
``core`` holds all facts about pipelines, ``operations`` the meaning and the text of each operation.
"""

from mcucompiler.machine.block import Block
from mcucompiler.machine.compile import Code, compile_block, estimate
from mcucompiler.machine.core import CORES, CORTEX_M4, CORTEX_M7, CORTEX_M33, Core
from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.registers import ALL_REGISTERS, DEFAULT_REGISTERS, RegisterFile
from mcucompiler.machine.value import Value

__all__ = [
    "ALL_REGISTERS",
    "CORES",
    "CORTEX_M4",
    "CORTEX_M7",
    "CORTEX_M33",
    "DEFAULT_REGISTERS",
    "Block",
    "Code",
    "Core",
    "MachineError",
    "RegisterFile",
    "Value",
    "compile_block",
    "estimate",
]
