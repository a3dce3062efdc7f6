"""The report as a tree-table in the terminal; the only module that knows Rich.

The table is laid out here and not by Rich's, because a row must never wrap: where room is short, columns give way in
an order that keeps what matters (:data:`_YIELDING`). Without colours the text is the same.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from fwdscope.findings import Finding, findings
from fwdscope.render import estimates, summary
from fwdscope.render.columns import Cell, Column, chosen_columns
from fwdscope.render.rows import AGAIN, BROKEN, GUIDE, Options, ShownRow, View, is_broken, printable, view_for
from fwdscope.report import Report

# A file or a pipe has no width of its own; longer lines help nobody.
_WIDEST = 200
_MARGIN = 1
_GAP = 2
_MOST_FINDINGS = 5

# Each step names a column, or the bar in one, and how narrow it may get; they are taken in turn until the table fits.
_BAR = 14
_LEAST_BAR = 3
# ``brief`` lets columns say their numbers in fewer digits.
_YIELDING = (("type", 44), ("bar", 8), ("type", 32), ("brief", 0), ("type", 24), ("bar", 5), ("input", 16),
             ("type", 16), ("layer", 20), ("bar", 0))  # fmt: skip
# In a flat list a row is its path, and keeps it longer.
_YIELDING_FLAT = (("type", 44), ("bar", 8), ("type", 32), ("brief", 0), ("type", 24), ("bar", 5), ("type", 14),
                  ("bar", 0), ("layer", 28))  # fmt: skip
# An expression may be as long as its line in the file; a table that follows it would have its numbers far away.
_LONGEST_TYPE = 64
_LONGEST_LAYER = 48

# What a table with a column more may squeeze the others to.
_MIDDLING = {"type": 16, "layer": 20, "bar": 4}

_EIGHTHS = " ▏▎▍▌▋▊▉█"

_TONES: Mapping[str, str] = {"plain": "", "expression": "dim italic", "dim": "dim", "broken": "red",
                             "odd": "yellow", "spark": "cyan"}  # fmt: skip


def share_style(share: float) -> str:
    """The colour of a part of the whole, in four steps. Red is left to what is wrong."""
    if share >= 0.3:
        return "bold magenta"
    if share >= 0.1:
        return "yellow"
    return "cyan" if share >= 0.02 else "dim"


def print_report(report: Report, console: Console, options: Options) -> None:
    """Draw the report on a console, as wide as it is unless ``options.width`` says otherwise."""
    for line in _lines(report, options, options.width or console.width):
        console.print(line, no_wrap=True, overflow="ignore", crop=False, highlight=False)


def render(report: Report, options: Options) -> str:
    """The same as plain text, for a file or a pipe: as wide as the table needs, or ``options.width``."""
    return "\n".join(line.plain.rstrip() for line in _lines(report, options, options.width or _WIDEST)) + "\n"


def _lines(report: Report, options: Options, width: int) -> Iterator[Text]:
    seen = view_for(report, options)
    table = _layout(seen, chosen_columns(options, seen), width - 2 * _MARGIN)
    # Sentences stay readable on a wide screen, and are not squeezed beside a narrow table.
    prose = min(width - 2 * _MARGIN, max(table.width, 78))
    blocks = (
        _header(report, prose),
        _table(seen, table, prose),
        _under(report, seen, table.left_out, prose),
        _sums(report, prose),
        _estimates(report, prose),
        _problems(report, seen, prose),
        _stands_out(findings(report), prose),
        _next(report, seen, options, prose),
    )
    yield Text()
    for block in blocks:
        lines = list(block)
        if lines:
            for line in lines:
                yield Text(" " * _MARGIN) + line
            yield Text()


# --- above the table -------------------------------------------------------------------------------------------------


def _header(report: Report, width: int) -> Iterator[Text]:
    name, *facts = summary.title_parts(report)
    title = Text().append(name, style="bold")
    for fact in facts:
        title.append("  ·  ", style="dim").append(fact)
    source = printable(report.source or "")
    room = width - title.cell_len - cell_len(source)
    if source and room >= _GAP:
        title.append(" " * room).append(source, style="dim")
    yield title
    if source and room < _GAP:
        yield Text(_shorten(source, width, "middle"), style="dim")
    if said := summary.description(report):
        # Two lines at most: the table is what one came for.
        first, *rest = _wrapped(said, width)
        yield Text(first, style="dim italic")
        if rest:
            yield Text(_shorten(" ".join(rest), width, "end"), style="dim italic")
    for line in _wrapped(summary.flow(report), width):
        yield Text(line)
    for line in _wrapped(summary.values(report), width):
        yield Text(line, style="dim")
    yield from _packed(summary.ran_on(report), width, "dim")


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """The cells of each column and the room it has."""

    columns: tuple[Column, ...]
    cells: tuple[list[Cell], ...]
    widths: tuple[int, ...]
    bar: int
    left_out: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return sum(self.widths) + _GAP * (len(self.widths) - 1)


def _layout(seen: View, columns: tuple[Column, ...], room: int) -> _Table:
    """Give each column what it needs; where that is too much, let them give way, and at last leave some out."""
    cells = {column.name: column.cells(seen.rows) for column in columns}
    needs = {column.name: _need(column, cells[column.name]) for column in columns}
    columns, spared = _afforded(columns, seen, needs, room)
    barred = any(cell.amount is not None for column in columns for cell in cells[column.name])
    widths = {**needs, "bar": _BAR + 1 if barred else 0}
    kept = list(columns)

    def total() -> int:
        return sum(widths[column.name] for column in kept) + widths["bar"] + _GAP * max(0, len(kept) - 1)

    yielding = _YIELDING if seen.sort is None else _YIELDING_FLAT
    for name, least in (*yielding, *((column.name, column.least) for column in columns if column.cut)):
        if name == "brief" and total() > room:
            for column in columns:
                if column.brief:
                    cells[column.name] = column.brief(seen.rows)
                    widths[column.name] = _need(column, cells[column.name])
        elif total() > room and name in widths:
            floor = min(widths[name], least + 1 if name == "bar" and least else least)
            widths[name] = max(floor, widths[name] - (total() - room))
    if total() > room:
        kept = []
        for column in sorted(columns, key=lambda column: column.expendable):
            kept.append(column)
            if column.expendable and total() > room:
                kept.remove(column)
        kept.sort(key=columns.index)
    if widths["bar"] <= _LEAST_BAR and "type" in widths:
        # A bar this short tells nothing apart; its room does more for words.
        widths["type"] = min(needs["type"], widths["type"] + widths["bar"])
        widths["bar"] = 0
    bar = widths["bar"]
    return _Table(
        tuple(kept),
        tuple(cells[column.name] for column in kept),
        tuple(widths[column.name] + (bar if _has_bar(cells[column.name]) else 0) for column in kept),
        max(0, bar - 1),
        (*(column.name for column in columns if column not in kept), *spared),
    )


def _afforded(
    columns: tuple[Column, ...], seen: View, needs: Mapping[str, int], room: int
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns without those that would squeeze the others, and the names of these."""
    taken, kept = -_GAP, []
    for column in sorted(columns, key=lambda column: column.extra):
        briefly = _need(column, column.brief(seen.rows)) if column.brief else needs[column.name]
        bar = _MIDDLING["bar"] + 1 if column.name == "share" else 0
        width = min(briefly, _MIDDLING.get(column.name, room)) + bar + _GAP
        if not column.extra or taken + width <= room:
            taken += width
            kept.append(column)
    return tuple(sorted(kept, key=columns.index)), tuple(column.name for column in columns if column not in kept)


