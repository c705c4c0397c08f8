# SPDX-License-Identifier: Apache-2.0
"""A generated network as a complete, minimal project of another build system."""

from mcucompiler.export.project import KINDS, export_project, project_files

__all__ = ["KINDS", "export_project", "project_files"]
