# SPDX-License-Identifier: Apache-2.0
"""The command line: options, exit codes, and what is said when something fails."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from mcucompiler import __version__
from mcucompiler.commands import bench, boards, build, compile, export, flash, ops, plan, report, run, validate
from mcucompiler.commands.session import Session
from mcucompiler.errors import McuCompilerError, ToolError

EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141  # as shells report a program that SIGPIPE ended

_COMMANDS: dict[str, ModuleType] = {
    "compile": compile,
    "plan": plan,
    "build": build,
    "run": run,
    "validate": validate,
    "bench": bench,
    "flash": flash,
    "export": export,
    "report": report,
    "boards": boards,
    "ops": ops,
}
_EPILOG = """\
exit codes: 0 done, 1 the model, 2 usage, 3 does not fit, 4 a tool, a device or the disk,
5 validation found a mismatch, 70 a defect of mcucompiler
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="mcucompiler",
        description="Compile int8 ONNX networks to exact, small and fast C for microcontrollers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mcucompiler {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        module.configure(command)
        command.add_argument("-v", "--verbose", action="store_true", help="say more; show where an error arose")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command line without the program's name; None for that of the process.

    Returns:
        The exit code.
    """
    parsed = make_parser().parse_args(arguments)
    session = Session(verbose=parsed.verbose)
    try:
        code = int(_COMMANDS[parsed.command].run(parsed, session))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        session.complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return EXIT_BROKEN_PIPE
    except McuCompilerError as error:
        return _failed(session, str(error), error.exit_code)
    except OSError as error:
        return _failed(session, _describe(error), ToolError.exit_code)
    except Exception as error:
        message = (
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a defect of mcucompiler; please report it with the command and, if you may, the model."
        )
        if not session.verbose:
            message += "\nThe same command with --verbose shows where it arose."
        return _failed(session, message, EXIT_INTERNAL)


def exit_with_code() -> NoReturn:
    """Run the process's command line and end the process with its exit code."""
    raise SystemExit(main())


def _failed(session: Session, message: str, code: int) -> int:
    if session.verbose:
        session.err.print(traceback.format_exc())
    session.complain(message)
    return code


def _describe(error: OSError) -> str:
    names = [repr(str(name)) for name in (error.filename, error.filename2) if name is not None]
    return f"{error.strerror or error}" + (f": {', '.join(names)}" if names else "")


def _discard_output() -> None:
    """Let the interpreter's last flush go nowhere, so that it does not complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
