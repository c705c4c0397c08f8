# SPDX-License-Identifier: Apache-2.0
"""How talking to a device fails; every message says what to do."""

from __future__ import annotations

from mcucompiler.errors import ToolError
from mcucompiler.link.messages import Fault


class LinkError(ToolError):
    """The port cannot be opened, is gone, or nothing comes through it."""


class DeviceError(ToolError):
    """The device answers, but not as it should: other firmware, another network, a refused request."""


class FaultError(DeviceError):
    """The network's program faulted; the device has begun afresh and can be used again.

    Args:
        message: what happened, with registers.
        fault: the record.
    """

    def __init__(self, message: str, fault: Fault) -> None:
        self.fault = fault
        super().__init__(message)