def _need(column: Column, cells: Sequence[Cell]) -> int:
    longest = max((cell_len(str(cell)) for cell in cells), default=0)
    limit = {"type": _LONGEST_TYPE, "layer": _LONGEST_LAYER}.get(column.name, longest)
    return max(cell_len(column.short or column.title), min(longest, limit))


def _has_bar(cells: Sequence[Cell]) -> bool:
    return any(cell.amount is not None for cell in cells)


def _table(seen: View, table: _Table, width: int) -> Iterator[Text]:
    if not seen.rows:
        return
    yield _joined(
        _title(*pair) for pair in zip(table.columns, zip(table.cells, table.widths, strict=True), strict=True)
    )
    yield Text("─" * table.width, style="dim")
    for index, shown in enumerate(seen.rows):
        yield _joined(
            _drawn(column, cells[index], room, table.bar, shown)
            for column, cells, room in zip(table.columns, table.cells, table.widths, strict=True)
        )
        yield from _remarks(shown, width)


def _title(column: Column, given: tuple[list[Cell], int]) -> Text:
    cells, width = given
    # A bar begins at the left of its column, and so does its title.
    left = column.align == "left" or _has_bar(cells)
    title = column.title if cell_len(column.title) <= width else column.short or column.title
    return Text(title.ljust(width) if left else title.rjust(width), style="bold")


