"""What is wrong with a spec: where, what was found, what was expected, what to write.

Detecting, locating and wording are three things: a stage raises or collects :class:`Problem`; :class:`Source` knows
places; :func:`Problem.__str__` draws the excerpt. A stage collects all it can see and raises :class:`SpecError` once.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from fwdscope.errors import InputError

# An excerpt shows at most so many columns of a line, around the place.
EXCERPT = 110
# Characters of a message or a help line.
LONGEST = 400


class Span(NamedTuple):
    """A stretch of a file's text, in characters: from ``start`` up to, not including, ``end``."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """From the start of this to the end of the other."""
        return Span(self.start, max(self.end, other.end))


@dataclass(frozen=True)
class Source:
    """A file's name and text, and where its lines begin."""

    name: str
    text: str

    @cached_property
    def _starts(self) -> list[int]:
        starts, at = [0], 0
        for line in self.text.splitlines(keepends=True):
            # splitlines also cuts at form feeds and such, where an editor sees no new line.
            at += len(line)
            if line.endswith(("\n", "\r")):
                starts.append(at)
        return starts

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """The character at a line and column; :meth:`place` the other way round."""
        return self._starts[line - 1] + column - 1

    def line(self, number: int) -> str:
        """The text of a line, without its end."""
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    def at(self, offset: int) -> str:
        """A place as ``file:line:column``, so that a terminal or an editor can jump there."""
        return "{}:{}:{}".format(self.name, *self.place(offset))

    def __getitem__(self, span: Span) -> str:
        return self.text[span.start : span.end]


class Cause(NamedTuple):
    """A line of explanation under a problem, with the place that it speaks of, if any."""

    text: str
    span: Span | None = None


@dataclass(frozen=True)
class Problem:
    """One thing wrong, at one place.

    ``code`` is the stage's word for its kind: yaml, key, syntax, name, type, flow, value, limit, shape, promise.
    """

    source: Source = field(repr=False)
    span: Span
    code: str
    message: str
    help: str | None = None
    causes: tuple[Cause, ...] = ()

    def __post_init__(self) -> None:
        # Both may quote the file, whose texts have any length and line breaks in them.
        object.__setattr__(self, "message", _one_line(self.message))
        object.__setattr__(self, "help", self.help and _one_line(self.help))

    def __str__(self) -> str:
        return "\n".join(_draw(self))

    @property
    def line(self) -> int:
        """The line it begins on."""
        return self.source.place(self.span.start)[0]


class SpecError(InputError):
    """All problems that a stage found, sorted by place, each told once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        unique: dict[tuple[str, Span, str], Problem] = {}
        for problem in problems:
            unique.setdefault((problem.source.name, problem.span, problem.message), problem)
        self.problems = tuple(sorted(unique.values(), key=lambda p: (p.source.name, p.span, p.message)))
        super().__init__(count(len(self.problems), "problem"))

    def __str__(self) -> str:
        return "\n\n".join(str(problem) for problem in self.problems)


def width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _draw(problem: Problem) -> Iterable[str]:
    source, span = problem.source, problem.span
    number, column = source.place(span.start)
    yield f"{source.at(span.start)}: error: {problem.message} [{problem.code}]"
    line = _visible(source.line(number))
    first = column - 1
    last = max(first + 1, min(len(line), first + (span.end - span.start)))
    offset = max(0, min(first - 20, len(line) - EXCERPT))
    shown = line[offset : offset + EXCERPT]
    margin = " " * len(str(number))
    yield f"{margin} |"
    yield f"{number} | {'…' if offset else ''}{shown}".rstrip()
    marked = line[first : min(last, offset + EXCERPT)]
    pad = " " * (width(line[offset:first]) + bool(offset))
    yield f"{margin} | {pad}{'^' * max(1, width(marked))}"
    for text, place in _aligned(problem):
        yield f"{margin} = {text}{place}".rstrip()
    if problem.help:
        yield f"{margin} = help: {problem.help}"


def _aligned(problem: Problem) -> Iterable[tuple[str, str]]:
    longest = max((width(cause.text) for cause in problem.causes if cause.span), default=0)
    for cause in problem.causes:
        place = problem.source.at(cause.span.start) if cause.span else ""
        yield cause.text + " " * (longest - width(cause.text) + 2 if place else 0), place


def _one_line(text: str) -> str:
    line = re.sub(r"\s*[\r\n]\s*", " ", text)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _visible(line: str) -> str:
    """A line with one printable character for each of its own, so that carets stay under what they mean."""
    return "".join(" " if c.isspace() else c if c.isprintable() else "�" for c in line)


def count(number: int, noun: str) -> str:
    """``1 problem``, ``3 problems``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def summary(problems: Iterable[Problem]) -> str:
    """The last line of a run: ``1 problem``, ``3 problems``."""
    return count(len(tuple(problems)), "problem")
