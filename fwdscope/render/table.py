"""The one layout of all tables: columns that share a width, and what gives way where it is too small.

A renderer makes a :class:`Column` of texts or :class:`Cell`\\ s for each thing to be shown, and :func:`lay_out` decides
how wide each column is, what is shortened, and which columns are left out. A row is always one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fwdscope.render.lines import Line, cells, code_in_markdown, escape_markdown, pad, shorten

GAP = 2
# A bar is this long where there is room, and is left out where it would be shorter than the second number.
_BAR = 14
_MIN_BAR = 3
# How short a bar may get before an optional column is left out.
_SQUEEZED_BAR = 4
# A column to be shortened keeps so many characters of its text before anything else in the cell has to go.
_MIN_TEXT = {"end": 10, "middle": 4}

_EIGHTHS = " ▏▎▍▌▋▊▉█"


class Cell(NamedTuple):
    """A cell in three pieces: where room is short ``text`` gives way, while ``before`` and ``after`` stay.

    ``share``, from 0 to 1, draws a bar beside the text and colours both. ``short_after`` replaces ``after`` where even
    that does not fit.
    """

    text: str = ""
    before: str = ""
    after: str = ""
    style: str = ""
    share: float | None = None
    short_after: str | None = None
    is_code: bool = False

    def __str__(self) -> str:
        return f"{self.before}{self.text}{self.after}"


class Column(NamedTuple):
    """A column of a table: a title and a cell for each row."""

    title: str
    cells: Sequence[Cell | str]
    # What ``steps`` and the names of columns left out call it; the title if empty.
    name: str = ""
    right: bool = False
    # Where a text that is too long loses letters, ``end`` or ``middle``; a column without it is never cut.
    cut: str = ""
    # The narrowest that a cut column gets before columns are left out, and the widest at all.
    min_width: int = 0
    max_width: int | None = None
    # Columns with the highest number are left out first; 0 never is.
    drop: int = 0
    # The same in less room: a shorter title, and cells that say less.
    short_title: str = ""
    short_cells: Sequence[Cell | str] | None = None
    # A column with a number here is shown only where there is room without squeezing the others below
    # ``squeezed_width``, the lowest number first.
    optional: int = 0
    squeezed_width: int | None = None
    # Whether Markdown shows the cells as code.
    is_code: bool = False

    @property
    def key(self) -> str:
        """What the column is called in ``steps`` and among those left out."""
        return self.name or self.title


class Table(NamedTuple):
    """Columns with the room that each has."""

    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    widths: tuple[int, ...]
    bar: int
    left_out: tuple[str, ...]

    @property
    def width(self) -> int:
        """Characters of a line."""
        return sum(self.widths) + GAP * (len(self.widths) - 1)

    def heading(self, style: str = "bold") -> Iterator[Line]:
        """The titles, and a rule under them."""
        titles: list[tuple[str, str]] = []
        for column, texts, width in zip(self.columns, self.cells, self.widths, strict=True):
            # A bar begins at the left of its column, and so does its title.
            right = column.right and not _has_bar(texts)
            title = column.title if cells(column.title) <= width else column.short_title or column.title
            titles += [(" " * GAP, "")] * bool(titles) + [(pad(title, width, right), style)]
        yield tuple(titles)
        yield (("─" * self.width, "dim"),)

    def row(self, index: int, columns: int | None = None) -> Line:
        """One row, or its first columns."""
        pieces: list[tuple[str, str]] = []
        for column, texts, width in list(zip(self.columns, self.cells, self.widths, strict=True))[:columns]:
            pieces += [(" " * GAP, "")] * bool(pieces)
            pieces += _draw(texts[index], column, width, self.bar)
        return tuple(pieces)

    def lines(self) -> Iterator[Line]:
        """The heading and all rows."""
        yield from self.heading()
        for index in range(len(self.cells[0]) if self.cells else 0):
            yield self.row(index)


def lay_out(columns: Sequence[Column], room: int, steps: Sequence[tuple[str, int]] = ()) -> Table:
    """Give each column the width it needs; where that is too much, shorten cells and at last leave columns out.

    ``steps`` are taken in turn until the table fits: the key of a column, or ``bar``, and how narrow it may get;
    ``short`` replaces cells by ``short_cells``. Then every column with ``cut`` shrinks to its ``min_width``.
    """
    columns, spared = _without_optional(columns, room)
    layout = _TableLayout(columns, room)
    for key, least in (*steps, *((column.key, column.min_width) for column in columns if column.cut)):
        if layout.excess() > 0:
            layout.give_way(key, least)
    layout.leave_out_columns()
    return layout.table(spared)


class _TableLayout:
    """The widths of columns while they give way to one another."""

    def __init__(self, columns: Sequence[Column], room: int) -> None:
        self.columns, self.room = columns, room
        self.kept = list(columns)
        self.cells = {column.key: _cells(column.cells) for column in columns}
        self.needs = {column.key: _need(column, self.cells[column.key]) for column in columns}
        self.widths = dict(self.needs)
        self.bar = _BAR + 1 if any(map(_has_bar, self.cells.values())) else 0

    def excess(self) -> int:
        """Characters that the table is too wide."""
        widths = sum(self.widths[column.key] for column in self.kept)
        return widths + self.bar + GAP * max(0, len(self.kept) - 1) - self.room

    def give_way(self, key: str, least: int) -> None:
        if key == "short":
            for column in self.columns:
                if column.short_cells is not None:
                    self.cells[column.key] = _cells(column.short_cells)
                    self.widths[column.key] = _need(column, self.cells[column.key])
        elif key == "bar":
            self.bar = max(min(self.bar, least + 1 if least else 0), self.bar - self.excess())
        elif key in self.widths:
            width = self.widths[key]
            self.widths[key] = max(min(width, least), width - self.excess())

    def leave_out_columns(self) -> None:
        """Keep the columns that there is room for, those with the lowest ``drop`` first."""
        if self.excess() > 0:
            self.kept = []
            for column in sorted(self.columns, key=lambda column: column.drop):
                self.kept.append(column)
                if column.drop and self.excess() > 0:
                    self.kept.remove(column)
            self.kept.sort(key=self.columns.index)

    def table(self, left_out: Sequence[str]) -> Table:
        """The table as it is laid out; ``left_out`` are columns left out before."""
        # A bar too short to compare does more good as room for words.
        if self.bar <= _MIN_BAR:
            spare, self.bar = self.bar, 0
            for column in self.kept:
                if column.cut == "end" and spare:
                    more = min(self.needs[column.key] - self.widths[column.key], spare)
                    self.widths[column.key] += more
                    spare -= more
        cells = tuple(self.cells[column.key] for column in self.kept)
        widths = (
            self.widths[column.key] + (self.bar if _has_bar(texts) else 0)
            for column, texts in zip(self.kept, cells, strict=True)
        )
        dropped = [column.key for column in self.columns if column not in self.kept]
        return Table(tuple(self.kept), cells, tuple(widths), max(0, self.bar - 1), (*dropped, *left_out))


def _without_optional(columns: Sequence[Column], room: int) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns without the optional ones that would squeeze the others, and the keys of these."""
    taken, kept = -GAP, []
    for column in sorted(columns, key=lambda column: column.optional):
        texts = _cells(column.cells if column.short_cells is None else column.short_cells)
        need = _need(column, texts)
        width = min(need, column.squeezed_width or need) + (_SQUEEZED_BAR + 1) * _has_bar(texts) + GAP
        if not column.optional or taken + width <= room:
            taken += width
            kept.append(column)
    ordered = [column for column in columns if column in kept]
    return tuple(ordered), tuple(column.key for column in columns if column not in kept)


