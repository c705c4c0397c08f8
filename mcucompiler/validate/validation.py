# SPDX-License-Identifier: Apache-2.0
"""``validate``: the program against the reference executor and ONNX Runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from mcucompiler.errors import UsageError, VerificationError
from mcucompiler.ir.graph import Array, Graph
from mcucompiler.lower import step_graph
from mcucompiler.manifest import BoundaryTensor, Manifest
from mcucompiler.pipeline import import_and_rewrite
from mcucompiler.reference import execute
from mcucompiler.run.boundary import (
    encode_sample,
    network_inputs,
    output_array,
    quantize_input,
    requantize_reference,
)
from mcucompiler.run.types import DeviceFacts, DeviceRunner, Runner, SampleResult
from mcucompiler.validate.classes import ClassCounter
from mcucompiler.validate.onnx_runtime import OnnxRuntime, is_integer_graph, load_model
from mcucompiler.validate.types import Difference, TensorReport, Timing, ValidationResult

StageProgress = Callable[[str, int, int], None]
"""Called with what is being done, the number of samples done and of all samples."""


def check_model(manifest: Manifest, model: Path) -> None:
    """Refuse a model that is not the one the folder was compiled from.

    Raises:
        UsageError: it is another, or cannot be read.
    """
    try:
        found = hashlib.sha256(model.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"model {str(model)!r} cannot be read: {error.strerror}") from error
    if found != manifest.model_sha256:
        raise UsageError(
            f"{str(manifest.directory)!r} was not compiled from {str(model)!r}: its manifest names "
            f"SHA-256 {manifest.model_sha256[:16]}..., the file has {found[:16]}...; "
            "compile it again or give the other model"
        )


def validate(
    manifest: Manifest,
    model: Path,
    runner: Runner,
    samples: Sequence[Mapping[str, Array]],
    *,
    layers: bool = False,
    labels: Array | None = None,
    progress: StageProgress = lambda stage, done, count: None,
) -> ValidationResult:
    """Run a program and both oracles on the same samples and compare.

    Args:
        manifest: of the program's folder.
        model: the ONNX file it was compiled from.
        runner: where the program runs.
        samples: inputs by ONNX name; a camera's pixels where the program takes those.
        layers: also compare every output of every step; on a device behind a slow line up to the first that differs.
        labels: the right class of each sample, for a classifier.
        progress: told how far it has got.

    Raises:
        UsageError: another model, or samples or labels that do not fit it.
        ModelError: the model cannot be read.
        ToolError: a tool is missing or fails.
        VerificationError: the program broke a promise.
    """
    check_model(manifest, model)
    encoded = [encode_sample(manifest, sample) for sample in samples]
    values = [network_inputs(manifest, sample) for sample in samples]
    _, rewritten = import_and_rewrite(model, shapes=manifest.input_shapes, io=manifest.io)
    graph = step_graph(rewritten)
    proto = load_model(model)

    def running(done: int, count: int) -> None:
        progress(f"on {runner.name}", done, count)

    comparison = _Comparison(manifest, graph, proto, layers=layers)
    counter = ClassCounter.create(manifest, len(samples), labels)
    if layers:
        results = runner.layers(encoded, running, lambda index: comparison.expected(values[index]))
    else:
        results = runner.run(encoded, running)
    for index, (sample, result) in enumerate(zip(values, results, strict=True)):
        runtime = comparison.add(index, sample, result)
        if counter is not None:
            counter.add(index, result, runtime)
        progress("against both oracles", index + 1, len(samples))
    device = runner.device if isinstance(runner, DeviceRunner) else None
    return ValidationResult(
        on=runner.name,
        samples=len(samples),
        integer_graph=is_integer_graph(proto) and not manifest.float_nodes,
        outputs=comparison.outputs(),
        layers=comparison.layers(),
        stack_bytes=None if layers else _stack_bytes(manifest, results),
        device=device,
        timing=None if layers or device is None else _timing(device, results),
        classification=None if counter is None else counter.result(),
    )


def _timing(device: DeviceFacts, results: Sequence[SampleResult]) -> Timing:
    steps = np.array([result.step_ticks for result in results], np.float64).mean(axis=0)
    return Timing(
        cycles=tuple(result.ticks for result in results),
        cycles_hz=device.cycles_hz,
        steps=tuple(float(mean) for mean in steps),
    )


def _stack_bytes(manifest: Manifest, results: Sequence[SampleResult]) -> int | None:
    measured = [result.stack_bytes for result in results if result.stack_bytes is not None]
    if not measured:
        return None
    declared = manifest.memory.stack_bytes
    if max(measured) > declared:
        raise VerificationError("stack", [f"{max(measured)} bytes of stack were used, {declared} were declared"])
    return max(measured)


def _comparable(a: Array, b: Array) -> bool:
    """Whether both are integers or both real numbers, of one shape."""
    return a.shape == b.shape and (a.dtype.kind == "f") == (b.dtype.kind == "f")


class _Comparison:
    """Both oracles, and how far the program has been from them so far."""

    def __init__(self, manifest: Manifest, graph: Graph, model: onnx.ModelProto, *, layers: bool) -> None:
        self._manifest, self._graph, self._layers = manifest, graph, layers
        wanted = [tensor.name for step in manifest.steps for tensor in step.outputs] if layers else []
        self._runtime = OnnxRuntime(model, wanted)
        self._reference: dict[tuple[int | None, str], Difference] = {}
        self._onnx: dict[tuple[int | None, str], Difference] = {}

    def expected(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        """What the reference says of every tensor of the graph."""
        return execute(self._graph, self._graph_feeds(sample), keep=self._layers)

    def add(self, index: int, sample: Mapping[str, Array], result: SampleResult) -> dict[str, Array]:
        """Compare one sample; ONNX Runtime's outputs."""
        expected = self.expected(sample)
        runtime = self._runtime.run(self._runtime_feeds(sample))
        for tensor, name, data in zip(self._manifest.outputs, self._graph.outputs, result.outputs, strict=True):
            got = output_array(data, tensor)
            reference = expected[name].astype(np.float64) + self._graph.tensors[name].onnx_offset
            zero = tensor.zero_point or 0
            self._update(self._reference, (None, tensor.name), index, got, reference, zero)
            on_grid = requantize_reference(runtime[tensor.name], tensor)
            self._update(self._onnx, (None, tensor.name), index, got, on_grid, zero)
        for dump in result.tensors:
            key = (dump.step, dump.tensor.name)
            stored = self._graph.tensors[dump.tensor.name]
            zero = stored.quant.z if stored.quant is not None and stored.quant.per_tensor else 0
            self._update(self._reference, key, index, dump.value, expected[dump.tensor.name], zero)
            values = runtime.get(dump.tensor.name)
            if values is not None and _comparable(values, dump.value):
                offset = dump.tensor.onnx_offset
                got = dump.value.astype(np.float64) + offset
                self._update(self._onnx, key, index, got, values, zero + offset)
        return runtime

    def outputs(self) -> tuple[TensorReport, ...]:
        """Reports of the network's outputs."""
        return tuple(self._report(None, tensor.name) for tensor in self._manifest.outputs)

    def layers(self) -> tuple[TensorReport, ...]:
        """Reports of the steps' outputs that were compared, in the order in which the steps run."""
        keys = [(step.index, tensor.name) for step in self._manifest.steps for tensor in step.outputs]
        return tuple(self._report(*key) for key in keys if key in self._reference)

    def _report(self, step: int | None, name: str) -> TensorReport:
        return TensorReport(
            name=name, step=step, reference=self._reference[step, name], onnx_runtime=self._onnx.get((step, name))
        )

    def _graph_feeds(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        feeds = {}
        for tensor, name in zip(self._manifest.inputs, self._graph.inputs, strict=True):
            stored = self._graph.tensors[name]
            value = quantize_input(sample[tensor.name], tensor)
            if stored.onnx_offset:
                value = value.astype(np.int64) - stored.onnx_offset
            feeds[name] = value.astype(stored.dtype)
        return feeds

    def _runtime_feeds(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        return {
            tensor.name: self._as_onnx(sample[tensor.name], tensor).astype(self._runtime.input_dtype(tensor.name))
            for tensor in self._manifest.inputs
        }

    def _as_onnx(self, value: Array, tensor: BoundaryTensor) -> Array:
        """Integers that stand for real numbers, where ONNX takes those; others as they are."""
        if value.dtype.kind != "f" and tensor.float_in_onnx and tensor.scale is not None:
            centered = value.astype(np.int64) - (tensor.zero_point or 0)
            return centered.astype(np.float32) * np.float32(tensor.scale)
        return value

    @staticmethod
    def _update(
        into: dict[tuple[int | None, str], Difference],
        key: tuple[int | None, str],
        index: int,
        got: Array,
        expected: Array,
        zero_point: int,
    ) -> None:
        into.setdefault(key, Difference()).update(index, got, expected.reshape(got.shape), zero_point)
