# SPDX-License-Identifier: Apache-2.0
"""Getting firmware onto boards: which program does it, its command line, and what its complaints mean."""

from mcucompiler.flash.flashing import FlashError, flash
from mcucompiler.flash.image import write_image
from mcucompiler.flash.runners import FlashPlan, plan_flash

__all__ = ["FlashError", "FlashPlan", "flash", "plan_flash", "write_image"]
