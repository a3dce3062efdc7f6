"""The report as indented plain text without a table, for pasting into a message or a comment in code."""

from __future__ import annotations

from fwdscope import units
from fwdscope.render import summary
from fwdscope.render.rows import (
    AT_LEAST,
    FIGURES,
    Options,
    ShownRow,
    again,
    described,
    is_broken,
    named,
    printable,
    view_for,
)
from fwdscope.report import Report


def render(report: Report, options: Options) -> str:
    """``name: Type (shape) params, MACs`` a line, two spaces a level, under the model's name and its totals."""
    seen = view_for(report, options)
    lines = [f"{printable(report.name)}: {summary.flow(report)}", *map(_line, seen.rows)]
    sums = "  ·  ".join(filter(None, [*summary.totals(report), summary.active(report)]))
    lines += [text for text in (sums, "  ·  ".join(summary.costs(report)), summary.memory(report)) if text]
    lines += [text for text in (summary.convention(report), summary.extent(seen), summary.uncounted(report)) if text]
    lines += [*summary.shortfalls(report), *summary.folded_promises(seen)]
    lines += [f"note: {note}" for note in summary.notes(report, (*seen.rows, *seen.folded))]
    return "\n".join(lines) + "\n"


def _line(shown: ShownRow) -> str:
    row = shown.row
    count = shown.times if shown.flat else row.repeat
    label = named(row) if shown.flat else printable(row.label)
    head = f"{label}{f' × {count}' if count > 1 else ''}: " if label else ""
    shapes = ", ".join(map(units.shape, row.output_shapes))
    each = " each" if row.repeat > 1 and not shown.flat else ""
    broken = summary.broken_promise(row.promise) if row.promise and is_broken(row) else ""
    what = "" if shown.flat and not row.path else f"{described(row)}{again(row)}"
    pieces = (f"{head}{what}", shapes, f"{_figures(shown)}{each}" if _figures(shown) else "", broken)
    return "  " * (shown.level + 1) + "  ".join(piece for piece in pieces if piece)


def _figures(shown: ShownRow) -> str:
    """``4,722,432 params, 4.83 G MACs``; nothing for none, and ``? MACs`` for operators without a rule."""
    params, macs = shown.amount(FIGURES["params"]), shown.amount(FIGURES["macs"])
    texts = [f"{units.exact(int(params))} params"] if params else []
    if shown.row.uncounted:
        texts.append(f"{AT_LEAST}{units.count(macs)} MACs" if macs else "? MACs")
    elif macs:
        texts.append(f"{units.count(macs)} MACs")
    return ", ".join(texts)
