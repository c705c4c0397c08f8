# SPDX-License-Identifier: Apache-2.0
"""What is known about the pipelines: one table per core, and where each fact comes from.

Everything the scheduler and the cycle estimate know of a core is in the ``Core`` values at the end of
this file. Arm publishes no timings of the Cortex-M7, so the sources are:

* LLVM: ``llvm/lib/Target/ARM/ARMScheduleM7.td``. Two ALUs, one multiplier (latency 2, the accumulator is
  read a cycle later), one SIMD unit, one shifter, loads of bytes and halves slower by one, LDRD and LDM
  never paired, VFP latency 3.
* GCC: ``gcc/config/arm/cortex-m7.md``. One load/store unit, LDRD and STRD occupy the whole core, one ALU
  for DSP operations, one multiplier.
* Measured by others on STM32H743 with the cycle counter: github.com/jnk0le/random, "pipeline cycle test".
  All multiply-accumulates, the 64-bit ones too, chain on the accumulator every cycle; they pair in either slot
  with DSP operations, but not with stores; DSP operations and bit fields pair only as the older instruction and
  not with each other; bit fields do not pair with shifted operands; LDRD, STRD and VMOV of two registers never
  pair. quinapalus.com/cm7cycles.html (STM32H730) is reported to agree that UMLAL takes one cycle.

Where they disagree on a latency, ``latency`` is the lower figure of LLVM and GCC, which the estimate uses, and
``prudent`` the higher one, for which the scheduler leaves room where that costs nothing.

Measured, but not modeled. To the better: two loads may pair if they hit different banks, a load and a store may
pair, and most ALU operations can use a loaded word after one cycle. To the worse: byte stores in every cycle fill
the store buffer and then take two to four cycles each, so they should be spread. Caches, wait states of the flash,
mispredicted branches (6 to 8 cycles) and the alignment of code are not modeled either: estimates assume code and
data in tightly coupled memory or caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import MappingProxyType


class Kind(Enum):
    """How an operation occupies the pipeline; what operations of one kind compute does not matter."""

    ALU = "alu"
    ALU_SHIFT = "alu with a shifted operand"
    EXTEND = "extension or parallel arithmetic"
    BITFIELD = "bit field or halfword packing"
    SATURATE = "saturation"
    MAC = "multiply, accumulate in one register"
    MAC_LONG = "multiply, accumulate in a register pair"
    LOAD = "load of a word"
    LOAD_NARROW = "load of a byte or half"
    LOAD_PAIR = "load of two words"
    STORE = "store"
    STORE_PAIR = "store of two words"
    VFP = "float arithmetic"
    VMOV = "move between core and float registers"
    VMOV_PAIR = "move of two registers between core and float registers"
    BRANCH = "branch"

    __hash__ = object.__hash__  # enumerations hash their names, in Python: too slow for every operation issued


class Unit(Enum):
    """A part of the core that serves one operation a cycle."""

    MULTIPLIER = "multiplier"
    MEMORY = "load/store unit"
    SHIFTER = "shifter"
    SIMD = "SIMD unit"
    FLOAT = "float unit"
    BRANCH = "branch unit"
    OPERANDS = "what multiplications and stores share"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The record of one kind of operation.

    Attributes:
        latency: cycles from issue until a dependent operation may issue; the lowest published figure.
        prudent: the highest published figure.
        units: what it occupies in its cycle.
        older_slot_only: pairs only with a younger instruction, never with an older one.
        alone: never pairs.
        forwards: cycles by which an accumulator of the same kind is needed later than other operands.
        occupies: cycles before the next instruction may issue, for instructions that do not pair.
    """

    latency: int = 1
    prudent: int = 1
    units: frozenset[Unit] = field(default_factory=frozenset)
    older_slot_only: bool = False
    alone: bool = False
    forwards: int = 0
    occupies: int = 1


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Core:
    """The pipeline of one core.

    Attributes:
        name: as ``-mcpu`` spells it.
        width: instructions that may issue in one cycle.
        timings: the record of each kind.
        source: where the facts come from.
    """

    name: str
    width: int
    timings: Mapping[Kind, Timing]
    source: str

    def __repr__(self) -> str:
        return f"Core({self.name!r})"

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Core) and self.name == other.name

    @cached_property
    def pairs(self) -> Mapping[tuple[Kind, Kind], bool]:
        """Whether (older, younger) may issue in the same cycle, for all pairs of kinds."""
        return MappingProxyType(
            {(older, younger): self._may_pair(older, younger) for older in Kind for younger in Kind}
        )

    def _may_pair(self, older: Kind, younger: Kind) -> bool:
        first, second = self.timings[older], self.timings[younger]
        if self.width < 2 or first.alone or second.alone or second.older_slot_only:
            return False
        return not first.units & second.units


def _units(*units: Unit) -> frozenset[Unit]:
    return frozenset(units)


