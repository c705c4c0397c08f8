# SPDX-License-Identifier: Apache-2.0
"""A report as one HTML page that needs nothing else."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

_WIDTH = 180  # columns
_BLACK, _WHITE = (32, 32, 32), (255, 255, 255)
_PALETTE = [(0, 0, 0), (170, 0, 0), (0, 120, 0), (150, 100, 0), (0, 0, 170), (150, 0, 150), (0, 130, 130), (90, 90, 90)]
_FORMAT = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
{{stylesheet}}
body {{{{ color: {{foreground}}; background: {{background}}; margin: 2em; }}}}
pre {{{{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 85%; line-height: 1.2; }}}}
</style>
</head>
<body>
<h1>{title}</h1>
<pre><code>{{code}}</code></pre>
</body>
</html>
"""


def as_page(title: str, parts: Iterable[RenderableType]) -> str:
    """The parts of a report, set apart by blank lines, as HTML."""
    console = Console(
        record=True, file=io.StringIO(), width=_WIDTH, force_terminal=True, markup=False, highlight=False, emoji=False
    )
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str))
        console.print()
    theme = TerminalTheme(_WHITE, _BLACK, _PALETTE, _PALETTE)
    heading = html.escape(title).replace("{", "&#123;").replace("}", "&#125;")  # rich formats the page again
    return console.export_html(theme=theme, code_format=_FORMAT.format(title=heading))
