# SPDX-License-Identifier: Apache-2.0
"""Sums and products of uint8 tensors that float32 rounds otherwise when all elements are 128 lower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mcucompiler.ir.graph import Graph
from mcucompiler.manifest import read_manifest
from mcucompiler.ops import Add, FlipSign, Lookup, Mul, Operator
from mcucompiler.passes.finish import check_finished
from mcucompiler.passes.make_signed import make_signed
from mcucompiler.passes.simplify import simplify
from mcucompiler.reference import execute
from tests.support.graphs import GraphMaker, checked, kinds, quant
from tests.support.programs import check

A, B, Y = (0.0060701193287968636, 98), (0.003853052854537964, 132), (0.00606256490573287, 118)
M = (0.005210941657423973, 166)
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


def _model(*links: tuple[str, tuple[float, int]]) -> bytes:
    """Inputs a and b, a chain of operators that combine what is there with b, each with its output's parameters."""
    nodes, constants = [], []

    def parameters(tensor: str, scale: float, zero_point: int) -> list[str]:
        constants.append(numpy_helper.from_array(np.array(scale, np.float32), f"s{tensor}"))
        constants.append(numpy_helper.from_array(np.array(zero_point, np.uint8), f"z{tensor}"))
        return [f"s{tensor}", f"z{tensor}"]

    held = ["a", *parameters("a", *A)]
    other = ["b", *parameters("b", *B)]
    for index, (kind, quantization) in enumerate(links):
        made = [f"y{index}", *parameters(f"y{index}", *quantization)]
        nodes.append(
            helper.make_node(kind, [*held, *other, *made[1:]], made[:1], domain="com.microsoft", name=f"node{index}")
        )
        held = made
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, [256, 256]) for name in ("a", "b", held[0])]
    graph = helper.make_graph(nodes, "chain", values[:2], values[2:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


@pytest.mark.parametrize(
    "links",
    [
        [("QLinearAdd", Y)],
        [("QLinearAdd", Y), ("QLinearAdd", (0.007614587899297476, 137))],
        [("QLinearAdd", Y), ("QLinearMul", M), ("QLinearMul", (0.0037761847488582134, 126))],
    ],
    ids=["one", "sums", "products"],
)
def test_programs_equal_onnx_runtime(links: list[tuple[str, tuple[float, int]]], tmp_path: Path) -> None:
    """Chains, too: every link is rounded otherwise 128 lower, so what lies between them stays uint8."""
    check(_model(*links), tmp_path / "net", exact=True)
    written = [output.dtype for step in read_manifest(tmp_path / "net").steps for output in step.outputs]
    assert written == ["uint8"] * len(links)
