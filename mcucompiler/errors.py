# SPDX-License-Identifier: Apache-2.0
"""The exception tree: every way in which a command can fail, with its exit code.

Anything that a user can cause is one of these; the command line prints the message and ends with
``exit_code``. Whatever else escapes is a defect of ours and ends with 70.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mcucompiler.words import counted


class McuCompilerError(Exception):
    """Base of all errors that are reported to the user."""

    exit_code: ClassVar[int] = 70


class UsageError(McuCompilerError):
    """A bad option, an output folder that exists, a missing argument."""

    exit_code = 2


class ModelError(McuCompilerError):
    """A model that cannot be read or is not valid.

    Args:
        message: what is wrong.
        node: name of the ONNX node, where one is at fault.
        op_type: its operator.
        found: what the model says.
        supported: what would have been accepted.
        hint: what the user can do about it.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        node: str = "",
        op_type: str = "",
        found: str = "",
        supported: str = "",
        hint: str = "",
    ) -> None:
        self.message, self.node, self.op_type = message, node, op_type
        self.found, self.supported, self.hint = found, supported, hint
        where = f"node {node!r}" + (f" ({op_type})" if op_type else "") + ": " if node else ""
        details = [
            f"  {label}: {text}"
            for label, text in (("found", found), ("supported", supported), ("what to do", hint))
            if text
        ]
        super().__init__("\n".join([where + message, *details]))


class UnsupportedOperatorError(ModelError):
    """Operators outside the compiler's reach, all of a model's at once.

    Args:
        nodes: pairs of (node name, what is unsupported about it).
    """

    def __init__(self, nodes: Sequence[tuple[str, str]]) -> None:
        self.nodes = tuple(nodes)
        lines = "\n".join(f"  {name!r}: {reason}" for name, reason in self.nodes)
        super().__init__(
            f"{counted(len(self.nodes), 'unsupported node')}:\n{lines}",
            hint="`mcucompiler ops` lists what is supported; replace these operators or cut the graph before them",
        )


class DoesNotFitError(McuCompilerError):
    """The network needs more memory than the board or the limit gives.

    Args:
        what: "RAM" or "flash".
        needed_bytes: bytes the network needs.
        available_bytes: bytes there are.
        peak: the step at which the need is greatest, with its live buffers.
        alternative: the cheapest change that would fit.
    """

    exit_code = 3

    def __init__(
        self, what: str, needed_bytes: int, available_bytes: int, *, peak: str = "", alternative: str = ""
    ) -> None:
        self.what, self.needed_bytes, self.available_bytes = what, needed_bytes, available_bytes
        self.peak, self.alternative = peak, alternative
        lines = [f"does not fit: {needed_bytes:,} bytes of {what} needed, {available_bytes:,} available"]
        if peak:
            lines.append(f"  peak: {peak}")
        if alternative:
            lines.append(f"  what to do: {alternative}")
        super().__init__("\n".join(lines))


class BoardError(McuCompilerError):
    """An unknown board, or a board file with a wrong key or value."""

    exit_code = 2


class ToolError(McuCompilerError):
    """A compiler, emulator or device that failed or is missing.

    Args:
        message: what was attempted.
        command: the command line, where there was one.
        returncode: its exit code.
        stderr: what it printed; the last lines are shown.
    """

    exit_code = 4

    def __init__(
        self, message: str, *, command: Sequence[str] = (), returncode: int | None = None, stderr: str = ""
    ) -> None:
        self.command, self.returncode, self.stderr = tuple(command), returncode, stderr
        lines = [message]
        if command:
            lines.append(f"  command: {' '.join(command)}")
        if returncode is not None:
            lines.append(f"  exit code: {returncode}")
        lines += [f"  | {line}" for line in stderr.strip().splitlines()[-12:]]
        super().__init__("\n".join(lines))


class ValidationMismatchError(McuCompilerError):
    """The program's outputs differ from what they must equal."""

    exit_code = 5


class VerificationError(McuCompilerError):
    """A verifier refused a value that the compiler itself produced: a defect of the compiler."""

    exit_code = 70

    def __init__(self, stage: str, causes: Sequence[str], *, dump: str = "") -> None:
        self.stage, self.causes = stage, tuple(causes)
        lines = [
            f"internal error: the {stage} verifier refused the plan; this is a defect of mcucompiler, please report it"
        ]
        lines += [f"  - {cause}" for cause in self.causes[:20]]
        if dump:
            lines.append(f"  dump: {dump}")
        super().__init__("\n".join(lines))
