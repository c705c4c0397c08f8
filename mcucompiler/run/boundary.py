# SPDX-License-Identifier: Apache-2.0
"""Values across the boundary: arrays as ONNX has them to the bytes of the C program, and back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mcucompiler.errors import UsageError
from mcucompiler.ir.graph import Array
from mcucompiler.manifest import BoundaryTensor, Manifest
from mcucompiler.run.types import Sample


def quantize_input(value: Array, tensor: BoundaryTensor) -> Array:
    """An array in ONNX order, as integers of the C program's type.

    Real numbers are quantized as QuantizeLinear does: ``clamp(rint(f32(x / scale)) + zero_point)``.
    Integers must lie in the type's range.

    Raises:
        UsageError: wrong shape or type; says what is expected.
    """
    expected = _expectation(tensor)
    if value.shape != tensor.onnx_shape:
        raise UsageError(f"input {tensor.name!r} has shape {_shape(value.shape)}; expected is {expected}")
    if tensor.dtype == "float32" or value.dtype.kind not in "fiub":
        if value.dtype.kind not in "fiu":
            raise UsageError(f"input {tensor.name!r} has type {value.dtype}; expected is {expected}")
        return value.astype(np.float32)
    lo, hi = np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max
    if value.dtype.kind == "f":
        if tensor.scale is None or tensor.zero_point is None:
            raise UsageError(f"input {tensor.name!r} has type {value.dtype}; expected is {expected}")
        if np.isnan(value).any():
            raise UsageError(f"input {tensor.name!r} holds NaN, which has no quantized value")
        with np.errstate(over="ignore"):
            scaled: Array = np.rint(value.astype(np.float32) / np.float32(tensor.scale)).astype(np.float64)
        clamped: Array = np.clip(scaled + tensor.zero_point, lo, hi).astype(tensor.dtype)
        return clamped
    if value.dtype.kind == "b" or (value.size and (int(value.min()) < lo or int(value.max()) > hi)):
        raise UsageError(f"input {tensor.name!r} of type {value.dtype} is out of range; expected is {expected}")
    return value.astype(tensor.dtype)


def input_bytes(value: Array, tensor: BoundaryTensor) -> bytes:
    """The bytes of an input's C buffer from an array in ONNX order; raises as ``quantize_input`` does."""
    integers = quantize_input(value, tensor).transpose(tensor.onnx_to_c)
    return np.ascontiguousarray(integers, dtype=integers.dtype.newbyteorder("<")).tobytes()


def output_array(data: bytes, tensor: BoundaryTensor) -> Array:
    """An output in ONNX order, of the C program's element type."""
    stored = np.frombuffer(data, np.dtype(tensor.dtype).newbyteorder("<"))
    shape = [tensor.onnx_shape[axis] for axis in tensor.onnx_to_c]
    value = stored.reshape(shape).transpose(np.argsort(tensor.onnx_to_c))
    return np.ascontiguousarray(value).astype(tensor.dtype).reshape(tensor.onnx_shape)


def dequantize(value: Array, tensor: BoundaryTensor) -> Array:
    """An output as ONNX has it: real numbers, ``f32((q - zero_point) * scale)``, where the ONNX tensor is float."""
    if tensor.onnx_dtype == "float32" and value.dtype.kind != "f" and tensor.scale is not None:
        centered = value.astype(np.int64) - (tensor.zero_point or 0)
        return centered.astype(np.float32) * np.float32(tensor.scale)
    return value


def requantize_reference(value: Array, tensor: BoundaryTensor) -> Array:
    """ONNX Runtime's output on the C program's integer grid: the grid point that a real number stands for.

    Not clipped and in float64, so that a value beyond the type's range still counts as a difference.
    """
    if value.dtype.kind == "f" and tensor.dtype != "float32" and tensor.scale is not None:
        return np.rint(value.astype(np.float64) / float(np.float32(tensor.scale))) + (tensor.zero_point or 0)
    return value.astype(np.float64)


def encode_sample(manifest: Manifest, arrays: Mapping[str, Array]) -> Sample:
    """The bytes of all inputs from arrays by ONNX name.

    Raises:
        UsageError: an input is missing, a name is unknown, a shape or type is wrong.
    """
    check_names(manifest, arrays)
    return tuple(input_bytes(arrays[tensor.name], tensor) for tensor in manifest.sample_inputs)


def network_inputs(manifest: Manifest, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """What the network computes with: the sample, or the integers that a camera's pixels stand for, in ONNX order."""
    how = manifest.conversion
    if how is None:
        return dict(arrays)
    image = manifest.inputs[0]
    converted = how.convert(arrays[image.name]).reshape(image.c_shape).transpose(np.argsort(image.onnx_to_c))
    return {image.name: np.ascontiguousarray(converted).reshape(image.onnx_shape)}


def check_names(manifest: Manifest, arrays: Mapping[str, Array]) -> None:
    """Refuse arrays that do not go by the names of the network's inputs."""
    expected = ", ".join(f"{tensor.name!r} {_expectation(tensor)}" for tensor in manifest.sample_inputs)
    names = [tensor.name for tensor in manifest.sample_inputs]
    for name in names:
        if name not in arrays:
            raise UsageError(f"no input {name!r} in the file (found: {_names(arrays)}); expected are {expected}")
    for name in arrays:
        if name not in names:
            raise UsageError(f"the network has no input {name!r}; expected are {expected}")


def load_npz(path: Path) -> dict[str, Array]:
    """The arrays of an npz file by name.

    Raises:
        UsageError: it cannot be read, or holds what is not plain arrays.
    """
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise UsageError(f"{str(path)!r} holds one array without a name; an .npz file is expected (np.savez)")
            with loaded as archive:
                return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise UsageError(f"{str(path)!r} does not exist") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise UsageError(f"{str(path)!r} is not an .npz file of plain arrays: {error}") from error


def save_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name; any name is possible, unlike with numpy's own function."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asanyarray(array), allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getvalue())


def _names(arrays: Mapping[str, Array]) -> str:
    return ", ".join(repr(name) for name in arrays) or "nothing"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"


def _expectation(tensor: BoundaryTensor) -> str:
    kinds = tensor.dtype if tensor.scale is None or tensor.dtype == "float32" else f"{tensor.dtype} or float32"
    return f"{kinds} of shape {_shape(tensor.onnx_shape)}"
