# SPDX-License-Identifier: Apache-2.0
"""One operator in ONNX Runtime beside its numpy reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mcucompiler.ir.graph import INTEGER_RANGES, Array, QuantParams, Tensor
from mcucompiler.ops.base import Operator

MICROSOFT = "com.microsoft"
BYTES = st.sampled_from(["int8", "uint8"])
CONFIG = settings(max_examples=150, deadline=None, derandomize=True)

ELEMENT_TYPES = {
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "bool": TensorProto.BOOL,
}


def qparams(t: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of a tensor, as ONNX takes them."""
    assert t.quant is not None
    return np.float32(t.quant.s), np.array(t.quant.z, t.dtype)


def run_node(
    op_type: str,
    inputs: Sequence[Any],
    dtype: str,
    *,
    domain: str = "",
    opset_version: int = 17,
    feeds: Sequence[int] = (0,),
    **attributes: Any,
) -> Array:
    """The output of a single node; all inputs but those of the indices ``feeds`` are initializers, None is absent."""
    names, initializers, graph_inputs, values = [], [], [], {}
    for index, item in enumerate(inputs):
        if item is None:
            names.append("")
            continue
        array, name = np.asarray(item), f"input_{index}"
        names.append(name)
        if index in feeds:
            graph_inputs.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[array.dtype.name], array.shape))
            values[name] = array
        else:
            initializers.append(numpy_helper.from_array(array, name))
    node = helper.make_node(op_type, names, ["output"], domain=domain, **attributes)
    output = helper.make_tensor_value_info("output", ELEMENT_TYPES[dtype], None)
    model = helper.make_model(
        helper.make_graph([node], "node", graph_inputs, [output], initializers),
        opset_imports=[helper.make_opsetid("", opset_version), helper.make_opsetid("com.microsoft", 1)],
        ir_version=9,
    )
    return run_model(model, values)


def run_model(model: onnx.ModelProto, feeds: dict[str, Array]) -> Array:
    """The first output of a model, without graph optimizations and without saturating intermediate sums."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def quantized(
    name: str,
    shape: Sequence[int],
    dtype: str,
    scale: float | Sequence[float],
    zero_point: int | Sequence[int],
    *,
    axis: int | None = None,
    data: Array | None = None,
) -> Tensor:
    """A quantized tensor; scales are rounded to float32."""
    scales = np.atleast_1d(np.asarray(scale, dtype=np.float32))
    zeros = np.broadcast_to(np.atleast_1d(np.asarray(zero_point, dtype=np.int64)), scales.shape)
    quant = QuantParams(scale=tuple(map(float, scales)), zero_point=tuple(map(int, zeros)), axis=axis)
    return Tensor(name=name, shape=tuple(shape), dtype=dtype, quant=quant, data=data)


def plain(name: str, array: Array, *, constant: bool = False) -> Tensor:
    """A tensor of the array's shape and dtype without quantization."""
    return Tensor(name=name, shape=array.shape, dtype=array.dtype.name, data=array if constant else None)


def apply(op: Operator, inputs: Sequence[Tensor | None], output: Tensor, values: Sequence[Array | None]) -> Array:
    """The reference's output, after the operator's own checks have passed."""
    assert op.check(inputs, [output]) == ()
    assert op.output_shapes(inputs) == (output.shape,)
    (result,) = op.reference(inputs, [output], values)
    assert (result.dtype.name, result.shape) == (output.dtype, output.shape)
    return result


def assert_equal(got: Array, expected: Array) -> None:
    """Equal bit by bit, with the number of mismatches and the first of them in the message."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    wrong = np.argwhere(got != expected)
    first = tuple(wrong[0]) if len(wrong) else ()
    assert not len(wrong), f"{len(wrong)} of {got.size} differ, first at {first}: {got[first]} != {expected[first]}"


def zero_points(dtype: str) -> st.SearchStrategy[int]:
    """Any zero point of an 8-bit type, its ends and middle preferred."""
    lo, hi = INTEGER_RANGES[dtype]
    return st.one_of(st.sampled_from([lo, (lo + hi + 1) // 2, hi]), st.integers(lo, hi))


def scales(low: float = -3.5, high: float = 0.5) -> st.SearchStrategy[float]:
    """Scales from 10^low to 10^high, as float32; powers of two among them, which make ties."""
    powers = st.integers(int(np.ceil(low * 3.32)), int(high * 3.32)).map(lambda e: float(2.0**e))
    anything = st.floats(low, high).map(lambda e: float(np.float32(10.0**e)))
    return st.one_of(anything, powers)


def integers(rng: np.random.Generator, dtype: str, shape: Sequence[int]) -> Array:
    """Values over the whole range of an integer type, the ends more often than by chance."""
    lo, hi = INTEGER_RANGES[dtype]
    array = rng.integers(lo, hi, size=tuple(shape), endpoint=True)
    ends = rng.choice([lo, hi], size=tuple(shape))
    return np.where(rng.random(tuple(shape)) < 0.1, ends, array).astype(dtype)


seeds = st.integers(0, 2**32 - 1)
