# SPDX-License-Identifier: Apache-2.0
"""Networks as exporters and quantisers write them: program = reference, and = ONNX Runtime where all is integer.

Each is a small form of what torch.onnx.export, tf2onnx, onnxruntime.quantization and ONNX Runtime's own optimizer
leave behind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcucompiler.ops import Reshape
from mcucompiler.passes import float_nodes
from tests.support.networks import MICROSOFT, Network, Value
from tests.support.programs import check, compiled

PAD1 = [1, 1, 1, 1]


def depth_to_space(n: Network, x: Value, size: int, mode: str = "CRD") -> Value:
    batch, channels, height, width = x.shape
    shape = (batch, channels // size**2, height * size, width * size)
    return n.direct("DepthToSpace", x, shape, blocksize=size, mode=mode)


def part(n: Network, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
    """Slice with its arguments as inputs."""
    shape = list(x.shape)
    shape[axis] = len(range(start, stop, step))
    y = n.activation("slice", tuple(shape), like=x)
    bounds = [n.constant(np.array([v], np.int64)) for v in (start, stop, axis, step)]
    if n.qdq:
        real = n.fresh("y_real")
        n.add("Slice", [n.real(x), *bounds], real)
        return n.quantized(real, y)
    n.add("Slice", [x.name, *bounds], y.name)
    return y


def super_resolution(n: Network) -> list[Value]:
    x = n.conv(n.input((1, 1, 9, 8)), 6, (3, 3), pads=PAD1, relu=True)
    return [depth_to_space(n, n.conv(x, 9, (3, 3), pads=PAD1), 3)]


def unshuffled_with_skip(n: Network) -> list[Value]:
    image = n.input((1, 3, 8, 6))
    x = n.direct("SpaceToDepth", image, (1, 12, 4, 3), blocksize=2)
    x = n.conv(n.conv(x, 10, (3, 3), pads=PAD1, relu=True), 12, (1, 1))
    y = depth_to_space(n, x, 2, "DCR")
    return [n.binary("Add", y, image), n.conv(n.binary("Add", image, y), 2, (1, 1))]


def shuffle(n: Network, x: Value) -> Value:
    batch, channels, height, width = x.shape
    x = n.reshape(x, (batch, 2, channels // 2, height, width))
    x = n.direct("Transpose", x, (batch, channels // 2, 2, height, width), perm=[0, 2, 1, 3, 4])
    return n.reshape(x, (batch, channels, height, width))


def shuffle_units(n: Network) -> list[Value]:
    x = shuffle(n, n.conv(n.input((1, 3, 7, 6)), 8, (3, 3), strides=[2, 2], pads=PAD1, relu=True))
    for _ in range(2):
        a, b = part(n, x, 1, 0, 4), part(n, x, 1, 4, 8)
        b = n.conv(n.conv(b, 4, (1, 1), relu=True), 4, (3, 3), groups=4, pads=PAD1)
        x = shuffle(n, n.concat([a, n.conv(b, 4, (1, 1), relu=True)], 1))
    return [n.dense(n.reshape(n.global_average(x), (1, 8)), 3)]


def detection_head(n: Network) -> list[Value]:
    outputs = []
    x = n.conv(n.input((1, 3, 12, 8)), 8, (3, 3), strides=[2, 2], pads=PAD1, relu=True)
    for size in ((6, 4), (3, 2)):
        y = n.reshape(n.conv(x, 10, (1, 1)), (1, 2, 5, *size))
        y = n.direct("Transpose", y, (1, 2, *size, 5), perm=[0, 1, 3, 4, 2])
        outputs.append(n.reshape(n.sigmoid(y), (1, 2 * size[0] * size[1], 5)))
        x = n.direct("MaxPool", x, (1, 8, 3, 2), kernel_shape=[2, 2], strides=[2, 2]) if size == (6, 4) else x
    return [n.concat(outputs, 1)]


def focus(n: Network) -> list[Value]:
    x = n.input((1, 3, 8, 6))
    parts = [part(n, part(n, x, 2, row, 8, 2), 3, column, 6, 2) for row in (0, 1) for column in (0, 1)]
    x = n.conv(n.concat(parts, 1), 8, (3, 3), pads=PAD1)
    pools = [n.direct("MaxPool", x, x.shape, kernel_shape=[k, k], pads=[k // 2] * 4, strides=[1, 1]) for k in (3, 5)]
    return [n.conv(n.concat([x, *pools], 1), 4, (1, 1))]


def global_maximum(n: Network) -> list[Value]:
    x = n.conv(n.input((1, 3, 7, 5)), 6, (3, 3), pads=PAD1)
    spatial = n.direct("ReduceMax", x, (1, 6), axes=[2, 3], keepdims=0)
    classes = n.direct("ReduceMax", x, (1, 1, 7, 5), axes=[1], keepdims=1)
    return [n.dense(spatial, 3), n.conv(classes, 2, (3, 3))]


def converted_attention(n: Network) -> list[Value]:
    """The squeeze-and-excitation of a channels-last framework: transposes around every step."""
    x = n.conv(n.direct("Transpose", n.input((1, 7, 6, 3)), (1, 3, 7, 6), perm=[0, 3, 1, 2]), 8, (3, 3), pads=PAD1)
    last = n.direct("Transpose", x, (1, 7, 6, 8), perm=[0, 2, 3, 1])
    gate = n.reshape(n.reshape(n.global_average(x), (1, 8)), (1, 1, 1, 8))
    gate = n.conv(n.direct("Transpose", gate, (1, 8, 1, 1), perm=[0, 3, 1, 2]), 8, (1, 1))
    gate = n.direct("Transpose", n.sigmoid(gate), (1, 1, 1, 8), perm=[0, 2, 3, 1])
    return [n.direct("Transpose", n.binary("Mul", last, gate), (1, 8, 7, 6), perm=[0, 3, 1, 2])]


NETWORKS: tuple[Callable[[Network], list[Value]], ...] = (
    super_resolution,
    unshuffled_with_skip,
    shuffle_units,
    detection_head,
    focus,
    global_maximum,
    converted_attention,
)
#: Copies between two memory orders that each cannot do without.
COPIES = {"super_resolution": 1, "unshuffled_with_skip": 2, "shuffle_units": 3, "converted_attention": 0}


def build(make: Callable[[Network], list[Value]], **options: object) -> bytes:
    network = Network(seed=NETWORKS.index(make) + 101, **options)
    return network.build(make(network))


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_qoperator_is_exact_under_sanitizers(make: Callable[[Network], list[Value]], tmp_path: Path) -> None:
    check(build(make), tmp_path / "net", sanitize=True, exact=True)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_unsigned_qdq_is_integer_throughout(make: Callable[[Network], list[Value]], tmp_path: Path) -> None:
    model = build(make, qdq=True, dtype=np.uint8)
    result, _ = compiled(model, tmp_path / "first")
    assert not float_nodes(result.graph)
    check(model, tmp_path / "net", exact=False)


@pytest.mark.parametrize("name", COPIES)
def test_orders_meet_only_where_they_must(name: str, tmp_path: Path) -> None:
    make = next(make for make in NETWORKS if make.__name__ == name)
    result, _ = compiled(build(make), tmp_path / "net")
    assert sum(isinstance(step.node.op, Reshape) for step in result.planned.lowered.steps) == COPIES[name]


def test_file_that_onnx_runtime_has_optimized(tmp_path: Path) -> None:
    """Its operators on channels last, between Transposes."""
    n = Network(seed=201)
    image = n.input((1, 3, 8, 7))
    x = n.direct("Transpose", image, (1, 8, 7, 3), perm=[0, 2, 3, 1])
    y = n.activation("conv", (1, 8, 7, 6))
    weights = n.constant(n.rng.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8))
    operands = [x.name, *n.pair(x.scale, x.zero_point), weights, *n.pair(0.002, 0), *n.pair(y.scale, y.zero_point)]
    n.add("QLinearConv", operands, y.name, MICROSOFT, channels_last=1, pads=PAD1)
    x, y = y, n.activation("pool", (1, 4, 3, 6), like=y)
    n.add("NhwcMaxPool", [x.name], y.name, MICROSOFT, kernel_shape=[2, 2], strides=[2, 2])
    x, y = y, n.activation("mean", (1, 1, 1, 6))
    operands = [x.name, *n.pair(x.scale, x.zero_point), *n.pair(y.scale, y.zero_point)]
    n.add("QLinearGlobalAveragePool", operands, y.name, MICROSOFT, channels_last=1)
    model = n.build([n.dense(n.reshape(y, (1, 6)), 3)])
    result, _ = compiled(model, tmp_path / "first")
    assert not any(isinstance(step.node.op, Reshape) for step in result.planned.lowered.steps)
    check(model, tmp_path / "net", exact=True)


def test_batch_normalization_behind_a_convolution(tmp_path: Path) -> None:
    """As training for quantisation leaves it: no Quantize between the two."""
    n = Network(seed=202, qdq=True)
    x = n.input((1, 3, 6, 5))
    weights = [
        n.constant(n.rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)),
        n.constant(n.rng.uniform(0.001, 0.003, 8).astype(np.float32)),
        n.constant(np.zeros(8, np.int8)),
    ]
    n.add("DequantizeLinear", weights, "w", axis=0)
    bias = n.constant(n.rng.normal(size=8).astype(np.float32))
    n.add("Conv", [n.real(x), "w", bias], "conv", pads=PAD1)
    statistics = [n.constant(n.rng.normal(size=8).astype(np.float32)) for _ in range(3)]
    variance = n.constant(n.rng.uniform(0.5, 2, 8).astype(np.float32))
    n.add("BatchNormalization", ["conv", *statistics, variance], "normal")
    n.add("Relu", ["normal"], "positive")
    model = n.build([n.conv(n.quantized("positive", n.activation("act", (1, 8, 6, 5))), 4, (1, 1))])
    result, _ = compiled(model, tmp_path / "first")
    assert [node.op.kind for node in result.graph.nodes] == ["Conv", "Conv"]
    check(model, tmp_path / "net", exact=False)
