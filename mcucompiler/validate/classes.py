# SPDX-License-Identifier: Apache-2.0
"""Classifiers: which class the program and ONNX Runtime name, and which one it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcucompiler.errors import UsageError
from mcucompiler.ir.graph import Array
from mcucompiler.manifest import BoundaryTensor, Manifest
from mcucompiler.run.boundary import output_array
from mcucompiler.run.types import SampleResult
from mcucompiler.validate.types import Classification

_MOST_CLASSES = 10_000


class ClassCounter:
    """Counts what a classifier says of samples.

    Args:
        output: the classifier's output.
        labels: the right class of each sample, None where it is not known.
    """

    def __init__(self, output: BoundaryTensor, labels: Array | None) -> None:
        self._output, self._labels = output, labels
        self._said: list[tuple[int, int]] = []

    @classmethod
    def create(cls, manifest: Manifest, samples: int, labels: Array | None) -> ClassCounter | None:
        """A counter for a network's output; None where it is no classifier and there are no labels.

        An output is a classifier's where it is the only one and has a single axis longer than 1.

        Raises:
            UsageError: there are labels, but not one class of the output for each sample.
        """
        output = manifest.outputs[0] if len(manifest.outputs) == 1 else None
        classes = 0 if output is None else int(np.prod(output.onnx_shape, dtype=np.int64))
        if output is None or not 2 <= classes <= _MOST_CLASSES or max(output.onnx_shape) != classes:
            if labels is not None:
                raise UsageError("labels are for a network with one output of one score for each class")
            return None
        if labels is not None:
            _check(labels, samples, classes)
        return cls(output, labels)

    def add(self, index: int, result: SampleResult, runtime: Mapping[str, Array]) -> None:
        """Count a sample; they come in order, from 0."""
        got = output_array(result.outputs[self._output.index], self._output)
        self._said.append((int(got.argmax()), int(runtime[self._output.name].argmax())))

    def result(self) -> Classification:
        """What was counted."""
        ours, theirs = np.array(self._said, np.int64).reshape(-1, 2).T
        classes = int(np.prod(self._output.onnx_shape, dtype=np.int64))
        counts = Classification(
            output=self._output.name, classes=classes, samples=len(ours), agreeing=int((ours == theirs).sum())
        )
        if self._labels is None:
            return counts
        labels = self._labels.reshape(-1).astype(np.int64)
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (labels, ours), 1)
        return Classification(
            output=counts.output,
            classes=classes,
            samples=counts.samples,
            agreeing=counts.agreeing,
            right=int((ours == labels).sum()),
            onnx_right=int((theirs == labels).sum()),
            confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        )


def _check(labels: Array, samples: int, classes: int) -> None:
    if labels.dtype.kind not in "iu" or labels.size != samples:
        raise UsageError(
            f"labels have type {labels.dtype} and shape {list(labels.shape)}; expected are {samples} integers, "
            "the class of each sample"
        )
    least, greatest = int(labels.min()), int(labels.max())
    if least < 0 or greatest >= classes:
        raise UsageError(f"labels reach from {least} to {greatest}; the network's classes are 0 to {classes - 1}")
