# SPDX-License-Identifier: Apache-2.0
"""What validation finds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mcucompiler.ir.graph import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstMismatch:
    """The first element that differs.

    Attributes:
        sample: number of the sample.
        index: of the element, in ONNX order.
        got: what the program computed.
        expected: what it is compared with.
    """

    sample: int
    index: tuple[int, ...]
    got: float
    expected: float


@dataclass(slots=True, kw_only=True)
class Difference:
    """How far a tensor is from what it is compared with, over all samples so far.

    Attributes:
        elements: compared.
        mismatches: elements that are not equal.
        max_difference: greatest distance; in units of the last place for quantised tensors.
        first: the first mismatch.
    """

    elements: int = 0
    mismatches: int = 0
    max_difference: float = 0.0
    first: FirstMismatch | None = None
    _squares: float = field(default=0.0, repr=False)
    _products: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0), repr=False)

    @property
    def exact(self) -> bool:
        """Whether something was compared and all of it is equal."""
        return self.elements > 0 and self.mismatches == 0

    @property
    def rmse(self) -> float:
        """Root of the mean squared distance, in the units of ``max_difference``."""
        return math.sqrt(self._squares / self.elements) if self.elements else 0.0

    @property
    def cosine(self) -> float:
        """Cosine similarity of the finite real numbers that the tensors stand for; 1 where both are zero."""
        product, got, expected = self._products
        if got == 0.0 or expected == 0.0:
            return 1.0 if got == expected else 0.0
        return product / math.sqrt(got * expected)

    def update(self, sample: int, got: Array, expected: Array, zero_point: int = 0) -> None:
        """Add a sample; both arrays have one shape. NaN equals NaN."""
        a, b = got.astype(np.float64), expected.astype(np.float64)
        differs = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        with np.errstate(invalid="ignore"):
            distance = np.where(differs, np.abs(a - b), 0.0)
        distance = np.where(np.isnan(distance), np.inf, distance)
        self.elements += a.size
        if differs.any():
            if self.first is None:
                index = tuple(int(axis) for axis in np.argwhere(differs)[0])
                self.first = FirstMismatch(sample=sample, index=index, got=float(a[index]), expected=float(b[index]))
            self.mismatches += int(differs.sum())
            self.max_difference = max(self.max_difference, float(distance.max()))
            self._squares += float(np.square(distance).sum())
        finite = np.isfinite(a) & np.isfinite(b)
        real_a, real_b = a[finite] - zero_point, b[finite] - zero_point
        product, got_squares, expected_squares = self._products
        self._products = (
            product + float(real_a @ real_b),
            got_squares + float(real_a @ real_a),
            expected_squares + float(real_b @ real_b),
        )

    def to_json(self) -> dict[str, Any]:
        """The figures; infinities as null, which JSON lacks."""
        return {
            "exact": self.exact,
            "elements": self.elements,
            "mismatches": self.mismatches,
            "max_difference": _finite(self.max_difference),
            "rmse": _finite(self.rmse),
            "cosine": self.cosine,
            "first": None
            if self.first is None
            else {**asdict(self.first), "got": _finite(self.first.got), "expected": _finite(self.first.expected)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorReport:
    """A tensor, an output of the network or of a step, against both oracles.

    Attributes:
        name: of the tensor.
        step: index of the step that writes it, None for the network's outputs.
        reference: distance to the reference executor.
        onnx_runtime: distance to ONNX Runtime; None where it has no such tensor.
    """

    name: str
    step: int | None
    reference: Difference
    onnx_runtime: Difference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationResult:
    """What ``validate`` found.

    Attributes:
        on: where the program ran.
        samples: how many.
        integer_graph: whether the ONNX graph is integer throughout, so that it has one exact result.
        outputs: of the network, in order.
        layers: of the steps, in order; () where not asked for.
        stack_bytes: most stack used, None where the machine cannot tell.
    """

    on: str
    samples: int
    integer_graph: bool
    outputs: tuple[TensorReport, ...]
    layers: tuple[TensorReport, ...]
    stack_bytes: int | None

    @property
    def passed(self) -> bool:
        """Whether everything equals the reference and, for integer graphs, ONNX Runtime."""
        return bool(self.outputs) and all(self.acceptable(report) for report in (*self.outputs, *self.layers))

    def acceptable(self, report: TensorReport) -> bool:
        """Whether a tensor is what it must be."""
        runtime = report.onnx_runtime
        return report.reference.exact and (not self.integer_graph or runtime is None or runtime.exact)

    @property
    def first_bad_layer(self) -> TensorReport | None:
        """The first output of a step that is not what it must be."""
        return next((report for report in self.layers if not self.acceptable(report)), None)

    def to_json(self) -> dict[str, Any]:
        """Everything, for ``--json``."""
        bad = self.first_bad_layer
        return {
            "passed": self.passed,
            "on": self.on,
            "samples": self.samples,
            "integer_graph": self.integer_graph,
            "stack_bytes": self.stack_bytes,
            "outputs": [_report_json(report) for report in self.outputs],
            "layers": [_report_json(report) for report in self.layers],
            "first_differing_step": None if bad is None else bad.step,
        }


def _report_json(report: TensorReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "step": report.step,
        "reference": report.reference.to_json(),
        "onnx_runtime": report.onnx_runtime.to_json() if report.onnx_runtime else None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
