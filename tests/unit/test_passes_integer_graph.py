# SPDX-License-Identifier: Apache-2.0
"""Passes on quantised graphs: tables, clamps, signedness, pads. All of them are exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcucompiler.errors import VerificationError
from mcucompiler.ir.graph import Graph
from mcucompiler.ops import (
    Add,
    AveragePool,
    Cast,
    Clamp,
    Concat,
    Conv,
    Dequantize,
    FlipSign,
    Lookup,
    MaxPool,
    Mul,
    Operator,
    Pad,
    Quantize,
    Resize,
    Softmax,
    Sub,
    Transpose,
    Unary,
)
from mcucompiler.passes import run_passes
from mcucompiler.passes.absorb_clamps import absorb_clamps
from mcucompiler.passes.edit import Edit
from mcucompiler.passes.finish import check_finished
from mcucompiler.passes.fuse_pads import fuse_pads
from mcucompiler.passes.make_signed import make_signed
from mcucompiler.passes.merge_lookups import merge_lookups
from mcucompiler.passes.tabulate_unary import tabulate_unary
from tests.support.graphs import GraphMaker, checked, kinds, quant

Q = quant(0.05, 3)
INT8 = {"dtype": "int8", "q": Q}


def conv(make: GraphMaker, x: str, *, dtype: str = "int8", clamp: Clamp | None = None, kernel: int = 1) -> str:
    channels = make.tensors[x].shape[1]
    rng = np.random.default_rng(1)
    w = make.constant(rng.integers(-128, 128, (4, channels, kernel, kernel)).astype(np.int8), quant(0.01))
    op = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), clamp=clamp)
    return make.add(op, x, w, dtype=dtype, q=quant(0.05, 3))


def clip(make: GraphMaker, x: str, lo: int, hi: int) -> str:
    tensor = make.tensors[x]
    return make.add(Unary(function="clip_int", params=(lo, hi)), x, dtype=tensor.dtype, q=tensor.quant)


# ---------------------------------------------------------------------- tables

SCALARS: dict[str, Operator] = {"add": Add(), "sub": Sub(), "mul": Mul(), "clamped": Mul(clamp=Clamp(lo=-5, hi=90))}


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_operation_with_a_scalar_is_a_table(name: str, first: bool, dtype: str) -> None:
    make = GraphMaker()
    x = make.input("x", (2, 128), dtype, quant(0.05, 100))
    c = make.constant(np.array([[77]], np.int8), quant(0.02, -5))
    y = make.add(SCALARS[name], *((c, x) if first else (x, c)), dtype="int8", q=quant(0.06, -20))
    assert kinds(checked(tabulate_unary, make.graph(y))) == ["Lookup"]


def test_operation_with_a_vector_or_another_tensor_stays() -> None:
    make = GraphMaker()
    x, z = (make.input(name, (1, 4, 2), "int8", Q) for name in "xz")
    y = make.add(Mul(), x, make.constant(np.arange(4, dtype=np.int8).reshape(4, 1), Q), **INT8)
    assert kinds(checked(tabulate_unary, make.graph(y, make.add(Add(), x, z, **INT8)))) == ["Mul", "Add"]


def test_scalar_that_adds_axes_stays() -> None:
    make = GraphMaker()
    x = make.input("x", (4,), "int8", Q)
    graph = make.graph(make.add(Mul(), x, make.constant(np.ones((1, 1), np.int8), Q), **INT8))
    assert kinds(checked(tabulate_unary, graph)) == ["Mul"]


def test_operation_of_a_tensor_with_tables_of_itself_is_a_table() -> None:
    make = GraphMaker()
    x = make.input("x", (2, 128), "int8", Q)
    gate = make.add(Unary(function="hardsigmoid"), x, dtype="uint8", q=quant(1 / 255))
    squared = make.add(Mul(), x, x, **INT8)
    y = make.add(Add(), make.add(Mul(), x, gate, **INT8), squared, **INT8)
    after = checked(tabulate_unary, make.graph(y))
    assert kinds(after) == ["Lookup"]
    assert after.nodes[0].inputs[0] == "x"


def test_requantisation_is_a_table() -> None:
    make = GraphMaker()
    x = make.input("x", (2, 128), "int8", Q)
    y = make.quantize(make.dequantize(x), quant(0.02, 9), "uint8")
    assert kinds(checked(tabulate_unary, make.graph(y))) == ["Lookup"]


def lookup(make: GraphMaker, x: str, *, rows: int = 0, seed: int = 0, dtype: str = "int8") -> str:
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    shape = (rows, 256) if rows else (256,)
    table = make.constant(rng.integers(info.min, info.max + 1, shape).astype(dtype))
    return make.add(Lookup(axis=1 if rows else None), x, table, dtype=dtype, q=Q)


@pytest.mark.parametrize("rows", [(0, 0), (3, 0), (0, 3), (3, 3)])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_tables_compose(rows: tuple[int, int], dtype: str) -> None:
    make = GraphMaker()
    x = make.input("x", (1, 3, 100), "int8", Q)
    y = lookup(make, lookup(make, x, rows=rows[0], dtype=dtype), rows=rows[1], seed=1)
    after = checked(merge_lookups, make.graph(y))
    assert kinds(after) == ["Lookup"]
    assert after.nodes[0].op == Lookup(axis=1 if any(rows) else None)


def test_table_with_other_readers_is_kept() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 3, 100), "int8", Q)
    y = lookup(make, x)
    graph = make.graph(lookup(make, y, seed=1), lookup(make, y, seed=2))
    assert kinds(checked(merge_lookups, graph)) == ["Lookup"] * 3
    make = GraphMaker()
    y = lookup(make, make.input("x", (1, 3, 100), "int8", Q))
    assert kinds(checked(merge_lookups, make.graph(lookup(make, y, seed=1), y))) == ["Lookup"] * 2


def test_tables_along_other_axes_stay_two() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 3, 4), "int8", Q)
    y = lookup(make, x, rows=3)
    table = make.constant(np.zeros((4, 256), np.int8))
    assert kinds(checked(merge_lookups, make.graph(make.add(Lookup(axis=2), y, table, **INT8)))) == ["Lookup"] * 2


def test_identity_goes_away() -> None:
    make = GraphMaker()
    x = make.add(Softmax(axis=1), make.input("x", (1, 4), "int8", Q), **INT8)
    table = make.constant(np.arange(-128, 128).astype(np.int8))
    y = make.add(Lookup(), x, table, **INT8)
    assert kinds(checked(merge_lookups, make.graph(make.add(Softmax(axis=1), y, **INT8)))) == ["Softmax", "Softmax"]
    other = make.add(Lookup(), x, table, dtype="int8", q=quant(1))
    assert "Lookup" in kinds(checked(merge_lookups, make.graph(make.add(Softmax(axis=1), other, **INT8))))


# ---------------------------------------------------------------------- clamps


def clamp_of(graph: Graph) -> Clamp | None:
    return next(node.op.clamp for node in graph.nodes if isinstance(node.op, Conv))


def as_table(graph: Graph) -> Graph:
    return tabulate_unary(graph)


@pytest.mark.parametrize("own", [None, Clamp(lo=-100, hi=50)])
@pytest.mark.parametrize("bounds", [(3, 127), (-20, 60), (-128, 127), (80, 90), (-110, -105)])
def test_bounds_become_the_clamp(own: Clamp | None, bounds: tuple[int, int]) -> None:
    make = GraphMaker()
    graph = make.graph(clip(make, conv(make, make.input("x", (1, 3, 5, 5), "int8", Q), clamp=own), *bounds))
    after = checked(absorb_clamps, as_table(graph))
    assert kinds(after) == ["Conv"]
    assert after.outputs == graph.outputs
    assert after.nodes[0].sources == ("n0", "n1")
    if own is None:
        assert clamp_of(after) == (None if bounds == (-128, 127) else Clamp(lo=bounds[0], hi=bounds[1]))


def test_bounds_pass_maxima_and_movements() -> None:
    make = GraphMaker()
    y = conv(make, make.input("x", (1, 3, 5, 5), "int8", Q))
    pool = MaxPool(kernel=(2, 2), strides=(2, 2), pads=(0, 0, 1, 1), dilations=(1, 1))
    pooled = make.add(pool, y, **INT8)
    moved = make.add(Transpose(perm=(0, 2, 3, 1)), pooled, **INT8)
    after = checked(absorb_clamps, as_table(make.graph(clip(make, moved, 3, 60))))
    assert kinds(after) == ["Conv", "MaxPool", "Transpose"]
    assert clamp_of(after) == Clamp(lo=3, hi=60)
    assert not {y, pooled, moved} & set(after.tensors)  # these names' values are no longer those of ONNX


def test_bounds_stay_where_others_read_the_value() -> None:
    make = GraphMaker()
    y = conv(make, make.input("x", (1, 3, 5, 5), "int8", Q))
    after = checked(absorb_clamps, as_table(make.graph(clip(make, y, 0, 60), make.add(Softmax(axis=1), y, **INT8))))
    assert sorted(kinds(after)) == ["Conv", "Lookup", "Softmax"]
    make = GraphMaker()
    y = conv(make, make.input("x", (1, 3, 5, 5), "int8", Q))
    assert kinds(checked(absorb_clamps, as_table(make.graph(clip(make, y, 0, 60), y)))) == ["Conv", "Lookup"]


def test_other_tables_and_producers_stay() -> None:
    make = GraphMaker()
    y = lookup(make, conv(make, make.input("x", (1, 3, 5, 5), "int8", Q)))
    assert kinds(checked(absorb_clamps, make.graph(y))) == ["Conv", "Lookup"]
    make = GraphMaker()
    x = make.input("x", (1, 4), "int8", Q)
    assert kinds(checked(absorb_clamps, as_table(make.graph(clip(make, x, 0, 9))))) == ["Lookup"]
    make = GraphMaker()
    y = clip(make, make.add(Softmax(axis=1), make.input("x", (1, 4), "int8", Q), **INT8), 0, 9)
    assert kinds(checked(absorb_clamps, as_table(make.graph(y)))) == ["Softmax", "Lookup"]


def test_fixed_activations_of_onnx_become_clamps_in_the_whole_pipeline() -> None:
    """Relu6 between Conv and Quantize, zero point away from the least value."""
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 3, 5, 5), "int8", Q))
    w = make.weights(np.ones((4, 3, 1, 1), np.int8), quant(0.01))
    y = make.add(Conv(strides=(1, 1), pads=(0,) * 4, dilations=(1, 1)), x, w)
    y = make.add(Unary(function="clip", params=(0.0, 6.0)), y)
    after = run_passes(make.graph(make.quantize(y, quant(0.05, -20))))
    assert kinds(after) == ["Conv"]
    assert clamp_of(after) == Clamp(lo=-20, hi=100)


# ---------------------------------------------------------------------- signedness

UINT8 = {"dtype": "uint8", "q": quant(0.05, 131)}


def test_unsigned_network_is_held_as_int8() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 3, 5, 5), "uint8", quant(0.05, 131))
    w = make.constant(np.arange(12, dtype=np.uint8).reshape(4, 3, 1, 1), quant(0.02, 7))
    op = Conv(strides=(1, 1), pads=(0,) * 4, dilations=(1, 1), clamp=Clamp(lo=131, hi=250))
    y = make.add(op, x, w, name="inner", **UINT8)
    y = make.add(Pad(pads=(0, 0, 1, 1, 0, 0, 0, 0), value=131.0), y, **UINT8)
    c = make.constant(np.arange(4, dtype=np.uint8).reshape(4, 1, 1), quant(0.0973, 200))
    y = make.add(Mul(), y, c, **UINT8)
    graph = make.graph(make.add(Concat(axis=1), y, y, name="y", dtype="uint8", q=quant(0.03, 9)))
    after = checked(make_signed, graph)
    assert kinds(after) == ["FlipSign", "Conv", "Pad", "Mul", "Concat", "FlipSign"]
    assert (after.tensors["x"].dtype, after.tensors["y"].dtype) == ("uint8", "uint8")
    inner = after.tensors["inner"]
    assert (inner.dtype, inner.quant, inner.onnx_offset) == ("int8", quant(0.05, 3), 128)
    assert clamp_of(after) == Clamp(lo=3, hi=122)
    assert {t.dtype for t in after.tensors.values() if t.is_constant} == {"int8"}
    check_finished(after)


def test_tables_at_the_boundary_take_uint8() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 256), "uint8", quant(0.05, 131))
    inner = make.add(Softmax(axis=1), lookup(make, x, dtype="uint8"), **UINT8)
    after = checked(make_signed, make.graph(lookup(make, inner, seed=1, dtype="uint8")))
    assert kinds(after) == ["Lookup", "Softmax", "Lookup"]
    check_finished(after)


def test_output_that_is_also_read_inside() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 256), "uint8", quant(0.05, 131))
    y = lookup(make, x, dtype="uint8")
    after = checked(make_signed, make.graph(y, make.add(Softmax(axis=1), y, **UINT8)))
    assert kinds(after).count("FlipSign") == 2
    check_finished(after)


def test_raw_integers_stay_unsigned() -> None:
    """What truncates or casts works on the elements, which a shift would change."""
    make = GraphMaker()
    x = make.input("x", (1, 2, 4, 4), "uint8", quant(0.05, 131))
    y = make.add(Softmax(axis=1), x, **UINT8)
    resize = Resize(
        sizes=(1, 2, 7, 7), scales=(1, 1, 1.75, 1.75), mode="linear", coordinates="half_pixel", truncate=True
    )
    y = make.add(resize, make.add(resize_again(), make.add(Mul(), y, y, **UINT8), **UINT8), **UINT8)
    real = make.add(Cast(to="float32"), make.add(Mul(), y, y, **UINT8))
    after = checked(run_passes, make.graph(make.add(Softmax(axis=1), y, **UINT8), real))
    assert kinds(after).count("FlipSign") >= 3
    assert kinds(checked(make_signed, make.graph(make.add(resize_again(), x, **UINT8)))) == ["Resize"]


def resize_again() -> Resize:
    return Resize(sizes=(1, 2, 4, 4), scales=(1,) * 4, mode="linear", coordinates="half_pixel", truncate=True)


def test_dequantize_and_quantize_shift_too() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 4))
    y = make.add(Softmax(axis=1), make.quantize(x, quant(0.05, 131), "uint8"), **UINT8)
    after = checked(make_signed, make.graph(make.dequantize(y)))
    assert kinds(after) == ["Quantize", "Softmax", "Dequantize"]
    assert {t.dtype for t in after.tensors.values()} == {"float32", "int8"}


# ---------------------------------------------------------------------- pads

SPATIAL = (0, 0, 1, 0, 0, 0, 2, 1)


def padded(make: GraphMaker, value: float, *, clamp: Clamp | None = None, pads: tuple[int, ...] = SPATIAL) -> str:
    y = conv(make, make.input("x", (1, 3, 6, 6), "int8", Q), clamp=clamp)
    return make.add(Pad(pads=pads, value=value), y, **INT8)


@pytest.mark.parametrize(
    ("value", "pads", "fused"),
    [
        (3, SPATIAL, True),
        (0, SPATIAL, False),
        (3, (0, 1, 0, 0, 0, 0, 0, 0), False),
    ],
)
def test_pad_becomes_part_of_conv(value: float, pads: tuple[int, ...], fused: bool) -> None:
    make = GraphMaker()
    graph = make.graph(conv(make, padded(make, value, pads=pads), kernel=3))
    after = checked(fuse_pads, graph)
    assert kinds(after) == (["Conv", "Conv"] if fused else ["Conv", "Pad", "Conv"])
    if fused:
        assert after.nodes[1].op == replace(graph.nodes[2].op, pads=(1, 0, 2, 1))


def test_pad_of_another_mode_stays() -> None:
    make = GraphMaker()
    y = make.add(Pad(pads=SPATIAL, mode="edge", value=3), make.input("x", (1, 3, 6, 6), "int8", Q), **INT8)
    assert kinds(checked(fuse_pads, make.graph(conv(make, y, kernel=3)))) == ["Pad", "Conv"]


def test_two_pads_become_part_of_conv() -> None:
    make = GraphMaker()
    y = make.add(Pad(pads=SPATIAL, value=3), padded(make, 3), **INT8)
    after = checked(fuse_pads, make.graph(conv(make, y, kernel=3), y))
    assert kinds(after).count("Pad") == 2  # y is an output and stays; the convolution reads past both
    assert after.nodes[-1].op.kind == "Conv"
    assert max(after.nodes[-1].op.pads) == 4


def pool_graph(make: GraphMaker, op: Operator, y: str) -> Graph:
    return make.graph(make.add(op, y, **INT8))


@pytest.mark.parametrize(
    ("value", "clamp", "kernel", "fused"),
    [
        (-128, None, 3, True),
        (3, None, 3, False),
        (3, Clamp(lo=3, hi=127), 3, True),
        (4, Clamp(lo=3, hi=127), 3, False),
        (-128, None, 2, False),  # the first window would lie in the padding alone
    ],
)
def test_pad_becomes_part_of_max_pool(value: int, clamp: Clamp | None, kernel: int, fused: bool) -> None:
    make = GraphMaker()
    op = MaxPool(kernel=(kernel, kernel), strides=(1, 1), pads=(0,) * 4, dilations=(1, 1))
    after = checked(fuse_pads, pool_graph(make, op, padded(make, value, clamp=clamp)))
    assert kinds(after) == (["Conv", "MaxPool"] if fused else ["Conv", "Pad", "MaxPool"])


@pytest.mark.parametrize(
    ("pads", "include", "kernel", "fused"),
    [
        ((0, 0, 0, 0), False, 3, True),
        ((0, 0, 0, 0), True, 4, True),
        ((1, 0, 0, 0), True, 4, True),
        ((1, 0, 0, 0), False, 4, False),
        ((0, 0, 0, 0), False, 7, False),  # it would cover the whole unpadded input
    ],
)
def test_pad_becomes_part_of_average_pool(pads: tuple[int, ...], include: bool, kernel: int, fused: bool) -> None:
    make = GraphMaker()
    op = AveragePool(kernel=(kernel, kernel), strides=(1, 1), pads=pads, dilations=(1, 1), count_include_pad=include)
    after = checked(fuse_pads, pool_graph(make, op, padded(make, 3)))
    assert kinds(after) == (["Conv", "AveragePool"] if fused else ["Conv", "Pad", "AveragePool"])


# ---------------------------------------------------------------------- what holds at the end


def test_unfinished_graphs_are_refused() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 4), "uint8", quant(0.05, 131))
    y = make.add(Softmax(axis=1), x, **UINT8)
    y = make.add(Unary(function="sigmoid"), y, **UINT8)
    graph = make.graph(make.quantize(make.dequantize(y), quant(1)))
    with pytest.raises(VerificationError) as caught:
        check_finished(graph)
    assert len(caught.value.causes) == 4
    check_finished(run_passes(graph))


# ---------------------------------------------------------------------- the edit itself


def test_nodes_stay_in_topological_order() -> None:
    make = GraphMaker()
    x = make.input("x", (4,))
    y = make.add(Unary(function="relu"), x)
    z = make.add(Unary(function="abs"), y)
    edit = Edit(make.graph(z))
    middle = edit.add_tensor(make.tensors[y], "middle")
    edit.add_node("late", Unary(function="exp"), (y,), middle.name)
    last = edit.producer(z)
    assert last is not None
    edit.read_instead(last, y, middle.name)
    assert [node.name for node in edit.finish().nodes] == ["n0", "late", "n1"]


def test_deep_graphs_need_no_recursion() -> None:
    make = GraphMaker()
    x = make.input("x", (1,))
    for _ in range(3000):
        x = make.add(Unary(function="abs"), x)
    graph = make.graph(x)
    shuffled = Edit(graph.replace(nodes=graph.nodes[::-1]))
    assert [node.name for node in shuffled.finish().nodes] == [node.name for node in graph.nodes]


def test_flip_sign_and_requantisation_meet_in_one_table() -> None:
    """A requantisation from uint8 to int8 that changes the sign only is nothing inside."""
    make = GraphMaker()
    x = make.add(Softmax(axis=1), make.input("x", (1, 4), "uint8", quant(0.05, 131)), **UINT8)
    y = make.add(Quantize(), make.add(Dequantize(), x), dtype="int8", q=quant(0.05, 3))
    after = checked(run_passes, make.graph(make.add(Softmax(axis=1), y, **INT8)))
    assert kinds(after) == [FlipSign().kind, "Softmax", "Softmax"]
