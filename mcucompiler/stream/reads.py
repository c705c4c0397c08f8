# SPDX-License-Identifier: Apache-2.0
"""Which constants a step reads, and how often."""

from __future__ import annotations

from mcucompiler.cost import ConstantRead
from mcucompiler.lower.select import constant_bytes
from mcucompiler.lower.types import Call, KernelCall
from mcucompiler.stream.types import StreamCall


def constant_reads(call: Call) -> tuple[ConstantRead, ...]:
    """The constants of a step, and how often they are read from first to last."""
    if isinstance(call, KernelCall):
        return (ConstantRead(bytes=constant_bytes(call), times=call.passes),) if constant_bytes(call) else ()
    if isinstance(call, StreamCall):
        return tuple(
            ConstantRead(bytes=read.bytes, times=read.times * band.runs // band.units)
            for band in call.bands
            for _, kernel in band.kernels
            for read in constant_reads(kernel)
        )
    return ()


def flash_bytes_read(call: Call, data_cache_bytes: int = 0) -> int:
    """Bytes of constants that an inference reads from flash for a step, through a data cache of that size."""
    return sum(read.bytes * (1 if read.bytes <= data_cache_bytes else read.times) for read in constant_reads(call))
