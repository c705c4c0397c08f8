# SPDX-License-Identifier: Apache-2.0
"""The block builder's methods for arithmetic; ``Block`` inherits them."""

from __future__ import annotations

from collections.abc import Sequence

from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.operations import is_modified_immediate
from mcucompiler.machine.value import Value

Shift = tuple[str, int]


class Emitter:
    """What the families of methods need of the block."""

    def emit(
        self, opcode: str, operands: Sequence[Value], immediates: Sequence[int] = (), *, alias: str = ""
    ) -> tuple[Value, ...]:
        """Add an operation; see ``Block.emit``."""
        raise MachineError("only blocks emit operations")

    def one(self, opcode: str, operands: Sequence[Value], *immediates: int) -> Value:
        """Add an operation with one result, or whose first result is the one of interest."""
        return self.emit(opcode, operands, immediates)[0]


class AluMixin(Emitter):
    """Moves, sums, logic and shifts. A ``shift`` is ("lsl" | "lsr" | "asr" | "ror", amount) of the last operand."""

    def constant(self, value: int) -> Value:
        """A 32-bit constant in one instruction or two."""
        value &= 0xFFFFFFFF
        if value < 65536 or is_modified_immediate(value):
            return self.one("mov#", (), value)
        if is_modified_immediate(~value):
            return self.one("mvn#", (), ~value & 0xFFFFFFFF)
        return self.one("movt", (self.one("mov#", (), value & 0xFFFF),), value >> 16)

    def mov(self, source: Value) -> Value:
        """A copy in another register."""
        return self.one("mov", (source,))

    def _alu(self, name: str, first: Value, second: Value | int, shift: Shift | None) -> Value:
        if isinstance(second, int):
            return self.one(f"{name}#", (first,), second)
        if shift is None or shift[1] == 0:
            return self.one(name, (first, second))
        return self.one(f"{name}.{shift[0]}", (first, second), shift[1])

    def add(self, first: Value, second: Value | int, shift: Shift | None = None) -> Value:
        """First + second."""
        if isinstance(second, int) and second < 0:
            return self._alu("sub", first, -second, None)
        return self._alu("add", first, second, shift)

    def sub(self, first: Value, second: Value | int, shift: Shift | None = None) -> Value:
        """First - second."""
        return self._alu("sub", first, second, shift)

    def rsb(self, first: Value, second: Value | int, shift: Shift | None = None) -> Value:
        """Second - first."""
        return self._alu("rsb", first, second, shift)

    def and_(self, first: Value, second: Value | int, shift: Shift | None = None) -> Value:
        """First & second."""
        return self._alu("and", first, second, shift)

    def orr(self, first: Value, second: Value | int, shift: Shift | None = None) -> Value:
        """First | second."""
        return self._alu("orr", first, second, shift)

    def eor(self, first: Value, second: Value | int, shift: Shift | None = None) -> Value:
        """First ^ second."""
        return self._alu("eor", first, second, shift)

    def bic(self, first: Value, second: Value | int, shift: Shift | None = None) -> Value:
        """First & ~second."""
        return self._alu("bic", first, second, shift)

    def lsl(self, value: Value, amount: int) -> Value:
        """Value << amount."""
        return self.one("lsl", (value,), amount)

    def lsr(self, value: Value, amount: int) -> Value:
        """Logical value >> amount."""
        return self.one("lsr", (value,), amount)

    def asr(self, value: Value, amount: int) -> Value:
        """Arithmetic value >> amount."""
        return self.one("asr", (value,), amount)

    def compare(self, first: Value, second: Value | int) -> Value:
        """The condition flags of first - second; declare them live-out to branch on them."""
        if isinstance(second, int):
            return self.one("cmp#", (first,), second)
        return self.one("cmp", (first, second))

    def count_down(self, value: Value, amount: int) -> tuple[Value, Value]:
        """(value - amount, its condition flags)."""
        result, flags = self.emit("subs#", (value,), (amount,))
        return result, flags


