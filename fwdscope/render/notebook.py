"""What a notebook shows: HTML without a script, in the reader's own colours, light or dark.

Parts fold by ``<details>``; ``html/notebook.css`` is the look.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib import import_module
from typing import Any, NamedTuple

from rich.console import Console
from rich.style import Style

from fwdscope.commands.check.outcome import CheckRun
from fwdscope.commands.diff import Comparison
from fwdscope.commands.explain import Explanation
from fwdscope.findings import findings
from fwdscope.printable import printable
from fwdscope.render import changes, checks, csv, graph, html, layer, summary, terminal, value, versus
from fwdscope.render.checks import words
from fwdscope.render.columns import chosen_columns, shapes_cell
from fwdscope.render.explanation import COLOURS, lines_of
from fwdscope.render.html.diff import render as page_of_diff
from fwdscope.render.html.page import part
from fwdscope.render.lines import MAX_PROSE, Line, takes_color, write
from fwdscope.render.rows import Options, view
from fwdscope.render.table import Cell
from fwdscope.report import Report, depth_within, multiplicities
from fwdscope.report.value import ValueExplanation
from fwdscope.report.versus import Versus

# More rows make the notebook slow; deeper ones are left out.
_MOST_ROWS = 800


def html_of(one: Any) -> str:
    """What a notebook shows of a report, a comparison, an explanation of a layer or a number, or a check."""
    drawn: dict[type, Callable[[Any], list[str]]] = {
        Report: _report, Comparison: _comparison, Explanation: _explanation, CheckRun: _check,
        ValueExplanation: _value, Versus: _versus,
    }  # fmt: skip
    return _framed(*drawn[type(one)](one))


def page_of(one: Any) -> str:
    """The page of a report, a comparison or a check."""
    if isinstance(one, Report | Versus):
        return html.draw(one) if isinstance(one, Report) else versus.page_of(one)
    return checks.render(one, "html") if isinstance(one, CheckRun) else page_of_diff(one, changes.DiffOptions())


def _versus(one: Versus) -> list[str]:
    return [_lines([line for block in versus.blocks(one, MAX_PROSE) for line in (*block, ())])]


def show(report: Report, path: str | None) -> None:
    """Print a report or a row of it; in a notebook, display it."""
    found = None if path is None else list(layer.lines(report, layer.find(report, path)))
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel"):
        text = html_of(report) if found is None else _framed(_lines(found))
        display = import_module("IPython.display")
        display.display(display.HTML(text))
        return
    color, width = takes_color(sys.stdout), shutil.get_terminal_size((MAX_PROSE, 40)).columns
    text = terminal.render(report, Options(width=width, color=color)) if found is None else write(found, color, COLOURS)
    sys.stdout.write(text)


def dataframe(report: Report) -> Any:
    """The rows as a ``pandas.DataFrame``. Raises ImportError without pandas."""
    try:
        pandas = import_module("pandas")
    except ImportError:
        raise ImportError("to_dataframe needs pandas: pip install pandas") from None
    times = multiplicities(report.layers)
    return pandas.DataFrame([csv.record(row) | {"times": n} for row, n in zip(report.layers, times, strict=True)])


class _Row(NamedTuple):
    """A row of a table that folds: its cells as HTML, its level, and whether what is below it is open."""

    cells: Sequence[str]
    level: int = 0
    is_open: bool = False


def _table(columns: Sequence[tuple[str, str, int]], rows: Sequence[_Row]) -> str:
    """A table of columns, each a title, a class and a width in letters; rows fold into those around them."""
    template = " ".join(
        f"minmax({width // 2}ch, {width}fr)" if not kind else f"{width}ch" for _, kind, width in columns
    )
    texts = [
        f'<div class="scroll" style="--fwd-columns:{template};--fwd-least:{sum(width for *_, width in columns)}ch">',
        _cells("div", [escape(title) for title, *_ in columns], columns, "row titles"),
    ]
    opened = 0
    for place, row in enumerate(rows):
        while opened > row.level:
            texts.append("</details>")
            opened -= 1
        indent = f'<span style="padding-left:{1.2 * row.level:g}em">{row.cells[0]}</span>'
        cells = [indent, *row.cells[1:]]
        if place + 1 < len(rows) and rows[place + 1].level > row.level:
            texts.append(f"<details{' open' * row.is_open}>{_cells('summary', cells, columns)}")
            opened += 1
        else:
            texts.append(_cells("div", cells, columns))
    return "".join([*texts, "</details>" * opened, "</div>"])


def _cells(tag: str, cells: Sequence[str], columns: Sequence[tuple[str, str, int]], kind: str = "row") -> str:
    inside = "".join(f'<span class="{of}">{cell}</span>' for cell, (_, of, _) in zip(cells, columns, strict=True))
    return f'<{tag} class="{kind}">{inside}</{tag}>'


def _styled(text: str, style: str) -> str:
    classes = COLOURS.get(style, style)
    return f'<span class="{classes}">{escape(text)}</span>' if classes else escape(text)


def _cell(cell: Cell | str, code: bool = False) -> str:
    if isinstance(cell, str):
        return escape(cell)
    text = _styled(f"{cell.text}{cell.after}", f"{cell.style} code".strip() if code else cell.style)
    if not cell.share:
        return text
    filled = f'<i style="width:{100 * min(1.0, cell.share):.0f}%"></i>'
    return f'<span class="bar">{filled}</span><span class="part">{text}</span>'


def _lines(lines: Iterable[Line]) -> str:
    return f"<pre>{chr(10).join(''.join(_styled(*piece) for piece in line) for line in lines)}</pre>"


def _framed(*blocks: str) -> str:
    return f'<div class="fwdscope"><style>{part("notebook.css")}</style>{"".join(blocks)}</div>'


def _head(title: str, *facts: str) -> str:
    lines = "".join(f'<div class="dim">{escape(fact)}</div>' for fact in facts if fact)
    return f'<div class="head">{escape(title)}</div>{lines}'


def _below(*facts: str) -> str:
    return f'<div class="dim">{escape("  ·  ".join(filter(None, facts)))}</div>'


def _points(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def _folded(title: str, inside: str) -> str:
    return f"<details><summary>{title}</summary>{inside}</details>"


# The columns that give way where the table is wider than the notebook; no column is wider than this many letters.
_FLEXIBLE = ("layer", "type", "output")
_WIDEST = 40


def _report(report: Report) -> list[str]:
    usual, depth = view(report), depth_within([row.depth for row in report.layers], _MOST_ROWS)
    seen = view(report, depth)
    name, *facts = summary.title_parts(report)
    every = {column.name or column.title: column for column in chosen_columns(Options(depth=depth), seen)}
    columns = []
    for key, one in every.items():
        letters = max((len(str(cell)) for cell in one.cells), default=0)
        width = max(len(one.title), letters + (9 if key == "share" else 4 if key == "histogram" else 0)) + 2
        columns.append((one.title, "" if key in _FLEXIBLE else "right" if one.right else "code", min(width, _WIDEST)))
    cells = {key: [_cell(cell, key == "layer") for cell in one.cells] for key, one in every.items()}
    if "output" in cells:  # marks of repetition would refer to rows that are folded
        cells["output"] = [escape(shapes_cell(shown.row.output_shapes)) for shown in seen.rows]
    rows = [
        _Row([cells[key][index] for key in every], shown.level, shown.level + 1 < usual.depth)
        for index, shown in enumerate(seen.rows)
    ]
    sums = [*summary.totals(report), summary.active(report), *summary.costs(report), summary.memory(report)]
    sums += [summary.measured_memory(report), *summary.kept(report), *summary.times(report)]
    sums = [text for text in sums if text]
    points = [summary.broken(report), summary.uncounted(report), *summary.shortfalls(report)]
    points += [printable(one.text) + (f" — {one.advice}" if one.advice else "") for one in findings(report)]
    points += [f"note: {text}" for text in summary.notes(report, ())]
    return [
        _head(name, "  ·  ".join([summary.flow(report), *facts, *summary.ran_on(report)]), summary.values(report)),
        _table(columns, rows) if rows else "",
        _below(*sums, summary.extent(seen)),
        _points(filter(None, points)),
        _folded("Graph", drawn) if rows and not report.is_stored and (drawn := _graph(report)) else "",
    ]


def _graph(report: Report) -> str:
    try:
        return graph.svg(report)
    except ValueError:
        return ""  # it is too large to be drawn


_TONES = {"more": "yellow", "less": "green"}


def _comparison(compared: Comparison) -> list[str]:
    options = changes.DiffOptions(depth=sys.maxsize)
    shown, *_ = changes.shown_rows(compared, options)
    totals = [
        _Row(
            [
                changes.TITLES[delta.name],
                before,
                after,
                *(_styled(text, _TONES.get(changes.tone(delta), "")) for text in (change, changes.percent(delta))),
            ]
        )
        for delta, before, after, change in changes.totals(compared)
    ]
    figures = changes.figures_of(shown)
    styles = {
        "added": "green",
        "removed": "red",
        "changed": "yellow",
        "renamed": "cyan",
        "moved": "cyan",
        "same": "dim",
    }
    rows = []
    for place, row in enumerate(shown):
        mark = f"{changes.MARKS[row.change.kind]} {row.layer}".strip()
        deltas = [
            _styled("  ".join(pairs[place]), _TONES.get(changes.tone(row.change.delta(name)), ""))
            for name, _, pairs in figures
        ]
        what = escape("; ".join(filter(None, (row.what, *row.remarks))))
        rows.append(
            _Row(
                [_styled(mark, f"{styles[row.change.kind]} code"), what, escape(row.output), *deltas],
                row.change.depth - 1,
                True,
            )
        )
    columns = [
        ("layer", "", 30),
        ("what", "", 36),
        ("output", "", 22),
        *((title, "right", 22) for _, title, _ in figures),
    ]
    graphs = "".join(_graph(report) for report in (compared.before, compared.after) if report.layers)
    return [
        _head(" → ".join(changes.names_of(compared, options)), changes.counts(compared)),
        _table(
            [
                ("total", "", 18),
                ("before", "right", 16),
                ("after", "right", 16),
                ("difference", "right", 16),
                ("", "right", 9),
            ],
            totals,
        ),
        _table(columns, rows) if rows else "",
        _below(changes.legend(shown), changes.quiet(compared)),
        _points(printable(note) for note in compared.notes),
        _folded("Graphs", graphs),
    ]


def _explanation(one: Explanation) -> list[str]:
    return [_lines(lines_of(one, MAX_PROSE))]


def _value(one: ValueExplanation) -> list[str]:
    def span(text: str, style: Style | None) -> str:
        if style is None or style.bgcolor is None or style.color is None:
            return _styled(text, str(style or ""))
        return f'<span style="color:{style.color.name};background:{style.bgcolor.name}">{escape(text)}</span>'

    console = Console()
    texts = (line.render(console) for line in value.lines(one, MAX_PROSE))
    return [f"<pre>{chr(10).join(''.join(span(text, style) for text, style, _ in line) for line in texts)}</pre>"]


def _check(run: CheckRun) -> list[str]:
    bad, signs = ("crashed", "invalid", "failed"), {"met": "✓", "failed": "✗", "skipped": "–", "ok": "✓"}
    rows = []
    for outcome in sorted(run.outcomes, key=lambda one: one.state not in bad):
        style = "red" if outcome.state in bad else "green" if outcome.state == "ok" else "dim"
        params, macs = words.costs(outcome)
        verdict = _styled(words.verdict(outcome), style)
        rows.append(
            _Row(
                [_styled(f"{signs.get(outcome.state, '✗')} {outcome.file}", f"{style} code"), verdict, params, macs],
                0,
                outcome.state in bad,
            )
        )
        texts = [*(one.message for one in outcome.problems), *filter(None, [outcome.reason])]
        rows += [_Row(["", escape(text), "", ""], 1) for text in texts]
        for point in outcome.points:
            found = ", ".join(filter(None, (point.got and f"got {point.got}", point.by, point.reason)))
            expected = " ".join(point.expected.split())
            what = f"{point.what}: {'expected ' * bool(point.got)}{expected}" + (f", {found}" if found else "")
            line = f"{signs[point.state]} line {point.line}" if point.line else signs[point.state]
            rows.append(_Row([_styled(line, "red" if point.state == "failed" else "dim"), escape(what), "", ""], 1))
    columns = [("file", "", 34), ("", "", 60), ("parameters", "right", 12), ("MACs", "right", 12)]
    return [_head("fwdscope check", words.tally(run)), _table(columns, rows), _points(run.remarks)]
