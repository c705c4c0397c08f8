# SPDX-License-Identifier: Apache-2.0
"""Single-precision arithmetic and moves between core and float registers."""

from __future__ import annotations

from collections.abc import Iterator

from mcucompiler.machine import meaning as m
from mcucompiler.machine.core import Kind
from mcucompiler.machine.operations.types import Opcode, simple


def _moves() -> Iterator[Opcode]:
    yield simple("vmov.sr", Kind.VMOV, "r", lambda a: a, results="s", mnemonic="vmov")
    yield simple("vmov.rs", Kind.VMOV, "s", lambda a: a, results="r", mnemonic="vmov")
    yield simple("vmov.ss", Kind.VMOV, "s", lambda a: a, results="s", mnemonic="vmov.f32")
    yield Opcode(
        name="vmov.ssrr",
        kind=Kind.VMOV_PAIR,
        results="ss",
        operands="rr",
        text="vmov {d0}, {d1}, {u0}, {u1}",
        meaning=lambda a, b: (a, b),
        consecutive="results",
    )
    yield Opcode(
        name="vmov.rrss",
        kind=Kind.VMOV_PAIR,
        results="rr",
        operands="ss",
        text="vmov {d0}, {d1}, {u0}, {u1}",
        meaning=lambda a, b: (a, b),
        consecutive="operands",
    )


def _arithmetic() -> Iterator[Opcode]:
    yield simple("vadd.f32", Kind.VFP, "ss", m.float_sum, results="s")
    yield simple("vsub.f32", Kind.VFP, "ss", lambda a, b: m.float_sum(a, b ^ 0x80000000), results="s")
    yield simple("vmul.f32", Kind.VFP, "ss", m.float_product, results="s")
    yield simple("vcvt.f32.s32", Kind.VFP, "s", lambda a: m.from_float(float(m.signed(a))), results="s")
    yield simple("vcvt.f32.u32", Kind.VFP, "s", lambda a: m.from_float(float(a)), results="s")
    yield simple("vcvt.s32.f32", Kind.VFP, "s", lambda a: m.to_integer(m.to_float(a), nearest=False), results="s")
    yield simple("vcvtn.s32.f32", Kind.VFP, "s", lambda a: m.to_integer(m.to_float(a), nearest=True), results="s")
    yield Opcode(
        name="vfma.f32",
        kind=Kind.VFP,
        results="s",
        operands="sss",
        text="vfma.f32 {d0}, {u1}, {u2}",
        meaning=m.fused,
        tied=((0, 0),),
    )


def operations() -> Iterator[Opcode]:
    """All float operations; a conversion to an integer saturates, and gives 0 for a NaN."""
    yield from _moves()
    yield from _arithmetic()
