# SPDX-License-Identifier: Apache-2.0
"""``validate``'s findings as text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from mcucompiler.manifest import Manifest
from mcucompiler.report.text import shortened, table
from mcucompiler.validate.types import Difference, TensorReport, ValidationResult

_COLUMNS = (
    ">elements",
    ">!= reference",
    ">!= ONNX Runtime",
    ">max",
    ">rmse",
    ">cosine",
)


def validation_report(result: ValidationResult, manifest: Manifest) -> Iterator[RenderableType]:
    """The report's parts, in order; the verdict is last."""
    rows = [(report.name, *_cells(report)) for report in result.outputs]
    yield table(f"Outputs of {result.samples} samples on {result.on}", ("output", *_COLUMNS), rows)
    if result.layers:
        yield table(
            "Outputs of the steps",
            (">step", "operator", "tensor", *_COLUMNS),
            [
                (str(report.step), manifest.steps[report.step or 0].kind, shortened(report.name, 40), *_cells(report))
                for report in result.layers
            ],
        )
    yield "max, rmse and cosine are distances to ONNX Runtime, in steps of the quantized value."
    if result.stack_bytes is not None:
        yield f"stack: {result.stack_bytes:,} bytes used, {manifest.memory.stack_bytes:,} declared"
    yield verdict(result, manifest)


def verdict(result: ValidationResult, manifest: Manifest) -> str:
    """Whether it passed and, if not, where it first went wrong."""
    if result.passed:
        runtime_exact = all(report.onnx_runtime is None or report.onnx_runtime.exact for report in result.outputs)
        if result.integer_graph or runtime_exact:
            return "passed: equal to the reference and to ONNX Runtime"
        return (
            "passed: equal to the reference. ONNX Runtime executes parts of this graph in float32 "
            "and rounds differently; see the distances above"
        )
    lines = ["FAILED: the program differs from what it must equal"]
    layer = result.first_bad_layer
    if layer is not None and layer.step is not None:
        step = manifest.steps[layer.step]
        nodes = shortened(", ".join(step.onnx_nodes), 200)
        lines.append(f"first differing step: {step.index}, {step.kind} by {step.kernel}, ONNX nodes {nodes}")
    for report in (layer,) if layer is not None else result.outputs:
        lines += _first(report, result)
    if not result.layers:
        lines.append("`--layers` finds the first step that differs")
    return "\n".join(lines)


def _first(report: TensorReport, result: ValidationResult) -> list[str]:
    oracles: list[tuple[str, Difference | None]] = [("the reference", report.reference)]
    if result.integer_graph:
        oracles.append(("ONNX Runtime", report.onnx_runtime))
    lines = []
    for oracle, difference in oracles:
        if difference is not None and difference.first is not None:
            first = difference.first
            lines.append(
                f"{shortened(report.name)}: {difference.mismatches:,} of {difference.elements:,} elements differ from "
                f"{oracle}; first in sample {first.sample} at {list(first.index)}: "
                f"got {first.got:g}, expected {first.expected:g}"
            )
    return lines


def _cells(report: TensorReport) -> tuple[str, ...]:
    runtime = report.onnx_runtime
    distances = ("", "", "", "")
    if runtime is not None:
        distances = (
            f"{runtime.mismatches:,}",
            f"{runtime.max_difference:g}",
            f"{runtime.rmse:.4g}",
            f"{runtime.cosine:.6f}",
        )
    return (f"{report.reference.elements:,}", f"{report.reference.mismatches:,}", *distances)
