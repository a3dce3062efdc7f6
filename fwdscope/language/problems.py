"""Problems of a spec: the place, what was found, what was expected, what to write.

A stage collects every :class:`Problem` that it can see and raises :class:`SpecError` once.
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

# The most columns of a line that an excerpt shows, around the place.
MAX_EXCERPT_COLUMNS = 110
# The most characters of a message or a help text.
MAX_MESSAGE_CHARACTERS = 400
# The most problems that are shown.
MAX_PROBLEMS = 100


class Span(NamedTuple):
    """A range of characters in a file, from ``start`` up to but not including ``end``."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """Return the span from the start of this one to the end of the other."""
        return Span(self.start, max(self.end, other.end))


@dataclass(frozen=True)
class Source:
    """The name and text of a file, which knows its lines and columns."""

    name: str
    text: str

    @cached_property
    def _starts(self) -> list[int]:
        starts, at = [0], 0
        for line in self.text.splitlines(keepends=True):
            # splitlines also splits at form feeds and the like, where an editor shows no new line.
            at += len(line)
            if line.endswith(("\n", "\r")):
                starts.append(at)
        return starts

    def place(self, offset: int) -> tuple[int, int]:
        """Return the line and column of a character, both from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """Return the offset of the character at a line and column."""
        return self._starts[line - 1] + column - 1

    def line(self, number: int) -> str:
        """Return the text of a line, without its end."""
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    def at(self, offset: int) -> str:
        """Return a place as ``file:line:column``, which terminals and editors can open."""
        return "{}:{}:{}".format(self.name, *self.place(offset))

    def __getitem__(self, span: Span) -> str:
        return self.text[span.start : span.end]


class Cause(NamedTuple):
    """A line of explanation under a problem, and the place it is about, if any."""

    text: str
    span: Span | None = None


class Fix(NamedTuple):
    """A change of the file that mends a problem, other texts for places, and the line that it makes."""

    changes: tuple[tuple[Span, str], ...]
    line: str


@dataclass(frozen=True)
class Problem:
    """One mistake, at one place.

    ``code`` is its kind: file, yaml, key, syntax, name, type, flow, value, limit, shape, promise. Each of the ``fixes``
    mends it: the spec was built with it.
    """

    source: Source = field(repr=False)
    span: Span
    code: str
    message: str
    help: str | None = None
    causes: tuple[Cause, ...] = ()
    fixes: tuple[Fix, ...] = ()
    # How many there are, in the last of very many.
    stands_for: int = 1

    def __post_init__(self) -> None:
        # Both may quote the file, whose text may be long and have line breaks.
        object.__setattr__(self, "message", _one_line(self.message))
        object.__setattr__(self, "help", self.help and _one_line(self.help))

    def __str__(self) -> str:
        return "\n".join(_draw(self))

    @property
    def line(self) -> int:
        """The number of its first line."""
        return self.source.place(self.span.start)[0]


class SpecError(InputError):
    """All problems that a stage found, sorted by place, without repetitions; beyond many, how many more."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        unique: dict[tuple[str, Span, str], Problem] = {}
        for problem in problems:
            unique.setdefault((problem.source.name, problem.span, problem.message), problem)
        found = sorted(unique.values(), key=lambda p: (p.source.name, p.span, p.message))
        self.total = sum(problem.stands_for for problem in found)
        if more := found[MAX_PROBLEMS:]:
            left = sum(problem.stands_for for problem in more)
            message = f"{count(left, 'more problem')} from here on"
            found[MAX_PROBLEMS:] = [Problem(more[0].source, more[0].span, "limit", message, stands_for=left)]
        self.problems = tuple(found)
        super().__init__(count(self.total, "problem"))

    def __str__(self) -> str:
        return "\n\n".join(str(problem) for problem in self.problems)


def width(text: str) -> int:
    """Return the number of columns of a text in a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _draw(problem: Problem) -> Iterable[str]:
    source, span = problem.source, problem.span
    number, column = source.place(span.start)
    yield f"{source.at(span.start)}: error: {problem.message} [{problem.code}]"
    if not source.text:
        return
    line = source.line(number)
    offset = max(0, min(column - 21, len(line) - MAX_EXCERPT_COLUMNS))
    # One printable character for each of the line, so that the carets stay aligned.
    excerpt = line[offset : offset + MAX_EXCERPT_COLUMNS]
    shown = "".join(" " if c.isspace() else c if c.isprintable() else "�" for c in excerpt)
    first = column - 1 - offset
    last = max(first + 1, first + (span.end - span.start))
    margin = " " * len(str(number))
    yield f"{margin} |"
    yield f"{number} | {'…' if offset else ''}{shown}".rstrip()
    marked = shown[first:last]
    pad = " " * (width(shown[:first]) + bool(offset))
    yield f"{margin} | {pad}{'^' * max(1, width(marked))}"
    explained = [(cause.text, cause.span) for cause in problem.causes]
    helped = [(problem.help and f"help: {problem.help}", None)] if problem.help else []
    heads = ["help: write ", *["         or "] * len(problem.fixes)]
    mended = [
        (head + fix.line, fix.changes[0][0] if fix.changes else None)
        for head, fix in zip(heads, problem.fixes, strict=False)
    ]
    for lines in (explained, helped, mended):
        # Places are aligned, but not behind a line that is longer than most.
        widths = [width(text) for text, place in lines if place is not None]
        column = max((w for w in widths if w <= MAX_EXCERPT_COLUMNS), default=0)
        for text, place in lines:
            at = f"{' ' * (max(column - width(text), 0) + 2)}{source.at(place.start)}" if place is not None else ""
            yield f"{margin} = {text}{at}"


def _one_line(text: str) -> str:
    line = re.sub(r"\s*[\r\n]\s*", " ", text)
    return line if len(line) <= MAX_MESSAGE_CHARACTERS else line[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def count(number: int, noun: str) -> str:
    """Return ``1 problem``, ``3 problems``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
