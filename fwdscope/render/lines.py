"""Lines of styled text: measured, shortened, wrapped, and written with or without colour.

A line is pieces of text, each with a style in Rich's words (``bold``, ``dim italic``, ``green``) or a name that the
writer maps to one. Nothing here needs Rich.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

from fwdscope.language.problems import width as width_of
from fwdscope.printable import escaped

Line = Sequence[tuple[str, str]]

# Sentences wider than this are hard to read.
MAX_PROSE = 100
ELLIPSIS = "…"
SEPARATOR = "  ·  "

# Select Graphic Rendition, ECMA-48 8.3.117.
_CODES = {
    "bold": "1", "dim": "2", "italic": "3", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35",
    "cyan": "36",
}  # fmt: skip


def takes_color(stream: TextIO) -> bool:
    """Whether to write colours to a stream: NO_COLOR, FORCE_COLOR and TERM decide, as Rich reads them."""
    forced, terminal = os.environ.get("FORCE_COLOR"), os.environ.get("TERM", "").lower()
    if os.environ.get("NO_COLOR") or terminal in ("dumb", "unknown"):
        return False
    # Consoles of Windows before its Terminal print the codes.
    reads_codes = os.name != "nt" or bool({"WT_SESSION", "ANSICON", "TERM", "TERM_PROGRAM"} & os.environ.keys())
    return stream.isatty() and reads_codes if forced is None else forced != ""


def write(lines: Iterable[Line], color: bool, styles: Mapping[str, str] | None = None) -> str:
    """The lines as text; ``styles`` maps the names of styles that are not Rich's own."""
    if not color:
        return "".join(escaped("".join(text for text, _ in line)).rstrip() + "\n" for line in lines)
    return "".join(_colored(line, styles or {}) + "\n" for line in lines)


def _colored(line: Line, styles: Mapping[str, str]) -> str:
    pieces = list(line)
    while pieces and not pieces[-1][0].strip():
        pieces.pop()
    if pieces:
        pieces[-1] = (pieces[-1][0].rstrip(), pieces[-1][1])
    texts = []
    for text, style in pieces:
        codes = ";".join(_CODES[word] for word in styles.get(style, style).split())
        text = escaped(text)
        texts.append(f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text)
    return "".join(texts)


def cells(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return len(text) if text.isascii() else width_of(text)


def pad(text: str, width: int, right: bool = False) -> str:
    """The text filled with spaces to a width, at its left if ``right``."""
    space = " " * (width - cells(text))
    return space + text if right else text + space


def shorten(text: str, width: int, cut: str = "end") -> str:
    """The text in a width, with an ellipsis for what is left out of its ``middle`` or its ``end``."""
    if cells(text) <= width:
        return text
    if cut == "end":
        return _first(text, width - 1).rstrip() + ELLIPSIS
    behind = _first(text[::-1], (width - 1) // 2)[::-1]
    front = _first(text, width - 1 - cells(behind))
    return front + " " * (width - 1 - cells(front) - cells(behind)) + ELLIPSIS + behind


def _first(text: str, width: int) -> str:
    """As many of the first characters as fit."""
    kept = text[: max(0, width)]
    while cells(kept) > width:
        kept = kept[:-1]
    return kept


# A number stays on one line with its unit.
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:[KMGTPE](?:i?B|FLOPs?)?(?:/s)?|B(?:/s)?|FLOPs?(?:/s)?|[mµn]?s|[%×])(?:\W|$))")
_NO_BREAK = "\N{NO-BREAK SPACE}"


def wrap(text: str, width: int, indent: str = "", hang: str | None = None) -> list[str]:
    """A sentence in lines, broken at spaces; ``indent`` begins the first line and ``hang`` the others."""
    joined = _BEFORE_UNIT.sub(_NO_BREAK, text)
    found = textwrap.wrap(
        joined,
        max(20, width),
        initial_indent=indent,
        subsequent_indent=indent if hang is None else hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_NO_BREAK, " ") for line in found]


def paragraph(text: str, width: int, style: str = "", indent: str = "", hang: str | None = None) -> Iterator[Line]:
    """A sentence in lines of one style."""
    for line in wrap(text, width, indent, hang):
        yield ((line, style),)


def hanging(lead: str, text: str, width: int, style: str, lead_style: str = "dim") -> Iterator[Line]:
    """A sentence behind a lead, its other lines as far to the right; the ``└`` of a lead stands in the first alone."""
    for index, line in enumerate(wrap(text, width - cells(lead))):
        begin = lead if not index else lead.replace("└", " ") if "└" in lead else " " * cells(lead)
        yield ((begin, lead_style), (line, style)) if lead else ((line, style),)


def next_steps(steps: Sequence[str], width: int) -> Iterator[Line]:
    """Commands to copy, which are never cut: on one line if they fit, else each on its own."""
    one_line = "   ·   ".join(steps)
    for index, step in enumerate([one_line] if one_line and cells(one_line) + 6 <= width else steps):
        yield (("next: " if not index else " " * 6, "dim"), (step, "green"))


def pack(texts: Iterable[str], width: int, style: str = "") -> list[Line]:
    """Short texts in lines, as many in each as fit."""
    found: list[list[tuple[str, str]]] = []
    taken = 0
    for text in texts:
        if found and taken + len(SEPARATOR) + cells(text) <= width:
            found[-1] += [(SEPARATOR, "dim"), (text, style)]
            taken += len(SEPARATOR) + cells(text)
        else:
            found += [[(part, style)] for part in wrap(text, width)]
            taken = cells(found[-1][0][0]) if found else 0
    return list(found)


def escape_markdown(text: str) -> str:
    """The text with Markdown's signs as themselves."""
    return re.sub(r"([\\`*_|<>\[\]#~])", r"\\\1", text)


def code_in_markdown(text: str) -> str:
    """The text as code, also in a table, where a bar would end the cell even in backticks."""
    if not text:
        return ""
    if "\\|" in text:
        # A backslash before a bar would escape the backslash that keeps the bar in its cell.
        return escape_markdown(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")
