# SPDX-License-Identifier: Apache-2.0
"""The straight-line blocks that kernels are made of, as generators of operations."""
