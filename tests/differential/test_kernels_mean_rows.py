# SPDX-License-Identifier: Apache-2.0
"""Means summed up band by band equal the mean of the whole image."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from mcucompiler.lower.layout import channels_last
from mcucompiler.lower.types import InputArg, NodeContext, OutputArg, ScratchArg
from mcucompiler.lower.variants.mean_rows import accumulate_call, finish_call, mean_rows_reason
from mcucompiler.ops import AveragePool, ReduceMean
from tests.support.kernel_program import SANITIZE, STRICT, Prepared, compile_program, program_text
from tests.support.kernels import Case, lowered, reference_of
from tests.support.random_cases import Rng, quant, random_quant, tensor, unary_case
from tests.support.window_cases import a_clamp, options

_MAIN = """
static unsigned char image[{image}], means[{channels}], sums[{sums}] __attribute__((aligned(4)));
int main(void)
{{
    unsigned char *buffers[3] = {{ image, sums, means }};
{cases}
    return 0;
}}
"""
_CASE = """
    memset(sums, 0, sizeof sums);
    if (fread(image, 1, {image}u, stdin) != {image}u) {{
        return 1;
    }}
    for (unsigned band = 0; band < {bands}u; ++band) {{
        buffers[0] = image + band * {band_bytes}u;
        run_{accumulate}(buffers);
    }}
    run_{finish}(buffers);
    if (fwrite(means, 1, {channels}u, stdout) != {channels}u) {{
        return 2;
    }}
"""


def a_mean_of_rows(rng: Rng) -> tuple[Case, int]:
    """A mean over an image, and the height of a band."""
    rows, bands = int(rng.integers(1, 4)), int(rng.integers(1, 9))
    channels, width = int(rng.choice([1, 3, 4, 6, 8, 17])), int(rng.choice([1, 2, 7, 40, 90, 300]))
    shape, dtype = (1, channels, rows * bands, width), str(rng.choice(["int8", "int8", "uint8"]))
    x = tensor("x", shape, dtype, random_quant(rng, dtype))
    clamp = a_clamp(rng, dtype)
    op: ReduceMean | AveragePool = ReduceMean(axes=(2, 3), keepdims=bool(rng.random() < 0.5), clamp=clamp)
    if rng.random() < 0.3:
        op = AveragePool(kernel=shape[2:], strides=(1, 1), pads=(0,) * 4, dilations=(1, 1), clamp=clamp)
    y = tensor("y", op.output_shapes((x,))[0], dtype, random_quant(rng, dtype))
    value = None if rng.random() < 0.8 else np.full(shape, rng.choice([-128, 127]), np.int8).astype(dtype)
    return unary_case(rng, op, x, y, value=value, strided=False, options=options(rng)), rows


def _prepared(context: NodeContext, rows: int) -> list[Prepared]:
    """The kernels that add a band and that finish, on the buffers image, sums, means."""
    numbers = {InputArg: 0, ScratchArg: 1, OutputArg: 2}
    return [
        Prepared(
            context=context,
            call=call,
            buffers=(),
            pointers=tuple((numbers[type(argument)], 0) for argument in call.arguments),
            outputs=(),
            in_place=False,
        )
        for call in (accumulate_call(context, rows), finish_call(context))
    ]


@pytest.mark.parametrize("seed", range(3))
def test_bands_add_up_to_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chosen = [a_mean_of_rows(rng) for _ in range(24)]
    prepared, cases, feed = [], [], b""
    for number, (case, rows) in enumerate(chosen):
        context = lowered(case)[0]
        assert mean_rows_reason(context) is None
        value = case.values[0]
        assert value is not None
        prepared += _prepared(context, rows)
        feed += channels_last(value.shape).to_memory(value).tobytes()
        _, channels, height, width = value.shape
        text = _CASE.format(
            image=value.size,
            bands=height // rows,
            band_bytes=rows * width * channels,
            accumulate=2 * number,
            finish=2 * number + 1,
            channels=channels,
        )
        cases.append(text)
    largest = max(case.inputs[0].size for case, _ in chosen if case.inputs[0] is not None)
    main = _MAIN.format(image=largest, channels=17, sums=68, cases="".join(cases))
    program = compile_program(program_text(prepared, main=main), "gcc", ("-std=c11", "-O1", *STRICT, *SANITIZE))
    result = subprocess.run([program], input=feed, capture_output=True, timeout=60, check=True)
    wanted = b"".join(reference_of(case)[0].tobytes() for case, _ in chosen)
    assert result.stdout == wanted
    assert len({dict(item.call.kernel.literals)["tail"].kind for item in prepared[1::2]}) == 2


@pytest.mark.parametrize(
    ("shape", "dtype", "axes", "reason"),
    [
        ((2, 4, 3, 3), "int8", (2, 3), "one image"),
        ((1, 4, 3, 3), "int8", (1, 2), "one image"),
        ((1, 4, 3, 3), "float32", (2, 3), "not quantized"),
    ],
)
def test_other_means_are_refused(shape: tuple[int, ...], dtype: str, axes: tuple[int, ...], reason: str) -> None:
    q = None if dtype == "float32" else quant(0.1, 3)
    op = ReduceMean(axes=axes)
    x = tensor("x", shape, dtype, q)
    case = unary_case(np.random.default_rng(1), op, x, tensor("y", op.output_shapes((x,))[0], dtype, q), strided=False)
    assert reason in (mean_rows_reason(lowered(case)[0]) or "")
