"""Problems of a spec as text, with colour where the stream takes it."""

from __future__ import annotations

import os
import re
from typing import TextIO

from fwdscope.language.problems import SpecError, count

_BOLD, _RED, _BLUE, _DIM, _END = "\033[1m", "\033[1;31m", "\033[34m", "\033[2m", "\033[0m"


def write_problems(error: SpecError, stream: TextIO) -> None:
    """Write all problems and how many there are."""
    text = str(error)
    if stream.isatty() and "NO_COLOR" not in os.environ:
        text = "\n".join(map(coloured, text.split("\n")))
    stream.write(f"{text}\n\n{count(len(error.problems), 'problem')}\n")


def coloured(line: str) -> str:
    """A line of a problem: the place and message bold, carets red, margins blue, the rest as it is."""
    if found := re.match(r"(\S.*?:\d+:\d+: )(error: )(.*?)( \[\w+\])$", line):
        return f"{_BOLD}{found[1]}{_RED}{found[2]}{_END}{_BOLD}{found[3]}{_END}{_DIM}{found[4]}{_END}"
    if found := re.match(r"( *\| *)(\^+)$", line):
        return f"{_BLUE}{found[1]}{_RED}{found[2]}{_END}"
    if found := re.match(r"( *= )(help: )(.*)$", line):
        return f"{_BLUE}{found[1]}{_BOLD}{found[2]}{_END}{found[3]}"
    if found := re.match(r"( *\d* [|=] ?)(.*)$", line):
        return f"{_BLUE}{found[1]}{_END}{found[2]}"
    return line
