# SPDX-License-Identifier: Apache-2.0
"""A stream: a group of layers that run row by row, with only the rows that are still needed in memory.

Each layer of a stream is a ``Band``: a kernel that computes a few rows of its output from a few rows
of its inputs. The rows of the tensors between the layers lie in rings. A stream runs by one rule,
which plan, verifier and C share: of the bands whose inputs are there, the last one in order runs
next; so nothing is computed before it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from mcucompiler.ir.graph import Graph, Node
from mcucompiler.lower.types import Call, Exactness, KernelCall


class Access(Enum):
    """How a band's kernel gets at the rows of an input."""

    DENSE = "a pointer to rows that lie one behind the other"
    POINTERS = "an array of pointers to rows"
    EACH = "a pointer to one row after the other"
    WHOLE = "a pointer to the whole tensor, which is complete before the stream begins"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which columns a band reads that makes its rows in strips, a few pixels at a time.

    Strip s reads the columns ``first + s * step`` and the ``count - 1`` after them; those outside the image are
    padding.

    Attributes:
        first: the first column of strip 0; negative where that lies left of the image.
        step: columns from strip to strip.
        count: columns for a strip.
        strips: that the band makes of a row.
        width: columns of the image that is read.
        units: strips in which the rows of this image come to be; 1 where they come whole.
    """

    first: int
    step: int
    count: int
    strips: int
    width: int
    units: int

    @property
    def same(self) -> bool:
        """Whether each strip is made of the strip of the same number."""
        return self.strips == self.units and self.first == 0 and self.step == self.count

    def begin(self, strip: int) -> int:
        """The first column of the image that a strip reads."""
        return max(0, self.first + strip * self.step)

    def stop(self, strip: int) -> int:
        """One past the last column of the image that a strip reads."""
        return min(self.width, self.first + strip * self.step + self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Which rows of an input a band reads. Run n reads the rows ``first + n * step`` and the ``count - 1`` after them.

    Where a band makes its rows in strips, n is the number of its row. What a stream counts of a tensor are units: its
    rows, or the strips of these where it is made in strips.

    Attributes:
        tensor: its name.
        access: how.
        first: the first row of run 0; negative where that lies above the image.
        step: rows from run to run.
        count: rows in a run.
        border: the byte that rows outside the image consist of.
        edge: whether the row of the image that is nearest takes the place of each row outside it, instead.
        columns: in a part of a group that runs in column bands, the half-open range of columns of the image that the
            kernel reads, from each row; those outside the image are its padding. None for all columns.
        offset: bytes from the begin of a row, as the part has it, to the first of these columns.
        span: the columns for each strip, in a stream that runs in strips; None for whole rows.
    """

    tensor: str
    access: Access
    first: int = 0
    step: int = 0
    count: int = 0
    border: int = 0
    edge: bool = False
    columns: tuple[int, int] | None = None
    offset: int = 0
    span: Span | None = None

    @property
    def same_unit(self) -> bool:
        """Whether a run of a band in strips reads the strip of its own number and nothing else."""
        alike = (self.first, self.step, self.count) == (0, 1, 1)
        return alike and self.span is not None and self.span.strips > 1 and self.span.same

    def begin(self, run: int) -> int:
        """The first row that a run reads; may lie outside the image."""
        return self.first + (run if self.span is None else run // self.span.strips) * self.step

    def needed(self, run: int, height: int) -> int:
        """How many units of the image must be there for a run."""
        rows = min(height, max(0, self.begin(run) + self.count))
        if self.span is None or not rows:
            return rows
        columns = self.span.stop(run % self.span.strips)
        return (rows - 1) * self.span.units - (-columns * self.span.units // self.span.width)

    def oldest(self, run: int) -> int:
        """The first unit of the image that a run or a later one reads."""
        row = max(0, self.begin(run))
        if self.span is None:
            return row
        # The next row may begin with the same rows at the left edge again.
        again = not self.step or self.begin(run) < 0
        return row * self.span.units + (
            0 if again else self.span.begin(run % self.span.strips) * self.span.units // self.span.width
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """Some channels of an inverted bottleneck.

    Attributes:
        channel: the first of them.
        expand: makes one row of them.
        depthwise: convolves the rows of a window into the band's output.
    """

    channel: int
    expand: KernelCall
    depthwise: KernelCall


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expansion:
    """The expanding 1x1 convolution of an inverted bottleneck, made anew for each window of the depthwise one.

    The expanded tensor never exists: of a few channels at a time the rows of one window do.

    Attributes:
        node: the 1x1 convolution.
        strips: the chunks, by channels, for each strip of a row; for the only one where rows come whole.
        rows: rows of a window.
        row_bytes: bytes that are kept for a row of a chunk in a window.
        buffer: offset of the rows from the start of the kernels' scratch.
        height: rows of the expanded image.
        border: the byte that rows outside the expanded image consist of.
    """

    node: Node
    strips: tuple[tuple[Chunk, ...], ...]
    rows: int
    row_bytes: int
    buffer: int
    height: int
    border: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Band:
    """A layer that runs a few rows at a time.

    Attributes:
        node: the layer.
        call: what one run needs; the kernel, unless there is an expansion.
        readings: by input index; constants are not among them.
        writes: name of the tensor that it makes.
        row_bytes: bytes of one of its rows.
        rows: rows that a run makes.
        runs: how often it runs.
        strips: where a run makes no more than a strip of a row: the kernels, from left to right.
        macs: multiply-accumulates of the layer.
        recomputed_macs: those that are done more than once, counted as often as they are repeated.
        expansion: the layer in front of this one that it computes as well, chunk by chunk.
        sums: name of the tensor of sums that the kernel takes for its scratch memory: the band that writes it adds to
            it in every run, from zero in the first.
        carries: whether it only copies: a column of an image to a row of a stream along the width, or back.
    """

    node: Node
    call: Call
    readings: tuple[tuple[int, Reading], ...]
    writes: str
    row_bytes: int
    rows: int
    runs: int
    macs: int
    recomputed_macs: int = 0
    expansion: Expansion | None = None
    sums: str | None = None
    carries: bool = False
    strips: tuple[KernelCall, ...] = ()

    @property
    def units(self) -> int:
        """How many strips make a row."""
        return len(self.expansion.strips if self.expansion else self.strips) or 1

    @property
    def makes(self) -> int:
        """Units of its tensor that a run makes: rows, or one strip."""
        return self.rows if self.units == 1 else 1

    @property
    def height(self) -> int:
        """Rows of the tensor that it makes."""
        return self.rows * self.runs // self.units

    @property
    def kernels(self) -> tuple[tuple[Node, KernelCall], ...]:
        """The kernel calls that make rows, of all their strips, each with its node."""
        if self.carries:
            return ()
        if self.strips:
            return tuple((self.node, call) for call in self.strips)
        if self.expansion is None:
            return ((self.node, kernel_call_of(self.call)),)
        chunks = [chunk for strip in self.expansion.strips for chunk in strip]
        expands = ((self.expansion.node, chunk.expand) for chunk in chunks)
        return (*expands, *((self.node, chunk.depthwise) for chunk in chunks))


def total_exactness(calls: Iterable[Call]) -> Exactness:
    """How the channels of several calls are requantised."""
    known = [call.exactness for call in calls]
    return Exactness(proved=sum(e.proved for e in known), float_tail=sum(e.float_tail for e in known))


def kernel_call_of(call: Call) -> KernelCall:
    """A call that must be one of a kernel.

    Raises:
        TypeError: for another call.
    """
    if not isinstance(call, KernelCall):
        raise TypeError(f"not the call of a kernel: {call!r}")
    return call


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Where the rows of a tensor lie while a stream runs.

    Unit u, a row or a strip of one, lies in slot u modulo ``slots``. Exactly one of these holds: the tensor is whole in
    a buffer of the program (``offset`` and ``guest_of`` None), its slots lie in the stream's scratch (``offset``), or
    each of its rows lies over the row of another tensor from which it was computed and which nobody needs any more
    (``guest_of``).

    A stream that is a column band of a group has only some columns of each row. For a stream along the width rows are
    columns; those of an image that lies whole in the program's own order consist of pieces.

    Where the rows of a ring of strips go on at its begin, a window may reach over its end: what lies in the first
    ``tail`` bytes lies behind the ring as well.

    Attributes:
        tensor: its name.
        height: rows of the image.
        row_bytes: bytes of a row, as far as the stream has it.
        pitch: bytes of a whole row of the image.
        column: bytes from the begin of a whole row to the first column that the stream has.
        slots: units that memory is kept for.
        offset: bytes from the start of the scratch to slot 0.
        guest_of: name of the tensor.
        lead: for a guest: row r lies where row ``lead + r * stride`` of the other tensor lay.
        stride: see ``lead``.
        pieces: in how many pieces, one for each row of the image, a column lies; 1 for what is contiguous.
        apart: bytes from one piece to the next.
        units: strips in which a row comes to be.
        tail: bytes from the ring's begin that lie behind its end as well.
    """

    tensor: str
    height: int
    row_bytes: int
    slots: int
    pitch: int
    column: int = 0
    offset: int | None = None
    guest_of: str | None = None
    lead: int = 0
    stride: int = 1
    pieces: int = 1
    apart: int = 0
    units: int = 1
    tail: int = 0

    @property
    def spacing(self) -> int:
        """Bytes from the begin of a unit to that of the next where the tensor is whole in a buffer."""
        return self.pitch // self.units if self.pieces == 1 else self.row_bytes // self.pieces

    @property
    def unit_bytes(self) -> int:
        """Bytes of a row, or of a strip of one."""
        return self.row_bytes // self.units

    @property
    def ring_bytes(self) -> int:
        """Bytes of memory of its own in the stream's scratch."""
        return 0 if self.offset is None else self.slots * self.unit_bytes + self.tail


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamCall(Call):
    """Layers that run as a stream; ``scratch_bytes`` holds rings, the kernels' scratch and, if fed, the state.

    Attributes:
        bands: in topological order.
        rows: of every tensor that the bands read by rows or write, by name.
        fed: name of the tensor whose rows the caller pushes, None where the stream begins by itself.
        kernel_scratch: offset of the kernels' scratch in the stream's.
        state: offset of the counters of runs, which are kept between pushes; None on the stack.
        most_runs: most runs of bands between two pushes, or in all.
        most_cycles: likewise of estimated cycles.
        last_cycles: estimated cycles after the last push.
        recomputed_macs: multiply-accumulates that are repeated.
        turned: the network as a stream along the width sees it, to which the nodes of its bands belong; None for a
            stream along the height.
    """

    bands: tuple[Band, ...]
    rows: tuple[Rows, ...]
    fed: str | None = None
    kernel_scratch: int = 0
    state: int | None = None
    most_runs: int = 0
    most_cycles: int = 0
    last_cycles: int = 0
    recomputed_macs: int = 0
    turned: Graph | None = None

    @property
    def parts(self) -> tuple[StreamCall, ...]:
        """What runs, one after the other."""
        return (self,)

    def rows_of(self, tensor: str) -> Rows:
        """Where the rows of a tensor lie."""
        return next(rows for rows in self.rows if rows.tensor == tensor)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchesCall(StreamCall):
    """A group that runs in column bands: patches with halo, each of them a stream over all rows.

    The streams run one after the other on the same scratch. ``bands`` are those of all of them, ``rows`` is empty.

    Attributes:
        columns: the streams, from left to right.
    """

    columns: tuple[StreamCall, ...]

    @property
    def parts(self) -> tuple[StreamCall, ...]:
        """What runs, one after the other."""
        return self.columns
