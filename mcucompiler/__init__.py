# SPDX-License-Identifier: Apache-2.0
"""mcucompiler: int8 ONNX networks to exact, small and fast C for microcontrollers."""

__version__ = "0.1.0"
