# SPDX-License-Identifier: Apache-2.0
"""The Python interface: ``compile_model`` and what it returns; the README shows its use."""

from __future__ import annotations

import keyword
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcucompiler import __version__
from mcucompiler.board_types import Board
from mcucompiler.boards import load_board, with_external
from mcucompiler.emit import SourceTree, emit
from mcucompiler.emit.environment import c_identifier
from mcucompiler.emit.rows import PUSH_STACK_BYTES, STATE_BYTES, check_row_graph
from mcucompiler.errors import DoesNotFitError, ToolError, UsageError
from mcucompiler.flash_fit import check_flash, fit_flash
from mcucompiler.ir.graph import Graph
from mcucompiler.lower.types import Cpu, LoweringOptions
from mcucompiler.memory.peak import describe_peak
from mcucompiler.pipeline import Goal, Hooks, Planned, import_and_rewrite, plan_graph
from mcucompiler.pixels import Pixels, parse_pixels
from mcucompiler.stream.choice import Choice
from mcucompiler.stream.rings import describe_scratch
from mcucompiler.stream.types import StreamCall

# A network called like one of these would hide a system header or collide with the runtime's files.
_RESERVED_NAMES = frozenset(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg "
    "stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype "
    "main harness manifest".split()
)
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LONGEST_NAME = 48
_INPUT_MODES = ("resident", "rows")


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What the user asks of a compilation.

    Attributes:
        name: C prefix of the network; "" to derive it from the file's name.
        board: a board's name or the path of its TOML file.
        cpu: a core instead of the board's ("cortex-m7", "cortex-m4", "host"), "" for the board's.
        ram_limit: bytes that arena and stack together may take; None for what the board has.
        flash_limit: bytes that weights, constants and code (estimated) may take; None for what the board has.
        weights: "internal", or "external": what the board has counts with its QSPI flash.
        arena: "internal", or "external": what the board has counts with its SDRAM.
        input_mode: "resident": the caller writes the input and runs; "rows": it pushes the image row by row.
        pixel_format: what a row holds, of ``pixels.FORMATS``; "" for elements of the network's own type.
        pixel_scale: with the two below what a pixel's component means, see ``pixels``; "" for the default.
        pixel_mean: one number, or one for each channel with commas between, as text: "0.485,0.456,0.406".
        pixel_std: likewise.
        io: "int8": the caller quantises; "float": the program takes and gives float32 where ONNX does.
        optimize: "speed", "ram" or "size".
        exact: "proved" or "float", see LoweringOptions.
        batch: what a dynamic batch axis is fixed to.
        shapes: shapes of inputs, by name, for other dynamic axes.
    """

    name: str = ""
    board: str = "mps2-an500"
    cpu: str = ""
    ram_limit: int | None = None
    flash_limit: int | None = None
    weights: str = "internal"
    arena: str = "internal"
    input_mode: str = "resident"
    pixel_format: str = ""
    pixel_scale: str = ""
    pixel_mean: str = ""
    pixel_std: str = ""
    io: str = "int8"
    optimize: str = "speed"
    exact: str = "proved"
    batch: int = 1
    shapes: Mapping[str, tuple[int, ...]] | None = None

    def command(self) -> str:
        """The options as one would type them, without folders; the same on every machine."""
        parts = ["mcucompiler compile"]
        board = Path(self.board).stem if self.board.endswith(".toml") else self.board
        parts.append(f"--board {board}")
        for option, value, default in (
            ("name", self.name, ""),
            ("cpu", self.cpu, ""),
            ("ram-limit", self.ram_limit, None),
            ("flash-limit", self.flash_limit, None),
            ("weights", self.weights, "internal"),
            ("arena", self.arena, "internal"),
            ("input", self.input_mode, "resident"),
            ("pixel-format", self.pixel_format, ""),
            ("pixel-scale", self.pixel_scale, ""),
            ("pixel-mean", self.pixel_mean, ""),
            ("pixel-std", self.pixel_std, ""),
            ("io", self.io, "int8"),
            ("optimize", self.optimize, "speed"),
            ("exact", self.exact, "proved"),
            ("batch", self.batch, 1),
        ):
            if value != default:
                parts.append(f"--{option} {value}")
        for name, shape in sorted((self.shapes or {}).items()):
            parts.append(f"--shape {name}={'x'.join(map(str, shape))}")
        return " ".join(parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class CompiledModel:
    """A compiled network.

    Attributes:
        options: what was asked for.
        board: the target.
        planned: the stages' values: graph, kernels, schedule, memory plan.
        tree: the generated files.
    """

    options: CompileOptions
    board: Board
    planned: Planned
    tree: SourceTree

    @property
    def graph(self) -> Graph:
        """The integer program that the reference executes and the C computes."""
        return self.planned.graph

    def write(self, directory: str | Path, *, force: bool = False) -> Path:
        """Writes the generated files; all of them or none.

        Args:
            directory: the output folder; made with its parents.
            force: write into a folder that has other content, which is left alone but for files of
                the same names.

        Raises:
            UsageError: the folder has content and ``force`` is not given, or is not a folder.
            ToolError: the disk refuses.
        """
        target = Path(directory)
        if target.exists() and not target.is_dir():
            raise UsageError(f"{str(target)!r} exists and is not a folder")
        occupied = target.is_dir() and any(target.iterdir())
        if occupied and not force:
            raise UsageError(f"the output folder {str(target)!r} is not empty; choose another or give --force")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        except OSError as error:
            raise UsageError(f"cannot write beside {str(target)!r}: {error.strerror}") from error
        try:
            for name, text in self.tree.files.items():
                (scratch / name).write_text(text, encoding="utf-8", newline="\n")
            if occupied:
                for name in sorted(self.tree.files, key=lambda name: name == "manifest.json"):
                    os.replace(scratch / name, target / name)
            else:
                if target.is_dir():
                    target.rmdir()
                scratch.chmod(0o755)
                scratch.rename(target)
        except OSError as error:
            raise ToolError(f"writing to {str(target)!r} failed: {error.strerror}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return target


def compile_model(
    model: str | Path | bytes, options: CompileOptions | None = None, *, hooks: Hooks | None = None
) -> CompiledModel:
    """Compiles an ONNX network to C.

    Args:
        model: path of an ONNX file, or its bytes.
        options: what is asked for.
        hooks: told of progress, timing and intermediate values.

    Raises:
        ModelError: the model cannot be read, is invalid or has unsupported parts.
        DoesNotFitError: arena and stack or weights exceed the board or a limit.
        BoardError: unknown board or faulty board file.
        UsageError: an impossible option.
        VerificationError: a plan of the compiler's own was refused: a defect.
    """
    options = options or CompileOptions()
    board = board_of(options)
    name = network_name(options.name, model)
    by_rows, pixels = _input_of(options)
    imported, graph = import_and_rewrite(model, batch=options.batch, shapes=options.shapes, io=options.io, hooks=hooks)
    if by_rows:
        check_row_graph(graph)
    lowering, goal = lowering_of(options, board), goal_of(options, board)

    def compiled(lowering: LoweringOptions) -> tuple[Planned, SourceTree]:
        planned = plan_graph(imported, graph, lowering, goal, hooks=hooks)
        tree = emit(
            planned.schedule,
            planned.plan,
            name=name,
            version=__version__,
            command=options.command(),
            board=board.name,
            cpu=lowering.cpu,
            by_rows=by_rows,
            pixels=pixels,
            choice=planned.choice,
        )
        return planned, tree

    flash = min((limit for limit in (options.flash_limit, board.flash_bytes) if limit is not None), default=None)
    planned, tree = fit_flash(graph, lowering, flash, compiled)
    _check_ram(planned, tree, board, options)
    check_flash(tree, flash, board.external_hint("weights") if flash == board.flash_bytes else "")
    return CompiledModel(options=options, board=board, planned=planned, tree=tree)


def board_of(options: CompileOptions) -> Board:
    """The target, with those of its external memories that are to be used.

    Raises:
        BoardError: unknown board or faulty board file.
    """
    board = load_board(options.board)
    return with_external(board, weights=options.weights == "external", arena=options.arena == "external")


def lowering_of(options: CompileOptions, board: Board) -> LoweringOptions:
    """What kernels are chosen for: where memory is to be saved, plans save it and layers keep their fast kernels."""
    optimize = "speed" if options.optimize == "ram" else options.optimize
    return LoweringOptions(cpu=_cpu(options.cpu, board), exact=options.exact, optimize=optimize)


def goal_of(options: CompileOptions, board: Board) -> Goal:
    """What the plan is to achieve."""
    by_rows, _ = _input_of(options)
    ram = _ram_bytes(board, options)
    reserved = STATE_BYTES + PUSH_STACK_BYTES if by_rows else 0
    return Goal(
        ram_bytes=None if ram is None else max(ram - reserved, 0),
        reserved_bytes=reserved,
        optimize=options.optimize,
        rows=by_rows,
    )


def network_name(wanted: str, model: str | Path | bytes) -> str:
    """The C prefix: the user's if it is a usable identifier, otherwise one made from the file's name.

    Raises:
        UsageError: a name that is no identifier or would hide a system header.
    """
    if wanted:
        if not _IDENTIFIER.fullmatch(wanted) or len(wanted) > _LONGEST_NAME:
            raise UsageError(
                f"--name {wanted!r} is not a C identifier of at most {_LONGEST_NAME} letters, digits and underscores "
                "that starts with a letter"
            )
        if wanted.lower() in _RESERVED_NAMES or wanted.lower().startswith("mc_"):
            raise UsageError(f"--name {wanted!r} would hide a header of the C library or of the runtime")
        return wanted
    stem = "network" if isinstance(model, bytes) else Path(model).name.split(".")[0]
    name = c_identifier(stem)[:_LONGEST_NAME].rstrip("_").lower()
    unusable = name in _RESERVED_NAMES or name.startswith("mc_") or keyword.iskeyword(name)
    return f"{name}_net" if unusable else name


def _cpu(wanted: str, board: Board) -> Cpu:
    known = {
        "cortex-m7": Cpu(),
        "cortex-m4": Cpu(name="cortex-m4", fpu="fpv4-sp-d16"),
        "host": Cpu(name="host", fpu="", dsp=False),
    }
    if not wanted or wanted == board.cpu.name:
        return board.cpu
    if wanted not in known:
        raise UsageError(f"--cpu {wanted!r} is unknown; known are {', '.join(known)}")
    return known[wanted]


def _ram_bytes(board: Board, options: CompileOptions) -> int | None:
    """What arena and stack may take: the board's, or less where the user says so."""
    return min((limit for limit in (options.ram_limit, board.ram_bytes) if limit is not None), default=None)


