# SPDX-License-Identifier: Apache-2.0
"""``validate``'s findings as text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from mcucompiler.manifest import Manifest
from mcucompiler.report.device import device_facts, timing_report
from mcucompiler.report.text import shortened, table
from mcucompiler.validate.types import Classification, Difference, TensorReport, ValidationResult
from mcucompiler.words import counted

_COLUMNS = (
    ">elements",
    ">!= reference",
    ">!= ONNX Runtime",
    ">max",
    ">rmse",
    ">mae",
    ">l2r",
    ">cosine",
)
_MOST_CLASSES = 24  # columns of a matrix that people can read


def validation_report(result: ValidationResult, manifest: Manifest) -> Iterator[RenderableType]:
    """The report's parts, in order; the verdict is last."""
    if result.device is not None:
        yield device_facts(result.device, manifest, result.stack_bytes)
    if result.device is not None and result.timing is not None:
        yield from timing_report(result.timing, manifest, result.device)
    rows = [(report.name, *_cells(report)) for report in result.outputs]
    yield table(f"Outputs of {counted(result.samples, 'sample')} on {result.on}", ("output", *_COLUMNS), rows)
    if result.layers:
        yield table(
            "Outputs of the steps",
            (">step", "operator", "tensor", *_COLUMNS),
            [
                (str(report.step), manifest.steps[report.step or 0].kind, shortened(report.name, 40), *_cells(report))
                for report in result.layers
            ],
        )
    yield (
        "max, rmse and mae are distances to ONNX Runtime in steps of the quantized value, l2r and cosine those of the "
        "real values."
    )
    if result.classification is not None:
        yield from classification_report(result.classification)
    if result.stack_bytes is not None and result.device is None:
        yield f"stack: {result.stack_bytes:,} bytes used, {manifest.memory.stack_bytes:,} declared"
    yield verdict(result, manifest)


def classification_report(classes: Classification) -> Iterator[RenderableType]:
    """How often the right class was named, and which instead of which."""

    def share(count: int) -> str:
        return f"{100 * count / classes.samples:.2f} % ({count:,} of {classes.samples:,})"

    text = f"acc: the class is ONNX Runtime's in {share(classes.agreeing)}"
    if classes.right is not None and classes.onnx_right is not None:
        text += f"; the label's in {share(classes.right)}, with ONNX Runtime in {share(classes.onnx_right)}"
    yield text
    if not classes.confusion:
        return
    if classes.classes > _MOST_CLASSES:
        yield f"The confusion matrix of {classes.classes} classes is too wide to print; --json has it."
        return
    names = [str(index) for index in range(classes.classes)]
    rows = [
        (name, *(str(count) if count else "." for count in row))
        for name, row in zip(names, classes.confusion, strict=True)
    ]
    yield table("Confusion: labels down, what the program says across", (">label", *(f">{n}" for n in names)), rows)


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
    distances = ("",) * 6
    if runtime is not None:
        distances = (
            f"{runtime.mismatches:,}",
            f"{runtime.max_difference:g}",
            f"{runtime.rmse:.4g}",
            f"{runtime.mae:.4g}",
            f"{runtime.l2r:.4g}",
            f"{runtime.cosine:.6f}",
        )
    return (f"{report.reference.elements:,}", f"{report.reference.mismatches:,}", *distances)
