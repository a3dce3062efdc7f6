"""A comparison as text for a terminal, as Markdown for a pull request, and as JSON.

Both texts show the totals that changed and the tree of the rows that changed, with the deltas of all copies together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from fwdscope.commands.diff import Comparison
from fwdscope.printable import printable
from fwdscope.render.changes import (
    MARKS,
    TITLES,
    DiffOptions,
    Shown,
    counts,
    extent,
    figures_of,
    legend,
    movement,
    names_of,
    percent,
    quiet,
    shown_rows,
    tone,
    totals,
)
from fwdscope.render.lines import Line, code_in_markdown, escape_markdown, paragraph, write
from fwdscope.render.rows import GUIDE
from fwdscope.render.table import Cell, Column, lay_out, markdown_table

__all__ = ["FORMATS", "DiffOptions", "movement", "render"]

FORMATS = ("text", "markdown", "json")

_COLOURS = {
    "": "", "title": "bold", "dim": "dim", "added": "green", "removed": "red", "changed": "yellow", "renamed": "cyan",
    "moved": "cyan", "same": "dim", "more": "yellow", "less": "green", "note": "yellow",
}  # fmt: skip
# Changes that colour the name of a row.
_MARKED = ("added", "removed")


def render(compared: Comparison, format: str, options: DiffOptions, width: int = 100, color: bool = False) -> str:
    """The comparison in one of :data:`FORMATS`. Raises ValueError for an unknown one."""
    if format == "json":
        return json.dumps(compared.to_json(), indent=2, ensure_ascii=False) + "\n"
    if format == "markdown":
        return "\n".join(_markdown(compared, options)) + "\n"
    if format == "text":
        return write(_text(compared, options, width), color, _COLOURS)
    raise ValueError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")


def _text(compared: Comparison, options: DiffOptions, width: int) -> Iterator[Line]:
    shown, depth, deepest = shown_rows(compared, options)
    before, after = names_of(compared, options)
    yield []
    yield [(" ", ""), (before, "title"), ("  →  ", "dim"), (after, "title")]
    yield []
    columns = _totals_columns(compared)
    table = lay_out(columns, 1000)
    titles, _ = table.heading("dim")
    for line in (titles, *(table.row(index) for index in range(len(columns[0].cells)))):
        yield ((" ", ""), *line)
    yield []
    if shown:
        yield from _rows_table(shown, width)
        yield []
    for text in filter(None, (legend(shown), extent(shown, depth, deepest), quiet(compared))):
        yield [(f" {text}", "dim")]
    yield [(f" {counts(compared)}", "")]
    for note in compared.notes:
        yield from paragraph(f"note: {printable(note)}", max(40, width - 1), "note", " ")
    yield []


def _totals_columns(compared: Comparison) -> list[Column]:
    rows = list(totals(compared))
    tones = [tone(delta) for delta, *_ in rows]
    changes = [Cell(change, style=style) for (*_, change), style in zip(rows, tones, strict=True)]
    parts = [Cell(percent(delta), style=style) for (delta, *_), style in zip(rows, tones, strict=True)]
    return [
        Column("", [TITLES[delta.name] for delta, *_ in rows], name="total"),
        Column("before", [before for _, before, _, _ in rows], right=True),
        Column("after", [after for _, _, after, _ in rows], right=True),
        Column("change", changes, right=True),
        Column("", parts, name="percent", right=True),
    ]


# What gives way where the table is too wide, in turn: see table.lay_out.
_STEPS = (("what", 40), ("layer", 40), ("output", 28), ("what", 28), ("layer", 28), ("what", 20), ("layer", 20))


def _rows_table(shown: Sequence[Shown], width: int) -> Iterator[Line]:
    table = lay_out(list(_columns(shown)), width - 2, _STEPS)
    for line in table.heading():
        yield ((" ", ""), *line)
    for index, row in enumerate(shown):
        yield ((" ", ""), *table.row(index))
        for remark in row.remarks:
            yield ((f"    {GUIDE * (row.change.depth - 1)}└ {remark}", "dim"),)
    words = [name for name in ("layer", "what", "output") if name in table.left_out]
    if words:
        yield ((f" no room for {', '.join(words)}", "dim"),)


def _columns(shown: Sequence[Shown], remarks: bool = False) -> Iterator[Column]:
    """The columns of the rows; with ``remarks``, these stand behind what the row is."""
    same = ["dim" if row.change.kind == "same" else "" for row in shown]
    yield Column("", [Cell(MARKS[row.change.kind], style=row.change.kind) for row in shown], name="mark")
    layers = [
        Cell(
            row.layer,
            GUIDE * (row.change.depth - 1),
            style=row.change.kind if row.change.kind in _MARKED else style,
            is_code=bool(row.layer),
        )
        for row, style in zip(shown, same, strict=True)
    ]
    yield Column("layer", layers, cut="end", min_width=14)
    whats = ["; ".join((row.what, *row.remarks)) if remarks else row.what for row in shown]
    for name, texts, least in (("what", whats, 14), ("output", [row.output for row in shown], 16)):
        if any(texts):
            cells = [Cell(text, style=style) for text, style in zip(texts, same, strict=True)]
            yield Column(name, cells, cut="end", min_width=least, drop=1 if name == "what" else 2)
    for name, title, pairs in figures_of(shown):
        tones = [tone(row.change.delta(name)) for row in shown]
        changes, parts = (
            [Cell(pair[side], style=style) for pair, style in zip(pairs, tones, strict=True)] for side in (0, 1)
        )
        yield Column(title, changes, right=True)
        # Percentages are left out before words are.
        yield Column("", parts, name=f"{title} in percent", right=True, drop=3)


def _markdown(compared: Comparison, options: DiffOptions) -> Iterator[str]:
    shown, depth, deepest = shown_rows(compared, options)
    yield f"### {' → '.join(map(code_in_markdown, names_of(compared, options)))}"
    yield ""
    yield from markdown_table(_totals_columns(compared))
    if shown:
        yield ""
        yield from markdown_table(list(_columns(shown, remarks=True)))
    yield ""
    lines = (legend(shown), extent(shown, depth, deepest), quiet(compared), counts(compared))
    yield "  \n".join(escape_markdown(line) for line in lines if line)
    for note in compared.notes:
        yield ""
        yield f"- {escape_markdown(printable(note))}"
