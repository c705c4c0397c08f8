# SPDX-License-Identifier: Apache-2.0
"""What the machine code of a function takes of the stack, for functions of which GCC does not know.

GCC states no frame for a naked function, whose prologue is its own affair. So the instructions that move the
stack pointer down are found in the object file: Armv7-M Architecture Reference Manual (DDI 0403E), A5.1 for the length
of an instruction and the sections named below for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

_WORD_BYTES = 4
_EM_ARM = 40


def pushed_bytes(objects: Iterable[Path]) -> dict[str, int]:
    """Bytes by which each function of Thumb object files moves the stack pointer down, all such instructions added up.

    That is the frame of a function that moves it in its prologue only, and more than it for others. Of functions with
    the same name the largest counts. Empty for object files of other machines.
    """
    most: dict[str, int] = {}
    for path in objects:
        with path.open("rb") as file:
            for name, code in _functions(ELFFile(file)):
                most[name] = max(most.get(name, 0), _moved(code))
    return most


def _functions(elf: ELFFile) -> Iterator[tuple[str, bytes]]:
    """Name and code of each function that an object file defines."""
    table = elf.get_section_by_name(".symtab")
    if elf["e_machine"] not in ("EM_ARM", _EM_ARM) or not isinstance(table, SymbolTableSection):
        return
    for symbol in table.iter_symbols():
        section = symbol["st_shndx"]
        if symbol["st_info"]["type"] == "STT_FUNC" and isinstance(section, int):
            begin = symbol["st_value"] & ~1
            yield symbol.name, bytes(elf.get_section(section).data()[begin : begin + symbol["st_size"]])


def _moved(code: bytes) -> int:
    total, place = 0, 0
    while place + 2 <= len(code):
        first = int.from_bytes(code[place : place + 2], "little")
        is_wide = first >> 11 in (0b11101, 0b11110, 0b11111)
        second = int.from_bytes(code[place + 2 : place + 4], "little") if is_wide else 0
        total += _wide(first, second) if is_wide else _narrow(first)
        place += 4 if is_wide else 2
    return total


def _narrow(code: int) -> int:
    """Of an instruction of 16 bits: PUSH, A7.7.99 T1, and SUB (SP minus immediate), A7.7.173 T1."""
    if code & 0xFE00 == 0xB400:
        return _WORD_BYTES * (code & 0x1FF).bit_count()
    return _WORD_BYTES * (code & 0x7F) if code & 0xFF80 == 0xB080 else 0


def _wide(first: int, second: int) -> int:
    """Of an instruction of 32 bits: PUSH T2 and T3, SUB (SP minus immediate) T2 and T3, STRD and VPUSH."""
    if first == 0xE92D:  # PUSH, that is STMDB SP!: A7.7.99 T2
        return _WORD_BYTES * (second & 0x5FFF).bit_count()
    if first == 0xF84D and second & 0x0FFF == 0x0D04:  # PUSH of one register: A7.7.99 T3
        return _WORD_BYTES
    if first & 0xFBEF == 0xF1AD and second & 0x8F00 == 0x0D00:  # SUB.W SP, SP: A7.7.173 T2
        return _modified_immediate((first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF)
    if first & 0xFBFF == 0xF2AD and second & 0x8F00 == 0x0D00:  # SUBW SP, SP: A7.7.173 T3
        return (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF
    if first == 0xE96D:  # STRD with writeback, downwards: A7.7.163
        return _WORD_BYTES * (second & 0xFF)
    if first & 0xFFBF == 0xED2D and second & 0x0E00 == 0x0A00:  # VPUSH: A7.7.248; its count is in words
        return _WORD_BYTES * (second & 0xFF)
    return 0


def _modified_immediate(code: int) -> int:
    """The constant that 12 bits stand for: A5.3.2."""
    octet = code & 0xFF
    if code >> 10 == 0:
        return (octet, octet << 16 | octet, octet << 24 | octet << 8, octet * 0x0101_0101)[code >> 8 & 3]
    turns = code >> 7
    value = 0x80 | code & 0x7F
    return (value >> turns | value << (32 - turns)) & 0xFFFF_FFFF
