"""A plain table of some columns, of which those that matter least go where room is short.

A line is pieces of text, each with Rich's name of its style; nothing here needs Rich.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Line = tuple[tuple[str, str], ...]

_GAP = 2


@dataclass(frozen=True)
class Column:
    """A title and a cell for each row."""

    title: str
    cells: tuple[str, ...]
    left: bool = False
    # Where room is short, those with the highest number go first; those without one stay.
    expendable: int = 0

    @property
    def width(self) -> int:
        """Characters that the widest of them takes."""
        return max(map(len, (self.title, *self.cells)))


def fitting(columns: Sequence[Column], width: int) -> tuple[Column, ...]:
    """The columns that there is room for."""
    kept = list(columns)
    for column in sorted(columns, key=lambda column: -column.expendable):
        if column.expendable and _width(kept) > width:
            kept.remove(column)
    return tuple(kept)


def grid(columns: Sequence[Column], styles: Sequence[str]) -> Iterator[Line]:
    """Titles, a rule, and the rows, each in its style."""
    yield _line([column.title for column in columns], columns, "bold")
    yield (("─" * _width(columns), "dim"),)
    for index, style in enumerate(styles):
        yield _line([column.cells[index] for column in columns], columns, style)


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _line(texts: Sequence[str], columns: Sequence[Column], style: str) -> Line:
    padded = [
        text.ljust(column.width) if column.left else text.rjust(column.width)
        for text, column in zip(texts, columns, strict=True)
    ]
    return (((" " * _GAP).join(padded).rstrip(), style),)
