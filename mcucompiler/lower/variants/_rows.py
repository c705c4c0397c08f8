# SPDX-License-Identifier: Apache-2.0
"""Rows of depthwise outputs as straight-line code: which words of a plane meet which words of taps.

The plane of a channel holds two neighboring columns in a word. A few neighboring outputs are summed
in registers: for each kernel row, every word of the plane that they read is loaded once. Where two
taps fall into one word of the plane, one instruction multiplies both with a word of two
neighboring taps; a tap alone in its word takes the half of some word of taps that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mcucompiler.lower.variants._window import Window

MOST_OPERATIONS = 360  # of a block of outputs, unrolled
_REGISTERS = 12  # for accumulators and taps


@dataclass(frozen=True, slots=True)
class TapWord:
    """A word of two neighboring taps of a kernel row: taps[number] = (tap low, tap high)."""

    number: int
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Load:
    """A word of the plane, ``offset`` words from the block's first one, or a word of taps."""

    name: str
    source: str
    offset: int


@dataclass(frozen=True, slots=True)
class Sum:
    """An instruction that adds one or two products: ``acc = function(pixels, taps, acc)``."""

    function: str
    pixels: str
    taps: str
    acc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBlock:
    """Neighboring outputs of a row that are computed together.

    Attributes:
        outputs: how many.
        columns: outputs of all repetitions along the row.
        body: loads and sums.
        registers: names of the words that the body loads.
        stores: for each output its accumulator and its offset in elements from the first.
        step_words: words of the plane from a repetition to the next.
        step_outputs: elements of the output from a repetition to the next.
    """

    outputs: int
    columns: int
    body: tuple[Load | Sum, ...]
    registers: tuple[str, ...]
    stores: tuple[tuple[str, int], ...]
    step_words: int
    step_outputs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A channel's plane as words of two columns.

    Attributes:
        rows: rows, padding included.
        words: words in a row.
        size: words in all.
        first: the first word that holds input.
        filled: rows that come from the input.
        pairs: for each word that holds input, its position in the row, and the offsets in elements of
            its halves in the input's row (None for padding).
    """

    rows: int
    words: int
    size: int
    first: int
    filled: int
    pairs: tuple[tuple[int, int | None, int | None], ...]


def _parities(window: Window) -> tuple[int, ...]:
    """Whether windows start at even or at odd columns, or both."""
    return (0,) if window.stride[1] % 2 == 0 or window.ofmap[1] == 1 else (0, 1)


def _row_plan(window: Window, start: int) -> list[tuple[str, int, int]]:
    """How the taps of a window that starts at column ``start`` are summed.

    Returns:
        Triples (instruction, word of the plane, tap of the low half of the word of taps).
    """
    kernel, dilation = window.kernel[1], window.dilation[1]
    plan, tap = [], 0
    while tap < kernel:
        column = start + tap * dilation
        if column % 2 == 0 and dilation == 1 and tap + 1 < kernel:
            plan.append(("mc_smlad", column // 2, tap))
            tap += 2
            continue
        half = "b" if column % 2 == 0 else "t"
        plan.append((f"single_{half}", column // 2, tap))
        tap += 1
    return plan


@lru_cache(maxsize=1024)
def tap_words(window: Window) -> tuple[TapWord, ...]:
    """The words of taps that a kernel row needs: those of whole pairs, and for taps alone some word that has them."""
    plans = [step for start in _parities(window) for step in _row_plan(window, start)]
    pairs = sorted({tap for function, _, tap in plans if function == "mc_smlad"})
    held = {tap + half for tap in pairs for half in (0, 1)}
    alone = sorted({tap for function, _, tap in plans if function != "mc_smlad"} - held)
    lows = [(tap, tap + 1) for tap in pairs]
    while alone:
        low, *alone = alone
        high = alone.pop(0) if alone else None
        lows.append((low, high) if high is not None else (low, -1))
    return tuple(TapWord(n, low, None if high < 0 else high) for n, (low, high) in enumerate(sorted(lows)))


def taps_of(window: Window) -> tuple[tuple[int, int | None], ...]:
    """The words of taps of all kernel rows: which of the channel's bytes are low and high."""
    width = window.kernel[1]
    return tuple(
        (row * width + word.low, None if word.high is None else row * width + word.high)
        for row in range(window.kernel[0])
        for word in tap_words(window)
    )


