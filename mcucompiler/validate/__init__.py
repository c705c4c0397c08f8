# SPDX-License-Identifier: Apache-2.0
"""Comparing a generated program with ONNX Runtime and with the reference executor."""

from mcucompiler.validate.types import Difference, FirstMismatch, TensorReport, ValidationResult
from mcucompiler.validate.validation import check_model, validate

__all__ = ["Difference", "FirstMismatch", "TensorReport", "ValidationResult", "check_model", "validate"]
