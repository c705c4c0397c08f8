# SPDX-License-Identifier: Apache-2.0
"""Which region of a board holds what, and the linker script that says so."""

from __future__ import annotations

from collections.abc import Mapping

from mcucompiler.board_types import RUNTIME_DATA_BYTES, Board, Region
from mcucompiler.build.board_header import stack_guard
from mcucompiler.build.harness import FENCE_BYTES
from mcucompiler.emit.environment import environment
from mcucompiler.errors import DoesNotFitError
from mcucompiler.manifest import Manifest

ARENA_ALIGN_BYTES = 32
FENCES_BYTES = 2 * FENCE_BYTES + 2 * ARENA_ALIGN_BYTES
"""What firmware that tests a network puts around its arena."""


def place_contents(manifest: Manifest, board: Board, *, frame_bytes: int = 0) -> dict[str, Region]:
    """A region for each content: the first that may hold it, and where its size is known, has the room.

    The board's order of regions is that of preference, so the arena goes to the fastest memory with room for it. Empty
    for the host.

    Args:
        manifest: of the network.
        board: the target.
        frame_bytes: of the image that a harness keeps outside of the arena to feed it by rows.

    Raises:
        DoesNotFitError: no region has the room.
    """
    if board.is_host:
        return {}
    wanted = {"arena": manifest.memory.arena_bytes, "weights": manifest.memory.weights_bytes}
    place: dict[str, Region] = {}
    for content in ("vectors", "text", "rodata", "data", "stack", "weights", "arena"):
        place[content] = _region_for(manifest, board, content, wanted.get(content, 0), place)
    place["frame"] = _region_for_frame(manifest, board, frame_bytes, place)
    return place


def _region_for_frame(manifest: Manifest, board: Board, needed: int, place: Mapping[str, Region]) -> Region:
    """Where there is most room beside the arena, which has the better memory."""

    def room(region: Region) -> int:
        arena = manifest.memory.arena_bytes if place["arena"] is region else 0
        return region.length - _stack(region, board, place) - FENCES_BYTES - _data(region, place) - arena

    roomiest = max(board.holding("arena"), key=room)
    if needed > room(roomiest) and needed:
        raise DoesNotFitError(
            "RAM",
            needed,
            max(room(roomiest), 0),
            peak=f"the image of {manifest.name!r} on board {board.name!r}, which a harness keeps outside of the arena",
            alternative="choose a larger board, or an application of your own that has no more than a row",
        )
    return roomiest if needed else place["arena"]


def _region_for(manifest: Manifest, board: Board, content: str, needed: int, place: Mapping[str, Region]) -> Region:
    candidates = board.holding(content)
    room = {region.name: region.length for region in candidates}
    spare = dict.fromkeys(room, 0)
    if content == "arena":
        room = {region.name: region.length - _stack(region, board, place) for region in candidates}
        spare = {region.name: FENCES_BYTES + _data(region, place) for region in candidates}
    # With room to spare for the runtime's data if possible; else the linker tells whether they fit too.
    for reserve in (1, 0):
        for region in candidates:
            if room[region.name] - reserve * spare[region.name] >= needed:
                return region
    available = max(room.values())
    raise DoesNotFitError(
        "RAM" if content == "arena" else "flash",
        needed,
        available,
        peak=f"the {content} of {manifest.name!r} on board {board.name!r}",
        alternative=(
            f"compile with --ram-limit {available}, or choose a larger board"
            if content == "arena"
            else "choose a board with more memory for weights"
        )
        + board.external_hint(content),
    )


def _data(region: Region, place: Mapping[str, Region]) -> int:
    return RUNTIME_DATA_BYTES if place["data"] is region else 0


def _stack(region: Region, board: Board, place: Mapping[str, Region]) -> int:
    return board.stack_bytes if place["stack"] is region else 0


def place_kernels(board: Board, size_bytes: int) -> Region | None:
    """A region of its own for the network's kernels: the first that may hold them and has the room, None for none."""
    return next((region for region in board.holding("kernels") if 0 < size_bytes <= region.length), None)


def linker_script(
    board: Board,
    place: Mapping[str, Region],
    *,
    weights: tuple[str, ...],
    kernels: tuple[str, ...],
    arena_bytes: int,
    needs_arena: bool = True,
) -> str:
    """The linker script.

    Args:
        board: the target.
        place: region of each content, and of "kernels" where they have one.
        weights: patterns of the object files that hold the network's constants.
        kernels: patterns of those that hold its kernels.
        arena_bytes: the network's arena.
        needs_arena: whether to insist on it; a user's application may keep it where it likes.
    """
    return (
        environment()
        .get_template("linker.ld.j2")
        .render(
            board=board,
            place={content: region.name for content, region in place.items()},
            weights=weights,
            kernels=kernels if "kernels" in place else (),
            arena_bytes=arena_bytes,
            needs_arena=needs_arena,
            guarded=stack_guard(board) != 0,
        )
    )
