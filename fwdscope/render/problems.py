"""Problems of a spec as text, with colour if the stream takes it."""

from __future__ import annotations

import re

from fwdscope.language.problems import SpecError, count
from fwdscope.render.lines import Line, write

# A line of a problem, and the style of each of its parts.
_STYLES = (
    (r"(\S.*?:\d+:\d+: )(error: )(.*?)( \[\w+\])$", ("bold", "bold red", "bold", "dim")),
    (r"( *\| *)(\^+)$", ("blue", "bold red")),
    (r"( *= )(help: )(.*)$", ("blue", "bold", "")),
    (r"( *\d* [|=] ?)(.*)$", ("blue", "")),
)


def draw_problems(error: SpecError, color: bool) -> str:
    """All problems and how many there are."""
    return write(map(styled, str(error).split("\n")), color) + f"\n{count(error.total, 'problem')}\n"


def styled(line: str) -> Line:
    """A line of a problem: its place and message bold, carets red, margins blue, the rest as it is."""
    for pattern, styles in _STYLES:
        if found := re.match(pattern, line):
            return tuple(zip(found.groups(), styles, strict=True))
    return ((line, ""),)
