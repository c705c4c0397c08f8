# SPDX-License-Identifier: Apache-2.0
"""Real networks on the emulated core: exact to ONNX Runtime, and no larger or slower than before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mcucompiler.run import encode_sample, make_bench_runner, make_runner
from tests.support import ROOT
from tests.support.programs import assert_equal, compiled, run_program, run_reference
from tests.support.reference_networks import QDQ, QOPERATOR, model, stored

SLACK = 1.02  # another release of the C compiler may choose other instructions


@pytest.mark.qemu
@pytest.mark.parametrize("name", QOPERATOR)
def test_qoperator_network_equals_onnx_runtime(name: str, tmp_path: Path) -> None:
    result, manifest = compiled(model(name), tmp_path / "net")
    samples = stored(name, "in", [tensor.name for tensor in manifest.inputs])
    got = run_program(make_runner(manifest, "qemu"), manifest, samples)
    assert_equal(got, run_reference(result, manifest, samples))
    expected = stored(name, name.split(".")[1], [tensor.name for tensor in manifest.outputs])
    for ours, theirs in zip(got, expected, strict=True):
        for tensor in manifest.outputs:
            want = theirs[tensor.name]
            if want.dtype.kind == "f":
                want = np.rint(want.astype(np.float64) / tensor.scale) + tensor.zero_point
            np.testing.assert_array_equal(ours[tensor.name], want)


@pytest.mark.qemu
@pytest.mark.parametrize("name", QDQ)
def test_qdq_network_equals_the_reference(name: str, tmp_path: Path) -> None:
    result, manifest = compiled(model(name), tmp_path / "net")
    samples = stored(name, "in", [tensor.name for tensor in manifest.inputs])
    got = run_program(make_runner(manifest, "qemu"), manifest, samples)
    assert_equal(got, run_reference(result, manifest, samples))


@pytest.mark.qemu
@pytest.mark.parametrize("name", QOPERATOR)
def test_no_larger_and_no_slower_than_the_committed_figures(name: str, tmp_path: Path) -> None:
    committed = {
        entry["file"]: entry for entry in json.loads((ROOT / "benchmarks" / "results.json").read_text()).values()
    }
    if f"{name}.onnx" not in committed:
        pytest.skip("not in the committed table: another form of this network is")
    figures = committed[f"{name}.onnx"]
    _, manifest = compiled(model(name), tmp_path / "net")
    sample = stored(name, "in", [tensor.name for tensor in manifest.inputs])[0]
    bench = make_bench_runner(manifest, "qemu").bench(encode_sample(manifest, sample))
    assert manifest.memory.arena_bytes <= figures["arena_bytes"]
    assert bench.stack_bytes is not None
    assert bench.stack_bytes <= figures["stack_bytes"] + 64
    assert bench.stack_bytes <= manifest.memory.stack_bytes
    assert bench.instructions <= figures["instructions"] * SLACK
    assert manifest.channels_proved >= figures["channels_proved"]
