# SPDX-License-Identifier: Apache-2.0
"""How two elements become one, and the functions that take four pairs of them at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from mcucompiler.ir.graph import Tensor
from mcucompiler.lower.types import Exactness, Kernel, Param, ScalarArg, Stored, kernel
from mcucompiler.lower.variants.calls import MATH, extent_label, label, reads, writes
from mcucompiler.lower.variants.geometry import Loop
from mcucompiler.machine.blocks.elementwise import FactorForm, LoopFunction, SumForm, factor_function, sum_function
from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.value import WORD

_UNROLLS = (2, 1)
_WRAPPER = 16
"""Instructions of a call besides those of the function of words."""
_ELEMENT = 12
"""Instructions for an element that is left over."""
_WRAPPER_STACK = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class PairForm:
    """How two elements become one, as templates/kernels/binary.c.j2 prints it.

    Attributes:
        kind: "add", "mul" (integers), "add_float", "mul_float" (float32 between quantized tensors) or
            "float" (float32 tensors).
        numbers: the form's constants by name.
        instructions: estimate for an element.
    """

    kind: str
    numbers: tuple[tuple[str, int | float | str | bool], ...]
    instructions: float

    def __getattr__(self, name: str) -> Any:
        for key, value in object.__getattribute__(self, "numbers"):
            if key == name:
                return value
        raise AttributeError(name)

    @property
    def exactness(self) -> Exactness:
        """What the report counts: one channel."""
        if self.kind in ("add", "mul"):
            return Exactness(proved=1)
        return Exactness() if self.kind == "float" else Exactness(float_tail=1)


def form(kind: str, instructions: float, **numbers: int | float | str | bool) -> PairForm:
    """A ``PairForm`` from keyword constants."""
    return PairForm(kind=kind, numbers=tuple(sorted(numbers.items())), instructions=instructions)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsCall:
    """A kernel that takes four pairs at a time.

    Attributes:
        kernel: the function.
        scalars: its last arguments.
        stack_bytes: of it.
        instructions: of a call, from the scheduled code.
        cycles: of a call, estimated by the model of the core.
    """

    kernel: Kernel
    scalars: tuple[ScalarArg, ...]
    stack_bytes: int
    instructions: int
    cycles: int


def takes_words(pair: PairForm, a: Tensor, b: Tensor, inner: Loop) -> bool:
    """Whether there are functions of words for a form and the innermost loop over a, b and y."""
    if pair.kind not in ("add", "mul") or a.dtype != "int8" or b.dtype != "int8":
        return False
    fits = pair.kind == "mul" or max(abs(int(getattr(pair, f"multiplier_{x}"))) for x in "ab") < 2**23
    return fits and inner.strides == (1, 1, 1) and inner.extent >= WORD and _finds_registers(pair)


def _finds_registers(pair: PairForm) -> bool:
    """Whether a round of one word can be allocated: limits on unpacked sums take registers that some forms lack."""
    try:
        _function(pair, 1)
    except MachineError:
        return False
    return True


def words_call(
    loops: tuple[Loop, ...], pair: PairForm, a: Tensor, b: Tensor, target: Stored, symbol: str, *, small: bool
) -> WordsCall:
    """The kernel for loops whose innermost one ``takes_words``.

    What differs from node to node are arguments, and so is the number of elements where there is no outer loop: layers
    share the function.

    Args:
        loops: over a, b and y.
        pair: the form.
        a: first operand.
        b: second operand.
        target: the result.
        symbol: the operator's sign, for the function's comment.
        small: whether code size matters more than speed.
    """
    *outer, inner = loops
    words, left = divmod(inner.extent, WORD)
    unroll, function = _unrolled(pair, (1,) if small else tuple(each for each in _UNROLLS if words % each == 0))
    scalars = _scalars(pair)
    names = tuple(name for name, _ in scalars)
    arguments = [scalar for _, scalar in scalars]
    params = [Param(ctype=f"{scalar.ctype} ", name=name) for name, scalar in scalars]
    if not outer:
        arguments.append(ScalarArg(ctype="uint32_t", value=words * WORD))
        params.append(Param(ctype="uint32_t ", name="count"))
    stem = {"+": "add", "-": "sub", "*": "mul"}[symbol]
    times = prod(loop.extent for loop in outer)
    rounds = words // unroll
    around = function.around + _WRAPPER + left * _ELEMENT
    extent = f"{extent_label(target.memory_shape)}: " if outer else ""
    return WordsCall(
        kernel=kernel(
            "binary_words",
            label(stem, target) if outer else f"{stem}_words",
            (reads(a, "input_a"), reads(b, "input_b"), writes(target.tensor), *params),
            includes=MATH,
            about=f"{extent}y = a {symbol} b, quantized; the output may be a dense operand of its size.",
            kind=pair.kind,
            form=_printed(pair),
            outer=tuple(outer),
            count=words * WORD if outer else None,
            left=left,
            lines=function.lines,
            scalars=tuple((scalar.ctype, name) for name, scalar in scalars),
            names=names,
        ),
        scalars=tuple(arguments),
        stack_bytes=function.stack_bytes + _WRAPPER_STACK,
        instructions=times * (rounds * function.instructions + around),
        cycles=round(times * (rounds * function.cycles + around)),
    )


def _printed(pair: PairForm) -> PairForm:
    """What the function's text depends on."""
    kept = tuple((name, value) for name, value in pair.numbers if name in ("shift", "half_even", "lo", "hi"))
    return PairForm(kind=pair.kind, numbers=kept, instructions=0.0)


def _unrolled(pair: PairForm, unrolls: tuple[int, ...]) -> tuple[int, LoopFunction]:
    """The function of as many words a round as find registers, of those given, the preferred one first."""
    for unroll in unrolls[:-1]:
        try:
            return unroll, _function(pair, unroll)
        except MachineError:
            continue
    return unrolls[-1], _function(pair, unrolls[-1])


def _function(pair: PairForm, unroll: int) -> LoopFunction:
    if pair.kind == "add":
        form = SumForm(words=unroll, shift=pair.shift, half_even=pair.half_even, lo=pair.lo, hi=pair.hi)
        return sum_function(form)
    return factor_function(FactorForm(words=unroll, shift=pair.shift, lo=pair.lo, hi=pair.hi))


def _scalars(pair: PairForm) -> tuple[tuple[str, ScalarArg], ...]:
    """The form's numbers as the functions of words take them, by name."""
    if pair.kind == "add":
        values = {
            "factor_a": pair.multiplier_a * 256,
            "factor_b": pair.multiplier_b * 256,
            "addend": pair.addend,
        }
        return tuple((name, ScalarArg(ctype="int32_t", value=value)) for name, value in values.items())
    zeros = tuple(
        (name, ScalarArg(ctype="uint32_t", value=(-zero & 0xFFFF) * 0x10001))
        for name, zero in (("zero_a", int(pair.zero_a)), ("zero_b", int(pair.zero_b)))
    )
    return (
        *zeros,
        ("factor", ScalarArg(ctype="int32_t", value=pair.multiplier)),
        ("addend", ScalarArg(ctype="int32_t", value=pair.addend)),
    )
