"""A comparison as text for a terminal, as Markdown for a pull request, and as JSON.

Both texts show the same: the totals that moved, and the tree of the rows that changed, deltas of all copies together.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Sequence

from fwdscope.commands.diff import Comparison
from fwdscope.language.problems import width as cells
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
from fwdscope.render.lines import write
from fwdscope.render.rows import GUIDE, printable

__all__ = ["FORMATS", "DiffOptions", "movement", "render"]

FORMATS = ("text", "markdown", "json")

_COLOURS = {
    "": "", "title": "bold", "dim": "dim", "added": "green", "removed": "red", "changed": "yellow", "renamed": "cyan",
    "moved": "cyan", "same": "dim", "more": "yellow", "less": "green", "note": "yellow",
}  # fmt: skip
_GAP = 2
# Columns of words do not get narrower than this.
_LEAST = {"layer": 14, "what": 14, "output": 16}


def render(compared: Comparison, format: str, options: DiffOptions, width: int = 100, color: bool = False) -> str:
    """The comparison in one of :data:`FORMATS`. Raises ValueError for an unknown one."""
    if format == "json":
        return json.dumps(compared.to_json(), indent=2, ensure_ascii=False) + "\n"
    if format == "markdown":
        return "\n".join(_markdown(compared, options)) + "\n"
    if format == "text":
        return write(_text(compared, options, width), color, _COLOURS)
    raise ValueError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")


# --- text ------------------------------------------------------------------------------------------------------------

_Line = list[tuple[str, str]]


def _text(compared: Comparison, options: DiffOptions, width: int) -> Iterator[_Line]:
    shown, depth, deepest = shown_rows(compared, options)
    before, after = names_of(compared, options)
    yield []
    yield [(" ", ""), (before, "title"), ("  →  ", "dim"), (after, "title")]
    yield []
    yield from _totals_table(compared)
    yield []
    if shown:
        yield from _rows_table(shown, width)
        yield []
    for line in filter(None, (legend(shown), extent(shown, depth, deepest), quiet(compared))):
        yield [(f" {line}", "dim")]
    yield [(f" {counts(compared)}", "")]
    for note in compared.notes:
        for line in textwrap.wrap(f"note: {printable(note)}", max(40, width - 2)):
            yield [(f" {line}", "note")]
    yield []


def _totals_table(compared: Comparison) -> Iterator[_Line]:
    rows = list(totals(compared))
    texts = [(TITLES[d.name], before, after, change, percent(d)) for d, before, after, change in rows]
    head = ("", "before", "after", "change", "")
    widths = [max(cells(row[i]) for row in (head, *texts)) for i in range(len(head))]
    yield [(" " + _aligned(head, widths), "dim")]
    for (delta, *_), row in zip(rows, texts, strict=True):
        left, right = _aligned(row[:3], widths[:3]), _aligned(("", *row[3:]), [0, *widths[3:]])[_GAP:]
        yield [(f" {left}{' ' * _GAP}", ""), (right, tone(delta))]


def _aligned(texts: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (text + " " * 0 for text in texts)
    parts = [first + " " * (widths[0] - cells(first))]
    parts += [" " * (width - cells(text)) + text for text, width in zip(others, widths[1:], strict=True)]
    return (" " * _GAP).join(parts)


def _rows_table(shown: Sequence[Shown], width: int) -> Iterator[_Line]:
    figures = figures_of(shown)
    layers = [GUIDE * (row.change.depth - 1) + row.layer for row in shown]
    cuts = {"layer": layers, "what": [row.what for row in shown], "output": [row.output for row in shown]}
    needs = {name: max(map(cells, (name, *texts))) for name, texts in cuts.items()}
    needs["output"] = needs["output"] if any(cuts["output"]) else 0
    room = {name: [max(cells(pair[i]) for pair in pairs) for i in (0, 1)] for name, _, pairs in figures}
    for name in room:
        # Percentages give way before the words do.
        if width - _taken(room, figures) < sum(min(needs[n], _LEAST[n]) + _GAP for n in cuts if needs[n]):
            room[name][1] = 0
    widths = _fitted(needs, width - _taken(room, figures))
    titles = [_cell(name if needs[name] else "", widths[name]) for name in cuts]
    head = (" " * _GAP).join(text for text, name in zip(titles, cuts, strict=True) if widths[name])
    for name, title, _ in figures:
        w = _titled(room[name], title)
        head += " " * _GAP + title.rjust(sum(w) + (1 if w[1] else 0))
    yield [(f"   {head}", "title")]
    yield [(f" {'─' * (cells(head) + 2)}", "dim")]
    for i, row in enumerate(shown):
        yield list(_drawn(row, {n: cuts[n][i] for n in cuts}, widths, [(n, t, p[i]) for n, t, p in figures], room))
        for remark in row.remarks:
            yield [(f"   {GUIDE * (row.change.depth - 1)}└ {remark}", "dim")]
    if left_out := [name for name in cuts if needs[name] and not widths[name]]:
        yield [(f" no room for {', '.join(left_out)}", "dim")]


def _taken(room: dict[str, list[int]], figures: Sequence[tuple[str, str, list[tuple[str, str]]]]) -> int:
    """The columns that the marks and the figures take."""
    widths = [_titled(room[name], title) for name, title, _ in figures]
    return 3 + sum(sum(w) + _GAP + bool(w[1]) for w in widths)


def _titled(widths: Sequence[int], title: str) -> list[int]:
    """The widths of a figure's two parts, with room for their title."""
    spare = max(0, len(title) - sum(widths) - bool(widths[1]))
    return [widths[0] + spare, widths[1]]


