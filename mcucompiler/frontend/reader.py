# SPDX-License-Identifier: Apache-2.0
"""Reading a model: bytes to a checked ONNX protobuf, with external data in place."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import checker, external_data_helper, inliner

from mcucompiler.errors import ModelError
from mcucompiler.frontend.structure import check_structure

OLDEST_OPSET = 11
PER_AXIS_OPSET = 13
"""The opset in which QuantizeLinear and DequantizeLinear got an axis."""

_HOW_TO_UPGRADE = (
    'convert it: python -c "import onnx, onnx.version_converter as v; '
    "onnx.save(v.convert_version(onnx.load('MODEL.onnx'), 17), 'MODEL17.onnx')\""
)

#: (offset, bytes found there, what such a file is, what to do with it)
_OTHER_FORMATS: tuple[tuple[int, bytes, str, str], ...] = (
    (
        4,
        b"TFL3",
        "a TensorFlow Lite file",
        "convert it: python -m tf2onnx.convert --tflite MODEL.tflite --output M.onnx",
    ),
    (4, b"ORTM", "an ONNX Runtime .ort file", "pass the .onnx file it was made from"),
    (0, b"PK\x03\x04", "a zip archive (a PyTorch or Keras file?)", "export it to ONNX, with torch.onnx.export say"),
    (0, b"\x89HDF", "an HDF5 file (Keras?)", "convert it: python -m tf2onnx.convert --keras MODEL.h5 --output M.onnx"),
    (0, b"\x80\x02", "a Python pickle", "export the network to ONNX, with torch.onnx.export say"),
    (0, b"GGUF", "a GGUF file", "pass an ONNX model"),
    (0, b"\x7fELF", "an ELF file", "pass an ONNX model"),
    (0, b"{", "a JSON or text file", "pass the binary .onnx file"),
    (
        0,
        b"<",
        "an XML, HTML or ONNX text file",
        "pass the binary .onnx file; a web page may have been saved in its place",
    ),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch the file: git lfs pull"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A parsed and checked model.

    Attributes:
        proto: the protobuf, local functions inlined and external data loaded.
        name: the graph's name, or the file's stem where it has none.
        digest: SHA-256 of the file, hexadecimal.
        opset: version of the default operator domain.
    """

    proto: onnx.ModelProto
    name: str
    digest: str
    opset: int


def load_model(path_or_bytes: str | os.PathLike[str] | bytes) -> LoadedModel:
    """Parse and check a model.

    Raises:
        ModelError: for a file that is missing or unreadable, is no ONNX model, is older than opset
            11, is not valid ONNX, or whose external data cannot be found.
    """
    if isinstance(path_or_bytes, bytes):
        content, folder, stem = path_or_bytes, None, "model"
    else:
        path = Path(path_or_bytes)
        content, folder, stem = _read(path), path.parent, path.stem
    proto = _parse(content)
    opset = _opset(proto)
    _load_external_data(proto, folder)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    check_structure(proto.graph)
    if not proto.graph.name:
        proto.graph.name = stem
    _check(proto)
    return LoadedModel(proto=proto, name=proto.graph.name, digest=hashlib.sha256(content).hexdigest(), opset=opset)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"no such file: {str(path)!r}") from None
    except IsADirectoryError:
        raise ModelError(f"{str(path)!r} is a directory, not a model", hint="pass the .onnx file inside it") from None
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {error.strerror or error}") from None


def _parse(content: bytes) -> onnx.ModelProto:
    if not content:
        raise ModelError("not an ONNX model: the file is empty")
    for offset, magic, what, hint in _OTHER_FORMATS:
        if content[offset : offset + len(magic)] == magic:
            raise ModelError(f"not an ONNX model: this is {what}", hint=hint)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError:
        raise ModelError(
            "cannot be parsed: not an ONNX model, or the file is truncated or damaged",
            found=f"{len(content):,} bytes beginning {content[:12]!r}",
            hint="check the file with: python -c \"import onnx; onnx.load('MODEL.onnx')\"",
        ) from None
    if not proto.HasField("graph"):
        raise ModelError("not an ONNX model: it holds no graph; the file may be truncated")
    return proto


