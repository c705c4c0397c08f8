# SPDX-License-Identifier: Apache-2.0
"""The generated header that ties MLPerf Tiny's harness to one network.

The benchmark's four tasks differ in what the runner sends and expects: raw features (kws01), pixels from 0 to 255
(ic01, vww01), or real numbers, of which the mean squared error is the result (ad01). They are told apart by their
shapes; any other network takes the bytes of its input as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcucompiler.errors import UsageError
from mcucompiler.manifest import BoundaryTensor, Manifest
from mcucompiler.words import counted

MLPERF_CONFIG_NAME = "mlperf_config.h"
_PROFILE = "ULPMark for tinyML Firmware V0.0.1"
"""What the runner looks for: benchmark/api/internally_implemented.h."""

_C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t", "float32": "float"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One of the benchmark's networks.

    Attributes:
        model: its name there.
        pixels: whether the runner sends 0 to 255 where the network takes -128 to 127.
        reals: whether it sends float32.
        autoencoder: whether the result is the mean squared error between output and input.
    """

    model: str
    pixels: bool = False
    reals: bool = False
    autoencoder: bool = False


_TASKS = {
    # By extents of the input's C buffer other than 1, and number of outputs.
    ((49, 10), 12): Task(model="kws01"),
    ((490,), 12): Task(model="kws01"),
    ((32, 32, 3), 10): Task(model="ic01", pixels=True),
    ((96, 96, 3), 2): Task(model="vww01", pixels=True),
    ((640,), 640): Task(model="ad01", reals=True, autoencoder=True),
}


def task_of(manifest: Manifest) -> Task:
    """The benchmark's task that a network is for, or one of the network's name that takes bytes as they are.

    Raises:
        UsageError: the network has more than one input or output.
    """
    if len(manifest.sample_inputs) != 1 or len(manifest.outputs) != 1:
        raise UsageError(
            f"network {manifest.name!r} has {counted(len(manifest.sample_inputs), 'input')} and "
            f"{counted(len(manifest.outputs), 'output')}; "
            "the runner of MLPerf Tiny feeds one and reads one"
        )
    source = manifest.sample_inputs[0]
    shape = tuple(extent for extent in source.c_shape if extent != 1)
    known = _TASKS.get((shape, _elements(manifest.outputs[0])), Task(model=manifest.name))
    reals = known.reals or source.dtype == "float32"
    return Task(
        model=known.model,
        pixels=known.pixels and source.dtype == "int8",
        reals=reals,
        autoencoder=known.autoencoder,
    )


def write_mlperf_header(manifest: Manifest, folder: Path) -> None:
    """Write the header; raises as ``task_of`` does."""
    task, source, result = task_of(manifest), manifest.sample_inputs[0], manifest.outputs[0]
    low, high = (0, 0) if source.dtype == "float32" else (np.iinfo(source.dtype).min, np.iinfo(source.dtype).max)
    lines = [
        f"/* What MLPerf Tiny's runner sends to network '{manifest.name}' and gets from it. */",
        "#ifndef MC_MLPERF_CONFIG_H",
        "#define MC_MLPERF_CONFIG_H",
        "",
        "#include <stdint.h>",
        "",
        f'#define MC_MLPERF_PROFILE "{_PROFILE}"',
        f'#define MC_MLPERF_MODEL "{task.model}"',
        f"#define MC_MLPERF_PIXELS {int(task.pixels)}",
        f"#define MC_MLPERF_REALS {int(task.reals)}",
        f"#define MC_MLPERF_QUANTIZED {int(source.dtype != 'float32')}",
        f"#define MC_MLPERF_AUTOENCODER {int(task.autoencoder)}",
        f"#define MC_MLPERF_INPUTS {_elements(source)}u",
        f"#define MC_MLPERF_OUTPUTS {_elements(result)}u",
        f"#define MC_MLPERF_BUFFER_BYTES {4 * _elements(source) if task.reals else source.bytes}u",
        f"#define MC_MLPERF_INPUT_SCALE {_c_float(source.scale)}",
        f"#define MC_MLPERF_INPUT_ZERO_POINT {source.zero_point or 0}",
        f"#define MC_MLPERF_INPUT_LOW ({low})",
        f"#define MC_MLPERF_INPUT_HIGH {high}",
        f"#define MC_MLPERF_OUTPUT_SCALE {_c_float(result.scale)}",
        f"#define MC_MLPERF_OUTPUT_ZERO_POINT ({_c_float(float(result.zero_point or 0))})",
        f"typedef {_C_TYPES[source.dtype]} mc_input_element_t;",
        f"typedef {_C_TYPES[result.dtype]} mc_output_element_t;",
        "",
        "#endif",
    ]
    (folder / MLPERF_CONFIG_NAME).write_text("\n".join(lines) + "\n", encoding="ascii")


def _elements(tensor: BoundaryTensor) -> int:
    return int(np.prod(tensor.c_shape, dtype=np.int64))


def _c_float(value: float | None) -> str:
    return f"{float(np.float32(1.0 if value is None else value)).hex()}f"
