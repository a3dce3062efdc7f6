"""A changed text as a unified diff, which ``patch -p1`` and ``git apply`` take."""

from __future__ import annotations

import re
from difflib import unified_diff

from fwdscope.render.lines import write

_COLOURS = {"": "", "head": "bold", "place": "cyan", "-": "red", "+": "green"}


def patch(name: str, before: str, after: str, color: bool = False) -> str:
    """The lines that differ, with three around them; empty where none does. Line ends stay what they are."""
    place = name.lstrip("/")
    lines = unified_diff(_lines(before), _lines(after), f"a/{place}", f"b/{place}")
    texts = [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
    return write(([_styled(text)] for text in texts), True, _COLOURS) if color else "".join(texts)


def _lines(text: str) -> list[str]:
    """Lines with their ends, cut where an editor sees a new line and nowhere else."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _styled(line: str) -> tuple[str, str]:
    style = "head" if line.startswith(("--- ", "+++ ")) else "place" if line.startswith("@@") else line[:1]
    return line.rstrip("\r\n"), style if style in _COLOURS else ""
