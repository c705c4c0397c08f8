# SPDX-License-Identifier: Apache-2.0
"""Compiles models and runs the programs, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from mcucompiler.api import CompiledModel, CompileOptions, compile_model
from mcucompiler.ir.graph import Array
from mcucompiler.manifest import Manifest, read_manifest
from mcucompiler.reference import execute
from mcucompiler.run import Runner, encode_sample, make_runner, output_array, seeded_samples
from mcucompiler.run.boundary import quantize_input


def compiled(model: bytes | Path, folder: Path, **options: object) -> tuple[CompiledModel, Manifest]:
    """The compiled model, written to ``folder``, and its manifest."""
    result = compile_model(model, CompileOptions(name="net", **options))
    result.write(folder)
    return result, read_manifest(folder)


def runtime_session(model: bytes | Path) -> ort.InferenceSession:
    """ONNX Runtime as the reference: no graph optimisations, no saturating kernels."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_program(runner: Runner, manifest: Manifest, samples: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    """Outputs by ONNX name, as the C program's integers, for each sample."""
    results = runner.run([encode_sample(manifest, sample) for sample in samples])
    return [
        {tensor.name: output_array(data, tensor) for data, tensor in zip(result.outputs, manifest.outputs, strict=True)}
        for result in results
    ]


def run_reference(
    result: CompiledModel, manifest: Manifest, samples: Sequence[Mapping[str, Array]]
) -> list[dict[str, Array]]:
    """The same by the numpy reference."""
    inside = {**{name: name for name in (*result.graph.inputs, *result.graph.outputs)}, **result.graph.float_boundary}
    outputs = []
    for sample in samples:
        feeds = {inside[t.name]: quantize_input(sample[t.name], t) for t in manifest.inputs}
        values = execute(result.graph, feeds)
        outputs.append({t.name: values[inside[t.name]] for t in manifest.outputs})
    return outputs


def assert_equal(got: Sequence[Mapping[str, Array]], expected: Sequence[Mapping[str, Array]]) -> None:
    """Every output of every sample equal to the bit."""
    assert len(got) == len(expected) > 0
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def check(model: bytes, folder: Path, *, on: str = "host", sanitize: bool = False, count: int = 3, exact: bool) -> None:
    """Program = reference, and = ONNX Runtime where ``exact`` (QOperator models)."""
    result, manifest = compiled(model, folder)
    samples = seeded_samples(manifest, count)
    got = run_program(make_runner(manifest, on, sanitize=sanitize), manifest, samples)
    assert_equal(got, run_reference(result, manifest, samples))
    if exact:
        session = runtime_session(model)
        names = [tensor.name for tensor in manifest.outputs]
        expected = [dict(zip(names, session.run(names, dict(sample)), strict=True)) for sample in samples]
        assert_equal(got, expected)
