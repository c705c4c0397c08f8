# SPDX-License-Identifier: Apache-2.0
"""Streams as templates/stream.c.j2 prints them."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.emit.carriers import PrintedCopy
from mcucompiler.stream.types import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class PointerRows:
    """An array of pointers to the rows that a band reads.

    Attributes:
        name: of the array.
        ctype: of a row, e.g. "const int8_t *".
        count: rows.
        first: C expression of the first row's number, an int32_t.
        height: rows of the image.
        address: C expression of the address of row ``row``.
        border: C name of a row of the border's value, "" where no row lies outside.
        edge: whether rows lie outside for which the nearest row of the image stands.
    """

    name: str
    ctype: str
    count: int
    first: str
    height: int
    address: str
    border: str
    edge: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedExpansion:
    """The expanding layer that a band computes as well, chunk by chunk, for each row of a window.

    Attributes:
        rows: rows of a window.
        first: C expression of the number of its first row, an int32_t.
        height: rows of the image.
        source: C expression of the address of row ``row`` of the narrow input.
        target: C expression of the address of row ``i`` of the window.
    """

    rows: int
    first: str
    height: int
    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedRun:
    """What a run calls.

    Attributes:
        last: the last strip of a row for which these calls are right.
        calls: pairs of the call that makes a row of an expanded window, "" for none, and the kernel's call.
    """

    last: int
    calls: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedTail:
    """The ring that a band writes to, where what is at its begin lies behind its end as well.

    Attributes:
        rows: of the tensor.
        start: C expression of the offset of the ring.
    """

    rows: Rows
    start: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedBand:
    """A band as templates/stream.c.j2 prints it.

    Attributes:
        index: its number in the stream.
        titles: the layers.
        runs: how often it runs.
        conditions: what must hold for its next run.
        pointers: arrays of row pointers.
        work: what it calls, by strips from left to right; nothing where it copies.
        strip: C expression of the number of the strip that the next run makes.
        expansion: the layer that it computes as well.
        copy: what it copies.
        tail: of the ring that it writes to.
        clears: C expression of the offset of the sums that its first run sets to zero, "" for none.
        clears_bytes: their size.
    """

    index: int
    titles: tuple[str, ...]
    runs: int
    conditions: tuple[str, ...]
    pointers: tuple[PointerRows, ...]
    work: tuple[PrintedRun, ...]
    strip: str = ""
    expansion: PrintedExpansion | None = None
    copy: PrintedCopy | None = None
    tail: PrintedTail | None = None
    clears: str = ""
    clears_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedStream:
    """A stream as templates/stream.c.j2 prints it.

    Attributes:
        function: its C name.
        step: index of its step.
        state: C expression of the offset of its counters, "" where they live on the stack.
        bands: the last one first.
        fed_row: C expression of the offset of row ``index`` of the tensor whose rows are pushed, "" for none.
        parts: the functions of column bands, which this one calls in turn; it has no bands of its own then.
        columns: what a part makes, for people; "" for all columns.
        turned: whether its rows are columns.
    """

    function: str
    step: int
    state: str
    bands: tuple[PrintedBand, ...]
    fed_row: str = ""
    parts: tuple[PrintedStream, ...] = ()
    columns: str = ""
    turned: bool = False
