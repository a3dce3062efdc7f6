"""The report as a tree-table for reading, with colours in a terminal."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fwdscope.findings import Finding, findings
from fwdscope.printable import printable
from fwdscope.render import estimates, mesh, mesh_times, ranks, summary, training
from fwdscope.render.columns import chosen_columns
from fwdscope.render.lines import Line, cells, hanging, next_steps, pack, shorten, wrap, write
from fwdscope.render.rows import BROKEN, GUIDE, Options, ShownRow, View, is_broken, view_for
from fwdscope.render.table import GAP, Table, lay_out
from fwdscope.report import Report

# The width of a file or a pipe, which have none.
_FILE_WIDTH = 200
_MARGIN = 1
# The least width of sentences around a narrow table, if the terminal has it.
_MIN_PROSE = 78
_MOST_FINDINGS = 5

# What gives way where the table is too wide, in turn: see table.lay_out.
_STEPS = (("type", 44), ("bar", 8), ("type", 32), ("short", 0), ("type", 24), ("bar", 5), ("input", 16), ("type", 16),
          ("layer", 20), ("bar", 0))  # fmt: skip
# In a flat list paths are shortened last.
_STEPS_FLAT = (("type", 44), ("bar", 8), ("type", 32), ("short", 0), ("type", 24), ("bar", 5), ("type", 14),
               ("bar", 0), ("layer", 28))  # fmt: skip


def render(report: Report, options: Options) -> str:
    """The report as text: as wide as the table needs, or ``options.width``."""
    return write(_lines(report, options, options.width or _FILE_WIDTH), options.color)


def _lines(report: Report, options: Options, width: int) -> Iterator[Line]:
    seen = view_for(report, options)
    steps = _STEPS if seen.sort is None else _STEPS_FLAT
    table = lay_out(chosen_columns(options, seen), width - 2 * _MARGIN, steps)
    prose = min(width - 2 * _MARGIN, max(table.width, _MIN_PROSE))
    below = (
        _under(report, seen, table.left_out, prose),
        _sums(report, prose),
        mesh.lines(report, prose),
        mesh_times.lines(report, prose),
        ranks.lines(report, prose),
        estimates.lines(report, prose),
        _problems(report, seen, prose),
        _findings(findings(report), prose),
        next_steps(summary.next_steps(report, seen, options), prose),
    )
    rows = _rows(table, seen, options.marks, prose) if seen.rows else ()
    yield ()
    for block in (_indented(_header(report, prose)), rows, *map(_indented, below)):
        lines = list(block)
        if lines:
            yield from lines
            yield ()


def _indented(lines: Iterable[Line]) -> Iterator[Line]:
    return (((" " * _MARGIN, ""), *line) for line in lines)


def _header(report: Report, width: int) -> Iterator[Line]:
    name, *facts = summary.title_parts(report)
    title = [(name, "bold"), *(piece for fact in facts for piece in (("  ·  ", "dim"), (fact, "")))]
    source = printable(report.source or "")
    room = width - sum(cells(text) for text, _ in title) - cells(source)
    if source and room >= GAP:
        title += [(" " * room, ""), (source, "dim")]
    yield title
    if source and room < GAP:
        yield ((shorten(source, width, "middle"), "dim"),)
    if about := summary.description(report):
        # Two lines at most, so that the table is near the top.
        first, *rest = wrap(about, width)
        yield ((first, "dim italic"),)
        if rest:
            yield ((shorten(" ".join(rest), width), "dim italic"),)
    for line in wrap(summary.flow(report), width):
        yield ((line, ""),)
    for line in wrap(summary.values(report), width):
        yield ((line, "dim"),)
    yield from pack(summary.ran_on(report), width, "dim")


def _rows(table: Table, seen: View, marks: Mapping[int, str], width: int) -> Iterator[Line]:
    yield from _indented(table.heading())
    for index, shown in enumerate(seen.rows):
        yield ((f"{marks.get(id(shown.row), ''):{_MARGIN}}", "yellow"), *table.row(index))
        yield from _indented(_remarks(shown, width))


def _remarks(shown: ShownRow, width: int) -> Iterator[Line]:
    guides = f"{GUIDE * shown.level}└ "
    row = shown.row
    if shown.broke:
        yield from hanging(guides, f"{BROKEN} the first {shown.broke}", width, "red")
    if row.promise is not None and is_broken(row):
        yield from hanging(guides, summary.broken_promise(row.promise), width, "red")
    if row.note:
        yield from hanging(guides, printable(row.note), width, "yellow")


def _under(report: Report, seen: View, left_out: Sequence[str], width: int) -> Iterator[Line]:
    narrow = f"no room for {', '.join(left_out)}" if left_out else ""
    for text in (*summary.legend(seen), summary.extent(seen), narrow, summary.convention(report)):
        for line in wrap(text, width):
            yield ((line, "dim"),)


def _sums(report: Report, width: int) -> Iterator[Line]:
    params = [*summary.totals(report), *filter(None, [summary.active(report)])]
    memory = [*filter(None, [summary.memory(report), summary.measured_memory(report)])]
    step = training.costs(report), training.memory(report)
    every = (summary.times(report), params, summary.costs(report), memory, summary.kept(report), *step)
    groups = [texts for texts in every if texts]
    (((first, _), *rest), *lines), *others = (pack(texts, width) for texts in groups)
    stressed, space, behind = first.partition(" (") if "forward" in first else (first, "", "")
    yield ((stressed, "bold"), (space + behind, ""), *rest)
    yield from itertools.chain(lines, *others)
    yield from training.curve(report, width)


def _problems(report: Report, seen: View, width: int) -> Iterator[Line]:
    whole = (summary.broken(report), summary.uncounted(report), training.uncounted(report))
    for text in filter(None, (*whole, *summary.shortfalls(report), *summary.folded_promises(seen))):
        yield from hanging("", text, width, "red")
    for note in summary.notes(report, seen.folded):
        yield from hanging("", f"note: {note}", width, "yellow")


def _findings(found: Sequence[Finding], width: int) -> Iterator[Line]:
    for finding in found[:_MOST_FINDINGS]:
        bullet, style = ("! ", "yellow") if finding.level == "warning" else ("• ", "cyan")
        advice = printable(finding.advice or "")
        *lines, last = hanging(bullet, printable(finding.text), width, "", style)
        if advice and not lines and len(bullet) + cells(finding.text) + cells(advice) + 3 <= width:
            last, advice = (*last, (f" — {advice}", "dim")), ""
        for line in (*lines, last):
            yield _stressed(line, printable(finding.path)) if finding.path else line
        yield from hanging("  ", advice, width, "dim")
    if len(found) > _MOST_FINDINGS:
        yield ((f"  and {len(found) - _MOST_FINDINGS} more: --format markdown shows all", "dim"),)


def _stressed(line: Line, path: str) -> Line:
    (bullet, (text, style), *advice) = line
    parts = re.split(rf"((?<![\w.]){re.escape(path)}(?!\w))", text)
    return (bullet, *((part, "bold" if part == path else style) for part in parts if part), *advice)
