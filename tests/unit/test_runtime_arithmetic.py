# SPDX-License-Identifier: Apache-2.0
"""mc_simd.h and mc_requantize.h: every function against its meaning, under compilers that would like to differ."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from mcucompiler.numerics.requantize import requantize, wrap32
from tests.support.kernel_program import STRICT, compile_program

PROGRAM = """
#include <stdio.h>
#include "mc_requantize.h"
#include "mc_simd.h"
int main(void)
{
    uint32_t in[5];
    while (fread(in, sizeof in, 1, stdin) == 1) {
        const int32_t a = (int32_t)in[0];
        const int32_t c = (int32_t)in[2];
        const int32_t out[] = {
            mc_requantize_float(a, mc_float_of_bits(in[3]), (int32_t)(in[4] & 255u) - 128),
            mc_requantize(a, (int32_t)(in[1] >> 1), ((int32_t)in[2]) >> 2, 5),
            mc_smlad(in[0], in[1], c),
            mc_smlad_loop(in[0], in[1], c),
            mc_smlabb(in[0], in[1], c),
            mc_smlabt(in[0], in[1], c),
            mc_smlatb(in[0], in[1], c),
            mc_smlatt(in[0], in[1], c),
            (int32_t)mc_sxtb16(in[0]),
            (int32_t)mc_sxtb16_ror8(in[0]),
            (int32_t)mc_pair(a, c),
            mc_qadd(a, c),
            mc_ssat8(a >> 20),
        };
        fwrite(out, sizeof out, 1, stdout);
    }
    return 0;
}
"""


def _inputs() -> np.ndarray:
    rng = np.random.default_rng(11)
    words = rng.integers(0, 2**32, (20000, 5)).astype(np.uint32)
    words[:200, :3] = rng.choice(np.array([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x80008000], np.uint32), (200, 3))
    words[:, 0] >>= rng.integers(0, 28, len(words)).astype(np.uint32)
    multipliers = np.exp2(rng.uniform(-40, 100, len(words))).astype(np.float32)
    near = rng.uniform(0, 200, len(words)) / np.maximum(np.abs(words[:, 0].view(np.int32).astype(np.float64)), 1)
    multipliers[1::2] = near[1::2].astype(np.float32)
    # ties: an even accumulator times an odd multiple of a power of two
    ties = np.arange(2, len(words), 5)
    words[ties, 0] = (words[ties, 0] & 127) * 2 + 1
    multipliers[ties] = np.float32(0.5)
    words[:, 3] = multipliers.view(np.uint32)
    return words


def _expected(words: np.ndarray) -> np.ndarray:
    a, b, c = (words[:, i].view(np.int32).astype(np.int64) for i in range(3))
    low_a, low_b = (v.astype(np.uint16).view(np.int16).astype(np.int64) for v in (a & 65535, b & 65535))
    high_a, high_b = a >> 16, b >> 16
    zero = (words[:, 4] & 255).astype(np.int64) - 128
    multiplier = words[:, 3].view(np.float32)
    floats = np.array(
        [requantize(np.int32(x), m, int(z), -128, 127) for x, m, z in zip(a, multiplier, zero, strict=True)]
    )
    integer = np.clip((((a * (words[:, 1] >> 1).astype(np.int64)) >> 32) + (c >> 2)) >> 5, -128, 127)

    def octet(shift: int) -> np.ndarray:
        return (a >> shift & 255).astype(np.uint8).view(np.int8).astype(np.int64) & 65535

    rows = [
        floats,
        integer,
        c + low_a * low_b + high_a * high_b,
        c + low_a * low_b + high_a * high_b,
        c + low_a * low_b,
        c + low_a * high_b,
        c + high_a * low_b,
        c + high_a * high_b,
        octet(0) | octet(16) << 16,
        octet(8) | octet(24) << 16,
        (a & 65535) | (c & 65535) << 16,
        np.clip(a + c, -(2**31), 2**31 - 1),
        np.clip(a >> 20, -128, 127),
    ]
    return np.stack([wrap32(row) for row in rows], axis=1)


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", ("-std=c11", "-O0")),
        ("gcc", ("-std=c11", "-O2", "-fsanitize=undefined", "-fno-sanitize-recover=all")),
        ("gcc", ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast")),
        ("clang", ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast")),
    ],
)
def test_arithmetic(compiler: str, flags: tuple[str, ...]) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    words = _inputs()
    program = compile_program(PROGRAM, compiler, (*flags, *STRICT))
    result = subprocess.run([program], input=words.tobytes(), capture_output=True, timeout=60, check=True)
    got = np.frombuffer(result.stdout, np.int32).reshape(len(words), -1)
    np.testing.assert_array_equal(got, _expected(words))


def test_fast_math_is_refused() -> None:
    with pytest.raises(AssertionError, match="ffast-math"):
        compile_program(PROGRAM, "gcc", ("-std=c11", "-O2", "-ffast-math"))
