"""Lines of styled pieces → text, with colour where it is wanted."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence


def drawn(lines: Iterable[Sequence[tuple[str, str]]], colours: Mapping[str, str], width: int, color: bool) -> str:
    """The lines as text. ``colours`` gives each style Rich's name for it; Rich is loaded only for colour."""
    if not color:
        return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)
    from rich.console import Console
    from rich.text import Text

    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system="standard", highlight=False)
    for line in lines:
        console.print(Text.assemble(*((text, colours[style]) for text, style in line)), no_wrap=True, crop=False)
    return file.getvalue()