def _opset(proto: onnx.ModelProto) -> int:
    versions = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        if any(node.domain in ("", "ai.onnx") for node in proto.graph.node):
            raise ModelError("the model does not say which opset it uses; the file may be truncated")
        return onnx.defs.onnx_opset_version()
    newest = onnx.defs.onnx_opset_version()
    if versions[0] < OLDEST_OPSET:
        raise ModelError(
            "the model's opset is too old",
            found=f"opset {versions[0]}",
            supported=f"opset {OLDEST_OPSET} to {newest}",
            hint=_HOW_TO_UPGRADE,
        )
    if versions[0] > newest:
        raise ModelError(
            "the model's opset is newer than the installed onnx package",
            found=f"opset {versions[0]}",
            supported=f"opset {OLDEST_OPSET} to {newest}",
            hint="pip install --upgrade onnx",
        )
    return int(versions[0])


def _external_tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    tensors = list(proto.graph.initializer)
    for node in proto.graph.node:
        tensors += [attribute.t for attribute in node.attribute if attribute.HasField("t")]
    return [tensor for tensor in tensors if external_data_helper.uses_external_data(tensor)]


def _load_external_data(proto: onnx.ModelProto, folder: Path | None) -> None:
    tensors = _external_tensors(proto)
    if tensors and folder is None:
        raise ModelError(
            f"tensor {tensors[0].name!r} keeps its data in another file, and the model was given as bytes",
            hint="pass the model's path",
        )
    for tensor in tensors:
        _load_external_tensor(tensor, folder or Path())


def _load_external_tensor(tensor: onnx.TensorProto, folder: Path) -> None:
    keys = {entry.key: entry.value for entry in tensor.external_data}
    location = keys.get("location", "")
    where = f"the data of tensor {tensor.name!r} are in the external file {location!r}"
    if not (folder / location).is_file():
        raise ModelError(f"{where}, which is missing", hint="put that file beside the .onnx file, under this very name")
    try:
        external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        expected = int(keys.get("length") or len(tensor.raw_data))
    except (checker.ValidationError, ValueError, OSError) as error:
        raise ModelError(f"{where}, which cannot be used", found=_first_lines(error)) from None
    if len(tensor.raw_data) < expected:
        raise ModelError(
            f"{where}, which is too short",
            found=f"{len(tensor.raw_data):,} of {expected:,} bytes",
        )
    # The data are in raw_data now; without this the checker would look for the file again.
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _first_lines(error: Exception) -> str:
    """The beginning of another library's message, with the names in it escaped."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return " ".join(line for line in lines[:3] if line).encode("unicode_escape").decode("ascii")


def _hint(proto: onnx.ModelProto, error: Exception) -> str:
    if _opset(proto) < PER_AXIS_OPSET and "attribute: axis for operator" in str(error):
        return (
            f"quantization per channel needs opset {PER_AXIS_OPSET}; ONNX Runtime refuses this file too: "
            f"export the float model with opset {PER_AXIS_OPSET} or newer and quantize that"
        )
    return ""


def _check(proto: onnx.ModelProto) -> None:
    """The onnx package's own checks, on a model whose structure has been looked at before."""
    shapeless = [
        value.type.tensor_type
        for value in (*proto.graph.input, *proto.graph.output)
        if value.type.WhichOneof("value") == "tensor_type" and not value.type.tensor_type.HasField("shape")
    ]
    try:
        # ONNX Runtime takes inputs and outputs without any shape, the checker does not.
        for tensor_type in shapeless:
            tensor_type.shape.SetInParent()
        checker.check_model(proto, full_check=False)
    except checker.ValidationError as error:
        raise ModelError("not a valid ONNX model", found=_first_lines(error), hint=_hint(proto, error)) from None
    finally:
        for tensor_type in shapeless:
            tensor_type.ClearField("shape")
