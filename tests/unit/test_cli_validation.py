# SPDX-License-Identifier: Apache-2.0
"""Validation: distances, verdicts, which graphs have one exact result, and the first step that differs."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.errors import ToolError, UsageError
from mcucompiler.manifest import read_manifest
from mcucompiler.report.validation import verdict
from mcucompiler.run import make_runner, seeded_samples
from mcucompiler.validate import Difference, TensorReport, ValidationResult, check_model, validate
from mcucompiler.validate.onnx_runtime import OnnxRuntime, is_integer_graph
from tests.support.handmade import make_model, write_program


def test_equal_arrays_are_exact():
    difference = Difference()
    assert not difference.exact, "nothing compared is not equal"
    difference.update(0, np.array([1, -2], np.int8), np.array([1.0, -2.0]))
    difference.update(1, np.array([np.nan, np.inf]), np.array([np.nan, np.inf]))
    assert difference.exact
    assert (difference.elements, difference.max_difference, difference.rmse) == (4, 0.0, 0.0)


def test_differences_are_measured():
    difference = Difference()
    difference.update(0, np.zeros((2, 2), np.int8), np.zeros((2, 2)))
    difference.update(1, np.array([[1, 2], [3, 4]], np.int8), np.array([[1, 2], [0, 8]]), zero_point=1)
    assert (difference.mismatches, difference.max_difference) == (2, 4.0)
    assert difference.rmse == pytest.approx(math.sqrt(25 / 8))
    assert difference.first is not None
    assert (difference.first.sample, difference.first.index) == (1, (1, 0))
    assert (difference.first.got, difference.first.expected) == (3, 0)
    a, b = np.array([0, 1, 2, 3]), np.array([0, 1, -1, 7])
    assert difference.cosine == pytest.approx(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))


@pytest.mark.parametrize(("got", "expected"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, -np.inf), (np.inf, 0.0)])
def test_what_is_not_finite_differs(got, expected):
    difference = Difference()
    difference.update(0, np.array([got]), np.array([expected]))
    assert (difference.mismatches, difference.max_difference) == (1, math.inf)
    assert difference.to_json()["max_difference"] is None


def report(reference: int, runtime: int | None) -> TensorReport:
    def difference(mismatches: int) -> Difference:
        result = Difference()
        result.update(0, np.arange(4), np.arange(4) + (np.arange(4) < mismatches))
        return result

    return TensorReport(
        name="y",
        step=None,
        reference=difference(reference),
        onnx_runtime=None if runtime is None else difference(runtime),
    )


@pytest.mark.parametrize(
    ("reference", "runtime", "integer", "passed"),
    [
        (0, 0, True, True),
        (1, 0, True, False),
        (0, 1, True, False),
        (0, 1, False, True),
        (1, 1, False, False),
        (0, None, True, True),
    ],
)
def test_what_passes(reference, runtime, integer, passed):
    result = ValidationResult(
        on="host",
        samples=1,
        integer_graph=integer,
        outputs=(report(reference, runtime),),
        layers=(),
        stack_bytes=None,
    )
    assert result.passed is passed
    assert result.to_json()["passed"] is passed


def test_a_validation_of_nothing_does_not_pass():
    result = ValidationResult(on="host", samples=0, integer_graph=True, outputs=(), layers=(), stack_bytes=None)
    assert not result.passed


def graph_of(*nodes, constants=("w",)) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.zeros(1, np.int8), name) for name in (*constants, "s", "z")]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(kind, list(inputs), list(outputs)) for kind, inputs, outputs in nodes],
        "g",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
        initializers,
    )
    return helper.make_model(graph)


Q, DQ = "QuantizeLinear", "DequantizeLinear"


@pytest.mark.parametrize(
    ("nodes", "integer"),
    [
        ([(Q, "xsz", "a"), ("MaxPool", "a", "b"), (DQ, "bsz", "y")], True),
        ([("QLinearConv", "xszwszsz", "y")], True),
        ([(Q, "xsz", "a"), (DQ, "asz", "b"), ("Relu", "b", "c"), (Q, "csz", "y")], False),
        ([(DQ, "wsz", "v"), ("Conv", "xv", "y")], False),
        ([("Sub", "xw", "a"), (Q, "asz", "y")], False),
    ],
)
def test_which_graphs_are_integer(nodes, integer):
    assert is_integer_graph(graph_of(*nodes)) is integer


def test_onnx_runtime_gives_intermediate_tensors():
    model = onnx.load_from_string(make_model())
    runtime = OnnxRuntime(model, ["pooled", "not there", "scores", "pooled"])
    values = runtime.run({"image": np.zeros((1, 2, 4, 4), np.float32)})
    assert set(values) == {"scores", "pooled"}
    assert values["pooled"].dtype == np.int8
    assert len(model.graph.output) == 1, "the caller's model is left alone"


def test_onnx_runtime_that_refuses_a_model():
    model = onnx.load_from_string(make_model())
    model.graph.node[1].op_type = "NoSuchOperator"
    with pytest.raises(ToolError, match="ONNX Runtime refuses the model"):
        OnnxRuntime(model)


def test_onnx_runtime_that_refuses_an_input():
    runtime = OnnxRuntime(onnx.load_from_string(make_model()))
    with pytest.raises(ToolError, match="ONNX Runtime cannot run the model"):
        runtime.run({"image": np.zeros((1, 2, 5, 4), np.float32)})


def test_another_model_is_refused(tmp_path):
    folder, model = write_program(tmp_path)
    manifest = read_manifest(folder)
    check_model(manifest, model)
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(UsageError, match="was not compiled from"):
        check_model(manifest, model)
    with pytest.raises(UsageError, match="cannot be read"):
        check_model(manifest, tmp_path / "none.onnx")


@pytest.mark.parametrize("layers", [False, True])
def test_the_handmade_program_is_exact(tmp_path, layers):
    folder, model = write_program(tmp_path)
    manifest = read_manifest(folder)
    seen = []
    result = validate(
        manifest,
        model,
        make_runner(manifest, "host"),
        seeded_samples(manifest, 12),
        layers=layers,
        progress=lambda *at: seen.append(at),
    )
    assert result.passed
    assert result.integer_graph
    assert result.outputs[0].onnx_runtime is not None
    assert (result.outputs[0].onnx_runtime.elements, result.outputs[0].onnx_runtime.cosine) == (24, pytest.approx(1))
    assert [layer.name for layer in result.layers] == (["pooled", "scores_q"] if layers else [])
    assert all(layer.onnx_runtime is not None and layer.onnx_runtime.exact for layer in result.layers)
    assert seen[-1] == ("against both oracles", 12, 12)
    assert "passed: equal to the reference and to ONNX Runtime" in verdict(result, manifest)


@pytest.mark.parametrize("activations", [np.int8, np.uint8])
def test_every_step_is_compared_with_onnx_runtime(tmp_path, activations):
    model = tmp_path / "m.onnx"
    model.write_bytes(make_model(activations))
    compile_model(model, CompileOptions(board="host")).write(tmp_path / "m")
    manifest = read_manifest(tmp_path / "m")
    runner = make_runner(manifest, "host")
    result = validate(manifest, model, runner, seeded_samples(manifest, 4), layers=True)
    assert result.passed
    compared = {layer.name: layer.onnx_runtime for layer in result.layers if layer.onnx_runtime is not None}
    assert len(compared) >= 2, "the pool and the convolution, whatever is inserted around them"
    assert all(difference.exact for difference in compared.values())


@pytest.mark.parametrize(
    ("old", "new", "step"),
    [
        ("larger(at[8], at[10])", "larger(at[8], at[8])", 0),
        ("quotient += 5;", "quotient += 4;", 1),
    ],
)
def test_the_first_differing_step_is_found(tmp_path, old, new, step):
    folder, model = write_program(tmp_path)
    kernels = folder / "net_kernels.c"
    assert old in kernels.read_text()
    kernels.write_text(kernels.read_text().replace(old, new))
    manifest = read_manifest(folder)
    runner = make_runner(manifest, "host")
    result = validate(manifest, model, runner, seeded_samples(manifest, 4), layers=True)
    assert not result.passed
    assert result.to_json()["first_differing_step"] == step
    told = verdict(result, manifest)
    assert f"first differing step: {step}, {manifest.steps[step].kind}" in told
    assert "got" in told
    assert "differ from ONNX Runtime" in told
    blind = validate(manifest, model, runner, seeded_samples(manifest, 4))
    assert not blind.passed
    assert "`--layers` finds the first step" in verdict(blind, manifest)
