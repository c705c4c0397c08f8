# SPDX-License-Identifier: Apache-2.0
"""Clock trees of STM32 microcontrollers, and the rules that a board's tree must keep.

Sources of the limits: RM0090 (STM32F4) 3.5.1, 5.1.3, 6.3; RM0385 and RM0410 (STM32F7) 3.3.2, 4.1.4, 5.3;
RM0433 (STM32H7) 4.3.8, 6.6.2, 8.7, and the data sheets' tables of general operating conditions. Flash wait
states are those for 2.7 V to 3.6 V.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mcucompiler.fields import Fields

_MHZ = 1_000_000
_AHB_DIVIDERS = (1, 2, 4, 8, 16, 64, 128, 256, 512)
_APB_DIVIDERS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What one voltage scale allows, in Hz.

    Attributes:
        core: greatest core clock; with the over-drive, where there is one, ``over_drive``.
        over_drive: likewise, with it on; 0 where there is none at this scale.
        ahb: greatest clock of the AHB and of the flash; 0 for that of the core.
        apb1: greatest clock of the first peripheral bus.
        apb2: of the second.
        flash: greatest AHB clock for 0, 1, 2... wait states.
    """

    core: int
    over_drive: int = 0
    ahb: int = 0
    apb1: int
    apb2: int
    flash: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRules:
    """The limits of a family.

    Attributes:
        source: least and greatest frequency of crystal or external clock.
        pll_input: of the PLL's input, after division by M.
        vco: of its oscillator.
        m: least and greatest divider of the input.
        n: least and greatest multiplier.
        p: dividers of the output.
        power: by voltage scale.
    """

    source: tuple[int, int]
    pll_input: tuple[int, int]
    vco: tuple[int, int]
    m: tuple[int, int]
    n: tuple[int, int]
    p: tuple[int, ...]
    power: Mapping[int, Power]


def _steps(mhz: float, count: int, top: float) -> tuple[int, ...]:
    """Limits for 0, 1, 2... wait states that grow by equal steps up to ``top``; all in MHz."""
    return tuple(int(min(mhz * (index + 1), top) * _MHZ) for index in range(count))


def _f7(core: int, over_drive: int) -> Power:
    buses = {"apb1": 54 * _MHZ, "apb2": 108 * _MHZ}
    return Power(core=core * _MHZ, over_drive=over_drive * _MHZ, flash=_steps(30, 8, 216), **buses)


def _h7(core: int, ahb: int, flash: tuple[int, ...]) -> Power:
    apb = ahb * _MHZ // 2
    return Power(core=core * _MHZ, ahb=ahb * _MHZ, apb1=apb, apb2=apb, flash=tuple(mhz * _MHZ for mhz in flash))


_F4 = ClockRules(
    source=(4 * _MHZ, 26 * _MHZ),
    pll_input=(950_000, 2_100_000),
    vco=(100 * _MHZ, 432 * _MHZ),
    m=(2, 63),
    n=(50, 432),
    p=(2, 4, 6, 8),
    power={
        1: Power(core=168 * _MHZ, apb1=42 * _MHZ, apb2=84 * _MHZ, flash=_steps(30, 6, 168)),
        2: Power(core=144 * _MHZ, apb1=42 * _MHZ, apb2=84 * _MHZ, flash=_steps(30, 5, 144)),
    },
)

RULES: Mapping[str, ClockRules] = {
    "stm32f4": _F4,
    "stm32f7": replace(_F4, power={1: _f7(180, 216), 2: _f7(168, 180), 3: _f7(144, 0)}),
    "stm32h7": ClockRules(
        source=(4 * _MHZ, 48 * _MHZ),
        pll_input=(1 * _MHZ, 16 * _MHZ),
        vco=(192 * _MHZ, 960 * _MHZ),
        m=(1, 63),
        n=(4, 512),
        p=(1, *range(2, 129, 2)),
        power={
            0: _h7(480, 240, (70, 140, 210, 225, 240)),
            1: _h7(400, 200, (70, 140, 200)),
            2: _h7(300, 150, (55, 110, 150)),
            3: _h7(200, 100, (45, 90, 100)),
        },
    ),
}
"""By family: what ``soc`` may be, other than one without a clock tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockTree:
    """From the oscillator to the buses.

    Attributes:
        source: "crystal", or "external" for a clock that another chip supplies.
        source_hz: its frequency.
        pll_m: divides the source.
        pll_n: multiplies that.
        pll_p: divides the oscillator to the core clock.
        ahb_divider: core clock to AHB clock; the cores of the STM32F4 and F7 run at the AHB clock.
        apb1_divider: AHB clock to that of the first peripheral bus.
        apb2_divider: to that of the second.
        flash_wait_states: of the internal flash.
        voltage_scale: of the core's regulator, as the reference manual numbers it.
        over_drive: whether the STM32F7's over-drive is on.
    """

    source: str
    source_hz: int
    pll_m: int
    pll_n: int
    pll_p: int
    ahb_divider: int
    apb1_divider: int
    apb2_divider: int
    flash_wait_states: int
    voltage_scale: int
    over_drive: bool

    @property
    def vco_hz(self) -> int:
        """The PLL's oscillator."""
        return self.source_hz * self.pll_n // self.pll_m

    @property
    def system_hz(self) -> int:
        """The PLL's output."""
        return self.source_hz * self.pll_n // (self.pll_m * self.pll_p)

    @property
    def ahb_hz(self) -> int:
        """The AHB."""
        return self.system_hz // self.ahb_divider


