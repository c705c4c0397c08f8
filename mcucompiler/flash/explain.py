# SPDX-License-Identifier: Apache-2.0
"""What the complaints of the programs that flash mean, and what to do.

The patterns are what OpenOCD 0.12, pyOCD 0.36 to 0.38, st-flash 1.7 and dfu-util 0.11 print.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mcucompiler.board_types import Board

UDEV_RULE = 'SUBSYSTEM=="usb", ATTRS{idVendor}=="0483", MODE="0660", TAG+="uaccess"'
"""Gives whoever sits at the computer access to ST's probes and boot loaders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A known failure.

    Attributes:
        pattern: found in what the program prints.
        meaning: what went wrong.
        advice: what to do; {chip}, {board} and {target} stand for the board's.
    """

    pattern: re.Pattern[str]
    meaning: str
    advice: str


def _failure(pattern: str, meaning: str, advice: str) -> Failure:
    return Failure(pattern=re.compile(pattern, re.IGNORECASE), meaning=meaning, advice=advice)


# In order: what comes first is nearer to the cause of what comes after it.
_FAILURES = (
    _failure(
        r"LIBUSB_ERROR_ACCESS|insufficient permissions|Permission denied|Access denied",
        "the USB device is there, but this user may not use it",
        "on Linux write this line to /etc/udev/rules.d/60-mcucompiler.rules:\n"
        f"      {UDEV_RULE}\n"
        "    then `sudo udevadm control --reload && sudo udevadm trigger`, and plug the board in again",
    ),
    _failure(
        r"LIBUSB_ERROR_BUSY|resource busy|already in use|claimed by another",
        "another program holds the probe",
        "end the debugger, IDE or GDB server that has it open",
    ),
    _failure(
        r"No DFU capable USB device",
        "no boot loader answers on USB",
        "bring the board into its boot loader: the pin BOOT (BOOT0) must be high when it gets power, so connect it to "
        "3.3 V (on OpenMV cameras BOOT to RST does the same) and plug the board in; use a cable that carries data",
    ),
    _failure(
        r"No (available |connected )?debug probes|Couldn't find any ST-?Link|unable to find a matching CMSIS-DAP"
        r"|No (device|adapter|J-Link device)s? found|LIBUSB_ERROR_N(OT_FOUND|O_DEVICE)|open failed",
        "no debug probe was found",
        "plug the board in by the USB socket of its ST-LINK, with a cable that carries data; boards without a probe "
        "need one on their SWD pins",
    ),
    _failure(
        r"target type \S+ not recognized|unknown target",
        "pyOCD does not know {target}",
        "install its description: `pyocd pack update && pyocd pack install {target}`; or --runner openocd",
    ),
    _failure(
        r"device protected|read ?out protect|read protect|\bRDP\b|target is locked|is locked|security bit",
        "the chip is locked against reading and writing",
        "unlock it, which erases all of it: with STM32CubeProgrammer (`STM32_Programmer_CLI -c port=SWD -rdu`), or "
        "`pyocd commander -t {target} -c unlock`",
    ),
    _failure(
        r"UNEXPECTED idcode|expected 1 of 1|Cannot identify target|unknown chip id|unsupported (device|chip)"
        r"|wrong (device|chip)|does not match the target|auto_probe failed",
        "this is not the chip that board {board} has: {chip}",
        "check which board is plugged in, and give its name with --board",
    ),
    _failure(
        r"is not writ[e]?able|not in any (known )?memory|No flash (bank|region)|outside of (any )?flash"
        r"|no flash memory (is )?defined",
        "the chip has no flash where the firmware belongs",
        "check that the board's file states the flash of {chip}, and give the right name with --board",
    ),
    _failure(
        r"unable to connect to the target|init mode failed|Failed to (enter|connect)|No ACK"
        r"|SWD/JTAG communication failure|Can not connect to target|target not halted|DAP .*(fault|error)|jtag status",
        "the probe is there, but the chip does not answer it",
        "check the board's power and the SWD wires; hold the reset button while flashing starts and let go then",
    ),
    _failure(
        r"verif(y|ication) (failed|error|mismatch)|checksum mismatch|contents differ",
        "what was written is not what is read back",
        "flash again; if it happens every time, use a shorter cable and check the board's power",
    ),
    _failure(
        r"(can't|couldn't|cannot) (find|open) .*\.cfg",
        "the installed OpenOCD lacks the configuration of this board",
        "install OpenOCD 0.12 or newer, or use another of the board's runners with --runner",
    ),
)


def explain(output: str, board: Board) -> tuple[str, str] | None:
    """What a program's complaint means, and what to do; None for one that is not known."""
    for failure in _FAILURES:
        if failure.pattern.search(output):
            chip = board.flash.chip if board.flash and board.flash.chip else "the one of its description"
            target = board.flash.pyocd_target if board.flash and board.flash.pyocd_target else "cortex_m"
            words = {"{chip}": chip, "{board}": board.name, "{target}": target}
            meaning, advice = failure.meaning, failure.advice
            for word, value in words.items():
                meaning, advice = meaning.replace(word, value), advice.replace(word, value)
            return meaning, advice
    return None