def _input_of(options: CompileOptions) -> tuple[bool, Pixels | None]:
    """Whether the input arrives by rows, and of which pixels."""
    if options.input_mode not in _INPUT_MODES:
        raise UsageError(f"input mode {options.input_mode!r} is unknown; known are {', '.join(_INPUT_MODES)}")
    by_rows = options.input_mode == "rows"
    pixels = parse_pixels(
        options.pixel_format, scale=options.pixel_scale, mean=options.pixel_mean, std=options.pixel_std
    )
    if pixels is not None and not by_rows:
        raise UsageError("--pixel-format needs --input rows")
    return by_rows, pixels


def _check_ram(planned: Planned, tree: SourceTree, board: Board, options: CompileOptions) -> None:
    ram = _ram_bytes(board, options)
    needed = tree.program.arena_bytes + tree.program.stack_bytes
    if ram is not None and needed > ram:
        raise DoesNotFitError(
            "RAM",
            needed,
            ram,
            peak=_describe_peak(planned),
            alternative=f"{needed:,} bytes is the least that any plan reaches{_cost(planned.choice, board)}; take a "
            "smaller input (--shape), a narrower network, or a board with more RAM"
            f"{board.external_hint('arena') if ram == board.ram_bytes else ''}",
        )


def _describe_peak(planned: Planned) -> str:
    """The step at the peak, the buffers there, and what a stream keeps in its scratch."""
    text = describe_peak(planned.schedule, planned.plan)
    order = planned.schedule.order
    call = planned.lowered.steps[order[planned.plan.peak_position]].call if order else None
    return f"{text}; in the scratch: {describe_scratch(call)}" if isinstance(call, StreamCall) else text


def _cost(choice: Choice, board: Board) -> str:
    """What the smallest plan costs in time."""
    if board.clock is None:
        return f", at {choice.slowdown:.2f} times the time of the fastest plan"
    milliseconds = 1000 * choice.plan.cycles / board.clock_hz
    return f", in an estimated {milliseconds:.2f} ms, {choice.slowdown:.2f} times the time of the fastest plan"
