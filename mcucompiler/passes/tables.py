# SPDX-License-Identifier: Apache-2.0
"""Tables over all values of an 8-bit tensor, evaluated through the operators' references."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.ops import Operator

ENTRIES = 256


def all_values(tensor: Tensor) -> Array:
    """Every value of an 8-bit tensor, in the order of a Lookup's entries; [256]."""
    lo, hi = INTEGER_RANGES[tensor.dtype]
    if hi - lo + 1 != ENTRIES:
        raise ValueError(f"{tensor.name!r} is {tensor.dtype}: a table needs an 8-bit tensor")
    return np.arange(lo, hi + 1).astype(tensor.dtype)


def tabulate(op: Operator, inputs: tuple[Tensor | None, ...], output: Tensor, variables: Mapping[str, Array]) -> Array:
    """What an elementwise operator gives where its operands run through 256 values.

    Args:
        op: the operator.
        inputs: its inputs: variables, constants of one element, or absent ones.
        output: its output.
        variables: by tensor name, the value of that operand in each of the 256 cases; [256].

    Returns:
        The entries of the table, of the output's dtype; [256].
    """
    tensors: list[Tensor | None] = []
    values: list[Array | None] = []
    for tensor in inputs:
        if tensor is None:
            tensors.append(None)
            values.append(None)
        elif tensor.name in variables:
            tensors.append(tensor.replace(shape=(ENTRIES,), data=None))
            values.append(variables[tensor.name])
        elif tensor.data is not None and tensor.size == 1:
            scalar = tensor.replace(shape=(1,), data=tensor.data.reshape(1))
            tensors.append(scalar)
            values.append(scalar.data)
        else:
            raise ValueError(f"{tensor.name!r} is neither a variable nor a constant of one element")
    (entries,) = op.reference(tensors, (output.replace(shape=(ENTRIES,)),), values)
    return entries


def table_tensor(entries: Array) -> Tensor:
    """A constant of a Lookup's table, without a name yet."""
    return Tensor(name="", shape=entries.shape, dtype=str(entries.dtype), data=entries)
