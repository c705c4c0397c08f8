# SPDX-License-Identifier: Apache-2.0
"""Bytes of code, constants and data, read from ELF files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from mcucompiler.errors import ToolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section that takes memory at run time.

    Attributes:
        name: as in the file.
        kind: "code", "rodata", "data" (with initial values) or "bss".
        address: where it runs; 0 in object files.
        size_bytes: its size.
        load_address: where the image of it lies that start-up copies; ``address`` where it is not copied.
    """

    name: str
    kind: str
    address: int
    size_bytes: int
    load_address: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes by kind."""

    code: int = 0
    rodata: int = 0
    data: int = 0
    bss: int = 0

    def __add__(self, other: Sizes) -> Sizes:
        return Sizes(
            code=self.code + other.code,
            rodata=self.rodata + other.rodata,
            data=self.data + other.data,
            bss=self.bss + other.bss,
        )


def read_sections(path: Path) -> tuple[Section, ...]:
    """The allocated sections of an object file or an executable, empty ones left out.

    Raises:
        ToolError: the file is not ELF.
    """
    try:
        with path.open("rb") as file:
            return tuple(_sections(ELFFile(file)))
    except ELFError as error:
        raise ToolError(f"{str(path)!r} is not an ELF file: {error}") from error


def _sections(elf: ELFFile) -> Iterator[Section]:
    for section in elf.iter_sections():
        flags, size = section["sh_flags"], section["sh_size"]
        if not flags & SH_FLAGS.SHF_ALLOC or size == 0 or section.name.startswith((".note", ".eh_frame")):
            continue
        if flags & SH_FLAGS.SHF_EXECINSTR:
            kind = "code"
        elif section["sh_type"] == "SHT_NOBITS":
            kind = "bss"
        else:
            kind = "data" if flags & SH_FLAGS.SHF_WRITE else "rodata"
        address = section["sh_addr"]
        yield Section(
            name=section.name,
            kind=kind,
            address=address,
            size_bytes=size,
            load_address=_load_address(elf, address) if kind != "bss" else address,
        )


def _load_address(elf: ELFFile, address: int) -> int:
    for segment in elf.iter_segments("PT_LOAD"):
        offset = address - segment["p_vaddr"]
        if 0 <= offset < segment["p_filesz"]:
            return int(segment["p_paddr"] + offset)
    return address


def total(sections: tuple[Section, ...]) -> Sizes:
    """The sum by kind."""

    def of(kind: str) -> int:
        return sum(section.size_bytes for section in sections if section.kind == kind)

    return Sizes(code=of("code"), rodata=of("rodata"), data=of("data"), bss=of("bss"))
