# SPDX-License-Identifier: Apache-2.0
"""What manifest.json holds of tensors, rows, steps and memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.cost import ConstantRead
from mcucompiler.ir.graph import ITEM_BYTES, Array, QuantParams
from mcucompiler.lower.layout import Layout
from mcucompiler.manifest_streams import ManifestStream
from mcucompiler.pixels import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundaryTensor:
    """An input or an output of the program.

    Attributes:
        index: its number in the C interface.
        name: its name in the ONNX file.
        onnx_shape: its shape there.
        c_shape: the shape of the C buffer.
        onnx_to_c: for each axis of the C buffer its axis in ONNX.
        dtype: element type of the C buffer.
        float_in_onnx: whether the ONNX file has it as float32, quantised or dequantised by the caller.
        scale: of the C buffer's elements; None where they are plain numbers.
        zero_point: likewise.
        bytes: size of the C buffer.
    """

    index: int
    name: str
    onnx_shape: tuple[int, ...]
    c_shape: tuple[int, ...]
    onnx_to_c: tuple[int, ...]
    dtype: str
    float_in_onnx: bool
    scale: float | None
    zero_point: int | None
    bytes: int

    @property
    def onnx_dtype(self) -> str:
        """Element type in the ONNX file."""
        return "float32" if self.float_in_onnx else self.dtype

    @property
    def quant(self) -> QuantParams | None:
        """Scale and zero point, where there are."""
        if self.scale is None or self.zero_point is None:
            return None
        return QuantParams(scale=(self.scale,), zero_point=(self.zero_point,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The image of a network that is fed by rows.

    Attributes:
        bytes: of a row as it is pushed.
        count: rows of the image.
        worst_cycles: estimated cycles of the push that does most.
        pixels: a camera's pixels; None where rows are of the network's own type.
    """

    bytes: int
    count: int
    worst_cycles: int
    pixels: Pixels | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTensor:
    """Where an output of a step lies in the arena right after the step.

    Attributes:
        name: tensor of the graph; that of the ONNX tensor where there is one.
        shape: in ONNX order.
        dtype: element type in memory.
        layout: order in memory.
        offset: bytes from the arena's start to the first element.
        rows: rows of contiguous elements; see ``lower.types.Place``.
        row: elements in a row.
        stride: elements from one row to the next.
        onnx_offset: what to add to an element to get that of the ONNX tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout
    offset: int
    rows: int
    row: int
    stride: int
    onnx_offset: int

    @property
    def span_bytes(self) -> int:
        """Bytes from the first to one past the last element, gaps included."""
        return ((self.rows - 1) * self.stride + self.row) * ITEM_BYTES[self.dtype]

    def decode(self, span: bytes) -> Array:
        """The tensor in ONNX order from its ``span_bytes`` bytes of arena."""
        flat = np.frombuffer(span, np.dtype(self.dtype).newbyteorder("<"))
        index = np.arange(self.rows)[:, None] * self.stride + np.arange(self.row)[None, :]
        return self.layout.from_memory(flat[index.reshape(-1)], self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of the program.

    Attributes:
        index: as given to the step hook.
        kind: operator.
        onnx_nodes: names of the nodes it stands for.
        kernel: the C function.
        macs: multiply-accumulates.
        estimated_cycles: estimate of the cost model.
        arena_bytes: bytes that are live during the step.
        variant: kernel variant, "" where the manifest does not say.
        reason: why it was chosen.
        rejected: pairs of variant and why it was not taken.
        outputs: what it writes.
        estimated_instructions: estimate of the cost model, 0 where the manifest does not say.
        constant_reads: bytes of constants, and how often they are read from first to last.
        stream: its layers, where it runs several.
    """

    index: int
    kind: str
    onnx_nodes: tuple[str, ...]
    kernel: str
    macs: int
    estimated_cycles: int
    arena_bytes: int
    variant: str = ""
    reason: str = ""
    rejected: tuple[tuple[str, str], ...] = ()
    outputs: tuple[StepTensor, ...] = ()
    estimated_instructions: int = 0
    constant_reads: tuple[ConstantRead, ...] = ()
    stream: ManifestStream | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes the program needs; the manifest's keys of the same names."""

    arena_bytes: int
    lower_bound_bytes: int
    peak_step: int
    stack_bytes: int
    weights_bytes: int
    const_bytes: int
    estimated_code_bytes: int = 0