def _fitted(needs: dict[str, int], room: int) -> dict[str, int]:
    """What each column of words gets: the longest gives way first; what has no room at all is left out."""
    widths = dict(needs)
    while sum(widths.values()) + _GAP * sum(1 for w in widths.values() if w) - _GAP > room:
        giving = [name for name in widths if widths[name] > _LEAST[name]]
        dropped = next((name for name in ("output", "what") if widths[name]), None)
        if giving:
            widths[max(giving, key=lambda name: widths[name])] -= 1
        elif dropped:
            widths = {**needs, **{name: widths[name] for name in _LEAST if not widths[name]}, dropped: 0}
        else:
            break
    return widths


def _cell(text: str, width: int) -> str:
    while cells(text) > width and text:
        text = text[:-2].rstrip() + "…" if len(text) > 1 else ""
    return text + " " * (width - cells(text))


def _drawn(
    row: Shown,
    texts: dict[str, str],
    widths: dict[str, int],
    figures: Sequence[tuple[str, str, tuple[str, str]]],
    room: dict[str, list[int]],
) -> Iterator[tuple[str, str]]:
    kind = row.change.kind
    yield f" {MARKS[kind]} ", kind
    style = {"added": "added", "removed": "removed", "same": "dim"}.get(kind, "")
    for i, (name, text) in enumerate(texts.items()):
        if widths[name]:
            yield " " * _GAP * bool(i) + _cell(text, widths[name]), style if name == "layer" or kind == "same" else ""
    for name, title, (change, part) in figures:
        w = _titled(room[name], title)
        style = tone(row.change.delta(name))
        yield " " * _GAP + change.rjust(w[0]) + (f" {part.rjust(w[1])}" if w[1] else ""), style


# --- Markdown --------------------------------------------------------------------------------------------------------


def _markdown(compared: Comparison, options: DiffOptions) -> Iterator[str]:
    shown, depth, deepest = shown_rows(compared, options)
    before, after = names_of(compared, options)
    yield f"### {_code(before)} → {_code(after)}"
    yield ""
    yield "| | before | after | change | |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for delta, old, new, change in totals(compared):
        yield f"| {TITLES[delta.name]} | {old} | {new} | {change} | {percent(delta)} |"
    if shown:
        figures = figures_of(shown)
        yield ""
        yield "| | layer | what | output | " + "".join(f"{title} | | " for _, title, _ in figures).rstrip()
        yield ("| --- | --- | --- | --- | " + "---: | ---: | " * len(figures)).rstrip()
        for i, row in enumerate(shown):
            layer = f"{GUIDE * (row.change.depth - 1)}{row.layer}"
            said = "; ".join((row.what, *row.remarks))
            cells_of = [MARKS[row.change.kind].strip(), _code(layer), _escaped(said), _escaped(row.output)]
            cells_of += [text for _, _, pairs in figures for text in pairs[i]]
            yield "| " + " | ".join(cells_of) + " |"
    yield ""
    lines = (legend(shown), extent(shown, depth, deepest), quiet(compared), counts(compared))
    yield "  \n".join(_escaped(line) for line in lines if line)
    for note in compared.notes:
        yield ""
        yield f"- {_escaped(printable(note))}"


def _code(text: str) -> str:
    # In a table a backslash before a bar ends the cell, in backticks too.
    plain = not text.strip("│ ") or re.search(r"[`\\]", text)
    return _escaped(text) if plain else f"`{text}`".replace("|", "\\|")


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]#~])", r"\\\1", text)
