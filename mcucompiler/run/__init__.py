# SPDX-License-Identifier: Apache-2.0
"""Running generated programs: on the host and in QEMU, behind one protocol."""

from mcucompiler.run.boundary import dequantize, encode_sample, load_npz, network_inputs, output_array, save_npz
from mcucompiler.run.runners import DEFAULT_TIMEOUT_S, HostRunner, QemuRunner, make_bench_runner, make_runner
from mcucompiler.run.samples import seeded_samples, user_samples
from mcucompiler.run.types import BenchResult, BenchRunner, Runner, Sample, SampleResult, StepCount, StepDump

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "BenchResult",
    "BenchRunner",
    "HostRunner",
    "QemuRunner",
    "Runner",
    "Sample",
    "SampleResult",
    "StepCount",
    "StepDump",
    "dequantize",
    "encode_sample",
    "load_npz",
    "make_bench_runner",
    "make_runner",
    "network_inputs",
    "output_array",
    "save_npz",
    "seeded_samples",
    "user_samples",
]