def _cells(texts: Sequence[Cell | str]) -> tuple[Cell, ...]:
    return tuple(Cell(text) if isinstance(text, str) else text for text in texts)


def _need(column: Column, texts: Sequence[Cell]) -> int:
    longest = max((cells(str(cell)) for cell in texts), default=0)
    return max(cells(column.short_title or column.title), min(longest, column.max_width or longest))


def _has_bar(texts: Sequence[Cell]) -> bool:
    return any(cell.share is not None for cell in texts)


def share_style(share: float) -> str:
    """The colour of a part of the whole, in four steps. Red is left to what is wrong."""
    if share >= 0.3:
        return "bold magenta"
    if share >= 0.1:
        return "yellow"
    return "cyan" if share >= 0.02 else "dim"


def bar_of(share: float, width: int) -> str:
    """A bar as long as a share of ``width``, in eighths of a character, and never empty for something."""
    eighths = max(1, round(min(share, 1.0) * width * 8)) if share else 0
    return _EIGHTHS[8] * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _draw(cell: Cell, column: Column, width: int, bar: int) -> list[tuple[str, str]]:
    if cell.share is not None:
        drawn = bar_of(cell.share, bar).ljust(bar) if bar else ""
        return [(drawn + pad(cell.text, width - bar, right=True), cell.style or share_style(cell.share))]
    fitted = _fit(cell, width, column.cut)
    pieces = [(fitted.before, "dim"), (fitted.text, fitted.style), (fitted.after, "cyan")]
    pieces.insert(0 if column.right else 3, (" " * max(0, width - cells(str(fitted))), ""))
    return [(text, style) for text, style in pieces if text]


def _fit(cell: Cell, width: int, cut: str) -> Cell:
    """The cell in ``width``: its text gives way first, then what is before it, then what is behind it."""
    if not cut or cells(str(cell)) <= width:
        return cell
    few = min(cells(cell.text), _MIN_TEXT[cut])
    before, after = cell.before, cell.after
    if few + cells(before) + cells(after) > width and len(before) > 2:
        before = "…" + before[-1]
    if few + cells(before) + cells(after) > width and cell.short_after is not None:
        after = cell.short_after
    text = shorten(cell.text, max(1, width - cells(before) - cells(after)), cut)
    whole = cell._replace(text=text, before=before, after=after)
    return whole if cells(str(whole)) <= width else Cell(shorten(str(whole), width), style=cell.style)


def markdown_table(columns: Sequence[Column]) -> Iterator[str]:
    """All columns in full as a GitHub-flavoured table."""
    yield _markdown_row([escape_markdown(column.title) for column in columns])
    yield _markdown_row(["---:" if column.right else "---" for column in columns])
    for row in zip(*(_cells(column.cells) for column in columns), strict=True):
        texts = []
        for cell, column in zip(row, columns, strict=True):
            if cell.is_code or column.is_code:
                # Code keeps guides in line and the signs of an expression what they are.
                texts.append(code_in_markdown(f"{cell.before}{cell.text}".rstrip()) + escape_markdown(cell.after))
            else:
                # What puts numbers under one another is lost here.
                texts.append(escape_markdown(" ".join(str(cell).split()) if column.right else str(cell).strip()))
        yield _markdown_row(texts)


def _markdown_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
