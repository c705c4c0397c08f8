# SPDX-License-Identifier: Apache-2.0
"""Sums and products of uint8 tensors that float32 rounds otherwise when all elements are 128 lower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mcucompiler.ir.graph import Graph
from mcucompiler.ops import Add, FlipSign, Lookup, Mul, Operator
from mcucompiler.passes.finish import check_finished
from mcucompiler.passes.make_signed import make_signed
from mcucompiler.passes.simplify import simplify
from mcucompiler.reference import execute
from tests.support.graphs import GraphMaker, checked, kinds, quant
from tests.support.programs import check

A, B, Y = (0.0060701193287968636, 98), (0.003853052854537964, 132), (0.00606256490573287, 118)
PAIR = (54, 232)
"""Of all pairs of elements under A and B this one has a sum under Y that is rounded otherwise."""


def _identity(make: GraphMaker, x: str, scale: float, zero_point: int, dtype: str) -> str:
    values = np.arange(256) - (128 if dtype == "int8" else 0)
    return make.add(Lookup(), x, make.constant(values.astype(dtype)), dtype=dtype, q=quant(scale, zero_point))


def _graph(op: Operator, y: tuple[float, int]) -> Graph:
    """The operator between Lookups, that is inside a network."""
    make = GraphMaker()
    a = _identity(make, make.input("a", (65536,), "uint8", quant(*A)), *A, "uint8")
    b = _identity(make, make.input("b", (65536,), "uint8", quant(*B)), *B, "uint8")
    result = make.add(op, a, b, dtype="uint8", q=quant(*y))
    return make.graph(_identity(make, result, *y, "uint8"))


def test_sum_that_would_be_rounded_otherwise_stays_unsigned() -> None:
    after = checked(make_signed, _graph(Add(), Y))
    assert sorted(kinds(after)) == ["Add", *["FlipSign"] * 3, *["Lookup"] * 3]
    check_finished(after)
    pairs = dict(zip("ab", np.divmod(np.arange(65536), 256), strict=True))
    before = _graph(Add(), Y)
    (expected,) = execute(before, {name: x.astype(np.uint8) for name, x in pairs.items()}).values()
    (got,) = execute(after, {name: x.astype(np.uint8) for name, x in pairs.items()}).values()
    np.testing.assert_array_equal(got, expected)
    assert expected[PAIR[0] * 256 + PAIR[1]] == 138  # as ONNX Runtime; int8 throughout would give 137


@pytest.mark.parametrize("op", [Add(), Mul()])
def test_other_sums_and_products_are_signed(op: Operator) -> None:
    after = checked(make_signed, _graph(op, (0.0101, 118)))
    assert not any(isinstance(node.op, FlipSign) for node in after.nodes)


def test_neighbors_that_stay_unsigned_share_their_tensor() -> None:
    make = GraphMaker()
    a, b = (make.input(name, (16,), "uint8", quant(*q)) for name, q in (("a", A), ("b", B)))
    total = make.add(Add(), a, b, dtype="uint8", q=quant(*Y))
    c = _identity(make, total, *A, "uint8")
    graph = make.graph(make.add(Add(), c, b, dtype="uint8", q=quant(*Y)))
    after = simplify(checked(make_signed, graph))
    assert kinds(after).count("Add") == 2
    assert {after.tensors[name].dtype for name in (*after.inputs, *after.outputs)} == {"uint8"}


def test_program_equals_onnx_runtime_on_every_pair(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.UINT8, [256, 256]) for name in "ab"]
    names, constants = [], []
    for tensor, (scale, zero_point) in zip("aby", (A, B, Y), strict=True):
        names.append([f"s{tensor}", f"z{tensor}"])
        constants += [
            numpy_helper.from_array(np.array(scale, np.float32), f"s{tensor}"),
            numpy_helper.from_array(np.array(zero_point, np.uint8), f"z{tensor}"),
        ]
    node = helper.make_node(
        "QLinearAdd", ["a", *names[0], "b", *names[1], *names[2]], ["y"], domain="com.microsoft", name="sum"
    )
    graph = helper.make_graph(
        [node], "sum", inputs, [helper.make_tensor_value_info("y", TensorProto.UINT8, [256, 256])], constants
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    check(model.SerializeToString(), tmp_path / "net", exact=True)
