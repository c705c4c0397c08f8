# SPDX-License-Identifier: Apache-2.0
"""The bytes that go into flash, for programs that do not read ELF."""

from __future__ import annotations

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from mcucompiler.errors import ToolError

_ERASED = b"\xff"


def write_image(elf: Path, target: Path, address: int, limit: int) -> None:
    """Write what an ELF file loads, from an address on, as plain bytes.

    Args:
        elf: the firmware.
        target: the file to write.
        address: where its first byte goes.
        limit: one past the last address that may be written.

    Raises:
        ToolError: the firmware begins elsewhere, reaches beyond, or is not ELF.
    """
    pieces = _pieces(elf)
    begin, end = pieces[0][0], max(start + len(data) for start, data in pieces)
    if begin != address:
        raise ToolError(
            f"{str(elf)!r} begins at {begin:#x}, the board's description flashes at {address:#x}\n"
            "  what to do: make 'stflash_address' or 'dfu_address' of the board file the origin of its flash region"
        )
    if end > limit:
        raise ToolError(
            f"{str(elf)!r} has parts outside of the flash at {address:#x}, which a plain image cannot hold\n"
            "  what to do: use a runner that reads ELF files: --runner pyocd or --runner openocd"
        )
    image = bytearray(_ERASED * (end - begin))
    for start, data in pieces:
        image[start - begin : start - begin + len(data)] = data
    target.write_bytes(bytes(image))


def _pieces(elf: Path) -> list[tuple[int, bytes]]:
    """Load address and bytes of each segment that has any, in order."""
    try:
        with elf.open("rb") as file:
            segments = [
                (int(segment["p_paddr"]), bytes(segment.data()))
                for segment in ELFFile(file).iter_segments()
                if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]
            ]
    except ELFError as error:
        raise ToolError(f"{str(elf)!r} is not an ELF file: {error}") from error
    if not segments:
        raise ToolError(f"{str(elf)!r} holds nothing to flash")
    return sorted(segments)
