# SPDX-License-Identifier: Apache-2.0
"""What a depthwise function is specialized to, how a row is divided into parts, and where its frame has what."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.machine.blocks.depthwise import Part, RowForm, RowFrame, Term
from mcucompiler.machine.blocks.depthwise_channel import Lines, Taps
from mcucompiler.machine.value import WORD

SAVED = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")
"""What the function saves besides LR."""
_MOST_PARTS = 3  # of a row without a loop


@dataclass(frozen=True, slots=True, kw_only=True)
class DualPart:
    """Neighboring outputs of a row that are computed together with dual multiplications.

    Attributes:
        steps: terms between which taps are loaded anew.
        outputs: their places, from the address of the outputs.
    """

    steps: tuple[tuple[Term, ...], ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a row with its repetitions.

    Attributes:
        part: what is computed.
        times: how often.
        step_words: words of the plane from a repetition to the next.
        step_outputs: outputs from a repetition to the next.
    """

    part: Part | DualPart
    times: int = 1
    step_words: int = 0
    step_outputs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthwiseForm:
    """What a function is specialized to.

    Attributes:
        row: what the parts of its rows are specialized to.
        difference: the word of a channel's record that is added to the addend, and by how many bits it is shifted right
            before; None where the addend holds for all channels.
        segments: of a row of a channel with an integer tail.
        float_segments: of one with a float tail; the same where there are no others, else small parts.
        integer: whether there are channels with an integer tail.
        floating: whether there are channels with a float tail.
        taps: how they are unpacked.
        lines: how the plane is packed.
        channels: channels.
        record_words: words of weights of a channel.
        first_word: the first word of the plane that holds input.
        filled: lines of the plane that hold input.
        ofmap_rows: rows of outputs.
        line_step: words of the plane from a row of outputs to the next.
        out_step: bytes from a row of the output to the next.
    """

    row: RowForm
    difference: tuple[int, int] | None
    segments: tuple[Segment, ...]
    float_segments: tuple[Segment, ...]
    integer: bool
    floating: bool
    taps: Taps
    lines: Lines
    channels: int
    record_words: int
    first_word: int
    filled: int
    ofmap_rows: int
    line_step: int
    out_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Offsets from SP of what the function keeps, and of its arguments behind the fourth."""

    row: RowFrame
    source: int
    channel: int
    target: int
    target_end: int
    plane: int
    plane_first: int
    weights: int
    lines_end: int
    rows_end: int
    part_end: int
    size: int
    in_zero: int
    addend: int
    out_zero: int


def frame_of(form: DepthwiseForm) -> Frame:
    """The frame of a form."""
    inputs = ("source", "channel") if form.lines.rows else ("channel", "source")
    own = WORD * (form.difference is not None)
    names = (*inputs, "target", "target_end", "plane", "plane_first", "weights", "lines_end", "rows_end", "part_end")
    start = WORD * len(form.taps.words) * form.row.kernel[0]
    first = start + 4 * WORD
    buffer = first + WORD * len(names) + own
    most = max(len(segment.part.outputs) for segment in form.float_segments) if form.floating else 0
    size = -(-(buffer + WORD * most + 4) // 8) * 8 - 4  # with nine saved registers a multiple of 8
    arguments = size + WORD * (len(SAVED) + 1)
    addend = arguments + WORD
    return Frame(
        row=RowFrame(
            taps=0,
            start=start,
            multiplier=start + 8,
            output=start + 12,
            addend=buffer - own if own else addend,
            sums=buffer,
        ),
        size=size,
        in_zero=arguments,
        addend=addend,
        out_zero=addend + WORD * form.integer,
        **{name: first + WORD * number for number, name in enumerate(names)},
    )


def packed_segments(width: int, sums: int) -> tuple[Segment, ...]:
    """Divides a row of ``width`` outputs at stride 1 into parts of at most ``sums`` packed sums.

    Long rows repeat a part between the first and the last one.
    """
    total, closes = width // 2 + 1, width % 2 == 0
    middle = (total - 2) // sums if total > _MOST_PARTS * sums else 0
    rest = total - middle * sums
    count = 2 if middle else -(-rest // sums)
    sizes = [rest // count + (number < rest % count) for number in range(count)]
    segments, first = list[Segment](), 0
    for number, size in enumerate(sizes):
        if number == 1 and middle:
            part = Part(word=first, output=2 * first, count=sums, opens=False, closes=False)
            segments.append(Segment(part=part, times=middle, step_words=sums, step_outputs=2 * sums))
        last = number + 1 == count
        part = Part(word=first, output=2 * first, count=size, opens=number == 0, closes=closes and last)
        segments.append(Segment(part=part))
        first += size
    return tuple(segments)


def packed_pairs(width: int) -> tuple[Segment, ...]:
    """A row of ``width`` outputs at stride 1 as packed sums of two outputs at a time: little code."""
    both = width // 2
    segments = (
        [
            Segment(
                part=Part(word=0, output=0, count=2, opens=True, closes=True), times=both, step_words=1, step_outputs=2
            )
        ]
        if both
        else []
    )
    if width % 2:
        done = both if both == 1 else 0  # the pointers go on with repetitions only
        segments.append(Segment(part=Part(word=done, output=2 * done, count=1, opens=True, closes=False)))
    return tuple(segments)
