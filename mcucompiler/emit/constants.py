# SPDX-License-Identifier: Apache-2.0
"""Constant arrays: naming, sharing of equal ones, and their bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mcucompiler.emit.environment import c_rows
from mcucompiler.lower.types import ConstantArray

_PER_ROW = {"int8_t": 20, "uint8_t": 18, "int16_t": 16, "uint16_t": 14, "int32_t": 10, "uint32_t": 9, "float": 6}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrintedArray:
    """A constant array as templates/weights.c.j2 prints it.

    Attributes:
        name: C identifier.
        ctype: element type.
        size: elements.
        align: bytes.
        comment: what it holds and for which node.
        rows: lines of elements.
        size_bytes: bytes in flash.
        weights: whether these bytes are weights rather than other constants.
    """

    name: str
    ctype: str
    size: int
    align: int
    comment: str
    rows: tuple[str, ...]
    size_bytes: int
    weights: bool


class ConstantPool:
    """Collects the arrays of a network; arrays of equal type and content are printed once."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names: dict[tuple[str, int, bytes], str] = {}
        self._printed: list[PrintedArray] = []

    def add(self, array: ConstantArray, step: int | None, user: str) -> str:
        """The C name of an array, which is printed if no equal one is there yet.

        Args:
            array: the data.
            step: index of the step that uses it, part of its name; None where it serves no step.
            user: description of what uses it, for the comment.
        """
        key = (array.ctype, array.align, array.values.tobytes())
        if key not in self._names:
            stem = f"{self._prefix}_{array.label}" + ("" if step is None else f"_{step}")
            name = stem
            taken = {printed.name for printed in self._printed}
            number = 2
            while name in taken:
                name, number = f"{stem}_{number}", number + 1
            self._names[key] = name
            comment = user if step is None else f"step {step}, {user}"
            comment += f": {array.comment}" if array.comment else ""
            self._printed.append(
                PrintedArray(
                    name=name,
                    ctype=array.ctype,
                    size=array.values.size,
                    align=array.align,
                    comment=comment,
                    rows=tuple(c_rows(array.values.reshape(-1).tolist(), array.ctype, _PER_ROW[array.ctype])),
                    size_bytes=array.values.nbytes,
                    weights=array.weights,
                )
            )
        return self._names[key]

    @property
    def arrays(self) -> tuple[PrintedArray, ...]:
        """What was collected, in the order of first use."""
        return tuple(self._printed)


def constant_bytes(arrays: Iterable[PrintedArray], *, weights: bool) -> int:
    """Bytes of the weights, or of the other constants."""
    return sum(array.size_bytes for array in arrays if array.weights is weights)