class DspMixin(Emitter):
    """Extensions, packing, saturation, parallel arithmetic."""

    def sxtb16(self, value: Value, rotate: int = 0) -> Value:
        """Bytes 0 and 2 of the rotated value as two signed halves."""
        return self.one("sxtb16", (value,), rotate)

    def uxtb16(self, value: Value, rotate: int = 0) -> Value:
        """Bytes 0 and 2 of the rotated value as two unsigned halves."""
        return self.one("uxtb16", (value,), rotate)

    def sxtab16(self, base: Value, value: Value, rotate: int = 0) -> Value:
        """The halves of ``base`` plus bytes 0 and 2 of the rotated value."""
        return self.one("sxtab16", (base, value), rotate)

    def sxtb(self, value: Value, rotate: int = 0) -> Value:
        """The lowest byte of the rotated value, signed."""
        return self.one("sxtb", (value,), rotate)

    def sxth(self, value: Value, rotate: int = 0) -> Value:
        """The lower half of the rotated value, signed."""
        return self.one("sxth", (value,), rotate)

    def uxtb(self, value: Value, rotate: int = 0) -> Value:
        """The lowest byte of the rotated value, unsigned."""
        return self.one("uxtb", (value,), rotate)

    def uxth(self, value: Value, rotate: int = 0) -> Value:
        """The lower half of the rotated value, unsigned."""
        return self.one("uxth", (value,), rotate)

    def pkhbt(self, lower: Value, upper: Value, shift: int = 0) -> Value:
        """Lower half of ``lower``, upper half of ``upper << shift``."""
        return self.one("pkhbt", (lower, upper), shift)

    def pkhtb(self, upper: Value, lower: Value, shift: int) -> Value:
        """Upper half of ``upper``, lower half of ``lower >> shift`` (arithmetic, 1..31)."""
        return self.one("pkhtb", (upper, lower), shift)

    def ssat(self, value: Value, bits: int = 8, *, asr: int = 0, lsl: int = 0) -> Value:
        """The shifted value limited to ``bits`` signed bits."""
        return self._saturate("ssat", value, bits, asr, lsl)

    def usat(self, value: Value, bits: int = 8, *, asr: int = 0, lsl: int = 0) -> Value:
        """The shifted value limited to ``bits`` unsigned bits."""
        return self._saturate("usat", value, bits, asr, lsl)

    def _saturate(self, name: str, value: Value, bits: int, asr: int, lsl: int) -> Value:
        if asr and lsl:
            raise MachineError(f"{name}: one shift, not both")
        if not asr and not lsl:
            return self.one(name, (value,), bits)
        return self.one(f"{name}.{'asr' if asr else 'lsl'}", (value,), bits, asr or lsl)

    def ssat16(self, value: Value, bits: int = 8) -> Value:
        """Both halves limited to ``bits`` signed bits."""
        return self.one("ssat16", (value,), bits)

    def bfi(self, base: Value, value: Value, position: int, bits: int) -> Value:
        """``base`` with ``bits`` bits at ``position`` replaced by the lowest ones of ``value``."""
        return self.one("bfi", (base, value), position, bits)

    def ubfx(self, value: Value, position: int, bits: int) -> Value:
        """A bit field, unsigned."""
        return self.one("ubfx", (value,), position, bits)

    def sbfx(self, value: Value, position: int, bits: int) -> Value:
        """A bit field, signed."""
        return self.one("sbfx", (value,), position, bits)

    def maximum_bytes(self, first: Value, second: Value) -> Value:
        """The larger of each pair of signed bytes, by SSUB8 and SEL."""
        _, flags = self.emit("ssub8", (first, second))
        return self.one("sel", (first, second, flags))


class MultiplyMixin(Emitter):
    """Multiplications; names as Arm's. The addend comes last."""

    def mul(self, first: Value, second: Value) -> Value:
        """First * second, lower word."""
        return self.one("mul", (first, second))

    def mla(self, first: Value, second: Value, addend: Value) -> Value:
        """Addend + first * second, lower word."""
        return self.one("mla", (first, second, addend))

    def smuad(self, first: Value, second: Value) -> Value:
        """Sum of the two products of signed halves."""
        return self.one("smuad", (first, second))

    def smlad(self, first: Value, second: Value, addend: Value) -> Value:
        """Addend plus the two products of signed halves."""
        return self.one("smlad", (first, second, addend))

    def smul_halves(self, first: Value, second: Value, halves: str) -> Value:
        """One product of signed halves."""
        return self.one(f"smul{halves}", (first, second))

    def smlaw(self, first: Value, second: Value, addend: Value, half: str) -> Value:
        """Addend plus (word times signed half) >> 16; ``half`` is "b" or "t"."""
        return self.one(f"smlaw{half}", (first, second, addend))

    def smmul(self, first: Value, second: Value, *, rounded: bool = False) -> Value:
        """Upper word of the signed product."""
        return self.one("smmulr" if rounded else "smmul", (first, second))

    def smmla(self, first: Value, second: Value, addend: Value, *, rounded: bool = False) -> Value:
        """Upper word of (addend << 32) + first * second, truncated or rounded."""
        return self.one("smmlar" if rounded else "smmla", (first, second, addend))

    def smlal(self, first: Value, second: Value, low: Value, high: Value) -> tuple[Value, Value]:
        """The 64-bit (low, high) plus the signed product."""
        new_low, new_high = self.emit("smlal", (first, second, low, high))
        return new_low, new_high

    def smull(self, first: Value, second: Value) -> tuple[Value, Value]:
        """The signed 64-bit product (low, high)."""
        low, high = self.emit("smull", (first, second))
        return low, high


class FloatMixin(Emitter):
    """Single-precision arithmetic."""

    def to_float_register(self, value: Value) -> Value:
        """The pattern of a core register in a float register."""
        return self.one("vmov.sr", (value,))

    def from_float_register(self, value: Value) -> Value:
        """The pattern of a float register in a core register."""
        return self.one("vmov.rs", (value,))

    def float_of(self, value: Value) -> Value:
        """int32 to float32, rounded to nearest even."""
        return self.one("vcvt.f32.s32", (value,))

    def nearest_integer(self, value: Value) -> Value:
        """float32 to int32, ties to even, saturated."""
        return self.one("vcvtn.s32.f32", (value,))

    def vmul(self, first: Value, second: Value) -> Value:
        """Float product."""
        return self.one("vmul.f32", (first, second))


class ArithmeticMixin(AluMixin, DspMixin, MultiplyMixin, FloatMixin):
    """All arithmetic."""
