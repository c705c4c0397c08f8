# SPDX-License-Identifier: Apache-2.0
"""Frontend: an ONNX file to the graph.

`import_model` is all that other parts use. Inside, `reader` loads and checks the file, `structure`
looks at how the graph hangs together, `dims` makes input shapes static, `importer` walks the nodes
in order, folding constants (`constants`) and calling a converter from `operators` for each, which
emit into a `builder`; `settle` completes the quantisation of integer tensors at the end.
"""

from __future__ import annotations

from mcucompiler.frontend.importer import import_model

__all__ = ["import_model"]
