# SPDX-License-Identifier: Apache-2.0
"""Building generated C: toolchains, link maps, sizes, stack bounds."""

from mcucompiler.build.firmware import BuildResult, build_firmware, read_build
from mcucompiler.build.program import Flavor, Program, build_program

__all__ = ["BuildResult", "Flavor", "Program", "build_firmware", "build_program", "read_build"]
