"""The terminal's report as a picture."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwdscope.printable import printable
from fwdscope.render import terminal
from fwdscope.render.rows import Options
from fwdscope.report import Report

if TYPE_CHECKING:
    from rich.text import Text

_WIDTH = 110


def render(report: Report, options: Options) -> str:
    """The report as an SVG file that asks nothing of a network. The same report gives the same file."""
    from rich.text import Text

    width = options.width or _WIDTH
    text = terminal.render(report, options._replace(width=width, color=True)).strip("\n")
    return picture([Text.from_ansi(text)], width, f"fwdscope inspect {options.target or report.name}")


def picture(lines: Sequence[Text], width: int, title: str) -> str:
    """Lines of a terminal as an SVG file."""
    from rich.console import Console
    from rich.terminal_theme import MONOKAI

    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(*lines, "", sep="\n", soft_wrap=True)
    drawn = console.export_svg(title=printable(title), theme=MONOKAI, unique_id="fwdscope")
    # Rich's fonts come from elsewhere; the reader's own do.
    drawn = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", drawn, flags=re.S)
    return drawn.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono") + "\n"
