# SPDX-License-Identifier: Apache-2.0
"""The block builder's loads and stores; ``Block`` inherits them."""

from __future__ import annotations

from mcucompiler.machine.arithmetic import Emitter
from mcucompiler.machine.value import Value


class MemoryMixin(Emitter):
    """Loads and stores at base + offset. ``alias`` names the memory class; that of the base by default."""

    def load(self, base: Value, offset: int = 0, *, alias: str = "") -> Value:
        """A word."""
        return self.emit("ldr", (base,), (offset,), alias=alias)[0]

    def load_byte(self, base: Value, offset: int = 0, *, signed: bool = True, alias: str = "") -> Value:
        """A byte, extended."""
        return self.emit("ldrsb" if signed else "ldrb", (base,), (offset,), alias=alias)[0]

    def load_indexed(self, base: Value, index: Value, shift: int = 0, *, opcode: str = "ldr", alias: str = "") -> Value:
        """What is at base + (index << shift); ``opcode`` is ldr, ldrb, ldrsb, ldrh or ldrsh."""
        return self.emit(f"{opcode}.index", (base, index), (shift,), alias=alias)[0]

    def load_float(self, base: Value, offset: int = 0, *, alias: str = "") -> Value:
        """A word into a float register."""
        return self.emit("vldr", (base,), (offset,), alias=alias)[0]

    def store(self, value: Value, base: Value, offset: int = 0, *, alias: str = "") -> None:
        """A word."""
        self.emit("str", (base, value), (offset,), alias=alias)

    def store_byte(self, value: Value, base: Value, offset: int = 0, *, alias: str = "") -> None:
        """The lowest byte."""
        self.emit("strb", (base, value), (offset,), alias=alias)
