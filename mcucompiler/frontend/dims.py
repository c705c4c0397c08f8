# SPDX-License-Identifier: Apache-2.0
"""Static shapes for the graph's inputs: the batch size, ``--shape``, and what the model states."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from mcucompiler.errors import ModelError, UsageError
from mcucompiler.words import counted

Dim = int | str
"""A stated size, or the symbol ("" for none) that stands in its place."""


def declared_dims(value: onnx.ValueInfoProto) -> tuple[Dim, ...] | None:
    """The dimensions that a tensor is declared with, None where not even the rank is known.

    Converters write 0 or -1 for a size they do not know; both count as unknown.
    """
    tensor_type = value.type.tensor_type
    if not tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0 else dim.dim_param
        for dim in tensor_type.shape.dim
    )


def input_shapes(
    inputs: list[onnx.ValueInfoProto], batch: int, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """A static shape for each input.

    Args:
        inputs: the graph's inputs, without those that are initializers.
        batch: size of a leading dimension that the model leaves open.
        shapes: whole shapes for inputs by name.

    Raises:
        UsageError: for options that do not fit the model.
        ModelError: for dimensions that stay unknown.
    """
    _check_options([value.name for value in inputs], batch, shapes)
    symbols: dict[str, int] = {}
    for value in sorted(inputs, key=lambda v: v.name not in shapes):  # what is given comes before what is assumed
        _bind_symbols(value, batch, shapes, symbols)
    _refuse_useless_batch(inputs, batch)
    result: dict[str, tuple[int, ...]] = {}
    open_axes: list[str] = []
    for value in inputs:
        result[value.name] = _static_shape(value, batch, shapes, symbols, open_axes)
    if open_axes:
        raise ModelError(
            "dimensions of unknown size; every buffer's address is decided at compile time",
            found="; ".join(open_axes),
            supported="static shapes; a leading batch dimension is set by --batch",
            hint="; ".join(_shape_option(value) for value in inputs if value.name not in shapes),
        )
    return result


def _check_options(names: list[str], batch: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
    if batch < 1:
        raise UsageError(f"--batch must be at least 1, not {batch}")
    for name, shape in shapes.items():
        if name not in names:
            known = ", ".join(repr(n) for n in names)
            raise UsageError(f"--shape {name!r}: the model has no such input; its inputs are {known}")
        if any(dim < 1 for dim in shape):
            raise UsageError(f"--shape {name!r}: sizes must be positive, not {'x'.join(map(str, shape))}")


def _refuse_useless_batch(inputs: list[onnx.ValueInfoProto], batch: int) -> None:
    if batch == 1 or not inputs:
        return
    leading = [dims[0] for dims in map(declared_dims, inputs) if dims]
    if leading and all(isinstance(dim, int) and dim != batch for dim in leading):
        raise UsageError(f"--batch {batch}: the model's own batch size is fixed at {leading[0]}")


def _bind_symbols(
    value: onnx.ValueInfoProto, batch: int, shapes: Mapping[str, tuple[int, ...]], symbols: dict[str, int]
) -> None:
    """Note which size each symbolic dimension has; the same symbol has one size everywhere."""
    dims = declared_dims(value)
    given = shapes.get(value.name)
    if dims is None:
        return
    if given is not None and len(given) != len(dims):
        raise UsageError(
            f"--shape {value.name!r}: {counted(len(given), 'size')} given, but the model declares "
            f"{counted(len(dims), 'dimension')}"
        )
    for axis, dim in enumerate(dims):
        size = given[axis] if given is not None else batch if axis == 0 else None
        if isinstance(dim, int):
            if given is not None and given[axis] != dim:
                raise UsageError(
                    f"--shape {value.name!r}: {given[axis]} given for axis {axis}, which the model fixes at {dim}"
                )
        elif dim and size is not None:
            if given is not None and symbols.get(dim, size) != size:
                raise UsageError(
                    f"--shape {value.name!r}: {size} given for axis {axis}, "
                    f"but dimension {dim!r} is {symbols[dim]} elsewhere"
                )
            symbols.setdefault(dim, size)


def _static_shape(
    value: onnx.ValueInfoProto,
    batch: int,
    shapes: Mapping[str, tuple[int, ...]],
    symbols: Mapping[str, int],
    open_axes: list[str],
) -> tuple[int, ...]:
    if value.name in shapes:
        return tuple(shapes[value.name])
    dims = declared_dims(value)
    if dims is None:
        open_axes.append(f"input {value.name!r} has no shape at all")
        return ()
    sizes = []
    for axis, dim in enumerate(dims):
        size = dim if isinstance(dim, int) else symbols.get(dim)
        if size is None and axis == 0:
            size = batch
        if size is None:
            open_axes.append(f"input {value.name!r}, axis {axis}" + (f" ({dim!r})" if dim else ""))
            size = 1
        sizes.append(size)
    return tuple(sizes)


def _shape_option(value: onnx.ValueInfoProto) -> str:
    dims = declared_dims(value)
    if dims is None:
        return f"give the shape: --shape {value.name!r}=1x3x96x96 (say)"
    sizes = [str(dim) if isinstance(dim, int) else "1" if axis == 0 else "?" for axis, dim in enumerate(dims)]
    return f"give the sizes: --shape {value.name!r}={'x'.join(sizes)}" + (" with numbers for ?" if "?" in sizes else "")
