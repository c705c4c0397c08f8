# SPDX-License-Identifier: Apache-2.0
"""C text of streams: for each band, when it may run, where its rows lie, and its call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mcucompiler.emit.arena import Symbols
from mcucompiler.emit.borders import reaches_outside
from mcucompiler.emit.calls import constants, describe, kernel_call
from mcucompiler.emit.carriers import about_carrier, printed_copy
from mcucompiler.emit.constants import ConstantPool
from mcucompiler.emit.environment import c_int, c_plus, c_times
from mcucompiler.emit.printed_streams import (
    PointerRows,
    PrintedBand,
    PrintedExpansion,
    PrintedRun,
    PrintedStream,
    PrintedTail,
)
from mcucompiler.ir.graph import Node
from mcucompiler.lower.types import (
    ConstantArray,
    InputArg,
    Kernel,
    KernelCall,
    Lowered,
    OutputArg,
    ScratchArg,
)
from mcucompiler.stream.columns import made_columns
from mcucompiler.stream.types import Access, Band, Chunk, Expansion, Reading, Rows, Span, StreamCall, kernel_call_of


def print_stream(
    call: StreamCall,
    position: int,
    function: str,
    names: Mapping[Kernel, str],
    lowered: Lowered,
    symbols: Symbols,
    pool: ConstantPool,
    borders: Mapping[int, ConstantArray],
) -> PrintedStream:
    """A stream's C text.

    Args:
        call: the stream.
        position: its index in the program.
        function: its C name.
        names: of the kernels.
        lowered: the program.
        symbols: the arena map.
        pool: takes the constants.
        borders: rows of border values.
    """
    if len(call.parts) > 1:
        parts = tuple(
            print_stream(part, position, f"{function}_{number}", names, lowered, symbols, pool, borders)
            for number, part in enumerate(call.parts)
        )
        return PrintedStream(function=function, step=position, state="", bands=(), parts=parts)
    printer = _Printer(call, position, lowered, symbols, pool, borders)
    bands = tuple(printer.band(index, names) for index in range(len(call.bands)))
    state = "" if call.state is None else f"{symbols.scratch(position)} + {call.state}"
    return PrintedStream(
        function=function,
        step=position,
        state=state,
        bands=bands[::-1],
        fed_row=printer.fed_row(),
        columns=made_columns(lowered.graph, call),
        turned=call.turned is not None,
    )


class _Printer:
    def __init__(
        self,
        call: StreamCall,
        position: int,
        lowered: Lowered,
        symbols: Symbols,
        pool: ConstantPool,
        borders: Mapping[int, ConstantArray],
    ) -> None:
        self.call, self.position, self.lowered = call, position, lowered
        self.symbols, self.pool, self.borders = symbols, pool, borders
        self.maker = {band.writes: index for index, band in enumerate(call.bands)}
        self.nodes = {node.name: node for band in call.bands for node, _ in band.kernels}

    def fed_row(self) -> str:
        """C expression of the offset of row ``index`` of the tensor whose rows are pushed."""
        return "" if self.call.fed is None else self._row(self.call.rows_of(self.call.fed), "index")

    def band(self, index: int, names: Mapping[Kernel, str]) -> PrintedBand:
        """A band with the names of its kernels."""
        band = self.call.bands[index]
        nodes = dict.fromkeys(node.name for node, _ in band.kernels)
        printed = PrintedBand(
            index=index,
            titles=tuple(describe(self.lowered.graph, self.nodes[name]) for name in nodes) or (about_carrier(band),),
            runs=band.runs,
            conditions=tuple(self._condition(index, reading) for reading in self._waits(band)),
            pointers=(),
            work=() if band.carries else tuple(self._work(index, names)),
            strip=self._strip(index),
            tail=self._tail(band),
            clears=self._row(self.call.rows_of(band.writes), "0u") if band.writes == band.sums else "",
            clears_bytes=band.row_bytes,
        )
        if band.carries:
            return replace(printed, copy=printed_copy(self.call, band, lambda rows: self._row(rows, self._runs(index))))
        if band.expansion is not None:
            return replace(
                printed,
                pointers=(self._window(index, band.expansion),),
                expansion=self._expansion(index, band.expansion),
            )
        kernel = band.kernels[0][1]
        pointers = [
            self._pointers(index, f"rows_{number}", reading, self._ctype(kernel, number))
            for number, reading in band.readings
            if reading.access is Access.POINTERS
        ]
        return replace(printed, pointers=tuple(pointers))

    def _work(self, index: int, names: Mapping[Kernel, str]) -> Iterator[PrintedRun]:
        """What the runs of a row call; neighbors that call the same are one."""
        band = self.call.bands[index]
        if band.expansion is not None:
            calls = [self._chunks(index, band.expansion, chunks, names) for chunks in band.expansion.strips]
        else:
            kernels = band.strips or (kernel_call_of(band.call),)
            calls = [(("", self._kernel(index, band.node, kernel, names)),) for kernel in kernels]
        for strip, made in enumerate(calls):
            if strip + 1 == len(calls) or calls[strip + 1] != made:
                yield PrintedRun(last=strip, calls=made)

    def _tail(self, band: Band) -> PrintedTail | None:
        rows = self.call.rows_of(band.writes)
        if rows.offset is None or not rows.tail:
            return None
        return PrintedTail(rows=rows, start=self._scratch(rows.offset))

    def _kernel(self, index: int, node: Node, call: KernelCall, names: Mapping[Kernel, str], channel: int = 0) -> str:
        """The call of a kernel of a band; ``channel``: the first that it writes."""
        band = self.call.bands[index]
        readings = dict(band.readings)

        def pointer(argument: InputArg | OutputArg | ScratchArg, ctype: str) -> str:
            match argument:
                case InputArg(index=number):
                    return self._input(index, number, readings[number], ctype)
                case OutputArg():
                    first = f"{self._runs(index)}{c_times(band.makes)}"
                    row = self._row(self.call.rows_of(band.writes), first, band.makes)
                    return f"AT({ctype}, {row}{c_plus(channel)})"
                case ScratchArg():
                    sums = band.sums and self._row(self.call.rows_of(band.sums), "0u")
                    return f"AT({ctype}, {sums or self._scratch(self.call.kernel_scratch)})"

        return kernel_call(call, names[call.kernel], pointer, constants(node, self.position, self.pool))

    def _window(self, index: int, expansion: Expansion) -> PointerRows:
        """Pointers to the expanded rows of a window, in the buffer or outside the image."""
        band = self.call.bands[index]
        ((_, reading),) = band.readings
        border = ""
        if reaches_outside(reading, band, self.call):
            border = self.pool.add(self.borders[expansion.border], self.position, "border")
        return PointerRows(
            name="rows_0",
            ctype="const int8_t *",
            count=expansion.rows,
            first=self._first(index, reading),
            height=expansion.height,
            address=f"AT(const int8_t *, {self._expanded(expansion)})",
            border=border,
        )

    def _expanded(self, expansion: Expansion) -> str:
        """C expression of the offset of row ``i`` of a window."""
        start = self._scratch(self.call.kernel_scratch + expansion.buffer)
        return f"{start} + (uint32_t)i * {expansion.row_bytes}u"

    def _expansion(self, index: int, expansion: Expansion) -> PrintedExpansion:
        ((_, reading),) = self.call.bands[index].readings
        rows = self.call.rows_of(reading.tensor)
        return PrintedExpansion(
            rows=expansion.rows,
            first=self._first(index, reading),
            height=expansion.height,
            source=f"AT(const int8_t *, {self._piece(index, rows, '(uint32_t)row', reading)})",
            target=f"AT(int8_t *, {self._expanded(expansion)})",
        )

    def _chunks(
        self, index: int, expansion: Expansion, chunks: Sequence[Chunk], names: Mapping[Kernel, str]
    ) -> tuple[tuple[str, str], ...]:
        """Of each chunk the call that makes a row of the window, and the call that convolves it."""

        def pointer(argument: InputArg | OutputArg | ScratchArg, ctype: str) -> str:
            match argument:
                case InputArg():
                    return "from"
                case OutputArg():
                    return "to"
                case ScratchArg():
                    return f"AT({ctype}, {self._scratch(self.call.kernel_scratch)})"

        own = constants(expansion.node, self.position, self.pool)
        return tuple(
            (
                kernel_call(chunk.expand, names[chunk.expand.kernel], pointer, own),
                self._kernel(index, self.call.bands[index].node, chunk.depthwise, names, chunk.channel),
            )
            for chunk in chunks
        )

    def _ctype(self, call: KernelCall, number: int) -> str:
        """The C type of a row that a kernel is given pointers to, with its ``*``."""
        where = next(i for i, a in enumerate(call.arguments) if isinstance(a, InputArg) and a.index == number)
        return call.kernel.params[where].ctype.removesuffix("const *").strip()

    def _waits(self, band: Band) -> list[Reading]:
        """The readings that a run may have to wait for."""
        return [r for _, r in band.readings if r.tensor in self.maker or r.tensor == self.call.fed]

    def _condition(self, index: int, reading: Reading) -> str:
        band, rows = self.call.bands[index], self.call.rows_of(reading.tensor)
        if reading.tensor == self.call.fed:
            made = self._runs(len(self.call.bands))
        else:
            producer = self.maker[reading.tensor]
            made = f"{self._runs(producer)}{c_times(self.call.bands[producer].makes)}"
        if reading.same_unit:
            return f"{made} > {self._runs(index)}"
        if reading.span is not None and reading.span.units > 1:
            return f"{made} >= {self._strips_needed(index, reading, reading.span, rows.height)}"
        end, line = reading.first + reading.count, self._line(index)
        if reading.step == 0:
            return f"{made} >= {min(end, rows.height)}u"
        if reading.begin(band.runs - 1) + reading.count <= rows.height and end >= 0:
            return f"{made} >= {line}{c_times(reading.step)} + {end}u"
        return f"{made} >= mc_rows_needed({line}{c_times(reading.step)}, {c_int(end)}, {rows.height}u)"

    def _strips_needed(self, index: int, reading: Reading, span: Span, height: int) -> str:
        """C expression of the number of strips of an image that must be there."""
        end = reading.first + reading.count
        rows = f"mc_rows_needed({self._line(index)}{c_times(reading.step)}, {c_int(end)}, {height}u)"
        if span.strips == 1:
            return f"{rows} * {span.units}u"
        stop = f"{self._strip(index)}{c_times(span.step)}{c_plus(span.first + span.count)}"
        return f"mc_strips_needed({rows}, {stop}, {span.width // span.units}u, {span.units}u)"

    def _line(self, index: int) -> str:
        """C expression of the number of the row, or of the rows, that a run makes or makes a strip of."""
        band = self.call.bands[index]
        return f"{self._runs(index)} / {band.units}u" if band.units > 1 else self._runs(index)

    def _strip(self, index: int) -> str:
        """C expression of the number of the strip that a run makes."""
        return f"{self._runs(index)} % {self.call.bands[index].units}u"

    def _runs(self, band: int) -> str:
        return f"runs[{band}]"

    def _scratch(self, offset: int) -> str:
        symbol = self.symbols.scratch(self.position)
        return f"{symbol}{c_plus(offset)}"

    def _row(self, rows: Rows, row: str, unit: int = 1, *, wraps: bool = False) -> str:
        """C expression of the offset in the arena of a row, given one of its number.

        Args:
            rows: of the tensor.
            row: C expression of the number.
            unit: what it is a multiple of.
            wraps: whether it may exceed the height.
        """
        if rows.guest_of is not None:
            host = self.call.rows_of(rows.guest_of)
            if (rows.lead, rows.stride) == (0, 1):
                return self._row(host, row, unit)
            lead = rows.lead % host.slots
            return self._row(host, f"({row}{c_times(rows.stride)}{f' + {lead}u' if lead else ''})", wraps=True)
        if rows.offset is None:
            start = self.symbols.place(self.lowered.stored[rows.tensor])
            return f"{start}{c_plus(rows.column)} + {row}{c_times(rows.spacing)}"
        if unit % rows.slots == 0:
            return self._scratch(rows.offset)
        slot = f"{row} % {rows.slots}u" if wraps or rows.slots < rows.height * rows.units else row
        return f"{self._scratch(rows.offset)} + {slot} * {rows.unit_bytes}u"

    def _piece(self, index: int, rows: Rows, row: str, reading: Reading) -> str:
        """C expression of the offset in the arena of the first byte that a band reads of a row."""
        span = reading.span
        if rows.guest_of is not None and rows.units > 1:
            rows = self.call.rows_of(rows.guest_of)
        if span is None or (span.units == 1 and span.strips == 1):
            return f"{self._row(rows, row)}{c_plus(reading.offset)}"
        pixel = rows.row_bytes // span.width
        begin = self._begin(index, span, pixel)
        if rows.units == 1 or rows.offset is None:
            return f"{self._row(rows, row + c_times(rows.units))} + {begin}"
        return f"{self._scratch(rows.offset)} + ({row} * {rows.row_bytes}u + {begin}) % {rows.slots * rows.unit_bytes}u"

    def _begin(self, index: int, span: Span, pixel: int) -> str:
        """C expression of the bytes in a row before those that a run reads."""
        if span.strips == 1:
            return "0u"
        steps = f"{self._strip(index)} * {span.step * pixel}u"
        if span.first >= 0:
            return f"{steps}{c_plus(span.first * pixel)}"
        return f"mc_bytes_before({steps}, {-span.first * pixel}u)"

    def _input(self, index: int, number: int, reading: Reading, ctype: str) -> str:
        if reading.access is Access.POINTERS:
            return f"rows_{number}"
        if reading.access is Access.EACH:
            return "rows_0"
        if reading.access is Access.WHOLE:
            return f"AT({ctype}, {self.symbols.place(self.lowered.stored[reading.tensor])})"
        rows = self.call.rows_of(reading.tensor)
        if reading.same_unit:
            return f"AT({ctype}, {self._row(rows, self._runs(index))})"
        if reading.span is not None:
            return f"AT({ctype}, {self._piece(index, rows, f'{self._line(index)}{c_times(reading.step)}', reading)})"
        row = self._row(rows, f"{self._runs(index)}{c_times(reading.step)}", reading.step)
        return f"AT({ctype}, {row}{c_plus(reading.offset)})"

    def _first(self, index: int, reading: Reading) -> str:
        """C expression of the number of the first row that a run reads, an int32_t."""
        first = f"(int32_t)({self._line(index)}{c_times(reading.step)})"
        if not reading.first:
            return first
        return f"{first} {'-' if reading.first < 0 else '+'} {abs(reading.first)}"

    def _pointers(self, index: int, name: str, reading: Reading, ctype: str) -> PointerRows:
        band, rows = self.call.bands[index], self.call.rows_of(reading.tensor)
        outside, border = reaches_outside(reading, band, self.call), ""
        if outside and not reading.edge:
            border = self.pool.add(self.borders[reading.border], self.position, "border")
        return PointerRows(
            name=name,
            ctype=ctype,
            count=reading.count,
            first=self._first(index, reading),
            height=rows.height,
            address=f"AT({ctype}, {self._piece(index, rows, '(uint32_t)row', reading)})",
            border=border,
            edge=outside and reading.edge,
        )
