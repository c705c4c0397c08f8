# SPDX-License-Identifier: Apache-2.0
"""The error of the back end."""

from __future__ import annotations

from mcucompiler.errors import McuCompilerError


class MachineError(McuCompilerError):
    """A block that cannot be expressed: an operand out of range, or more live values than registers.

    Users cannot cause this: a kernel generator asked for something that the core does not have, so it
    ends with the exit code of an internal error.
    """

    exit_code = 70