_M7_TIMINGS: Mapping[Kind, Timing] = MappingProxyType(
    {
        Kind.ALU: Timing(),
        # LLVM: one cycle more for what uses the shifted result; the shifter serves one operation a cycle.
        Kind.ALU_SHIFT: Timing(prudent=2, units=_units(Unit.SHIFTER)),
        # Measured, and LLVM: older slot only, one SIMD unit.
        Kind.EXTEND: Timing(units=_units(Unit.SIMD), older_slot_only=True),
        Kind.BITFIELD: Timing(prudent=2, units=_units(Unit.SIMD, Unit.SHIFTER), older_slot_only=True),
        Kind.SATURATE: Timing(prudent=3, units=_units(Unit.SIMD, Unit.SHIFTER), older_slot_only=True),
        # LLVM: latency 2, read advance 1 for the accumulator. GCC: one multiplier. Measured: not with a store.
        Kind.MAC: Timing(latency=2, prudent=2, units=_units(Unit.MULTIPLIER, Unit.OPERANDS), forwards=1),
        # Measured: as MAC, one a cycle even on one accumulator. LLVM and GCC do not say so; no forwarding is assumed.
        Kind.MAC_LONG: Timing(latency=2, prudent=2, units=_units(Unit.MULTIPLIER, Unit.OPERANDS)),
        # LLVM: load to use 2, bytes and halves 3. GCC: one load/store unit (LLVM has two load ports).
        Kind.LOAD: Timing(latency=2, prudent=2, units=_units(Unit.MEMORY)),
        Kind.LOAD_NARROW: Timing(latency=2, prudent=3, units=_units(Unit.MEMORY)),
        # GCC and LLVM: LDRD and STRD occupy the whole core.
        Kind.LOAD_PAIR: Timing(latency=2, prudent=2, units=_units(Unit.MEMORY), alone=True),
        # Measured: not with a multiplication.
        Kind.STORE: Timing(units=_units(Unit.MEMORY, Unit.OPERANDS)),
        Kind.STORE_PAIR: Timing(units=_units(Unit.MEMORY), alone=True),
        # LLVM: latency 3 for VCVT, VADD, VMUL; one float unit in the single-precision core.
        Kind.VFP: Timing(latency=3, prudent=3, units=_units(Unit.FLOAT)),
        Kind.VMOV: Timing(latency=2, prudent=3, units=_units(Unit.FLOAT)),
        # Measured: two registers at once never pair.
        Kind.VMOV_PAIR: Timing(latency=2, prudent=3, units=_units(Unit.FLOAT), alone=True),
        Kind.BRANCH: Timing(units=_units(Unit.BRANCH)),
    }
)

CORTEX_M7 = Core(
    name="cortex-m7",
    width=2,
    timings=_M7_TIMINGS,
    source="LLVM ARMScheduleM7.td, GCC cortex-m7.md, measurements published by others; not measured by us",
)


def _single_issue() -> Mapping[Kind, Timing]:
    """The table of a core that issues one instruction a cycle and interlocks on results."""
    special = {
        # LLVM: SMMLA and SMMUL two cycles, other multiplications one.
        Kind.MAC: Timing(prudent=2),
        Kind.LOAD: Timing(latency=2, prudent=2),
        Kind.LOAD_NARROW: Timing(latency=2, prudent=2),
        # Vendors' tables: one cycle and one for each register.
        Kind.LOAD_PAIR: Timing(latency=2, prudent=2, occupies=3),
        Kind.STORE_PAIR: Timing(occupies=3),
        Kind.VFP: Timing(prudent=2),
        Kind.VMOV_PAIR: Timing(occupies=2),
        # A taken branch refills the pipeline: one to three cycles more.
        Kind.BRANCH: Timing(occupies=2),
    }
    return MappingProxyType({kind: special.get(kind, Timing()) for kind in Kind})


# The instruction table of the Cortex-M4 (in Arm's manual and repeated in those of vendors, such as TI SWCU192: all
# multiplications and DSP operations one cycle, LDR two of which the second overlaps a following load) and LLVM's
# ARMScheduleM4.td, which agree but for SMMLA.
CORTEX_M4 = Core(
    name="cortex-m4",
    width=1,
    timings=_single_issue(),
    source="instruction table of the Cortex-M4 in Arm's and vendors' manuals, LLVM ARMScheduleM4.td",
)

# LLVM schedules the Cortex-M33 by the Cortex-M4's model; Arm publishes no table. Its limited dual issue of 16-bit
# instructions is not modeled.
CORTEX_M33 = Core(
    name="cortex-m33",
    width=1,
    timings=_single_issue(),
    source="LLVM, which schedules it as a Cortex-M4; no table is published",
)

CORES: Mapping[str, Core] = MappingProxyType({core.name: core for core in (CORTEX_M7, CORTEX_M4, CORTEX_M33)})
