"""The terminal's report as a picture."""

from __future__ import annotations

import io
import re

from fwdscope.render import terminal
from fwdscope.render.rows import Options, printable
from fwdscope.report import Report

_WIDTH = 110


def render(report: Report, options: Options) -> str:
    """The report as an SVG file that asks nothing of a network. The same report gives the same file."""
    from rich.console import Console
    from rich.terminal_theme import MONOKAI
    from rich.text import Text

    width = options.width or _WIDTH
    text = terminal.render(report, options._replace(width=width, color=True)).strip("\n")
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(text), "", sep="\n", soft_wrap=True)
    title = printable(f"fwdscope inspect {options.target or report.name}")
    drawn = console.export_svg(title=title, theme=MONOKAI, unique_id="fwdscope")
    # Rich's fonts come from elsewhere; the reader's own do.
    drawn = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", drawn, flags=re.S)
    return drawn.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono") + "\n"
