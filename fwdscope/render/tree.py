"""The report as indented plain text without a table, for pasting into a message or a comment in code."""

from __future__ import annotations

from fwdscope import units
from fwdscope.render import summary
from fwdscope.render.rows import Options, ShownRow, again, described, is_broken, printable, view
from fwdscope.report import Report


def render(report: Report, options: Options) -> str:
    """``name: Type (shape) params`` a line, two spaces a level, under the model's name and its totals."""
    seen = view(report, options.depth)
    lines = [f"{printable(report.name)}: {summary.flow(report)}", *map(_line, seen.rows)]
    lines += [text for text in ("  ·  ".join(summary.totals(report)), summary.depth_text(seen)) if text]
    lines += [*summary.shortfalls(report), *summary.folded_promises(seen)]
    lines += [f"note: {note}" for note in summary.notes(report, (*seen.rows, *seen.folded))]
    return "\n".join(lines) + "\n"


def _line(shown: ShownRow) -> str:
    row = shown.row
    label = printable(row.label)
    times = f" × {row.repeat}" if row.repeat > 1 else ""
    head = f"{label}{times}: " if label else ""
    shapes = ", ".join(map(units.shape, row.output_shapes))
    params = f"{units.exact(row.params)}{' each' if row.repeat > 1 else ''}" if row.params else ""
    broken = summary.broken_promise(row.promise) if row.promise and is_broken(row) else ""
    pieces = (f"{head}{described(row)}{again(row)}", shapes, params, broken)
    return "  " * (shown.level + 1) + "  ".join(piece for piece in pieces if piece)