def _joined(parts: Iterable[Text]) -> Text:
    return Text(" " * _GAP).join(parts)


def _drawn(column: Column, cell: Cell, width: int, bar: int, shown: ShownRow) -> Text:
    if cell.amount is not None:
        style = share_style(cell.amount)
        drawn = Text(_bar(cell.amount, bar).ljust(bar), style=style) if bar else Text()
        return drawn.append(cell.text.rjust(width - bar), style=style)
    fitted = _fitted(cell, width, column.cut)
    style = _TONES[cell.tone]
    if column.name == "layer" and shown.level == 0 and not style:
        style = "bold"
    text = Text().append(fitted.before, style="dim").append(fitted.text, style=style).append(fitted.after, style="cyan")
    room = " " * max(0, width - text.cell_len)
    return Text(room) + text if column.align == "right" else text.append(room)


def _bar(amount: float, width: int) -> str:
    eighths = max(1, round(min(amount, 1.0) * width * 8)) if amount else 0
    return _EIGHTHS[8] * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _fitted(cell: Cell, width: int, cut: str | None) -> Cell:
    """The cell in ``width``: its text gives way first, then the guides before it, then what is behind it."""
    if cell_len(str(cell)) <= width or cut is None:
        return cell
    # Text keeps a few letters before anything else has to go; a name needs fewer than an expression to say something.
    few = min(cell_len(cell.text), 10 if cut == "end" else 4)
    before, after = cell.before, cell.after
    if few + cell_len(before) + cell_len(after) > width and len(before) > len(GUIDE):
        before = "…" + GUIDE[1:]
    if few + cell_len(before) + cell_len(after) > width:
        after = f" {AGAIN}" if AGAIN in after else after
    text = _shorten(cell.text, max(1, width - cell_len(before) - cell_len(after)), cut)
    whole = Cell(text, before, after, cell.tone)
    return whole if cell_len(str(whole)) <= width else Cell(_shorten(str(whole), width, "end"), tone=cell.tone)


def _shorten(text: str, width: int, cut: str) -> str:
    """The text in ``width`` cells, with ``…`` for what is left out of its middle or its end."""
    if cell_len(text) <= width:
        return text
    if cut == "end":
        return set_cell_size(text, width - 1).rstrip() + "…"
    tail = (width - 1) // 2
    behind = text[-tail:] if tail else ""
    while cell_len(behind) > tail:
        behind = behind[1:]
    return set_cell_size(text, width - 1 - cell_len(behind)) + "…" + behind


def _remarks(shown: ShownRow, width: int) -> Iterator[Text]:
    """Lines under a row: the values and the promise it broke, and what has to be known about it."""
    guides = f"{GUIDE * shown.level}└ "
    row = shown.row
    if shown.broke:
        yield from _hanging(guides, f"{BROKEN} the first {shown.broke}", width, "red")
    if row.promise is not None and is_broken(row):
        yield from _hanging(guides, summary.broken_promise(row.promise), width, "red")
    if row.note:
        yield from _hanging(guides, printable(row.note), width, "yellow")