def _sum(function: str, tap: int, words: Sequence[TapWord]) -> tuple[str, TapWord]:
    """The instruction and the word of taps for a step of a plan."""
    if function == "mc_smlad":
        return function, next(word for word in words if word.low == tap and word.high == tap + 1)
    pixel_half = function[-1]
    for word in words:
        if tap in (word.low, word.high):
            return f"mc_smla{pixel_half}{'b' if tap == word.low else 't'}", word
    raise ValueError(f"tap {tap} is in no word")


def _body(window: Window, outputs: int, registers: int) -> tuple[Load | Sum, ...]:
    """Loads and sums of a block of outputs that starts at an even column."""
    words = tap_words(window)
    per_row = plane_of(window).words
    steps = []
    for output in range(outputs):
        for function, pixel_word, tap in _row_plan(window, output * window.stride[1]):
            name, taps = _sum(function, tap, words)
            steps.append((pixel_word, output, name, taps.number))
    used = sorted({step[3] for step in steps})
    sections = -(-len(used) // max(1, registers - outputs))
    size = -(-len(used) // sections)
    body: list[Load | Sum] = []
    for row in range(window.kernel[0]):
        for at in range(0, len(used), size):
            names = {number: f"w{place}" for place, number in enumerate(used[at : at + size])}
            body += [Load(name, "taps", row * len(words) + number) for number, name in names.items()]
            loaded = -1
            for pixel_word, output, function, number in sorted(step for step in steps if step[3] in names):
                if pixel_word != loaded:
                    body.append(Load("v", "row", row * window.dilation[0] * per_row + pixel_word))
                    loaded = pixel_word
                body.append(Sum(function, "v", names[number], f"a{output}"))
    return tuple(body)


def operations(window: Window, outputs: int) -> int:
    words = len(tap_words(window))
    sums = max(len(_row_plan(window, start)) for start in _parities(window))
    return window.kernel[0] * (outputs * sums + words + outputs * window.stride[1] // 2 + window.kernel[1] // 2)


@lru_cache(maxsize=1024)
def row_blocks(window: Window, *, most: int = 0, registers: int = _REGISTERS) -> tuple[RowBlock, ...]:
    """Divides a row of outputs into blocks of about equal size, repeated ones in a loop.

    Args:
        window: the geometry.
        most: outputs of a block; 0 for what suits the portable form.
        registers: for accumulators and words of taps.
    """
    columns, even = window.ofmap[1], window.stride[1] % 2 == 0
    words = len(tap_words(window))
    most = most or (10 if words <= 2 else 8 if words <= 4 else 6)
    while most > 1 and operations(window, most) > MOST_OPERATIONS:
        most -= 1
    if not even and most % 2 and most < columns:
        most = max(most - 1, 2)
    count = -(-columns // most)
    size = -(-columns // count)
    if not even and size % 2 and size < columns:
        size += 1
    rounds, rest = divmod(columns, size)
    blocks = [_row_block(window, size, size * rounds, registers)]
    if rest:
        blocks.append(_row_block(window, rest, rest, registers))
    return tuple(blocks)


def _row_block(window: Window, outputs: int, columns: int, registers: int) -> RowBlock:
    body = _body(window, outputs, registers)
    return RowBlock(
        outputs=outputs,
        columns=columns,
        body=body,
        registers=tuple(dict.fromkeys(op.name for op in body if isinstance(op, Load))),
        stores=tuple((f"a{output}", output * window.out_stride) for output in range(outputs)),
        step_words=outputs * window.stride[1] // 2,
        step_outputs=outputs * window.out_stride,
    )


@lru_cache(maxsize=1024)
def plane_of(window: Window) -> Plane:
    rows, columns = window.reach(0), window.reach(1)
    words = -(-columns // 2)
    left = window.before[1]

    def source(column: int) -> int | None:
        inside = 0 <= column - left < window.ifmap[1] and column < columns
        return (column - left) * window.in_stride if inside else None

    pairs = tuple((word, source(2 * word), source(2 * word + 1)) for word in range(words))
    return Plane(
        rows=rows,
        words=words,
        size=rows * words,
        first=window.before[0] * words,
        filled=min(window.ifmap[0], rows - window.before[0]),
        pairs=tuple(pair for pair in pairs if pair[1] is not None or pair[2] is not None),
    )