def read_clock(fields: Fields, soc: str, clock_hz: int) -> ClockTree:
    """The clock tree of a board file's ``[clock]``.

    Args:
        fields: the table.
        soc: the family, a key of RULES.
        clock_hz: the core clock that the board promises.

    Raises:
        BoardError: a key is missing or unknown, or a value breaks a rule of the family.
    """
    dividers = ("ahb_divider", "apb1_divider", "apb2_divider")
    numbers = ("source_hz", "pll_m", "pll_n", "pll_p", *dividers, "flash_wait_states", "voltage_scale")
    fields.only("source", *numbers, "over_drive")
    tree = ClockTree(
        source=fields.choice("source", ("crystal", "external")),
        over_drive=fields.get("over_drive", bool, False),
        **{key: fields.natural(key) for key in numbers},
    )
    rules = RULES[soc]
    _within(fields, "source_hz", tree.source_hz, rules.source)
    _within(fields, "pll_m", tree.pll_m, rules.m)
    _within(fields, "pll_n", tree.pll_n, rules.n)
    if tree.pll_p not in rules.p:
        raise fields.fail("pll_p", f"is {tree.pll_p}, which the PLL of {soc} cannot divide by")
    for key in dividers:
        allowed = _AHB_DIVIDERS if key == "ahb_divider" else _APB_DIVIDERS
        if getattr(tree, key) not in allowed:
            raise fields.fail(key, f"is {getattr(tree, key)}; it must be one of {', '.join(map(str, allowed))}")
    _within(fields, "pll_m", tree.source_hz / tree.pll_m, rules.pll_input, "makes a PLL input of")
    _within(fields, "pll_n", tree.vco_hz, rules.vco, "makes a PLL oscillator of")
    if tree.voltage_scale not in rules.power:
        raise fields.fail("voltage_scale", f"is {tree.voltage_scale}; {soc} has {', '.join(map(str, rules.power))}")
    _check_frequencies(fields, tree, rules.power[tree.voltage_scale], soc, clock_hz)
    return tree


def _check_frequencies(fields: Fields, tree: ClockTree, power: Power, soc: str, clock_hz: int) -> None:
    core_hz = tree.system_hz if soc == "stm32h7" else tree.ahb_hz
    if core_hz != clock_hz:
        raise fields.fail("pll_n", f"makes a core clock of {core_hz} Hz, 'clock_hz' promises {clock_hz}")
    if tree.over_drive and not power.over_drive:
        raise fields.fail("over_drive", f"does not exist for {soc} at voltage scale {tree.voltage_scale}")
    _at_most(fields, "voltage_scale", "core clock", core_hz, power.over_drive if tree.over_drive else power.core)
    _at_most(fields, "ahb_divider", "AHB clock", tree.ahb_hz, power.ahb or core_hz)
    _at_most(fields, "apb1_divider", "APB1 clock", tree.ahb_hz // tree.apb1_divider, power.apb1)
    _at_most(fields, "apb2_divider", "APB2 clock", tree.ahb_hz // tree.apb2_divider, power.apb2)
    if tree.flash_wait_states >= len(power.flash):
        raise fields.fail(
            "flash_wait_states", f"is {tree.flash_wait_states}; more than {len(power.flash) - 1} help none"
        )
    _at_most(fields, "flash_wait_states", "flash clock", tree.ahb_hz, power.flash[tree.flash_wait_states])


def _within(fields: Fields, key: str, value: float, limits: tuple[int, int], what: str = "is") -> None:
    if not limits[0] <= value <= limits[1]:
        raise fields.fail(key, f"{what} {value:g}; allowed are {limits[0]} to {limits[1]}")


def _at_most(fields: Fields, key: str, what: str, value: int, limit: int) -> None:
    if value > limit:
        raise fields.fail(key, f"does not allow the {what} of {value} Hz; at most {limit} Hz")
