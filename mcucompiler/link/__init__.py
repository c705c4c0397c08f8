# SPDX-License-Identifier: Apache-2.0
"""The computer's side of the serial protocol: frames, requests, and a device that runs a network."""

from mcucompiler.link.client import Client
from mcucompiler.link.device import Device, DeviceRun
from mcucompiler.link.errors import DeviceError, FaultError, LinkError
from mcucompiler.link.messages import Fault, Hello
from mcucompiler.link.port import DEFAULT_BAUD, Port, open_port

__all__ = [
    "DEFAULT_BAUD",
    "Client",
    "Device",
    "DeviceError",
    "DeviceRun",
    "Fault",
    "FaultError",
    "Hello",
    "LinkError",
    "Port",
    "open_port",
]
