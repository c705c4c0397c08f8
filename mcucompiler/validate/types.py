# SPDX-License-Identifier: Apache-2.0
"""What validation finds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mcucompiler.ir.graph import Array
from mcucompiler.run.types import DeviceFacts


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
    _absolutes: float = field(default=0.0, repr=False)
    _squares: float = field(default=0.0, repr=False)
    _real_squares: float = field(default=0.0, repr=False)
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
    def mae(self) -> float:
        """Mean distance, in the units of ``max_difference``."""
        return self._absolutes / self.elements if self.elements else 0.0

    @property
    def l2r(self) -> float:
        """Norm of the finite distances over the norm of what it is compared with, as real numbers."""
        norm = math.sqrt(self._products[2])
        distance = math.sqrt(self._real_squares)
        return distance / norm if norm else (math.inf if distance else 0.0)

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
            self._absolutes += float(distance.sum())
            self._squares += float(np.square(distance).sum())
        finite = np.isfinite(a) & np.isfinite(b)
        real_a, real_b = a[finite] - zero_point, b[finite] - zero_point
        self._real_squares += float(np.square(real_a - real_b).sum())
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
            "mae": _finite(self.mae),
            "l2r": _finite(self.l2r),
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
class Timing:
    """How long runs took on a device.

    Attributes:
        cycles: of each run.
        cycles_hz: of the counter.
        steps: mean cycles of each step.
    """

    cycles: tuple[int, ...]
    cycles_hz: int
    steps: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean cycles of a run."""
        return sum(self.cycles) / len(self.cycles)

    @property
    def deviation(self) -> float:
        """Standard deviation of the runs' cycles."""
        return math.sqrt(sum((value - self.mean) ** 2 for value in self.cycles) / len(self.cycles))

    def milliseconds(self, cycles: float) -> float:
        """How long so many cycles take."""
        return 1000.0 * cycles / self.cycles_hz

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "cycles_hz": self.cycles_hz,
            "cycles": {"mean": self.mean, "min": min(self.cycles), "max": max(self.cycles), "std": self.deviation},
            "milliseconds": {
                "mean": self.milliseconds(self.mean),
                "min": self.milliseconds(min(self.cycles)),
                "max": self.milliseconds(max(self.cycles)),
                "std": self.milliseconds(self.deviation),
            },
            "steps": list(self.steps),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What a classifier's output says: the class of the greatest score, the first of equals.

    Attributes:
        output: name of the output.
        classes: number of classes.
        samples: number of samples.
        agreeing: samples in which ONNX Runtime says the same.
        right: samples in which the program says what the label says; None without labels.
        onnx_right: likewise for ONNX Runtime.
        confusion: samples by label (outer) and by what the program says (inner); () without labels.
    """

    output: str
    classes: int
    samples: int
    agreeing: int
    right: int | None = None
    onnx_right: int | None = None
    confusion: tuple[tuple[int, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "output": self.output,
            "classes": self.classes,
            "samples": self.samples,
            "agreement": self.agreeing / self.samples,
            "accuracy": None if self.right is None else self.right / self.samples,
            "onnx_runtime_accuracy": None if self.onnx_right is None else self.onnx_right / self.samples,
            "confusion": [list(row) for row in self.confusion],
        }


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
        device: the machine, where it is one at the other end of a link.
        timing: how long it took there; None where layers were compared.
        classification: what the output says, where it is a classifier's.
    """

    on: str
    samples: int
    integer_graph: bool
    outputs: tuple[TensorReport, ...]
    layers: tuple[TensorReport, ...]
    stack_bytes: int | None
    device: DeviceFacts | None = None
    timing: Timing | None = None
    classification: Classification | None = None

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
            "device": None if self.device is None else asdict(self.device),
            "timing": None if self.timing is None else self.timing.to_json(),
            "classification": None if self.classification is None else self.classification.to_json(),
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
