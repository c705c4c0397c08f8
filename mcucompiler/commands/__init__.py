# SPDX-License-Identifier: Apache-2.0
"""The commands, one module each: ``configure`` adds its options, ``run`` does it and returns the exit code.

Modules import what is slow to load (ONNX Runtime, the solver) inside ``run``, so that help and
errors in options come at once.
"""