# --- below the table -------------------------------------------------------------------------------------------------


def _under(report: Report, seen: View, left_out: Sequence[str], width: int) -> Iterator[Text]:
    narrow = f"no room for {', '.join(left_out)}" if left_out else ""
    for line in (*summary.legend(seen), summary.extent(seen), narrow, summary.convention(report)):
        for part in _wrapped(line, width) if line else ():
            yield Text(part, style="dim")


def _sums(report: Report, width: int) -> Iterator[Text]:
    held = [*summary.totals(report), *filter(None, [summary.active(report)])]
    memory = [*filter(None, [summary.memory(report), summary.measured_memory(report)])]
    times = summary.times(report)
    first = True
    for texts in filter(None, (times, held, summary.costs(report), memory)):
        lines = _packed(texts, width)
        for line in lines:
            if first:
                line.stylize("bold", 0, len(texts[0].partition(" (")[0] if texts is times else texts[0]))
            yield line
            first = False


def _packed(texts: Sequence[str], width: int, style: str = "") -> list[Text]:
    """Short texts in lines, as many in each as fit."""
    lines: list[Text] = []
    for text in texts:
        if lines and lines[-1].cell_len + 5 + cell_len(text) <= width:
            lines[-1].append("  ·  ", style="dim").append(text)
        else:
            lines += [Text(part, style=style) for part in _wrapped(text, width)]
    return lines


def _estimates(report: Report, width: int) -> Iterator[Text]:
    for line in estimates.lines(report, width):
        yield Text.assemble(*line)


def _problems(report: Report, seen: View, width: int) -> Iterator[Text]:
    for line in filter(
        None,
        (
            summary.broken(report),
            summary.uncounted(report),
            *summary.shortfalls(report),
            *summary.folded_promises(seen),
        ),
    ):
        yield from _hanging("", line, width, "red")
    for note in summary.notes(report, seen.folded):
        yield from _hanging("", f"note: {note}", width, "yellow")


def _stands_out(found: Sequence[Finding], width: int) -> Iterator[Text]:
    for finding in found[:_MOST_FINDINGS]:
        bullet, style = ("! ", "yellow") if finding.level == "warning" else ("• ", "cyan")
        for line in _hanging(bullet, printable(finding.text), width, "", style):
            if finding.path:
                line.highlight_regex(rf"(?<![\w.]){re.escape(printable(finding.path))}(?!\w)", "bold")
            yield line
        if finding.advice:
            yield from _hanging("  ", printable(finding.advice), width, "dim")
    if len(found) > _MOST_FINDINGS:
        yield Text(f"  and {len(found) - _MOST_FINDINGS} more: --format markdown shows all", style="dim")


def _next(report: Report, seen: View, options: Options, width: int) -> Iterator[Text]:
    steps = summary.next_steps(report, seen, options)
    if not steps:
        return
    one_line = "   ·   ".join(steps)
    for index, step in enumerate([one_line] if cell_len(one_line) + 6 <= width else steps):
        yield Text().append("next: " if not index else " " * 6, style="dim").append(step, style="green")


def _hanging(lead: str, text: str, width: int, style: str, lead_style: str = "dim") -> Iterator[Text]:
    """A sentence in lines, the later ones indented as far as the first one's lead."""
    for index, line in enumerate(_wrapped(text, max(20, width - cell_len(lead)))):
        indent = lead.replace("└", " ") if index and "└" in lead else lead if not index else " " * cell_len(lead)
        yield Text().append(indent, style=lead_style).append(line, style=style)


# A number and its unit, or its percent sign, stay on one line.
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:[KMGTPE]i?B?|%)(?:\W|$))")
_JOINT = "\N{NO-BREAK SPACE}"


def _wrapped(text: str, width: int) -> list[str]:
    joined = _BEFORE_UNIT.sub(_JOINT, text)
    lines = textwrap.wrap(joined, max(20, width), break_long_words=False, break_on_hyphens=False)
    return [line.replace(_JOINT, " ") for line in lines]
